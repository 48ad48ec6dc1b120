//! IPv6: neighbour advertisements on the wire, and addresses that are somebody else's too.

use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::{packet, wait_until};
use xvrrp::net::executor::{Config, Detected, Executor};

use crate::Cable;
use crate::announcements::{PATIENCE, add, announce, mac, remove, spawn, text};

const ADDRESS: &str = "2001:db8::250";
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes in front of the ICMPv6 message: Ethernet and IPv6.
const HEADERS: usize = 54;

fn vip(ip: &str) -> Result<VirtualAddress> {
    Ok(VirtualAddress::new(ip.parse()?, 64, "eth0"))
}

/// A socket that sees what arrives at the far end.
fn listen(cable: &Cable) -> Result<OwnedFd> {
    let socket = cable.there.enter(|| packet::open("eth0"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
    Ok(socket)
}

/// The neighbour advertisements for an address that have arrived.
fn heard(socket: &OwnedFd, target: &str) -> Result<Vec<(Instant, Vec<u8>)>> {
    let target: Ipv6Addr = target.parse()?;
    let (mut all, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        let frame = &buffer[..length];
        let of = frame.get(HEADERS + 8..HEADERS + 24);
        let is_one = frame[12..14] == [0x86, 0xdd] && frame.get(HEADERS) == Some(&136);
        if is_one && of == Some(&target.octets()) {
            all.push((Instant::now(), frame.to_vec()));
        }
    }
    Ok(all)
}

/// The same, once so many have arrived.
fn heard_all(socket: &OwnedFd, target: &str, count: usize) -> Result<Vec<(Instant, Vec<u8>)>> {
    let mut all = heard(socket, target)?;
    wait_until("all are announced", LIMIT, || {
        if all.len() < count {
            all.extend(heard(socket, target).unwrap_or_default());
        }
        all.len() >= count
    })?;
    all.extend(heard(socket, target)?);
    ensure!(all.len() == count, "{} advertisements, not {count}", all.len());
    Ok(all)
}

#[test]
fn an_address_is_announced_to_all_nodes() -> Result<()> {
    let cable = Cable::new()?;
    let socket = listen(&cable)?;
    let (executor, outcomes) = spawn(&cable)?;
    let one = [vip(ADDRESS)?];
    executor.send(add(1, &one));
    executor.send(announce(1, &one, 2));
    assert_eq!(outcomes.recv_timeout(PATIENCE)?, (Slot(1), Outcome::Done));
    assert!(executor.flush(PATIENCE));
    let mac = mac(&cable)?;
    let host = heard_all(&socket, ADDRESS, 2)?;
    let (_, frame) = &host[0];
    ensure!(frame[..6] == [0x33, 0x33, 0, 0, 0, 1], "{frame:02x?}");
    ensure!(frame[21] == 255, "hop limit {}", frame[21]);
    // A host: overriding, not solicited, no router (RFC 4861 §4.4); then the target's link address.
    ensure!(frame[HEADERS + 4] == 0x20, "flags {:#x}", frame[HEADERS + 4]);
    ensure!(frame[HEADERS + 24..HEADERS + 26] == [2, 1], "{frame:02x?}");
    for at in [6, HEADERS + 26] {
        ensure!(text(frame[at..at + 6].try_into()?) == mac, "at {at}: {frame:02x?}");
    }

    // What the interface does is looked at each time.
    cable.here.sysctl("net.ipv6.conf.eth0.forwarding", 1)?;
    executor.send(announce(1, &one, 1));
    assert!(executor.flush(PATIENCE));
    let router = heard_all(&socket, ADDRESS, 1)?;
    let flags: Vec<u8> = router.iter().map(|(_, frame)| frame[HEADERS + 4]).collect();
    ensure!(flags == [0xa0], "flags {flags:02x?}");

    // The neighbour takes it from one to the other without asking.
    cable
        .there
        .ip(&format!("neigh replace {ADDRESS} lladdr 02:00:00:00:00:99 dev eth0 nud stale"))?;
    executor.send(announce(1, &one, 1));
    assert!(executor.flush(PATIENCE));
    let neighbours = || cable.there.ip("-6 neigh show dev eth0").unwrap_or_default();
    wait_until("the neighbour knows it", LIMIT, || {
        neighbours().contains(&format!("{ADDRESS} lladdr {mac} router"))
    })
    .with_context(neighbours)?;
    Ok(())
}

#[test]
fn advertisements_keep_their_pace() -> Result<()> {
    const GAP: Duration = Duration::from_millis(20);
    let cable = Cable::new()?;
    let socket = listen(&cable)?;
    let config = Config { gna_interval: GAP, ..Config::default() };
    let executor = cable.here.enter(|| Ok(Executor::spawn(config, |_, _| {}, |_| {})?))?;
    let both = [vip(ADDRESS)?, vip("2001:db8::251")?];
    executor.send(add(1, &both));
    let begin = Instant::now();
    executor.send(announce(1, &both, 5));
    let all = heard_all(&socket, ADDRESS, 5)?;
    let last = all[4].0 - begin;
    // The last but one of ten.
    ensure!(last >= 8 * GAP, "after {last:?}");
    Ok(())
}

#[test]
fn what_another_host_has_too_is_put_on_again() -> Result<()> {
    let cable = Cable::new()?;
    let (asked, found) = (ADDRESS, "2001:db8::251");
    for ip in [asked, found] {
        cable.there.ip(&format!("addr add {ip}/64 dev eth0 nodad"))?;
    }
    let (executor, _outcomes) = spawn(&cable)?;
    // Asked for by the daemon, and there before it came.
    let address = VirtualAddress { detect_duplicates: true, ..vip(asked)? };
    executor.send(add(1, std::slice::from_ref(&address)));
    cable.here.ip(&format!("addr add {found}/64 dev eth0"))?;
    let is = |ip: &str, flag: &str| {
        cable.shown(ip).is_ok_and(|shown| shown.is_some_and(|shown| shown[flag] == true))
    };
    wait_until("both are duplicates", LIMIT, || is(asked, "dadfailed") && is(found, "dadfailed"))?;

    let socket = listen(&cable)?;
    let ifindex = cable.here.enter(|| Ok(if_nametoindex("eth0")?))?;
    let prefix = address.prefix;
    executor.detected(Detected { ifindex, ip: address.ip, prefix, duplicate: true });
    executor.send(add(2, &[vip(found)?]));
    assert!(executor.flush(PATIENCE));
    for ip in [asked, found] {
        ensure!(!is(ip, "dadfailed") && !is(ip, "tentative"), "{:?}", cable.shown(ip)?);
        ensure!(is(ip, "nodad"), "{:?}", cable.shown(ip)?);
    }
    heard_all(&socket, asked, 1).context("it was not announced")?;

    // One that nobody holds stays as it is.
    executor.send(remove(2, &[vip(found)?]));
    executor.detected(Detected { ifindex, ip: found.parse()?, prefix, duplicate: true });
    assert!(executor.flush(PATIENCE));
    ensure!(cable.shown(found)?.is_none(), "put on for nobody");
    Ok(())
}

/// Without an address a router can't serve, however many it had before: another one may do better.
#[test]
fn addresses_that_are_lost_and_refused_are_held_no_more() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, outcomes) = spawn(&cable)?;
    let both = [vip("fe80::5:5")?, vip(ADDRESS)?];
    executor.send(add(1, &both));
    assert_eq!(outcomes.recv_timeout(PATIENCE)?, (Slot(1), Outcome::Done));
    cable.here.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)?;
    // Of one that is still held nothing is known to be wrong.
    executor.send(add(1, &both[..1]));
    let first = outcomes.recv_timeout(PATIENCE)?.1;
    ensure!(matches!(&first, Outcome::Partly { address, .. } if *address == both[0]), "{first:?}");
    executor.send(add(1, &both[1..]));
    let last = outcomes.recv_timeout(PATIENCE)?.1;
    ensure!(matches!(&last, Outcome::Failed { address, .. } if *address == both[1]), "{last:?}");
    Ok(())
}
