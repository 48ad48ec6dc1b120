//! Nothing is lost without a count: what is sent is read, refused, or counted as passed up and seen
//! there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use nix::net::if_::if_nametoindex;
use vrrp_common::abi::{self, Event, Router, RouterKey};
use vrrp_common::{Family, Reject, wire};
use vrrp_tests::netns::Netns;
use vrrp_tests::wait::pause;
use vrrp_tests::{cases, packet};
use xvrrp::config::model::Datapath;
use xvrrp::fastpath::{Attached, Counters, FastPath, Ring};
use xvrrp::slowpath::{Filter, SlowPath, Table, Tap, Target};

const XDP_PASS: u32 = 2;
const SLOT: u32 = 0;
const VRID: u8 = 51;
/// More than the ring holds.
const SENT: u32 = 6000;

fn router() -> Router {
    Router {
        slot: SLOT,
        interval: 1,
        version: 2,
        auth_type: wire::AUTH_NONE,
        password: [0; 8],
        source: wire::octets(Ipv4Addr::new(192, 0, 2, 11).into()),
        destination: wire::octets(wire::group(Family::V4)),
        addresses: 1,
        flags: 0,
        reserved: [0; 2],
        first: [0; 16],
    }
}

/// Adverts of one router to the group.
fn only(vrid: u8) -> Filter {
    let destination = wire::group(Family::V4);
    Filter::Only(BTreeSet::from([Target { destination, vrid }]))
}

fn loaded(ifindex: u32) -> Result<(FastPath, Ring, Table)> {
    let mut fast = FastPath::load(4)?;
    let ring = fast.ring().context("the ring was taken")?;
    let mut table = Table::new();
    let key = RouterKey::new(ifindex, Family::V4, VRID);
    let addresses = [Ipv4Addr::new(192, 0, 2, 250).into()];
    fast.set_router(key, router(), &addresses, &[])?;
    table.set(key, router(), &addresses, &[]);
    Ok((fast, ring, table))
}

/// Good and bad records in the ring.
fn read(ring: &mut Ring) -> (u64, u64) {
    let (mut good, mut bad) = (0, 0);
    while ring.drain(100, |record| match record.kind {
        Event::ADVERT => good += 1,
        _ => bad += 1,
    }) > 0
    {}
    (good, bad)
}

#[test]
fn a_full_ring_is_counted_and_the_frames_go_up() -> Result<()> {
    let (mut fast, mut ring, _) = loaded(1)?;
    let good = cases::frame("P01-v2-header", "good");
    let bad = cases::frame("P01-v2-header", "type-2");
    let mut run = |frame: &[u8], repeat: u32| -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(fast.program()?.test_run(options)?.return_value)
    };
    let begin = std::time::Instant::now();
    run(&bad, 10)?;
    let last = run(&good, SENT)?;
    run(&bad, 10)?;
    let spans = begin.elapsed().as_nanos() as u64 / abi::REFUSED_EVERY_NANOS;
    ensure!(last == XDP_PASS, "the last one did not go up: action {last}");
    let counters = fast.counters(SLOT);
    let (good_read, bad_read) = read(&mut ring);
    ensure!(good_read == counters.accepted(), "{good_read} read, {counters:?}");
    ensure!(good_read + counters.ring_full() == u64::from(SENT), "{good_read} read, {counters:?}");
    ensure!(good_read > 1000 && counters.ring_full() > 100, "{counters:?}");
    ensure!(counters.refused(Reject::Type) == 20, "{counters:?}");
    ensure!((1..=2 + spans).contains(&bad_read), "{bad_read} reported in {spans} spans");
    // And with room again, again.
    let mut run = |frame: &[u8]| -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        Ok(fast.program()?.test_run(options)?.return_value)
    };
    ensure!(run(&good)? != XDP_PASS);
    ensure!(read(&mut ring).0 == 1);
    Ok(())
}

/// Two ends of a veth pair: the near one has the program and the socket.
struct Pair {
    netns: Netns,
    near: u32,
}

impl Pair {
    fn new(name: &str) -> Result<Self> {
        let netns = Netns::new(&format!("bpf-{name}-{}", std::process::id()))?;
        netns.ip("link add near type veth peer name far")?;
        for end in ["near", "far"] {
            netns.ip(&format!("link set {end} up"))?;
        }
        netns.wait_up("near")?;
        netns.wait_up("far")?;
        let near = netns.enter(|| Ok(if_nametoindex("near")?))?;
        Ok(Self { netns, near })
    }

    fn send(&self, frames: &[Vec<u8>], times: u32) -> Result<()> {
        self.netns.enter(|| {
            let far = packet::open("far")?;
            for _ in 0..times {
                for frame in frames {
                    packet::send(&far, frame)?;
                }
                // Slowly enough for the queue between the ends.
                if frames.len() == 1 {
                    std::thread::yield_now();
                }
            }
            Ok(())
        })?;
        pause(100);
        Ok(())
    }
}

