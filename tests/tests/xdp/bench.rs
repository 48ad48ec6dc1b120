//! The kernel program and the slow path side by side.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use vrrp_common::abi::{Event, Router, RouterKey};
use vrrp_common::check::{self, Envelope, Judgement};
use vrrp_common::frame::{self, Skip};
use vrrp_common::wire;
use vrrp_common::{Family, Instant, Reject, Version};
use xvrrp::config::model::Peer;
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

/// The adverts that were refused for any reason.
fn refused(counters: &Counters) -> u64 {
    Reject::ALL.into_iter().map(|reason| counters.refused(reason)).sum()
}

/// Both ways, with the same settings.
pub(crate) struct Bench {
    pub(crate) fast: FastPath,
    pub(crate) ring: Ring,
    pub(crate) table: Table,
    /// Where our router is at present.
    key: Option<RouterKey>,
    destination: [u8; 16],
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        Self::of(FastPath::load(16)?)
    }

    /// With the program for kernels that have no timers.
    pub(crate) fn without_timers() -> Result<Self> {
        Self::of(FastPath::load_without_timers(16, "a test")?)
    }

    fn of(mut fast: FastPath) -> Result<Self> {
        let ring = fast.ring().context("the ring was taken")?;
        Ok(Self { fast, ring, table: Table::new(), key: None, destination: [0; 16] })
    }

    pub(crate) fn set(&mut self, router: Router, addresses: &[IpAddr]) -> Result<()> {
        self.set_with(Family::V4, router, addresses, &[])
    }

    /// Sets our one router, with unicast peers.
    pub(crate) fn set_with(
        &mut self,
        family: Family,
        router: Router,
        addresses: &[IpAddr],
        peers: &[Peer],
    ) -> Result<()> {
        if let Some(old) = self.key.replace(RouterKey::new(IFINDEX, family, VRID))
            && self.key != Some(old)
        {
            self.fast.remove_router(old, SLOT);
            self.table.remove(old, SLOT);
        }
        self.destination = router.destination;
        let key = RouterKey::new(IFINDEX, family, VRID);
        self.fast.set_router(key, router, addresses, peers)?;
        self.table.set(key, router, addresses, peers);
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
            "DUT-v6" => {
                let addresses =
                    ["fe80::5e00:250", "2001:db8::250"].map(|a| a.parse().expect("one"));
                return self.set_with(Family::V6, settings_v6(), &addresses, &[]);
            }
            "DUT-unicast" => {
                let router = unicast(settings(Version::V2));
                return self.set_with(Family::V4, router, &vips(1), &[peer()]);
            }
            "DUT-unicast-checked" => {
                let router = unicast(settings(Version::V2));
                let router = Router { flags: router.flags | Router::CHECK_SOURCE, ..router };
                return self.set_with(Family::V4, router, &vips(1), &[peer()]);
            }
            "DUT-ah" => Router { auth_type: wire::AUTH_AH, password: KEY, ..settings(Version::V2) },
            other => anyhow::bail!("no settings for {other}"),
        };
        self.set(router, &vips(1))
    }

    pub(crate) fn run(&mut self, frame: &[u8], repeat: u32) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(self.fast.program()?.test_run(options)?.return_value)
    }

    /// Runs it on a frame of which only so many bytes lie in the first buffer (Linux 6.18).
    pub(crate) fn in_buffers(&mut self, frame: &[u8], first: usize) -> Result<Done> {
        self.fast.reset(SLOT)?;
        // `struct xdp_md` with nothing but `data_end`.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&u32::try_from(first)?.to_ne_bytes());
        let ctx_in = Some(&context[..]);
        let options = TestRunOptions { data_in: Some(frame), ctx_in, ..TestRunOptions::new() };
        let action = self.fast.program()?.test_run(options)?.return_value;
        self.done(action)
    }

    /// Runs the kernel program on a frame, with counters and reports at zero.
    pub(crate) fn fast(&mut self, frame: &[u8]) -> Result<Done> {
        self.fast.reset(SLOT)?;
        let action = self.run(frame, 1)?;
        self.done(action)
    }

    fn done(&mut self, action: u32) -> Result<Done> {
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

    /// The slow path's verdict on a frame that comes behind all others; `None` where it is not for our
    /// router.
    pub(crate) fn verdict(&self, frame: &[u8]) -> Option<Result<(), Reject>> {
        let located = frame::locate::<_, true>(frame).ok()?;
        let rules = self.table.rules(IFINDEX, Instant::from_nanos(u64::MAX), frame);
        match check::judge::<_, _, 8>(frame, &located, &rules) {
            Judgement::NotOurs | Judgement::Stranger | Judgement::Unfinished { .. } => None,
            Judgement::Ours { verdict, .. } => Some(verdict.map(|_| ())),
        }
    }

    /// Says whether a frame of ours is counted as left to the slow path: it takes what is sent where our
    /// adverts are. What is behind IPv6 extension headers the kernel program does not look at.
    fn is_taken(&self, frame: &[u8]) -> bool {
        let Ok(located) = frame::locate::<_, true>(frame) else { return false };
        let envelope = Envelope::read(frame, &located);
        let to_us = envelope.is_some_and(|envelope| envelope.destination == self.destination);
        to_us && !(located.family == Family::V6 && shape_is_complex(frame))
    }

    /// Runs a frame both ways and checks that they agree. Returns whether the kernel program could
    /// judge it by itself.
    pub(crate) fn compare(&mut self, frame: &[u8]) -> Result<bool> {
        let verdict = self.verdict(frame);
        let slow = self.slow(frame);
        let fast = self.fast(frame)?;
        // What the program left to the slow path: counted if that will take it.
        if fast.counters.complex() == 1 || shape_is_complex(frame) {
            ensure!(is_complex(frame, verdict), "not complex");
            let taken = verdict.is_some() && self.is_taken(frame);
            ensure!(fast.counters.complex() == u64::from(taken), "{fast:?} but {verdict:?}");
            ensure!((fast.action, fast.record) == (XDP_PASS, None), "{fast:?}");
            let judged = fast.counters.accepted() + refused(&fast.counters);
            ensure!(judged == 0, "judged as well: {fast:?}");
            return Ok(false);
        }
        let action = match verdict {
            None | Some(Err(Reject::Destination | Reject::Group)) => XDP_PASS,
            Some(_) => XDP_DROP,
        };
        ensure!(fast.action == action, "{fast:?} but {verdict:?}");
        ensure!(fast.record == slow, "{fast:?} but {slow:?}");
        let counted = (fast.counters.accepted(), refused(&fast.counters));
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

/// Says whether a frame has a shape, a length or a seal that the kernel program leaves to the slow path.
fn is_complex(frame: &[u8], verdict: Option<Result<(), Reject>>) -> bool {
    let located = frame::locate::<_, false>(frame);
    let count = located.ok().and_then(|located| frame.get(located.message + 3));
    let sealed = located.is_ok_and(|located| located.sealed)
        && matches!(verdict, Some(Ok(()) | Err(Reject::AuthData | Reject::Replay)));
    shape_is_complex(frame) || sealed || count.is_some_and(|count| *count > 32)
}

/// The key of `DUT-ah`.
pub(crate) const KEY: [u8; 8] = *b"lab12345";

/// Any TTL from the handed peer.
fn peer() -> Peer {
    Peer { address: PEER.into(), min_ttl: 0, max_ttl: 255 }
}

/// The same router for adverts to itself.
pub(crate) fn unicast(router: Router) -> Router {
    Router { destination: router.source, flags: router.flags | Router::UNICAST, ..router }
}

pub(crate) fn settings_v6() -> Router {
    Router {
        source: wire::octets("fe80::11".parse().expect("an address")),
        destination: wire::GROUP_V6,
        flags: Router::LINK_LOCAL_FIRST,
        ..settings(Version::V3)
    }
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
        first: [0; 16],
    }
}
