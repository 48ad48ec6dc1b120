//! Interfaces of an instance's own, of a kind or in a place that not every kernel has.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Daemon, Kind, Lab, ping};

use crate::{VIP, becomes, long_enough, of, path, until};

fn answers(lab: &Lab) -> bool {
    VIP.parse().is_ok_and(|vip| ping::answers(lab.ns("client"), None, vip, 0).unwrap_or(false))
}

/// What `ip` says of an interface of r1; nothing where there is none.
fn shown(lab: &Lab, device: &str) -> String {
    lab.ns("r1").ip(&format!("-d addr show dev {device}")).unwrap_or_default()
}

/// What is set at r1's interface below: `arp_ignore` and `arp_announce`.
fn base(lab: &Lab) -> [String; 2] {
    ["arp_ignore", "arp_announce"].map(|name| {
        let read = lab.ns("r1").sh(&format!("cat /proc/sys/net/ipv4/conf/eth0/{name}"));
        read.unwrap_or_default().trim().to_owned()
    })
}

/// `use_ipvlan`: the address is on it, adverts come from the address that it has all the time.
#[test]
#[ignore = "for the second kernel"]
fn an_ipvlan_has_the_address() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let conf = Instance::new(100).line("use_ipvlan ipv0 192.0.2.21/24 private").alone(3);
    let mut r1 = lab.run("r1", &conf)?;
    becomes(&r1, "VI_1", "MASTER")?;
    until("the client is answered", || answers(&lab)).with_context(|| r1.log_end())?;
    let ipvlan = shown(&lab, "ipv0");
    for part in ["ipvlan", "private", "192.0.2.21/24", VIP] {
        ensure!(ipvlan.contains(part), "no {part}: {ipvlan}");
    }
    let adverts = wire.adverts();
    let own = Ipv4Addr::new(192, 0, 2, 21);
    let others = adverts.iter().filter(|seen| seen.advert.source != own).count();
    ensure!(!adverts.is_empty() && others == 0, "{others} of {} from others", adverts.len());
    ensure!(base(&lab) == ["0", "2"], "at the base: {:?}", base(&lab));
    ensure!(r1.count_log("somebody set it down") == 0, "{}", r1.log_end());
    lab.ns("r1").ip("link set ipv0 down")?;
    r1.wait_log("ipv0: somebody set it down; put back", crate::LIMIT)?;
    until("the client is answered again", || answers(&lab)).with_context(|| r1.log_end())?;
    r1.stop()?;
    ensure!(shown(&lab, "ipv0").is_empty(), "it stays: {}", shown(&lab, "ipv0"));
    ensure!(base(&lab) == ["0", "0"], "left at the base: {:?}", base(&lab));
    Ok(())
}

/// Heard by the socket as by XDP: the kernel gives a group's frames to the ipvlan and to the interface below,
/// and both routers hear each other there.
#[test]
#[ignore = "for the second kernel"]
fn ipvlans_fail_over_on_the_socket_path() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let start = |host: &str, number: u8, priority: u8| {
        let own = format!("use_ipvlan ipv0 192.0.2.{number}/24");
        let conf = Instance::new(priority).line(&own).alone(3);
        Daemon::start(&lab, Kind::Xvrrp, host, &conf, &["--datapath", "socket"])
    };
    let mut r1 = start("r1", 21, 150)?;
    becomes(&r1, "VI_1", "MASTER")?;
    let r2 = start("r2", 22, 100)?;
    becomes(&r2, "VI_1", "BACKUP")?;
    path(&r2, "eth0", "socket", "")?;
    until("r2 hears r1", || of(&r2, "VI_1", |one| one.counter("accepted")).is_ok_and(|n| n > 2))
        .with_context(|| r2.log_end())?;
    long_enough();
    ensure!(r2.count_log("Entering MASTER") == 0, "{}", r2.log_end());
    until("the client is answered", || answers(&lab)).with_context(|| r1.log_end())?;
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r1"]);
    r1.stop()?;
    becomes(&r2, "VI_1", "MASTER")?;
    until("the client is answered by r2", || lab.holds("r2", VIP) && answers(&lab))
        .with_context(|| r2.log_end())?;
    let sources = [21, 22].map(|n| Ipv4Addr::new(192, 0, 2, n));
    let others = wire.adverts().iter().filter(|s| !sources.contains(&s.advert.source)).count();
    ensure!(others == 0, "{others} adverts from others");
    Ok(())
}

/// On an interface in a VRF it is in the same, and follows it out of it.
#[test]
#[ignore = "for the second kernel"]
fn a_macvlan_is_in_the_vrf_of_its_base() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let ns = lab.ns("r1");
    ns.ip("link add blue type vrf table 10")?;
    ns.ip("link set blue up")?;
    ns.ip("link set eth0 master blue")?;
    let r1 = lab.run("r1", &Instance::new(100).line("use_vmac").alone(3))?;
    becomes(&r1, "VI_1", "MASTER")?;
    let in_vrf = || shown(&lab, "vrrp.51").contains("master blue");
    ensure!(in_vrf(), "{}", shown(&lab, "vrrp.51"));
    until("the client is answered", || answers(&lab)).with_context(|| r1.log_end())?;
    ns.ip("link set eth0 nomaster")?;
    until("it follows its base", || !in_vrf()).with_context(|| r1.log_end())?;
    until("the client is answered again", || lab.holds("r1", VIP) && answers(&lab))
        .with_context(|| r1.log_end())
}
