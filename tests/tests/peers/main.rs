//! IPv6, unicast, another group and AH: failover among ours, with keepalived in both roles, and over IPv6
//! with FRR; reloads beside keepalived.

mod dead;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, Watch, wait_until};

/// Many daemons start beside each other, and each has its kernel program verified.
const LIMIT: Duration = Duration::from_secs(30);

/// What adverts travel by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Group6,
    OtherGroup,
    /// To one that `global_defs` names at one end, and the instance at the other.
    OtherGroup6,
    Unicast,
    Unicast6,
    /// Which strict mode has not, and keepalived runs all the same.
    StrictUnicast,
    /// To the group, behind an authentication header.
    Sealed,
    /// To the peer, behind one.
    SealedUnicast,
    /// To the group, naming no address: the one that moves is not in the adverts.
    Nameless,
}

impl By {
    /// An address that moves, and the first in the adverts.
    fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Group6 | Self::OtherGroup6 | Self::Unicast6 => {
                &["fe80::5e00:250/64", "2001:db8::250/64"]
            }
            Self::OtherGroup
            | Self::Unicast
            | Self::StrictUnicast
            | Self::Sealed
            | Self::SealedUnicast
            | Self::Nameless => &["192.0.2.250/24"],
        }
    }

    fn is_sealed(self) -> bool {
        matches!(self, Self::Sealed | Self::SealedUnicast)
    }

    /// Whether it is version 2, with its whole seconds.
    fn is_old(self) -> bool {
        self.is_sealed() || self == Self::Nameless
    }

    /// How the peers begin, where adverts go to them.
    fn hosts(self) -> Option<&'static str> {
        match self {
            Self::Unicast | Self::StrictUnicast | Self::SealedUnicast => Some("192.0.2."),
            Self::Unicast6 => Some("2001:db8::"),
            Self::Group6 | Self::OtherGroup | Self::OtherGroup6 | Self::Sealed | Self::Nameless => {
                None
            }
        }
    }

    fn conf(self, kind: Kind, host: &str, priority: u8) -> String {
        let (version, interval) = if self.is_old() { (2, "1") } else { (3, "0.4") };
        let instance = Instance::new(priority).every(interval);
        let mut instance = if self == Self::Nameless {
            instance.holding(&[]).track("virtual_ipaddress_excluded", self.addresses())
        } else {
            instance.holding(self.addresses())
        };
        let mut conf = Conf::new(version);
        match (self, host) {
            (Self::OtherGroup, _) => conf = conf.global("vrrp_mcast_group4 239.192.0.18"),
            (Self::OtherGroup6, "r1") => conf = conf.global("vrrp_mcast_group6 ff02::1:12"),
            (Self::OtherGroup6, _) => instance = instance.line("mcast_dst_ip ff02::1:12"),
            _ => {}
        }
        if self == Self::StrictUnicast {
            conf = conf.global("vrrp_strict");
        }
        if self.is_sealed() {
            instance = instance.track("authentication", &["auth_type AH", "auth_pass lab12345"]);
        }
        if let Some(net) = self.hosts() {
            let (own, other) = if host == "r1" { (11, 12) } else { (12, 11) };
            let (own, other) = (format!("{net}{own}"), format!("{net}{other}"));
            let mut peers = vec![other.as_str()];
            if kind == Kind::Xvrrp && self != Self::Unicast6 {
                // One file for all: this host is not its own peer.
                peers.push(&own);
            }
            instance = instance.track("unicast_peer", &peers);
            // Ours finds the address of the peer's network by itself.
            if kind != Kind::Xvrrp || self != Self::Unicast6 {
                instance = instance.line(&format!("unicast_src_ip {own}"));
            }
        }
        conf.with(instance).text()
    }
}

/// Whether a host has all addresses, ready for use.
fn holds(lab: &Lab, host: &str, by: By) -> bool {
    let all = lab.ns(host).ip("-o addr show dev eth0").unwrap_or_default();
    let held = |address: &&str| {
        all.lines().any(|line| line.contains(*address) && !line.contains("tentative"))
    };
    by.addresses().iter().all(held)
}

/// Two hosts whose adverts travel in one way.
struct Pair {
    lab: Lab,
    by: By,
}

impl Pair {
    fn new(by: By) -> Result<Self> {
        let lab = Lab::new(&["r1", "r2"])?;
        for (host, number) in [("r1", 11), ("r2", 12)] {
            lab.ns(host).ip(&format!("addr add 2001:db8::{number}/64 dev eth0 nodad"))?;
        }
        Ok(Self { lab, by })
    }

    fn start(&self, kind: Kind, host: &str, priority: u8) -> Result<Daemon> {
        self.lab.start(kind, host, &self.by.conf(kind, host, priority))
    }

