//! What the watched things of a router mean to its priority and state.

use std::collections::BTreeMap;

use vrrp_common::{Instant, Priority, time};

use super::settle::Settled;
use super::{Router, State};
use crate::election::{self, Bearing};
use crate::engine::Lanes;
use crate::input::Health;
use crate::output::Event;
use crate::settings::{Tracker, TrackerId};

impl Router {
    /// What it watches.
    pub(crate) fn trackers(&self) -> &[Tracker] {
        &self.settings.trackers
    }

    pub(crate) fn on_track(
        &mut self,
        now: Instant,
        id: TrackerId,
        health: Health,
        lanes: &mut Lanes,
    ) {
        let mut concerned = false;
        for index in 0..self.settings.trackers.len() {
            if self.settings.trackers[index].id == id {
                self.see_health(now, index, health);
                concerned = true;
            }
        }
        if concerned {
            self.health_changed(now, lanes);
        }
    }

    pub(super) fn health_changed(&mut self, now: Instant, lanes: &mut Lanes) {
        self.reprioritize(now, lanes);
        self.review(now, lanes);
    }

    /// Moves the priority to what tracking says, and the Backup's timer with it.
    pub(super) fn reprioritize(&mut self, now: Instant, lanes: &mut Lanes) {
        let (from, to) = (self.priority, self.weighted_priority());
        if from == to {
            return;
        }
        self.priority = to;
        self.stretch(now, from);
        lanes.events.push_back(Event::PriorityChanged { slot: self.slot, from, to });
    }

    /// Moves Master_Down_Timer by what the skew of another priority differs. It stays a wait since the
    /// last advert, so a higher priority may have to speak at once.
    pub(super) fn stretch(&mut self, now: Instant, before: Priority) {
        let State::Backup(backup) = &mut self.state else {
            return;
        };
        let interval = backup.interval(&self.settings);
        let was = time::skew(self.settings.version, before, interval);
        let is = time::skew(self.settings.version, self.priority, interval);
        backup.down_at = (backup.down_at - was + is).max(now);
    }

    pub(super) fn weighted_priority(&mut self) -> Priority {
        if let Some(earlier) = self.earlier {
            let mut pairs = self.settings.trackers.iter().zip(&self.health);
            if pairs.any(|(tracker, health)| tracker.weight != 0 && health.get() == Health::Unknown)
            {
                return earlier;
            }
            self.earlier = None;
        }
        let sum = self.bearings().map(|bearing| match bearing {
            Bearing::Weight(weight) => weight,
            Bearing::Unknown | Bearing::Fault => 0,
        });
        self.settings.priority.weighted(sum.sum())
    }

    /// Says whether a tracker that could be a fault has said nothing yet. Only a router that starts
    /// waits for it: one that is reloaded with a new script goes on until the script has an opinion.
    pub(super) fn undecided(&self) -> Option<TrackerId> {
        let pairs = self.settings.trackers.iter().zip(self.bearings());
        let mut open = pairs.filter(|(_, bearing)| *bearing == Bearing::Unknown);
        open.next().map(|(tracker, _)| tracker.id)
    }

    pub(super) fn bearings(&self) -> impl Iterator<Item = Bearing> {
        let pairs = self.settings.trackers.iter().zip(&self.health);
        pairs.map(|(tracker, health)| election::bearing(tracker, health.get()))
    }

    /// Takes what is known of the trackers. What was waited for with one of `before` goes on.
    pub(super) fn read_health(&mut self, before: &[Tracker], known: &BTreeMap<TrackerId, Health>) {
        let of = |tracker: &Tracker| {
            let same = |old: &Tracker| (old.id, old.delays) == (tracker.id, tracker.delays);
            let old = before.iter().position(same).and_then(|index| self.health.get(index));
            let told = || known.get(&tracker.id).copied().unwrap_or(Health::Unknown);
            old.copied().unwrap_or_else(|| Settled::new(told()))
        };
        self.health = self.settings.trackers.iter().map(of).collect();
    }
}
