//! When a worker that died is started again. Pure, by the clock it is given.

use std::collections::VecDeque;
use std::time::Duration;

use vrrp_common::Instant;

/// So many crashes within [`WINDOW`], or of workers that had just taken over, are taken as they come;
/// one more is a loop.
const TAKEN: usize = 3;
/// See [`TAKEN`]; a worker that has done its work for as long has got over it.
const WINDOW: Duration = Duration::from_secs(10);
/// The first wait in a loop, and the longest; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a worker that was started in a loop stays silent: if it dies of what it does, it dies
/// without having been Active.
pub(super) const SILENT: Duration = Duration::from_secs(10);

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
    /// So many workers, none at rest between them, took over and died of it. Each changed the owner of
    /// addresses, which one that goes on for another does not: they are counted at whatever distance.
    flaps: usize,
    wait: Option<Duration>,
}

impl Crashes {
    /// Takes in a crash at `now` of a worker that was started at `started`; a router of it last became
    /// Active when it `rose`, perhaps by the worker before.
    pub(super) fn crashed(&mut self, now: Instant, started: Instant, rose: Instant) -> Again {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.since(*first) >= WINDOW) {
            self.recent.pop_front();
        }
        let silent = self.wait.map_or(Duration::ZERO, |_| SILENT);
        // What it may have died of is the last thing that it began to do.
        let over = now.since(rose.max(started + silent)) >= WINDOW;
        if over {
            self.flaps = 0;
        } else if rose >= started {
            self.flaps += 1;
        }
        self.wait = match self.wait {
            Some(before) if !over => Some((before * 2).min(LONGEST)),
            _ if self.recent.len() > TAKEN || self.flaps > TAKEN => Some(FIRST),
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

    /// No router became Active.
    const NEVER: Instant = Instant::from_nanos(0);

    fn seconds(seconds: u64) -> Again {
        Again::After(Duration::from_secs(seconds))
    }

    /// A loop that has just begun, and when.
    fn in_a_loop() -> (Crashes, u64) {
        let mut crashes = Crashes::default();
        for number in 1..=3 {
            assert_eq!(crashes.crashed(at(number * 100), at(0), NEVER), Again::AtOnce);
        }
        assert_eq!(crashes.crashed(at(400), at(300), NEVER), seconds(1));
        (crashes, 400)
    }

    #[test]
    fn crashes_far_apart_are_each_the_first() {
        let mut crashes = Crashes::default();
        for hour in 1..50 {
            let now = at(hour * 3_600_000);
            assert_eq!(crashes.crashed(now, at(1), at(2)), Again::AtOnce);
        }
    }

    #[test]
    fn the_fourth_in_ten_seconds_is_a_loop_that_backs_off() {
        let (mut crashes, mut now) = in_a_loop();
        let mut wait = 1;
        for next in [2, 4, 8, 16, 30, 30] {
            let started = now + wait * 1000;
            now = started + 500;
            assert_eq!(crashes.crashed(at(now), at(started), NEVER), seconds(next));
            wait = next;
        }
    }

    /// Silent, then a listener, then Active: the loop is not over before it has been that for a while.
    #[test]
    fn one_that_dies_of_being_active_stays_in_the_loop() {
        let (mut crashes, mut now) = in_a_loop();
        let mut wait = 1;
        // The last one has a long interval.
        for (next, rises) in [(2, 13_200), (4, 13_200), (8, 10_000), (16, 70_000)] {
            let started = now + wait * 1000;
            let rose = started + rises;
            now = rose + 20;
            assert_eq!(crashes.crashed(at(now), at(started), at(rose)), seconds(next));
            wait = next;
        }
    }

    #[test]
    fn one_that_lives_on_ends_the_loop() {
        for (lived, rises, again) in [
            (19_999, None, seconds(2)),
            (20_000, None, Again::AtOnce),
            (23_199, Some(13_200), seconds(2)),
            (23_200, Some(13_200), Again::AtOnce),
        ] {
            let (mut crashes, now) = in_a_loop();
            let started = now + 1000;
            let rose = rises.map_or(NEVER, |rises| at(started + rises));
            assert_eq!(crashes.crashed(at(started + lived), at(started), rose), again, "{lived}");
        }
    }

    #[test]
    fn three_in_each_ten_seconds_are_no_loop_where_others_go_on() {
        let mut crashes = Crashes::default();
        for number in 1..30 {
            let now = number * 3400;
            assert_eq!(crashes.crashed(at(now), at(now - 3000), at(1)), Again::AtOnce);
        }
    }

    /// By an interval of 10 ms none goes on for another, and each takes the addresses back.
    #[test]
    fn those_that_take_over_and_die_are_a_loop_at_any_distance() {
        let mut crashes = Crashes::default();
        let mut again = |number: u64, lives: u64| {
            let started = number * 20_000;
            crashes.crashed(at(started + 100 + lives), at(started), at(started + 100))
        };
        for number in 1..10 {
            assert_eq!(again(number, 10_000), Again::AtOnce, "each did its work");
        }
        for number in 10..13 {
            assert_eq!(again(number, 9_900), Again::AtOnce);
        }
        assert_eq!(again(13, 9_900), seconds(1));
    }
}
