//! Adverts that repeat the watched one: noted and not reported, whatever the daemon does meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use vrrp_common::abi::{Event, Meaning, Router};
use vrrp_common::arrivals::Arrivals;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Instant, Reject, Version};
use vrrp_tests::cases;
use vrrp_tests::wait::urgent;
use xvrrp::fastpath::Watcher;
use xvrrp::slowpath::Table;

use crate::bench::{Bench, SLOT, XDP_DROP, settings, settings_v6};
use crate::frames::{advert, advert_v6, sum_header, sum_message, vips, vips_v6};

const DOWN: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs a frame that is reported, and returns its meaning and its time.
fn reported(bench: &mut Bench, frame: &[u8]) -> Result<(Meaning, Instant)> {
    ensure!(bench.run(frame, 1)? == XDP_DROP);
    let mut found = None;
    let count = bench.ring.drain(10, |event| {
        found = Some((Meaning::of(&event), Instant::from_nanos(event.at)));
    });
    ensure!(count == 1, "{count} records");
    found.context("no record")
}

fn watching(bench: &mut Bench, frame: &[u8]) -> Result<(Watcher, Instant)> {
    let mut watcher = bench.fast.watcher().context("the watcher was taken")?;
    let (meaning, heard) = reported(bench, frame)?;
    watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
    Ok((watcher, heard))
}

/// Runs a frame that only repeats, and returns when it was seen.
fn repeated(bench: &mut Bench, watcher: &Watcher, frame: &[u8]) -> Result<Instant> {
    let (before, counted) = (watcher.seen(SLOT).at, bench.fast.counters(SLOT).repeated());
    ensure!(bench.run(frame, 1)? == XDP_DROP);
    ensure!(bench.ring.drain(10, |_| ()) == 0, "it was reported");
    ensure!(bench.fast.counters(SLOT).repeated() == counted + 1, "it was not counted");
    let at = watcher.seen(SLOT).at;
    ensure!(at > before, "it was not noted: {before:?} {at:?}");
    Ok(at)
}

fn repeats_are_noted(mut bench: Bench) -> Result<()> {
    let timers = bench.fast.has_timers();
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    let (mut watcher, heard) = watching(&mut bench, &frame)?;
    ensure!(watcher.has_timers() == timers);
    let seen = watcher.seen(SLOT);
    ensure!(seen.at == heard && !seen.armed, "{seen:?}");
    let mut expected = Arrivals::default();
    let mut last = heard;
    for wait in [0, 2, 30, 4] {
        thread::sleep(Duration::from_millis(wait));
        let at = repeated(&mut bench, &watcher, &frame)?;
        expected.note(at.since(last).as_nanos() as u64, INTERVAL.as_nanos() as u64);
        last = at;
        ensure!(watcher.seen(SLOT).armed == timers);
    }
    ensure!(bench.fast.arrivals(SLOT) == expected);
    ensure!(expected.count() == 4 && expected.max() >= Some(Duration::from_millis(30)));
    let counters = bench.fast.counters(SLOT);
    ensure!((counters.repeated(), counters.accepted()) == (4, 5), "{counters:?}");
    // Unwatched, it is reported again, and what was seen stays to be asked.
    watcher.stop(SLOT);
    ensure!(watcher.watch(SLOT).is_none() && watcher.seen(SLOT).at == last);
    reported(&mut bench, &frame)?;
    ensure!(watcher.seen(SLOT).at == last && !watcher.seen(SLOT).armed);
    Ok(())
}

#[test]
fn a_repeated_advert_is_noted_and_not_reported() -> Result<()> {
    let bench = Bench::new()?;
    ensure!(bench.fast.has_timers(), "{:?}", bench.fast.no_timers());
    repeats_are_noted(bench)
}

#[test]
fn it_is_so_without_timers_too() -> Result<()> {
    let bench = Bench::without_timers()?;
    ensure!(!bench.fast.has_timers() && bench.fast.no_timers().is_some());
    repeats_are_noted(bench)
}

