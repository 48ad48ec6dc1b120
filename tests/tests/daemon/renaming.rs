//! Interfaces that change their names while the daemon runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, now, wait_until};

use super::{LIMIT, VIP, brisk, master, state, wait_state};

#[test]
fn an_interface_that_is_renamed() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("while it is down", || away_and_back(true)),
        ("while it is up", || away_and_back(false)),
        ("that gets its name later", comes_later),
    ])
}

fn rename(lab: &Lab, from: &str, to: &str, down: bool) -> Result<()> {
    let ns = lab.ns("r1");
    if down {
        ns.ip(&format!("link set {from} down"))?;
    }
    ns.ip(&format!("link set {from} name {to}"))?;
    if down {
        ns.ip(&format!("link set {to} up"))?;
    }
    Ok(())
}

/// The router is in FAULT while no interface has its name, with nothing left on the one that had it, and
/// back when there is one again.
fn away_and_back(down: bool) -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = master(&lab)?;
    pause(500);
    rename(&lab, "eth0", "wan0", down)?;
    wait_state(&r1, "VI_1", "FAULT")?;
    wait_until("the address is off", LIMIT, || !lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    ensure!(lab.holds("r1", "192.0.2.11"), "the host's own address is gone");
    wait_until("the program is off another interface's name", LIMIT, || !attached(&lab, "wan0"))
        .with_context(|| r1.log_end())?;
    wait_until("status says so", LIMIT, || {
        r1.status()
            .is_ok_and(|status| status.datapath("eth0").is_ok_and(|(path, _)| path == "none"))
    })
    .with_context(|| format!("{:?}", r1.status()))?;
    let left = now();
    // Longer than a lone router listens.
    pause(2000);
    let since: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > left).collect();
    ensure!(since.is_empty(), "it speaks out of another interface: {since:?}");
    ensure!(state(&r1, "VI_1")? == "FAULT", "{}", r1.log_end());

    let back = now();
    rename(&lab, "wan0", "eth0", down)?;
    wait_until("it holds the address again", LIMIT, || lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    let listened = wire.adverts_of("r1").into_iter().find(|s| s.at > back).context("silent")?;
    let listened = listened.at - back;
    ensure!(listened > Duration::from_millis(1300), "it spoke after {listened:?}, unheard");
    wait_state(&r1, "VI_1", "MASTER")?;
    ensure!(attached(&lab, "eth0"), "adverts are not checked by XDP: {}", r1.log_end());
    ensure!(r1.count_log("by somebody else") == 0, "{}", r1.log_end());
    ends_clean(&lab, &mut r1)
}

/// A daemon waits for a name that no interface has yet.
fn comes_later() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let wire = vrrp_tests::Capture::start(lab.ns("client"), "eth1")?;
    let later = brisk(100).on("lan7").holding(&["198.18.0.250/24"]);
    let mut r1 = lab.run("r1", &later.alone(3))?;
    r1.wait_log("(VI_1) Entering FAULT STATE: the interface is down or not there", LIMIT)?;
    ensure!(wire.adverts().is_empty(), "it speaks");
    rename(&lab, "eth1", "lan7", true)?;
    wait_until("it holds the address", LIMIT, || lab.holds("r1", "198.18.0.250"))
        .with_context(|| r1.log_end())?;
    let shown = lab.ns("r1").ip("-o addr show dev lan7")?;
    ensure!(shown.contains("198.18.0.250/"), "it is elsewhere: {shown}");
    wait_state(&r1, "VI_1", "MASTER")?;
    ensure!(attached(&lab, "lan7"), "adverts are not checked by XDP: {}", r1.log_end());
    ends_clean(&lab, &mut r1)
}

fn ends_clean(lab: &Lab, r1: &mut Daemon) -> Result<()> {
    let status = r1.stop()?;
    ensure!(status.success(), "exit {status}: {}", r1.log_end());
    let held = lab.addresses("r1")?;
    ensure!(held.iter().all(|address| !address.contains(".250/")), "left: {held:?}");
    Ok(())
}

fn attached(lab: &Lab, device: &str) -> bool {
    lab.ns("r1").ip(&format!("-d link show dev {device}")).is_ok_and(|shown| shown.contains("xdp"))
}
