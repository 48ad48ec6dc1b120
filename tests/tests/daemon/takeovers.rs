//! Where the time of a takeover went, as it is told: in the log and by `status`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::together;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, brisk};

/// The Master_Down_Interval of [`brisk`] with a priority of 100, in milliseconds.
const DOWN: f64 = 3.0 * 400.0 + 400.0 * 156.0 / 256.0;
/// How far the stamps of the kernel and of a busy host may be apart.
const SLACK: f64 = 5.0;

#[test]
fn where_the_time_went() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("after a silence", after_a_silence),
        ("where nobody is to be told", where_nobody_is_to_be_told),
        ("of each its own advert", of_each_its_own_advert),
    ])
}

/// The line of a takeover, once it is there: its beginning, and each stage's milliseconds.
fn told(daemon: &Daemon, name: &str) -> Result<(String, BTreeMap<String, f64>)> {
    daemon.wait_log(&format!("({name}) took over"), LIMIT)?;
    let log = daemon.log();
    let mut lines = log.lines().filter_map(|line| line.split_once(&format!("({name}) took over")));
    let (_, line) = lines.next().context("no line")?;
    ensure!(lines.next().is_none(), "told twice: {}", daemon.log_end());
    let (begin, stages) = line.split_once(": ").with_context(|| line.to_owned())?;
    let stage = |text: &str| -> Result<(String, f64)> {
        let text = text.trim();
        let (rest, unit) = text.rsplit_once(' ').with_context(|| line.to_owned())?;
        let (name, number) = rest.split_once(' ').with_context(|| line.to_owned())?;
        let factor = if unit == "s" { 1000.0 } else { 1.0 };
        Ok((name.to_owned(), number.parse::<f64>()? * factor))
    };
    Ok((begin.to_owned(), stages.split(',').map(stage).collect::<Result<_>>()?))
}

/// Two that change together.
fn two(priority: u8, second: Instance, group: &[&str]) -> String {
    let both = Conf::new(3).with(brisk(priority)).with(second.named("VI_2", 52));
    both.group("G", &["VI_1", "VI_2"], group).text()
}

/// The notify command is the group's alone, as where one script moves all of a host.
fn after_a_silence() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let like = |priority| brisk(priority).holding(&["192.0.2.251/24"]);
    let mut r1 = lab.run("r1", &two(150, like(150), &[]))?;
    let held = |host, daemon: &Daemon| {
        let both = || ["192.0.2.250", "192.0.2.251"].iter().all(|ip| lab.holds(host, ip));
        wait_until(&format!("{host} has both"), LIMIT, both).with_context(|| daemon.log_end())
    };
    held("r1", &r1)?;
    let r2 = lab.run("r2", &two(100, like(100), &["notify_master /bin/true"]))?;
    let follows = || {
        let all = r2.status().ok();
        let heard = |name: &str| all.as_ref()?.instance(name).ok()?.peer().map(drop);
        heard("VI_1").and(heard("VI_2")).is_some()
    };
    wait_until("r2 follows", LIMIT, follows).with_context(|| r2.log_end())?;
    r1.kill()?;
    held("r2", &r2)?;
    let mut silences = Vec::new();
    for name in ["VI_1", "VI_2"] {
        let (begin, stages) = told(&r2, name)?;
        ensure!(begin.starts_with(" in "), "{begin}");
        let names: Vec<_> = stages.keys().map(String::as_str).collect();
        ensure!(names == ["address", "advert", "announced", "silence"], "{names:?}");
        ensure!(stages["advert"] <= stages["announced"], "{stages:?}");
        ensure!(stages["address"] <= stages["announced"], "{stages:?}");
        let notified = || r2.status().ok()?.instance(name).ok()?.stage("notify_ms");
        wait_until("the command ran", LIMIT, || notified().is_some())
            .with_context(|| r2.log_end())?;
        let status = r2.status()?;
        let of = status.instance(name)?;
        for (stage, told) in &stages {
            let shown = of.stage(&format!("{stage}_ms")).with_context(|| of.json())?;
            ensure!((shown - told).abs() < 0.1, "{stage}: {told} in the log, {}", of.json());
        }
        silences.push(stages["silence"]);
    }
    // Each waited for the one that was heard last.
    let shortest = silences.iter().copied().fold(f64::INFINITY, f64::min);
    ensure!((shortest - DOWN).abs() < SLACK, "{silences:?}");
    Ok(())
}

/// A service that answers on `lo`, as behind LVS.
fn where_nobody_is_to_be_told() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let conf = brisk(100).holding(&["192.0.2.9/32 dev lo", "192.0.2.8/32 dev lo"]).alone(3);
    let r1 = lab.run("r1", &conf)?;
    let (_, stages) = told(&r1, "VI_1")?;
    let names: Vec<_> = stages.keys().map(String::as_str).collect();
    ensure!(names == ["address", "advert"], "{names:?}");
    let status = r1.status()?;
    let of = status.instance("VI_1")?;
    ensure!(of.stage("address_ms").is_some(), "{}", of.json());
    ensure!(of.stage("announced_ms").is_none(), "{}", of.json());
    Ok(())
}

/// There is no way to the only peer of one of two, and the adverts of the other leave at the same time.
fn of_each_its_own_advert() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    lab.ns("r1").ip("addr add 2001:db8::11/64 dev eth0 nodad")?;
    let second = brisk(100)
        .holding(&["2001:db8::250/64"])
        .line("unicast_src_ip 2001:db8::11")
        .track("unicast_peer", &["2001:db8:1::12"]);
    let r1 = lab.run("r1", &two(100, second, &[]))?;
    let ((_, first), (_, second)) = (told(&r1, "VI_1")?, told(&r1, "VI_2")?);
    ensure!(first.contains_key("advert"), "{first:?}: {}", r1.log_end());
    ensure!(!second.contains_key("advert"), "{second:?}: {}", r1.log_end());
    let status = r1.status()?;
    let of = status.instance("VI_2")?;
    ensure!(of.stage("advert_ms").is_none(), "{}", of.json());
    ensure!(of.stage("announced_ms").is_some(), "{}", of.json());
    Ok(())
}
