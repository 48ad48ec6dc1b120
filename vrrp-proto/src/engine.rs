//! All virtual routers of a host: who an input is for, whose deadline is next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vrrp_common::Instant;

use crate::beat::Beat;
use crate::deadlines::Deadlines;
use crate::group::Group;
use crate::input::{GroupId, Health, Input, Slot};
use crate::output::{Effect, Event, Transmit, Watch, Why};
use crate::router::{Router, View};
use crate::settings::TrackerId;
use crate::tracking::Tracking;

/// The lanes out of the engine.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) watches: VecDeque<Watch>,
}

/// The virtual routers of one host. The crate's documentation has the contract.
#[derive(Debug, Default)]
pub struct Engine {
    /// Boxed: a map's nodes are filled by half.
    pub(crate) routers: BTreeMap<Slot, Box<Router>>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Groups of which a member has said something new, and which members did.
    pub(crate) unsettled: BTreeMap<GroupId, Vec<Slot>>,
    deadlines: Deadlines,
    /// When whoever takes `waking` to wake has to be woken for them.
    wakes: Deadlines,
    waking: Duration,
    /// Whose turn it is, by how soon an advert of theirs is late; kept for its memory.
    turns: Vec<(Duration, Instant, Slot)>,
    beat: Beat,
    /// What every watched thing said last, for routers that come later.
    health: BTreeMap<TrackerId, Health>,
    tracking: Tracking,
    pub(crate) lanes: Lanes,
}

impl Engine {
    /// An engine without routers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for somebody who takes up to `waking` to wake: [`Engine::poll_wake`].
    pub fn waking_in(waking: Duration) -> Self {
        Self { waking, ..Self::default() }
    }

