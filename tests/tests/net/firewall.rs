//! Accept_Mode False: who gets an answer, and what is left.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use tokio::runtime::Runtime;
use vrrp_tests::netns::Netns;
use vrrp_tests::{ping, wait_until};
use xvrrp::net::firewall::{self, Firewall, Refused};

use crate::Cable;
use crate::announcements::PATIENCE;

const V4: &str = "192.0.2.250";
const V6: &str = "2001:db8::250";
const LINK_LOCAL: &str = "fe80::5e00:250";
/// What there is at the near end.
const ALL: [&str; 6] = [V4, "192.0.2.251", V6, "2001:db8::11", LINK_LOCAL, "fe80::5e00:251"];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn everywhere(text: &str) -> Refused {
    Refused { ip: ip(text), link: None }
}

fn on_link(text: &str, link: &str) -> Refused {
    Refused { ip: ip(text), link: Some(link.to_owned()) }
}

/// A cable whose near end has the three addresses, and some that nothing is said about.
fn cable() -> Result<Cable> {
    let cable = Cable::new()?;
    for address in ALL {
        let prefix = if address.contains(':') { 64 } else { 24 };
        let nodad = if address.contains(':') { " nodad" } else { "" };
        cable.here.ip(&format!("addr add {address}/{prefix} dev eth0{nodad}"))?;
    }
    // At once, with no detection to wait for.
    for address in ["2001:db8::12", "fe80::12"] {
        cable.there.ip(&format!("addr add {address}/64 dev eth0 nodad"))?;
    }
    cable.here.ip("link set lo up")?;
    Ok(cable)
}

