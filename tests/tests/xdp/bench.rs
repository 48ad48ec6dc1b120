//! The kernel program and the slow path side by side.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use vrrp_common::abi::{Event, Router, RouterKey};
use vrrp_common::check::{self, Judgement};
use vrrp_common::frame::{self, Skip};
use vrrp_common::wire;
use vrrp_common::{Family, Instant, Reject, Version};
use xvrrp::fastpath::{Counters, FastPath, Ring};
use xvrrp::slowpath::Table;

use crate::frames::vips;

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
/// The loopback interface, which test runs arrive on.
pub(crate) const IFINDEX: u32 = 1;
pub(crate) const VRID: u8 = 51;
pub(crate) const SLOT: u32 = 3;
pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

/// What the kernel program did with a frame.
#[derive(Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) action: u32,
    /// The record, without its time.
    pub(crate) record: Option<Event>,
    pub(crate) counters: Counters,
}

/// Both ways, with the same settings.
pub(crate) struct Bench {
    pub(crate) fast: FastPath,
    pub(crate) ring: Ring,
    pub(crate) table: Table,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        Self::of(FastPath::load(16)?)
    }

    /// With the program for kernels that have no timers.
    pub(crate) fn without_timers() -> Result<Self> {
        Self::of(FastPath::load_without_timers(16)?)
    }

    fn of(mut fast: FastPath) -> Result<Self> {
        let ring = fast.ring().context("the ring was taken")?;
        Ok(Self { fast, ring, table: Table::new() })
    }

    pub(crate) fn set(&mut self, router: Router, addresses: &[IpAddr]) -> Result<()> {
        let key = RouterKey::new(IFINDEX, Family::V4, VRID);
        self.fast.set_router(key, router, addresses, &[])?;
        self.table.set(key, router, addresses, &[]);
        Ok(())
    }

    /// Sets what a handed configuration says.
    pub(crate) fn configure(&mut self, name: &str) -> Result<()> {
        let router = match name {
            "DUT-v2" => settings(Version::V2),
            "DUT-v2-pass" => Router {
                auth_type: wire::AUTH_PASS,
                password: *b"1111\0\0\0\0",
                ..settings(Version::V2)
            },
            "DUT-v3" => settings(Version::V3),
            other => anyhow::bail!("no settings for {other}"),
        };
        self.set(router, &vips(1))
    }

    pub(crate) fn run(&mut self, frame: &[u8], repeat: u32) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(self.fast.program()?.test_run(options)?.return_value)
    }

    /// Runs the kernel program on a frame, with counters and reports at zero.
    pub(crate) fn fast(&mut self, frame: &[u8]) -> Result<Done> {
        self.fast.reset(SLOT)?;
        let action = self.run(frame, 1)?;
        let mut records = Vec::new();
        self.ring.drain(10, |record| records.push(Event { at: 0, ..record }));
        ensure!(records.len() < 2, "{} records of one frame", records.len());
        Ok(Done { action, record: records.pop(), counters: self.fast.counters(SLOT) })
    }

    /// The slow path's record of a frame, without its time.
    pub(crate) fn slow(&mut self, frame: &[u8]) -> Option<Event> {
        self.table.reset(SLOT);
        let record = self.table.frame(IFINDEX, Instant::from_nanos(1), frame)?;
        Some(Event { at: 0, ..record })
    }

    /// The slow path's verdict; `None` where the frame is not for our router.
    pub(crate) fn verdict(&self, frame: &[u8]) -> Option<Result<(), Reject>> {
        let located = frame::locate::<_, true>(frame).ok()?;
        match check::judge::<_, _, 8>(frame, &located, &self.table.rules(IFINDEX)) {
            Judgement::NotOurs | Judgement::Stranger | Judgement::Unfinished { .. } => None,
            Judgement::Ours { verdict, .. } => Some(verdict.map(|_| ())),
        }
    }

    /// Runs a frame both ways and checks that they agree. Returns whether the kernel program could
    /// judge it by itself.
    pub(crate) fn compare(&mut self, frame: &[u8]) -> Result<bool> {
        let verdict = self.verdict(frame);
        let slow = self.slow(frame);
        let fast = self.fast(frame)?;
        // What the program left to the slow path: counted if that will take it.
        if fast.counters.complex() == 1 || shape_is_complex(frame) {
            let taken = verdict.is_some() && frame[30..34] == wire::GROUP_V4;
            ensure!(is_complex(frame), "not complex");
            ensure!(fast.counters.complex() == u64::from(taken), "{fast:?} but {verdict:?}");
            ensure!((fast.action, fast.record) == (XDP_PASS, None), "{fast:?}");
            let judged = fast.counters.accepted() + fast.counters.refused_in_all();
            ensure!(judged == 0, "judged as well: {fast:?}");
            return Ok(false);
        }
        let action = match verdict {
            None | Some(Err(Reject::Destination)) => XDP_PASS,
            Some(_) => XDP_DROP,
        };
        ensure!(fast.action == action, "{fast:?} but {verdict:?}");
        ensure!(fast.record == slow, "{fast:?} but {slow:?}");
        let counted = (fast.counters.accepted(), fast.counters.refused_in_all());
        let expected = match verdict {
            None => (0, 0),
            Some(Ok(())) => (1, 0),
            Some(Err(reason)) => {
                ensure!(fast.counters.refused(reason) == 1, "{reason} is not counted: {fast:?}");
                (0, 1)
            }
        };
        ensure!(counted == expected, "{fast:?} but {verdict:?}");
        Ok(true)
    }
}

/// Says whether a frame has a shape that the kernel program leaves to the slow path.
pub(crate) fn shape_is_complex(frame: &[u8]) -> bool {
    matches!(frame::locate::<_, false>(frame), Err(Skip::Complex { .. }))
}

/// Says whether a frame has a shape, or a length, that the kernel program leaves to the slow path.
pub(crate) fn is_complex(frame: &[u8]) -> bool {
    let located = frame::locate::<_, false>(frame);
    let count = located.ok().and_then(|located| frame.get(located.message + 3));
    shape_is_complex(frame) || count.is_some_and(|count| *count > 32)
}

pub(crate) fn settings(version: Version) -> Router {
    Router {
        slot: SLOT,
        interval: 1,
        version: version as u8,
        auth_type: wire::AUTH_NONE,
        password: [0; 8],
        source: wire::octets(SOURCE.into()),
        destination: wire::octets(wire::group(Family::V4)),
        addresses: 0,
        flags: 0,
        reserved: [0; 2],
    }
}
