//! Which routers watch what.

use std::collections::{BTreeMap, BTreeSet};

use crate::input::Slot;
use crate::settings::{Tracker, TrackerId};

/// The routers by what they watch: where each watches something of its own, all would have to be asked
/// for each word otherwise.
#[derive(Debug, Default)]
pub(crate) struct Tracking(BTreeMap<TrackerId, BTreeSet<Slot>>);

impl Tracking {
    /// Notes what a router watches.
    pub(crate) fn add(&mut self, slot: Slot, trackers: &[Tracker]) {
        for tracker in trackers {
            self.0.entry(tracker.id).or_default().insert(slot);
        }
    }

    /// Forgets it.
    pub(crate) fn remove(&mut self, slot: Slot, trackers: &[Tracker]) {
        for tracker in trackers {
            if let Some(slots) = self.0.get_mut(&tracker.id) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.0.remove(&tracker.id);
                }
            }
        }
    }

    /// Those that watch it.
    pub(crate) fn of(&self, id: TrackerId) -> impl Iterator<Item = Slot> {
        self.0.get(&id).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Delays;

    #[test]
    fn each_knows_its_own() {
        let tracker = |id| Tracker {
            id: TrackerId(id),
            weight: 0,
            reverse: false,
            delays: Delays::default(),
        };
        let mut tracking = Tracking::default();
        tracking.add(Slot(1), &[tracker(1), tracker(2), tracker(1)]);
        tracking.add(Slot(2), &[tracker(2)]);
        let of = |tracking: &Tracking, id| tracking.of(TrackerId(id)).collect::<Vec<_>>();
        assert_eq!(of(&tracking, 1), [Slot(1)]);
        assert_eq!(of(&tracking, 2), [Slot(1), Slot(2)]);
        tracking.remove(Slot(1), &[tracker(1), tracker(2), tracker(1)]);
        assert_eq!((of(&tracking, 1), of(&tracking, 2)), (vec![], vec![Slot(2)]));
        tracking.remove(Slot(2), &[tracker(2), tracker(3)]);
        assert!(tracking.0.is_empty());
    }
}
