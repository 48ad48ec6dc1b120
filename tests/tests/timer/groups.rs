//! Slots that share a timer: each runs out in its own time, whatever the others do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use vrrp_common::abi::{Event, Meaning, RouterKey, SLOTS_PER_TIMER};
use vrrp_common::{Family, Instant};
use vrrp_tests::generator::Beat;
use vrrp_tests::wait::urgent;
use xvrrp::fastpath::{FastPath, Ring, Watcher};

use crate::{Expiry, INTERVAL, PATIENCE, router, stay_on};

/// Longer than the test.
const FOR_EVER: Duration = Duration::from_secs(600);

/// A router in each slot: VRID 1 in the first.
struct Many {
    fast: FastPath,
    ring: Ring,
    watcher: Watcher,
    frames: Vec<Vec<u8>>,
}

impl Many {
    fn new(slots: u32) -> Result<Self> {
        // As with a single one.
        urgent();
        let mut fast = FastPath::load(slots)?;
        ensure!(fast.has_timers(), "{:?}", fast.no_timers());
        let ring = fast.ring().context("the ring was taken")?;
        let watcher = fast.watcher().context("the watcher was taken")?;
        let address = Ipv4Addr::new(192, 0, 2, 250);
        let mut frames = Vec::new();
        for slot in 0..slots {
            let vrid = u8::try_from(slot + 1)?;
            let key = RouterKey::new(1, Family::V4, vrid);
            fast.set_router(key, router(slot), &[address.into()], &[])?;
            let beat = Beat {
                source: Ipv4Addr::new(192, 0, 2, 12),
                version: 2,
                vrid,
                priority: 200,
                interval_ms: 1000,
                addresses: vec![address],
                password: None,
            };
            frames.push(beat.frame());
        }
        Ok(Self { fast, ring, watcher, frames })
    }

    fn hear(&mut self, slot: u32) -> Result<()> {
        hear(self.fast.program()?, &self.frames[slot as usize])
    }

    /// Watches what is heard from now on; no timer runs yet.
    fn watch(&mut self, slot: u32, down: Duration) -> Result<()> {
        self.hear(slot)?;
        let mut heard = None;
        self.ring.drain(1000, |event| heard = (event.slot == slot).then_some(event));
        let heard = heard.context("no record")?;
        let (meaning, at) = (Meaning::of(&heard), Instant::from_nanos(heard.at));
        self.watcher.start(slot, &meaning, down, INTERVAL, at);
        Ok(())
    }

    /// Waits for so many expiries, each of another slot: when each was, and when its advert came.
    fn expiries(&mut self, count: usize) -> Result<BTreeMap<u32, (Instant, Instant)>> {
        let mut expiries = BTreeMap::new();
        let begin = Clock::now();
        while expiries.len() < count {
            let mut records: Vec<Event> = Vec::new();
            self.ring.drain(1000, |event| records.push(event));
            for event in records {
                let expiry = Expiry::of(&event).with_context(|| format!("{event:?}"))?;
                let when = (Instant::from_nanos(event.at), expiry.last_seen);
                ensure!(expiries.insert(event.slot, when).is_none(), "twice: {event:?}");
            }
            ensure!(begin.elapsed() < PATIENCE, "only {:?}", expiries.keys());
            thread::sleep(Duration::from_micros(100));
        }
        Ok(expiries)
    }
}

fn hear(program: &Xdp, frame: &[u8]) -> Result<()> {
    program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() })?;
    Ok(())
}

/// More than two groups, and in each of them one that is not due for long: it is asked for first.
#[test]
fn each_slot_runs_out_in_its_own_time() -> Result<()> {
    let slots = 2 * SLOTS_PER_TIMER + 2;
    let mut many = Many::new(slots)?;
    // In no order: some sooner than the one before, some later.
    let down = |slot: u32| match slot % SLOTS_PER_TIMER {
        0 => FOR_EVER,
        at => Duration::from_millis(u64::from(100 + at * 37 % 50)),
    };
    for slot in 0..slots {
        many.watch(slot, down(slot))?;
    }
    for slot in 0..slots {
        many.hear(slot)?;
    }
    let waiting = slots.div_ceil(SLOTS_PER_TIMER);
    let expiries = many.expiries((slots - waiting) as usize)?;
    for (slot, (at, last_seen)) in expiries {
        ensure!(at.since(last_seen) >= down(slot), "{slot}: {at:?} {last_seen:?}");
        ensure!(last_seen == many.watcher.seen(slot).at && !many.watcher.seen(slot).armed);
    }
    for slot in (0..slots).step_by(SLOTS_PER_TIMER as usize) {
        ensure!(many.watcher.seen(slot).armed, "{slot} waits no more");
    }
    Ok(())
}

/// One master is gone and the others speak on: theirs come neither then nor later.
#[test]
fn the_others_of_a_group_go_on() -> Result<()> {
    let slots = 8;
    let mut many = Many::new(slots)?;
    let down = Duration::from_millis(300);
    for slot in 0..slots {
        many.watch(slot, down)?;
        many.hear(slot)?;
    }
    let begin = Clock::now();
    while begin.elapsed() < 4 * down {
        for slot in 1..slots {
            many.hear(slot)?;
        }
        thread::sleep(Duration::from_millis(10));
    }
    ensure!(many.expiries(1)?.contains_key(&0));
    ensure!((1..slots).all(|slot| many.watcher.seen(slot).armed));
    // Now they are gone too.
    ensure!(many.expiries(slots as usize - 1)?.keys().copied().eq(1..slots));
    Ok(())
}

/// Two CPUs want the timer of one group at once, each for another time. Whatever the order of what they
/// do, it runs out for both.
#[test]
fn two_ask_for_a_timer_at_once() -> Result<()> {
    if thread::available_parallelism()?.get() < 2 {
        eprintln!("one CPU only: not tried");
        return Ok(());
    }
    let mut many = Many::new(2)?;
    let downs = [Duration::from_micros(900), Duration::from_micros(600)];
    for round in 0..500 {
        for (slot, down) in (0..).zip(downs) {
            many.watch(slot, down)?;
        }
        let together = Barrier::new(2);
        let (program, frames): (&Xdp, _) = (many.fast.program()?, &many.frames);
        thread::scope(|scope| {
            let shots = [0, 1].map(|cpu| {
                let together = &together;
                scope.spawn(move || {
                    stay_on(cpu)?;
                    together.wait();
                    hear(program, &frames[cpu])
                })
            });
            shots.into_iter().try_for_each(|shot| shot.join().expect("it did not panic"))
        })?;
        let expiries = many.expiries(2).with_context(|| format!("round {round}"))?;
        for (slot, (at, last_seen)) in expiries {
            ensure!(at.since(last_seen) >= downs[slot as usize], "{slot}: {at:?} {last_seen:?}");
        }
        many.watcher.stop(0);
        many.watcher.stop(1);
    }
    Ok(())
}
