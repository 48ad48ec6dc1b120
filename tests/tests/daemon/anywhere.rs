//! Unicast without `interface` on hosts with two uplinks: adverts come by whichever the other one's routes
//! name, and leave by whichever our own do.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{one_of_three, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::sought::{heard, text};
use super::{LIMIT, brisk, state, wait_state};

/// Addresses that no link has: the hosts', by their last byte.
struct Net {
    /// Before the last byte.
    prefix: &'static str,
    /// Before the last byte of the hosts on each LAN.
    lans: [&'static str; 3],
    whole: u8,
    held: &'static str,
    /// Behind an authentication header, which version 2 has.
    sealed: bool,
}

const V4: Net = Net {
    prefix: "203.0.113.",
    lans: ["192.0.2.", "198.18.0.", "198.18.1."],
    whole: 32,
    held: "198.51.100.250/24 dev eth0",
    sealed: false,
};
const SEALED: Net = Net { sealed: true, ..V4 };
const V6: Net = Net {
    prefix: "2001:db8:ff::",
    lans: ["2001:db8:0::", "2001:db8:1::", "2001:db8:2::"],
    whole: 128,
    held: "fe80::5e00:250/64 dev eth0",
    sealed: false,
};
const HOSTS: [(&str, u8); 3] = [("r1", 11), ("r2", 12), ("r3", 13)];

impl Net {
    /// Gives hosts their addresses.
    fn number(&self, lab: &Lab, hosts: &[(&str, u8)]) -> Result<()> {
        for (host, last) in hosts {
            let ns = lab.ns(host);
            ns.ip(&format!("addr add {}{last}/{} dev lo", self.prefix, self.whole))?;
            if self.whole == 128 {
                for (lan, net) in self.lans[..2].iter().enumerate() {
                    ns.ip(&format!("addr add {net}{last}/64 dev eth{lan} nodad"))?;
                }
            }
            // What comes by another interface than the answer would leave by is let in.
            for on in ["all", "eth0", "eth1"] {
                ns.sysctl(&format!("net.ipv4.conf.{on}.rp_filter"), 0)?;
            }
        }
        Ok(())
    }

    /// Has a host reach another one's address by a LAN.
    fn route(&self, lab: &Lab, from: &str, to: u8, lan: usize) -> Result<()> {
        let family = if self.whole == 128 { "-6 " } else { "" };
        let (prefix, whole, by) = (self.prefix, self.whole, self.lans[lan]);
        lab.ns(from)
            .ip(&format!("{family}route replace {prefix}{to}/{whole} via {by}{to} dev eth{lan}"))
            .map(drop)
    }

    fn conf(&self, instance: Instance, ours: u8, peers: &[u8], datapath: &str) -> String {
        let ip = |last: &u8| format!("{}{last}", self.prefix);
        let peers: Vec<String> = peers.iter().map(ip).collect();
        let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
        let source = format!("unicast_src_ip {}", ip(&ours));
        let one = instance.on("").holding(&[self.held]).line(&source);
        let one = one.track("unicast_peer", &peers);
        let (version, one) = if self.sealed {
            let seal = ["auth_type AH", "auth_pass secret"];
            (2, one.every("1").track("authentication", &seal))
        } else {
            (3, one)
        };
        text(Conf::new(version).global(&format!("vrrp_datapath {datapath}")).with(one))
    }
}

/// Adverts of the other one come by another interface than ours leave by, with the kernel program on that
/// and without.
#[test]
fn an_advert_that_comes_by_another_interface_is_heard() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("XDP", || hears(&V4, "auto")),
        ("a socket", || hears(&V4, "socket")),
        ("IPv6", || hears(&V6, "auto")),
        ("AH", || hears(&SEALED, "auto")),
    ])
}

fn hears(net: &Net, datapath: &str) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    net.number(&lab, &HOSTS[..2])?;
    net.route(&lab, "r1", 12, 0)?;
    net.route(&lab, "r2", 11, 1)?;
    let mut r2 = lab.run("r2", &net.conf(brisk(200), 12, &[11], datapath))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &net.conf(brisk(100), 11, &[12], datapath))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    stays_backup(&r1)?;
    ensure!(r1.status()?.instance("VI_1")?.interface() == "eth0", "{}", r1.log_end());

    // And the other way round.
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &net.conf(brisk(50), 12, &[11], datapath))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    stays_backup(&r2)?;
    ensure!(state(&r1, "VI_1")? == "MASTER", "{}", r1.log_end());

    // By the interface of its own again.
    net.route(&lab, "r1", 12, 1)?;
    stays_backup(&r2)
}

