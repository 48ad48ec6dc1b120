//! The protocol thread ends without having been asked to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, inject, now, wait_until};

use super::{LIMIT, VIP, brisk};

/// No address stays on a host that nobody speaks for: it is released, and the process ends with words
/// and an exit status that has it started anew.
#[test]
fn without_its_protocol_thread_the_daemon_lets_go_and_ends() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = lab.run("r1", &brisk(150).alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let r2 = lab.run("r2", &brisk(100).alone(3))?;
    r2.wait_log("following MASTER", LIMIT)?;
    let threads = inject::threads(r1.pid(), "xvrrp-protocol");
    let [thread] = threads[..] else { anyhow::bail!("protocol threads: {threads:?}") };
    let begin = now();
    inject::fail_wait(thread)?;
    let status = r1.wait(LIMIT)?;
    let took = now() - begin;
    ensure!(took < Duration::from_secs(1), "it took {took:?} to end");
    ensure!(status.code() == Some(70), "exit {status}: {}", r1.log_end());
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    for words in ["thread xvrrp-protocol panicked", "The protocol thread ended:", "internal error"]
    {
        ensure!(r1.log().contains(words), "no {words:?} in {}", r1.log_end());
    }
    let last = wire.adverts_of("r1");
    let zeros = last.iter().filter(|s| s.at > begin && s.advert.priority == 0).count();
    ensure!(zeros == 1, "{zeros} adverts of priority 0");
    let waited = wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    ensure!(waited < Duration::from_millis(700), "r2 waited {waited:?}");
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
    // With fewer the handlers of signals can't be had, which ends in a panic that says so.
    for most in 8..64 {
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
            let known = matches!(status.code(), Some(1 | 70));
            ensure!(known, "{most} descriptors: {status}: {}", r1.log_end());
            ensure!(
                r1.log().contains("Too many open files") && !r1.log().contains("panicked"),
                "{most} descriptors: {}",
                r1.log_end()
            );
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
