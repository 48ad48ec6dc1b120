//! Routers that own the addresses, and routers that woke too late.

use std::net::IpAddr;

use vrrp_common::{Instant, Priority};

use super::{Other, Router, State};
use crate::engine::Lanes;
use crate::input::Advert;
use crate::output::{Event, Why};

/// So many rivals are remembered at once, the longest silent forgotten first.
const MOST_RIVALS: usize = 4;
/// So many adverts that nobody sends who has heard our answer make another Active router: the first may
/// have been under way, or the answer lost.
const UNHEARD: u32 = 2;

/// Another router that speaks although it loses against us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    from: IpAddr,
    priority: Priority,
    since: Instant,
    heard: Instant,
    /// It is taken for silent from then on.
    until: Instant,
    /// How many adverts came that it does not send if it has heard our answer.
    unheard: u32,
}

impl Rival {
    /// What `status` has of it, where it goes on as if it heard nobody.
    pub(super) fn other(&self) -> Option<Other> {
        let Self { from, priority, since, heard, until, unheard } = *self;
        (unheard >= UNHEARD).then_some(Other { source: from, priority, since, heard, until })
    }
}

impl Router {
    /// Says whether the router owns the addresses and was told to hear nobody.
    pub(super) fn is_deaf(&self) -> bool {
        self.settings.deaf_as_owner && self.priority.is_owner()
    }

    /// Tells of a second owner (RFC 9568 §8.3.2), where the advert comes from one.
    pub(super) fn meet_owner(&self, advert: &Advert, lanes: &mut Lanes) {
        if self.priority.is_owner() && advert.priority.is_owner() {
            let (slot, from) = (self.slot, advert.source);
            lanes.events.push_back(Event::SecondOwner { slot, from });
        }
    }

    /// Notes an advert that loses, and tells where its sender goes on as if it did not hear us. Says
    /// whether it comes from a second owner that has heard us win for so long that it would have yielded if
    /// it obeyed erratum 8298. RFC 9568 as published, and RFC 3768, have it discard what it hears: somebody
    /// must yield, or the addresses stay at two places.
    ///
    /// How long is three intervals of the slower one of the two, and the skew.
    pub(super) fn meet_rival(&mut self, now: Instant, advert: &Advert, lanes: &mut Lanes) -> bool {
        self.meet_owner(advert, lanes);
        let slower = self.settings.interval.max(advert.interval);
        let patience = self.down_interval(slower);
        // Without an answer at once, our next advert is the answer.
        let answer = if self.settings.answer_lower { 0 } else { 1 };
        let heeded = self.settings.interval.get() * answer + slower.get();
        let both = self.priority.is_owner() && advert.priority == Priority::OWNER;
        let State::Active(active) = &mut self.state else {
            return false;
        };
        let from = advert.source;
        let known = active.rivals.iter().position(|rival| rival.from == from);
        let before = known.map(|at| active.rivals.swap_remove(at)).filter(|r| now < r.until);
        let since = before.map_or(now, |rival| rival.since);
        // Who speaks where nothing of ours leaves does what is right.
        let unheard = match before {
            Some(rival) if self.unsent.is_some() => rival.unheard,
            Some(rival) if now.since(since) >= heeded => rival.unheard.saturating_add(1),
            Some(_) | None => 0,
        };
        if active.rivals.len() == MOST_RIVALS {
            let oldest = (0..MOST_RIVALS).min_by_key(|at| active.rivals[*at].heard);
            oldest.map(|at| active.rivals.swap_remove(at));
        }
        let (priority, until) = (advert.priority, now + patience);
        active.rivals.push(Rival { from, priority, since, heard: now, until, unheard });
        if unheard >= UNHEARD && !both {
            lanes.events.push_back(Event::GoesOn { slot: self.slot, from, theirs: priority });
        }
        both && now.since(since) >= patience
    }

    /// Leaves Active where the router sent nothing for so long that a peer of `late_peer`'s priority has
    /// taken over, and says whether it did.
    pub(super) fn overslept(&mut self, now: Instant, lanes: &mut Lanes) -> bool {
        let State::Active(active) = &self.state else {
            return false;
        };
        let Some((sent, _)) = active.sent.filter(|(_, until)| *until <= now) else {
            return false;
        };
        self.give_up(lanes);
        let why = Why::Overslept { silence: now.since(sent) };
        self.become_backup(now, None, why, lanes);
        true
    }
}
