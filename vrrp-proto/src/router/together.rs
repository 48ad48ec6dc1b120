//! A router that changes its state together with others: a member of a sync group.

use std::time::Duration;

use vrrp_common::{Instant, time};

use super::{Router, State, Takeover};
use crate::engine::Lanes;
use crate::input::{GroupId, Slot};
use crate::output::{Waited, Why};

/// An advert is missed once it is late by this part of its interval, and of the skew.
const LATE: u32 = 16;
/// However late that is: a takeover comes before an interval is over since the release, by this part of what
/// the interval is longer than the skew.
const LAST: u32 = 32;

/// All that a group knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does not know its link yet.
    Unknown,
    /// It is held back, or something that may be a fault has said nothing yet.
    Waiting,
    /// Something of its own keeps it from taking part.
    Faulty,
    /// Its time has not come.
    Listening,
    /// Its time has come, but it was mute: an advert has to leave first.
    Unproven,
    /// Its time has come.
    Willing,
    /// It is Active.
    Active,
}

impl Standing {
    /// How many there are.
    pub(crate) const COUNT: usize = 7;
}

/// What a group has its members do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Every member knows its link.
    pub(crate) whole: bool,
    /// The member whose fault is everybody's.
    pub(crate) faulty: Option<Slot>,
    /// The group is Active.
    pub(crate) active: bool,
}

/// A router's place in its group.
#[derive(Debug)]
pub(super) struct Together {
    group: GroupId,
    terms: Terms,
    /// What the group was told.
    told: Standing,
    /// It came to a group that is Active: until then, a fault of it is no fault of the group.
    joins: Option<Instant>,
    /// It heard its Active router release, and its group was not told.
    released: bool,
}

impl Router {
    /// Its group.
    pub(crate) fn group(&self) -> Option<GroupId> {
        self.together.as_ref().map(|together| together.group)
    }

    /// Makes it a member of a group, and returns what the group is to know of it. In an Active one it
    /// disturbs the others for no longer than it would have to listen.
    pub(crate) fn enroll(&mut self, now: Instant, group: GroupId, active: bool) -> Standing {
        let joins = active.then(|| now + self.patience());
        let terms = Terms { active, ..Terms::default() };
        self.together =
            Some(Together { group, terms, told: Standing::Unknown, joins, released: false });
        self.reconsider(now);
        let told = self.standing(now);
        if let Some(together) = &mut self.together {
            together.told = told;
        }
        told
    }

    /// Has no group any more, and is to [`Router::secede`] or [`Router::enroll`].
    pub(crate) fn dismiss(&mut self) {
        self.together = None;
    }

    /// Goes on by itself, without a group.
    pub(crate) fn secede(&mut self, now: Instant, lanes: &mut Lanes) {
        if self.together.is_some() {
            // It has another one by now.
            return;
        }
        if let Some(wish) = self.wish.take() {
            self.become_active(now, wish, lanes);
        }
        self.review(now, lanes);
    }

    /// Takes what its group has it do.
    pub(crate) fn obey(&mut self, now: Instant, terms: Terms, lanes: &mut Lanes) {
        let Some(together) = &mut self.together else { return };
        together.terms = terms;
        if !terms.active {
            together.joins = None;
        }
        self.review(now, lanes);
    }

    /// What its group is to be told, where that is news.
    pub(crate) fn news(&mut self, now: Instant) -> Option<(GroupId, Standing)> {
        self.together.as_ref()?;
        self.reconsider(now);
        let standing = self.standing(now);
        let together = self.together.as_mut()?;
        let before = std::mem::replace(&mut together.told, standing);
        (before != standing).then_some((together.group, standing))
    }

