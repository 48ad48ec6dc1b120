//! One line per cause, not one per packet.

use std::collections::BTreeMap;
use std::time::Duration;

use vrrp_common::{Instant, Reject, abi};
use vrrp_proto::{Event, Slot};

/// The same cause is told again after this time, with how often it came meanwhile.
const AGAIN: Duration = Duration::from_secs(60);
/// New causes told per subject and kind in that time; a sender that varies its packets must not fill the
/// log, and none of that keeps back what is of another kind.
const FRESH: u32 = 10;
/// Causes remembered.
const MOST: usize = 512;

/// What lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Lower,
    GoesOn,
    SecondOwner,
    Ignored,
    Following,
    Zero,
    Delayed,
    Restored,
    PathsRestored,
    PathsFailed,
    Unsent,
    Flaps,
    SentAgain,
    StoodStill,
    /// An advert that was accepted, but is not as it should be.
    Odd,
    /// A virtual router that is not configured.
    Unknown,
    Refused(Option<Reject>),
}

impl Topic {
    const LEAST: Self = Self::Lower;

    /// Whose event it is and what of, where one may come again and again, with every packet.
    pub(crate) fn of(event: &Event) -> Option<(Slot, Self)> {
        Some(match event {
            Event::LowerAdvert { slot, .. } => (*slot, Self::Lower),
            Event::GoesOn { slot, .. } => (*slot, Self::GoesOn),
            Event::SecondOwner { slot, .. } => (*slot, Self::SecondOwner),
            Event::Ignored { slot, .. } => (*slot, Self::Ignored),
            Event::Following { slot, .. } => (*slot, Self::Following),
            Event::PriorityZero { slot, .. } => (*slot, Self::Zero),
            Event::PreemptDelayed { slot, .. } => (*slot, Self::Delayed),
            Event::AddressesRestored { slot, .. } => (*slot, Self::Restored),
            Event::PathsRestored { slot, .. } => (*slot, Self::PathsRestored),
            Event::PathsFailed { slot, .. } => (*slot, Self::PathsFailed),
            Event::Transition { .. }
            | Event::Group { .. }
            | Event::TookOver { .. }
            | Event::PriorityChanged { .. }
            | Event::AddressFailed { .. }
            | Event::Ended { .. } => return None,
        })
    }

    /// What the record of an advert is about.
    pub(crate) fn of_record(record: &abi::Event) -> Self {
        if record.kind == abi::Event::REFUSED {
            Self::Refused(Reject::from_index(record.reason.into()))
        } else {
            Self::Odd
        }
    }
}

/// What was told lately.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    told: BTreeMap<(u32, (Topic, String)), Told>,
    fresh: BTreeMap<(u32, Topic), (Instant, u32)>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it had come then, and has by now.
    total: u64,
    came: u64,
}

/// Whether a cause is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Tell it for the first time.
    First,
    /// Tell it again: it came this often since it was told last, that long ago.
    Again(u64, Duration),
    /// Tell once that more causes are left out for now.
    TooMany,
    /// Say nothing.
    Nothing,
}

impl Repeats {
    /// Notes that something came `count` times more.
    pub(crate) fn count(
        &mut self,
        now: Instant,
        subject: u32,
        (kind, cause): (Topic, String),
        count: u64,
    ) -> Say {
        let key = (subject, (kind, cause));
        let before = self.told.get(&key).map_or(0, |told| told.came);
        self.note_key(now, key, before + count)
    }

    /// Notes that something came, in all `total` times by now.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        subject: u32,
        (kind, cause): (Topic, String),
        total: u64,
    ) -> Say {
        self.note_key(now, (subject, (kind, cause)), total)
    }

    fn note_key(&mut self, now: Instant, key: (u32, (Topic, String)), total: u64) -> Say {
        let (subject, kind) = (key.0, key.1.0);
        if let Some(told) = self.told.get_mut(&key) {
            told.came = total;
            let since = now.since(told.at);
            if since < AGAIN {
                return Say::Nothing;
            }
            let more = total.saturating_sub(told.total);
            *told = Told { at: now, total, came: total };
            return Say::Again(more, since);
        }
        let (since, fresh) = self.fresh.entry((subject, kind)).or_insert((now, 0));
        if now.since(*since) >= AGAIN {
            (*since, *fresh) = (now, 0);
        }
        *fresh += 1;
        if *fresh > FRESH {
            return if *fresh == FRESH + 1 { Say::TooMany } else { Say::Nothing };
        }
        if self.told.len() >= MOST {
            self.told.retain(|_, told| now.since(told.at) < AGAIN);
        }
        if self.told.len() < MOST {
            self.told.insert(key, Told { at: now, total, came: total });
        }
        Say::First
    }

    /// Forgets a subject: it starts afresh, so its causes are news again.
    pub(crate) fn forget(&mut self, subject: u32) {
        forget(&mut self.told, subject, (Topic::LEAST, String::new()));
        forget(&mut self.fresh, subject, Topic::LEAST);
    }
}

