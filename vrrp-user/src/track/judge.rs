//! From single results to a verdict: `rise` and `fall`.

use vrrp_proto::input::Health;

/// Counts results as keepalived does.
///
/// The count runs from 0 to `rise + fall - 1`; from `rise` on the verdict is good. A check
/// starts one success short of good, so its first result decides whatever `rise` and `fall` are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    rise: u64,
    fall: u64,
    count: u64,
    health: Health,
}

impl Judge {
    /// Makes a judge that has heard nothing; with `init_fail` it says [`Health::Bad`] until
    /// `rise` successes. `rise` and `fall` below 1 count as 1.
    pub fn new(rise: u32, fall: u32, init_fail: bool) -> Self {
        let (rise, fall) = (u64::from(rise.max(1)), u64::from(fall.max(1)));
        if init_fail {
            Self { rise, fall, count: 0, health: Health::Bad }
        } else {
            Self { rise, fall, count: rise - 1, health: Health::Unknown }
        }
    }

    /// As [`Judge::new`] for a check that replaces one whose verdict was `before`: that one
    /// stands until the first result, so that a reload alone moves no priority.
    pub fn replacing(before: Health, rise: u32, fall: u32, init_fail: bool) -> Self {
        match before {
            Health::Unknown => Self::new(rise, fall, init_fail),
            Health::Good => Self { health: before, ..Self::new(rise, fall, false) },
            Health::Bad => Self { health: before, ..Self::new(rise, fall, init_fail) },
        }
    }

    /// Takes one result; returns the new verdict where it changed.
    pub fn record(&mut self, success: bool) -> Option<Health> {
        let before = self.health;
        if success {
            if self.count < self.rise - 1 {
                self.count += 1;
            } else {
                self.count = self.rise + self.fall - 1;
                self.health = Health::Good;
            }
        } else if self.count > self.rise {
            self.count -= 1;
        } else {
            self.count = 0;
            self.health = Health::Bad;
        }
        (self.health != before).then_some(self.health)
    }

    /// The verdict.
    pub fn health(&self) -> Health {
        self.health
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Plays `results` (`+` success, `-` failure) and writes the verdict after each.
    fn play(mut judge: Judge, results: &str) -> String {
        results
            .chars()
            .map(|result| {
                judge.record(result == '+');
                match judge.health() {
                    Health::Unknown => '?',
                    Health::Good => 'G',
                    Health::Bad => 'B',
                }
            })
            .collect()
    }

    #[rstest]
    #[case::first_success_decides(3, 3, "+", "G")]
    #[case::first_failure_decides(3, 3, "-", "B")]
    #[case::third_failure_turns(2, 3, "+---", "GGGB")]
    #[case::a_success_forgives(2, 3, "+--+--+---", "GGGGGGGGGB")]
    #[case::two_successes_turn_back(2, 3, "-++", "BBG")]
    #[case::a_failure_starts_the_rise_anew(3, 1, "-++-+++", "BBBBBBG")]
    #[case::ones_follow_every_result(1, 1, "+-+-", "GBGB")]
    #[case::zero_counts_as_one(0, 0, "+-+-", "GBGB")]
    #[case::fall_after_rise(2, 2, "-++--", "BBGGB")]
    fn counts(#[case] rise: u32, #[case] fall: u32, #[case] results: &str, #[case] want: &str) {
        assert_eq!(play(Judge::new(rise, fall, false), results), want);
    }

    #[rstest]
    #[case::once(1, 1, "+", "G")]
    #[case::thrice(3, 2, "+++--", "BBGGB")]
    #[case::in_a_row(3, 2, "++-+++", "BBBBBG")]
    fn init_fail_wants_the_whole_rise(
        #[case] rise: u32,
        #[case] fall: u32,
        #[case] results: &str,
        #[case] want: &str,
    ) {
        assert_eq!(play(Judge::new(rise, fall, true), results), want);
    }

    #[rstest]
    #[case::good_stands_until_a_result(Health::Good, false, "-+++", "BBBG")]
    #[case::good_in_spite_of_init_fail(Health::Good, true, "+", "G")]
    #[case::bad_until_one_success(Health::Bad, false, "+", "G")]
    #[case::bad_with_init_fail(Health::Bad, true, "+++", "BBG")]
    #[case::unknown_is_a_start(Health::Unknown, false, "+", "G")]
    fn replaces(
        #[case] before: Health,
        #[case] init_fail: bool,
        #[case] results: &str,
        #[case] want: &str,
    ) {
        let judge = Judge::replacing(before, 3, 2, init_fail);
        if before != Health::Unknown {
            assert_eq!(judge.health(), before);
        }
        assert_eq!(play(judge, results), want);
    }

    #[test]
    fn nothing_heard_is_unknown_and_init_fail_is_bad() {
        assert_eq!(Judge::new(2, 2, false).health(), Health::Unknown);
        assert_eq!(Judge::new(2, 2, true).health(), Health::Bad);
    }

    #[test]
    fn only_changes_are_returned() {
        let mut judge = Judge::new(1, 2, false);
        let said: Vec<_> =
            [true, true, false, false, false].iter().map(|&ok| judge.record(ok)).collect();
        assert_eq!(said, [Some(Health::Good), None, None, Some(Health::Bad), None]);
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        let mut judge = Judge::new(u32::MAX, u32::MAX, false);
        assert_eq!(judge.record(true), Some(Health::Good));
        assert_eq!(judge.record(false), None);
    }
}
