//! The deadlines of an Active router's announcements.

use std::time::Duration;

use vrrp_common::Instant;

use crate::settings::Announce;

/// Two bursts for lower-priority adverts are at least this far apart: a peer that can't hear us sends
/// one losing advert per interval, and at 10 ms each would announce every address again.
const LOWER_SPACING: Duration = Duration::from_millis(250);

/// When an Active router announces its addresses next, and how often each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcements {
    /// The second burst after taking over.
    second: Option<Instant>,
    /// The second burst after a lower-priority advert.
    lower: Option<Instant>,
    /// The periodic refresh.
    refresh: Option<Instant>,
    /// When the last burst for a lower-priority advert went out.
    last_lower: Option<Instant>,
}

impl Announcements {
    /// The deadlines of a router that became Active at `now`.
    pub(crate) fn started(now: Instant, announce: &Announce) -> Self {
        Self {
            second: after(now, announce.delay),
            refresh: after(now, announce.refresh),
            ..Self::default()
        }
    }

    /// Notes a lower-priority advert; returns how often to announce now, 0 for not at all.
    pub(crate) fn lower_advert(&mut self, now: Instant, announce: &Announce) -> u32 {
        let recent = self.last_lower.is_some_and(|last| now.since(last) < LOWER_SPACING);
        if announce.lower_repeat == 0 || recent {
            return 0;
        }
        self.last_lower = Some(now);
        self.lower = after(now, announce.lower_delay);
        announce.lower_repeat
    }

    /// Takes new settings over from now on.
    pub(crate) fn changed(&mut self, now: Instant, announce: &Announce) {
        self.refresh = after(now, announce.refresh);
    }

    /// How often to announce now that it is `now`; 0 for not yet.
    pub(crate) fn expire(&mut self, now: Instant, announce: &Announce) -> u32 {
        let mut repeat = 0;
        if due(&mut self.second, now) {
            repeat = repeat.max(announce.repeat);
        }
        if due(&mut self.lower, now) {
            repeat = repeat.max(announce.lower_repeat);
        }
        if due(&mut self.refresh, now) {
            self.refresh = after(now, announce.refresh);
            repeat = repeat.max(announce.refresh_repeat);
        }
        repeat
    }

    /// The next of the deadlines.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.second, self.lower, self.refresh].into_iter().flatten().min()
    }
}

/// A deadline, or none where the time is zero, keepalived's word for "never".
fn after(now: Instant, time: Duration) -> Option<Instant> {
    (!time.is_zero()).then(|| now + time)
}

/// Clears a deadline that is due, and says whether it was.
fn due(deadline: &mut Option<Instant>, now: Instant) -> bool {
    deadline.take_if(|at| *at <= now).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn keepalived_defaults_announce_twice() {
        let announce = Announce::default();
        let mut timers = Announcements::started(at(0), &announce);
        assert_eq!(timers.next(), Some(at(5000)));
        assert_eq!(timers.expire(at(4999), &announce), 0);
        assert_eq!(timers.expire(at(5000), &announce), 5);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn refresh_goes_on_and_bursts_of_one_instant_are_one() {
        let announce =
            Announce { refresh: Duration::from_secs(5), refresh_repeat: 2, ..Announce::default() };
        let mut timers = Announcements::started(at(0), &announce);
        assert_eq!(timers.expire(at(5000), &announce), 5);
        assert_eq!(timers.expire(at(10_000), &announce), 2);
        assert_eq!(timers.next(), Some(at(15_000)));
    }

    #[test]
    fn lower_adverts_are_answered_at_a_bounded_rate() {
        let announce = Announce { lower_delay: Duration::from_secs(1), ..Announce::default() };
        let mut timers = Announcements::default();
        assert_eq!(timers.lower_advert(at(0), &announce), 5);
        assert_eq!(timers.lower_advert(at(10), &announce), 0);
        assert_eq!(timers.lower_advert(at(250), &announce), 5);
        assert_eq!(timers.expire(at(1250), &announce), 5);
        let silent = Announce { lower_repeat: 0, ..announce };
        assert_eq!(timers.lower_advert(at(9000), &silent), 0);
    }
}
