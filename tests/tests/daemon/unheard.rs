//! A MASTER that nobody hears: it is told, in the log and by `status`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::generator::Beat;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP, state, wait_state};

/// As long as r1 is MASTER at least before its adverts can't be sent again: far longer than it ever waits
/// for an advert of r2, and longer than what a busy machine adds to that.
const REIGN: Duration = Duration::from_secs(3);

const FAULT: &str = "Entering FAULT STATE";

#[test]
fn a_master_that_nobody_hears_is_told() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("adverts longer than the MTU", too_long),
        ("more addresses than the MTU has room for", too_many),
        ("adverts that have become too long on all routers", too_long_for_all),
        ("without a link that is tracked", untracked),
        ("a peer that hears nothing", one_way),
    ])
}

/// With 30 addresses, an advert of version 3 has 148 bytes.
pub(super) fn long(priority: u8) -> String {
    let addresses: Vec<String> = (0..30).map(|n| format!("192.0.2.{}/24", 221 + n)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    Instance::new(priority).every("0.4").holding(&addresses).alone(3)
}

fn too_long() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let r1 = lab.run("r1", &long(250))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &long(150))?;
    for round in 1..=2 {
        lab.ns("r1").ip("link set eth0 mtu 100")?;
        wait_state(&r1, "VI_1", "FAULT")?;
        wait_state(&r2, "VI_1", "MASTER")?;
        wait_until("r1 has let go", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])?;
        let words = "it has 148 bytes, and the MTU of eth0 is 100";
        // The second time is within the same minute.
        ensure!(r1.count_log(words) == 1, "{}", r1.log());
        let status = r1.status()?;
        let one = status.instance("VI_1")?;
        let (cause, adverts) = one.failing().with_context(|| one.json())?;
        ensure!(cause.contains(words) && adverts >= 3, "{}", one.json());
        ensure!(one.why().contains("no advert could be sent"), "{}", one.json());
        if round == 2 {
            let tried =
                || -> Option<u64> { Some(r1.status().ok()?.instance("VI_1").ok()?.failing()?.1) };
            wait_until("it has tried again", LIMIT, || tried() > Some(adverts))?;
        }
        lab.ns("r1").ip("link set eth0 mtu 1500")?;
        // At once, and not when it would try again: that is 20 s later by now.
        let listens = || state(&r1, "VI_1").is_ok_and(|state| state != "FAULT");
        wait_until("r1 listens", Duration::from_secs(10), listens)?;
        wait_state(&r1, "VI_1", "MASTER")?;
        wait_state(&r2, "VI_1", "BACKUP")?;
        let status = r1.status()?;
        let one = status.instance("VI_1")?;
        ensure!(one.failing().is_none(), "{}", one.json());
        // It heard r2 before and after it was MASTER itself.
        let gap = one.longest_gap().with_context(|| one.json())?;
        ensure!(gap < REIGN.as_secs_f64() * 1000.0, "{}", one.json());
        if round == 1 {
            pause(REIGN.as_millis() as u64);
        }
    }
    Ok(())
}

/// An MTU that is small from the start leaves some out, on both routers alike; a reload, and nothing else,
/// looks at it again.
fn too_many() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    for host in ["r1", "r2"] {
        lab.ns(host).ip("link set eth0 mtu 100")?;
    }
    let r1 = lab.run("r1", &long(250))?;
    let r2 = lab.run("r2", &long(150))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    r1.wait_log("has room for 18 addresses in an advert", LIMIT)?;
    wait_until("all are held", LIMIT, || lab.holds("r1", "192.0.2.239"))?;
    wait_until("r2 hears it", LIMIT, || {
        r2.status().is_ok_and(|it| it.instance("VI_1").is_ok_and(|one| one.counter("accepted") > 1))
    })?;
    ensure!(r2.count_log("VIPs but received") == 0, "{}", r2.log());
    for host in ["r1", "r2"] {
        lab.ns(host).ip("link set eth0 mtu 1500")?;
    }
    r1.reload(&long(250))?;
    r2.wait_log("expected 18 VIPs but received 30", LIMIT)?;
    ensure!(r1.count_log("has room for") == 1, "{}", r1.log());
    Ok(())
}

