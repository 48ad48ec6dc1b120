//! The handed configurations run as they are: what they put on the wire and on the host.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::wait::{BUSY, is_about, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Starts a handed configuration on r1 alone and waits until it speaks for this VRID.
fn speaks(lab: &Lab, file: &str, vrid: u8) -> Result<(Daemon, Capture)> {
    let wire = lab.capture("client")?;
    let daemon = lab.run("r1", &cases::configuration(file))?;
    wait_until(&format!("VRID {vrid} speaks"), LIMIT, || last(&wire, vrid).is_ok())
        .with_context(|| daemon.log_end())?;
    Ok((daemon, wire))
}

/// The first advert of a virtual router, once there is one.
fn first(wire: &Capture, vrid: u8) -> Result<SeenAdvert> {
    wait_until(&format!("VRID {vrid} speaks"), LIMIT, || last(wire, vrid).is_ok())?;
    let of = |seen: &SeenAdvert| seen.advert.vrid == vrid;
    wire.adverts_of("r1").into_iter().find(of).with_context(|| format!("VRID {vrid} is silent"))
}

/// Waits until a host has an address that is written with its length.
fn holds(lab: &Lab, address: &str) -> Result<()> {
    let held = || lab.addresses("r1").is_ok_and(|all| all.iter().any(|one| one == address));
    wait_until(&format!("r1 has {address}"), LIMIT, held).map(drop)
}

/// The last advert of a virtual router.
fn last(wire: &Capture, vrid: u8) -> Result<SeenAdvert> {
    let of = |seen: &SeenAdvert| seen.advert.vrid == vrid;
    wire.adverts_of("r1").into_iter().rfind(of).with_context(|| format!("VRID {vrid} is silent"))
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

#[test]
fn handed_configurations_on_the_wire() -> Result<()> {
    together(&[
        ("C01", c01_plain_nginx),
        ("C02", c02_brace_glued),
        ("C10", c10_crlf),
        ("C12", c12_auth_pass_long),
        ("C18", c18_advert_int_v2),
        ("C20", c20_v3_with_auth),
        ("C23", c23_vip_attributes),
        ("C25", c25_dual_master),
        ("C35", c35_lvs_beside),
        ("C42", c42_minimal),
        ("C45", c45_garp_options),
    ])
}

/// Version 2, one second, PASS: what one line of the wire must say.
fn is_v2_pass(seen: &SeenAdvert, priority: u8, password: &[u8; 8], vip: u8) -> Result<()> {
    let advert = &seen.advert;
    let header = (advert.version, advert.priority, advert.interval_ms, advert.auth_type);
    ensure!(header == (2, priority, 1000, 1), "{advert:?}");
    ensure!(advert.trailer == password, "{advert:?}");
    ensure!(advert.addresses == [address(vip)], "{advert:?}");
    ensure!(advert.ttl == 255 && advert.destination == Ipv4Addr::new(224, 0, 0, 18), "{advert:?}");
    Ok(())
}

fn c01_plain_nginx() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    // Its script watches the web server; without one it fails three times and costs 20.
    let (_daemon, wire) = speaks(&lab, "C01-plain-nginx", 51)?;
    is_v2_pass(&first(&wire, 51)?, 110, b"1111\0\0\0\0", 250)?;
    holds(&lab, "192.0.2.250/24")?;
    Ok(())
}

fn c02_brace_glued() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C02-brace-glued", 52)?;
    is_v2_pass(&last(&wire, 52)?, 120, b"2222\0\0\0\0", 251)?;
    holds(&lab, "192.0.2.251/32")?;
    Ok(())
}

fn c10_crlf() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C10-crlf", 62)?;
    is_v2_pass(&last(&wire, 62)?, 140, b"crlfpass", 250)
}

fn c12_auth_pass_long() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C12-auth-pass-long", 66)?;
    is_v2_pass(&first(&wire, 64)?, 100, b"Password", 250)?;
    is_v2_pass(&first(&wire, 65)?, 100, b"12345678", 251)?;
    is_v2_pass(&first(&wire, 66)?, 100, b"abc\0\0\0\0\0", 252)
}

