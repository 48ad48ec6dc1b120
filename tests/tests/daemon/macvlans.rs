//! Two routers whose addresses are on interfaces of their own hear each other, whichever way adverts come:
//! those of the other one come from the virtual MAC address, which is our own macvlan's, too. Unless another MAC address is
//! written.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{ADDRESS, LIMIT, VIP, brisk, state, wait_state};

const SOCKET: &str = "vrrp_datapath socket";
const AH: &str = "authentication {\n        auth_type AH\n        auth_pass secret\n    }";

#[test]
fn routers_with_macvlans_hear_each_other() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("socket", || hear(3, &[SOCKET], &["use_vmac"], &[VIP])),
        ("socket, from the base", || hear(3, &[SOCKET], &["use_vmac", "vmac_xmit_base"], &[VIP])),
        ("socket, IPv6", || {
            hear(3, &[SOCKET], &["use_vmac"], &["fe80::5e00:250", "2001:db8::250"])
        }),
        ("more addresses than XDP takes", || hear(3, &[], &["use_vmac"], &many())),
        ("generic XDP, AH", || hear(2, &["vrrp_datapath generic"], &["use_vmac", AH], &[VIP])),
        ("AH", || hear(2, &[], &["use_vmac", AH], &[VIP])),
        ("AH, from the base", || hear(2, &[], &["use_vmac", "vmac_xmit_base", AH], &[VIP])),
        ("a reload", a_reload),
        ("on a macvlan", on_a_macvlan),
    ])
}

fn many() -> Vec<&'static str> {
    let all = (0..40).map(|n| format!("192.0.2.{}", 250 - n));
    all.map(|address| &*address.leak()).collect()
}

/// The second one hears the first as BACKUP; as MASTER, when the two are together again after each was
/// alone.
fn hear(version: u8, global: &[&str], lines: &[&str], held: &[&str]) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    // Or there would be no generic mode.
    lab.tags_in_frames()?;
    let run = |host: &str, priority: u8| -> Result<Daemon> {
        let instance = Instance::new(priority).holding(held);
        let instance = lines.iter().fold(instance, |instance, line| instance.line(line));
        let conf = global.iter().fold(Conf::new(version), |conf, line| conf.global(line));
        lab.run(host, &conf.with(instance).text())
    };
    let r1 = run("r1", 200)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = run("r2", 100)?;
    // Longer than it would wait for an advert.
    pause(4500);
    ensure!(state(&r2, "VI_1")? == "BACKUP", "it does not hear: {}", r2.log_end());
    lab.cut("r2")?;
    wait_state(&r2, "VI_1", "MASTER")?;
    lab.mend("r2")?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    pause(500);
    let entered = [&r1, &r2].map(|daemon| daemon.count_log("Entering MASTER"));
    ensure!(entered == [1, 1], "{entered:?} {}", r1.log_end());
    Ok(())
}

/// One that follows a MASTER goes on with that when it gets an interface of its own.
fn a_reload() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let instance = Instance::new;
    let conf = |instance| Conf::new(3).global(SOCKET).with(instance).text();
    let r1 = lab.run("r1", &conf(instance(200).line("use_vmac")))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &conf(instance(100)))?;
    let follows = "following MASTER 192.0.2.11";
    r2.wait_log(follows, LIMIT)?;
    r2.reload(&conf(instance(100).line("use_vmac")))?;
    r2.wait_log("vrrp.51 made on eth0", LIMIT)?;
    pause(4500);
    ensure!(state(&r2, "VI_1")? == "BACKUP" && r2.count_log(follows) == 1, "{}", r2.log_end());
    let heard = |daemon: &Daemon| -> Result<u64> {
        let status = daemon.status()?;
        Ok(status.instance("VI_1")?.counter("accepted"))
    };
    let before = heard(&r2)?;
    wait_until("it hears on", LIMIT, || heard(&r2).is_ok_and(|now| now > before + 2)).map(drop)
}

/// On a macvlan adverts from the virtual MAC address are not heard: that is said, and no second MASTER.
fn on_a_macvlan() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    for (host, last) in [("r1", 11), ("r2", 12)] {
        lab.ns(host).ip("link add mv0 link eth0 type macvlan mode bridge")?;
        lab.ns(host).ip("link set mv0 up")?;
        lab.ns(host).ip(&format!("addr add 192.0.2.{last}/24 dev mv0"))?;
    }
    let on_it = |priority| Instance::new(priority).every("0.3").on("mv0").line("use_vmac");
    let from_base = |priority| on_it(priority).line("vmac_xmit_base").alone(3);
    let r1 = lab.run("r1", &on_it(200).alone(3))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    ensure!(r1.count_log("can't be used: mv0 is a macvlan, too") == 1, "{}", r1.log_end());
    r1.reload(&from_base(200))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &from_base(100))?;
    r2.wait_log("following MASTER 192.0.2.11", LIMIT)
}

/// With `use_vmac NAME MAC` adverts come from that MAC address, and whatever says where the address is names it.
#[test]
fn adverts_come_from_a_mac_address_of_ones_own() -> Result<()> {
    const OWN: [u8; 6] = [2, 0, 0x5e, 0, 0, 0x99];
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let instance = brisk(100).line("use_vmac own 02:00:5e:00:00:99");
    let r1 = lab.run("r1", &instance.alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP) && wire.adverts_of("r1").len() > 2)
        .with_context(|| r1.log_end())?;
    let shown = lab.ns("r1").ip("-d addr show dev own")?;
    ensure!(shown.contains("02:00:5e:00:00:99") && shown.contains(VIP), "{shown}");
    let adverts = wire.adverts_of("r1");
    ensure!(adverts.iter().all(|seen| seen.advert.mac == OWN), "{adverts:02x?}");
    wait_until("it is announced", LIMIT, || !wire.announcements(ADDRESS).is_empty())?;
    let said = wire.announcements(ADDRESS);
    ensure!(said.iter().all(|(_, mac)| *mac == OWN), "{said:02x?}");
    Ok(())
}
