//! Addresses that the host has at start, judged on a real host.

use std::collections::BTreeSet;

use anyhow::Result;
use nix::net::if_::if_nametoindex;
use xvrrp::net::addr::Addresses;
use xvrrp::net::leftover::{Found, Origin, Wanted, judge};
use xvrrp::net::monitor::Monitor;
use xvrrp::net::{Snapshot, routes};

use crate::{Cable, vip};

fn snapshot() -> Result<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async { Ok(Monitor::start(Monitor::RECEIVE_BUFFER)?.0) })
}

/// What is found of 192.0.2.250/24, by nobody who is Active at once.
fn found(cable: &Cable) -> Result<Found> {
    let address = vip(250);
    let wanted = [Wanted { address: &address, base: None, at_once: false }];
    cable.here.enter(|| {
        let host = snapshot()?;
        let sources = || routes::sources(&host).unwrap_or_default();
        let mut found = judge(&host, &wanted, sources);
        assert_eq!(found.len(), 1, "{found:?}");
        Ok(found.remove(0))
    })
}

#[test]
fn the_mark_of_an_earlier_life_is_seen() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.enter(|| {
        let results = Addresses::open()?.add(&[vip(250)], |name| if_nametoindex(name).ok());
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        Ok(())
    })?;
    let found = found(&cable)?;
    assert_eq!((found.origin, found.remove), (Origin::OursBefore, true));
    // And what is found can be removed as found.
    cable.here.enter(|| {
        Addresses::open()?.remove(&[found.to_virtual()], |name| if_nametoindex(name).ok());
        Ok(())
    })?;
    assert!(cable.shown("192.0.2.250")?.is_none());
    Ok(())
}

#[test]
fn without_a_mark_it_depends_on_what_else_is_there() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr add 192.0.2.250/24 dev eth0")?;
    cable.here.ip("route add default via 192.0.2.1")?;
    let second = found(&cable)?;
    assert_eq!((second.origin, second.remove), (Origin::Leftover, true));

    cable.here.ip("route replace default via 192.0.2.1 src 192.0.2.250")?;
    let source = found(&cable)?;
    assert_eq!((source.origin, source.remove), (Origin::HostOwn, false));
    cable.here.ip("route del default")?;

    cable.here.ip("addr flush dev eth0")?;
    cable.here.ip("addr add 192.0.2.250/24 dev eth0")?;
    let alone = found(&cable)?;
    assert_eq!((alone.origin, alone.remove), (Origin::HostOwn, false));

    // It was there first, so packets to the gateway leave with it.
    cable.here.ip("addr add 192.0.2.11/24 dev eth0")?;
    cable.here.ip("route add default via 192.0.2.1")?;
    let sources = cable.here.enter(|| Ok(routes::sources(&snapshot()?)?))?;
    assert_eq!(sources, BTreeSet::from([vip(250).ip]));
    let route = cable.here.ip("route get 203.0.113.1")?;
    assert!(route.contains("src 192.0.2.250"), "{route}");
    assert_eq!(found(&cable)?.origin, Origin::HostOwn);
    Ok(())
}
