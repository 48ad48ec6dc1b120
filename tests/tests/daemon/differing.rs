//! A MASTER whose addresses are not all ours: each difference is told once, and what repeats itself wakes
//! nobody.

use anyhow::{Result, ensure};
use vrrp_tests::process::Usage;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab};

use super::{LIMIT, brisk, wait_state};

const WORDS: &str = "VIPs but received";

fn conf(priority: u8, lasts: &[u8]) -> String {
    let addresses: Vec<_> = lasts.iter().map(|last| format!("192.0.2.{last}/24")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    brisk(priority).every("0.1").holding(&addresses).alone(3)
}

/// What comes now has been heard before: the daemon is woken by far fewer than half of the adverts.
fn sleeps(daemon: &Daemon) -> Result<()> {
    let heard = || Ok::<_, anyhow::Error>(daemon.status()?.instance("VI_1")?.counter("accepted"));
    let worker = [daemon.worker()?];
    let adverts = heard()?;
    let before = Usage::of(&worker);
    pause(3000);
    let wakeups = Usage::of(&worker).since(before).wakeups;
    let adverts = heard()? - adverts;
    ensure!(adverts >= 10, "{adverts} adverts");
    println!("woken {wakeups} times while {adverts} adverts came");
    ensure!(wakeups < adverts / 2, "woken {wakeups} times by {adverts} adverts");
    Ok(())
}

#[test]
fn a_lasting_difference_is_told_once() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let r2 = lab.run("r2", &conf(200, &[250, 251]))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &conf(100, &[250, 252]))?;
    r1.wait_log(
        "expected 2 VIPs but received 2; not in it: 192.0.2.252; not ours: 192.0.2.251",
        LIMIT,
    )?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 1, "{}", r1.log());
    // Another list of theirs, and of as many.
    r2.reload(&conf(200, &[250, 253]))?;
    r1.wait_log("not ours: 192.0.2.253", LIMIT)?;
    // Another one of ours.
    r1.reload(&conf(100, &[250, 252, 254]))?;
    r1.wait_log(
        "expected 3 VIPs but received 2; not in it: 192.0.2.252; not in it: 192.0.2.254",
        LIMIT,
    )?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 3, "{}", r1.log());
    r1.reload(&conf(100, &[250, 253]))?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 3, "{}", r1.log());
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log());
    Ok(())
}
