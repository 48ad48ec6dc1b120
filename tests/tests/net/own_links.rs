//! Interfaces that instances make for themselves, on a real host.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::net::if_::if_indextoname;
use serde_json::Value;
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::{Capture, wait_until};
use xvrrp::net::Snapshot;
use xvrrp::net::monitor::Monitor;
use xvrrp::net::own_link::{OwnLinks, Shape, Wanted};
use xvrrp::net::traces::Traces;
use xvrrp::run_dir;

use crate::announcements::{PATIENCE, add, announce, remove, spawn};
use crate::{Cable, vip};

const MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 10];
const MAC_TEXT: &str = "00:00:5e:00:01:0a";

fn wanted() -> Wanted {
    Wanted {
        name: "eth0v10".to_owned(),
        base: "eth0".to_owned(),
        shape: Shape::Macvlan { mac: MAC, v6: false },
        adverts: true,
        group: 0,
    }
}

/// Those of the daemon with the default run directory.
fn after(earlier: Traces) -> OwnLinks {
    OwnLinks::new(Path::new(run_dir::DEFAULT), earlier)
}

fn none() -> OwnLinks {
    after(Traces::default())
}

fn snapshot() -> Result<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async { Ok(Monitor::start(Monitor::RECEIVE_BUFFER)?.0) })
}

/// Makes what is wanted, as the daemon does.
fn make(cable: &Cable, links: &mut OwnLinks, wanted: &Wanted) -> Result<()> {
    cable.here.enter(|| {
        let mut host = snapshot()?;
        links.look(wanted, &host);
        links.make(wanted, &mut host);
        assert_eq!(links.is_there(wanted, &host), links.complaint(&wanted.name).is_none());
        Ok(())
    })
}

fn keep_only(cable: &Cable, links: &mut OwnLinks, wanted: &[Wanted]) -> Result<()> {
    cable.here.enter(|| {
        // Told while it is there; of none there is an empty name.
        let is_there = |index| if_indextoname(index).is_ok_and(|name| !name.is_empty());
        links.keep_only(wanted, |_| false, |index| assert!(is_there(index), "told too late"));
        Ok(())
    })
}

/// What `ip` says about an interface here; `None` where there is none.
fn link(cable: &Cable, name: &str) -> Option<Value> {
    let json = cable.here.ip(&format!("-j -d link show dev {name}")).ok()?;
    serde_json::from_str::<Value>(&json).ok()?.get(0).cloned()
}

fn mode(cable: &Cable, name: &str) -> Option<String> {
    Some(link(cable, name)?["linkinfo"]["info_data"]["mode"].as_str()?.to_owned())
}

fn setting(cable: &Cable, path: &str) -> Result<String> {
    Ok(cable.here.sh(&format!("cat /proc/sys/net/{path}"))?.trim().to_owned())
}

#[test]
fn one_is_made_and_leaves_nothing_behind() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.sysctl("net.ipv4.conf.eth0.arp_announce", 1)?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    let made = link(&cable, "eth0v10").context("not there")?;
    assert_eq!((&made["address"], &made["link"]), (&MAC_TEXT.into(), &"eth0".into()));
    assert_eq!(made["ifalias"], "xvrrp on eth0");
    assert_eq!(made["inet6_addr_gen_mode"], "none");
    assert_eq!(mode(&cable, "eth0v10").as_deref(), Some("source"), "deaf: {made}");
    assert!(made["flags"].to_string().contains("\"UP\""), "{made}");
    let settings = [
        ("ipv4/conf/eth0/arp_ignore", "1"),
        ("ipv4/conf/eth0/arp_announce", "2"),
        ("ipv4/conf/eth0v10/arp_ignore", "1"),
        ("ipv4/conf/eth0v10/promote_secondaries", "1"),
        ("ipv6/conf/eth0v10/disable_ipv6", "1"),
    ];
    for (path, value) in settings {
        assert_eq!(setting(&cable, path)?, value, "{path}");
    }
    let traces = links.traces(&[wanted()]);
    assert_eq!(traces.links, ["eth0v10"]);
    let before: Vec<u32> = traces.settings.iter().map(|before| before.value).collect();
    assert_eq!(before, [0, 1]);
    // A reload puts it into another group as it is.
    make(&cable, &mut links, &Wanted { group: 7, ..wanted() })?;
    let moved = link(&cable, "eth0v10").context("not there")?;
    assert_eq!((&made["group"], &moved["group"]), (&"default".into(), &"7".into()));
    assert_eq!(made["ifindex"], moved["ifindex"]);

    keep_only(&cable, &mut links, &[])?;
    assert_eq!(link(&cable, "eth0v10"), None);
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "0");
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_announce")?, "1");
    assert!(links.traces(&[]).links.is_empty());
    Ok(())
}

