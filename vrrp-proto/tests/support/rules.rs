//! What no engine may do, whatever happens to it, told without the engine's own book-keeping.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::{Instant, Interval, Priority, Version, time};
use vrrp_proto::settings::Tracker;
use vrrp_proto::{
    Advert, Event, Health, Settings, Slot, StateName, TrackerId, Transmit, View, Waited, Why,
};

use super::{Host, SLOT};

/// When a host may speak at the earliest: RFC 9568 §6.4.1 and §6.4.2, by what arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listener {
    /// Since when it waits: listening began, or an advert came that it must respect.
    since: Option<Instant>,
    /// The interval of that advert.
    interval: Option<Interval>,
    /// A release came.
    released: Option<(Instant, Interval)>,
    /// The first advert of lower priority, for `preempt_delay`.
    lower: Option<Instant>,
    delay: Duration,
    version: Option<Version>,
    /// The `since` of the Backup that this is about.
    entered: Option<Instant>,
}

impl Listener {
    /// Takes settings before the engine does; another delay begins anew, and so does listening in another
    /// version.
    pub(super) fn reads(&mut self, now: Instant, settings: &Settings) {
        if self.version.is_some_and(|version| version != settings.version) {
            self.since = self.since.map(|_| now);
            (self.interval, self.lower) = (None, None);
        }
        self.version = Some(settings.version);
        if self.delay != settings.preempt_delay {
            self.lower = None;
        }
        self.delay = settings.preempt_delay;
    }

    /// Takes an advert that reaches a host, before the engine does.
    pub(super) fn hears(
        &mut self,
        now: Instant,
        advert: &Advert,
        view: Option<&View>,
        settings: &Settings,
    ) {
        let Some(view) = view else { return };
        match view.state {
            StateName::Initialize | StateName::Fault | StateName::Active => {}
            StateName::Backup if advert.priority == Priority::RELEASE => {
                let interval = self.interval.unwrap_or(settings.interval);
                self.released.get_or_insert((now, interval));
            }
            StateName::Backup => {
                let preempt = settings.preempt || view.priority.is_owner();
                let lower = preempt && advert.priority < view.priority;
                let first = *self.lower.get_or_insert(now);
                if !lower {
                    self.lower = None;
                } else if now >= first + self.delay {
                    return;
                }
                self.since = Some(now);
                self.interval = Some(advert.interval);
                self.released = None;
            }
        }
    }

    /// Notes what a call made of the host.
    pub(super) fn follow(&mut self, now: Instant, view: Option<&View>) {
        let backup = view.filter(|view| view.state == StateName::Backup);
        let entered = backup.map(|view| view.since);
        if entered.is_some() && entered != self.entered {
            // A winner that made it yield is waited for by the winner's interval.
            let winner = backup.and_then(|view| view.following);
            let interval = winner.map(|winner| winner.interval);
            let since = Some(now);
            let Self { delay, version, .. } = *self;
            *self = Self { since, interval, delay, version, ..Self::default() };
        }
        self.entered = entered.or(self.entered);
    }

    fn earliest(&self, priority: Priority, settings: &Settings) -> Option<Instant> {
        let interval = self.interval.unwrap_or(settings.interval);
        let intervals = interval.get() * u32::from(settings.down_adverts);
        let down = self.since? + intervals + time::skew(settings.version, priority, interval);
        let skew = |interval| time::skew(settings.version, priority, interval);
        let released = self.released.map(|(at, interval)| at + skew(interval));
        Some(released.map_or(down, |at| at.min(down)))
    }
}

impl Host {
    /// Whether its next advert shows if it can speak again.
    fn is_mute(&self) -> bool {
        let mute = |why: &Why| matches!(why, Why::Mute { .. });
        let is_end = |it: &&(_, StateName, Why)| it.1 == StateName::Active || mute(&it.2);
        self.transitions().iter().rfind(is_end).is_some_and(|it| mute(&it.2))
    }

    /// The priority that tracking leaves: RFC 9568 §6.1 keeps 0 and 255 for others.
    pub(crate) fn tracked_priority(&self) -> u8 {
        let base = self.settings.priority.get();
        if base == 255 {
            return base;
        }
        let moved = self.settings.trackers.iter().map(|tracker| {
            // keepalived's: a positive weight counts while good, a negative one while bad; reversed, what
            // counts is taken the other way.
            let by = i32::from(tracker.weight) * if tracker.reverse { -1 } else { 1 };
            let counting = if tracker.weight > 0 { Health::Good } else { Health::Bad };
            if self.health_of(tracker.id) == counting { by } else { 0 }
        });
        (i32::from(base) + moved.sum::<i32>()).clamp(1, 254) as u8
    }

