//! What is seen while there is no worker, or none that does its work: between two, and at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::{signal, xvrrp, xvrrp_binary};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, now, wait_until};

use super::{ADDRESS, LIMIT, Pair, VIP, pair};

/// All was killed, and the start that follows at once does not get to work while the peers wait.
#[test]
fn a_start_that_takes_too_long_gives_the_address_up() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    for _ in 0..5 {
        if too_slow()? {
            return Ok(());
        }
    }
    bail!("never stopped before it was at work")
}

/// False where the start was too quick to be stopped in time.
fn too_slow() -> Result<bool> {
    let Pair { mut r1, _r2, wire, lab } = pair("1")?;
    let (addresses, killed) = (lab.watch("r1")?, now());
    r1.kill()?;
    let dead = now();
    let conf = Instance::new(200).line("nopreempt").alone(3);
    let again = Daemon::start(&lab, Kind::Xvrrp, "r1", &conf, &[])?;
    wait_until("it has seen what was left", LIMIT, || has_ledger(again.pid()))
        .with_context(|| again.log_end())?;
    let slow = again.worker()?;
    signal(slow, Signal::SIGSTOP);
    pause(100);
    let is_at_work = |seen: &SeenAdvert| seen.at > dead && seen.advert.priority != 0;
    if wire.adverts_of("r1").iter().any(is_at_work) {
        return Ok(false);
    }
    wait_until("r2 has it", LIMIT, || lab.holds("r2", VIP)).with_context(|| again.log_end())?;
    let gone = addresses.gone_after(ADDRESS, killed);
    let gone = gone.with_context(|| format!("two have it: {}", again.log_end()))?;
    let first = wire.adverts_of("r2").first().context("r2 is silent")?.at;
    ensure!(gone < first, "it went {:?} after r2 had it", gone - first);
    signal(slow, Signal::SIGCONT);
    again.wait_log("Entering BACKUP", LIMIT)?;
    pause(500);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "not r2 alone: {}", again.log_end());
    let told = ["was not there in time: (VI_1)", "From an earlier life: (VI_1)"];
    let told: usize = told.iter().map(|line| again.count_log(line)).sum();
    ensure!(told == 1, "told {told} times: {}", again.log_end());
    Ok(true)
}

/// Whether a process holds a ledger.
fn has_ledger(pid: u32) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|file| file.ends_with("ledger"))
}

#[test]
fn an_end_without_a_worker_at_work_leaves_nothing() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("it is stopped", ends_stopped),
        ("there is none", ends_without),
        ("none can be started", starts_none),
    ])
}

fn master(lab: &Lab) -> Result<Daemon> {
    master_with(lab, &[])
}

fn master_with(lab: &Lab, lines: &[&str]) -> Result<Daemon> {
    let instance = lines.iter().fold(Instance::new(200), |instance, line| instance.line(line));
    let r1 = lab.run("r1", &instance.alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    Ok(r1)
}

fn ends_stopped() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let mut r1 = master(&lab)?;
    let worker = r1.worker()?;
    signal(worker, Signal::SIGSTOP);
    let status = r1.stop()?;
    ensure!(status.code() == Some(70), "exit {status}: {}", r1.log_end());
    let log = r1.log();
    let told = log.lines().find(|line| line.contains(&format!("(process {worker}) was ended by")));
    let told = told.with_context(|| format!("not told: {log}"))?;
    ensure!(told.contains("(VI_1) priority 0 sent, 192.0.2.250/24 on eth0 taken off"), "{told}");
    let why = told.contains("it had not been heard of") || told.contains("it did not end when");
    ensure!(why, "not why: {told}");
    nothing_is_left(&lab, &r1)
}

fn ends_without() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let mut r1 = master_with(&lab, &["use_vmac"])?;
    // Long enough for what follows, on a busy machine too.
    let wait = "the next start is in 4 s";
    while r1.count_log(wait) == 0 {
        let old = r1.worker()?;
        signal(old, Signal::SIGKILL);
        wait_until("the kill is seen", LIMIT, || {
            r1.count_log(wait) > 0 || r1.worker().is_ok_and(|worker| worker != old)
        })
        .with_context(|| r1.log_end())?;
    }
    says_when(&r1)?;
    // Its address is another's by now.
    let shown = lab.ns("r1").ip("-d addr show dev vrrp.51")?;
    ensure!(shown.contains("mode source") && !shown.contains(VIP), "{shown}");
    let status = r1.stop()?;
    ensure!(status.success(), "exit {status}: {}", r1.log_end());
    let loops = r1.count_log("crashes again and again");
    ensure!(loops == 3, "{loops} and not 3, or too late: {}", r1.log_end());
    nothing_is_left(&lab, &r1)
}

/// What `xvrrp status` says meanwhile.
fn says_when(r1: &Daemon) -> Result<()> {
    let dir = r1.run_dir().display().to_string();
    let output = xvrrp(&["status", "--run-dir", &dir])?;
    let said = String::from_utf8_lossy(&output.stderr);
    let right = format!("xvrrp (pid {}) has no worker at present: it crashed; the next", r1.pid());
    let seconds = said.trim().rsplit(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
    ensure!(said.contains(&right) && seconds.is_some_and(|s| (1..=4).contains(&s)), "{said}");
    ensure!(output.status.code() == Some(1), "exit {}", output.status);
    Ok(())
}

/// Nobody goes on where no process can be made, and nobody says so.
fn starts_none() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let copy = lab.dir().join("xvrrp");
    fs::copy(xvrrp_binary(), &copy)?;
    let through = format!("exec {} \"$@\"", copy.display());
    let conf = Instance::new(200).alone(3);
    let mut r1 =
        Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf, &["/bin/sh", "-c", &through])?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let worker = r1.worker()?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    signal(worker, Signal::SIGKILL);
    r1.wait_log(&format!("(process {worker}) was ended by SIGKILL: no new one can be"), LIMIT)?;
    r1.wait_log("trying again: Permission denied (os error 13); (VI_1) priority 0 sent", LIMIT)?;
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700))?;
    wait_until("r1 is MASTER again", LIMIT, || lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    ensure!(r1.count_log("a new one goes on") == 0, "{}", r1.log_end());
    ensure!(r1.count_log("priority 0 sent") == 1, "{}", r1.log_end());
    ensure!(r1.stop()?.success(), "{}", r1.log_end());
    nothing_is_left(&lab, &r1)
}

fn nothing_is_left(lab: &Lab, r1: &Daemon) -> Result<()> {
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    let files: Vec<_> =
        fs::read_dir(r1.run_dir())?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files.is_empty(), "{files:?} is left: {}", r1.log_end());
    Ok(())
}