    /// Takes one input that happened at `now`.
    ///
    /// Inputs for a slot that is not there are dropped: the router ended while they were on their way.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.take(now, input);
        self.settle_groups(now);
    }

    fn take(&mut self, now: Instant, input: Input) {
        match input {
            Input::Add { slot, settings, hold } => {
                self.tracking.add(slot, &settings.trackers);
                let router = Router::new(now, slot, *settings, hold, &self.health);
                self.routers.insert(slot, Box::new(router));
                self.with(now, slot, |router, lanes| router.review(now, lanes));
            }
            Input::Change { slot, settings } => {
                if let Some(router) = self.routers.get(&slot) {
                    self.tracking.remove(slot, router.trackers());
                    self.tracking.add(slot, &settings.trackers);
                }
                let health = std::mem::take(&mut self.health);
                self.with(now, slot, |router, lanes| router.change(now, *settings, &health, lanes));
                self.health = health;
            }
            Input::Groups { groups } => self.regroup_all(now, &groups),
            Input::Remove { slot } => self.end(now, slot, Why::Removed),
            Input::Resume { slot, until, priority, form } => {
                self.with(now, slot, |router, lanes| {
                    router.resume(now, until, priority, form, lanes);
                });
            }
            Input::Advert { slot, advert } => {
                self.with(now, slot, |router, lanes| router.on_advert(now, &advert, lanes));
            }
            Input::Heard { slot, armed } => {
                self.with(now, slot, |router, _| router.on_heard(now, armed));
            }
            Input::Link { slot, link } => {
                self.with(now, slot, |router, lanes| router.on_link(now, link, lanes));
            }
            Input::Sent { slot, priority, left } => {
                self.with(now, slot, |router, lanes| router.on_sent(now, priority, left, lanes));
            }
            Input::Track { id, health } => {
                self.health.insert(id, health);
                let slots: Vec<Slot> = self.tracking(id).collect();
                for slot in slots {
                    self.with(now, slot, |router, lanes| {
                        router.on_track(now, id, health, lanes);
                    });
                }
            }
            Input::AddressesLost { slot, addresses } => {
                self.with(now, slot, |router, lanes| router.on_addresses_lost(&addresses, lanes));
            }
            Input::PathsDoubted { slot, gone } => {
                self.with(now, slot, |router, lanes| router.on_paths_doubted(&gone, lanes));
            }
            Input::Outcome { slot, outcome } => {
                self.with(now, slot, |router, lanes| router.on_outcome(now, outcome, lanes));
            }
            Input::Shutdown => {
                let slots: Vec<Slot> = self.routers.keys().copied().collect();
                for slot in slots {
                    self.end(now, slot, Why::Shutdown);
                }
            }
        }
    }

    /// Does what is due at `now`.
    ///
    /// Before that, [`Input::Heard`] must have been handed in for those of [`Engine::due`] that are
    /// watched: the deadline of a Backup is as old as its last input.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.take_turns(now);
        }
        self.settle_groups(now);
    }

    /// Does what is due, and lets adverts leave with that which are almost due: routers whose beats are close
    /// wake the process once instead of each by itself.
    ///
    /// The shortest interval goes first: to send for many others takes longer than it may be late. Before all
    /// come those who take over.
    fn take_turns(&mut self, now: Instant) {
        let tolerance =
            |slot| self.routers.get(&slot).map_or(Duration::ZERO, |router| router.tolerance());
        let window = self.due(now).map(tolerance).max().unwrap_or_default();
        let almost_due = self.deadlines.upto(now + window);
        let mut turns = std::mem::take(&mut self.turns);
        turns.extend(almost_due.map(|(at, slot)| (tolerance(slot), at, slot)));
        turns.sort_unstable();
        let mut beat = self.beat;
        for (_, at, slot) in turns.drain(..) {
            self.with(now, slot, |router, lanes| {
                if at <= now {
                    router.on_timeout(now, &mut beat, lanes);
                }
                router.join(now, &mut beat, lanes);
                let same = at <= now && router.deadline() == Some(at);
                debug_assert!(!same, "a router that was served still has the same deadline");
            });
        }
        (self.turns, self.beat) = (turns, beat);
    }

    /// Whose deadline has come.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = Slot> {
        self.deadlines.upto(now).map(|(_, slot)| slot)
    }

    /// How long nothing was done although something was due, by more than the interval of the router whose
    /// deadline it was; `since`: when something was done last.
    pub fn stood_still(&self, now: Instant, since: Instant) -> Option<Duration> {
        self.deadlines
            .upto(now)
            .filter_map(|(at, slot)| {
                let late = now.since(at.max(since));
                (late > self.routers.get(&slot)?.interval()).then_some(late)
            })
            .max()
    }

    /// Whom [`Input::Track`] of it concerns.
    pub fn tracking(&self, id: TrackerId) -> impl Iterator<Item = Slot> {
        self.tracking.of(id)
    }

    /// When [`Engine::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// When to wake for what is due, so that it is not done too late: a takeover no later than due, the adverts
    /// of an Active router by no more than 2 % of its interval. Until [`Engine::poll_timeout`] there is nothing to
    /// do but to stay awake.
    pub fn poll_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| at)
    }

    /// Whether a Backup becomes Active by then, unless its Active router was heard.
    pub fn takes_over_by(&self, until: Instant) -> bool {
        let mut due = self.due(until).filter_map(|slot| self.routers.get(&slot));
        due.any(|router| router.is_backup())
    }

    /// The next advert to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.lanes.transmits.pop_front()
    }

    /// The next work on addresses, routes and rules.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.lanes.effects.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.lanes.events.pop_front()
    }

    /// The next thing to watch, or to stop watching.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        self.lanes.watches.pop_front()
    }

    /// Every router as it is now, by slot.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.routers.values().map(|router| router.view())
    }

    /// Whether a router is in Backup.
    pub fn is_backup(&self, slot: Slot) -> bool {
        self.routers.get(&slot).is_some_and(|router| router.is_backup())
    }

    /// One router as it is now.
    pub fn view(&self, slot: Slot) -> Option<View> {
        self.routers.get(&slot).map(|router| router.view())
    }

    /// Lets a router work and keeps its deadline in the table.
    pub(crate) fn with(
        &mut self,
        now: Instant,
        slot: Slot,
        work: impl FnOnce(&mut Router, &mut Lanes),
    ) {
        let Some(router) = self.routers.get_mut(&slot) else { return };
        work(router, &mut self.lanes);
        let (news, released) = (router.news(now), router.was_released());
        router.watch(&mut self.lanes);
        let (deadline, early) = (router.deadline(), self.waking.saturating_sub(router.leeway()));
        self.deadlines.set(slot, deadline);
        self.wakes.set(slot, deadline.map(|at| at - early));
        if let Some(news) = news {
            self.hear_member(now, slot, news);
        }
        if released {
            self.hear_release(now, slot);
        }
    }

    fn end(&mut self, now: Instant, slot: Slot, why: Why) {
        self.expel(slot);
        if let Some(mut router) = self.routers.remove(&slot) {
            self.deadlines.remove(slot);
            self.wakes.remove(slot);
            self.tracking.remove(slot, router.trackers());
            router.end(now, why, &mut self.lanes);
            router.watch(&mut self.lanes);
        }
    }
}