/// An interval that version 2 can't say goes out rounded, or the instance is refused; never as 0
/// and never as a flood.
fn c18_advert_int_v2() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C18-advert-int-v2", 91)?;
    pause(6000);
    for (vrid, seconds) in [(91, 1), (92, 1), (93, 2)] {
        let says = last(&wire, vrid)?.advert.interval_ms;
        ensure!(says == seconds * 1000, "VRID {vrid} says {says} ms");
    }
    for vrid in 91..=98 {
        let at: Vec<_> =
            wire.adverts_of("r1").into_iter().filter(|s| s.advert.vrid == vrid).collect();
        ensure!(at.iter().all(|s| s.advert.interval_ms >= 1000), "VRID {vrid} says 0");
        let shortest = at.windows(2).map(|pair| pair[1].at - pair[0].at).min();
        ensure!(
            shortest.is_none_or(|gap| gap > Duration::from_millis(500)),
            "VRID {vrid}: {shortest:?} between two adverts"
        );
    }
    Ok(())
}

fn c20_v3_with_auth() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C20-v3-with-auth", 79)?;
    let third = first(&wire, 78)?.advert;
    ensure!((third.version, third.interval_ms) == (3, 100), "{third:?}");
    ensure!(third.trailer.is_empty(), "{third:?}");
    let second = last(&wire, 79)?;
    is_v2_pass(&second, 100, b"lab12345", 251)
}

fn c23_vip_attributes() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let behind = Capture::start(lab.ns("client"), "eth1")?;
    let (_daemon, wire) = speaks(&lab, "C23-vip-attributes", 110)?;
    pause(500);
    let advert = last(&wire, 110)?.advert;
    ensure!(advert.count == 5, "{advert:?}");
    let other = Ipv4Addr::new(198, 51, 100, 1);
    let mut addresses = advert.addresses.clone();
    addresses.sort();
    let want = [address(230), address(231), address(232), address(233), other];
    ensure!(addresses == want, "{advert:?}");

    let shown = lab.ns("r1").ip("-4 addr show dev eth0")?;
    let line = |address: &str| -> Result<&str> {
        shown
            .lines()
            .find(|l| l.contains(address))
            .with_context(|| format!("no {address}: {shown}"))
    };
    let labelled = line("192.0.2.230/24")?;
    ensure!(labelled.contains("brd 192.0.2.255") && labelled.ends_with("eth0:1"), "{labelled}");
    line("192.0.2.231/32")?;
    line("192.0.2.232/24")?;
    ensure!(line("192.0.2.233/24")?.contains("noprefixroute"), "{shown}");
    line("192.0.2.234/32")?;
    let shown = lab.ns("r1").ip("-4 addr show dev eth1")?;
    let there = |words: &[&str]| shown.lines().any(|l| words.iter().all(|word| l.contains(word)));
    ensure!(there(&["198.51.100.1/24", "scope link"]), "{shown}");
    ensure!(there(&["203.0.113.7/28", "brd 203.0.113.15"]), "{shown}");
    wait_until("it is announced on eth1", LIMIT, || !behind.announcements(other).is_empty())?;
    Ok(())
}

fn c25_dual_master() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C25-dual-master", 52)?;
    // Both add 2 after the first success of their check.
    let said =
        || Some((last(&wire, 51).ok()?.advert.priority, last(&wire, 52).ok()?.advert.priority));
    wait_until("both have added 2", LIMIT, || said() == Some((103, 102)))
        .with_context(|| format!("{:?}", said()))?;
    Ok(())
}

