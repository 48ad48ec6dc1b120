//! The kernel program and the slow path by the million: adverts for routers of every kind, damaged, get the
//! same verdict from both.
//!
//! One system call runs a frame; counters and records are compared for a window of frames at once, and
//! looked at frame by frame only where they differ.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use vrrp_common::abi::{
    self, Event, PerCounter, Router, RouterKey, Stranger, StrangerKey, TtlBounds,
};
use vrrp_common::check::{self, Envelope, Judgement, Rules};
use vrrp_common::frame::{self, Located, Skip};
use vrrp_common::{Family, Instant, Reject};
use xvrrp::fastpath::{Counters, FastPath, Ring};
use xvrrp::slowpath::Table;

use crate::bench::{IFINDEX, XDP_DROP, XDP_PASS};
use crate::frames::Numbers;
use crate::kinds::{Kind, kinds};

/// Frames between two looks: fewer than the smallest ring has room for.
const WINDOW: usize = 512;
/// Windows between two changes of a router's addresses.
const SETTLED: u64 = 16;
/// Strangers after which all begins anew: where there is no room for more, each way forgets others.
const STRANGERS: usize = abi::MAX_STRANGERS as usize / 2;

/// What is to be found in the kernel program's maps of a frame.
struct Expected {
    frame: Vec<u8>,
    /// The slot and the counter that it moved.
    counted: Option<(u32, u32)>,
    /// The record, of a frame that the kernel program judged by itself.
    record: Option<Event>,
}

/// Both ways, with the same routers.
struct Pair {
    fast: FastPath,
    ring: Ring,
    /// The slow path for what the kernel program judges, and the one for what it leaves: each knows the
    /// strangers of its frames.
    table: Table,
    rest: Table,
    kinds: Vec<Kind>,
    /// Grows so fast that the slow path reports every refusal.
    now: u64,
    window: Vec<Expected>,
}

impl Pair {
    fn new() -> Result<Self> {
        let kinds = kinds();
        let mut fast = FastPath::load(kinds.len() as u32)?;
        let ring = fast.ring().context("the ring was taken")?;
        let (table, rest) = (Table::new(), Table::new());
        Ok(Self { fast, ring, table, rest, kinds, now: 0, window: Vec::with_capacity(WINDOW) })
    }

    /// Gives every router addresses, from now on.
    fn set_all(&mut self, numbers: &mut Numbers) -> Result<()> {
        for kind in &mut self.kinds {
            kind.readdress(numbers);
            let key = RouterKey::new(IFINDEX, kind.family, kind.vrid);
            self.fast.set_router(key, kind.router, &kind.addresses, &kind.peers)?;
            for table in [&mut self.table, &mut self.rest] {
                table.set(key, kind.router, &kind.addresses, &kind.peers);
            }
        }
        Ok(())
    }

    /// Runs a frame both ways; whether the kernel program dropped it is compared at once. Returns the slow
    /// path's verdict, where the frame is for one of the routers.
    fn run(&mut self, frame: Vec<u8>) -> Result<Option<Result<(), Reject>>> {
        let left = self.left(&frame);
        self.now += 2 * abi::REFUSED_EVERY_NANOS;
        let table = if left.is_some() { &mut self.rest } else { &mut self.table };
        let record = table.frame(IFINDEX, Instant::from_nanos(self.now), &frame);
        let record = record.map(|record| Event { at: 0, ..record });
        let refused = record.filter(|record| record.kind == Event::REFUSED);
        let reason =
            refused.map(|record| Reject::from_index(record.reason.into()).context("no reason"));
        let reason = reason.transpose()?;
        let passed = matches!(reason, Some(Reject::Destination | Reject::Group));
        let passes = left.is_some() || record.is_none() || passed;
        let action = self.act(&frame)?;
        let right = if passes { XDP_PASS } else { XDP_DROP };
        ensure!(action == right, "{action}, not {right}: {record:?}\n{frame:02x?}");
        let judged = record.filter(|_| left.is_none());
        let counter = reason.map_or(abi::COUNTER_ACCEPTED, Reject::index);
        let counted = match left {
            Some(slot) => slot.map(|slot| (slot, abi::COUNTER_COMPLEX)),
            None => judged.map(|record| (record.slot, counter)),
        };
        self.window.push(Expected { frame, counted, record: judged });
        Ok(record.map(|_| reason.map_or(Ok(()), Err)))
    }

