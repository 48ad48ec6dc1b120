//! An interface that gets another MAC address, another primary address or another index.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use vrrp_tests::status::Status;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, wait_until};

use super::unheard::long;
use super::{ADDRESS, LIMIT, VIP, brisk, master, wait_state};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const PRIMARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

#[test]
fn an_interface_that_changes() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("under the MASTER", under_the_master),
        ("under the BACKUP", under_the_backup),
        ("made anew under the MASTER", made_anew_under_the_master),
        ("made anew under the BACKUP", made_anew_under_the_backup),
        ("made anew while no advert leaves", made_anew_while_mute),
    ])
}

fn change_mac(lab: &Lab) -> Result<()> {
    lab.ns("r1").ip("link set eth0 address 02:00:00:00:00:77").map(drop)
}

/// The new one first: without `promote_secondaries` the kernel would drop all of the network's.
fn change_primary(lab: &Lab) -> Result<()> {
    lab.ns("r1").sysctl("net.ipv4.conf.eth0.promote_secondaries", 1)?;
    lab.ns("r1").ip(&format!("addr add {PRIMARY}/24 dev eth0"))?;
    lab.ns("r1").ip("addr del 192.0.2.11/24 dev eth0").map(drop)
}

/// The MAC address and the source of the last advert, and the source by `status`.
fn way(wire: &Capture, r1: &Daemon) -> Result<([u8; 6], Ipv4Addr, String)> {
    let last = wire.adverts().pop().context("no advert")?.advert;
    let source = r1.status()?.instance("VI_1")?.source().to_owned();
    Ok((last.mac, last.source, source))
}

/// It speaks, and says that it does, from its new addresses.
fn speaks_anew(wire: &Capture, r1: &Daemon) -> Result<()> {
    let expected = (MAC, PRIMARY, PRIMARY.to_string());
    wait_until("adverts come from the new addresses", LIMIT, || {
        way(wire, r1).is_ok_and(|way| way == expected)
    })
    .with_context(|| format!("{:?}: {}", way(wire, r1), r1.log_end()))?;
    Ok(())
}

fn under_the_master() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    // Announced once, and not again some time later anyway.
    let conf = brisk(100).line("garp_master_delay 0").line("garp_master_repeat 1").alone(3);
    let r1 = lab.run("r1", &conf)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    pause(300);
    change_mac(&lab)?;
    wait_until("it is announced anew", LIMIT, || {
        wire.announcements(ADDRESS).last().is_some_and(|(_, mac)| *mac == MAC)
    })
    .with_context(|| r1.log_end())?;
    change_primary(&lab)?;
    speaks_anew(&wire, &r1)?;
    ensure!(lab.holds("r1", VIP), "it let go");
    ensure!(r1.count_log("Entering MASTER") == 1, "{}", r1.log_end());
    ensure!(wire.adverts().iter().all(|seen| seen.advert.priority == 100), "it released");
    Ok(())
}

/// r1, the BACKUP of r2.
fn pair(lab: &Lab) -> Result<(Daemon, Daemon)> {
    let r2 = lab.run("r2", &brisk(200).alone(3))?;
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP)).with_context(|| r2.log_end())?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    Ok((r1, r2))
}

fn under_the_backup() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let (r1, mut r2) = pair(&lab)?;
    change_mac(&lab)?;
    change_primary(&lab)?;
    pause(2000);
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log_end());
    let is_told = |status: &Status| {
        status.instance("VI_1").is_ok_and(|one| one.source() == PRIMARY.to_string())
    };
    wait_until("status says the new one", LIMIT, || r1.status().is_ok_and(|s| is_told(&s)))
        .with_context(|| r1.log_end())?;
    let r2_alone = Ipv4Addr::new(192, 0, 2, 12);
    ensure!(wire.adverts().iter().all(|seen| seen.advert.source == r2_alone), "r1 spoke");
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    speaks_anew(&wire, &r1)?;
    wait_until("it is announced there", LIMIT, || {
        wire.announcements(ADDRESS).last().is_some_and(|(_, mac)| *mac == MAC)
    })
    .with_context(|| format!("{:02x?}", wire.announcements(ADDRESS).last()))?;
    Ok(())
}

/// Removes r1's interface and makes another one of that name.
fn make_anew(lab: &Lab, r1: &Daemon) -> Result<()> {
    let ns = lab.ns("r1");
    let index = || ns.enter(|| Ok(nix::net::if_::if_nametoindex("eth0")?));
    let before = index()?;
    ns.ip("link del eth0")?;
    r1.wait_log("Entering FAULT", LIMIT)?;
    let switch = lab.switch().name();
    // Another index, for sure.
    ns.ip(&format!(
        "link add eth0 index {} address 02:00:00:00:00:77 type veth peer name p-r1 netns {switch}",
        before + 100
    ))?;
    lab.switch().ip("link set p-r1 master br0 up")?;
    ns.ip(&format!("addr add {PRIMARY}/24 dev eth0"))?;
    ns.ip("link set eth0 up")?;
    ensure!(index()? != before, "the same index");
    Ok(())
}

fn made_anew_under_the_master() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = master(&lab)?;
    make_anew(&lab, &r1)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    speaks_anew(&wire, &r1)?;
    wait_until("it has the address", LIMIT, || lab.holds("r1", VIP))?;
    let (path, why) = r1.status()?.datapath("eth0").map(|(p, w)| (p.to_owned(), w.to_owned()))?;
    ensure!(path == "native", "{path}: {why}");
    Ok(())
}

fn made_anew_under_the_backup() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let (r1, mut r2) = pair(&lab)?;
    make_anew(&lab, &r1)?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    pause(2500);
    ensure!(r1.count_log("Entering MASTER") == 0, "deaf on the new one: {}", r1.log_end());
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    speaks_anew(&wire, &r1)
}

/// What failed at the old one is nothing to the new one.
fn made_anew_while_mute() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let r1 = lab.run("r1", &long(150))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.ns("r1").ip("link set eth0 mtu 100")?;
    wait_state(&r1, "VI_1", "FAULT")?;
    make_anew(&lab, &r1)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_until("it has the address", LIMIT, || lab.holds("r1", VIP)).map(drop)
}
