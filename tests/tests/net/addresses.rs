//! Addresses put on and taken off, as `ip` sees them.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};
use vrrp_proto::settings::{Broadcast, VirtualAddress};
use vrrp_tests::wait_until;
use vrrp_tests::watch::Watch;
use xvrrp::net::addr::{Added, AddrError, Addresses, Removed};

use crate::announcements::PATIENCE;
use crate::{Cable, many, vip};

fn resolve(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

fn add(cable: &Cable, addresses: &[VirtualAddress]) -> Result<Vec<Result<Added, AddrError>>> {
    cable.here.enter(|| Ok(Addresses::open()?.add(addresses, resolve)))
}

fn remove(cable: &Cable, addresses: &[VirtualAddress]) -> Result<Vec<Result<Removed, AddrError>>> {
    cable.here.enter(|| Ok(Addresses::open()?.remove(addresses, resolve)))
}

/// Checks what is shown of an address.
fn expect(cable: &Cable, ip: &str, fields: Value) -> Result<()> {
    let shown = cable.shown(ip)?.unwrap_or_default();
    for (name, value) in fields.as_object().cloned().unwrap_or_default() {
        ensure!(shown[&name] == value, "{ip}: {name} is not {value} in {shown}");
    }
    Ok(())
}

#[test]
fn everything_written_about_an_address_is_there() -> Result<()> {
    let cable = Cable::new()?;
    // All addresses of one network must have one scope.
    let elsewhere = VirtualAddress { ip: [198, 51, 100, 104].into(), ..vip(0) };
    let written = [
        vip(100),
        VirtualAddress { prefix: 32, ..vip(101) },
        VirtualAddress { broadcast: Broadcast::HostBitsSet, ..vip(102) },
        VirtualAddress { broadcast: Broadcast::Address([192, 0, 2, 9].into()), ..vip(103) },
        VirtualAddress { label: Some("eth0:vip".to_owned()), scope: 253, ..elsewhere },
        VirtualAddress { no_prefix_route: true, prefix: 28, ..vip(105) },
        VirtualAddress { preferred: Some(0), ..vip(106) },
        VirtualAddress {
            peer: Some([10, 0, 0, 2].into()),
            prefix: 30,
            ip: [10, 0, 0, 1].into(),
            ..vip(0)
        },
    ];
    let results = add(&cable, &written)?;
    assert_eq!(results, vec![Ok(Added::New); written.len()]);

    let expect = |ip: &str, fields: Value| expect(&cable, ip, fields);
    expect("192.0.2.100", json!({"prefixlen": 24, "scope": "global", "broadcast": null}))?;
    expect("192.0.2.101", json!({"prefixlen": 32, "label": "eth0"}))?;
    expect("192.0.2.102", json!({"broadcast": "192.0.2.255"}))?;
    expect("192.0.2.103", json!({"broadcast": "192.0.2.9"}))?;
    expect("198.51.100.104", json!({"label": "eth0:vip", "scope": "link"}))?;
    expect("192.0.2.105", json!({"prefixlen": 28, "noprefixroute": true}))?;
    expect("192.0.2.106", json!({"deprecated": true}))?;
    expect("10.0.0.1", json!({"address": "10.0.0.2", "prefixlen": 30}))?;
    let routes = cable.here.ip("route show table main")?;
    ensure!(!routes.contains("192.0.2.96/28"), "a prefix route: {routes}");
    ensure!(routes.contains("192.0.2.0/24"), "no prefix route: {routes}");

    assert_eq!(add(&cable, &written)?, vec![Ok(Added::AlreadyThere); written.len()]);
    assert_eq!(remove(&cable, &written)?, vec![Ok(Removed::Gone); written.len()]);
    let left = cable.all_shown()?.into_iter().filter(|a| a["scope"] == "global").count();
    assert_eq!(left, 1, "{:?}", cable.all_shown()?);
    assert_eq!(remove(&cable, &written)?, vec![Ok(Removed::NotThere); written.len()]);
    Ok(())
}

#[test]
fn everything_written_about_an_ipv6_address_is_there() -> Result<()> {
    let cable = Cable::new()?;
    let written = [
        VirtualAddress::new("2001:db8::100".parse()?, 64, "eth0"),
        VirtualAddress {
            peer: "2001:db8:1::2".parse().ok(),
            ..VirtualAddress::new("2001:db8:1::1".parse()?, 64, "eth0")
        },
        VirtualAddress {
            detect_duplicates: true,
            preferred: Some(3600),
            home: true,
            manage_temporary: true,
            ..VirtualAddress::new("2001:db8:2::1".parse()?, 64, "eth0")
        },
    ];
    assert_eq!(add(&cable, &written)?, vec![Ok(Added::New); written.len()]);
    let preferred = &cable.shown("2001:db8:2::1")?.unwrap_or_default()["preferred_life_time"];
    ensure!((3500..=3600).contains(&preferred.as_u64().unwrap_or(0)), "{preferred}");
    expect(&cable, "2001:db8::100", json!({"prefixlen": 64, "nodad": true, "tentative": null}))?;
    expect(&cable, "2001:db8:1::1", json!({"address": "2001:db8:1::2", "nodad": true}))?;
    expect(&cable, "2001:db8:2::1", json!({"nodad": null, "home": true, "mngtmpaddr": true}))?;
    // What a neighbour asks by (RFC 4291 §2.7.1).
    // The kernel joins it a moment later.
    wait_until("the group is joined", PATIENCE, || {
        cable.here.ip("maddr show dev eth0").is_ok_and(|all| all.contains("ff02::1:ff00:100"))
    })?;
    assert_eq!(add(&cable, &written)?, vec![Ok(Added::AlreadyThere); written.len()]);
    assert_eq!(remove(&cable, &written)?, vec![Ok(Removed::Gone); written.len()]);
    let groups = cable.here.ip("maddr show dev eth0")?;
    ensure!(!groups.contains("ff02::1:ff00:100"), "{groups}");
    let left = cable.all_shown()?;
    ensure!(left.iter().all(|a| a["family"] == "inet" || a["scope"] == "link"), "{left:?}");
    Ok(())
}

#[test]
fn what_fails_is_named_and_stops_nothing_else() -> Result<()> {
    let cable = Cable::new()?;
    let mixed = [
        VirtualAddress { device: "eth9".to_owned(), ..vip(100) },
        vip(101),
        VirtualAddress { prefix: 33, ..vip(102) },
        vip(103),
    ];
    let results = add(&cable, &mixed)?;
    assert_eq!(results[0], Err(AddrError::NoDevice("eth9".to_owned())));
    assert_eq!((&results[1], &results[3]), (&Ok(Added::New), &Ok(Added::New)));
    let refused = results[2].clone().unwrap_err().to_string();
    assert!(refused.contains("Invalid argument (") && refused.contains("prefix"), "{refused}");
    assert!(cable.shown("192.0.2.103")?.is_some());

    let gone = [VirtualAddress { device: "eth9".to_owned(), ..vip(100) }, vip(101)];
    assert_eq!(remove(&cable, &gone)?, [Ok(Removed::NotThere), Ok(Removed::Gone)]);
    Ok(())
}

#[test]
fn two_hundred_addresses_at_once() -> Result<()> {
    let cable = Cable::new()?;
    let all = many(200);
    let (added, removed) = cable.here.enter(|| {
        let mut addresses = Addresses::open()?;
        let index = resolve("eth0");
        let begin = Instant::now();
        let results = addresses.add(&all, |_| index);
        let added = begin.elapsed();
        ensure!(results.iter().all(|r| *r == Ok(Added::New)), "{results:?}");
        let begin = Instant::now();
        let results = addresses.remove(&all, |_| index);
        ensure!(results.iter().all(|r| *r == Ok(Removed::Gone)), "{results:?}");
        Ok((added, begin.elapsed()))
    })?;
    println!("200 addresses: on in {added:?}, off in {removed:?}");
    Ok(())
}

/// Ours is the first of its network, and the host's own and another of ours are behind it: none of them
/// goes with it, nor for a moment, and the setting that does it is as it was.
#[test]
fn no_other_address_goes_with_one_that_is_taken_off() -> Result<()> {
    for setting in [0, 1] {
        let cable = Cable::new()?;
        let name = "net.ipv4.conf.eth0.promote_secondaries";
        cable.here.sysctl(name, setting)?;
        cable.here.ip("addr flush dev eth0")?;
        let elsewhere = VirtualAddress { ip: [198, 51, 100, 104].into(), ..vip(0) };
        let ours = [vip(250), vip(251), elsewhere, vip(252)];
        assert_eq!(add(&cable, &ours)?, [const { Ok(Added::New) }; 4]);
        cable.here.ip("addr add 192.0.2.11/24 dev eth0")?;
        ensure!(cable.shown("192.0.2.11")?.unwrap_or_default()["secondary"] == true);
        let watch = Watch::start(&cable.here)?;
        let off = [ours[0].clone(), ours[2].clone(), ours[3].clone()];
        assert_eq!(remove(&cable, &off)?, [const { Ok(Removed::Gone) }; 3]);
        let ips = || -> Result<Vec<Value>> {
            let shown = cable.all_shown()?.into_iter().filter(|a| a["family"] == "inet");
            Ok(shown.map(|a| a["local"].clone()).collect())
        };
        assert_eq!(ips()?, ["192.0.2.251", "192.0.2.11"], "with {setting}");
        assert_eq!(remove(&cable, &ours[1..2])?, [Ok(Removed::Gone)]);
        assert_eq!(ips()?, ["192.0.2.11"], "with {setting}");
        ensure!(cable.shown("192.0.2.11")?.unwrap_or_default()["secondary"].is_null());
        let changes = watch.of([192, 0, 2, 11].into());
        ensure!(changes.iter().all(|change| change.added), "it flapped: {changes:?}");
        let now = cable.here.sh("cat /proc/sys/net/ipv4/conf/eth0/promote_secondaries")?;
        ensure!(now.trim() == setting.to_string(), "the setting is {now}");
    }
    Ok(())
}

/// More of them than are in one message to the kernel.
#[test]
fn many_at_once_take_no_other_along() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.sysctl("net.ipv4.conf.eth0.promote_secondaries", 0)?;
    cable.here.ip("addr flush dev eth0")?;
    let ours: Vec<VirtualAddress> = (20..=250).map(vip).collect();
    assert_eq!(add(&cable, &ours)?, vec![Ok(Added::New); ours.len()]);
    cable.here.ip("addr add 192.0.2.11/24 dev eth0")?;
    assert_eq!(remove(&cable, &ours)?, vec![Ok(Removed::Gone); ours.len()]);
    let left = cable.all_shown()?.into_iter().filter(|a| a["family"] == "inet").count();
    assert_eq!(left, 1, "{:?}", cable.all_shown()?);
    let now = cable.here.sh("cat /proc/sys/net/ipv4/conf/eth0/promote_secondaries")?;
    ensure!(now.trim() == "0", "the setting is {now}");
    Ok(())
}

