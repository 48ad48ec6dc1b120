//! From a verdict to counters and ring records.
#![expect(unsafe_code, reason = "the clocks are kernel helpers")]

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use vrrp_common::abi::{self, Event, Meaning, StrangerKey};
use vrrp_common::bytes::Tail;
use vrrp_common::check::{self, Agreement, Checked, Envelope};
use vrrp_common::frame::Located;
use vrrp_common::{Bytes, Family, Reject};

use crate::packet::Frame;
use crate::{Outcome, maps, watch};

/// One VRRP packet: where it came in and where it lies.
pub(crate) struct Arrival<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) ifindex: u32,
    pub(crate) located: Located,
}

impl Arrival<'_> {
    /// Notes an accepted advert that only repeats the watched one, and reports another.
    #[inline(always)]
    pub(crate) fn accepted(&self, slot: u32, checked: Checked) -> Outcome {
        // It was there a moment ago. Read twice, it need not be kept meanwhile.
        let Some(envelope) = self.envelope() else {
            return Outcome::NotOurs;
        };
        let at = now();
        let list = checked.agreement.list(|| {
            let message = Tail::new(self.frame, self.located.message);
            check::digest::<_, 1>(&message, self.located.family)
        });
        if watch::repeats(slot, &Meaning::new(&envelope, &checked, list), at) {
            return Outcome::Repeated;
        }
        let Some(envelope) = self.envelope() else {
            return Outcome::NotOurs;
        };
        let event = Event { list, ..self.event(at, slot, &envelope, &Ok(checked)) };
        let written = maps::emit(event, |event| {
            if matches!(checked.agreement, Agreement::Overlap) {
                event.keep_head(self.frame, self.located.message);
            }
        });
        if !written {
            maps::count(slot, abi::COUNTER_RING_FULL);
            return Outcome::RingFull;
        }
        maps::count(slot, abi::COUNTER_ACCEPTED);
        Outcome::Accepted
    }

    /// Counts a refused advert and reports it, but not each of a flood.
    #[inline(always)]
    pub(crate) fn refused(&self, slot: u32, reason: Reject) {
        maps::count(slot, reason.index());
        // The coarse clock, one tick behind at most, costs a few nanoseconds and the exact one 25.
        // SAFETY: reads a clock.
        let about = unsafe { bpf_ktime_get_coarse_ns() };
        if maps::report_due(slot, reason.index(), about, abi::REFUSED_EVERY_NANOS)
            && let Some(envelope) = self.envelope()
        {
            let event = self.event(now(), slot, &envelope, &Err(reason));
            // A sample that finds no room is only a sample less: the counter has it.
            maps::emit(event, |event| {
                event.keep_head(self.frame, self.located.message);
            });
        }
    }

    /// Notes an advert for a virtual router that is not ours.
    #[inline(always)]
    pub(crate) fn stranger(&self) {
        let Some(envelope) = self.envelope() else {
            return;
        };
        let key = StrangerKey {
            ifindex: self.ifindex,
            family: self.located.family as u8,
            vrid: envelope.vrid,
            reserved: [0; 2],
            source: envelope.source,
        };
        maps::note_stranger(&key, now());
    }

    #[inline(always)]
    fn envelope(&self) -> Option<Envelope> {
        Envelope::read(self.frame, &self.located)
    }

    #[inline(always)]
    fn event(
        &self,
        at: u64,
        slot: u32,
        envelope: &Envelope,
        verdict: &Result<Checked, Reject>,
    ) -> Event {
        Event::new(at, self.ifindex, self.located.family, slot, envelope, verdict)
    }
}

/// Counts an IPv4 packet that only the slow path takes apart, where it is for an instance of ours.
#[inline(always)]
pub(crate) fn complex_v4(frame: &Frame, ip: usize, ifindex: u32) {
    let Ok(located) = vrrp_common::frame::locate_v4::<_, true>(frame, ip) else {
        return;
    };
    let Some(vrid) = frame.byte(located.message + 1) else {
        return;
    };
    // Anew: the compiler knows that the VRID lies behind the destination, the verifier does not.
    let Some(destination) = frame.read_anew::<4>(ip + 16) else {
        return;
    };
    let key = abi::RouterKey::new(ifindex, Family::V4, vrid);
    if let Some(router) = maps::router(&key)
        && router.destination.first_chunk() == Some(&destination)
    {
        maps::count(router.slot, abi::COUNTER_COMPLEX);
    }
}

/// When the packet arrived, near enough: the frame was handed to the program some 50 ns ago. Read this
/// late, the clock costs nothing to frames that are refused or not VRRP.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: reads a clock.
    unsafe { bpf_ktime_get_ns() }
}
