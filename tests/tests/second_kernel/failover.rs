//! A pair of daemons: the address moves, and who has it is told on the wire.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Lab, now};

use crate::{VIP, becomes, of, path, until};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);

/// r1 is in a VRF, and r2 is not: adverts, addresses and announcements know nothing of routing tables.
#[test]
#[ignore = "for the second kernel"]
fn a_pair_of_which_one_is_in_a_vrf() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    for words in ["link add red type vrf table 10", "link set red up", "link set eth0 master red"] {
        lab.ns("r1").ip(words)?;
    }
    let wire = lab.capture("client")?;
    let announced = |host: u8, since: Duration| {
        let mac = [2, 0, 0, 0, 0, host];
        let by = |(at, by): &(Duration, [u8; 6])| *at >= since && *by == mac;
        until("the address is announced", || wire.announcements(ADDRESS).iter().any(by))
    };
    let mut r1 = lab.run("r1", &Instance::new(150).alone(3))?;
    becomes(&r1, "VI_1", "MASTER")?;
    announced(11, Duration::ZERO)?;
    let route = lab.ns("r1").ip("route get vrf red 192.0.2.100 from 192.0.2.250")?;
    ensure!(route.contains("eth0"), "the address is not the VRF's: {route}");

    let r2 = lab.run("r2", &Instance::new(100).alone(3))?;
    until("r2 follows", || of(&r2, "VI_1", |one| one.counter("accepted")).is_ok_and(|n| n > 2))?;
    for daemon in [&r1, &r2] {
        path(daemon, "eth0", "native", "")?;
        ensure!(!daemon.log().contains("timer"), "this kernel has timers: {}", daemon.log_end());
    }
    r1.kill()?;
    let killed = now();
    becomes(&r2, "VI_1", "MASTER")?;
    announced(12, killed)?;
    ensure!(lab.holds("r2", VIP), "r2 has no address: {}", r2.log_end());
    let last = wire.adverts_of("r1").last().context("r1 was silent")?.at;
    let first = wire.adverts_of("r2").first().context("r2 is silent")?.at;
    // Three intervals and the skew of priority 100: 3.609 s from the last advert heard.
    ensure!(first - last >= Duration::from_millis(3600), "after {:?}", first - last);

    // r1 hears r2 in its VRF, or it would not know that it has to begin with.
    let again = lab.run("r1", &Instance::new(150).alone(3))?;
    becomes(&again, "VI_1", "MASTER")?;
    ensure!(again.log().contains("192.0.2.12"), "r1 did not hear r2: {}", again.log_end());
    becomes(&r2, "VI_1", "BACKUP")?;
    until("r1 alone has it", || lab.holders(&["r1", "r2"], VIP) == ["r1"])
}

/// Without an interface: of two that have the source address, the one in the VRF.
#[test]
#[ignore = "for the second kernel"]
fn a_unicast_pair_of_which_one_seeks_its_source_in_a_vrf() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    for words in [
        "link add eth8 type veth peer name eth9",
        "link set eth8 up",
        "link set eth9 up",
        "addr add 192.0.2.11/32 dev eth8",
        "link add red type vrf table 10",
        "link set red up",
        "link set eth0 master red",
    ] {
        lab.ns("r1").ip(words)?;
    }
    let first = Instance::new(150).on("").holding(&["192.0.2.250/24 dev eth0"]);
    let first = first.line("vrf red").line("unicast_src_ip 192.0.2.11");
    let first = first.track("unicast_peer", &["192.0.2.12"]).alone(3);
    let r1 = lab.run("r1", &first.replace("    interface \n", ""))?;
    becomes(&r1, "VI_1", "MASTER")?;
    ensure!(of(&r1, "VI_1", |one| one.interface().to_owned())? == "eth0", "{}", r1.log_end());
    let second = Instance::new(100).line("unicast_src_ip 192.0.2.12");
    let r2 = lab.run("r2", &second.track("unicast_peer", &["192.0.2.11"]).alone(3))?;
    until("r2 follows", || of(&r2, "VI_1", |one| one.counter("accepted")).is_ok_and(|n| n > 2))
        .with_context(|| r2.log_end())?;
    ensure!(of(&r2, "VI_1", |one| one.state().to_owned())? == "BACKUP", "{}", r2.log_end());
    Ok(())
}