/// The instances between the blocks for LVS are whole, and nothing of the blocks is in them.
fn c35_lvs_beside() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (daemon, wire) = speaks(&lab, "C35-lvs-beside", 129)?;
    pause(1500);
    for (vrid, priority, vip) in [(128, 100, 250), (129, 90, 251)] {
        let advert = first(&wire, vrid)?.advert;
        ensure!(advert.priority == priority, "{advert:?}");
        ensure!(advert.addresses == [address(vip)], "{advert:?}");
    }
    for address in ["192.0.2.250/24", "192.0.2.251/24"] {
        holds(&lab, address)?;
    }
    let mut held = lab.addresses("r1")?;
    held.sort();
    ensure!(held == ["192.0.2.11/24", "192.0.2.250/24", "192.0.2.251/24"], "{held:?}");
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let status = daemon.status()?;
    ensure!(status.names() == ["VI_1", "VI_2"], "{:?}", status.names());
    for (name, identity, vip) in
        [("VI_1", (128, 100), "192.0.2.250/24"), ("VI_2", (129, 90), "192.0.2.251/24")]
    {
        let instance = status.instance(name)?;
        ensure!(instance.state() == "MASTER", "{}", instance.json());
        ensure!(instance.identity() == identity, "{}", instance.json());
        ensure!(instance.addresses() == [vip], "{}", instance.json());
    }
    for block in ["virtual_server_group", "virtual_server"] {
        let told = daemon.count_log(&format!("`{block}`"));
        ensure!(told == 1, "{told} lines about {block}: {}", daemon.log_end());
    }
    Ok(())
}

fn c42_minimal() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let (_daemon, wire) = speaks(&lab, "C42-minimal", 133)?;
    pause(6500);
    let advert = last(&wire, 133)?.advert;
    let header = (advert.version, advert.priority, advert.interval_ms, advert.auth_type);
    ensure!(header == (2, 100, 1000, 0), "{advert:?}");
    ensure!(advert.trailer == [0; 8], "{advert:?}");
    holds(&lab, "192.0.2.250/32")?;
    // Five gratuitous ARPs at once, five more after five seconds.
    let at: Vec<_> = wire.announcements(address(250)).into_iter().map(|(at, _)| at).collect();
    ensure!(at.len() == 10, "{} announcements", at.len());
    ensure!(at[4] - at[0] < BUSY, "{:?}", at[4] - at[0]);
    let second = at[5] - at[0];
    ensure!(is_about(second, Duration::from_secs(5)), "the second round after {second:?}");
    Ok(())
}

/// How often, and when, each instance announces itself after it has taken over.
fn c45_garp_options() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let conf = cases::configuration("C45-garp-options");
    let first_vip = |name: &str| -> Result<Ipv4Addr> {
        let block = conf.split(name).nth(1).and_then(|rest| rest.split("virtual_ipaddress").nth(1));
        let words = block.context("no such block")?;
        let word = words.split_whitespace().find(|word| word.starts_with("192."));
        Ok(word.and_then(|word| word.split('/').next()).context("no address")?.parse()?)
    };
    let (defaults, own) = (first_vip("DEFAULTS")?, first_vip("OWN")?);
    let wire = lab.capture("client")?;
    let daemon = lab.run("r1", &conf)?;
    wait_until("both are announced", LIMIT, || {
        !wire.announcements(defaults).is_empty() && !wire.announcements(own).is_empty()
    })
    .with_context(|| daemon.log_end())?;
    pause(12_000);
    let at = |of| wire.announcements(of).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    let [first, second] = at(defaults)[..] else { bail!("DEFAULTS: {:?}", at(defaults)) };
    ensure!(
        is_about(second - first, Duration::from_secs(10)),
        "DEFAULTS: again after {:?}",
        second - first
    );
    if !Kind::ours_under_test() {
        // keepalived sends OWN's first one alone and never comes to the others.
        return Ok(());
    }
    let [first, .., last] = at(own)[..] else { bail!("OWN: {:?}", at(own)) };
    ensure!(at(own).len() == 3, "OWN: {} announcements", at(own).len());
    ensure!(last - first < BUSY, "OWN: {:?}", last - first);
    Ok(())
}