/// Under whatever name the interface has by then.
#[test]
fn the_settings_of_a_base_that_is_renamed_are_put_back() -> Result<()> {
    let cable = Cable::new()?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    cable.here.ip("link set eth0 down")?;
    cable.here.ip("link set eth0 name wan0")?;
    assert_eq!(setting(&cable, "ipv4/conf/wan0/arp_ignore")?, "1");
    // Another one that has its name by now is nobody's of ours.
    cable.here.ip("link add eth0 type veth peer name other")?;
    cable.here.sysctl("net.ipv4.conf.eth0.arp_ignore", 1)?;
    cable.here.enter(|| {
        links.keep_only(&[], |_| false, |_| ());
        Ok(())
    })?;
    assert_eq!(setting(&cable, "ipv4/conf/wan0/arp_ignore")?, "0");
    assert_eq!(setting(&cable, "ipv4/conf/wan0/arp_announce")?, "0");
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "1");
    Ok(())
}

/// What was set by somebody else meanwhile stays so.
#[test]
fn a_setting_of_somebody_else_stays() -> Result<()> {
    let cable = Cable::new()?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    cable.here.sysctl("net.ipv4.conf.eth0.arp_ignore", 2)?;
    keep_only(&cable, &mut links, &[])?;
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "2");
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_announce")?, "0");
    // What was as we need it stays so.
    cable.here.sysctl("net.ipv4.conf.eth0.arp_ignore", 1)?;
    make(&cable, &mut links, &wanted())?;
    keep_only(&cable, &mut links, &[])?;
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "1");
    // And what is set at another interface that has the name by now.
    cable.here.ip("link add eth1 type veth peer name other")?;
    make(&cable, &mut links, &Wanted { base: "eth1".to_owned(), ..wanted() })?;
    assert_eq!(setting(&cable, "ipv4/conf/eth1/arp_ignore")?, "1");
    cable.here.ip("link del eth1")?;
    cable.here.ip("link add eth1 type veth peer name other")?;
    cable.here.sysctl("net.ipv4.conf.eth1.arp_ignore", 1)?;
    // The macvlan went with the eth1 before.
    cable.here.enter(|| {
        links.keep_only(&[], |_| false, |_| ());
        Ok(())
    })?;
    assert_eq!(setting(&cable, "ipv4/conf/eth1/arp_ignore")?, "1");
    Ok(())
}

/// A strict look at the way back would refuse all that comes for the address.
#[test]
fn a_strict_reverse_path_is_loosened_on_it_alone() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.sysctl("net.ipv4.conf.all.rp_filter", 1)?;
    make(&cable, &mut none(), &wanted())?;
    assert_eq!(setting(&cable, "ipv4/conf/eth0v10/rp_filter")?, "2");
    assert_eq!(setting(&cable, "ipv4/conf/all/rp_filter")?, "1");
    Ok(())
}

