//! Addresses that the kernel takes off itself once nobody renews them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::{Capture, wait_until};
use xvrrp::net::executor::{Config, Executor};
use xvrrp::net::leftover::OwnAddress;
use xvrrp::net::monitor::{Change, Monitor};

use crate::announcements::{PATIENCE, add, announce, arrived, remove};
use crate::{Cable, vip};

const LEASE: Duration = Duration::from_secs(2);

fn leased(lease: Option<Duration>) -> Config {
    Config { lease, ..Config::default() }
}

/// An executor in the near host whose addresses last that long.
fn spawn(cable: &Cable, lease: Option<Duration>) -> Result<Executor> {
    cable.here.enter(|| Ok(Executor::spawn(leased(lease), |_, _| {}, |_| {})?))
}

/// Seconds that an address has left: to live and to be preferred; `None` where it is not there.
fn left(cable: &Cable, ip: &str) -> Result<Option<(u64, u64)>> {
    let Some(shown) = cable.shown(ip)? else { return Ok(None) };
    let field = |name: &str| shown[name].as_u64().with_context(|| format!("no {name} in {shown}"));
    Ok(Some((field("valid_life_time")?, field("preferred_life_time")?)))
}

/// What `ip` shows as a lifetime without end.
const FOREVER: u64 = u32::MAX as u64;

fn v6() -> Result<VirtualAddress> {
    Ok(VirtualAddress { ip: "2001:db8::250".parse()?, prefix: 64, ..vip(0) })
}

#[test]
fn renewed_they_stay_and_without_the_daemon_they_go() -> Result<()> {
    let cable = Cable::new()?;
    let wire = Capture::start(&cable.there, "eth0")?;
    let both = [vip(250), VirtualAddress { preferred: Some(0), ..v6()? }];
    // Longer than the lease, shorter than the test.
    let for_a_while = VirtualAddress { preferred: Some(3), ..vip(251) };
    let executor = spawn(&cable, Some(LEASE))?;
    executor.send(add(1, &both));
    executor.send(announce(1, &both, 1));
    executor.send(add(2, &[for_a_while]));
    ensure!(executor.flush(PATIENCE));
    let (_, preferred) = left(&cable, "192.0.2.251")?.context("gone")?;
    assert!(preferred > 0, "{preferred}");
    for _ in 0..40 {
        sleep(LEASE / 20);
        let (valid, preferred) = left(&cable, "192.0.2.250")?.context("gone")?;
        assert!((1..=2).contains(&valid) && (1..=2).contains(&preferred), "{valid} {preferred}");
        let (valid, preferred) = left(&cable, "2001:db8::250")?.context("gone")?;
        assert!((1..=2).contains(&valid) && preferred == 0, "{valid} {preferred}");
    }
    let (valid, preferred) = left(&cable, "192.0.2.251")?.context("gone")?;
    assert!(valid > 0 && preferred == 0, "a renewal gave it more: {valid} {preferred}");
    let shown = cable.shown("2001:db8::250")?.context("gone")?;
    assert_eq!((&shown["nodad"], &shown["deprecated"]), (&true.into(), &true.into()), "{shown}");
    arrived(&wire, 250, 1).context("a renewal is not announced")?;

    // As if it were killed: nothing is taken off by its end.
    drop(executor);
    assert!(left(&cable, "192.0.2.250")?.is_some());
    // The kernel looks once a second, or so.
    wait_until("both gone", PATIENCE, || {
        ["192.0.2.250", "2001:db8::250"].iter().all(|ip| matches!(left(&cable, ip), Ok(None)))
    })?;
    assert_eq!(left(&cable, "192.0.2.11")?, Some((FOREVER, FOREVER)));
    Ok(())
}

