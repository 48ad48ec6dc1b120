//! Until when addresses are preferred that are so for a limited time (`preferred_lft`, RFC 4862 §5.5.4).
//!
//! The kernel counts that down, but for an address with a lease it can't keep what goes beyond the lease,
//! and each renewal has to say anew how much is left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// An address on an interface: its index, the address and its prefix length.
pub(super) type Place = (u32, IpAddr, u8);

/// What the kernel says of an address, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetimes {
    /// How long it will be there.
    pub(super) valid: u32,
    /// How long it is for new connections.
    pub(super) preferred: u32,
}

/// When addresses cease to be preferred.
#[derive(Debug, Default)]
pub(super) struct Preferred(BTreeMap<Place, Instant>);

impl Preferred {
    /// An address was put on that is preferred for that many seconds.
    pub(super) fn begin(&mut self, place: Place, whole: u32, now: Instant) {
        self.0.insert(place, now + Duration::from_secs(whole.into()));
    }

    /// It was taken off.
    pub(super) fn forget(&mut self, place: &Place) {
        self.0.remove(place);
    }

    /// An address that is preferred for that many seconds was there before: what the kernel says of it
    /// is what is left, unless its lease ends as early.
    pub(super) fn learn(
        &mut self,
        place: Place,
        whole: u32,
        there: Option<Lifetimes>,
        now: Instant,
    ) {
        let left = there.filter(|there| there.preferred < there.valid).map(|there| there.preferred);
        self.begin(place, left.map_or(whole, |left| left.min(whole)), now);
    }

    /// The seconds that are left of that; `None`: not known.
    pub(super) fn left(&self, place: &Place, now: Instant) -> Option<u32> {
        let left = self.0.get(place)?.saturating_duration_since(now);
        let up = u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(left.as_secs() + up).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_out_once() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let place = (1, IpAddr::from([192, 0, 2, 250]), 24);
        let mut preferred = Preferred::default();
        assert_eq!(preferred.left(&place, now), None);
        preferred.begin(place, 30, now);
        let lefts = [0, 10, 29, 30, 50].map(|seconds| preferred.left(&place, at(seconds)));
        assert_eq!(lefts, [30, 20, 1, 0, 0].map(Some));
        assert_eq!(preferred.left(&place, at(29) + Duration::from_millis(1)), Some(1));
        preferred.forget(&place);
        assert_eq!(preferred.left(&place, now), None);
    }

    #[test]
    fn of_an_earlier_life_as_much_is_left_as_can_be_known() {
        let now = Instant::now();
        let place = (1, IpAddr::from([192, 0, 2, 250]), 24);
        let learn = |valid, preferred| {
            let mut all = Preferred::default();
            all.learn(place, 30, Some(Lifetimes { valid, preferred }), now);
            all.left(&place, now)
        };
        assert_eq!(learn(60, 12), Some(12));
        assert_eq!(learn(60, 0), Some(0));
        assert_eq!(learn(10, 10), Some(30), "the lease cut it short");
        assert_eq!(learn(u32::MAX, 40), Some(30), "another configuration's");
        let mut all = Preferred::default();
        all.learn(place, 30, None, now);
        assert_eq!(all.left(&place, now), Some(30));
    }
}