#[test]
fn a_later_life_takes_over_what_an_earlier_one_left() -> Result<()> {
    let cable = Cable::new()?;
    let mut first = none();
    make(&cable, &mut first, &wanted())?;
    let index = link(&cable, "eth0v10").context("not there")?["ifindex"].clone();
    let traces = first.traces(&[wanted()]);
    drop(first);

    let mut second = after(traces.clone());
    make(&cable, &mut second, &wanted())?;
    assert_eq!(link(&cable, "eth0v10").context("gone")?["ifindex"], index);
    keep_only(&cable, &mut second, &[])?;
    assert_eq!(link(&cable, "eth0v10"), None);
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "0");

    // And what it does not want is removed as well.
    make(&cable, &mut none(), &wanted())?;
    let mut third = after(traces);
    keep_only(&cable, &mut third, &[])?;
    assert_eq!(link(&cable, "eth0v10"), None);
    assert_eq!(setting(&cable, "ipv4/conf/eth0/arp_ignore")?, "0");
    Ok(())
}

#[test]
fn one_of_ours_that_is_another_is_replaced() -> Result<()> {
    let cable = Cable::new()?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    let shape = Shape::Macvlan { mac: [2, 0, 0, 0, 0, 9], v6: true };
    let other = Wanted { shape, ..wanted() };
    make(&cable, &mut links, &other)?;
    let made = link(&cable, "eth0v10").context("not there")?;
    assert_eq!(made["address"], "02:00:00:00:00:09");
    // With IPv6 addresses to come, it would talk to switches.
    assert!(!made["flags"].to_string().contains("\"UP\""), "{made}");
    assert_eq!(setting(&cable, "ipv6/conf/eth0v10/disable_ipv6")?, "0");
    // Of an earlier life.
    make(&cable, &mut none(), &wanted())?;
    assert_eq!(link(&cable, "eth0v10").context("not there")?["address"], MAC_TEXT);
    Ok(())
}

/// Two daemons keep what they made apart, and the settings that both need stay with the first one's end.
#[test]
fn one_of_another_daemon_is_left_alone() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("link add eth1 type veth peer name other")?;
    let mut first = none();
    make(&cable, &mut first, &wanted())?;
    let mut second = OwnLinks::new(Path::new("/run/other"), Traces::default());
    let elsewhere = Wanted { base: "eth1".to_owned(), ..wanted() };
    make(&cable, &mut second, &elsewhere)?;
    let why = second.complaint("eth0v10").context("no word")?.to_owned();
    assert!(why.contains("another interface"), "{why}");
    let shape = Shape::Macvlan { mac: [0, 0, 0x5e, 0, 1, 11], v6: false };
    let beside = Wanted { name: "eth0v11".to_owned(), shape, ..wanted() };
    make(&cable, &mut second, &beside)?;
    let alias = link(&cable, "eth0v11").context("not there")?["ifalias"].to_string();
    assert!(alias.starts_with("\"xvrrp-") && alias.ends_with(" on eth0\""), "{alias}");

    keep_only(&cable, &mut second, &[elsewhere])?;
    assert!(link(&cable, "eth0v10").is_some() && link(&cable, "eth0v11").is_none());
    let ignore = || setting(&cable, "ipv4/conf/eth0/arp_ignore");
    assert_eq!(ignore()?, "1", "the first one needs it");
    // As after a crash: the second one takes nothing of the first one's for its own.
    make(&cable, &mut second, &beside)?;
    let mut later = OwnLinks::new(Path::new("/run/other"), first.traces(&[wanted()]));
    keep_only(&cable, &mut later, &[])?;
    assert!(link(&cable, "eth0v10").is_some(), "taken for its own");
    assert_eq!(ignore()?, "1", "the first one needs it");
    keep_only(&cable, &mut first, &[])?;
    assert!(link(&cable, "eth0v10").is_none() && link(&cable, "eth0v11").is_some());
    assert_eq!(ignore()?, "1", "the second one needs it");
    // The second one found it set, and puts back what was before both.
    keep_only(&cable, &mut second, &[])?;
    assert!(link(&cable, "eth0v11").is_none());
    assert_eq!(ignore()?, "0");
    Ok(())
}