fn accounts(want: Datapath, name: &str) -> Result<()> {
    let pair = Pair::new(name)?;
    // Or there would be no generic mode on it.
    pair.netns.sh("ethtool -K near rxvlan off rx-vlan-stag-hw-parse off")?;
    let (mut fast, mut ring, mut table) = loaded(pair.near)?;
    let vrids = only(VRID);
    let (attached, mut slow) = pair.netns.enter(|| {
        let attached = fast.attach("near", pair.near, want);
        let slow = SlowPath::open(pair.near, Family::V4, &vrids, Tap::Left)?;
        Ok((attached, slow))
    })?;
    ensure!(!matches!(attached, Attached::Socket { .. }), "{attached:?}");
    let frames = [
        cases::frame("P01-v2-header", "good"),
        cases::frame("P01-v2-header", "checksum-plus-one"),
        cases::frame("P11-ip-header", "router-alert-option-ihl-6"),
    ];
    let each = SENT / 4;
    pair.send(&frames[..1], SENT)?;
    pair.send(&frames[1..], each)?;

    let kernel = fast.counters(SLOT);
    let (good, _) = read(&mut ring);
    let mut records = 0;
    slow.drain(usize::MAX, &mut table, |_| records += 1)?;
    let lost = slow.lost()?;
    let up = table.counters().next().map_or_else(Counters::default, |(_, counters)| counters);

    let sent = u64::from(SENT);
    ensure!(good == kernel.accepted(), "{good} read, {kernel:?}");
    ensure!(kernel.accepted() + kernel.ring_full() == sent, "{kernel:?}");
    ensure!(kernel.refused(Reject::Checksum) == u64::from(each), "{kernel:?}");
    ensure!(kernel.complex() == u64::from(each), "{kernel:?}");
    // What went up came in, but for what the full socket counted.
    let passed = kernel.ring_full() + kernel.complex();
    ensure!(up.accepted() + lost == passed, "{up:?}, {lost} lost, of {passed}");
    ensure!(
        records == up.accepted() && Reject::ALL.into_iter().all(|reason| up.refused(reason) == 0),
        "{records}, {up:?}"
    );
    ensure!(kernel.ring_full() > 100 && up.accepted() > 100, "{kernel:?} {up:?}");
    Ok(())
}

#[test]
fn real_frames_are_accounted_for_in_native_mode() -> Result<()> {
    accounts(Datapath::Xdp, "rn")
}

#[test]
fn real_frames_are_accounted_for_in_generic_mode() -> Result<()> {
    accounts(Datapath::Generic, "rg")
}

/// Without the program everything comes through the socket, stamped with its arrival.
#[test]
fn the_socket_alone_takes_everything() -> Result<()> {
    takes_everything("rs", Tap::Left)
}

/// The same where it is asked before anybody else. What goes out does not come in.
#[test]
fn the_socket_below_a_macvlan_takes_the_same() -> Result<()> {
    takes_everything("rm", Tap::All)
}

fn takes_everything(name: &str, tap: Tap) -> Result<()> {
    let pair = Pair::new(name)?;
    let (_fast, _ring, mut table) = loaded(pair.near)?;
    let near = pair.near;
    let mut slow = pair.netns.enter(|| Ok(SlowPath::open(near, Family::V4, &Filter::All, tap)?))?;
    let tagged = |vid: u8| {
        let mut frame = cases::frame("P01-v2-header", "good");
        frame.splice(12..12, [0x81, 0, 0, vid]);
        frame
    };
    let begin = monotonic();
    let frames = vec![
        cases::frame("P01-v2-header", "good"),
        tagged(0),
        // Another network, and another virtual router.
        tagged(100),
        cases::frame("P01-v2-header", "vrid-52-not-configured"),
        cases::frame("P11-ip-header", "unicast-to-us-on-multicast-instance"),
        cases::frame("P13-v6-header", "good"),
        cases::frame("P01-v2-header", "ttl-1"),
    ];
    pair.netns.enter(|| packet::send(&packet::open("near")?, &frames[0]))?;
    pair.send(&frames, 2)?;
    let sent = monotonic();
    let mut records = Vec::new();
    // With a small budget, as the daemon has.
    while slow.drain(3, &mut table, |record| records.push(record))? == 3 {}
    let kinds: Vec<u8> = records.iter().map(|record| record.kind).collect();
    // Good and priority-tagged each time, one sample of each bad one.
    ensure!(kinds == [1, 1, 2, 1, 1] || kinds == [1, 1, 2, 2, 1, 1], "{records:?}");
    let (_, counters) = table.counters().next().context("no counters")?;
    ensure!(counters.accepted() == 4 && counters.refused(Reject::Ttl) == 2, "{counters:?}");
    for record in &records {
        let at = Duration::from_nanos(record.at);
        ensure!((begin..=sent).contains(&at), "{begin:?} {at:?} {sent:?}");
    }
    ensure!(records.is_sorted_by_key(|record| record.at));
    ensure!(table.strangers().len() == 1);
    // The filter can be changed while the socket is open.
    slow.set_filter(&only(52))?;
    pair.send(&frames, 1)?;
    ensure!(slow.drain(10, &mut table, |_| ())? == 1);
    ensure!(slow.lost()? == 0);
    Ok(())
}

fn monotonic() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock").into()
}
