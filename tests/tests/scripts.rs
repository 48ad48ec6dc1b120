//! Whom scripts run as. Needs root: to become somebody else, and to show other accounts to one
//! thread only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use vrrp_common::Priority;
use vrrp_proto::input::Health;
use xvrrp::config::model::{Command, Notify, Script, UserSpec, Weight};
use xvrrp::notify::{Kind, Notifier, Word};
use xvrrp::track::{Policy, ScriptReport, Scripts};

const PATIENCE: Duration = Duration::from_secs(20);

/// Accounts that only this thread and what it starts can see.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    xvuser:x:4242:4243::/:/bin/sh\n\
    keepalived_script:x:4500:4501::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nxvuser:x:4243:\nweb:x:4300:xvuser\nlog:x:4301:xvuser\n";

struct Bench {
    scripts: Scripts,
    reports: UnboundedReceiver<ScriptReport>,
    dir: tempfile::TempDir,
}

impl Bench {
    /// Everybody may write into its directory.
    fn new(passwd: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (passwd_file, group_file) = (dir.path().join("passwd"), dir.path().join("group"));
        fs::write(&passwd_file, passwd).unwrap();
        fs::write(&group_file, GROUP).unwrap();
        // A mount namespace of this thread's own: threads and processes it starts get it too.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["--bind", passwd_file.to_str().unwrap(), "/etc/passwd"]);
        run("mount", &["--bind", group_file.to_str().unwrap(), "/etc/group"]);
        let (sender, reports) = unbounded_channel();
        Self { scripts: Scripts::new(sender), reports, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    async fn check(&mut self, command: Command, policy: &Policy) -> ScriptReport {
        let script = Script {
            name: "chk".to_owned(),
            command,
            interval: Duration::from_secs(600),
            timeout: PATIENCE,
            weight: Weight::default(),
            rise: 1,
            fall: 1,
            init_fail: false,
            span: 0..0,
        };
        self.scripts.apply([&script], policy);
        timeout(PATIENCE, self.reports.recv()).await.expect("a report").unwrap()
    }

    /// Runs a script that writes its own `/proc` file, and returns that.
    async fn proc(&mut self, file: &str, user: Option<UserSpec>, policy: &Policy) -> String {
        let out = self.path("out");
        let text = format!("exec cat /proc/self/{file} > {out}");
        let command = Command { user, ..command(&["/bin/sh", "-c", &text]) };
        let report = self.check(command, policy).await;
        assert_eq!(report.health, Health::Good, "{report:?}");
        fs::read_to_string(&out).unwrap()
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = process::Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        text: argv.join(" "),
        user: None,
        span: 0..0,
    }
}

fn user(name: &str, group: Option<&str>) -> UserSpec {
    UserSpec { user: name.to_owned(), group: group.map(str::to_owned) }
}

fn policy(user: Option<UserSpec>, enforce: bool) -> Policy {
    Policy { user, enforce, daemon: Uid::from_raw(0) }
}

/// The numbers of one line of `/proc/PID/status`, sorted.
fn numbers(status: &str, name: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut numbers: Vec<u32> = line.split_whitespace().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn identity(status: &str) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    (numbers(status, "Uid:"), numbers(status, "Gid:"), numbers(status, "Groups:"))
}

#[tokio::test]
async fn a_script_runs_as_its_user_with_all_its_groups_and_no_other() {
    let mut bench = Bench::new(PASSWD);
    let global = policy(Some(user("root", None)), true);
    let status = bench.proc("status", Some(user("xvuser", None)), &global).await;
    assert_eq!(identity(&status), (vec![4242; 4], vec![4243; 4], vec![4243, 4300, 4301]));
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    // The script shared our memory for a moment: that must not cost us our core dumps.
    let dumpable = || async {
        while !nix::sys::prctl::get_dumpable().unwrap() {
            // Perhaps another test is just starting one.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, dumpable()).await.expect("the daemon can leave a core dump");
}

#[tokio::test]
async fn a_written_group_is_the_primary_one() {
    let mut bench = Bench::new(PASSWD);
    let global = policy(None, true);
    let status = bench.proc("status", Some(user("xvuser", Some("log"))), &global).await;
    assert_eq!(identity(&status), (vec![4242; 4], vec![4301; 4], vec![4300, 4301]));
}

#[tokio::test]
async fn script_user_is_for_those_that_name_none() {
    let mut bench = Bench::new(PASSWD);
    let global = policy(Some(user("xvuser", None)), true);
    let status = bench.proc("status", None, &global).await;
    assert_eq!(numbers(&status, "Uid:"), [4242; 4]);
}

#[tokio::test]
async fn else_the_packages_account_is_taken() {
    let mut bench = Bench::new(PASSWD);
    let status = bench.proc("status", None, &policy(None, true)).await;
    assert_eq!(identity(&status), (vec![4500; 4], vec![4501; 4], vec![4501]));
}

#[tokio::test]
async fn else_the_daemons_own() {
    let mut bench = Bench::new("root:x:0:0:root:/root:/bin/sh\n");
    let status = bench.proc("status", None, &policy(None, false)).await;
    assert_eq!(numbers(&status, "Uid:"), [0; 4]);
}

#[tokio::test]
async fn what_root_must_not_run_has_failed_where_that_is_enforced() {
    let mut bench = Bench::new(PASSWD);
    let path = bench.path("check");
    fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let root = Some(user("root", None));
    let report = bench.check(command(&[&path]), &policy(root.clone(), true)).await;
    assert_eq!(report.health, Health::Bad);
    assert!(report.detail.contains("is run as root, but"), "{report:?}");
    assert!(report.detail.ends_with("can be changed by everybody"), "{report:?}");

    // Only where it is enforced, and only as root.
    let report = bench.check(command(&[&path]), &policy(root, false)).await;
    assert_eq!(report.health, Health::Good, "{report:?}");
    let mut other = Bench::new(PASSWD);
    let report = other.check(command(&[&path]), &policy(Some(user("xvuser", None)), true)).await;
    assert_eq!(report.health, Health::Good, "{report:?}");
}

#[tokio::test]
async fn each_way_to_let_others_write_is_seen() {
    let mut bench = Bench::new(PASSWD);
    // Below a directory that is root's alone, unlike a temporary one.
    let dir = tempfile::Builder::new().prefix("xvrrp-scr-").tempdir_in("/var/lib").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("check");
    fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
    let enforced = policy(Some(user("root", None)), true);
    let cases: [(&Path, u32, &str, Option<&str>); 6] = [
        (&path, 0o755, "0:0", None),
        (&path, 0o775, "0:0", None),
        (&path, 0o775, "0:4300", Some("can be changed by its group, gid 4300")),
        (&path, 0o757, "0:0", Some("can be changed by everybody")),
        (&path, 0o755, "4242:0", Some("can be changed by its owner, uid 4242")),
        (dir.path(), 0o777, "0:0", Some("can be changed by everybody")),
    ];
    for (number, (element, mode, owner, want)) in cases.into_iter().enumerate() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        run("chown", &["0:0", path.to_str().unwrap()]);
        fs::set_permissions(element, fs::Permissions::from_mode(mode)).unwrap();
        run("chown", &[owner, element.to_str().unwrap()]);
        // Another argument, so that each is a check of its own.
        let examined = xvrrp::track::security::examine(
            &command(&[path.to_str().unwrap(), &number.to_string()]),
            &enforced,
        );
        let said: Vec<String> = examined.problems.iter().map(ToString::to_string).collect();
        match want {
            None => assert!(said.is_empty(), "case {number}: {said:?}"),
            Some(want) => {
                let element = element.to_str().unwrap();
                let want = format!("but `{element}` {want}");
                assert!(said.len() == 1 && said[0].ends_with(&want), "case {number}: {said:?}");
            }
        }
    }
    let report = bench.check(command(&[path.to_str().unwrap()]), &enforced).await;
    assert_eq!(report.health, Health::Bad, "{report:?}");
}

#[tokio::test]
async fn a_notify_command_runs_as_its_user_too() {
    let bench = Bench::new(PASSWD);
    let out = bench.path("out");
    let text = format!("exec cat /proc/self/status > {out}");
    let notify = Notify {
        master: Some(Command {
            user: Some(user("xvuser", None)),
            ..command(&["/bin/sh", "-c", &text])
        }),
        ..Notify::default()
    };
    let mut notifier = Notifier::new(policy(None, true));
    notifier.push(Kind::Instance, "VI_1", Word::Master, Priority::new(100), &notify);
    notifier.finish(PATIENCE).await;
    let status = fs::read_to_string(&out).unwrap();
    assert_eq!(identity(&status), (vec![4242; 4], vec![4243; 4], vec![4243, 4300, 4301]));
}

#[tokio::test]
async fn a_script_has_no_part_in_real_time_scheduling() {
    let mut bench = Bench::new(PASSWD);
    run("chrt", &["--fifo", "--pid", "1", &gettid().to_string()]);
    let stat = bench.proc("stat", None, &policy(None, true)).await;
    run("chrt", &["--other", "--pid", "0", &gettid().to_string()]);
    // The fields after the name begin with the third; policy is the 41st.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[41 - 3], "0", "{stat}");
}