#[test]
fn one_of_somebody_else_is_left_alone() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("link add eth0v10 type veth peer name other")?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    assert!(links.complaint("eth0v10").context("no word")?.contains("another interface"));
    keep_only(&cable, &mut links, &[])?;
    assert!(link(&cable, "eth0v10").is_some());
    cable.here.ip("link del eth0v10")?;

    // Just what is wanted, as keepalived or an operator makes it: used, and left as it was.
    let make_it =
        format!("link add eth0v10 link eth0 address {MAC_TEXT} type macvlan mode private");
    cable.here.ip(&make_it)?;
    let wanted = Wanted { group: 7, ..wanted() };
    make(&cable, &mut links, &wanted)?;
    assert_eq!(links.complaint("eth0v10"), None);
    assert!(links.traces(std::slice::from_ref(&wanted)).links.is_empty());
    assert_eq!(link(&cable, "eth0v10").context("gone")?["group"], "default");
    cable.here.ip("link set eth0v10 type macvlan mode source")?;
    keep_only(&cable, &mut links, &[])?;
    assert_eq!(mode(&cable, "eth0v10").as_deref(), Some("private"));
    Ok(())
}

/// Ours are removed together, as a group of interfaces, which somebody else may happen to use.
#[test]
fn whoever_is_in_our_group_is_left_alone() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("link add eth1 type veth peer name other")?;
    cable.here.ip(&format!("link set dev eth1 group {}", u32::from_be_bytes(*b"vrrp")))?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    keep_only(&cable, &mut links, &[])?;
    assert!(link(&cable, "eth0v10").is_none() && link(&cable, "eth1").is_some());
    Ok(())
}

/// A kernel without ipvlan says so, and one with it makes it.
#[test]
fn an_ipvlan_is_made_where_the_kernel_has_it() -> Result<()> {
    let cable = Cable::new()?;
    let source = Some(([192, 0, 2, 21].into(), 24));
    let shape = Shape::Ipvlan { mode: Default::default(), source };
    let mut links = none();
    make(&cable, &mut links, &Wanted { shape, ..wanted() })?;
    let Some(why) = links.complaint("eth0v10") else {
        let made = link(&cable, "eth0v10").context("not there")?;
        assert_eq!(made["linkinfo"]["info_kind"], "ipvlan", "{made}");
        let shown = cable.here.ip("-o -4 addr show dev eth0v10")?;
        assert!(shown.contains("192.0.2.21/24"), "{shown}");
        keep_only(&cable, &mut links, &[])?;
        assert_eq!(link(&cable, "eth0v10"), None);
        return Ok(());
    };
    assert!(cable.here.ip("link add probe link eth0 type ipvlan mode l2").is_err(), "{why}");
    assert!(why.contains("this kernel"), "{why}");
    Ok(())
}

/// The hardware address that the other host finds for an address here, asked anew. Where there must be
/// none, it does not wait as long as for one.
fn answered(cable: &Cable, ip: Ipv4Addr, wanted: bool) -> Result<Option<String>> {
    cable.there.ip("neigh flush dev eth0")?;
    cable.there.enter(|| {
        UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", (ip, 9))?;
        Ok(())
    })?;
    let shown = || {
        let json = cable.there.ip(&format!("-j neigh show {ip} dev eth0")).ok()?;
        let shown: Value = serde_json::from_str(&json).ok()?;
        Some(shown.get(0)?["lladdr"].as_str()?.to_owned())
    };
    // An answer comes within a millisecond or not at all, but on a busy machine.
    let limit = if wanted { PATIENCE } else { Duration::from_millis(500) };
    Ok(wait_until("an answer", limit, || shown().is_some()).ok().and_then(|_| shown()))
}

