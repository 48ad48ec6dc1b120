//! Links that flap: a change counts only once it has lasted.

use std::time::Duration;

use vrrp_common::Instant;

use super::{Router, State};
use crate::engine::Lanes;
use crate::input::{Health, Link};
use crate::settings::Delays;

/// A value, and another one that is to take its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled<T> {
    value: T,
    next: Option<(Instant, T)>,
}

impl<T: Copy + PartialEq> Settled<T> {
    pub(super) const fn new(value: T) -> Self {
        Self { value, next: None }
    }

    /// What counts.
    pub(super) const fn get(&self) -> T {
        self.value
    }

    /// What was seen last, whether it counts or not.
    pub(super) fn latest(&self) -> T {
        self.next.map_or(self.value, |(_, value)| value)
    }

    /// When the next value counts, if there is one.
    fn due(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// Takes what was seen at `now`; it counts once `delay` has passed. `None`: the change is none that is
    /// waited for.
    fn see(&mut self, now: Instant, value: T, delay: Option<Duration>) {
        match delay.filter(|delay| !delay.is_zero()) {
            None => *self = Self::new(value),
            // What is waited for already may come with other details.
            Some(delay) => self.next = Some((self.due().unwrap_or(now + delay), value)),
        }
    }

    /// Lets the next value count where its time has come, and says whether it does.
    fn settle(&mut self, now: Instant) -> bool {
        let Some((_, value)) = self.next.take_if(|(at, _)| *at <= now) else {
            return false;
        };
        self.value = value;
        true
    }
}

impl Router {
    /// Takes the state of the router's interface; says whether it counts now.
    pub(super) fn see_link(&mut self, now: Instant, link: Link) -> bool {
        let is_down = |link| matches!(link, Link::Down(_));
        let delay = match self.link.get().map(is_down) {
            Some(was_down) if was_down != is_down(link) => {
                Some(self.delay(self.settings.link_delays, was_down))
            }
            Some(_) | None => None,
        };
        self.link.see(now, Some(link), delay);
        self.link.due().is_none()
    }

    /// Takes the health of the tracker with this number in the settings.
    pub(super) fn see_health(&mut self, now: Instant, index: usize, health: Health) {
        let delays = self.settings.trackers[index].delays;
        let delay = match (self.health[index].get(), health) {
            (Health::Good, Health::Bad) => Some(self.delay(delays, false)),
            (Health::Bad, Health::Good) => Some(self.delay(delays, true)),
            _ => None,
        };
        self.health[index].see(now, health, delay);
    }

    /// When something that is waited for counts.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        let trackers = self.health.iter().filter_map(Settled::due);
        self.link.due().into_iter().chain(trackers).min()
    }

    /// Lets what has lasted long enough count.
    pub(super) fn settle(&mut self, now: Instant, lanes: &mut Lanes) {
        if self.link.settle(now) {
            self.link_changed(now, lanes);
        }
        let mut changed = false;
        for health in &mut self.health {
            changed |= health.settle(now);
        }
        if changed {
            self.health_changed(now, lanes);
        }
    }

    /// How long to wait for a link to come `up` or go down. A Backup that hears nothing must not take over
    /// before it knows that its own link is why, so a loss is waited for one interval less than an
    /// advert.
    fn delay(&self, delays: Delays, up: bool) -> Duration {
        if up {
            return delays.up;
        }
        let interval = match &self.state {
            State::Backup(backup) => backup.interval(&self.settings),
            State::Initialize | State::Fault { .. } | State::Active(_) => self.settings.interval,
        };
        delays.down.min(interval.get() * u32::from(self.settings.down_adverts - 1))
    }
}