/// The addresses here that answer a host.
fn answering(asker: &Netns) -> Result<BTreeSet<&'static str>> {
    let scope = asker.enter(|| Ok(if_nametoindex("eth0")?))?;
    let mut answering = BTreeSet::new();
    std::thread::scope(|threads| {
        let asked: Vec<_> = ALL
            .into_iter()
            .map(|text| (text, threads.spawn(move || ping::answers(asker, None, ip(text), scope))))
            .collect();
        for (text, answer) in asked {
            if answer.join().expect("no panic")? {
                answering.insert(text);
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(answering)
}

/// Waits until these addresses answer a host, as the first question may find a busy one; that another one
/// does is an error at once.
fn expect(asker: &Netns, wanted: &BTreeSet<&'static str>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let found = answering(asker)?;
        if found == *wanted {
            return Ok(());
        }
        let late = begin.elapsed() > PATIENCE;
        ensure!(found.is_subset(wanted) && !late, "{found:?} answer, not {wanted:?}");
    }
}

/// Lets the runtime's tasks have their turn until these addresses answer and no others.
fn put_right(runtime: &Runtime, asker: &Netns, wanted: &BTreeSet<&'static str>) -> Result<()> {
    let begin = Instant::now();
    loop {
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
        let found = answering(asker)?;
        if found == *wanted {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{found:?} answer, not {wanted:?}");
    }
}

/// All addresses here but these.
fn all_but(refused: &[&str]) -> BTreeSet<&'static str> {
    ALL.into_iter().filter(|address| !refused.contains(address)).collect()
}

fn refuse(cable: &Cable, firewall: &mut Firewall, what: &[Refused]) -> Result<()> {
    let what = what.iter().cloned().collect();
    cable.here.enter(|| Ok(firewall.refuse(what)?))
}

fn clear(cable: &Cable, dir: &Path) -> Result<bool> {
    cable.here.enter(|| Ok(firewall::clear(dir)?))
}

#[test]
fn what_is_refused_answers_nobody() -> Result<()> {
    let cable = cable()?;
    let dir = tempfile::tempdir()?;
    expect(&cable.there, &all_but(&[]))?;

    let mut firewall = Firewall::new(dir.path());
    let refused = [everywhere(V4), everywhere(V6), on_link(LINK_LOCAL, "eth0")];
    refuse(&cable, &mut firewall, &refused)?;
    // Whoever was asked before is to be found anew.
    cable.there.ip("neigh flush dev eth0")?;
    expect(&cable.there, &all_but(&[V4, V6, LINK_LOCAL]))?;
    // As with keepalived, the host itself gets none either; and sends nothing from there.
    let begin = Instant::now();
    let mut here = BTreeSet::new();
    while here.len() < 3 && begin.elapsed() < PATIENCE {
        here = answering(&cable.here)?;
    }
    ensure!(!here.contains(V4) && !here.contains(V6) && here.len() >= 3, "from here: {here:?}");
    ensure!(!ping::answers(&cable.here, Some(ip(V4)), ip("192.0.2.12"), 0)?, "from the address");
    // Neighbours find it all the same, by ARP and by solicitation.
    for address in [V4, V6, LINK_LOCAL] {
        wait_until(&format!("{address} is found"), PATIENCE, || {
            let neighbours = cable.there.ip("neigh show dev eth0").unwrap_or_default();
            let line = neighbours.lines().find(|line| line.starts_with(&format!("{address} ")));
            line.is_some_and(|line| line.contains("lladdr"))
        })?;
    }

    // Elsewhere the same link-local address is another's.
    refuse(&cable, &mut firewall, &[on_link(LINK_LOCAL, "eth9")])?;
    expect(&cable.there, &all_but(&[]))?;
    refuse(&cable, &mut firewall, &[everywhere(V4)])?;
    expect(&cable.there, &all_but(&[V4]))?;
    refuse(&cable, &mut firewall, &[])?;
    expect(&cable.there, &all_but(&[]))?;
    ensure!(!clear(&cable, dir.path())?, "a note is left");
    Ok(())
}

#[test]
fn what_an_earlier_life_left_is_replaced_or_removed() -> Result<()> {
    let cable = cable()?;
    let (dir, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut first = Firewall::new(dir.path());
    refuse(&cable, &mut first, &[everywhere(V4), everywhere(V6)])?;
    drop(first);
    // Another daemon's stays.
    let mut another = Firewall::new(other.path());
    refuse(&cable, &mut another, &[everywhere("192.0.2.251")])?;

    let mut second = Firewall::new(dir.path());
    refuse(&cable, &mut second, &[everywhere("2001:db8::11")])?;
    expect(&cable.there, &all_but(&["2001:db8::11", "192.0.2.251"]))?;
    drop(second);
    ensure!(clear(&cable, dir.path())? && !clear(&cable, dir.path())?);
    expect(&cable.there, &all_but(&["192.0.2.251"]))?;
    ensure!(clear(&cable, other.path())?);
    expect(&cable.there, &all_but(&[]))?;
    // With a note and without a table: the host was given a new ruleset.
    std::fs::write(dir.path().join("nftables"), "xvrrp-00000000\n")?;
    ensure!(clear(&cable, dir.path())?);
    Ok(())
}

#[test]
fn a_table_that_somebody_removes_is_put_back() -> Result<()> {
    let cable = cable()?;
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut firewall = Firewall::new(dir.path());
    let moment = || tokio::time::sleep(Duration::from_millis(300));
    cable.here.enter(|| {
        runtime.block_on(async {
            firewall.refuse(BTreeSet::from([everywhere(V4), everywhere(V6)]))?;
            // What is removed by the name alone is what a new ruleset removes too.
            ensure!(firewall::clear(dir.path())?);
            moment().await;
            Ok(())
        })
    })?;
    put_right(&runtime, &cable.there, &all_but(&[V4, V6]))?;
    // What is removed on purpose stays away.
    std::fs::write(dir.path().join("nftables"), format!("{}\n", firewall.name()))?;
    cable.here.enter(|| {
        runtime.block_on(async {
            firewall.refuse(BTreeSet::new())?;
            moment().await;
            Ok(())
        })
    })?;
    expect(&cable.there, &all_but(&[]))
}

/// As `nft` does with what was saved some time ago, or with `flush table`.
#[test]
fn a_table_that_somebody_changes_is_put_back() -> Result<()> {
    let cable = cable()?;
    let (dir, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut firewall = Firewall::new(dir.path());
    let moment = || tokio::time::sleep(Duration::from_millis(300));
    let mut refuse = |what: &[Refused], change: &(dyn Fn() -> Result<()> + Sync)| {
        let what = what.iter().cloned().collect();
        cable.here.enter(|| {
            runtime.block_on(async {
                firewall.refuse(what)?;
                moment().await;
                change()?;
                moment().await;
                Ok(())
            })
        })
    };
    // A copy of the same name, with another address in it.
    let name = Firewall::new(dir.path()).name();
    let restore = || {
        std::fs::write(theirs.path().join("nftables"), format!("{name}\n"))?;
        let old = BTreeSet::from([everywhere("192.0.2.251")]);
        Ok(Firewall::new(theirs.path()).refuse(old)?)
    };
    refuse(&[everywhere(V4)], &restore)?;
    put_right(&runtime, &cable.there, &all_but(&[V4])).context("restored")?;
    refuse(&[everywhere(V4)], &|| flush(&name))?;
    put_right(&runtime, &cable.there, &all_but(&[V4])).context("flushed")?;
    refuse(&[], &restore)?;
    put_right(&runtime, &cable.there, &all_but(&[])).context("made")
}

/// What `nft flush table ip NAME` sends: all rules of the table go, and it stays.
fn flush(table: &str) -> Result<()> {
    const DELETE_RULE: u16 = 10 << 8 | 8;
    let message = |kind: u16, family: u8, subsystem: u16, attributes: &[u8]| {
        let length = 20 + attributes.len() as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(5_u16.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([family, 0]);
        bytes.extend(subsystem.to_be_bytes());
        bytes.extend(attributes);
        bytes
    };
    let mut name = (table.len() as u16 + 5).to_ne_bytes().to_vec();
    name.extend(1_u16.to_ne_bytes());
    name.extend(table.bytes().chain([0]));
    name.resize(name.len().next_multiple_of(4), 0);
    let rules = message(DELETE_RULE, 2, 0, &name);
    let batch = [message(0x10, 0, 10, &[]), rules, message(0x11, 0, 10, &[])].concat();
    let netlink = socket2::Domain::from(libc::AF_NETLINK);
    let netfilter = Some(socket2::Protocol::from(libc::NETLINK_NETFILTER));
    let socket = socket2::Socket::new(netlink, socket2::Type::DGRAM, netfilter)?;
    ensure!(socket.send(&batch)? == batch.len());
    let mut answer = [0; 64];
    let length = std::io::Read::read(&mut &socket, &mut answer)?;
    ensure!(length >= 20 && answer[16..20] == [0; 4], "refused: {:?}", &answer[..length]);
    Ok(())
}

#[test]
fn thousands_are_refused_at_once() -> Result<()> {
    let cable = cable()?;
    let dir = tempfile::tempdir()?;
    let many =
        |n: u32| Refused { ip: std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), link: None };
    let mut all: BTreeSet<Refused> = (0..10_000).map(many).collect();
    all.insert(everywhere(V4));
    // Some of the first, of the last and of those between, and the next one, which is none of them.
    let some: Vec<IpAddr> =
        (0..=20).map(|n| many((500 * n).max(1)).ip).chain([many(9999).ip]).collect();
    for ip in &some {
        cable.here.ip(&format!("addr add {ip}/32 dev eth0"))?;
    }
    cable.there.ip("route add 10.0.0.0/8 dev eth0")?;
    let mut firewall = Firewall::new(dir.path());
    let begin = Instant::now();
    cable.here.enter(|| Ok(firewall.refuse(all)?))?;
    println!("10001 addresses refused in {:?}", begin.elapsed());
    ensure!(!answering(&cable.there)?.contains(V4));
    let free = many(10_000).ip;
    wait_until("the next one answers", PATIENCE, || {
        ping::answers(&cable.there, None, free, 0).unwrap_or(false)
    })?;
    std::thread::scope(|threads| {
        let asked: Vec<_> = some
            .iter()
            .filter(|ip| **ip != free)
            .map(|ip| (ip, threads.spawn(|| ping::answers(&cable.there, None, *ip, 0))))
            .collect();
        for (ip, answer) in asked {
            ensure!(!answer.join().expect("no panic")?, "{ip} answers");
        }
        Ok(())
    })?;
    clear(&cable, dir.path())?;
    Ok(())
}
