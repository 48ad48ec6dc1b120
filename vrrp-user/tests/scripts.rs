//! Check scripts with real processes. Times have wide margins: the host may be busy.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scripts_common;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use scripts_common::*;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};
use vrrp_proto::input::Health;
use xvrrp::config::model::{Script, UserSpec, Weight};
use xvrrp::track::{ScriptReport, ScriptStatus, Scripts};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);

/// A set of checks and what they report.
struct Bench {
    scripts: Scripts,
    reports: UnboundedReceiver<ScriptReport>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let (sender, reports) = tokio::sync::mpsc::unbounded_channel();
        Self { scripts: Scripts::new(sender), reports, dir: tempfile::tempdir().unwrap() }
    }

    fn apply(&mut self, scripts: &[&Script]) {
        self.scripts.apply(scripts.iter().copied(), &policy());
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn status(&self, name: &str) -> ScriptStatus {
        self.scripts.status().remove(name).unwrap()
    }

    async fn report(&mut self) -> ScriptReport {
        timeout(PATIENCE, self.reports.recv()).await.expect("a report").unwrap()
    }

    async fn until(&self, name: &str, what: impl Fn(&ScriptStatus) -> bool) -> ScriptStatus {
        let begun = Instant::now();
        loop {
            let status = self.status(name);
            if what(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{status:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The process numbers that a script wrote, one per line.
    async fn pids(&self, file: &str, count: usize) -> Vec<i32> {
        let path = self.path(file);
        wait_for(PATIENCE, || {
            let text = fs::read_to_string(&path).ok()?;
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            (pids.len() >= count && text.ends_with('\n')).then_some(pids)
        })
        .await
        .expect("the process numbers")
    }
}

fn shell(name: &str, text: &str) -> Script {
    script(name, &["/bin/sh", "-c", text])
}

fn script(name: &str, argv: &[&str]) -> Script {
    Script {
        name: name.to_owned(),
        command: command(argv),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
        weight: Weight::default(),
        rise: 1,
        fall: 1,
        init_fail: false,
        span: 0..0,
    }
}

#[tokio::test]
async fn the_first_result_decides_whatever_rise_and_fall_are() {
    let mut bench = Bench::new();
    let good = Script { rise: 5, fall: 5, ..shell("good", "exit 0") };
    let bad = Script { rise: 5, fall: 5, ..shell("bad", "exit 3") };
    bench.apply(&[&good, &bad]);
    assert_eq!(bench.status("good").health, Health::Unknown);
    let mut reports = BTreeMap::new();
    for _ in 0..2 {
        let report = bench.report().await;
        reports.insert(report.name.clone(), (report.health, report.detail));
    }
    assert_eq!(reports["good"], (Health::Good, "succeeded".to_owned()));
    assert_eq!(reports["bad"], (Health::Bad, "exited with status 3".to_owned()));
}

#[tokio::test]
async fn before_the_first_result_nothing_is_known() {
    let mut bench = Bench::new();
    let slow = shell("slow", "sleep 2");
    bench.apply(&[&slow]);
    let status = bench.until("slow", |status| status.runs == 1).await;
    assert_eq!(status.health, Health::Unknown);
    assert!(bench.reports.try_recv().is_err());
    assert_eq!(bench.report().await.health, Health::Good);
}

#[tokio::test]
async fn three_failures_turn_it_and_two_successes_turn_it_back() {
    let mut bench = Bench::new();
    let flag = bench.path("flag");
    fs::write(&flag, "").unwrap();
    let check = Script { rise: 2, fall: 3, ..script("chk", &["/usr/bin/test", "-e", &flag]) };
    bench.apply(&[&check]);
    assert_eq!(bench.report().await.health, Health::Good);
    assert_eq!(bench.status("chk").failures, 0);

    fs::remove_file(&flag).unwrap();
    assert_eq!(bench.report().await.health, Health::Bad);
    // On a busy machine there may be one more by now.
    assert!(bench.status("chk").failures >= 3);

    fs::write(&flag, "").unwrap();
    let before = bench.status("chk");
    assert_eq!(bench.report().await.health, Health::Good);
    let after = bench.status("chk");
    let successes = (after.runs - after.failures) - (before.runs - before.failures);
    assert!(successes >= 2, "{before:?} {after:?}");
}

#[tokio::test]
async fn init_fail_is_bad_until_it_rose() {
    let mut bench = Bench::new();
    let check = Script { rise: 3, init_fail: true, ..shell("chk", "true") };
    bench.apply(&[&check]);
    assert_eq!(bench.report().await.health, Health::Bad);
    assert_eq!(bench.report().await.health, Health::Good);
    assert!(bench.status("chk").runs >= 3);
}

#[tokio::test]
async fn the_interval_runs_from_start_to_start() {
    let check = Script { interval: Duration::from_millis(400), ..shell("chk", "sleep 0.3") };
    let mut least = Duration::MAX;
    // Five intervals and a run, 2.3 s; 3.8 s if they ran from end to start, however often it is tried.
    for _ in 0..10 {
        let mut bench = Bench::new();
        let begun = Instant::now();
        bench.apply(&[&check]);
        bench.until("chk", |status| status.runs == 6).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1990), "{took:?}");
        least = least.min(took);
        if least < Duration::from_millis(3700) {
            return;
        }
    }
    panic!("{least:?} at least");
}

#[tokio::test]
async fn a_check_that_is_busy_is_not_started_again() {
    let mut bench = Bench::new();
    let log = Log::here();
    let mark = bench.path("mark");
    let text = format!("mkdir {mark} || exit 9; sleep 0.4; rmdir {mark}");
    let check = Script { interval: Duration::from_millis(100), ..shell("slow", &text) };
    bench.apply(&[&check]);
    let status = bench.until("slow", |status| status.runs == 4).await;
    assert!(status.skipped >= 6, "{status:?}");
    assert_eq!(status.failures, 0, "two ran at once: {status:?}");
    let skips = log.count("Track script slow is already running, expect idle - skipping run");
    assert_eq!(skips, 1, "{}", log.text());
}

#[tokio::test]
async fn a_time_out_kills_the_whole_group_even_what_ignores_sigterm() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    // The child that stays behind ignores SIGTERM, the leader does not.
    let text = format!(
        "sh -c 'trap \"\" TERM; echo $$ >> {pids}; while :; do sleep 1; done' & echo $$ >> {pids}; wait"
    );
    let interval = LONG;
    let limit = Duration::from_millis(500);
    let check = Script { interval, timeout: limit, ..shell("hang", &text) };
    let log = Log::here();
    let begun = Instant::now();
    bench.apply(&[&check]);
    let report = bench.report().await;
    assert!(begun.elapsed() >= limit);
    assert_eq!((report.health, report.detail.as_str()), (Health::Bad, "timed out after 500ms"));
    assert!(log.text().contains("VRRP_Script(hang) timed_out"), "{}", log.text());
    for pid in bench.pids("pids", 2).await {
        assert!(wait_for(PATIENCE, || is_gone(pid).then_some(())).await.is_some(), "{pid} lives");
    }
    assert_eq!(bench.status("hang").timeouts, 1);
}

#[tokio::test]
async fn sigkill_follows_sigterm_after_two_seconds() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let text = format!("trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.1; done");
    let check = Script {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..shell("deaf", &text)
    };
    let begun = Instant::now();
    bench.apply(&[&check]);
    let first = bench.pids("pids", 1).await[0];
    assert_eq!(bench.report().await.health, Health::Bad);
    sleep(Duration::from_millis(1000)).await;
    assert!(!is_gone(first), "killed too early");
    wait_for(PATIENCE, || is_gone(first).then_some(())).await.expect("SIGKILL");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(2900) && took < Duration::from_secs(9), "{took:?}");
    // The check that was due meanwhile comes at once.
    bench.until("deaf", |status| status.runs == 2).await;
}