/// The kernel takes the longer for an IPv6 address the more routes there are.
#[test]
fn the_routes_of_many_ipv6_addresses_go_before_them() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr add 2001:db8::1/64 dev eth0 nodad")?;
    let one = |n: u16, prefix| {
        let ip = [0x2001, 0xdb8, 0, 0, 0, 0, 0x5e, n];
        VirtualAddress::new(IpAddr::from(ip), prefix, "eth0")
    };
    let mut all: Vec<_> =
        (0..50).map(|n| one(n, 64)).chain((50..100).map(|n| one(n, 128))).collect();
    assert_eq!(add(&cable, &all)?, vec![Ok(Added::New); all.len()]);
    // The kernel makes them a moment later.
    wait_until("all have their routes", PATIENCE, || {
        let routes = cable.here.ip("-6 route show table local dev eth0").unwrap_or_default();
        routes.lines().filter(|line| line.starts_with("local 2001:db8::5e:")).count() == all.len()
    })?;
    let file = tempfile::NamedTempFile::new()?;
    let mut monitor = cable.here.command("ip");
    let mut monitor =
        monitor.args(["monitor", "address", "route"]).stdout(file.reopen()?).spawn()?;
    // It is heard from when it tells something.
    let told = || std::fs::read_to_string(file.path()).unwrap_or_default();
    let listens = wait_until("ip listens", PATIENCE, || {
        let _ = cable.here.ip("addr replace 192.0.2.99/32 dev eth0");
        told().contains("192.0.2.99")
    });
    // The host's own, which is there with another prefix length.
    all.push(VirtualAddress { ip: "2001:db8::1".parse()?, ..one(0, 128) });
    let results = remove(&cable, &all)?;
    let gone = |line: &&str| line.starts_with("Deleted ") && line.contains(" inet6 2001:db8::5e:");
    let all_told =
        wait_until("ip has told all", PATIENCE, || told().lines().filter(gone).count() == 100);
    let _ = monitor.kill();
    let _ = monitor.wait();
    listens.and(all_told)?;
    assert_eq!(results[..100], vec![Ok(Removed::Gone); 100]);
    assert_eq!(results[100], Ok(Removed::NotThere));
    let told = told();
    let first = told.lines().position(|line| gone(&line));
    let routes = |table| format!("Deleted {table}2001:db8::5e:");
    for (table, count) in [("local ", 100), ("", 50)] {
        let is_it = |line: &&str| line.starts_with(&routes(table));
        let before = told.lines().take(first.unwrap_or(0)).filter(is_it).count();
        assert_eq!(before, count, "{told}");
    }
    let left = cable.here.ip("-6 route show table all dev eth0")?;
    for stays in ["local 2001:db8::1 ", "2001:db8::/64 "] {
        ensure!(left.lines().any(|line| line.starts_with(stays)), "{left}");
    }
    ensure!(!left.contains("5e:"), "{left}");
    Ok(())
}
