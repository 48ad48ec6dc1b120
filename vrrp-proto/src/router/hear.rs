//! What a router makes of an advert: RFC 9568 §6.4.2 and §6.4.3.

use std::sync::Arc;
use std::time::Duration;

use vrrp_common::check::Agreement;
use vrrp_common::{Instant, Interval, Priority, time};

use super::{Active, Answered, Backup, Following, Router, State, Takeover};
use crate::election::{self, Contest};
use crate::engine::Lanes;
use crate::input::Advert;
use crate::output::{Effect, Event, Waited, Why};
use crate::settings::Settings;

impl Router {
    /// RFC 9568 §6.4.2 and §6.4.3: an advert that passed every check.
    pub(crate) fn on_advert(&mut self, now: Instant, advert: &Advert, lanes: &mut Lanes) {
        if advert.priority == Priority::RELEASE {
            self.stats.zero_received += 1;
        }
        if self.is_deaf() {
            let (from, theirs) = (advert.source, advert.priority);
            lanes.events.push_back(Event::Ignored { slot: self.slot, from, theirs });
            return;
        }
        // One that slept while a peer took over hears that peer as a Backup.
        self.overslept(now, lanes);
        match &mut self.state {
            State::Initialize | State::Fault { .. } => {}
            State::Backup(backup) => {
                self.form = advert.form;
                if backup.redirects && advert.priority != Priority::RELEASE {
                    backup.redirects = false;
                    self.redirect(advert, lanes);
                }
                self.backup_hears(now, advert, lanes);
            }
            State::Active(_) => {
                self.form = advert.form;
                self.active_hears(now, advert, lanes);
            }
        }
    }

    fn backup_hears(&mut self, now: Instant, advert: &Advert, lanes: &mut Lanes) {
        let preempts = self.preempts(advert.priority);
        let wait = self.down_interval(advert.interval);
        let State::Backup(backup) = &mut self.state else {
            return;
        };
        let heard = Following::of(now, advert);
        if advert.priority == Priority::RELEASE {
            let interval = backup.interval(&self.settings);
            let skew = time::skew(self.settings.version, self.priority, interval);
            // Never later than before: a stray release must not keep the address unserved.
            backup.down_at = backup.down_at.min(now + skew);
            backup.released = Some((advert.source, interval));
            self.note_release();
            let event = Event::PriorityZero { slot: self.slot, from: advert.source };
            lanes.events.push_back(event);
            return;
        }
        if preempts {
            if self.settings.preempt_delay.is_zero() {
                backup.outranks(heard);
                return;
            }
            let until = *backup.preempt_at.get_or_insert_with(|| {
                lanes.events.push_back(Event::PreemptDelayed {
                    slot: self.slot,
                    from: advert.source,
                    theirs: advert.priority,
                    delay: self.settings.preempt_delay,
                });
                now + self.settings.preempt_delay
            });
            if now >= until {
                backup.outranks(heard);
                return;
            }
        } else {
            backup.preempt_at = None;
            backup.outranked = None;
        }
        if now + wait < backup.down_at && backup.is_contested(&heard) {
            return;
        }
        let same = backup
            .following
            .is_some_and(|f| f.source == heard.source && f.interval == heard.interval);
        if !same {
            lanes.events.push_back(Event::Following {
                slot: self.slot,
                from: advert.source,
                priority: advert.priority,
                interval: advert.interval,
                ours: self.settings.interval,
            });
        }
        backup.following = Some(heard);
        backup.released = None;
        backup.down_at = now + wait;
        self.hurry();
    }

    fn active_hears(&mut self, now: Instant, advert: &Advert, lanes: &mut Lanes) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        // An Active router has a source; without one an advert can't be compared and loses.
        let source = self.source.unwrap_or(advert.source);
        let (from, theirs, ours) = (advert.source, advert.priority, self.priority);
        match election::contest(ours, source, advert) {
            Contest::Released => {
                active.answer(|answered| &mut answered.release, now, self.settings.interval);
            }
            Contest::LostByPriority => {
                let why = Why::HigherPriority { from, theirs, ours };
                self.yield_to(now, advert, why, lanes);
            }
            Contest::LostByAddress => {
                self.meet_owner(advert, lanes);
                let why = Why::HigherAddress { from, priority: ours };
                self.yield_to(now, advert, why, lanes);
            }
            Contest::Won if self.meet_rival(now, advert, lanes) => {
                self.yield_to(now, advert, Why::SecondOwner { from }, lanes);
            }
            Contest::Won => {
                let State::Active(active) = &mut self.state else {
                    return;
                };
                // What is the same as ours in both is an echo, or comes from a router that would answer the
                // answer.
                if self.settings.answer_lower && (theirs, from) != (ours, source) {
                    active.answer(|answered| &mut answered.losing, now, self.settings.interval);
                }
                let repeat = active.announcements.lower_advert(now, &self.settings.announce);
                if !ours.is_owner() || !theirs.is_owner() {
                    let slot = self.slot;
                    lanes.events.push_back(Event::LowerAdvert { slot, from, theirs, ours });
                }
                self.announce(repeat, lanes);
            }
        }
    }

    fn yield_to(&mut self, now: Instant, advert: &Advert, why: Why, lanes: &mut Lanes) {
        if self.settings.advert_on_yield {
            self.transmit(self.priority, lanes);
        }
        self.give_up(lanes);
        self.redirect(advert, lanes);
        self.become_backup(now, Some(Following::of(now, advert)), why, lanes);
    }

    /// Says where the addresses are that were just here.
    fn redirect(&self, advert: &Advert, lanes: &mut Lanes) {
        // Nothing is known of where the winner has others. And where the lists differ, it may not have all.
        let addresses: Arc<[_]> = self.settings.on_link().cloned().collect();
        if advert.agreement == Agreement::Exact && !addresses.is_empty() {
            let (slot, from, mac) = (self.slot, advert.source, advert.mac);
            lanes.effects.push_back(Effect::Redirect { slot, addresses, from, mac });
        }
    }
}

