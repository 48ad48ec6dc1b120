//! The handed configurations run as they are: what they put on the wire and on the host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_common::checksum::Sum;
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::generator::sum_header;
use vrrp_tests::wait::{BUSY, is_about, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, roll, wait_until};

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

#[test]
fn handed_configurations_by_other_ways() -> Result<()> {
    together(&[("C21", c21_ipv6_good), ("C29", c29_unicast)])
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
        if let [first, .., last] = &at[..] {
            let seconds = (last.at - first.at).as_secs();
            ensure!(at.len() as u64 <= seconds + 2, "VRID {vrid}: {} in {seconds} s", at.len());
        }
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

/// The addresses of an advert over IPv6, in the order of the wire.
fn addresses_v6(frame: &[u8]) -> Option<Vec<Ipv6Addr>> {
    let is_advert = frame.get(12..14)? == [0x86, 0xdd] && *frame.get(20)? == 112;
    let message = frame.get(54..).filter(|_| is_advert)?;
    let addresses = message.get(8..8 + 16 * usize::from(*message.get(3)?))?.as_chunks::<16>().0;
    Some(addresses.iter().map(|bytes| Ipv6Addr::from(*bytes)).collect())
}

fn c21_ipv6_good() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    roll::wait_link_local(&lab, &["r1"])?;
    let wire = Capture::of(lab.ns("client"), "eth0", addresses_v6)?;
    let over_ipv4 = lab.capture("client")?;
    let daemon = lab.run("r1", &cases::configuration("C21-ipv6-good"))?;
    wait_until("r1 speaks", LIMIT, || wire.seen().len() > 1).with_context(|| daemon.log_end())?;
    let want: [Ipv6Addr; 3] =
        ["fe80::5e00:250".parse()?, "2001:db8::250".parse()?, "2001:db8::251".parse()?];
    for seen in wire.seen() {
        ensure!(seen.frame == want, "{:?}", seen.frame);
    }
    // The excluded one is held and announced, and no advert names it.
    holds(&lab, "192.0.2.250/24")?;
    let announced = || !over_ipv4.announcements(address(250)).is_empty();
    wait_until("it is announced", LIMIT, announced)?;
    ensure!(over_ipv4.adverts().is_empty(), "{:?}", over_ipv4.adverts());
    let shown = lab.ns("r1").ip("-6 -o addr show dev eth0")?;
    let line = shown.lines().find(|line| line.contains("2001:db8::251/128"));
    let line = line.with_context(|| format!("no /128: {shown}"))?;
    ensure!(line.contains(" deprecated ") && line.contains("preferred_lft 0sec"), "{line}");
    for other in ["2001:db8::250/64", "fe80::5e00:250/64"] {
        let line = shown.lines().find(|line| line.contains(other));
        ensure!(line.is_some_and(|line| !line.contains("deprecated")), "{other}: {shown}");
    }
    Ok(())
}

