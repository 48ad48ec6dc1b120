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
    /// The notice of an event of the engine's, where it is to be told. `spoke`: when the last adverts left.
    pub(super) fn of_event(
        &mut self,
        now: Instant,
        event: Event,
        spoke: Option<Instant>,
    ) -> Option<Notice> {
        if let Event::TookOver { slot, waited, due } = event {
            return Some(Notice::TookOver(slot, Budget { spoke, ..Budget::new(waited, due, now) }));
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
}
