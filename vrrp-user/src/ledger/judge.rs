//! What a reader of the ledger may conclude from it: pure, by the clock it is given.

use std::time::Duration;

use vrrp_common::Instant;

use super::table::{Entry, State};

/// What was let go may still be on its interface for so long: the address work runs beside the protocol
/// thread, in milliseconds.
const SETTLE: Duration = Duration::from_secs(5);
/// Skew_Time at the most (RFC 3768 §6.1; RFC 9568 §6.1 has an interval).
const SKEW: Duration = Duration::from_secs(1);

/// How long the peers of an Active router wait for its next advert, as far as it is certain: three
/// intervals, or as many as are configured for all of them. Their Skew_Time is by their own priority, which nobody here knows, and can be nearly
/// nothing.
pub(crate) fn peers_wait(entry: &Entry) -> Instant {
    entry.sent + u32::from(entry.adverts) * entry.interval
}

/// Says whether a router may go on as Active at `then`: nobody has taken over yet.
pub(crate) fn goes_on(entry: &Entry, then: Instant) -> bool {
    entry.state == State::Active && then < peers_wait(entry)
}

/// Says whether priority 0 still tells somebody something: later the peers have helped themselves, and
/// it would only make them start anew.
pub(crate) fn is_missed(entry: &Entry, now: Instant) -> bool {
    entry.state == State::Active && now < peers_wait(entry) + entry.interval + SKEW
}

/// Says whether something let go at `left` may still be there, of a process that was last alive at
/// `alive`.
pub(crate) fn lingers(left: Instant, alive: Instant) -> bool {
    left + SETTLE > alive
}

/// Says whether addresses of a router may be on their interfaces.
pub(crate) fn may_hold(entry: &Entry, alive: Instant) -> bool {
    match entry.state {
        State::Active | State::Stays => true,
        // Released by somebody else than the router, completely.
        State::Empty | State::Released => false,
        State::Initialize | State::Backup | State::Fault => {
            entry.left != Instant::default() && lingers(entry.left, alive)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_common::wire::ChecksumForm;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * SECOND)
    }

    fn entry(state: State, interval_ms: u64) -> Entry {
        Entry {
            slot: 0,
            state,
            priority: 100,
            form: ChecksumForm::Message,
            interval: Duration::from_millis(interval_ms),
            adverts: 3,
            sent: at(100),
            left: Instant::default(),
            rose: Instant::default(),
        }
    }

    #[test]
    fn three_intervals_and_not_more() {
        let active = entry(State::Active, 1000);
        assert!(goes_on(&active, at(102)) && !goes_on(&active, at(103)));
        assert!(!goes_on(&entry(State::Backup, 1000), at(100)));
        assert!(!goes_on(&entry(State::Released, 1000), at(100)));
    }

    #[test]
    fn as_many_intervals_as_are_configured() {
        let hasty = Entry { adverts: 1, ..entry(State::Active, 1000) };
        assert!(goes_on(&hasty, at(100)) && !goes_on(&hasty, at(101)));
        assert!(is_missed(&hasty, at(102)) && !is_missed(&hasty, at(103)));
        let patient = Entry { adverts: 10, ..hasty };
        assert!(goes_on(&patient, at(109)) && !goes_on(&patient, at(110)));
    }

    #[test]
    fn priority_0_is_said_while_somebody_waits() {
        assert!(is_missed(&entry(State::Active, 1000), at(104)));
        assert!(!is_missed(&entry(State::Active, 1000), at(105)));
        assert!(!is_missed(&entry(State::Released, 1000), at(100)));
    }

    #[test]
    fn an_address_is_looked_for_where_it_may_be() {
        assert!(may_hold(&entry(State::Active, 10), at(10_000)));
        let stays = entry(State::Stays, 10);
        assert!(may_hold(&stays, at(10_000)) && !goes_on(&stays, at(100)));
        assert!(!is_missed(&stays, at(100)), "priority 0 was said");
        assert!(!may_hold(&entry(State::Backup, 10), at(3)), "it never was Active");
        let left = Entry { left: at(200), ..entry(State::Backup, 10) };
        assert!(may_hold(&left, at(204)) && !may_hold(&left, at(205)));
    }
}