/// Takes a subject's entries out, and goes through no others. `least`: no entry's second part is less.
pub(crate) fn forget<K: Ord + Clone, V>(map: &mut BTreeMap<(u32, K), V>, subject: u32, least: K) {
    let its = map.range((subject, least)..).take_while(|((of, _), _)| *of == subject);
    let its: Vec<_> = its.map(|(key, _)| key.clone()).collect();
    for key in its {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    fn ttl(ttl: u64) -> (Topic, String) {
        (Topic::Refused(Some(Reject::Ttl)), format!("ttl {ttl}"))
    }

    #[test]
    fn the_same_cause_is_told_once_a_minute_with_its_count() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.note(at(0), 1, ttl(64), 1), Say::First);
        for s in 1..60 {
            assert_eq!(repeats.note(at(s), 1, ttl(64), 1 + s), Say::Nothing);
        }
        let again = Say::Again(59, Duration::from_secs(60));
        assert_eq!(repeats.note(at(60), 1, ttl(64), 60), again);
        assert_eq!(repeats.note(at(60), 2, ttl(64), 1), Say::First);
        // Hours later: the time is said as it is.
        let again = Say::Again(1, Duration::from_secs(7200));
        assert_eq!(repeats.note(at(7260), 1, ttl(64), 61), again);
        repeats.forget(1);
        assert_eq!(repeats.note(at(7261), 1, ttl(64), 62), Say::First);
    }

    #[test]
    fn who_is_forgotten_leaves_the_others() {
        let mut map = BTreeMap::new();
        for (subject, cause) in [(1, ""), (2, ""), (2, "a"), (2, "b"), (3, ""), (u32::MAX, "z")] {
            map.insert((subject, cause), ());
        }
        forget(&mut map, 2, "");
        forget(&mut map, 4, "");
        assert_eq!(map.keys().map(|(of, _)| *of).collect::<Vec<_>>(), [1, 3, u32::MAX]);
        forget(&mut map, u32::MAX, "");
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn ever_new_causes_are_cut_off() {
        let mut repeats = Repeats::default();
        let said: Vec<_> = (0..1000).map(|n| repeats.note(at(1), 1, ttl(n), n)).collect();
        assert_eq!(said.iter().filter(|s| **s == Say::First).count(), FRESH as usize);
        assert_eq!(said.iter().filter(|s| **s == Say::TooMany).count(), 1);
        assert_eq!(repeats.note(at(70), 1, ttl(2000), 1), Say::First);
    }

    /// A host whose addresses are all taken off, and whose adverts don't leave.
    #[test]
    fn what_is_of_another_topic_is_told_beside_it() {
        let mut repeats = Repeats::default();
        let what = |topic, n: u64| (topic, n.to_string());
        for n in 0..20 {
            repeats.count(at(1), 1, what(Topic::Restored, n), 1);
        }
        assert_eq!(repeats.count(at(1), 1, what(Topic::Restored, 99), 1), Say::Nothing);
        for topic in [Topic::Unsent, Topic::GoesOn, Topic::SecondOwner] {
            assert_eq!(repeats.count(at(1), 1, what(topic, 0), 1), Say::First, "{topic:?}");
        }
        assert_eq!(repeats.count(at(30), 1, what(Topic::GoesOn, 0), 7), Say::Nothing);
        let again = Say::Again(10, Duration::from_secs(60));
        assert_eq!(repeats.count(at(61), 1, what(Topic::GoesOn, 0), 3), again);
    }
}