/// `skip_check_adv_addr`: whose adverts the kernel program keeps to itself is who came last, too.
#[test]
fn a_watched_sender_came_last() -> Result<()> {
    let foreign = cases::frame("P18-other-group-same-vrid", "theirs-higher-prio");
    let own = advert(Version::V2, ChecksumForm::Message, &vips(2), &[]);
    let mut theirs = own.clone();
    theirs[26..30].copy_from_slice(&foreign[26..30]);
    sum_header(&mut theirs);
    for (watched, other, right) in
        [(&theirs, &own, Ok(())), (&own, &theirs, Err(Reject::ForeignCluster))]
    {
        let mut bench = Bench::new()?;
        let router = Router { flags: Router::SKIP_ADDRESSES, ..settings(Version::V2) };
        bench.set(router, &vips(2))?;
        let (mut watcher, _) = watching(&mut bench, watched)?;
        bench.table = Table::beside(watcher.repeats());
        bench.set(router, &vips(2))?;
        let (meaning, at) = reported(&mut bench, other)?;
        bench.table.heard(SLOT, at, meaning.source);
        let wrong = if right.is_ok() { Err(Reject::ForeignCluster) } else { Ok(()) };
        ensure!(bench.verdict(&foreign) == Some(wrong), "{:?}", bench.verdict(&foreign));
        let seen = repeated(&mut bench, &watcher, watched)?;
        ensure!(bench.verdict(&foreign) == Some(right), "{:?}", bench.verdict(&foreign));
        // What is not watched any more was heard by whoever ended it.
        watcher.stop(SLOT);
        ensure!(bench.verdict(&foreign) == Some(wrong), "{:?}", bench.verdict(&foreign));
        let (meaning, _) = reported(&mut bench, watched)?;
        bench.table.heard(SLOT, seen, meaning.source);
        ensure!(bench.verdict(&foreign) == Some(right), "{:?}", bench.verdict(&foreign));
    }
    Ok(())
}

#[test]
fn adverts_that_did_not_come_are_counted() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    let mut watcher = bench.fast.watcher().context("the watcher was taken")?;
    let (meaning, heard) = reported(&mut bench, &frame)?;
    watcher.start(SLOT, &meaning, DOWN, Duration::from_millis(10), heard);
    thread::sleep(Duration::from_millis(60));
    let at = repeated(&mut bench, &watcher, &frame)?;
    let missed = (at.since(heard).as_nanos() as u64 + 5_000_000 - 1) / 10_000_000 - 1;
    ensure!(missed >= 5 && bench.fast.arrivals(SLOT).missed == missed, "{missed}");
    // The next router in the slot begins at nothing, and unwatched.
    bench.fast.reset(SLOT)?;
    ensure!(bench.fast.arrivals(SLOT) == Arrivals::default());
    reported(&mut bench, &frame)?;
    Ok(())
}

/// A change of anything that the engine looks at is news.
#[test]
fn an_advert_that_says_something_else_is_reported() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.set(settings(Version::V3), &vips(2))?;
    let frame = advert(Version::V3, ChecksumForm::PseudoHeader, &vips(2), &[]);
    let (watcher, _) = watching(&mut bench, &frame)?;
    // The sum without the pseudo-header is right after each change, the other form is the last one.
    let message = advert(Version::V3, ChecksumForm::Message, &vips(2), &[]);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = message.clone();
        change(&mut frame);
        sum_message(&mut frame);
        sum_header(&mut frame);
        frame
    };
    let (meaning, heard) = reported(&mut bench, &message)?;
    let mut watcher = watcher;
    watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
    let others = [
        ("priority", changed(&|f| f[36] = 149)),
        ("priority 0", changed(&|f| f[36] = 0)),
        ("interval", changed(&|f| f[39] = 101)),
        ("interval, high bits", changed(&|f| f[38] = 1)),
        ("source", changed(&|f| f[29] += 1)),
        ("hardware address", changed(&|f| f[11] += 1)),
        ("hardware address, first byte", changed(&|f| f[6] ^= 4)),
        ("form of the checksum", frame),
        ("addresses", advert(Version::V3, ChecksumForm::Message, &vips(1), &[])),
    ];
    for (what, other) in &others {
        let at = repeated(&mut bench, &watcher, &message).context(*what)?;
        reported(&mut bench, other).context(*what)?;
        ensure!(watcher.seen(SLOT).at == at, "{what}: noted as well");
    }
    // What the engine does not look at is not.
    let mut tagged = message.clone();
    tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
    repeated(&mut bench, &watcher, &tagged)?;
    // A bad advert is refused, whatever it repeats.
    let mut bad = message.clone();
    bad[22] = 254;
    sum_header(&mut bad);
    ensure!(bench.run(&bad, 1)? == XDP_DROP);
    let mut kind = 0;
    bench.ring.drain(1, |event| kind = event.kind);
    ensure!(kind == Event::REFUSED);
    Ok(())
}