/// A losing advert of C29 to r1 alone.
fn unicast(from: u8, ttl: u8) -> Vec<u8> {
    let mut frame = cases::frame("P15-unicast", "from-the-peer");
    (frame[14 + 8], frame[14 + 15]) = (ttl, from);
    sum_header(&mut frame);
    let message = &mut frame[34..54];
    (message[1], message[2], message[4]) = (116, 50, 1);
    message[6..8].fill(0);
    message[12..].copy_from_slice(b"unicast1");
    let sum = Sum::new().slice(message).checksum();
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// As it is handed, and with itself among its peers (B61), by its own word and by the host's addresses.
fn c29_unicast() -> Result<()> {
    let conf = cases::configuration("C29-unicast");
    let itself = conf.replace("        192.0.2.12\n", "        192.0.2.12\n        192.0.2.11\n");
    let unsaid = itself.replace("    unicast_src_ip 192.0.2.11\n", "");
    ensure!(itself != conf && unsaid != itself);
    std::thread::scope(|scope| {
        let all = [&conf, &itself, &unsaid].map(|conf| scope.spawn(|| speaks_to_peers(conf)));
        let results = all.map(|one| one.join().expect("it returns its errors"));
        let names = ["as it is", "itself among them", "without a source"];
        results.into_iter().zip(names).try_for_each(|(result, name)| result.context(name))
    })
}

fn speaks_to_peers(conf: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "r3", "gen"])?;
    let (wire, within) = (lab.capture_port("r1")?, Capture::start(lab.ns("r1"), "lo")?);
    let daemon = lab.run("r1", conf)?;
    let peers = [12, 13].map(address);
    let to = |peer| wire.adverts().iter().filter(|seen| seen.advert.destination == peer).count();
    wait_until("r1 speaks to both", LIMIT, || peers.iter().all(|peer| to(*peer) > 2))
        .with_context(|| daemon.log_end())?;
    for SeenAdvert { advert, .. } in wire.adverts() {
        ensure!(peers.contains(&advert.destination) && advert.source == address(11), "{advert:?}");
        ensure!((advert.vrid, advert.auth_type) == (116, 1), "{advert:?}");
        ensure!(advert.trailer == b"unicast1", "{advert:?}");
    }
    ensure!(within.adverts().is_empty(), "to itself: {:?}", within.adverts());
    if !Kind::ours_under_test() {
        return Ok(());
    }
    // Who is listed, and from how far.
    let counted = || -> Result<[u64; 3]> {
        let status = daemon.status()?;
        let one = status.instance("VI_U")?;
        Ok([one.counter("accepted"), one.refused("ttl"), one.refused("not_a_peer")])
    };
    for (from, ttl, counts) in [
        (12, 1, [1, 0, 0]),
        (13, 253, [1, 1, 0]),
        (13, 254, [2, 1, 0]),
        (13, 255, [3, 1, 0]),
        (99, 255, [3, 1, 1]),
    ] {
        lab.inject("gen", &unicast(from, ttl))?;
        let is_counted = || counted().is_ok_and(|found| found == counts);
        wait_until(&format!("{counts:?}"), LIMIT, is_counted)
            .with_context(|| format!("from .{from}, TTL {ttl}: {:?}", counted()))?;
    }
    ensure!(daemon.count_log("Entering MASTER STATE") == 1, "{}", daemon.log_end());
    Ok(())
}

fn c23_vip_attributes() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let behind = Capture::start(lab.ns("client"), "eth1")?;
    let (_daemon, wire) = speaks(&lab, "C23-vip-attributes", 110)?;
    // The last of either interface.
    holds(&lab, "192.0.2.234/32")?;
    holds(&lab, "203.0.113.7/28")?;
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
    // The later ones keep their times from the takeover, and not from the first.
    let took = first(&wire, 133)?.at;
    ensure!(at[4].saturating_sub(took) < BUSY, "{:?}", at[4].saturating_sub(took));
    let second = at[5].saturating_sub(took);
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
    // The later one keeps its time from the takeover, and not from the first.
    let took = first(&wire, 141)?.at;
    let [once, twice] = at(defaults)[..] else { bail!("DEFAULTS: {:?}", at(defaults)) };
    let [once, twice] = [once, twice].map(|at| at.saturating_sub(took));
    ensure!(once < BUSY, "DEFAULTS: after {once:?}");
    ensure!(is_about(twice, Duration::from_secs(10)), "DEFAULTS: again after {twice:?}");
    if !Kind::ours_under_test() {
        // keepalived sends OWN's first one alone and never comes to the others.
        return Ok(());
    }
    let [first, .., last] = at(own)[..] else { bail!("OWN: {:?}", at(own)) };
    ensure!(at(own).len() == 3, "OWN: {} announcements", at(own).len());
    ensure!(last - first < BUSY, "OWN: {:?}", last - first);
    Ok(())
}
