//! What may come with every packet: not all of it is told, so that a flood of packets fills no memory.
//!
//! Notices wait in a queue without a bound, since a transition must not be lost, and whoever reads them
//! has no claim on a CPU.

use std::collections::BTreeMap;
use std::time::Duration;

use vrrp_common::{Instant, abi};
use vrrp_proto::{Event, Slot};

use super::Notice;
use crate::daemon::budget::Budget;
use crate::daemon::repeats::Topic;

/// So many of a kind are told of a router in each of these times: of some senders that speak in turn, each
/// has its own soon.
const MOST: u32 = 16;
const WINDOW: Duration = Duration::from_secs(1);

/// What was told lately, by router and kind: no more entries than there are of both.
#[derive(Debug, Default)]
pub(super) struct Chatter {
    told: BTreeMap<(Slot, Topic), Told>,
}

#[derive(Debug)]
struct Told {
    since: Instant,
    count: u32,
    left_out: u64,
}

impl Chatter {
    /// The notice of an event of the engine's, where it is to be told. `spoke`: when a router's last
    /// advert left.
    pub(super) fn of_event(
        &mut self,
        now: Instant,
        event: Event,
        spoke: impl FnOnce(Slot) -> Option<Instant>,
    ) -> Option<Notice> {
        if let Event::TookOver { slot, waited, due } = event {
            let budget = Budget { spoke: spoke(slot), ..Budget::new(waited, due, now) };
            return Some(Notice::TookOver(slot, budget));
        }
        let count = match Topic::of(&event) {
            Some((slot, topic)) => self.note(now, slot, topic)?,
            None => 1,
        };
        Some(Notice::Event(now, event, count))
    }

    /// The notice of an advert, where it is to be told.
    pub(super) fn of_record(&mut self, record: &abi::Event) -> Option<Notice> {
        let now = Instant::from_nanos(record.at);
        let count = self.note(now, Slot(record.slot), Topic::of_record(record))?;
        Some(Notice::Record(*record, count))
    }

    /// Notes one more. Where it is to be told, says how many of its kind came since the last that was, with
    /// it.
    fn note(&mut self, now: Instant, slot: Slot, topic: Topic) -> Option<u64> {
        let fresh = Told { since: now, count: 0, left_out: 0 };
        let told = self.told.entry((slot, topic)).or_insert(fresh);
        if now.since(told.since) >= WINDOW {
            (told.since, told.count) = (now, 0);
        }
        if told.count >= MOST {
            told.left_out += 1;
            return None;
        }
        told.count += 1;
        Some(std::mem::take(&mut told.left_out) + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vrrp_common::{Priority, Reject};
    use vrrp_proto::Waited;

    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_now_and_then() {
        let mut chatter = Chatter::default();
        let mut note = |ms: u64, slot, kind| {
            chatter.note(Instant::from_nanos(ms * 1_000_000), Slot(slot), kind)
        };
        let told: Vec<u64> = (0..5000).filter_map(|ms| note(ms, 1, Topic::Lower)).collect();
        assert_eq!(told.len(), 5 * MOST as usize);
        assert_eq!(told.iter().sum::<u64>(), 4000 + u64::from(MOST));
        assert_eq!(note(5000, 1, Topic::Lower), Some(1000 - u64::from(MOST) + 1));
        // Others are told beside it, and so is what comes at its time.
        assert_eq!(note(4999, 2, Topic::Lower), Some(1));
        assert_eq!(note(4999, 1, Topic::GoesOn), Some(1));
        assert!((0..60).all(|s| note(10_000 + s * 1000, 3, Topic::Following) == Some(1)));
    }

    /// A flood of 50 in one moment, as it is told.
    fn told(mut one: impl FnMut() -> Option<Notice>) -> Vec<u64> {
        let mut counts = Vec::new();
        for notice in (0..50).filter_map(|_| one()) {
            let (Notice::Event(_, _, count) | Notice::Record(_, count)) = notice else {
                panic!("{notice:?}");
            };
            counts.push(count);
        }
        counts
    }

    #[test]
    fn what_may_come_with_every_packet_is_gated_and_a_transition_is_not() {
        let (mut chatter, now, slot) = (Chatter::default(), Instant::from_nanos(7), Slot(1));
        let (from, theirs) = (IpAddr::from([192, 0, 2, 12]), Priority::DEFAULT);
        let lower = Event::LowerAdvert { slot, from, theirs, ours: Priority::OWNER };
        assert_eq!(told(|| chatter.of_event(now, lower.clone(), |_| None)), [1; MOST as usize]);
        let changed = Event::PriorityChanged { slot, from: theirs, to: Priority::OWNER };
        assert_eq!(told(|| chatter.of_event(now, changed.clone(), |_| None)), [1; 50]);
        let mut record: abi::Event = bytemuck::Zeroable::zeroed();
        (record.kind, record.slot) = (abi::Event::REFUSED, 1);
        for reason in [Reject::Ttl, Reject::Checksum] {
            record.reason = reason as u8;
            assert_eq!(told(|| chatter.of_record(&record)), [1; MOST as usize], "{reason:?}");
        }
        let waited = Waited::Owner;
        let took_over = Event::TookOver { slot, waited, due: now };
        let took_over = chatter.of_event(now, took_over, |of| (of == slot).then_some(now));
        let Some(Notice::TookOver(Slot(1), budget)) = took_over else { panic!("{took_over:?}") };
        assert_eq!(budget.spoke, Some(now));
    }
}