    /// Whether it can take part: no tracker of weight 0 is bad or silent.
    pub(crate) fn is_fit(&self) -> bool {
        let well = |tracker: &Tracker| match self.health_of(tracker.id) {
            Health::Unknown => false,
            Health::Good => !tracker.reverse,
            Health::Bad => tracker.reverse,
        };
        let trackers = &self.settings.trackers;
        self.alive && trackers.iter().all(|tracker| tracker.weight != 0 || well(tracker))
    }

    fn health_of(&self, id: TrackerId) -> Health {
        self.health.get(&id).copied().unwrap_or(Health::Unknown)
    }

    pub(super) fn check_priority(&self, view: &View) {
        assert_eq!(view.priority.get(), self.tracked_priority(), "{:?}", self.settings);
    }

    /// Only an Active router speaks, with its priority, or one whose advert is to show whether it can; one that ends being Active may release; and
    /// nobody but an owner becomes Active before it has listened for long enough.
    pub(super) fn check_transmit(
        &self,
        now: Instant,
        before: &BTreeMap<Slot, StateName>,
        transmit: Transmit,
    ) {
        let (who, slot) = (self.address, transmit.slot);
        let was = before.get(&slot).copied().unwrap_or(StateName::Initialize);
        let view = self.engine.view(slot);
        let is_active = view.is_some_and(|view| view.state == StateName::Active);
        let was_active = was == StateName::Active;
        if transmit.priority == Priority::RELEASE {
            assert!(was_active, "{who} released from {was:?}");
            return;
        }
        let yields = was_active && self.settings.advert_on_yield;
        let listens = was == StateName::Backup || transmit.priority.is_owner();
        let tries = listens && self.is_mute();
        assert!(is_active || yields || tries, "{who} spoke from {was:?}");
        if slot != SLOT {
            return;
        }
        assert!(self.link || !self.settings.track_link, "{who} spoke without link");
        assert_eq!(transmit.priority.get(), self.tracked_priority(), "{who}");
        if !was_active && !transmit.priority.is_owner() {
            let earliest = self.listener.earliest(transmit.priority, &self.settings);
            let early = earliest.is_none_or(|at| now < at);
            assert!(!early, "{who} spoke at {now:?}, before {earliest:?}: {:?}", self.listener);
        }
    }
}

/// Whoever becomes Active says once for what it had waited, and nobody else does.
pub(super) fn check_takeovers(events: &[(Instant, Event)]) {
    let mut before: Option<(&Slot, &Why)> = None;
    for (at, event) in events {
        if let Event::TookOver { slot, waited, due } = event {
            let (entered, why) = before.take().expect("it became Active just before");
            assert_eq!(entered, slot);
            let right = match waited {
                Waited::Silence { heard } => {
                    heard.is_none_or(|heard| heard < *due)
                        && matches!(
                            why,
                            Why::NoAdvert { .. } | Why::Released { .. } | Why::Preempting { .. }
                        )
                }
                Waited::Owner => *why == Why::Owner && due == at,
                Waited::Resumed => *why == Why::Resumed && due == at,
            };
            assert!(right && due <= at, "{why:?} and then {event:?} at {at:?}");
        }
        assert_eq!(before, None, "no takeover is told");
        if let Event::Transition { slot, to: StateName::Active, why, .. } = event {
            before = Some((slot, why));
        }
    }
    assert_eq!(before, None, "no takeover is told");
}

/// How long each two hosts are Active at once.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// From when on the LAN is whole; before, two may be Active for as long as they like.
    whole: Option<Instant>,
    since: BTreeMap<(usize, usize), Instant>,
    /// The longest since then.
    pub(crate) longest: Duration,
}

impl Pairs {
    /// From now on each host hears every other one, and no setting changes.
    pub(crate) fn expect_one(&mut self, now: Instant) {
        self.whole = Some(now);
        self.since.values_mut().for_each(|since| *since = now);
    }

    /// Of two Active routers that hear each other the winner's next advert ends the other one: it is due
    /// within the winner's interval (RFC 9568 §6.4.3) and arrives after the wire's latency.
    pub(super) fn note(&mut self, now: Instant, latency: Duration, hosts: &[Host]) {
        for b in 0..hosts.len() {
            for a in 0..b {
                if hosts[a].is_active() && hosts[b].is_active() {
                    self.since.entry((a, b)).or_insert(now);
                }
                let Some(since) = self.since.get(&(a, b)).copied() else { continue };
                let winner = if rank(&hosts[a]) > rank(&hosts[b]) { a } else { b };
                let most = hosts[winner].settings.interval.get() + latency;
                let both = now.since(since);
                if self.whole.is_some() {
                    assert!(both <= most, "{a} and {b} are Active for {both:?}, {most:?} at most");
                    self.longest = self.longest.max(both);
                }
                if !(hosts[a].is_active() && hosts[b].is_active()) {
                    self.since.remove(&(a, b));
                }
            }
        }
    }
}

fn rank(host: &Host) -> (u8, IpAddr) {
    (host.tracked_priority(), host.address)
}