/// It hears adverts for longer than it would wait for one.
fn stays_backup(daemon: &Daemon) -> Result<()> {
    let before = heard(daemon);
    wait_until("adverts are heard", LIMIT, || heard(daemon) >= before + 6)
        .with_context(|| daemon.log_end())?;
    ensure!(state(daemon, "VI_1")? == "BACKUP", "{}", daemon.log_end());
    ensure!(daemon.count_log("Entering MASTER") == 0, "{}", daemon.log_end());
    Ok(())
}

/// Each interface that the host gets hears at once.
#[test]
fn an_interface_that_comes_later_hears() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    V4.number(&lab, &HOSTS[..2])?;
    V4.route(&lab, "r1", 12, 0)?;
    V4.route(&lab, "r2", 11, 0)?;
    let r2 = lab.run("r2", &V4.conf(brisk(200), 12, &[11], "auto"))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &V4.conf(brisk(100), 11, &[12], "auto"))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    lab.add_lan(2)?;
    for host in ["r1", "r2"] {
        lab.ns(host).sysctl("net.ipv4.conf.eth2.rp_filter", 0)?;
    }
    V4.route(&lab, "r2", 11, 2)?;
    // What was under way before is counted by then.
    pause(500);
    stays_backup(&r1)
}

/// A router reaches its peers by different interfaces, and each hears it there; also its last words, which
/// others say for it.
#[test]
fn each_peer_is_reached_by_its_route() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("IPv4", || reaches(&V4)), ("IPv6", || reaches(&V6))])
}

fn reaches(net: &Net) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2", "r3"])?;
    net.number(&lab, &HOSTS)?;
    for (host, last, lan) in [("r2", 12, 0), ("r3", 13, 1)] {
        net.route(&lab, "r1", last, lan)?;
        net.route(&lab, host, 11, lan)?;
    }
    let mut r1 = lab.run("r1", &net.conf(Instance::new(200), 11, &[12, 13], "auto"))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let backup = |host: &str, last: u8, lan: usize| -> Result<Daemon> {
        // On its own interface, so that it hears what comes by that alone.
        let conf = net.conf(Instance::new(100), last, &[11], "auto");
        let on = format!("interface eth{lan}\n    unicast_src_ip");
        let backup = lab.run(host, &conf.replacen("unicast_src_ip", &on, 1))?;
        wait_state(&backup, "VI_1", "BACKUP")?;
        stays_backup(&backup).context(host.to_owned())?;
        Ok(backup)
    };
    drop(backup("r2", 12, 0)?);
    let r3 = backup("r3", 13, 1)?;
    r1.kill()?;
    ensure!(r1.release(&lab, "r1")?.status.success(), "{}", r1.log_end());
    let told = format!("Backup received priority 0 advertisement from {}11", net.prefix);
    r3.wait_log(&told, LIMIT)
}

/// A router whose address no link has loses one of two, and the routing daemon finds the other one: it stays
/// what it was. Without both it gives up what it has.
#[test]
fn the_loss_of_one_of_two_links_is_no_fault() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    one_of_three(|| {
        together(&[
            ("no carrier", || loses(&V4, |lab, host| lab.carrier(host, false))),
            ("down", || loses(&V4, down)),
            ("gone", || loses(&V4, gone)),
            ("IPv6", || loses(&V6, down)),
            ("gone with the address", || loses_with_the_address(&V4, gone)),
            ("down with the address", || loses_with_the_address(&V6, down)),
        ])
    })
}

/// Takes a host the link of its `eth0`.
type Take = fn(&Lab, &str) -> Result<()>;

fn down(lab: &Lab, host: &str) -> Result<()> {
    lab.ns(host).ip("link set eth0 down").map(drop)
}

fn gone(lab: &Lab, host: &str) -> Result<()> {
    lab.ns(host).ip("link del eth0").map(drop)
}

