//! VLANs on the interface of an instance: with the tag in the frame, and taken off by the card.

use anyhow::{Context, Error, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::lab::number;
use vrrp_tests::{Daemon, Lab, cases};
use xvrrp::fastpath::FastPath;

use crate::{LIMIT, VIP, becomes, bond, cable, lab, path, strips, tagged, tags, until};

/// The address of the instance on the VLAN, which has the same VRID.
const ON_VLAN: &str = "198.51.100.250";

/// Which of the two kinds of VLANs: each has hardware of its own that takes its tags off.
#[derive(Clone, Copy)]
enum Proto {
    Dot1Q,
    Dot1Ad,
}

impl Proto {
    fn word(self) -> &'static str {
        match self {
            Self::Dot1Q => "802.1Q",
            Self::Dot1Ad => "802.1ad",
        }
    }

    /// The tag of VLAN 100.
    fn tag(self) -> [u8; 4] {
        match self {
            Self::Dot1Q => [0x81, 0, 0, 100],
            Self::Dot1Ad => [0x88, 0xa8, 0, 100],
        }
    }

    /// What a card that takes its tags off is told to do instead.
    fn remedy(self) -> &'static str {
        match self {
            Self::Dot1Q => "eth0.100 is on it: `ethtool -K eth0 rxvlan off`",
            Self::Dot1Ad => "eth0.100 is on it: `ethtool -K eth0 rx-vlan-stag-hw-parse off`",
        }
    }
}

fn vlan(lab: &Lab, host: &str, device: &str, (proto, number): (Proto, u8)) -> Result<()> {
    let (netns, proto) = (lab.ns(host), proto.word());
    netns
        .ip(&format!("link add link {device} name {device}.100 type vlan proto {proto} id 100"))?;
    netns.ip(&format!("addr add 198.51.100.{number}/24 dev {device}.100"))?;
    netns.ip(&format!("link set {device}.100 up"))?;
    Ok(())
}

/// `VI_1` on eth0 and `VI_2` on its VLAN, both with VRID 51.
fn conf(first: u8, second: u8) -> String {
    let on_vlan = Instance::new(second).named("VI_2", 51).on("eth0.100");
    let on_vlan = on_vlan.holding(&["198.51.100.250/24"]);
    Conf::new(2).with(Instance::new(first)).with(on_vlan).text()
}

/// That the card takes off the tags of the other kind makes no difference.
#[test]
#[ignore = "for the second kernel"]
fn b09_a_vlan_whose_tags_stay_in_the_frame() -> Result<()> {
    let lab = lab(&["r1", "r2", "gen"])?;
    for host in ["r1", "r2"] {
        strips(&lab, host, "eth0", false)?;
        vlan(&lab, host, "eth0", (Proto::Dot1Q, number(host)))?;
    }
    let r1 = lab.run("r1", &conf(150, 100))?;
    let r2 = lab.run("r2", &conf(100, 150))?;
    apart(&lab, &r1, r2, (Proto::Dot1Q, "native", ""))
}

#[test]
#[ignore = "for the second kernel"]
fn b09_a_vlan_whose_tags_the_card_takes_off() -> Result<()> {
    taken_off(Proto::Dot1Q)
}

/// By the card that does so with 802.1ad's tags alone.
#[test]
#[ignore = "for the second kernel"]
fn b09_a_service_vlan_whose_tags_the_card_takes_off() -> Result<()> {
    taken_off(Proto::Dot1Ad)
}

/// A VLAN that comes while the daemon runs takes XDP off the interface whose tags it can't see from
/// then on, until it goes. From Linux 6.3 on it sees those of a veth.
fn taken_off(proto: Proto) -> Result<()> {
    let lab = lab(&["r1", "r2", "gen"])?;
    if let Proto::Dot1Ad = proto {
        for host in ["r1", "r2"] {
            strips(&lab, host, "eth0", false)?;
        }
    }
    let seen = FastPath::load(1)?.sees_tags_on_veth();
    let (way, reason) = if seen { ("native", "") } else { ("socket", proto.remedy()) };
    let r1 = lab.run("r1", &Instance::new(150).alone(2))?;
    let r2 = lab.run("r2", &Instance::new(100).alone(2))?;
    becomes(&r1, "VI_1", "MASTER")?;
    for (host, daemon) in [("r1", &r1), ("r2", &r2)] {
        path(daemon, "eth0", "native", "")?;
        tags(&lab, &format!("p-{host}"), true)?;
        vlan(&lab, host, "eth0", (proto, number(host)))?;
        until("XDP is off", || path(daemon, "eth0", way, reason).is_ok())?;
    }
    r1.reload(&conf(150, 100))?;
    r2.reload(&conf(100, 150))?;
    apart(&lab, &r1, r2, (proto, way, reason))?;
    lab.ns("r1").ip("link del eth0.100")?;
    if !seen {
        // Not by asking: the status has a look, too.
        r1.wait_log("VLAN tags are no longer hidden", LIMIT)?;
    }
    path(&r1, "eth0", "native", "")
}

