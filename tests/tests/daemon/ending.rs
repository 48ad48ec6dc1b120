//! The worker ends by itself: at its start for good, later to be replaced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::{one_of_three, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, inject, now, wait_until};

use super::{ADDRESS, LIMIT, VIP, brisk, master};

/// A thread that fails ends the worker, and the next one goes on where it was: neither peers nor clients
/// see more of it than an advert that is late.
#[test]
fn a_thread_that_fails_is_made_good() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("the protocol thread", || one_of_three(|| made_good("xvrrp-protocol"))),
        ("the service thread", || one_of_three(|| made_good("xvrrp-worker"))),
    ])
}

fn made_good(name: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    // Without preemption, so that it could not take back unseen what it lost.
    // And slowly enough for a start on a busy host.
    let conf = |priority| brisk(priority).every("0.8").line("nopreempt").alone(3);
    let mut r1 = lab.run("r1", &conf(150))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let r2 = lab.run("r2", &conf(100))?;
    r2.wait_log("following MASTER", LIMIT)?;
    pause(500);
    let (old, watch, begin) = (r1.worker()?, lab.watch("r1")?, now());
    inject::fail_wait(inject::thread(old, name)?)?;
    let said = format!("the worker (process {old}) ended with status 70: a new one goes on for 1");
    r1.wait_log(&said, LIMIT)?;
    pause(3500);
    ensure!(r1.exited()?.is_none(), "all of it ended: {}", r1.log_end());
    ensure!(r1.worker()? != old, "it is the same worker");
    ensure!(watch.of(ADDRESS).is_empty(), "it was touched: {:?}", watch.of(ADDRESS));
    ensure!(wire.adverts_of("r2").is_empty(), "the peer took over: {}", r1.log_end());
    let at: Vec<_> = wire.adverts_of("r1").iter().map(|s| s.at).filter(|at| *at > begin).collect();
    ensure!(at.len() > 2, "{} adverts afterwards: {}", at.len(), r1.log_end());
    let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().context("silent")?;
    // Not three intervals, after which the peer would have taken over.
    ensure!(gap < Duration::from_millis(2400), "{gap:?} between two adverts");
    ensure!(r1.status()?.instance("VI_1")?.state() == "MASTER", "{}", r1.log_end());
    // Why is said, and what was done about it; no more.
    ensure!(r1.count_log(&format!("thread {name} ")) <= 1, "{}", r1.log_end());
    ensure!(r1.count_log("Bad file descriptor") == 1, "{}", r1.log_end());
    ensure!(r1.count_log("the worker (process") == 1, "{}", r1.log_end());
    let status = r1.stop()?;
    ensure!(status.success() && !lab.holds("r1", VIP), "exit {status}: {}", r1.log_end());
    Ok(())
}

/// With any number of descriptors a start ends with words that say why, or goes on listening.
#[test]
fn too_few_descriptors_for_a_start_are_said() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = brisk(100).alone(3);
    let mut ended = 0;
    // With three the dynamic linker itself can't open a library.
    for most in 4..64 {
        let limit = format!("--nofile={most}:{most}");
        let mut r1 = Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf, &["prlimit", &limit])?;
        let settled = |r1: &Daemon| {
            ["Entering BACKUP STATE", "Entering FAULT STATE"].iter().any(|w| r1.log().contains(w))
        };
        let mut status = None;
        wait_until("it ends or starts", LIMIT, || {
            status = r1.exited().ok().flatten();
            status.is_some() || settled(&r1)
        })
        .with_context(|| format!("{most} descriptors: {}", r1.log_end()))?;
        if let Some(status) = status {
            ended += 1;
            let log = r1.log_end();
            ensure!(status.code() == Some(1), "{most} descriptors: {status}: {log}");
            ensure!(log.contains("Too many open files"), "{most} descriptors: {log}");
            for not in ["panicked", "the worker", "internal"] {
                ensure!(r1.count_log(not) == 0, "{most} descriptors: {log}");
            }
        } else if r1.log().contains("Entering FAULT STATE") {
            ensure!(
                r1.log().contains("adverts can't be received"),
                "{most} descriptors: {}",
                r1.log_end()
            );
        } else {
            pause(100);
            ensure!(r1.exited()?.is_none(), "{most} descriptors: {}", r1.log_end());
            if r1.log().contains("native mode") {
                ensure!(ended > 3, "only {ended} starts ended");
                return Ok(());
            }
        }
        r1.kill()?;
    }
    anyhow::bail!("it does not start with 64 descriptors")
}

/// A worker that can't be replaced at the moment is tried again until it can; until then nobody holds an
/// address that nobody speaks for.
#[test]
fn a_start_that_fails_later_is_tried_again() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let mut r1 = master(&lab)?;
    let (old, socket) = (r1.worker()?, r1.run_dir().join("control.sock"));
    // Where the socket is to be, there is something that can't be removed.
    std::fs::remove_file(&socket)?;
    std::fs::create_dir_all(socket.join("full"))?;
    signal(old, Signal::SIGKILL);
    r1.wait_log("it crashes again and again, so all is released", LIMIT)?;
    ensure!(r1.log().contains("control.sock: "), "{}", r1.log_end());
    ensure!(r1.log().contains("ended with status 1:"), "{}", r1.log_end());
    wait_until("nobody holds what nobody speaks for", LIMIT, || !lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    ensure!(r1.exited()?.is_none(), "all of it ended: {}", r1.log_end());
    std::fs::remove_dir_all(&socket)?;
    wait_until("it is at work", LIMIT, || r1.status().is_ok()).with_context(|| r1.log_end())?;
    let status = r1.stop()?;
    ensure!(status.success(), "exit {status}: {}", r1.log_end());
    Ok(())
}