    /// Waits until this host has the addresses, and the other one not.
    fn serves(&self, host: &str, what: &str) -> Result<Duration> {
        let other = if host == "r1" { "r2" } else { "r1" };
        let has = |host| holds(&self.lab, host, self.by);
        wait_until(what, LIMIT, || has(host) && !has(other))
    }
}

fn take_turns(by: By, first: Kind, second: Kind) -> Result<()> {
    let pair = Pair::new(by)?;
    let lab = &pair.lab;
    let mut r1 = pair.start(first, "r1", 200)?;
    pair.serves("r1", "r1 holds").with_context(|| r1.log_end())?;
    let mut r2 = pair.start(second, "r2", 100)?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(if by.is_old() { 5000 } else { 2500 });
    ensure!(holds(lab, "r1", by) && !holds(lab, "r2", by), "r2 took over: {}", r2.log_end());
    r1.stop()?;
    pair.serves("r2", "r2 holds after r1 stopped").with_context(|| r2.log_end())?;
    ensure!(r2.log().contains("eceived priority 0 adver"), "no priority 0: {}", r2.log());
    let mut r1 = pair.start(first, "r1", 200)?;
    pair.serves("r1", "r1 preempts").with_context(|| r1.log_end() + &r2.log_end())?;
    pause(1000);
    lab.carrier("r1", false)?;
    r1.kill()?;
    wait_until("r2 holds after r1 died", LIMIT, || holds(lab, "r2", by))
        .with_context(|| r2.log_end())?;
    if second == Kind::Xvrrp {
        let status = r2.status()?;
        let ours = status.instance("VI_1")?;
        ensure!(ours.refused_at_all() == 0, "refused: {}", ours.json());
    }
    r2.stop()?;
    Ok(())
}

#[test]
fn ours_with_ours() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Xvrrp, Kind::Xvrrp)),
        ("another group", || take_turns(By::OtherGroup, Kind::Xvrrp, Kind::Xvrrp)),
        ("another group over IPv6", || take_turns(By::OtherGroup6, Kind::Xvrrp, Kind::Xvrrp)),
        ("unicast", || take_turns(By::Unicast, Kind::Xvrrp, Kind::Xvrrp)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Xvrrp, Kind::Xvrrp)),
        ("AH", || take_turns(By::Sealed, Kind::Xvrrp, Kind::Xvrrp)),
        ("AH to a peer", || take_turns(By::SealedUnicast, Kind::Xvrrp, Kind::Xvrrp)),
        ("no address named", || take_turns(By::Nameless, Kind::Xvrrp, Kind::Xvrrp)),
    ])
}

#[test]
fn ours_before_keepalived() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Xvrrp, Kind::Keepalived)),
        ("another group", || take_turns(By::OtherGroup, Kind::Xvrrp, Kind::Keepalived)),
        ("another group over IPv6", || take_turns(By::OtherGroup6, Kind::Xvrrp, Kind::Keepalived)),
        ("unicast", || take_turns(By::Unicast, Kind::Xvrrp, Kind::Keepalived)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Xvrrp, Kind::Keepalived)),
        ("strict unicast", || take_turns(By::StrictUnicast, Kind::Xvrrp, Kind::Keepalived)),
        ("AH", || take_turns(By::Sealed, Kind::Xvrrp, Kind::Keepalived)),
        ("AH to a peer", || take_turns(By::SealedUnicast, Kind::Xvrrp, Kind::Keepalived)),
        ("no address named", || take_turns(By::Nameless, Kind::Xvrrp, Kind::Keepalived)),
        ("a sync group", || go_together(Kind::Xvrrp, Kind::Keepalived)),
    ])
}

#[test]
fn keepalived_before_ours() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Keepalived, Kind::Xvrrp)),
        ("another group", || take_turns(By::OtherGroup, Kind::Keepalived, Kind::Xvrrp)),
        ("another group over IPv6", || take_turns(By::OtherGroup6, Kind::Keepalived, Kind::Xvrrp)),
        ("unicast", || take_turns(By::Unicast, Kind::Keepalived, Kind::Xvrrp)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Keepalived, Kind::Xvrrp)),
        ("strict unicast", || take_turns(By::StrictUnicast, Kind::Keepalived, Kind::Xvrrp)),
        ("AH", || take_turns(By::Sealed, Kind::Keepalived, Kind::Xvrrp)),
        ("AH to a peer", || take_turns(By::SealedUnicast, Kind::Keepalived, Kind::Xvrrp)),
        ("no address named", || take_turns(By::Nameless, Kind::Keepalived, Kind::Xvrrp)),
        ("a sync group", || go_together(Kind::Keepalived, Kind::Xvrrp)),
    ])
}

