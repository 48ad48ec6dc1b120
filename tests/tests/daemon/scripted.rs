//! What those see that run or ask beside the daemon: scripts, their children, and whoever sends it signals.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Conf;
use vrrp_tests::inject::Undying;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{ADDRESS, LIMIT, VIP, brisk, master, state, wait_state};

#[test]
fn scripts_and_signals() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("signals that ask", signals_that_ask),
        ("a script's limits", limits_of_the_start),
        ("the first process of a container", nobody_is_left_dead),
        ("a check that nothing ends", a_check_that_nothing_ends),
        ("an end in spite of scripts", an_end_in_spite_of_scripts),
    ])
}

/// As exporters send them to keepalived: its numbers for DATA, STATS, JSON and STATS_CLEAR, then others
/// that end whoever does not know them.
fn signals_that_ask() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let mut r1 = master(&lab)?;
    let (watch, worker) = (lab.watch("r1")?, r1.worker()?);
    for number in ["10", "12", "36", "63", "14", "26", "27", "29", "34", "64"] {
        for pid in [r1.pid(), worker] {
            let done =
                Command::new("kill").args([&format!("-{number}"), &pid.to_string()]).status()?;
            ensure!(done.success(), "kill -{number} {pid}");
        }
    }
    r1.wait_log("SIGUSR1 changes nothing: ask `xvrrp status --json` instead", LIMIT)?;
    pause(500);
    ensure!(r1.worker()? == worker, "{}", r1.log_end());
    ensure!(state(&r1, "VI_1")? == "MASTER", "{}", r1.log_end());
    ensure!(watch.of(ADDRESS).is_empty(), "it was touched: {:?}", watch.of(ADDRESS));
    ensure!(r1.count_log("changes nothing") == 1, "{}", r1.log_end());
    ensure!(r1.stop()?.success(), "{}", r1.log_end());
    Ok(())
}

/// A script of these lines, and a configuration that runs it each second.
fn checking(lab: &Lab, lines: &str) -> Result<String> {
    let script = executable(lab, "check", lines)?.display().to_string();
    let checked = brisk(100).track("track_script", &["chk"]);
    let lines = [&format!("script \"{script}\""), "interval 1", "timeout 1", "fall 1", "rise 1"];
    let conf = Conf::new(3).global("script_user root").script("chk", &lines);
    Ok(conf.with(checked).text())
}

fn executable(lab: &Lab, name: &str, lines: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = lab.write(name, &format!("#!/bin/sh\n{lines}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Descriptors and signals are theirs as if the daemon had changed nothing for itself.
fn limits_of_the_start() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let seen = lab.dir().join("seen");
    let lines = format!(
        "echo $(ulimit -Sn) $(ulimit -Hn) $(grep SigIgn /proc/self/status) > {0}.new; mv {0}.new {0}",
        seen.display()
    );
    let conf = checking(&lab, &lines)?;
    let through = ["prlimit", "--nofile=900:4000"];
    let r1 = Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf, &through)?;
    wait_until("the script ran", LIMIT, || seen.exists()).with_context(|| r1.log_end())?;
    let seen = std::fs::read_to_string(seen)?;
    let ignored = seen.trim().strip_prefix("900 4000 SigIgn:").with_context(|| seen.clone())?;
    // The C library keeps two for itself, and nobody can set them.
    let ignored = u64::from_str_radix(ignored.trim(), 16)? & !(3 << 31);
    ensure!(ignored == 0, "{seen}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", r1.worker()?))?;
    let ours = limits.lines().find(|line| line.starts_with("Max open files"));
    ensure!(ours.is_some_and(|line| line.matches("4000").count() == 2), "{limits}");
    Ok(())
}

/// What a check leaves running becomes the first process's child.
fn nobody_is_left_dead() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let runs = lab.dir().join("runs");
    let lines = format!("setsid sleep 0.2 &\necho run >> {}", runs.display());
    let conf = checking(&lab, &lines)?;
    let through = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let r1 = Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf, &through)?;
    let count = || std::fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    wait_until("it ran often", LIMIT, || count() >= 4).with_context(|| r1.log_end())?;
    let dead = || r1.pids().into_iter().filter(|pid| is_dead(*pid)).count();
    // Whoever ended just now may be seen for a moment.
    wait_until("all are buried", Duration::from_secs(3), || dead() == 0)
        .with_context(|| r1.log_end())?;
    Ok(())
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// It hangs in the kernel: one line, failed checks, no other one beside it; and all goes on once it ends.
fn a_check_that_nothing_ends() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let (hang, pid) = (lab.dir().join("hang"), lab.dir().join("pid"));
    let lines = format!(
        "test -e {} || exit 0\necho $$ >> {}\nexec sleep 1000",
        hang.display(),
        pid.display()
    );
    // Long enough for it to be seized here.
    let conf = checking(&lab, &lines)?.replace("timeout 1", "timeout 5");
    let r1 = lab.run("r1", &conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    std::fs::write(&hang, "")?;
    let started = || read_pids(&pid);
    wait_until("it hangs", LIMIT, || !started().is_empty())?;
    let stuck = Undying::new(started()[0])?;
    std::fs::remove_file(&hang)?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let line = format!("Script chk child (PID {}) failed to terminate after kill", started()[0]);
    r1.wait_log(&line, LIMIT)?;
    pause(2200);
    ensure!(r1.count_log(&line) == 1 && started().len() == 1, "{}", r1.log_end());
    ensure!(state(&r1, "VI_1")? == "FAULT", "{}", r1.log_end());
    drop(stuck);
    wait_state(&r1, "VI_1", "MASTER")?;
    Ok(())
}

/// A check and `notify_stop` that heed no SIGTERM: the daemon has ended before its main process would end it
/// by force, with all that it has to give up, and they have ended with it.
fn an_end_in_spite_of_scripts() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let (hang, pids) = (lab.dir().join("hang"), lab.dir().join("pids"));
    let stays = format!("trap '' TERM\necho $$ >> {}\nwhile :; do sleep 1; done", pids.display());
    let check =
        executable(&lab, "check", &format!("test -e {} || exit 0\n{stays}", hang.display()))?;
    let stop = executable(&lab, "stop", &stays)?;
    let script = format!("script \"{}\"", check.display());
    let notify = format!("notify_stop \"{}\"", stop.display());
    let checked = brisk(150).track("track_script", &["chk"]).line(&notify);
    let conf = Conf::new(3).global("script_user root");
    let conf = conf.script("chk", &[&script, "interval 1", "timeout 600"]).with(checked).text();
    let mut r1 = lab.run("r1", &conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    std::fs::write(&hang, "")?;
    wait_until("the check hangs", LIMIT, || read_pids(&pids).len() == 1)?;
    ensure!(r1.stop()?.success(), "{}", r1.log_end());
    ensure!(r1.count_log("did not end when asked to") == 0, "by force: {}", r1.log_end());
    ensure!(!lab.holds("r1", VIP), "the address stays behind: {}", r1.log_end());
    let zeros = wire.adverts_of("r1").iter().filter(|seen| seen.advert.priority == 0).count();
    ensure!(zeros == 1, "{zeros} adverts of priority 0");
    let both = read_pids(&pids);
    ensure!(both.len() == 2, "`notify_stop` was not run: {}", r1.log_end());
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists() || is_dead(*pid);
    wait_until("both have ended", LIMIT, || both.iter().all(gone))?;
    Ok(())
}

fn read_pids(file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
