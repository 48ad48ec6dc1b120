//! What the kernel program costs per frame, by the kernel's own test run.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use vrrp_common::abi::{Event, Meaning, Router, RouterKey};
use vrrp_common::{Family, Instant, Version, wire};
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::generator::{Beat, sum_header};
use xvrrp::fastpath::{FastPath, Ring, Watcher};

use crate::measures::constant::{self, DROP, PASS};
use crate::stage::{Bench, LOW, VIP, VRID};
use crate::table::{Figure, Limit, Table, figure};

/// The loopback interface, which test runs arrive on.
const IFINDEX: u32 = 1;
const SLOT: u32 = 3;
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);
/// Frames in one test run, after which the kernel says how long one took.
const FRAMES: u32 = 100_000;
/// The same where each leaves a record for which there must be room.
const RECORDS: u32 = 1000;

/// Measures each kind of frame and an empty program in turns.
pub(crate) fn run(bench: &Bench, table: &mut Table) {
    if bench.of(&[Who::Xvrrp]).is_empty() {
        return;
    }
    let rounds = if bench.quick { 7 } else { 21 };
    if let Err(error) = all_rounds(rounds, table) {
        table.note_run(Measure::Xdp, Who::Xvrrp, Err(error));
    }
}

fn all_rounds(rounds: u32, table: &mut Table) -> Result<()> {
    let mut empty = constant::load(PASS)?;
    let empty = constant::program(&mut empty)?;
    let mut ours = Ours::load()?;
    for _ in 0..rounds {
        let (floor, action) = time(empty, &Kind::Refused.frame(), FRAMES)?;
        ensure!(action == PASS, "the empty program does something");
        table.note(Who::Xvrrp, &figure_of("an empty program", Limit::NONE), floor);
        for kind in Kind::ALL {
            let cost = ours.time(kind)?;
            table.note(Who::Xvrrp, &kind.figure(), cost - floor);
        }
    }
    Ok(())
}

fn figure_of(what: &str, limit: Limit) -> Figure {
    figure(Measure::Xdp, what, "ns", limit)
}

/// What is done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is no advert.
    Other,
    /// It came from beyond a router.
    Refused,
    /// It is reported.
    Accepted,
    /// It is watched, and only noted.
    Suppressed,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Other, Self::Refused, Self::Accepted, Self::Suppressed];

    fn figure(self) -> Figure {
        match self {
            Self::Other => figure_of("above it: not VRRP", Limit::median(5.0)),
            Self::Refused => figure_of("above it: refused", Limit::median(60.0)),
            Self::Accepted => figure_of("above it: accepted and reported", Limit::NONE),
            Self::Suppressed => {
                figure_of("above it: accepted and suppressed", Limit::median(110.0))
            }
        }
    }

    fn frame(self) -> Vec<u8> {
        let beat = Beat {
            source: PEER,
            version: 3,
            vrid: VRID,
            priority: LOW,
            interval_ms: 100,
            addresses: vec![VIP],
            password: None,
        };
        let mut frame = beat.frame();
        match self {
            // UDP.
            Self::Other => frame[23] = 17,
            Self::Refused => frame[22] = 64,
            Self::Accepted | Self::Suppressed => {}
        }
        sum_header(&mut frame);
        // As on the wire: no frame is shorter.
        frame.resize(frame.len().max(60), 0);
        frame
    }

    const fn action(self) -> u32 {
        match self {
            Self::Other => PASS,
            Self::Refused | Self::Accepted | Self::Suppressed => DROP,
        }
    }
}

/// The program with one router.
struct Ours {
    fast: FastPath,
    ring: Ring,
    watcher: Watcher,
}

impl Ours {
    fn load() -> Result<Self> {
        let mut fast = FastPath::load(16)?;
        let ring = fast.ring().context("the ring was taken")?;
        let watcher = fast.watcher().context("the watcher was taken")?;
        let router = Router {
            slot: SLOT,
            interval: 0,
            version: Version::V3 as u8,
            auth_type: wire::AUTH_NONE,
            password: [0; 8],
            source: wire::octets(Ipv4Addr::new(192, 0, 2, 11).into()),
            destination: wire::octets(wire::group(Family::V4)),
            addresses: 0,
            flags: 0,
            reserved: [0; 2],
            first: [0; 16],
        };
        fast.set_router(
            RouterKey::new(IFINDEX, Family::V4, VRID),
            router,
            &[IpAddr::V4(VIP)],
            &[],
        )?;
        Ok(Self { fast, ring, watcher })
    }

    /// Nanoseconds for one such frame.
    fn time(&mut self, kind: Kind) -> Result<f64> {
        let frame = kind.frame();
        let repeat = if kind == Kind::Accepted { RECORDS } else { FRAMES };
        if kind == Kind::Suppressed {
            self.watch(&frame)?;
        }
        self.records();
        let (nanos, action) = time(self.fast.program()?, &frame, repeat)?;
        let records = self.records();
        self.watcher.stop(SLOT);
        ensure!(action == kind.action(), "{kind:?}: action {action}");
        // Of the refused, samples are reported.
        let right = match kind {
            Kind::Accepted => records == repeat as usize,
            Kind::Refused => records < repeat as usize,
            Kind::Other | Kind::Suppressed => records == 0,
        };
        ensure!(right, "{kind:?}: {records} records of {repeat} frames");
        Ok(nanos)
    }

    /// Has this advert, when it is repeated, only noted.
    fn watch(&mut self, frame: &[u8]) -> Result<()> {
        time(self.fast.program()?, frame, 1)?;
        let mut last: Option<Event> = None;
        self.ring.drain(usize::MAX, |event| last = Some(event));
        let event = last.context("an advert was not reported")?;
        let (down, interval) = (Duration::from_secs(60), Duration::from_millis(100));
        let heard = Instant::from_nanos(event.at);
        self.watcher.start(SLOT, &Meaning::of(&event), down, interval, heard);
        Ok(())
    }

    fn records(&mut self) -> usize {
        self.ring.drain(usize::MAX, drop)
    }
}

fn time(program: &mut Xdp, frame: &[u8], repeat: u32) -> Result<(f64, u32)> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
    let done = program.test_run(options)?;
    Ok((done.duration.as_nanos() as f64, done.return_value))
}