/// The address is answered for while it is held, with the virtual MAC address and no other.
#[test]
fn it_hears_while_it_holds_an_address() -> Result<()> {
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
    let cable = Cable::new()?;
    let wire = Capture::start(&cable.there, "eth0")?;
    let (executor, _outcomes) = spawn(&cable)?;
    let mut links = none();
    make(&cable, &mut links, &wanted())?;
    for macvlan in links.news().made {
        executor.made(macvlan);
    }
    let held = [VirtualAddress { device: "eth0v10".to_owned(), ..vip(250) }];
    assert_eq!(mode(&cable, "eth0v10").as_deref(), Some("source"));
    for _ in 0..2 {
        executor.send(add(1, &held));
        executor.send(announce(1, &held, 1));
        assert!(executor.flush(PATIENCE));
        assert_eq!(mode(&cable, "eth0v10").as_deref(), Some("private"));
        assert_eq!(answered(&cable, VIP, true)?.as_deref(), Some(MAC_TEXT));
        let host = answered(&cable, Ipv4Addr::new(192, 0, 2, 11), true)?;
        assert_eq!(host.context("the host is silent")?, link(&cable, "eth0").unwrap()["address"]);
        executor.send(remove(1, &held));
        assert!(executor.flush(PATIENCE));
        assert_eq!(mode(&cable, "eth0v10").as_deref(), Some("source"));
        assert_eq!(answered(&cable, VIP, false)?, None);
    }
    // Even where the address stays on it: it hears nothing.
    cable.here.ip("addr add 192.0.2.250/24 dev eth0v10")?;
    assert_eq!(answered(&cable, VIP, false)?, None);
    wait_until("both are heard", PATIENCE, || wire.announcements(VIP).len() >= 2)?;
    let announced = wire.announcements(VIP);
    assert!(announced.len() >= 2 && announced.iter().all(|(_, mac)| *mac == MAC), "{announced:?}");
    Ok(())
}

/// With an IPv6 address it is down while it has none, and says where that is with its MAC address.
#[test]
fn with_ipv6_it_is_down_while_it_holds_nothing() -> Result<()> {
    const VIP: &str = "2001:db8::250";
    let cable = Cable::new()?;
    cable.here.ip("addr add 2001:db8::11/64 dev eth0 nodad")?;
    cable.there.ip("addr add 2001:db8::12/64 dev eth0 nodad")?;
    let (executor, _outcomes) = spawn(&cable)?;
    let mut links = none();
    let wanted = Wanted { shape: Shape::Macvlan { mac: MAC, v6: true }, ..wanted() };
    make(&cable, &mut links, &wanted)?;
    for macvlan in links.news().made {
        executor.made(macvlan);
    }
    let is_up =
        || link(&cable, "eth0v10").is_some_and(|l| l["flags"].to_string().contains("\"UP\""));
    let held =
        [VirtualAddress { device: "eth0v10".to_owned(), ip: VIP.parse()?, prefix: 64, ..vip(0) }];
    for _ in 0..2 {
        assert!(!is_up(), "it could say something");
        executor.send(add(1, &held));
        assert!(executor.flush(PATIENCE));
        assert!(is_up());
        let addresses = cable.here.ip("-o -6 addr show dev eth0v10")?;
        assert!(addresses.contains(VIP) && !addresses.contains("fe80"), "{addresses}");
        cable.there.ip("neigh flush dev eth0")?;
        cable.there.enter(|| {
            UdpSocket::bind("[::]:0")?.send_to(b"x", (VIP, 9))?;
            Ok(())
        })?;
        let at = || cable.there.ip(&format!("neigh show {VIP} dev eth0")).unwrap_or_default();
        wait_until("an answer", PATIENCE, || at().contains(MAC_TEXT)).with_context(at)?;
        executor.send(remove(1, &held));
        wait_until("it is down", PATIENCE, || !is_up())?;
    }
    Ok(())
}
