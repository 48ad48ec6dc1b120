//! One virtual router: RFC 9568 §6.4 with keepalived's options.
//!
//! Every input is matched against every state, so that what is ignored is ignored in writing.

mod addresses;
mod hear;
mod held;
mod link;
mod mute;
mod owner;
mod reload;
mod settle;
mod together;
mod track;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, Priority, time};

use self::owner::Rival;
use self::settle::Settled;
use self::together::Together;
pub(crate) use self::together::{Standing, Terms};
pub use self::view::{Following, Other, Stats, View};
use self::watch::{BACKSTOP, Watched};
use crate::beat::{self, Beat};
use crate::engine::Lanes;
use crate::input::{Health, Link, Slot};
use crate::output::{Event, StateName, Transmit, Waited, Why};
use crate::settings::{Settings, TrackerId};
use crate::timers::Announcements;

/// The first wait after the kernel refused an address; four times as long after each further one.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// One virtual router.
#[derive(Debug)]
pub(crate) struct Router {
    slot: Slot,
    settings: Settings,
    state: State,
    /// The router's interface, once it is known.
    link: Settled<Option<Link>>,
    /// The address adverts leave with; kept while the link is down.
    source: Option<IpAddr>,
    /// No state but Initialize before this.
    hold_until: Instant,
    /// What each of `settings.trackers` said last, in their order.
    health: Vec<Settled<Health>>,
    /// The priority after tracking.
    priority: Priority,
    /// The checksum form to send: the peer's, once one was heard.
    form: ChecksumForm,
    /// How often in a row the kernel refused an address.
    refusals: u32,
    /// When the last advert left that did, where the last one of an Active router did not.
    unsent: Option<Instant>,
    /// No advert left for so long that it was a fault, and none has since.
    mute: bool,
    /// How often in a row that was so.
    mutes: u32,
    /// What follows once an advert has left.
    claim: Option<Takeover>,
    /// Its sync group.
    together: Option<Together>,
    /// What follows once all of its group are to become Active.
    wish: Option<Takeover>,
    /// It was Active a moment ago, in an earlier life, and goes on when it can, up to then.
    resumes: Option<Instant>,
    /// The priority of that life, until everything with a weight has spoken.
    earlier: Option<Priority>,
    /// What is being watched for it.
    watched: Option<Watched>,
    /// When the state was entered, and why.
    since: Instant,
    why: Why,
    stats: Stats,
}

#[derive(Debug)]
enum State {
    Initialize,
    Fault {
        /// When to try again; `None` waits for an input.
        retry: Option<Instant>,
    },
    Backup(Backup),
    Active(Active),
}

/// How a router comes to be Active.
#[derive(Clone, Copy, Debug)]
struct Takeover {
    why: Why,
    /// For what it waited.
    waited: Waited,
    /// Until when.
    due: Instant,
}

#[derive(Debug)]
struct Backup {
    /// When listening began, in the version that is spoken.
    listens: Instant,
    /// Master_Down_Timer.
    down_at: Instant,
    /// The Active router, once it was heard.
    following: Option<Following>,
    /// An Active router that loses against us and is to be replaced.
    outranked: Option<Following>,
    /// The Active router that released, and the interval that rules the wait behind that.
    released: Option<(IpAddr, Interval)>,
    /// The end of `preempt_delay`, once a router of lower priority was heard.
    preempt_at: Option<Instant>,
    /// It gave its addresses up with its group, and has not said where they are since.
    redirects: bool,
    /// When another member of its group heard its Active router release, and this one did not.
    forsaken: Option<Instant>,
}

/// When which kind of advert was last answered: each has its own pace.
#[derive(Debug, Default)]
struct Answered {
    losing: Option<Instant>,
    release: Option<Instant>,
}

