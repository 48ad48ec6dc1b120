//! When leases of addresses are renewed.

use std::time::{Duration, Instant};

/// Renewals within one lease: two may fail or come late.
const RENEWALS: u32 = 3;

/// Says whether a lease may run out where nothing is done for so long.
pub(crate) fn may_run_out(lease: Duration, pause: Duration) -> bool {
    pause >= lease - lease / RENEWALS
}

/// The next renewal. Nothing is due while nobody holds an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    every: Option<Duration>,
    at: Option<Instant>,
}

impl Lease {
    /// For addresses that last that long; `None`: until they are taken off.
    pub(super) fn new(lease: Option<Duration>) -> Self {
        Self { every: lease.map(|lease| lease / RENEWALS), at: None }
    }

    /// When leases are to be renewed, where there are any.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at
    }

    /// Notes that there are addresses.
    pub(super) fn begin(&mut self, now: Instant) {
        self.at = self.at.or(self.every.map(|every| now + every));
    }

    /// Notes a renewal of all, or that none are left.
    pub(super) fn renewed(&mut self, now: Instant, none_left: bool) {
        self.at = self.every.filter(|_| !none_left).map(|every| now + every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_renewals_in_one_lease_while_something_is_held() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut lease = Lease::new(Some(3 * second));
        assert_eq!(lease.next(), None);
        lease.begin(now);
        lease.begin(now + second / 2);
        assert_eq!(lease.next(), Some(now + second), "the first address counts");
        lease.renewed(now + second, false);
        assert_eq!(lease.next(), Some(now + 2 * second));
        lease.renewed(now + 2 * second, true);
        assert_eq!(lease.next(), None);
    }

    #[test]
    fn it_runs_out_behind_a_missed_renewal() {
        let second = Duration::from_secs(1);
        assert!(may_run_out(3 * second, 2 * second));
        assert!(!may_run_out(3 * second, second));
    }

    #[test]
    fn without_a_lease_nothing_is_due() {
        let now = Instant::now();
        let mut lease = Lease::new(None);
        lease.begin(now);
        assert_eq!(lease.next(), None);
        lease.renewed(now, false);
        assert_eq!(lease.next(), None);
    }
}