/// Where nobody can send them whole, they are cut, and whole again with the MTU; and where another MASTER
/// speaks that does not heed them, too.
fn too_long_for_all() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let r1 = lab.run("r1", &long(250))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &long(150))?;
    let resize = |mtu: u32| -> Result<()> {
        ["r1", "r2"]
            .iter()
            .try_for_each(|host| lab.ns(host).ip(&format!("link set eth0 mtu {mtu}")).map(drop))
    };
    resize(100)?;
    wait_state(&r1, "VI_1", "FAULT")?;
    r1.wait_log("nobody else speaks for it: its adverts are cut", LIMIT)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    r2.wait_log("expected 30 VIPs but received 18", LIMIT)?;
    wait_until("all are held", LIMIT, || lab.holds("r1", "192.0.2.239"))?;
    // It does not stand against one that does not heed what is cut.
    let rival = Beat {
        source: Ipv4Addr::new(192, 0, 2, 99),
        version: 3,
        vrid: 51,
        priority: 100,
        interval_ms: 400,
        addresses: (221..239).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect(),
        password: None,
    };
    wait_until("it gives way", LIMIT, || {
        lab.inject("r2", &rival.frame()).is_ok() && r1.count_log("its adverts are cut no more") == 1
    })?;
    wait_until("it is a fault", LIMIT, || r1.count_log(FAULT) == 2)?;
    wait_until("and cut again", LIMIT, || r1.count_log("nobody else speaks for it") == 2)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let cut = r2.count_log("expected 30 VIPs");
    resize(1500)?;
    let heard = || -> Result<u64> { Ok(r2.status()?.instance("VI_1")?.counter("accepted")) };
    let before = heard()?;
    wait_until("r2 hears it", LIMIT, || heard().is_ok_and(|now| now > before + 3))?;
    ensure!(r2.count_log("expected 30 VIPs") == cut && state(&r1, "VI_1")? == "MASTER");
    // It is MASTER still, and another MTU that is too small is a fault again.
    let last = r1.count_log(FAULT);
    lab.ns("r1").ip("link set eth0 mtu 100")?;
    wait_until("it is a fault", LIMIT, || r1.count_log(FAULT) > last)?;
    wait_state(&r2, "VI_1", "MASTER").map(drop)
}

/// keepalived stays MASTER where the link is not tracked. So does this, but says that nothing leaves.
fn untracked() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let conf = Instance::new(150).every("0.2").line("dont_track_primary").alone(3);
    let r1 = lab.run("r1", &conf)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.ns("r1").ip("link set eth0 down")?;
    r1.wait_log("(VI_1) advert can't be sent: ", LIMIT)?;
    let failing = |daemon: &Daemon| -> Result<Option<u64>> {
        let status = daemon.status()?;
        Ok(status.instance("VI_1")?.failing().map(|(_, adverts)| adverts))
    };
    wait_until("some did not leave", LIMIT, || matches!(failing(&r1), Ok(Some(10..))))?;
    ensure!(state(&r1, "VI_1")? == "MASTER", "{}", r1.log());
    let sent = || Ok::<_, anyhow::Error>(r1.status()?.instance("VI_1")?.counter("sent"));
    let before = sent()?;
    pause(500);
    ensure!(sent()? == before, "what does not leave is counted: {}", r1.log());
    lab.ns("r1").ip("link set eth0 up")?;
    r1.wait_log("(VI_1) adverts leave again", LIMIT)?;
    ensure!(failing(&r1)?.is_none() && sent()? > before);
    Ok(())
}

/// The switch lets none of the group's frames through to r2.
fn one_way() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let conf = |priority| Instance::new(priority).every("0.4").alone(3);
    let r1 = lab.run("r1", &conf(150))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.switch().sh("bridge link set dev p-r2 mcast_flood off")?;
    let r2 = lab.run("r2", &conf(100))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let words = "(VI_1) 192.0.2.12 goes on as MASTER with priority 100: it does not hear us; look for a \
                 firewall (protocol 112, 224.0.0.18) or IGMP snooping there";
    r1.wait_log(words, LIMIT)?;
    pause(1000);
    ensure!(r1.count_log("goes on as MASTER") == 1, "{}", r1.log());
    let others = |count| {
        let status = r1.status()?;
        let others = status.instance("VI_1")?.other_masters().len();
        Ok::<_, anyhow::Error>(others == count)
    };
    let status = r1.status()?;
    let one = status.instance("VI_1")?;
    ensure!(one.other_masters() == [("192.0.2.12", 100)], "{}", one.json());
    ensure!(r2.status()?.instance("VI_1")?.other_masters().is_empty(), "{}", r2.log());
    lab.switch().sh("bridge link set dev p-r2 mcast_flood on")?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    wait_until("it is over", LIMIT, || others(0).unwrap_or(false)).map(drop)
}