/// A group on two links, by the same file on both: takeover, fault of one member, release and death move
/// both.
fn go_together(first: Kind, second: Kind) -> Result<()> {
    const ADDRESSES: [&str; 2] = ["192.0.2.250", "198.18.0.250"];
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let conf = |priority: u8| {
        let one = Instance::new(priority).every("0.4");
        let other = one.clone().named("VI_2", 52).on("eth1").holding(&["198.18.0.250/24"]);
        Conf::new(3).with(one).with(other).group("G", &["VI_1", "VI_2"], &[]).text()
    };
    let serves = |host: &str| ADDRESSES.iter().all(|it| lab.holders(&["r1", "r2"], it) == [host]);
    let mut r1 = lab.start(first, "r1", &conf(200))?;
    wait_until("r1 holds both", LIMIT, || serves("r1")).with_context(|| r1.log_end())?;
    let mut r2 = lab.start(second, "r2", &conf(100))?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(2500);
    ensure!(serves("r1"), "r2 took over: {}", r2.log_end());

    lab.second_carrier("r1", false)?;
    wait_until("r2 holds both", LIMIT, || serves("r2"))
        .with_context(|| r1.log_end() + &r2.log_end())?;
    lab.second_carrier("r1", true)?;
    wait_until("r1 preempts with both", LIMIT, || serves("r1"))
        .with_context(|| r1.log_end() + &r2.log_end())?;

    r1.stop()?;
    wait_until("r2 holds both after r1 stopped", LIMIT, || serves("r2"))
        .with_context(|| r2.log_end())?;
    let mut r1 = lab.start(first, "r1", &conf(200))?;
    wait_until("r1 preempts with both", LIMIT, || serves("r1"))
        .with_context(|| r1.log_end() + &r2.log_end())?;

    pause(1000);
    lab.carrier("r1", false)?;
    lab.second_carrier("r1", false)?;
    r1.kill()?;
    let has_both = || ADDRESSES.iter().all(|address| lab.holds("r2", address));
    wait_until("r2 holds both after r1 died", LIMIT, has_both).with_context(|| r2.log_end())?;
    for (state, least) in [("MASTER", 3), ("BACKUP", 2)] {
        let line = format!("VRRP_Group(G) Syncing instances to {state} state");
        ensure!(r2.count_log(&line) >= least, "{state} too seldom: {}", r2.log());
    }
    if second == Kind::Xvrrp {
        let status = r2.status()?;
        for name in ["VI_1", "VI_2"] {
            let ours = status.instance(name)?;
            ensure!(ours.refused_at_all() == 0, "refused: {}", ours.json());
            ensure!(ours.counter("became_master") == 3, "not thrice: {}", ours.json());
        }
    }
    r2.stop()?;
    Ok(())
}

/// Whether a host serves: FRR's addresses are on a macvlan all the time, which it takes down.
fn serves(lab: &Lab, host: &str, kind: Kind) -> bool {
    if kind != Kind::Frr {
        return holds(lab, host, By::Group6);
    }
    let link = lab.ns(host).ip("-o link show dev vr51").unwrap_or_default();
    link.contains("LOWER_UP") && !link.contains("protodown on")
}

/// The same in short with FRR over IPv6, which says little in its log.
fn with_frr(first: Kind, second: Kind) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let start = |kind, host: &str, priority| -> Result<Daemon> {
        lab.start(kind, host, &By::Group6.conf(kind, host, priority))
    };
    let mut r1 = start(first, "r1", 200)?;
    let r1_serves = || serves(&lab, "r1", first) && !serves(&lab, "r2", second);
    let r2_serves = || serves(&lab, "r2", second) && !serves(&lab, "r1", first);
    wait_until("r1 serves", LIMIT, || serves(&lab, "r1", first)).with_context(|| r1.log_end())?;
    let mut r2 = start(second, "r2", 100)?;
    pause(4000);
    ensure!(r1_serves(), "not r1 alone: {}{}", r1.log_end(), r2.log_end());
    r1.stop()?;
    wait_until("r2 serves", LIMIT, || serves(&lab, "r2", second)).with_context(|| r2.log_end())?;
    let mut r1 = start(first, "r1", 200)?;
    wait_until("r1 preempts", LIMIT, r1_serves).with_context(|| r1.log_end() + &r2.log_end())?;
    pause(1000);
    ensure!(r1_serves() && !r2_serves(), "r1 lost it: {}{}", r1.log_end(), r2.log_end());
    for (kind, daemon) in [(first, &r1), (second, &r2)] {
        if kind == Kind::Xvrrp {
            let status = daemon.status()?;
            let ours = status.instance("VI_1")?;
            ensure!(ours.refused_at_all() == 0, "refused: {}", ours.json());
            // Who leads has heard nothing since it preempted.
            ensure!(kind == first || ours.counter("accepted") > 0, "deaf: {}", ours.json());
        }
    }
    lab.carrier("r1", false)?;
    r1.kill()?;
    wait_until("r2 serves after r1 died", LIMIT, || serves(&lab, "r2", second))
        .with_context(|| r2.log_end())?;
    r2.stop()?;
    Ok(())
}