/// Of lists that overlap with a router's each is repeated, and another one is news.
fn lists_are_told_apart(
    (family, router): (Family, Router),
    all: &[IpAddr],
    write: impl Fn(&[IpAddr]) -> Vec<u8>,
) -> Result<()> {
    let mut ours = [&all[..3], &all[4..5]].concat();
    let mut bench = Bench::new()?;
    bench.set_with(family, router, &ours, &[])?;
    let mut watcher = bench.fast.watcher().context("the watcher was taken")?;
    // Two are as long, and differ in the last alone.
    let lists = [&all[..2], &all[..3], &all[..4], &[all[0], all[1], all[3]], all];
    for (at, list) in lists.iter().enumerate() {
        let frame = write(list);
        let (meaning, heard) = reported(&mut bench, &frame)?;
        ensure!(meaning.list != 0, "{list:?}: {meaning:?}");
        watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
        for (other, addresses) in lists.iter().enumerate() {
            let again = repeated(&mut bench, &watcher, &frame);
            again.with_context(|| format!("{family:?}: {at} before {other}"))?;
            if other != at {
                let told = reported(&mut bench, &write(addresses));
                told.with_context(|| format!("{family:?}: {other} behind {at}"))?;
            }
        }
    }
    // Our own is the same in any order.
    let (meaning, heard) = reported(&mut bench, &write(&ours))?;
    ensure!(meaning.list == 0, "{meaning:?}");
    watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
    ours[1..].reverse();
    repeated(&mut bench, &watcher, &write(&ours)).map(drop)
}

/// A list of other addresses may be repeated for months, and changes as any other.
#[test]
fn other_addresses_are_repeated_too() -> Result<()> {
    let v4 = |list: &[IpAddr]| advert(Version::V3, ChecksumForm::PseudoHeader, list, &[]);
    lists_are_told_apart((Family::V4, settings(Version::V3)), &vips(32), v4)?;
    lists_are_told_apart((Family::V6, settings_v6()), &vips_v6(32), advert_v6)
}

fn spin(times: u32) {
    for _ in 0..times {
        std::hint::spin_loop();
    }
}

/// How many times an advert is to be in flight when its watch ends. On a busy machine it may be less.
const ENOUGH: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where there was none by then, as the two sides must run at once for that.
const LIMIT: Duration = Duration::from_secs(120);
/// Fewer than the ring holds.
const ROOM: usize = 4000;

/// Says whether the record of a time is read, now or soon: whoever writes it may wait for its turn between
/// noting the advert and reporting it. Where the ring may have been full, it is not missed.
fn is_reported(at: u64, mut drain: impl FnMut() -> BTreeSet<u64>) -> bool {
    let begin = Clock::now();
    while begin.elapsed() < PATIENCE {
        let times = drain();
        if times.contains(&at) || times.len() >= ROOM {
            return true;
        }
        thread::sleep(Duration::from_micros(50));
    }
    false
}

/// The daemon ends the watch and asks what was seen. An advert that was noted after it asked must have
/// been reported too: nothing else will ever tell the daemon of it.
#[test]
fn no_advert_falls_between_the_end_of_a_watch_and_its_last_look() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    let mut watcher = bench.fast.watcher().context("the watcher was taken")?;
    let (meaning, _) = reported(&mut bench, &frame)?;
    bench.fast.reset(SLOT)?;
    let Bench { mut fast, mut ring, .. } = bench;
    let program: &Xdp = fast.program()?;
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let fire = || -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let repeat = 2000;
            let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() };
            program.test_run(options)?;
            sent.fetch_add(u64::from(repeat), Ordering::Relaxed);
        }
        Ok(())
    };
    let (mut records, mut late, mut lost) = (0_u64, 0_u32, 0_u32);
    thread::scope(|scope| {
        let guns = [scope.spawn(fire), scope.spawn(fire)];
        // Whatever else runs: the two sides must run at once, and this is one of them.
        urgent();
        let mut drain = || {
            let mut times = BTreeSet::new();
            while ring.drain(1000, |event| _ = times.insert(event.at)) > 0 {}
            records += times.len() as u64;
            times
        };
        let (begin, mut turn) = (Clock::now(), 0_u32);
        let limit = |late: u32| if late == 0 { LIMIT } else { PATIENCE };
        while late < ENOUGH && begin.elapsed() < limit(late) {
            turn = turn.wrapping_add(1);
            let heard = watcher.seen(SLOT).at;
            watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
            drain();
            spin(turn % 512);
            watcher.stop(SLOT);
            let asked = watcher.seen(SLOT).at;
            spin(256);
            let after = watcher.seen(SLOT).at;
            if after != asked {
                late += 1;
                lost += u32::from(!is_reported(after.as_nanos(), &mut drain));
            }
        }
        over.store(true, Ordering::Relaxed);
        guns.into_iter().try_for_each(|gun| gun.join().expect("no panic"))?;
        drain();
        anyhow::Ok(())
    })?;
    let (sent, counters) = (sent.into_inner(), fast.counters(SLOT));
    println!("{sent} sent, {late} noted after the last look, {lost} of them not reported");
    println!("{records} reported, {counters:?}");
    ensure!(counters.accepted() + counters.ring_full() == sent, "{counters:?} of {sent}");
    ensure!(lost == 0, "{lost} lost");
    ensure!(counters.repeated() > 0 && late > 0, "nothing was tried");
    Ok(())
}
