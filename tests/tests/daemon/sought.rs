//! Unicast without `interface`: the one that has the source address, which comes late, moves and goes.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, brisk, state, wait_state};

/// A network of its own, so that its addresses can move: nothing else hangs on them.
const OURS: &str = "203.0.113.11";
const THEIRS: &str = "203.0.113.21";
const MOVED: &str = "198.51.100.250";

/// An instance without an interface, with this source and this peer.
fn sought(instance: Instance, source: &str, peer: &str) -> Instance {
    let source = format!("unicast_src_ip {source}");
    instance.on("").line(&source).track("unicast_peer", &[peer])
}

/// The file, without the empty `interface`.
pub(super) fn text(conf: Conf) -> String {
    conf.text().replace("    interface \n", "")
}

fn conf() -> String {
    // Slowly enough for a start on a busy host.
    let first = Instance::new(100).holding(&["198.51.100.250/24"]);
    let second = Instance::new(100).named("VI_2", 51).holding(&["198.51.100.251/24"]);
    let conf = Conf::new(3).with(sought(first, OURS, THEIRS));
    text(conf.with(sought(second, "203.0.113.12", "203.0.113.22")))
}

fn interface_of(daemon: &Daemon, instance: &str) -> Result<(String, String)> {
    let status = daemon.status()?;
    let one = status.instance(instance)?;
    Ok((one.interface().to_owned(), one.why().to_owned()))
}

/// Whether this host's interface has an address.
fn on(lab: &Lab, device: &str, address: &str) -> bool {
    let shown = lab.ns("r1").ip(&format!("-o addr show dev {device}")).unwrap_or_default();
    shown.contains(&format!("{address}/"))
}

/// Gives a host's source address to another interface, at once.
fn shift(lab: &Lab, host: &str, source: &str, from: &str, to: &str) -> Result<()> {
    lab.ns(host).ip(&format!("addr add {source}/32 dev {to}"))?;
    lab.ns(host).ip(&format!("addr del {source}/32 dev {from}")).map(drop)
}

#[test]
fn the_interface_follows_the_source() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let ip = |command: &str| lab.ns("r1").ip(command).map(drop);
    lab.ns("r2").ip(&format!("addr add {THEIRS}/32 dev eth0"))?;
    let theirs = sought(brisk(200).holding(&["198.51.100.250/24"]), THEIRS, OURS);
    let mut r2 = lab.run("r2", &text(Conf::new(3).with(theirs)))?;
    wait_state(&r2, "VI_1", "MASTER")?;

    // It comes late.
    let r1 = lab.run("r1", &conf())?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let nowhere = (String::new(), format!("no interface has {OURS}"));
    ensure!(interface_of(&r1, "VI_1")? == nowhere, "{:?}", r1.status());
    ip(&format!("addr add {OURS}/32 dev eth0"))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    ensure!(interface_of(&r1, "VI_1")?.0 == "eth0", "{:?}", r1.status());
    wait_until("r1 hears r2 by eth0", LIMIT, || heard(&r1) > 2).with_context(|| r1.log_end())?;

    // The other one's comes to the same interface, where its virtual router is the first one's.
    ip("addr add 203.0.113.12/32 dev eth0")?;
    let taken = "203.0.113.12 is on eth0, where VI_1 is virtual router 51 already";
    wait_until("VI_2 says so", LIMIT, || {
        interface_of(&r1, "VI_2").is_ok_and(|(interface, why)| interface.is_empty() && why == taken)
    })
    .with_context(|| r1.log_end())?;

    // It moves while a MASTER is heard: nobody takes over, and its adverts come by the other LAN.
    shift(&lab, "r1", OURS, "eth0", "eth1")?;
    shift(&lab, "r2", THEIRS, "eth0", "eth1")?;
    wait_until("it is on eth1", LIMIT, || {
        interface_of(&r1, "VI_1").is_ok_and(|(interface, _)| interface == "eth1")
    })?;
    r1.wait_log("(VI_1) its interface is eth1, which has its source address", LIMIT)?;
    ensure!(r1.count_log("changed by reload") == 0, "{}", r1.log_end());
    let before = heard(&r1);
    wait_until("r1 hears r2 by eth1", LIMIT, || heard(&r1) > before + 5)?;
    ensure!(r1.count_log("(VI_1) Entering MASTER") == 0, "{}", r1.log_end());
    ensure!(r2.count_log("Entering") == 2, "r2 did not stay MASTER: {}", r2.log_end());
    // What the first one had on eth0 is free for the second.
    wait_until("VI_2 is on eth0", LIMIT, || {
        interface_of(&r1, "VI_2").is_ok_and(|(interface, _)| interface == "eth0")
    })?;
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_until("the address is on eth1", LIMIT, || on(&lab, "eth1", MOVED))?;
    wait_state(&r1, "VI_2", "MASTER")?;

    // It goes: a fault, and nothing is held any more. It comes back by itself.
    ip(&format!("addr del {OURS}/32 dev eth1"))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    ensure!(interface_of(&r1, "VI_1")?.1 == nowhere.1, "{:?}", r1.status());
    wait_until("it is off", LIMIT, || !on(&lab, "eth1", MOVED))?;
    ip(&format!("addr add {OURS}/32 dev eth1"))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    moves_as_master(&lab, &r1)
}