#[tokio::test]
async fn a_hung_check_is_counted_every_interval() {
    let mut bench = Bench::new();
    let check = Script {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        fall: 3,
        ..shell("hang", "exec sleep 600")
    };
    let begun = Instant::now();
    bench.apply(&[&check]);
    // The first result decides; three more in the rhythm of the interval.
    let status = bench.until("hang", |status| status.timeouts == 4).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(7500), "{took:?}");
    assert_eq!(status.skipped, 0, "{status:?}");
}

#[tokio::test]
async fn a_check_that_had_to_be_killed_is_one_failure() {
    let (mut bench, log, second) = (Bench::new(), Log::here(), Duration::from_secs(1));
    let (seen, deaf) = (bench.path("seen"), "trap '' TERM; while :; do sleep 0.1; done");
    // Well but for its second run.
    let text = format!("echo >> {seen}; [ $(wc -l < {seen}) -eq 2 ] || exit 0; {deaf}");
    bench.apply(&[&Script { interval: second, timeout: second, fall: 2, ..shell("once", &text) }]);
    let status = bench.until("once", |status| status.runs == 4).await;
    assert_eq!(status.failures, 1, "{status:?} {}", log.text());
    assert_eq!(bench.report().await.health, Health::Good);
    assert!(bench.reports.try_recv().is_err() && log.count("after kill") == 0, "{}", log.text());
}