    /// Becomes Active, or waits until all of its group are to.
    pub(super) fn rise(&mut self, now: Instant, takeover: Takeover, lanes: &mut Lanes) {
        if self.together.is_none() {
            self.become_active(now, takeover, lanes);
            return;
        }
        match &mut self.state {
            State::Initialize | State::Active(_) => {}
            State::Fault { retry } => *retry = None,
            State::Backup(backup) => backup.down_at = backup.down_at.min(now),
        }
        self.wish = Some(takeover);
        if self.claim.is_some() {
            // Nobody said what became of the advert.
            self.claim(now, takeover, lanes);
        }
    }

    /// When its time had come.
    pub(crate) fn wished(&self) -> Option<Instant> {
        self.wish.map(|wish| wish.due)
    }

    /// Becomes Active with its group, whose time had come at `due`.
    pub(crate) fn grant(&mut self, now: Instant, due: Instant, lanes: &mut Lanes) {
        let Some(wish) = self.wish.take() else { return };
        // Others may have had it wait: what it heard meanwhile counts.
        let takeover = match (&self.state, wish.waited) {
            (State::Backup(backup), Waited::Silence { .. }) => {
                Takeover { due, ..backup.takeover(now, self.priority, &self.settings) }
            }
            (_, Waited::Silence { .. }) => Takeover { due, ..wish },
            (_, Waited::Owner | Waited::Resumed) => Takeover { due: now, ..wish },
        };
        self.become_active(now, takeover, lanes);
    }

    /// Has an advert show whether it can speak, before its group becomes Active.
    pub(crate) fn prove(&mut self, now: Instant, lanes: &mut Lanes) {
        self.wait_as_backup(now, lanes);
        if let Some(wish) = self.wish.filter(|_| self.claim.is_none()) {
            self.claim(now, wish, lanes);
        }
    }

    /// One that needs not listen has to wait for others: as Backup, like these.
    pub(crate) fn wait_as_backup(&mut self, now: Instant, lanes: &mut Lanes) {
        let why = match &self.state {
            State::Initialize => Why::Startup,
            State::Fault { .. } if self.mute => Why::Trying,
            State::Fault { .. } => Why::Recovered,
            State::Backup(_) | State::Active(_) => return,
        };
        if let Some(wish) = self.wish {
            self.become_backup(now, None, why, lanes);
            self.wish = Some(wish);
        }
    }

    /// Listens for longer.
    pub(crate) fn hold_off(&mut self, now: Instant, until: Instant, lanes: &mut Lanes) {
        self.wait_as_backup(now, lanes);
        if let State::Backup(backup) = &mut self.state {
            backup.down_at = backup.down_at.max(until);
            self.wish = None;
        }
    }