/// The address goes along with the source, and its router stays MASTER.
fn moves_as_master(lab: &Lab, r1: &Daemon) -> Result<()> {
    lab.ns("r1").ip("addr del 203.0.113.12/32 dev eth0")?;
    wait_state(r1, "VI_2", "FAULT")?;
    let masters = r1.count_log("(VI_1) Entering MASTER");
    shift(lab, "r1", OURS, "eth1", "eth0")?;
    wait_until("the address is on eth0", LIMIT, || {
        on(lab, "eth0", MOVED) && !on(lab, "eth1", MOVED)
    })
    .with_context(|| r1.log_end())?;
    pause(500);
    ensure!(state(r1, "VI_1")? == "MASTER", "{}", r1.log_end());
    ensure!(r1.count_log("(VI_1) Entering MASTER") == masters, "{}", r1.log_end());
    // The next worker knows it by its name, wherever it was.
    vrrp_tests::daemon::signal(r1.worker()?, Signal::SIGKILL);
    r1.wait_log("was MASTER before it was started anew", LIMIT)?;
    ensure!(on(lab, "eth0", MOVED), "{}", r1.log_end());
    let masters = r1.count_log("(VI_1) Entering MASTER");
    // Written from now on, and nothing changes.
    r1.reload(&conf().replacen("unicast_src_ip", "interface eth0\n    unicast_src_ip", 1))?;
    r1.wait_log("Reload done", LIMIT)?;
    pause(500);
    ensure!(r1.count_log("(VI_1) Entering MASTER") == masters, "{}", r1.log_end());
    ensure!(on(lab, "eth0", MOVED) && state(r1, "VI_1")? == "MASTER", "{}", r1.log_end());
    Ok(())
}

/// Routers have their source where no link's loss takes it, and find each other by routes.
#[test]
fn a_source_that_no_link_has_is_reached_by_a_route() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let ip = |host: &str, command: &str| lab.ns(host).ip(command).map(drop);
    for (host, own) in [("r1", OURS), ("r2", THEIRS)] {
        ip(host, "link set lo up")?;
        ip(host, &format!("addr add {own}/32 dev lo"))?;
    }
    ip("r2", &format!("route add {OURS} via 192.0.2.11"))?;
    let held = ["198.51.100.250/24"];
    let theirs = Conf::new(3).with(sought(brisk(200).holding(&held), THEIRS, OURS));
    let ours = text(Conf::new(3).with(sought(brisk(100).holding(&held), OURS, THEIRS)));
    let mut r2 = lab.run("r2", &text(theirs))?;
    wait_state(&r2, "VI_1", "MASTER")?;

    let r1 = lab.run("r1", &ours)?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let why = interface_of(&r1, "VI_1")?.1;
    let right = format!(
        "{OURS} is on lo, where no adverts come, and has no route to a peer by another interface: \
         write `interface`"
    );
    ensure!(why == right, "{why}");
    // Nobody tells of it.
    ip("r1", &format!("route add {THEIRS} via 192.0.2.12"))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    r1.wait_log(
        &format!("(VI_1) its interface is eth0, by which its source address reaches {THEIRS}"),
        LIMIT,
    )?;
    wait_until("r1 hears r2 by eth0", LIMIT, || heard(&r1) > 5).with_context(|| r1.log_end())?;
    ensure!(r1.count_log("(VI_1) Entering MASTER") == 0, "{}", r1.log_end());
    let check = format!("{} check -f {}", xvrrp_binary().display(), r1.conf().display());
    let said = lab.ns("r1").sh(&check)?;
    let right = format!("on this host that is eth0, by which its source reaches {THEIRS}");
    ensure!(said.contains(&right), "{said}");

    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    ip("r1", &format!("route replace {THEIRS} via 198.18.0.12"))?;
    wait_until("the address is on eth1", LIMIT, || {
        on(&lab, "eth1", MOVED) && !on(&lab, "eth0", MOVED)
    })
    .with_context(|| r1.log_end())?;
    ensure!(r1.count_log("(VI_1) Entering MASTER") == 1, "{}", r1.log_end());
    Ok(())
}

/// Where another instance of the same virtual router makes room, it is not gone on for: it says its last
/// words, and the one that follows listens first.
#[test]
fn who_comes_after_another_instance_listens_first() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let written = brisk(100).named("VI_B", 51).holding(&["198.51.100.251/24"]);
    let after = brisk(100).named("VI_A", 51).holding(&["198.51.100.250/24"]);
    let after = || sought(after.clone(), "192.0.2.11", "192.0.2.100");
    let both = text(Conf::new(3).with(written).with(after()));
    let r1 = lab.run("r1", &both)?;
    wait_state(&r1, "VI_B", "MASTER")?;
    let why = interface_of(&r1, "VI_A")?.1;
    ensure!(why.ends_with("on eth0, where VI_B is virtual router 51 already"), "{why}");
    r1.reload(&text(Conf::new(3).with(after())))?;
    wait_state(&r1, "VI_A", "MASTER")?;
    ensure!(r1.count_log("(VI_A) Entering BACKUP") == 1, "{}", r1.log_end());
    let last_words = || wire.adverts().iter().filter(|seen| seen.advert.priority == 0).count();
    ensure!(last_words() == 1, "VI_B said {} last words", last_words());
    // And the other way round, where both stay.
    r1.reload(&both)?;
    wait_state(&r1, "VI_B", "MASTER")?;
    ensure!(state(&r1, "VI_A")? == "FAULT", "{}", r1.log_end());
    ensure!(r1.count_log("(VI_B) Entering BACKUP") == 2, "{}", r1.log_end());
    ensure!(last_words() == 2, "VI_A said {} last words", last_words() - 1);
    ensure!(r1.count_log("can't be put on") == 0, "{}", r1.log_end());
    Ok(())
}

/// How many adverts the first instance took.
pub(super) fn heard(daemon: &Daemon) -> u64 {
    daemon
        .status()
        .ok()
        .and_then(|s| Some(s.instance("VI_1").ok()?.counter("accepted")))
        .unwrap_or(0)
}