fn loses(net: &Net, take: Take) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    net.number(&lab, &HOSTS[..2])?;
    net.route(&lab, "r1", 12, 0)?;
    net.route(&lab, "r2", 11, 0)?;
    // Where it is no link's loss takes it.
    let conf = |priority, ours, theirs| {
        net.conf(brisk(priority), ours, &[theirs], "auto").replace("dev eth0", "dev lo")
    };
    let r1 = lab.run("r1", &conf(200, 11, 12))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &conf(100, 12, 11))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    stays_backup(&r2)?;

    for (host, daemon, other) in [("r1", &r1, 12), ("r2", &r2, 11)] {
        let entered = daemon.count_log("Entering");
        take(&lab, host)?;
        // What a routing daemon needs. It is less than the two intervals that a loss is waited for.
        pause(200);
        net.route(&lab, host, other, 1)?;
        stays_backup(&r2).with_context(|| format!("without eth0 of {host}"))?;
        ensure!(daemon.count_log("Entering") == entered, "{host}: {}", daemon.log_end());
        ensure!(daemon.status()?.instance("VI_1")?.interface() == "eth1", "{}", daemon.log_end());
    }

    lab.second_carrier("r1", false)?;
    wait_state(&r1, "VI_1", "FAULT")?;
    wait_state(&r2, "VI_1", "MASTER")?;
    lab.second_carrier("r1", true)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_state(&r2, "VI_1", "BACKUP").map(drop)
}

/// The kernel takes the virtual address with the link, which is nobody's doing; it comes to the other one.
fn loses_with_the_address(net: &Net, take: Take) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    net.number(&lab, &HOSTS[..2])?;
    net.route(&lab, "r1", 12, 0)?;
    let conf = net.conf(brisk(200), 11, &[12], "auto").replace(" dev eth0", "");
    let r1 = lab.run("r1", &conf)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let held_on = |device| {
        let shown = lab.ns("r1").ip(&format!("-o addr show dev {device}"));
        shown.is_ok_and(|all| all.contains("250/"))
    };
    wait_until("it is held", LIMIT, || held_on("eth0")).with_context(|| r1.log_end())?;
    let entered = r1.count_log("Entering");
    take(&lab, "r1")?;
    pause(200);
    net.route(&lab, "r1", 12, 1)?;
    wait_until("it has moved", LIMIT, || held_on("eth1")).with_context(|| r1.log_end())?;
    for said in ["by somebody else", "can't be put"] {
        ensure!(r1.count_log(said) == 0, "{}", r1.log_end());
    }
    ensure!(r1.count_log("Entering") == entered, "{}", r1.log_end());
    Ok(())
}

/// A link that is back before its loss counts has what the kernel took with it.
#[test]
fn a_link_that_is_back_has_its_addresses_again() -> Result<()> {
    const OF_IPV6: &str = "2001:db8:50::1";
    if !Kind::ours_under_test() {
        return Ok(());
    }
    one_of_three(|| {
        let lab = Lab::with_two_lans(&["r1", "r2"])?;
        V4.number(&lab, &HOSTS[..2])?;
        V4.route(&lab, "r1", 12, 0)?;
        let excluded = format!("virtual_ipaddress_excluded {{\n{OF_IPV6}/128\n}}");
        let r1 = lab.run("r1", &V4.conf(brisk(200).line(&excluded), 11, &[12], "auto"))?;
        wait_state(&r1, "VI_1", "MASTER")?;
        let is_held = || {
            let shown = lab.ns("r1").ip("-o -6 addr show dev eth0");
            shown.is_ok_and(|all| all.contains(OF_IPV6))
        };
        wait_until("it is held", LIMIT, is_held).with_context(|| r1.log_end())?;
        let entered = r1.count_log("Entering");
        down(&lab, "r1")?;
        r1.wait_log("Netlink reports eth0 down", LIMIT)?;
        pause(100);
        ensure!(!is_held(), "it is on a link that is down: {}", r1.log_end());
        lab.ns("r1").ip("link set eth0 up")?;
        V4.route(&lab, "r1", 12, 0)?;
        wait_until("it is held again", LIMIT, is_held).with_context(|| r1.log_end())?;
        r1.wait_log(&format!("{OF_IPV6}/128 on eth0 went with its link; trying again"), LIMIT)?;
        ensure!(r1.count_log("by somebody else") == 0, "{}", r1.log_end());
        ensure!(r1.count_log("Entering") == entered, "{}", r1.log_end());
        Ok(())
    })
}
