//! How the kernel schedules the daemon's threads, and what of its memory is locked.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const EFFECTS: &str = "xvrrp-effects";
const PROTOCOL: &str = "xvrrp-protocol";
const FIFO: u32 = 1;
const OTHER: u32 = 0;

/// A thread as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scheduled {
    policy: u32,
    level: u32,
    nice: i32,
    cpus: String,
}

/// The threads of all the daemon's processes, by name.
fn threads(daemon: &Daemon) -> BTreeMap<String, Scheduled> {
    daemon.pids().into_iter().flat_map(threads_of).collect()
}

/// The threads, once both that matter are scheduled so: on a busy host they come to that a bit later.
fn settled(daemon: &Daemon, policy: u32) -> Result<BTreeMap<String, Scheduled>> {
    let so = || {
        let threads = threads(daemon);
        [PROTOCOL, EFFECTS]
            .iter()
            .all(|name| threads.get(*name).is_some_and(|t| t.policy == policy))
    };
    wait_until("both threads are scheduled", LIMIT, so)
        .with_context(|| format!("{:?}", threads(daemon)))?;
    Ok(threads(daemon))
}

fn threads_of(pid: u32) -> BTreeMap<String, Scheduled> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let one = |path: &std::path::Path| {
        let name = fs::read_to_string(path.join("comm")).ok()?.trim_end().to_owned();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // Behind the name; the first is field 3 of proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let status = fs::read_to_string(path.join("status")).ok()?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let scheduled = Scheduled {
            policy: fields.get(38)?.parse().ok()?,
            level: fields.get(37)?.parse().ok()?,
            nice: fields.get(16)?.parse().ok()?,
            cpus: cpus.trim().to_owned(),
        };
        Some((name, scheduled))
    };
    tasks.filter_map(|entry| one(&entry.path())).collect()
}

/// A field of the worker's status in /proc, in KiB.
fn memory(daemon: &Daemon, field: &str) -> Result<u64> {
    let mut most = None;
    for pid in daemon.pids() {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        let number = value.and_then(|value| value.trim_end_matches("kB").trim().parse().ok());
        most = most.max(number);
    }
    most.with_context(|| format!("no {field}"))
}

/// A daemon with one instance and these lines in `global_defs`, run by `through`.
fn started(lab: &Lab, lines: &[&str], through: &[&str]) -> Result<Daemon> {
    let conf = lines.iter().fold(Conf::new(3), |conf, line| conf.global(line));
    let text = conf.with(Instance::new(100)).text();
    let daemon = Daemon::start_through(lab, Kind::Xvrrp, "r1", &text, through)?;
    daemon.wait_log("Entering BACKUP", LIMIT)?;
    Ok(daemon)
}

#[test]
fn real_time_and_locked_by_default() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let daemon = started(&lab, &[], &[])?;
    let threads = settled(&daemon, FIFO)?;
    let level = |name: &str| threads.get(name).map(|thread| (thread.policy, thread.level));
    assert_eq!(level(PROTOCOL), Some((FIFO, 51)), "{threads:?}");
    assert_eq!(level(EFFECTS), Some((FIFO, 50)), "{threads:?}");
    // The process that was started watches the other one, above it; all else is ordinary.
    let worker = *daemon.pids().last().context("no process")?;
    let mut ordinary = 0;
    for (name, thread) in threads_of(worker) {
        if ![PROTOCOL, EFFECTS].contains(&name.as_str()) {
            assert_eq!(thread.policy, OTHER, "{name}");
            ordinary += 1;
        }
    }
    assert!(ordinary > 0);
    assert!(memory(&daemon, "VmLck:")? > 0);
    assert_eq!(daemon.count_log("late on a busy host"), 0);
    Ok(())
}

#[test]
fn as_the_file_says() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let lines =
        ["vrrp_rt_priority 1", "vrrp_priority -5", "vrrp_no_swap off", "vrrp_cpu_affinity 0"];
    let daemon = started(&lab, &lines, &[])?;
    let threads = settled(&daemon, FIFO)?;
    for name in [PROTOCOL, EFFECTS] {
        let thread = threads.get(name).with_context(|| format!("no {name}"))?;
        // While it is a real-time thread its nice value waits.
        let right = Scheduled { policy: FIFO, level: 1, nice: -5, cpus: "0".to_owned() };
        assert_eq!(*thread, right, "{name}");
    }
    assert_eq!(memory(&daemon, "VmLck:")?, 0);
    drop(daemon);

    let daemon = started(&lab, &["vrrp_rt_priority 0", "vrrp_rlimit_rttime 20000"], &[])?;
    pause(300);
    settled(&daemon, OTHER)?;
    let pid = *daemon.pids().last().context("no process")?;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let limit = limits.lines().find(|line| line.starts_with("Max realtime timeout"));
    assert!(limit.is_some_and(|line| line.contains(" 20000 ")), "{limits}");
    Ok(())
}

/// However high the worker, the guardian is above it; and it keeps descriptors up to the hard limit.
#[test]
fn the_guardian_has_the_last_word() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    for (line, levels) in [("vrrp_rt_priority 99", (98, 99)), ("vrrp_rt_priority 20", (20, 60))] {
        let daemon = started(&lab, &[line], &["prlimit", "--nofile=64:4096"])?;
        let protocol = settled(&daemon, FIFO)?.get(PROTOCOL).map(|thread| thread.level);
        let guardian = *daemon.pids().first().context("no process")?;
        let above: Vec<u32> = threads_of(guardian).values().map(|thread| thread.level).collect();
        ensure!((protocol, &above[..]) == (Some(levels.0), &[levels.1]), "{protocol:?} {above:?}");
        let limits = fs::read_to_string(format!("/proc/{guardian}/limits"))?;
        let files = limits.lines().find(|line| line.starts_with("Max open files"));
        let raised = files.is_some_and(|line| line.split_whitespace().nth(3) == Some("4096"));
        ensure!(raised, "{limits}");
    }
    Ok(())
}

#[test]
fn what_is_not_permitted_is_told_in_one_line() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let without =
        ["setpriv", "--bounding-set=-sys_nice,-ipc_lock", "--inh-caps=-sys_nice,-ipc_lock"];
    let limits = ["prlimit", "--rtprio=0", "--nice=0"];
    let through: Vec<&str> = limits.into_iter().chain(without).collect();
    let daemon = started(&lab, &["vrrp_priority -5"], &through)?;
    let wait = || daemon.count_log("late on a busy host") > 0;
    wait_until("the line", LIMIT, wait).with_context(|| daemon.log_end())?;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("late on a busy host")).context("a line")?;
    for part in ["memory not locked (", "nice value unchanged (", "no real-time scheduling ("] {
        ensure!(line.contains(part), "{part} is not in: {line}");
    }
    assert_eq!(daemon.count_log("late on a busy host"), 1);
    assert_eq!(memory(&daemon, "VmLck:")?, 0);
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", "192.0.2.250"))?;
    Ok(())
}
