//! A worker that does not end: killed, or when its guardian is gone.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::{signal, xvrrp};
use vrrp_tests::inject::{self, Undying};
use vrrp_tests::wait::together;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP};

#[test]
fn a_worker_that_does_not_end_is_told_of_and_gets_nobody_an_address() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("killed", killed),
        ("killed at the end", killed_at_the_end),
        ("without its guardian", left_alone),
    ])
}

fn master(lab: &Lab) -> Result<(Daemon, u32)> {
    let r1 = lab.run("r1", &Instance::new(200).every("0.2").alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let worker = r1.worker()?;
    Ok((r1, worker))
}

/// What `xvrrp status` complains of.
fn complaint(r1: &Daemon) -> Result<String> {
    let output = xvrrp(&["status", "--run-dir", &r1.run_dir().display().to_string()])?;
    ensure!(output.status.code() == Some(1), "exit {}", output.status);
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn killed() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let (mut r1, worker) = master(&lab)?;
    let stuck = Undying::new(inject::thread(worker, "xvrrp-protocol")?)?;
    signal(worker, Signal::SIGSTOP);
    let it = format!("the worker (process {worker}) was killed, since it had not been heard of");
    let released =
        "for too long, and is not gone yet: (VI_1) priority 0 sent, 192.0.2.250/24 on eth0";
    r1.wait_log(&format!("{it} {released}"), LIMIT)?;
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    r1.wait_log(&format!("{it} for too long, and does not end: it hangs in the kernel"), LIMIT)?;
    let said = complaint(&r1)?;
    let right = format!(
        "xvrrp (pid {}) does not answer: its worker (process {worker}) was killed and does not end",
        r1.pid()
    );
    ensure!(said.contains(&right), "{said}");
    ensure!(r1.count_log("the new worker") == 0, "there was none: {}", r1.log_end());
    drop(stuck);
    wait_until("r1 is MASTER again", LIMIT, || lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    ensure!(r1.stop()?.success(), "{}", r1.log_end());
    Ok(())
}

/// It is waited for, but not with the address.
fn killed_at_the_end() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let (mut r1, worker) = master(&lab)?;
    // The thread that would hear of the signal; the one that speaks goes on.
    let stuck = Undying::new(inject::thread(worker, "xvrrp-worker")?)?;
    stuck.stop()?;
    r1.signal(Signal::SIGTERM);
    let it =
        format!("the worker (process {worker}) was killed, since it did not end when asked to");
    r1.wait_log(&format!("{it}, and is not gone yet: (VI_1) priority 0 sent"), LIMIT)?;
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    r1.wait_log(&format!("{it}, and does not end: it hangs in the kernel"), LIMIT)?;
    ensure!(r1.exited()?.is_none(), "it has ended: {}", r1.log_end());
    drop(stuck);
    r1.wait(LIMIT)?;
    ensure!(r1.count_log("priority 0 sent") == 1, "{}", r1.log_end());
    Ok(())
}

/// Its service thread hangs, and so hears of no signal: it goes on as MASTER.
fn left_alone() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let (mut r1, worker) = master(&lab)?;
    let service = Undying::new(inject::thread(worker, "xvrrp-worker")?)?;
    service.stop()?;
    r1.signal(Signal::SIGKILL);
    r1.wait(LIMIT)?;
    let it = format!("xvrrp (worker {worker}; its main process is gone)");
    let said = complaint(&r1)?;
    let stopped =
        format!("{it} does not answer: its worker (process {worker}) is stopped, by SIGSTOP");
    ensure!(said.contains(&stopped), "{said}");
    let refused = r1.release(&lab, "r1")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let remedy = format!("{it} uses {}: `kill -9 {worker}`, then again", r1.run_dir().display());
    ensure!(refused.status.code() == Some(1) && said.contains(&remedy), "{said}");
    ensure!(lab.holds("r1", VIP), "it is off, and who holds it goes on");

    // Even where that does not end it, it never speaks again.
    let protocol = Undying::new(inject::thread(worker, "xvrrp-protocol")?)?;
    signal(worker, Signal::SIGKILL);
    drop(service);
    let done = r1.release(&lab, "r1")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let hangs = format!("the worker (process {worker}) was killed and does not end");
    ensure!(said.contains(&hangs) && said.contains("192.0.2.250/24 on eth0 taken off"), "{said}");
    ensure!(!lab.holds("r1", VIP), "the address stays");
    drop(protocol);
    Ok(())
}
