//! When a worker that died is started again. Pure, by the clock it is given.

use std::collections::VecDeque;
use std::time::Duration;

use vrrp_common::Instant;

/// So many crashes within [`WINDOW`] are taken as they come; one more is a loop.
const TAKEN: usize = 3;
/// See [`TAKEN`]; a worker that lives as long has got over it.
const WINDOW: Duration = Duration::from_secs(10);
/// The first wait in a loop, and the longest; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a worker that was started in a loop stays silent: if it dies of what it does, it dies
/// without having been Active.
pub(super) const SILENT: Duration = WINDOW;

/// What to do about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Start the next one and let it go on.
    AtOnce,
    /// A loop: release everything, and start the next one after this.
    After(Duration),
}

/// The crashes so far.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    recent: VecDeque<Instant>,
    wait: Option<Duration>,
}

impl Crashes {
    /// Takes in a crash at `now` of a worker that was started at `started`.
    pub(super) fn crashed(&mut self, now: Instant, started: Instant) -> Again {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.since(*first) >= WINDOW) {
            self.recent.pop_front();
        }
        let lived = now.since(started);
        self.wait = match self.wait {
            Some(before) if lived < WINDOW => Some((before * 2).min(LONGEST)),
            _ if self.recent.len() > TAKEN => Some(FIRST),
            _ => None,
        };
        self.wait.map_or(Again::AtOnce, Again::After)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn crashes_far_apart_are_each_the_first() {
        let mut crashes = Crashes::default();
        for hour in 1..50 {
            let now = at(hour * 3_600_000);
            assert_eq!(crashes.crashed(now, at(1)), Again::AtOnce);
        }
    }

    #[test]
    fn the_fourth_in_ten_seconds_is_a_loop_that_backs_off() {
        let mut crashes = Crashes::default();
        let mut now = 1000;
        let mut next = |lived: u64, wait: u64| {
            let started = now + wait;
            now = started + lived;
            crashes.crashed(at(now), at(started))
        };
        for _ in 0..3 {
            assert_eq!(next(500, 0), Again::AtOnce);
        }
        let mut wait = 0;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(next(500, wait), Again::After(Duration::from_secs(seconds)));
            wait = seconds * 1000;
        }
        // One that lived ends the loop, and the next crash is a first one again.
        assert_eq!(next(10_000, wait), Again::AtOnce);
    }

    #[test]
    fn three_in_each_ten_seconds_are_no_loop() {
        let mut crashes = Crashes::default();
        for number in 1..30 {
            let now = number * 3400;
            assert_eq!(crashes.crashed(at(now), at(now - 3000)), Again::AtOnce);
        }
    }
}
