//! B59: which data path is chosen on interfaces that have no driver of their own, that it is told, and
//! that adverts are judged on it as on any.

use anyhow::Result;
use vrrp_tests::Lab;
use vrrp_tests::conf::{Conf, Instance};

use crate::{LIMIT, becomes, bond, cable, judged, path, tagged};

/// Of VLAN 100, with a priority.
const TAG: [u8; 4] = [0x81, 0, 0x60, 100];
/// Of a provider's VLAN 7, around the other one.
const OUTER: [u8; 4] = [0x88, 0xa8, 0, 7];

/// Each device of r1 with the words that make it.
const DEVICES: [(&str, &[&str]); 5] = [
    ("eth0.100", &["link add link eth0 name eth0.100 type vlan id 100"]),
    (
        "inner",
        &[
            "link add link eth0 name outer type vlan proto 802.1ad id 7",
            "link set outer up",
            "link add link outer name inner type vlan id 100",
        ],
    ),
    ("mv0", &["link add mv0 link eth0 type macvlan mode bridge"]),
    ("ipv0", &["link add ipv0 link s3 type ipvlan mode l2"]),
    ("dummy0", &["link add dummy0 type dummy"]),
];

#[test]
#[ignore = "for the second kernel"]
fn b59_interfaces_without_a_driver() -> Result<()> {
    // A LAN for the VLANs, and one for what would take them for its own.
    let lab = Lab::with_two_lans(&["r1", "gen"])?;
    bond::bond(&lab, "r1", "br1", "active-backup")?;
    cable(&lab, "r1", "s3", "br1")?;
    lab.ns("r1").ip("link set s3 up")?;
    for ((device, make), number) in DEVICES.iter().zip(30..) {
        make.iter().try_for_each(|words| lab.ns("r1").ip(words).map(drop))?;
        lab.ns("r1").ip(&format!("addr add 192.0.2.{number}/24 dev {device}"))?;
        lab.ns("r1").ip(&format!("link set {device} up"))?;
    }
    let all: Vec<_> = DEVICES.iter().map(|(device, _)| *device).chain(["bond0"]).collect();
    let conf = all.iter().fold(Conf::new(2), |conf, device| {
        conf.with(Instance::new(100).named(device, 51).on(device))
    });
    let daemon = lab.run("r1", &conf.text())?;
    for device in &all {
        daemon.wait_log(&format!("{device}: adverts "), LIMIT)?;
        let (way, reason) = match *device {
            // A veth lets the frames of all VLANs come up to them.
            "mv0" | "ipv0" | "bond0" => ("socket", "rx-vlan-filter"),
            _ => ("generic", "native XDP"),
        };
        path(&daemon, device, way, reason)?;
    }
    judged(&lab, &daemon, &["mv0"], "eth0", <[u8]>::to_vec)?;
    judged(&lab, &daemon, &["ipv0", "bond0"], "eth1", <[u8]>::to_vec)?;
    judged(&lab, &daemon, &["eth0.100"], "eth0", |frame| tagged(frame, TAG))?;
    judged(&lab, &daemon, &["inner"], "eth0", |frame| tagged(&tagged(frame, TAG), OUTER))?;
    becomes(&daemon, "dummy0", "MASTER")
}