    /// Runs the kernel program on a frame.
    fn act(&mut self, frame: &[u8]) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        Ok(self.fast.program()?.test_run(options)?.return_value)
    }

    /// Whether the kernel program leaves a frame to the slow path, and for which slot it counts that.
    fn left(&self, frame: &[u8]) -> Option<Option<u32>> {
        match frame::locate::<_, false>(frame) {
            Err(Skip::Other) => None,
            Err(Skip::Complex { .. }) => Some(self.is_taken(frame)),
            Ok(located) => {
                let rules = InKernel(self.table.rules(IFINDEX, Instant::default(), frame));
                match check::judge::<_, _, 1>(frame, &located, &rules) {
                    Judgement::Unfinished { slot } => Some(Some(slot)),
                    Judgement::NotOurs | Judgement::Stranger | Judgement::Ours { .. } => None,
                }
            }
        }
    }

    /// For which slot a frame of a shape that the kernel program does not take apart is counted: one that is
    /// sent where its adverts are. What is behind IPv6 extension headers it does not look at.
    fn is_taken(&self, frame: &[u8]) -> Option<u32> {
        let located = frame::locate::<_, true>(frame).ok()?;
        let envelope = Envelope::read(frame, &located)?;
        let rules = self.table.rules(IFINDEX, Instant::default(), frame);
        let router = rules.router(located.family, envelope.vrid, &envelope.destination)?;
        let to_us = router.destination == envelope.destination && located.family == Family::V4;
        to_us.then_some(router.slot)
    }

    /// Compares what the window's frames left in the maps, and sets the counters to zero.
    fn look(&mut self) -> Result<()> {
        let mut counted: Vec<PerCounter> = vec![PerCounter::default(); self.kinds.len()];
        for (slot, counter) in self.window.iter().filter_map(|expected| expected.counted) {
            counted[slot as usize][counter as usize] += 1;
        }
        let mut differs = false;
        for (slot, right) in (0..).zip(counted) {
            differs |= self.fast.counters(slot) != Counters::from(right);
            self.fast.reset(slot)?;
        }
        if differs {
            return self.look_closely();
        }
        self.look_at_strangers()?;
        let mut reported = Vec::new();
        self.ring.drain(2 * WINDOW, |record| reported.push(Event { at: 0, ..record }));
        let mut reported = reported.into_iter().peekable();
        for Expected { frame, record, .. } in self.window.drain(..) {
            let Some(right) = record else { continue };
            let is_next = reported.next_if_eq(&right).is_some();
            // Of what is refused for one reason the kernel program reports a sample.
            let may_lack = right.kind == Event::REFUSED;
            ensure!(
                is_next || may_lack,
                "{:?} reported, not {right:?}\n{frame:02x?}",
                reported.peek()
            );
        }
        ensure!(reported.peek().is_none(), "reported besides: {:?}", reported.peek());
        Ok(())
    }

    /// Compares whose frames were taken for those of other virtual routers: they leave nothing else, as one
    /// that is nobody's. Their times are of two clocks.
    fn look_at_strangers(&self) -> Result<()> {
        let counts = |all: Vec<(StrangerKey, Stranger)>| -> HashMap<StrangerKey, u64> {
            all.into_iter().map(|(key, stranger)| (key, stranger.count)).collect()
        };
        let (found, right) = (counts(self.fast.strangers()), counts(self.table.strangers()));
        ensure!(right.len() < 3 * STRANGERS / 2, "{} strangers", right.len());
        for key in found.keys().chain(right.keys()) {
            let (is, of) = (found.get(key), right.get(key));
            ensure!(is == of, "{is:?} frames of the stranger {key:?}, not {of:?}");
        }
        Ok(())
    }

    /// Finds the frame by which the counters differ.
    fn look_closely(&mut self) -> Result<()> {
        for Expected { frame, counted, .. } in std::mem::take(&mut self.window) {
            self.act(&frame)?;
            for slot in 0..self.kinds.len() as u32 {
                let mut right = PerCounter::default();
                if let Some((_, counter)) = counted.filter(|(of, _)| *of == slot) {
                    right[counter as usize] = 1;
                }
                let (found, right) = (self.fast.counters(slot), Counters::from(right));
                ensure!(found == right, "slot {slot}: {found:?}, not {right:?}\n{frame:02x?}");
                self.fast.reset(slot)?;
            }
        }
        anyhow::bail!("counters differ, but of no frame alone")
    }
}

/// The rules as the kernel program knows them: without what takes user space.
struct InKernel<R>(R);

impl<R: Rules> Rules for InKernel<R> {
    fn router(&self, family: Family, vrid: u8, destination: &[u8; 16]) -> Option<&Router> {
        self.0.router(family, vrid, destination)
    }

    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32> {
        self.0.address_v4(slot, address)
    }

    fn address_v6(&self, slot: u32, address: [u8; 16]) -> Option<u32> {
        self.0.address_v6(slot, address)
    }

    fn peer(&self, slot: u32, source: [u8; 16]) -> Option<TtlBounds> {
        self.0.peer(slot, source)
    }

    fn unsealed(&self, _: &Router, _: &Located) -> Option<Result<(), Reject>> {
        None
    }

    fn came_last(&self, _: u32, _: &Located) -> Option<bool> {
        None
    }
}

/// As many as `XVRRP_FRAMES` says, up to many millions.
#[test]
fn damaged_adverts_for_every_kind_of_router() -> Result<()> {
    let mut pair = Pair::new()?;
    let mut numbers = Numbers(0x5eed_0000_0000_0112);
    let mut seen = [0_u64; Reject::ALL.len() + 2];
    let frames: u64 = match std::env::var("XVRRP_FRAMES") {
        Ok(text) => text.parse().with_context(|| format!("XVRRP_FRAMES={text}"))?,
        Err(_) => 60_000,
    };
    let windows = frames.div_ceil(WINDOW as u64);
    for window in 0..windows {
        if window % SETTLED == 0 {
            if pair.table.strangers().len() > STRANGERS {
                pair = Pair::new()?;
            }
            pair.set_all(&mut numbers)?;
        }
        for _ in 0..WINDOW {
            let at = numbers.below(pair.kinds.len());
            let frame = pair.kinds[at].damaged(&pair.kinds, &mut numbers);
            let verdict = pair.run(frame).with_context(|| pair.kinds[at].to_string())?;
            seen[match verdict {
                None => Reject::ALL.len(),
                Some(Ok(())) => Reject::ALL.len() + 1,
                Some(Err(reason)) => reason.index() as usize,
            }] += 1;
        }
        pair.look().with_context(|| format!("window {window}"))?;
    }
    println!("{} frames for {} routers: {seen:?}", windows * WINDOW as u64, pair.kinds.len());
    // The damage must reach what it is to test.
    let least = windows / 20;
    ensure!(seen.iter().all(|often| *often > least), "not all came: {seen:?}");
    Ok(())
}
