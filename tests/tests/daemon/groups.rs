//! A sync group, where its daemon dies, and where it changes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{ADDRESS, LIMIT, VIP, brisk, state};

/// Slowly enough for a start on a busy host.
fn slow() -> Instance {
    Instance::new(150)
}

fn second() -> Instance {
    slow().named("VI_2", 52).on("eth1").holding(&["198.18.0.250/24"])
}

fn third() -> Instance {
    slow().named("VI_3", 53).on("eth1").holding(&["198.18.0.251/24"])
}

fn are(daemon: &Daemon, names: &[&str], expected: &str) -> bool {
    names.iter().all(|name| state(daemon, name).is_ok_and(|state| state == expected))
}

/// A new worker goes on with all of a group; a member that a reload adds disturbs nobody, and from then on
/// its fault is everybody's.
#[test]
fn a_group_outlives_its_worker_and_takes_a_member() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let two = Conf::new(3).with(slow()).with(second());
    let mut r1 = lab.run("r1", &two.clone().group("G", &["VI_1", "VI_2"], &[]).text())?;
    let is_master = |r1: &Daemon, name: &str| {
        let is_so = || r1.status().is_ok_and(|it| it.group(name).ok() == Some("MASTER"));
        wait_until("the group is MASTER", LIMIT, is_so).with_context(|| r1.log_end())
    };
    is_master(&r1, "G")?;
    ensure!(are(&r1, &["VI_1", "VI_2"], "MASTER"), "{}", r1.log_end());
    wait_until("it has the address", LIMIT, || lab.holds("r1", VIP))?;
    let watch = lab.watch("r1")?;

    let old = r1.worker()?;
    signal(old, Signal::SIGKILL);
    wait_until("there is another worker", LIMIT, || r1.worker().is_ok_and(|now| now != old))?;
    is_master(&r1, "G")?;
    pause(1500);
    let adverts = wire.adverts_of("r1");
    ensure!(adverts.iter().all(|seen| seen.advert.priority == 150), "it released");
    ensure!(watch.of(ADDRESS).is_empty(), "it was off: {}", r1.log_end());

    let before = r1.count_log("(VI_1) Entering");
    let three = two.with(third());
    r1.reload(&three.clone().group("G", &["VI_1", "VI_2", "VI_3"], &[]).text())?;
    wait_until("the new member is MASTER", LIMIT, || are(&r1, &["VI_3"], "MASTER"))
        .with_context(|| r1.log_end())?;
    ensure!(r1.count_log("(VI_1) Entering") == before, "it flapped: {}", r1.log_end());
    ensure!(watch.of(ADDRESS).is_empty(), "it was off: {}", r1.log_end());

    // Under another name it is told of anew, and nothing moves.
    let renamed = three.group("H", &["VI_1", "VI_2", "VI_3"], &[]).text();
    r1.reload(&renamed)?;
    r1.wait_log("VRRP_Group(H) Syncing instances to MASTER state", LIMIT)?;
    ensure!(r1.status()?.group("G").is_err(), "it has both names");
    ensure!(r1.count_log("(VI_1) Entering") == before, "it flapped: {}", r1.log_end());
    ensure!(watch.of(ADDRESS).is_empty(), "it was off: {}", r1.log_end());

    // All of it dies, and is started again: too late to go on, where the machine is busy.
    r1.kill()?;
    let r1 = lab.run("r1", &renamed)?;
    is_master(&r1, "H")?;
    wait_until("all are MASTER", LIMIT, || are(&r1, &["VI_1", "VI_2", "VI_3"], "MASTER"))
        .with_context(|| r1.log_end())?;

    lab.second_carrier("r1", false)?;
    wait_until("all let go", LIMIT, || are(&r1, &["VI_1", "VI_2", "VI_3"], "FAULT"))
        .with_context(|| r1.log_end())?;
    ensure!(r1.status()?.group("H")? == "FAULT", "{:?}", r1.status()?.group("H"));
    wait_until("the address is off", Duration::from_secs(2), || !lab.holds("r1", VIP))?;
    r1.wait_log("(VI_1) Entering FAULT STATE: with VI_2 of sync group H", LIMIT)
}

/// One group of all that there is: IPv4 on a link of its own with the virtual MAC address, and IPv6.
#[test]
fn a_group_of_both_families_and_a_virtual_mac() -> Result<()> {
    const OTHER: &str = "2001:db8::250";
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let conf = |priority: u8| {
        let other = brisk(priority).named("VI_6", 52).on("eth1");
        Conf::new(3)
            .with(brisk(priority).line("use_vmac"))
            .with(other.holding(&["fe80::5e00:250/64", &format!("{OTHER}/64")]))
            .group("G", &["VI_1", "VI_6"], &[])
            .text()
    };
    let holds = |host: &str| {
        let all = lab.ns(host).ip("-o -6 addr show dev eth1").unwrap_or_default();
        [lab.holds(host, VIP), all.contains(OTHER)]
    };
    let only = |host: &str, other: &str| holds(host) == [true; 2] && holds(other) == [false; 2];
    let r1 = lab.run("r1", &conf(150))?;
    wait_until("r1 has both", LIMIT, || only("r1", "r2")).with_context(|| r1.log_end())?;
    // Until its link-local address could be used it had one, too.
    let faults = || r1.count_log("VRRP_Group(G) Syncing instances to FAULT state");
    let before = faults();
    let r2 = lab.run("r2", &conf(100))?;
    r2.wait_log("(VI_6) Entering BACKUP", LIMIT)?;
    let logs = || r1.log_end() + &r2.log_end();
    // The loss of either is that of both.
    for carrier in [Lab::carrier, Lab::second_carrier] {
        pause(2000);
        ensure!(only("r1", "r2"), "r1 has not both: {}", logs());
        carrier(&lab, "r1", false)?;
        wait_until("r2 has both", LIMIT, || only("r2", "r1")).with_context(logs)?;
        ensure!(are(&r1, &["VI_1", "VI_6"], "FAULT"), "{}", logs());
        carrier(&lab, "r1", true)?;
        wait_until("r1 has both again", LIMIT, || only("r1", "r2")).with_context(logs)?;
    }
    ensure!(faults() == before + 2, "{} faults: {}", faults(), r1.log());
    let status = r1.status()?;
    for name in ["VI_1", "VI_6"] {
        let times = status.instance(name)?.counter("became_master");
        ensure!(times == 3, "{name} was MASTER {times} times: {}", logs());
    }
    Ok(())
}