#[test]
fn who_holds_nothing_renews_nothing() -> Result<()> {
    let cable = Cable::new()?;
    let executor = spawn(&cable, Some(LEASE))?;
    let untracked = VirtualAddress { tracked: false, ..vip(251) };
    executor.send(add(1, &[vip(250), untracked]));
    executor.protect(BTreeSet::from([OwnAddress::of(&vip(11))]));
    executor.send(add(2, &[vip(11)]));
    ensure!(executor.flush(PATIENCE));
    assert_eq!(left(&cable, "192.0.2.11")?, Some((FOREVER, FOREVER)), "the host's own");
    // What somebody else removed is not put back by a renewal.
    cable.here.ip("addr del 192.0.2.251/24 dev eth0")?;
    executor.send(remove(1, &[vip(250)]));
    ensure!(executor.flush(PATIENCE));
    cable.here.ip("addr add 192.0.2.250/24 dev eth0 valid_lft 60 preferred_lft 60")?;
    sleep(LEASE);
    assert_eq!(left(&cable, "192.0.2.251")?, None);
    let (valid, _) = left(&cable, "192.0.2.250")?.context("gone")?;
    assert!(valid > 50, "another's: {valid}");
    assert_eq!(left(&cable, "192.0.2.11")?, Some((FOREVER, FOREVER)));
    Ok(())
}

#[test]
fn what_an_earlier_life_left_lasts_as_long_as_if_it_were_new() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr add 192.0.2.250/24 dev eth0 valid_lft 1 preferred_lft 1")?;
    cable.here.ip("addr add 192.0.2.251/24 dev eth0")?;
    let executor = spawn(&cable, Some(LEASE))?;
    let begin = Instant::now();
    // Whole seconds that are left, with those that went meanwhile on a busy machine.
    let full = |begin: Instant, ip: &str| -> Result<bool> {
        let valid = left(&cable, ip)?.context("gone")?.0;
        Ok(valid <= 2 && valid + begin.elapsed().as_secs() >= 2)
    };
    executor.send(add(1, &[vip(250), vip(251)]));
    ensure!(executor.flush(PATIENCE));
    for ip in ["192.0.2.250", "192.0.2.251"] {
        ensure!(full(begin, ip)?, "{ip}: {:?}", left(&cable, ip)?);
    }
    sleep(2 * LEASE);
    assert!(left(&cable, "192.0.2.250")?.is_some());

    // A reload without a lease, and with one again.
    executor.configure(leased(None));
    ensure!(executor.flush(PATIENCE));
    assert_eq!(left(&cable, "192.0.2.250")?, Some((FOREVER, FOREVER)));
    let begin = Instant::now();
    executor.configure(leased(Some(LEASE)));
    ensure!(executor.flush(PATIENCE));
    ensure!(full(begin, "192.0.2.250")?, "{:?}", left(&cable, "192.0.2.250")?);
    Ok(())
}

#[test]
fn the_monitor_takes_no_renewal_for_a_change() -> Result<()> {
    let cable = Cable::new()?;
    let executor = spawn(&cable, Some(LEASE))?;
    let both = [vip(250), v6()?];
    executor.send(add(1, &both));
    ensure!(executor.flush(PATIENCE));
    let (told, changes) = channel::<Change>();
    cable.here.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (_, mut receiver) = Monitor::start(Monitor::RECEIVE_BUFFER)?;
            tokio::time::sleep(LEASE).await;
            while let Ok(change) = receiver.try_recv() {
                told.send(change)?;
            }
            Ok(())
        })
    })?;
    // The kernel's own link-local address comes when duplicate address detection is over, which takes it
    // up to two seconds: not one of those that were renewed.
    let ours = both.map(|address| address.ip);
    let changes: Vec<_> = changes.try_iter().filter(|change| names_one_of(change, &ours)).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert!(left(&cable, "192.0.2.250")?.is_some());
    Ok(())
}

/// Whether one of the addresses is told to have come or gone.
fn names_one_of(change: &Change, ours: &[IpAddr]) -> bool {
    match change {
        Change::AddressAdded { address, .. } | Change::AddressRemoved { address, .. } => {
            ours.contains(&address.ip)
        }
        Change::Link(_) | Change::Gone { .. } | Change::Behind | Change::Resync(_) => false,
    }
}