#[test]
fn frr_over_ipv6() -> Result<()> {
    together(&[
        ("ours leads", || with_frr(Kind::Xvrrp, Kind::Frr)),
        ("FRR leads", || with_frr(Kind::Frr, Kind::Xvrrp)),
    ])
}

/// Three virtual routers, by their priorities (0: not there), the first one with these addresses.
fn three(priorities: [u8; 3], first: &[&str]) -> String {
    let mut conf = Conf::new(3);
    let rest: [&[&str]; 2] = [&["192.0.2.252/24"], &["192.0.2.253/24"]];
    let addresses = [first, rest[0], rest[1]];
    for (at, (priority, addresses)) in priorities.into_iter().zip(addresses).enumerate() {
        let number = at as u8 + 1;
        let instance = Instance::new(priority).named(&format!("VI_{number}"), 50 + number);
        if priority > 0 {
            conf = conf.with(instance.every("0.4").holding(addresses));
        }
    }
    conf.text()
}

/// Both read another file at about the same time, twice: what the files say is what becomes of it, and
/// what they leave alone stays where it is.
fn reloads(first: Kind, second: Kind) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let (one, two) = (&["192.0.2.250/24"], &["192.0.2.250/24", "192.0.2.251/24"]);
    let held = |lasts: [&[u8]; 2]| {
        [("r1", lasts[0]), ("r2", lasts[1])].into_iter().all(|(host, lasts)| {
            let on = |last: &u8| lab.holds(host, &format!("192.0.2.{last}"));
            (250..=253).filter(on).eq(lasts.iter().copied())
        })
    };
    let r1 = lab.start(first, "r1", &three([200, 100, 0], one))?;
    let r2 = lab.start(second, "r2", &three([100, 200, 0], one))?;
    let logs = || r1.log_end() + "\n" + &r2.log_end();
    wait_until("one each", LIMIT, || held([&[250], &[252]])).with_context(logs)?;
    pause(1500);
    let watched = [lab.watch("r1")?, lab.watch("r2")?];
    let changes = |last: u8| {
        let of = |watch: &Watch| watch.of(Ipv4Addr::new(192, 0, 2, last)).len();
        watched.iter().map(of).sum::<usize>()
    };

    // Another priority that decides nothing, another address, another virtual router.
    r1.reload(&three([210, 100, 150], two))?;
    // The third router's waits differ by a seventh of a second, by which r1 must not be late.
    r1.wait_log("(VI_3) Entering BACKUP", LIMIT).with_context(logs)?;
    // Which keepalived may be; r2 does not speak on the first one's link meanwhile.
    pause(400);
    r2.reload(&three([100, 150, 50], two))?;
    wait_until("the first files' outcome", LIMIT, || held([&[250, 251, 253], &[252]]))
        .with_context(logs)?;
    pause(3000);
    ensure!(held([&[250, 251, 253], &[252]]), "it did not last: {}", logs());
    ensure!((changes(250), changes(252)) == (0, 0), "what stays was touched: {}", logs());
    ensure!((changes(251), changes(253)) == (1, 1), "what came came twice: {}", logs());

    // The first one's is to change places, and goes there once.
    r1.reload(&three([50, 100, 150], two))?;
    r2.reload(&three([100, 150, 50], two))?;
    wait_until("the second files' outcome", LIMIT, || held([&[253], &[250, 251, 252]]))
        .with_context(logs)?;
    pause(3000);
    ensure!(held([&[253], &[250, 251, 252]]), "it did not last: {}", logs());
    ensure!((changes(250), changes(251)) == (2, 3), "off and on once: {}", logs());
    ensure!((changes(252), changes(253)) == (0, 1), "what stays was touched: {}", logs());
    for (kind, daemon) in [(first, &r1), (second, &r2)] {
        if kind == Kind::Xvrrp {
            // While one had read its file and the other had not, their lists differed.
            let status = daemon.status()?;
            ensure!(status.instance("VI_2")?.refused_at_all() == 0, "refused: {}", logs());
        }
    }
    Ok(())
}

#[test]
fn reloads_beside_keepalived() -> Result<()> {
    together(&[
        ("ours leads", || reloads(Kind::Xvrrp, Kind::Keepalived)),
        ("keepalived leads", || reloads(Kind::Keepalived, Kind::Xvrrp)),
    ])
}
