//! A source that no link has: on a dummy, or on a VRF's own interface, which are up and have a MAC address.

use anyhow::{Context, Result, ensure};
use vrrp_tests::Lab;
use vrrp_tests::conf::Instance;

use crate::{becomes, of, until};

/// The sources of r1 and r2.
const SOURCES: [&str; 2] = ["203.0.113.11", "203.0.113.12"];

/// An instance without an interface whose source and peer are these.
fn conf(instance: Instance, source: &str, peer: &str) -> String {
    let source = format!("unicast_src_ip {source}");
    let instance = instance.on("").line(&source).track("unicast_peer", &[peer]);
    instance.alone(3).replace("    interface \n", "")
}

/// Where each finds the other's source: on one LAN.
const STRAIGHT: [&str; 2] = ["192.0.2.12", "192.0.2.11"];
/// On a LAN each.
const CROSSED: [&str; 2] = ["192.0.2.12", "198.18.0.11"];

/// Two routers find each other by the routes to their sources, and one of them is MASTER.
fn one_master(make: &[&str], device: &str, vrf: &str, vias: [&str; 2]) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let [first, second] = SOURCES;
    for (host, own, other, via) in [("r1", first, second, vias[0]), ("r2", second, first, vias[1])]
    {
        let ip = |words: &str| lab.ns(host).ip(words).map(drop);
        make.iter().try_for_each(|words| ip(words))?;
        ip(&format!("link set {device} up"))?;
        ip(&format!("addr add {own}/32 dev {device}"))?;
        ip(&format!("route add {other} via {via} {vrf}"))?;
    }
    let r2 = lab.run("r2", &conf(Instance::new(200), second, first))?;
    becomes(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &conf(Instance::new(100), first, second))?;
    let heard = || of(&r1, "VI_1", |one| one.counter("accepted")).is_ok_and(|heard| heard > 5);
    until("r1 hears r2", heard).with_context(|| r1.log_end())?;
    ensure!(of(&r1, "VI_1", |one| one.interface() == "eth0")?, "{}", r1.log_end());
    becomes(&r1, "VI_1", "BACKUP")
}

#[test]
#[ignore = "for the second kernel"]
fn a_source_on_a_dummy() -> Result<()> {
    one_master(&["link add dummy0 type dummy"], "dummy0", "", STRAIGHT)
}

#[test]
#[ignore = "for the second kernel"]
fn a_source_on_a_vrf_itself() -> Result<()> {
    let make = ["link add red type vrf table 10", "link set red up", "link set eth0 master red"];
    one_master(&make, "red", "vrf red", STRAIGHT)
}

/// Adverts of the other one come by another interface of the VRF than ours leave by.
#[test]
#[ignore = "for the second kernel"]
fn a_source_on_a_vrf_with_two_links() -> Result<()> {
    let mut make = vec!["link add red type vrf table 10", "link set red up"];
    make.extend(["link set eth0 master red", "link set eth1 master red"]);
    one_master(&make, "red", "vrf red", CROSSED)
}