impl Active {
    /// Makes the next advert due at once: of many stale adverts read after a freeze one answer comes,
    /// sent by the timer. And answers are no closer than anybody could need them, so that a flood is not
    /// reflected. Whoever else heard a release waits for no longer than its skew: an answer to something else
    /// that came before does not count for that.
    fn answer(
        &mut self,
        which: impl FnOnce(&mut Answered) -> &mut Option<Instant>,
        now: Instant,
        interval: Interval,
    ) {
        let answered = which(&mut self.answered);
        if answered.is_none_or(|last| now.since(last) >= interval.get() / 8) {
            *answered = Some(now);
            self.advert_at = self.advert_at.min(now);
        }
    }
}

impl Backup {
    /// One that begins to listen, for this long.
    pub(super) fn listening(now: Instant, wait: Duration, following: Option<Following>) -> Self {
        Self {
            listens: now,
            down_at: now + wait,
            following,
            outranked: None,
            released: None,
            preempt_at: None,
            redirects: false,
            forsaken: None,
        }
    }

    /// The interval that rules the timers: our own in VRRPv2, the Active router's in VRRPv3. Behind a
    /// release it is the one that was in use then, whatever a reload changed since.
    pub(super) fn interval(&self, settings: &Settings) -> Interval {
        let followed = || self.following.map_or(settings.interval, |following| following.interval);
        self.released.map_or_else(followed, |(_, interval)| interval)
    }

    /// Says whether the sender of an advert loses against another router that is followed, was heard
    /// within its interval and ends the sender just now.
    ///
    /// RFC 9568 §6.4.2 follows whoever spoke last. With another interval than the winner's, the loser's
    /// last advert, on its way when it yields or sent because it yields, would have its Backups wait for
    /// less than the winner's interval, become Active, yield to the winner's next advert, and do the
    /// same to each other, for ever.
    fn is_contested(&self, heard: &Following) -> bool {
        let rank = |router: &Following| (router.priority, router.source);
        self.released.is_none()
            && self.following.is_some_and(|followed| {
                heard.source != followed.source
                    && heard.heard.since(followed.heard) < followed.interval.get()
                    && rank(heard) < rank(&followed)
            })
    }

    /// Takes note of a router that is to be replaced. An advert that came no sooner than Master_Down_Timer
    /// ran out says nothing new of one that is known.
    fn outranks(&mut self, heard: Following) {
        let known = self.outranked.is_some_and(|known| known.source == heard.source);
        if !known || heard.heard < self.down_at {
            self.outranked = Some(heard);
        }
    }

    /// What follows now that Master_Down_Timer has run out.
    pub(super) fn takeover(&self, now: Instant, ours: Priority, settings: &Settings) -> Takeover {
        Takeover {
            why: self.why_active(now, ours, settings),
            waited: Waited::Silence { heard: self.last_heard() },
            due: self.down_at,
        }
    }

    /// When the last advert came before Master_Down_Timer ran out, from whomever.
    fn last_heard(&self) -> Option<Instant> {
        let all = [self.following, self.outranked];
        all.into_iter().flatten().map(|router| router.heard).filter(|at| *at < self.down_at).max()
    }

    /// Why Master_Down_Timer ran out.
    fn why_active(&self, now: Instant, ours: Priority, settings: &Settings) -> Why {
        if let Some((from, _)) = self.released {
            return Why::Released { from };
        }
        let last = self.following.map_or(self.listens, |following| following.heard);
        let from = self.following.map(|following| following.source);
        let patience = |lower: Following| lower.interval.get() * u32::from(settings.down_adverts);
        match self.outranked {
            // Still there a moment ago: it is replaced. Silent for as long as a Backup of its own would
            // wait: it is gone.
            Some(lower) if now.since(lower.heard) < patience(lower) => {
                Why::Preempting { from: lower.source, theirs: lower.priority, ours }
            }
            Some(lower) if lower.heard >= last => {
                Why::NoAdvert { from: Some(lower.source), silence: now.since(lower.heard) }
            }
            Some(_) | None => Why::NoAdvert { from, silence: now.since(last) },
        }
    }
}
