//! Routers that own the addresses, and routers that woke too late.

use std::net::IpAddr;

use vrrp_common::{Instant, Priority};

use super::{Router, State};
use crate::engine::Lanes;
use crate::input::Advert;
use crate::output::{Event, Why};

/// Another router that owns the addresses and goes on although it loses against us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    from: IpAddr,
    since: Instant,
    heard: Instant,
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

    /// Notes an advert that loses; says whether it comes from a second owner that has heard us win for so
    /// long that it would have yielded if it obeyed erratum 8298. RFC 9568 as published, and RFC 3768,
    /// have it discard what it hears: somebody must yield, or the addresses stay at two places.
    ///
    /// How long is three intervals of the slower one of the two, and the skew.
    pub(super) fn meet_rival(&mut self, now: Instant, advert: &Advert, lanes: &mut Lanes) -> bool {
        self.meet_owner(advert, lanes);
        let patience = self.down_interval(self.settings.interval.max(advert.interval));
        let both = self.priority.is_owner() && advert.priority == Priority::OWNER;
        let State::Active(active) = &mut self.state else {
            return false;
        };
        if !both {
            return false;
        }
        let from = advert.source;
        let known = active.rival.filter(|r| r.from == from && now.since(r.heard) < patience);
        let since = known.map_or(now, |rival| rival.since);
        active.rival = Some(Rival { from, since, heard: now });
        now.since(since) >= patience
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
        self.remove_addresses(lanes);
        let why = Why::Overslept { silence: now.since(sent) };
        self.become_backup(now, None, why, lanes);
        true
    }
}
