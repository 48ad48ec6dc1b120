//! Notify commands with real processes. Times have wide margins: the host may be busy.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scripts_common;

use std::fs;
use std::time::{Duration, Instant};

use scripts_common::*;
use vrrp_common::Priority;
use xvrrp::config::model::{Notify, Removed};
use xvrrp::notify::{Kind, Notifier, Patience, Word};

const PATIENCE: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(600);

/// A notifier, and a script that writes what it is told into a file.
struct Bench {
    notifier: Notifier,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { notifier: Notifier::new(policy()), dir: tempfile::tempdir().unwrap() }
    }

    /// As `new`, where what hangs is told of and left running after these times.
    fn patient(remind: Duration, beside: Duration) -> Self {
        let notifier = Notifier::waiting_for(policy(), Patience { remind, beside });
        Self { notifier, ..Self::new() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A script that writes its arguments, in brackets, as one line of `told`.
    fn teller(&self, name: &str, before: &str) -> String {
        let (path, told) = (self.path(name), self.path("told"));
        let text = format!(
            "#!/bin/sh\n{before}\nline='{name}'\nfor word; do line=\"$line [$word]\"; done\n\
             echo \"$line\" >> '{told}'\n"
        );
        write_script(&path, &text, 0o755);
        path
    }

    fn push(&mut self, name: &str, word: Word, notify: &Notify) {
        self.notifier.push(Kind::Instance, name, word, Priority::new(100), notify);
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn lines(&self, count: usize) -> Vec<String> {
        wait_for(PATIENCE, || Some(self.told()).filter(|told| told.len() >= count))
            .await
            .unwrap_or_else(|| panic!("{:?}", self.told()))
    }
}

#[tokio::test]
async fn own_arguments_come_first_and_only_notify_gets_four_more() {
    let mut bench = Bench::new();
    let (master, any) = (bench.teller("master it", "sleep 0.2"), bench.teller("any", ""));
    let notify = Notify {
        master: Some(command(&[&master, "now master", "on", "VI_1"])),
        any: Some(command(&[&any, "own", ""])),
        ..Notify::default()
    };
    bench.push("VI_1", Word::Master, &notify);
    assert_eq!(bench.notifier.waiting(Kind::Instance, "VI_1"), 1);
    assert_eq!(
        bench.lines(2).await,
        ["master it [now master] [on] [VI_1]", "any [own] [] [INSTANCE] [VI_1] [MASTER] [100]",]
    );
}

#[tokio::test]
async fn each_state_has_its_own_command_and_a_group_its_word() {
    let mut bench = Bench::new();
    let path = bench.teller("it", "");
    let notify = Notify {
        master: Some(command(&[&path, "m"])),
        backup: Some(command(&[&path, "b"])),
        fault: Some(command(&[&path, "f"])),
        stop: Some(command(&[&path, "s"])),
        ..Notify::default()
    };
    for word in [Word::Backup, Word::Master, Word::Fault, Word::Stop] {
        bench.push("VI_1", word, &notify);
    }
    let any = Notify { any: Some(command(&[&path])), ..Notify::default() };
    assert_eq!(bench.lines(4).await, ["it [b]", "it [m]", "it [f]", "it [s]"]);
    bench.notifier.push(Kind::Group, "G", Word::Fault, Priority::new(0), &any);
    assert_eq!(bench.lines(5).await[4], "it [GROUP] [G] [FAULT] [0]");
    assert!(
        wait_for(PATIENCE, || (bench.notifier.waiting(Kind::Group, "G") == 0).then_some(()))
            .await
            .is_some()
    );
}

/// As keepalived 2.2.7: FAULT without `notify_fault`, or DELETED.
#[tokio::test]
async fn what_a_reload_removes_is_told_to_the_general_command() {
    let mut bench = Bench::new();
    let path = bench.teller("it", "");
    let with = |removed| Notify {
        fault: Some(command(&[&path, "f"])),
        stop: Some(command(&[&path, "s"])),
        any: Some(command(&[&path])),
        removed,
        ..Notify::default()
    };
    let plain = with(Removed::Fault);
    bench.push("A", Word::of_removed(&plain), &plain);
    assert_eq!(bench.lines(1).await, ["it [INSTANCE] [A] [FAULT] [100]"]);
    let named = with(Removed::Deleted(None));
    bench.push("A", Word::of_removed(&named), &named);
    assert_eq!(bench.lines(2).await[1..], ["it [INSTANCE] [A] [DELETED] [100]"]);
    let own = with(Removed::Deleted(Some(command(&[&path, "d"]))));
    bench.push("A", Word::of_removed(&own), &own);
    assert_eq!(bench.lines(4).await[2..], ["it [d]", "it [INSTANCE] [A] [DELETED] [100]"]);
}

#[tokio::test]
async fn changes_of_one_instance_are_told_in_order_and_one_at_a_time() {
    let mut bench = Bench::new();
    let mark = bench.path("mark");
    let busy = format!("mkdir '{mark}' || exec false; sleep 0.0$(($$ % 9)); rmdir '{mark}'");
    let path = bench.teller("it", &busy);
    let notify = Notify { any: Some(command(&[&path])), ..Notify::default() };
    let words = [Word::Backup, Word::Master, Word::Fault].into_iter().cycle().take(30);
    for word in words.clone() {
        bench.push("VI_1", word, &notify);
    }
    let told = bench.lines(30).await;
    let want: Vec<String> =
        words.map(|word| format!("it [INSTANCE] [VI_1] [{word}] [100]")).collect();
    assert_eq!(told, want);
}

#[tokio::test]
async fn one_that_hangs_holds_up_no_other_instance_and_is_told_of() {
    let mut bench = Bench::patient(Duration::from_millis(300), NEVER);
    let log = Log::here();
    let path = bench.teller("it", "");
    let hang = Notify {
        master: Some(command(&["/bin/sleep", "600"])),
        any: Some(command(&[&path])),
        ..Notify::default()
    };
    let quick = Notify { any: Some(command(&[&path])), ..Notify::default() };
    bench.push("A", Word::Master, &hang);
    bench.push("A", Word::Backup, &hang);
    bench.push("B", Word::Master, &quick);
    assert_eq!(bench.lines(1).await, ["it [INSTANCE] [B] [MASTER] [100]"]);
    let said = |line: &str| {
        line.contains("still runs after ") && line.contains(" s, 1 changes wait for it")
    };
    let is_said = || log.text().lines().any(said).then_some(());
    assert!(wait_for(PATIENCE, is_said).await.is_some(), "{}", log.text());
    assert_eq!(bench.told().len(), 1, "A waits for its own");
    assert_eq!(bench.notifier.waiting(Kind::Instance, "A"), 2);
}

/// `notify_master` starts a service in the foreground, and `notify_backup` ends it.
#[tokio::test]
async fn one_that_does_not_end_is_left_running_beside_the_later_ones() {
    let wait = Duration::from_millis(300);
    let mut bench = Bench::patient(NEVER, wait);
    let log = Log::here();
    let (path, pid, go) = (bench.teller("it", ""), bench.path("pid"), bench.path("go"));
    let serve = format!("echo $$ > {pid}; until [ -e {go} ]; do sleep 0.02; done; exit 3");
    let notify = Notify {
        master: Some(command(&["/bin/sh", "-c", &serve])),
        backup: Some(command(&[&path, "b"])),
        any: Some(command(&[&path])),
        ..Notify::default()
    };
    let begun = Instant::now();
    bench.push("A", Word::Master, &notify);
    // Its own change's other command comes beside it, too.
    assert_eq!(bench.lines(1).await, ["it [INSTANCE] [A] [MASTER] [100]"]);
    assert!(begun.elapsed() >= wait);
    bench.push("A", Word::Backup, &notify);
    let told = bench.lines(3).await;
    assert_eq!(told[1..], ["it [b]", "it [INSTANCE] [A] [BACKUP] [100]"]);
    let read = || fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    let pid = wait_for(PATIENCE, read).await.unwrap();
    assert!(!is_gone(pid));
    assert_eq!(log.count("what has to be told since is told beside it"), 1, "{}", log.text());
    // Its end is told as any other's.
    fs::write(&go, "").unwrap();
    let ends = || (log.count("for MASTER failed (exited with status 3)") == 1).then_some(());
    assert!(wait_for(PATIENCE, ends).await.is_some(), "{}", log.text());
}

#[tokio::test]
async fn each_gets_its_time_before_the_next_goes_on_beside_it() {
    let mut bench = Bench::patient(NEVER, Duration::from_secs(2));
    let mark = bench.path("mark");
    let busy = format!("mkdir '{mark}' || exec false; sleep 0.5; rmdir '{mark}'");
    let path = bench.teller("it", &busy);
    let notify = Notify { any: Some(command(&[&path])), ..Notify::default() };
    // The last has waited longer than it would wait for one, but for several.
    for _ in 0..6 {
        bench.push("A", Word::Backup, &notify);
    }
    assert_eq!(bench.lines(6).await.len(), 6);
}

#[tokio::test]
async fn one_that_was_left_running_ends_with_the_daemon() {
    let mut bench = Bench::patient(NEVER, Duration::from_millis(100));
    let (path, pid) = (bench.teller("it", ""), bench.path("pid"));
    let serve = format!("trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done");
    let notify = Notify {
        master: Some(command(&["/bin/sh", "-c", &serve])),
        backup: Some(command(&[&path, "b"])),
        stop: Some(command(&[&path, "s"])),
        ..Notify::default()
    };
    bench.push("A", Word::Master, &notify);
    bench.push("A", Word::Backup, &notify);
    assert_eq!(bench.lines(1).await, ["it [b]"]);
    let read = || fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    let pid = wait_for(PATIENCE, read).await.unwrap();
    bench.push("A", Word::Stop, &notify);
    bench.notifier.finish(Duration::from_secs(4)).await;
    assert_eq!(bench.told(), ["it [b]", "it [s]"]);
    assert!(is_gone(pid), "{pid} lives");
}

#[tokio::test]
async fn stop_is_told_even_behind_one_that_hangs() {
    let mut bench = Bench::patient(NEVER, NEVER);
    let path = bench.teller("stop", "");
    let pid = bench.path("pid");
    let deaf = format!("trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done");
    let notify = Notify {
        master: Some(command(&["/bin/sh", "-c", &deaf])),
        stop: Some(command(&[&path])),
        any: Some(command(&[&path, "any"])),
        ..Notify::default()
    };
    bench.push("A", Word::Master, &notify);
    let read = || fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    let pid = wait_for(PATIENCE, read).await.unwrap();
    bench.push("A", Word::Backup, &notify);
    bench.push("A", Word::Stop, &notify);
    let begun = Instant::now();
    // Twenty times what it takes; the limit is not what ends it.
    bench.notifier.finish(PATIENCE).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(bench.told(), ["stop", "stop [any] [INSTANCE] [A] [STOP] [100]"]);
    assert!(is_gone(pid));
}

#[tokio::test]
async fn finish_does_not_wait_longer_than_it_may_and_not_at_all_for_nothing() {
    let mut bench = Bench::new();
    let begun = Instant::now();
    bench.notifier.finish(Duration::from_secs(5)).await;
    assert!(begun.elapsed() < Duration::from_secs(4));

    let mut bench = Bench::new();
    let log = Log::here();
    let pid = bench.path("pid");
    let text = format!("echo $$ > {pid}; exec sleep 600");
    let notify = Notify { stop: Some(command(&["/bin/sh", "-c", &text])), ..Notify::default() };
    bench.push("A", Word::Stop, &notify);
    let begun = Instant::now();
    bench.notifier.finish(Duration::from_secs(2)).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1990) && took < PATIENCE, "{took:?}");
    let read = || fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    let pid = wait_for(PATIENCE, read).await.unwrap();
    wait_for(PATIENCE, || is_gone(pid).then_some(())).await.expect("SIGTERM");
    assert!(log.text().contains("is ended, since the daemon ends"), "{}", log.text());
}

