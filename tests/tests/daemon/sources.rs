//! A source address that this host has not: a file copied from the other router, or one that comes late.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP, brisk, state, wait_state};

/// This router's address.
const OURS: &str = "192.0.2.11";
/// The other router's address.
const THEIRS: &str = "192.0.2.12";

fn unicast(instance: Instance, source: &str, peer: &str) -> String {
    instance.line(&format!("unicast_src_ip {source}")).track("unicast_peer", &[peer]).alone(3)
}

/// Over multicast the address is only what it says: the other router is heard. Over unicast nothing
/// would come to it, so it is a fault until it is there.
#[test]
fn a_copied_source_does_not_make_two_masters() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let source = format!("mcast_src_ip {THEIRS}");
    let mut r2 = lab.run("r2", &brisk(200).line(&source).alone(3))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &brisk(100).line(&source).alone(3))?;
    r1.wait_log(&format!("this host has no {THEIRS}, which its adverts come from"), LIMIT)?;
    wait_until("r1 hears r2", LIMIT, || {
        r1.status().is_ok_and(|status| {
            status.instance("VI_1").is_ok_and(|one| one.counter("accepted") > 5)
        })
    })
    .with_context(|| r1.log_end())?;
    ensure!(state(&r1, "VI_1")? == "BACKUP", "{}", r1.log_end());
    // By then it is its own, and what comes from there is not heard any more.
    lab.ns("r1").ip(&format!("addr add {THEIRS}/32 dev lo"))?;
    wait_until("r1 refuses its own address", LIMIT, || {
        r1.status().is_ok_and(|status| {
            status.instance("VI_1").is_ok_and(|one| one.refused("own_source") > 0)
        })
    })
    .with_context(|| r1.log_end())?;
    lab.ns("r1").ip(&format!("addr del {THEIRS}/32 dev lo"))?;

    r2.reload(&unicast(brisk(200), THEIRS, OURS))?;
    r1.reload(&unicast(brisk(100), THEIRS, THEIRS))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let why = r1.status()?.instance("VI_1")?.why().to_owned();
    ensure!(
        why == format!("this host has no {THEIRS}, which its adverts are to come from"),
        "{why}"
    );
    pause(2000);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "{}", r1.log_end());

    // One that comes late ends the fault.
    r1.reload(&unicast(brisk(100), "192.0.2.111", THEIRS))?;
    r2.reload(&unicast(brisk(200), THEIRS, "192.0.2.111"))?;
    r1.wait_log("Reload done", LIMIT)?;
    ensure!(state(&r1, "VI_1")? == "FAULT", "{}", r1.log_end());
    lab.ns("r1").ip("addr add 192.0.2.111/24 dev eth0")?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.ns("r1").ip("addr del 192.0.2.111/24 dev eth0")?;
    wait_state(&r1, "VI_1", "FAULT")?;
    wait_until("the address is off", LIMIT, || !lab.holds("r1", VIP))?;
    Ok(())
}

/// The source over IPv6 unicast.
const OURS6: &str = "2001:db8::11";
const THEIRS6: &str = "2001:db8::12";
/// Link-local, for adverts to the group.
const LOCAL6: &str = "fe80::11";

fn v6(priority: u8) -> Instance {
    Instance::new(priority).every("0.2").holding(&["fe80::5e00:250/64"])
}

/// Gives a host an address without asking whether another one has it.
fn take_at_once(lab: &Lab, host: &str, address: &str) -> Result<()> {
    lab.ns(host).ip(&format!("addr add {address}/64 dev eth0 nodad")).map(drop)
}

/// Gives `r1` an address, which the kernel asks for so many seconds whether another host has it.
fn take_slowly(lab: &Lab, address: &str, seconds: u32) -> Result<()> {
    let host = lab.ns("r1");
    host.sysctl("net.ipv6.conf.eth0.dad_transmits", seconds)?;
    host.ip(&format!("addr add {address}/64 dev eth0"))?;
    ensure!(is_tried(lab, address)?, "{address} is not tried");
    Ok(())
}

fn is_tried(lab: &Lab, address: &str) -> Result<bool> {
    Ok(lab.ns("r1").ip("-6 -o addr show dev eth0 tentative")?.contains(&format!("{address}/")))
}