/// Each host is MASTER of one of the two, whose adverts never meet.
fn apart(
    lab: &Lab,
    r1: &Daemon,
    mut r2: Daemon,
    (proto, way, reason): (Proto, &str, &str),
) -> Result<()> {
    becomes(r1, "VI_1", "MASTER")?;
    becomes(&r2, "VI_2", "MASTER")?;
    becomes(r1, "VI_2", "BACKUP")?;
    becomes(&r2, "VI_1", "BACKUP")?;
    for daemon in [r1, &r2] {
        path(daemon, "eth0", way, reason)?;
        path(daemon, "eth0.100", "generic", "native XDP")?;
    }
    foreign(lab, proto)?;
    for daemon in [r1, &r2] {
        heard_on(daemon, "VI_2", "VI_1")?;
    }
    r2.kill()?;
    becomes(r1, "VI_2", "MASTER")?;
    until("r1 has the VLAN's address", || lab.holds("r1", ON_VLAN))?;
    ensure!(lab.holds("r1", VIP), "r1 let its own go: {}", r1.log_end());
    Ok(())
}

/// What comes up through a bond or a bridge has its tag beside it, whatever the cards do.
#[test]
#[ignore = "for the second kernel"]
fn b09_vlans_on_a_bond_and_a_bridge() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    lab.ns("r1").ip("link set eth0 down")?;
    bond::bond(&lab, "r1", "br0", "active-backup")?;
    cable(&lab, "r1", "s3", "br0")?;
    strips(&lab, "r1", "bond0", false)?;
    let bridge = "link add br9 type bridge mcast_snooping 0 forward_delay 0";
    let more = ["link set s3 master br9", "link set s3 up", "addr add 192.0.2.31/24 dev br9"];
    for words in [bridge].into_iter().chain(more).chain(["link set br9 up"]) {
        lab.ns("r1").ip(words)?;
    }
    let mut conf = Conf::new(2);
    for (device, number) in [("bond0", 21), ("br9", 31)] {
        vlan(&lab, "r1", device, (Proto::Dot1Q, number))?;
        let tagged = format!("{device}.100");
        let on_it = Instance::new(100).named(&tagged, 51).on(&tagged);
        conf = conf.with(Instance::new(100).named(device, 51).on(device));
        conf = conf.with(on_it.holding(&["198.51.100.250/24"]));
    }
    let r1 = lab.run("r1", &conf.text())?;
    for (device, reason) in [("bond0", "rx-vlan-filter"), ("br9", "all VLANs")] {
        let on_it = format!("{device}.100");
        r1.wait_log(&format!("{on_it}: adverts "), LIMIT)?;
        path(&r1, device, "socket", reason)?;
        path(&r1, &on_it, "generic", "native XDP")?;
    }
    foreign(&lab, Proto::Dot1Q)?;
    heard_on(&r1, "bond0.100", "bond0")?;
    heard_on(&r1, "br9.100", "br9")
}

/// Sends an advert on VLAN 100 that would be good for the instances without one; for those on the VLAN
/// it is another cluster's.
fn foreign(lab: &Lab, proto: Proto) -> Result<()> {
    let good = cases::frame("P01-v2-header", "good");
    lab.inject("gen", &tagged(&good, proto.tag()))
}

/// The foreign advert reaches the first instance and not the second one.
fn heard_on(daemon: &Daemon, instance: &str, not: &str) -> Result<()> {
    let refused =
        |name: &str| Ok::<_, Error>(daemon.status()?.instance(name)?.refused("foreign_cluster"));
    until("the frame is heard on the VLAN", || refused(instance).is_ok_and(|n| n > 0))
        .with_context(|| daemon.log_end())?;
    let own = format!("({not})");
    let of_gen = |line: &str| line.contains(&own) && line.contains("192.0.2.101");
    ensure!(!daemon.log().lines().any(of_gen), "{not} has heard it: {}", daemon.log_end());
    ensure!(refused(not)? == 0, "{not} has refused others of the VLAN: {}", daemon.log_end());
    Ok(())
}