    /// Gives up being Active with another member, although nobody took over from this one.
    pub(crate) fn step_down(&mut self, now: Instant, with: Slot, lanes: &mut Lanes) {
        match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => {}
            State::Active(_) => {
                self.release(lanes);
                self.become_backup(now, None, Why::Member(with), lanes);
                if let State::Backup(backup) = &mut self.state {
                    backup.redirects = true;
                }
            }
        }
    }

    /// How long it listens where it hears nobody.
    pub(crate) fn patience(&self) -> Duration {
        self.down_interval(self.settings.interval)
    }

    /// Its Active router releases.
    pub(super) fn note_release(&mut self) {
        if let Some(together) = &mut self.together {
            together.released = true;
        }
    }

    /// Whether its Active router has released since this was asked last.
    pub(crate) fn was_released(&mut self) -> bool {
        self.together.as_mut().is_some_and(|together| std::mem::take(&mut together.released))
    }

    /// Another member heard its Active router release at `at`.
    pub(crate) fn be_forsaken(&mut self, at: Instant) {
        if let State::Backup(backup) = &mut self.state
            && backup.following.is_some()
            && backup.released.is_none()
        {
            backup.forsaken = Some(at);
            self.hurry();
        }
    }

    /// Waits for less where another member's Active router released: it is likely to be on the same host,
    /// in a group of its own, and cut off here. It is gone from this link too if its next advert is missed.
    ///
    /// Never for an interval or more since the release, and for less with a higher priority, so that of
    /// several Backups one takes over.
    pub(super) fn hurry(&mut self) {
        let State::Backup(backup) = &mut self.state else { return };
        let (Some(at), Some(following)) = (backup.forsaken, backup.following) else { return };
        if following.heard > at {
            // It is there: the other one has left alone.
            backup.forsaken = None;
            return;
        }
        let interval = backup.interval(&self.settings);
        let skew = time::skew(self.settings.version, self.priority, interval);
        let missed = following.heard + interval.get() + (interval.get() + skew) / LATE;
        let last = at + (interval.get() - interval.get().saturating_sub(skew) / LAST);
        let down = time::master_down(
            self.settings.version,
            self.priority,
            interval,
            self.settings.down_adverts,
        );
        let soon = (at + skew).max(missed.min(last)).max(backup.listens + down);
        backup.down_at = backup.down_at.min(soon);
    }

    /// A number that other hosts are not likely to have: of the address that adverts leave with.
    pub(crate) fn mark(&self) -> u64 {
        let octets = match self.source {
            Some(std::net::IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
            Some(std::net::IpAddr::V6(v6)) => v6.octets(),
            None => [0; 16],
        };
        let [high, low] = [0, 8].map(|at| {
            octets[at..at + 8].iter().fold(0, |all, octet| (all << 8) | u64::from(*octet))
        });
        high.rotate_left(32) ^ low
    }

    /// Whether it may leave Initialize or Fault. Where the group's fault is its own and has just ended, others
    /// may have one: the group has to say.
    pub(super) fn may_start(&self) -> bool {
        let Some(Together { terms, .. }) = &self.together else { return true };
        terms.whole && terms.faulty.is_none()
    }

    /// The member whose fault is everybody's, where that is another one.
    pub(super) fn faulty_member(&self) -> Option<Slot> {
        self.together.as_ref()?.terms.faulty.filter(|slot| *slot != self.slot)
    }

    /// Until when it may have a fault of its own beside an Active group.
    pub(super) fn joins_until(&self) -> Option<Instant> {
        self.together.as_ref()?.joins
    }

    pub(super) fn end_joining(&mut self, now: Instant) {
        if let Some(together) = &mut self.together {
            together.joins.take_if(|at| *at <= now);
        }
    }

    /// Drops what no longer holds: the wish of one that hears an advert which it must respect, or owns the
    /// addresses no more.
    fn reconsider(&mut self, now: Instant) {
        match &self.state {
            State::Initialize | State::Fault { .. } => {}
            State::Active(_) => {
                if let Some(together) = &mut self.together {
                    together.joins = None;
                }
            }
            State::Backup(backup) => {
                let stands = |wish: &Takeover| match wish.waited {
                    Waited::Silence { .. } => backup.down_at <= now,
                    Waited::Owner => self.priority.is_owner(),
                    Waited::Resumed => false,
                };
                // While an advert is tried, its timer is for that.
                if self.claim.is_none() && !self.wish.as_ref().is_some_and(stands) {
                    self.wish = None;
                }
            }
        }
    }

    fn standing(&self, now: Instant) -> Standing {
        let risen = match self.wish {
            None => Standing::Listening,
            Some(_) if self.mute => Standing::Unproven,
            Some(_) => Standing::Willing,
        };
        match &self.state {
            State::Active(_) => Standing::Active,
            State::Backup(_) => risen,
            State::Initialize => {
                let undecided = self.resumes.is_none() && self.undecided().is_some();
                match self.link.get() {
                    None => Standing::Unknown,
                    Some(_) if self.held_back(now) || undecided => Standing::Waiting,
                    Some(_) => risen,
                }
            }
            State::Fault { retry } => {
                let own = retry.is_some() || self.own_fault().is_some();
                match own || self.undecided().is_some() {
                    // It is alone with it for now.
                    true if self.joins_until().is_some() => Standing::Listening,
                    true => Standing::Faulty,
                    false => risen,
                }
            }
        }
    }
}