#[test]
fn what_does_not_heed_sigterm_does_not_outlive_the_daemon() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pid = runtime.block_on(async {
        let mut bench = Bench::new();
        let pid = bench.path("pid");
        let deaf = format!("trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done");
        let stop = Some(command(&["/bin/sh", "-c", &deaf]));
        bench.push("A", Word::Stop, &Notify { stop, ..Notify::default() });
        let read = || fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
        let pid = wait_for(PATIENCE, read).await.unwrap();
        bench.notifier.finish(Duration::from_millis(20)).await;
        pid
    });
    // As the daemon does when it has stopped.
    runtime.shutdown_background();
    let begun = Instant::now();
    while !is_gone(pid) {
        assert!(begun.elapsed() < PATIENCE, "{pid} lives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn what_fails_is_told_and_the_next_runs_all_the_same() {
    let mut bench = Bench::new();
    let log = Log::here();
    let path = bench.teller("it", "");
    let missing = bench.path("no");
    let notify = Notify {
        master: Some(command(&["/bin/sh", "-c", "exit 7"])),
        backup: Some(command(&[&missing])),
        any: Some(command(&[&path])),
        ..Notify::default()
    };
    bench.push("VI_1", Word::Master, &notify);
    bench.push("VI_1", Word::Backup, &notify);
    bench.lines(2).await;
    let text = log.text();
    assert!(
        text.contains(
            "(VI_1) notify_master `/bin/sh -c exit 7` for MASTER failed (exited with status 7)"
        ),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "(VI_1) notify_backup `{missing}` for BACKUP can't be run: `{missing}`: No such file"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_without_interpreter_line_is_the_shells() {
    let mut bench = Bench::new();
    let (path, told) = (bench.path("no line"), bench.path("told"));
    write_script(&path, &format!("echo \"$0|$*\" > '{told}'\n"), 0o755);
    let notify = Notify { any: Some(command(&[&path, "a b"])), ..Notify::default() };
    bench.push("VI_1", Word::Fault, &notify);
    assert_eq!(bench.lines(1).await, [format!("{path}|a b INSTANCE VI_1 FAULT 100")]);
}

#[tokio::test]
async fn only_the_last_is_told_to_one_who_does_not_read() {
    let mut bench = Bench::new();
    let log = Log::here();
    let (path, go) = (bench.teller("it", ""), bench.path("go"));
    let wait = format!("until [ -e {go} ]; do sleep 0.02; done");
    let first = Notify { any: Some(command(&["/bin/sh", "-c", &wait])), ..Notify::default() };
    let notify = Notify { any: Some(command(&[&path])), ..Notify::default() };
    bench.push("VI_1", Word::Backup, &first);
    tokio::task::yield_now().await;
    for _ in 0..100 {
        bench.push("VI_1", Word::Backup, &notify);
    }
    bench.push("VI_1", Word::Master, &notify);
    fs::write(&go, "").unwrap();
    assert!(
        wait_for(PATIENCE, || (bench.notifier.waiting(Kind::Instance, "VI_1") == 0).then_some(()))
            .await
            .is_some()
    );
    assert_eq!(bench.told(), ["it [INSTANCE] [VI_1] [MASTER] [100]"]);
    assert_eq!(log.count("100 changes waited for notify commands"), 1, "{}", log.text());
}