/// As long as an address is tried, whoever is to send from there is in FAULT.
fn waits_for(lab: &Lab, r1: &Daemon, address: &str) -> Result<()> {
    let mut looks = 0;
    loop {
        let status = r1.status()?;
        if !is_tried(lab, address)? {
            break;
        }
        let one = status.instance("VI_1")?;
        let why = format!(
            "the kernel still asks whether another host has {address}, which its adverts are to come from"
        );
        let found = (one.state(), one.why());
        ensure!(found == ("FAULT", &*why), "{found:?}: {}", r1.log_end());
        looks += 1;
    }
    ensure!(looks > 0, "never looked at while {address} is tried");
    Ok(())
}

/// Until the kernel knows that no other host has an IPv6 address it answers nobody who asks for it: no
/// unicast advert comes to it, and the silence of the others says nothing.
#[test]
fn a_source_that_is_tried_is_waited_for() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("over unicast", tried_over_unicast), ("as the owner", tried_as_the_owner)])
}

fn tried_over_unicast() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    take_at_once(&lab, "r2", THEIRS6)?;
    let r2 = lab.run("r2", &unicast(v6(100), THEIRS6, OURS6))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    take_slowly(&lab, OURS6, 6)?;
    let r1 = lab.run("r1", &unicast(v6(200).line("nopreempt"), OURS6, THEIRS6))?;
    waits_for(&lab, &r1, OURS6)?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    pause(2000);
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log_end());
    ensure!(state(&r1, "VI_1")? == "BACKUP", "{}", r1.log_end());
    Ok(())
}

fn tried_as_the_owner() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    take_slowly(&lab, LOCAL6, 6)?;
    let r1 = lab.run("r1", &v6(255).line(&format!("mcast_src_ip {LOCAL6}")).alone(3))?;
    waits_for(&lab, &r1, LOCAL6)?;
    wait_state(&r1, "VI_1", "MASTER").map(drop)
}

/// A copied host: the kernel has found its source at the other one, which is heard all the same.
#[test]
fn a_source_that_another_host_has_as_well_is_not_our_own() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    take_at_once(&lab, "r2", LOCAL6)?;
    let source = format!("mcast_src_ip {LOCAL6}");
    let r2 = lab.run("r2", &v6(200).line(&source).alone(3))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    take_slowly(&lab, LOCAL6, 1)?;
    wait_until("it is known to be r2's", LIMIT, || {
        let shown = lab.ns("r1").ip("-6 -o addr show dev eth0 dadfailed");
        shown.is_ok_and(|shown| shown.contains(LOCAL6))
    })?;
    let r1 = lab.run("r1", &v6(100).line(&source).alone(3))?;
    r1.wait_log(&format!("another host also has {LOCAL6}, which its adverts come from"), LIMIT)?;
    wait_until("r1 hears r2", LIMIT, || {
        r1.status().is_ok_and(|status| {
            status.instance("VI_1").is_ok_and(|one| one.counter("accepted") > 5)
        })
    })
    .with_context(|| r1.log_end())?;
    pause(1000);
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log_end());
    // Peers would send to the other one.
    r1.reload(&unicast(v6(100), LOCAL6, "fe80::12"))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let why = r1.status()?.instance("VI_1")?.why().to_owned();
    let right = format!("another host also has {LOCAL6}, which its adverts are to come from");
    ensure!(why == right, "{why}");
    Ok(())
}

/// A file in which each router is to find the others: where it names this host alone, nobody would hear.
#[test]
fn who_has_no_peer_is_in_fault() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let host = lab.ns("r1");
    host.ip(&format!("addr add {THEIRS}/32 dev lo"))?;
    let wire = lab.capture("client")?;
    let conf = brisk(255).line("unicast_fault_no_peer").track("unicast_peer", &[OURS, THEIRS]);
    let r1 = lab.run("r1", &conf.alone(3))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let why = r1.status()?.instance("VI_1")?.why().to_owned();
    ensure!(why == "`unicast_peer` names nobody but this host", "{why}");
    pause(1500);
    ensure!(state(&r1, "VI_1")? == "FAULT" && !lab.holds("r1", VIP), "{}", r1.log_end());
    ensure!(wire.adverts().is_empty(), "it speaks: {:?}", wire.adverts());
    // The other address is another host's from now on.
    host.ip(&format!("addr del {THEIRS}/32 dev lo"))?;
    wait_state(&r1, "VI_1", "MASTER").map(drop)
}