#[tokio::test]
async fn a_time_out_is_a_failure_even_if_the_script_says_success() {
    let mut bench = Bench::new();
    let check = Script {
        interval: LONG,
        timeout: Duration::from_millis(300),
        ..shell("sly", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    };
    bench.apply(&[&check]);
    assert_eq!(bench.report().await.health, Health::Bad);
    sleep(Duration::from_millis(500)).await;
    assert!(bench.reports.try_recv().is_err());
    assert_eq!(bench.status("sly").health, Health::Bad);
}

#[tokio::test]
async fn what_cannot_be_run_has_failed_and_works_once_mended() {
    let mut bench = Bench::new();
    let log = Log::here();
    let (missing, plain) = (bench.path("missing"), bench.path("plain"));
    write_script(&plain, "#!/bin/sh\nexit 0\n", 0o644);
    let mut stranger = shell("stranger", "true");
    stranger.command.user = Some(UserSpec { user: "no-such-user".to_owned(), group: None });
    bench.apply(&[&script("missing", &[&missing]), &script("plain", &[&plain]), &stranger]);
    let mut said = BTreeMap::new();
    for _ in 0..3 {
        let report = bench.report().await;
        assert_eq!(report.health, Health::Bad);
        said.insert(report.name, report.detail);
    }
    assert_eq!(
        said["missing"],
        format!("could not be run: `{missing}`: No such file or directory")
    );
    assert!(said["plain"].contains("is not executable by"), "{said:?}");
    assert_eq!(said["stranger"], "could not be run: user `no-such-user` does not exist");

    // Tried again each time, but told once.
    bench.until("missing", |status| status.runs > 4).await;
    assert_eq!(log.count("VRRP_Script(missing) can't be run"), 1, "{}", log.text());

    write_script(&missing, "#!/bin/sh\nexit 0\n", 0o755);
    write_script(&plain, "#!/bin/sh\nexit 0\n", 0o755);
    let mut good = [bench.report().await, bench.report().await];
    good.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(
        good.map(|it| (it.name, it.health)),
        [("missing".to_owned(), Health::Good), ("plain".to_owned(), Health::Good)]
    );
    fs::remove_file(&plain).unwrap();
    let report = bench.report().await;
    assert_eq!((report.name.as_str(), report.health), ("plain", Health::Bad));
}

#[tokio::test]
async fn the_log_speaks_keepaliveds_words() {
    let mut bench = Bench::new();
    let log = Log::here();
    let status = bench.path("status");
    fs::write(&status, "0").unwrap();
    bench.apply(&[&shell("chk", &format!("exit $(cat {status})"))]);
    bench.report().await;
    fs::write(bench.path("new"), "4").unwrap();
    fs::rename(bench.path("new"), &status).unwrap();
    bench.report().await;
    let text = log.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("cript")).collect();
    let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or(99);
    let want = [
        "VRRP_Script(chk) succeeded",
        "Script `chk` now returning 4",
        "VRRP_Script(chk) failed (exited with status 4)",
    ];
    let found = want.map(at);
    assert!(found.is_sorted() && found[2] < 99, "{text}");
}

#[tokio::test]
async fn a_reload_leaves_alone_what_did_not_change() {
    let mut bench = Bench::new();
    let kept = shell("kept", "true");
    let gone_pids = bench.path("gone");
    let gone = Script {
        interval: LONG,
        timeout: LONG,
        ..shell("gone", &format!("sleep 600 & echo $! >> {gone_pids}; wait"))
    };
    let changed = shell("changed", "true");
    bench.apply(&[&kept, &gone, &changed]);
    bench.until("kept", |status| status.runs >= 3).await;
    bench.until("changed", |status| status.runs >= 3).await;
    let sleeper = bench.pids("gone", 1).await[0];
    assert!(!is_gone(sleeper));
    let before = bench.status("kept").runs;

    let mut moved = kept.clone();
    moved.weight = Weight { value: -20, reverse: false };
    (moved.span, moved.command.span) = (40..44, 50..60);
    moved.command.text = "written otherwise".to_owned();
    let slower =
        Script { timeout: Duration::from_secs(5), ..shell("changed", "sleep 0.3; exit 1") };
    bench.apply(&[&moved, &slower]);
    assert!(bench.status("kept").runs >= before, "it started anew");
    // Anew, but the old verdict stands until there is a result.
    assert_eq!(bench.status("changed").runs, 0);
    assert_eq!(bench.status("changed").health, Health::Good);
    assert!(!bench.scripts.status().contains_key("gone"));
    wait_for(PATIENCE, || is_gone(sleeper).then_some(())).await.expect("the group ended");

    while let Ok(early) = bench.reports.try_recv() {
        assert_eq!(early.health, Health::Good, "{early:?}");
    }
    let report = bench.report().await;
    assert_eq!((report.name.as_str(), report.health), ("changed", Health::Bad));
    sleep(Duration::from_millis(200)).await;
    assert!(bench.reports.try_recv().is_err(), "nothing of the one that is gone");
}