#[derive(Debug)]
struct Active {
    /// Adver_Timer.
    advert_at: Instant,
    announcements: Announcements,
    /// When a losing advert was last answered, and a release.
    answered: Answered,
    /// When the last advert left, and when `late_peer` takes over unless another one follows.
    sent: Option<(Instant, Instant)>,
    /// Others that go on although they lose against us.
    rivals: Vec<Rival>,
}

impl Router {
    pub(crate) fn new(
        now: Instant,
        slot: Slot,
        settings: Settings,
        hold: Duration,
        health: &BTreeMap<TrackerId, Health>,
    ) -> Self {
        let mut router = Self {
            slot,
            state: State::Initialize,
            link: Settled::new(None),
            source: None,
            hold_until: now + hold,
            health: Vec::new(),
            priority: settings.priority,
            form: settings.form,
            refusals: 0,
            unsent: None,
            mute: false,
            mutes: 0,
            claim: None,
            together: None,
            wish: None,
            resumes: None,
            earlier: None,
            watched: None,
            since: now,
            why: Why::Startup,
            stats: Stats::default(),
            settings,
        };
        router.read_health(&[], health);
        router.priority = router.weighted_priority();
        router
    }

    /// The one instant at which [`Router::on_timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let times = [self.acts_at(), self.settles_at(), self.joins_until()];
        times.into_iter().flatten().min()
    }

    fn acts_at(&self) -> Option<Instant> {
        match &self.state {
            // Held back: the end of the hold is due once; afterwards an input is awaited.
            State::Initialize => (self.hold_until > self.since).then_some(self.hold_until),
            State::Fault { retry } => *retry,
            // Its time has come, and it waits for its group.
            State::Backup(_) if self.wish.is_some() && self.claim.is_none() => None,
            State::Backup(backup) => {
                let armed = self.watched.is_some_and(|watched| watched.armed);
                Some(backup.down_at + if armed { BACKSTOP } else { Duration::ZERO })
            }
            State::Active(active) => {
                let announce = active.announcements.next();
                Some(announce.map_or(active.advert_at, |at| at.min(active.advert_at)))
            }
        }
    }

    pub(crate) fn is_backup(&self) -> bool {
        matches!(self.state, State::Backup(_))
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, beat: &mut Beat, lanes: &mut Lanes) {
        if self.overslept(now, lanes) {
            return;
        }
        self.settle(now, lanes);
        self.end_joining(now);
        match &mut self.state {
            State::Initialize if self.hold_until <= now => {
                // Marks the hold as served, whatever else may still be missing.
                self.hold_until = self.since;
                self.review(now, lanes);
            }
            State::Fault { retry } => {
                if retry.take_if(|at| *at <= now).is_some() {
                    self.review(now, lanes);
                }
            }
            State::Initialize => {}
            State::Backup(backup) => {
                if backup.down_at <= now {
                    let takeover = backup.takeover(now, self.priority, &self.settings);
                    self.rise(now, takeover, lanes);
                }
            }
            State::Active(active) => {
                let repeat = active.announcements.expire(now, &self.settings.announce);
                if active.advert_at <= now {
                    let interval = self.settings.interval.get();
                    let next = beat::counts_from(active.advert_at, now, interval) + interval;
                    active.advert_at = beat.next(now, self.slot, next, interval);
                    self.speak(now, lanes);
                }
                self.announce(repeat, lanes);
            }
        }
    }

    /// The time between two adverts, as configured.
    pub(crate) fn interval(&self) -> Duration {
        self.settings.interval.get()
    }

    /// How much earlier than due an Active router's advert may leave.
    pub(crate) fn tolerance(&self) -> Duration {
        match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => Duration::ZERO,
            State::Active(_) => beat::tolerance(self.settings.interval.get()),
        }
    }

    /// How much later than due it may do what is due next.
    pub(crate) fn leeway(&self) -> Duration {
        match &self.state {
            State::Initialize | State::Fault { .. } => Duration::MAX,
            State::Backup(_) => Duration::ZERO,
            State::Active(_) => beat::lateness(self.settings.interval.get()),
        }
    }

    /// Sends an advert that is almost due, because others leave now.
    pub(crate) fn join(&mut self, now: Instant, beat: &mut Beat, lanes: &mut Lanes) {
        let until = now + self.tolerance();
        if let State::Active(active) = &mut self.state
            && active.advert_at > now
            && active.advert_at <= until
        {
            let interval = self.settings.interval.get();
            active.advert_at = beat.next(now, self.slot, now + interval, interval);
            self.speak(now, lanes);
        }
    }

    /// It was Active until a moment ago, in an earlier life of this process.
    pub(crate) fn resume(
        &mut self,
        now: Instant,
        until: Instant,
        priority: Priority,
        form: ChecksumForm,
        lanes: &mut Lanes,
    ) {
        match &self.state {
            State::Initialize => {
                self.resumes = Some(until);
                self.earlier = Some(priority);
                self.form = form;
                self.priority = self.weighted_priority();
                self.review(now, lanes);
            }
            State::Fault { .. } | State::Backup(_) | State::Active(_) => {}
        }
    }

    /// Releases and ends (RFC 9568 §6.4.2 and §6.4.3, Shutdown).
    pub(crate) fn end(&mut self, now: Instant, why: Why, lanes: &mut Lanes) {
        self.release(lanes);
        self.enter(now, State::Initialize, why, lanes);
        lanes.events.push_back(Event::Ended { slot: self.slot });
    }

    /// Looks whether the state still fits what is known, and leaves it where it does not.
    pub(crate) fn review(&mut self, now: Instant, lanes: &mut Lanes) {
        match (&self.state, self.fault()) {
            (State::Initialize | State::Backup(_) | State::Active(_), Some(why)) => {
                // One that was Active can say that it no longer is once it knows its link.
                let early = self.resumes.is_some() && self.link.get().is_none();
                if !self.held_back(now) && !early {
                    self.enter_fault(now, why, None, lanes);
                }
            }
            (State::Initialize, None) => self.start(now, Why::Startup, lanes),
            (State::Fault { retry: None }, None) => self.start(now, Why::Recovered, lanes),
            (State::Fault { .. }, Some(why)) => self.why = why,
            // Only a refused address and adverts that don't leave have it wait.
            (State::Fault { retry: Some(_) }, None) => {
                self.why = if self.mute { Why::Mute { alone: false } } else { Why::AddressRefused };
            }
            (State::Backup(_) | State::Active(_), None) => {}
        }
    }

    /// Leaves Initialize or Fault (RFC 9568 §6.4.1), unless something is not known yet.
    fn start(&mut self, now: Instant, why: Why, lanes: &mut Lanes) {
        if self.held_back(now) || self.link.get().is_none() {
            return;
        }
        if !self.may_start() {
            if let Some(id) = self.undecided().filter(|_| self.resumes.is_none()) {
                self.why = Why::Undecided(id);
            }
            return;
        }
        if let Some(until) = self.resumes.take() {
            if now < until {
                let (why, waited) = (Why::Resumed, Waited::Resumed);
                self.become_active(now, Takeover { why, waited, due: now }, lanes);
                return;
            }
            // Another one has the addresses by now.
            self.give_up(lanes);
        }
        if let Some(id) = self.undecided() {
            self.why = Why::Undecided(id);
            return;
        }
        if self.priority.is_owner() {
            self.rise(now, Takeover { why: Why::Owner, waited: Waited::Owner, due: now }, lanes);
        } else {
            let why = if self.mute { Why::Trying } else { why };
            self.become_backup(now, None, why, lanes);
        }
    }

    fn become_backup(
        &mut self,
        now: Instant,
        following: Option<Following>,
        why: Why,
        lanes: &mut Lanes,
    ) {
        let interval = following.map_or(self.settings.interval, |winner| winner.interval);
        let backup = Backup::listening(now, self.down_interval(interval), following);
        self.enter(now, State::Backup(backup), why, lanes);
    }

    fn become_active(&mut self, now: Instant, takeover: Takeover, lanes: &mut Lanes) {
        if self.mute {
            self.claim(now, takeover, lanes);
            return;
        }
        let Takeover { why, waited, due } = takeover;
        let announcements = Announcements::started(now, &self.settings.announce);
        let advert_at = now + self.settings.interval.get();
        let active = Active {
            advert_at,
            announcements,
            answered: Answered::default(),
            sent: None,
            rivals: Vec::new(),
        };
        self.enter(now, State::Active(active), why, lanes);
        self.stats.became_active += 1;
        self.speak(now, lanes);
        self.hold(lanes);
        lanes.events.push_back(Event::TookOver { slot: self.slot, waited, due });
    }

    fn enter_fault(&mut self, now: Instant, why: Why, retry: Option<Instant>, lanes: &mut Lanes) {
        self.release(lanes);
        self.enter(now, State::Fault { retry }, why, lanes);
    }

    /// Gives up being Active: priority 0 where it can be heard, addresses off.
    fn release(&mut self, lanes: &mut Lanes) {
        match &self.state {
            State::Initialize if self.resumes.take().is_none() => {}
            State::Fault { .. } | State::Backup(_) => {}
            State::Initialize | State::Active(_) => {
                if !matches!(self.link.get(), Some(Link::Down(_)) | None) {
                    self.transmit(Priority::RELEASE, lanes);
                }
                self.give_up(lanes);
            }
        }
    }

    fn enter(&mut self, now: Instant, state: State, why: Why, lanes: &mut Lanes) {
        let from = self.state.name();
        self.state = state;
        (self.claim, self.wish) = (None, None);
        self.since = now;
        self.why = why;
        let to = self.state.name();
        let priority = self.priority;
        lanes.events.push_back(Event::Transition { slot: self.slot, from, to, why, priority });
    }

    /// Sends an Active router's advert.
    fn speak(&mut self, now: Instant, lanes: &mut Lanes) {
        let peer = self.settings.late_peer.filter(|_| !self.preempts_any());
        let Settings { version, interval, down_adverts, .. } = self.settings;
        if let State::Active(active) = &mut self.state {
            active.sent = peer
                .map(|peer| (now, now + time::master_down(version, peer, interval, down_adverts)));
        }
        self.transmit(self.priority, lanes);
    }

    fn transmit(&mut self, priority: Priority, lanes: &mut Lanes) {
        self.stats.sent += 1;
        if priority == Priority::RELEASE {
            self.stats.zero_sent += 1;
        }
        let trial = self.claim.is_some();
        lanes.transmits.push_back(Transmit { slot: self.slot, priority, form: self.form, trial });
    }

    /// Says whether an Active router of this priority is to be replaced.
    fn preempts(&self, theirs: Priority) -> bool {
        self.preempts_any() && theirs < self.priority
    }

    /// Says whether Preempt_Mode is on. The owner always preempts (RFC 9568 §6.1).
    fn preempts_any(&self) -> bool {
        self.settings.preempt || self.priority.is_owner()
    }

    /// Master_Down_Interval behind an advert that names this interval.
    fn down_interval(&self, interval: Interval) -> Duration {
        let Settings { version, down_adverts, .. } = self.settings;
        time::master_down(version, self.priority, interval, down_adverts)
    }

    fn held_back(&self, now: Instant) -> bool {
        matches!(self.state, State::Initialize) && now < self.hold_until
    }
}

impl State {
    fn name(&self) -> StateName {
        match self {
            Self::Initialize => StateName::Initialize,
            Self::Fault { .. } => StateName::Fault,
            Self::Backup(_) => StateName::Backup,
            Self::Active(_) => StateName::Active,
        }
    }
}
