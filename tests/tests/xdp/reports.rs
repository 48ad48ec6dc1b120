//! What is reported, when, and what is only counted.

use std::net::IpAddr;
use std::time::{Duration, Instant as Clock};

use anyhow::{Result, ensure};
use vrrp_common::abi::{Event, REFUSED_EVERY_NANOS, Stranger};
use vrrp_common::wire;
use vrrp_common::{Family, Reject};
use vrrp_tests::cases;

use crate::bench::{Bench, IFINDEX, PEER, SLOT, XDP_DROP, XDP_PASS};

#[test]
fn a_flood_of_bad_adverts_is_counted_whole_and_reported_now_and_then() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "ttl-254");
    let begin = Clock::now();
    for _ in 0..100 {
        ensure!(bench.run(&frame, 1000)? == XDP_DROP);
    }
    let spans = begin.elapsed().as_nanos() as u64 / REFUSED_EVERY_NANOS;
    let mut records = Vec::new();
    bench.ring.drain(1000, |record| records.push(record));
    ensure!(bench.fast.counters(SLOT).refused(Reject::Ttl) == 100_000);
    let most = 2 + spans as usize;
    ensure!((1..=most).contains(&records.len()), "{} records, {most} at most", records.len());
    ensure!(records.iter().all(|r| r.kind == Event::REFUSED && r.reason == Reject::Ttl as u8));
    Ok(())
}

#[test]
fn another_reason_is_reported_at_once_and_the_same_later() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let ttl = cases::frame("P01-v2-header", "ttl-254");
    let interval = cases::frame("P03-v2-advert-interval", "interval-2");
    // Again where this thread was held up for so long that each may be told twice.
    let mut told = 0;
    for _ in 0..100 {
        bench.fast.reset(SLOT)?;
        let begin = Clock::now();
        for frame in [&ttl, &interval, &ttl, &interval] {
            bench.run(frame, 1)?;
        }
        told = bench.ring.drain(10, |_| ());
        if begin.elapsed() < Duration::from_nanos(REFUSED_EVERY_NANOS) {
            break;
        }
    }
    ensure!(told == 2, "told {told} times");
    std::thread::sleep(Duration::from_nanos(REFUSED_EVERY_NANOS + 20_000_000));
    bench.run(&ttl, 1)?;
    ensure!(bench.ring.drain(10, |_| ()) == 1);
    Ok(())
}

fn monotonic() -> u64 {
    let span = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    Duration::from(span).as_nanos() as u64
}

#[test]
fn the_stamp_is_the_monotonic_clock() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let before = monotonic();
    bench.run(&cases::frame("P01-v2-header", "good"), 1)?;
    let mut at = 0;
    bench.ring.drain(1, |record| at = record.at);
    ensure!((before..=monotonic()).contains(&at), "{before} {at}");
    Ok(())
}

#[test]
fn virtual_routers_of_others_are_noted_and_left_alone() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "vrid-52-not-configured");
    let before = monotonic();
    ensure!(bench.run(&frame, 7)? == XDP_PASS);
    let strangers = bench.fast.strangers();
    let [(key, Stranger { last, count })] = strangers[..] else {
        anyhow::bail!("{strangers:?}");
    };
    ensure!((key.ifindex, key.family, key.vrid) == (IFINDEX, 4, 52), "{key:?}");
    ensure!(wire::address(Family::V4, key.source) == IpAddr::from(PEER));
    ensure!(count == 7 && (before..=monotonic()).contains(&last), "{count} {last}");
    Ok(())
}
