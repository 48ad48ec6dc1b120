//! Workers that die of being MASTER, where the peer gives the address back each time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP, next_worker};

/// Silence, Master_Down_Interval and the longest wait below, on a busy machine.
const ROUND: Duration = Duration::from_secs(60);
const LOOP: &str = "crashes again and again";

#[test]
fn one_that_dies_of_being_master_backs_off_although_it_preempts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("it preempts", || backs_off(200)),
        ("it owns the address", || backs_off(255)),
        ("none goes on for another", backs_off_at_any_distance),
    ])
}

/// r1 preempts r2 at that interval.
fn pair(interval: &str, priority: u8) -> Result<(Lab, Daemon, Daemon, Capture)> {
    let conf = |priority| Instance::new(priority).every(interval).alone(3);
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = lab.run("r1", &conf(priority))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let r2 = lab.run("r2", &conf(100))?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    Ok((lab, r1, r2, wire))
}

/// The loop is not over because a worker was silent, and listened, for longer than a crash loop is seen.
fn backs_off(priority: u8) -> Result<()> {
    let (lab, r1, _r2, wire) = pair("1", priority)?;
    for _ in 0..3 {
        let old = r1.worker()?;
        signal(old, Signal::SIGKILL);
        next_worker(&r1, old)?;
        pause(100);
    }
    for wait in [1, 2, 4] {
        wait_until("r1 is MASTER", ROUND, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
        signal(r1.worker()?, Signal::SIGKILL);
        r1.wait_log(&format!("the next start is in {wait} s"), LIMIT)?;
        wait_until("r2 has it", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])
            .with_context(|| r1.log_end())?;
    }
    ensure!(r1.count_log(LOOP) == 3, "{}", r1.log_end());
    ensure!(r1.count_log("a new one goes on for 1 instance") == 3, "{}", r1.log_end());
    // From r1 to r2 thrice, and back twice.
    let adverts = wire.adverts();
    let owners: Vec<_> =
        adverts.iter().filter(|s| s.advert.priority != 0).map(|s| s.advert.source).collect();
    let switches = owners.windows(2).filter(|pair| pair[0] != pair[1]).count();
    ensure!(switches <= 5, "{switches} changes of owner: {}", r1.log_end());
    Ok(())
}

/// Thirty milliseconds are too short for a start, so that each crash gives the address away: never four of
/// them within ten seconds.
fn backs_off_at_any_distance() -> Result<()> {
    let (lab, r1, _r2, _wire) = pair("0.01", 200)?;
    for crash in 1..=4 {
        wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
        pause(3500);
        ensure!(r1.count_log(LOOP) == 0, "a loop before the crash {crash}: {}", r1.log_end());
        let old = r1.worker()?;
        signal(old, Signal::SIGKILL);
        if crash < 4 {
            next_worker(&r1, old)?;
        }
    }
    r1.wait_log("the next start is in 1 s", LIMIT)?;
    wait_until("r2 has it", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])
        .with_context(|| r1.log_end())?;
    Ok(())
}