#[tokio::test]
async fn shutdown_takes_no_longer_than_it_may() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let deaf = Script {
        interval: LONG,
        timeout: LONG,
        ..shell("deaf", &format!("trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.1; done"))
    };
    bench.apply(&[&deaf]);
    let pid = bench.pids("pids", 1).await[0];
    let begun = Instant::now();
    bench.scripts.shutdown(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(is_gone(pid));
    assert!(bench.reports.try_recv().is_err());
}

#[tokio::test]
async fn a_dropped_set_leaves_no_process() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let check = Script {
        interval: LONG,
        timeout: LONG,
        ..shell("chk", &format!("trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.1; done"))
    };
    bench.apply(&[&check]);
    let pid = bench.pids("pids", 1).await[0];
    let Bench { scripts, dir: _dir, .. } = bench;
    drop(scripts);
    wait_for(PATIENCE, || is_gone(pid).then_some(())).await.expect("it is killed");
}

#[tokio::test]
async fn a_script_starts_in_a_known_state() {
    let mut bench = Bench::new();
    // A descriptor without close-on-exec, and a blocked signal.
    let leaked = nix::unistd::dup(fs::File::open("/dev/zero").unwrap()).unwrap();
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGUSR2).thread_block().unwrap();
    let (out, signals) = (bench.path("out"), bench.path("signals"));
    let text = format!("{{ env; ls -l /proc/$$/fd; cut -d' ' -f1,5 /proc/$$/stat; }} > {out}");
    bench.apply(&[
        &Script { interval: LONG, ..shell("state", &text) },
        // Not as a child of the shell, which blocks signals of its own.
        &Script {
            interval: LONG,
            ..shell("signals", &format!("exec grep ^Sig /proc/self/status > {signals}"))
        },
    ]);
    for _ in 0..2 {
        assert_eq!(bench.report().await.health, Health::Good);
    }
    drop(leaked);
    let seen = fs::read_to_string(&out).unwrap();
    assert!(!seen.contains("LD_LIBRARY_PATH="), "{seen}");
    assert!(seen.contains("PATH="), "{seen}");
    assert!(!seen.contains("/dev/zero"), "{seen}");
    assert!(seen.contains("0 -> /dev/null"), "{seen}");
    let (pid, group) = seen.trim_end().lines().last().unwrap().split_once(' ').unwrap();
    assert_eq!(pid, group, "{seen}");

    let seen = fs::read_to_string(&signals).unwrap();
    let mask = |name: &str| {
        let line = seen.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // Without 32 and 33, which belong to the C library.
        u64::from_str_radix(line.trim(), 16).unwrap() & !(0b11 << 31)
    };
    assert_eq!((mask("SigBlk:"), mask("SigIgn:")), (0, 0), "{seen}");
}

#[test]
fn a_script_ends_with_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let text = format!("echo $$ >> {}; exec sleep 600", pids.display());
    let pid = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pid = runtime.block_on(async {
            let mut bench = Bench::new();
            bench.apply(&[&Script { interval: LONG, timeout: LONG, ..shell("chk", &text) }]);
            let read = || fs::read_to_string(&pids).ok()?.trim().parse::<i32>().ok();
            let pid = wait_for(PATIENCE, read).await.unwrap();
            // As if the process died: nothing of ours ends the script.
            std::mem::forget(bench);
            pid
        });
        std::mem::forget(runtime);
        pid
    })
    .join()
    .unwrap();
    let begun = Instant::now();
    while !is_gone(pid) {
        assert!(begun.elapsed() < PATIENCE, "{pid} lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_signal_is_a_failure_real_time_ones_too() {
    let mut bench = Bench::new();
    bench.apply(&[&shell("chk", "kill -KILL $$")]);
    assert_eq!(bench.report().await.detail, "due to signal 9");
    let mut bench = Bench::new();
    bench.apply(&[&shell("chk", "kill -40 $$")]);
    assert_eq!(bench.report().await.detail, "due to signal 40");
}

#[tokio::test]
async fn a_file_without_interpreter_line_is_the_shells() {
    let mut bench = Bench::new();
    let path = bench.path("with blank");
    write_script(&path, "[ \"$1\" = 'one two' ] && [ $# = 1 ]\n", 0o755);
    bench.apply(&[&script("chk", &[&path, "one two"])]);
    let report = bench.report().await;
    assert_eq!(report.health, Health::Good, "{report:?}");
}
