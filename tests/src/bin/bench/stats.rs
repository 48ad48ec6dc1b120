//! Many values in three numbers, never in one.

/// The time of what was waited for and did not come: later than any limit.
pub(crate) const NEVER: f64 = f64::INFINITY;

/// What there is to say of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many values there were.
    pub(crate) count: usize,
}

impl Summary {
    /// Of all values that are numbers; nothing if there is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[half - 1], sorted[half]),
            _ => sorted[half],
        };
        Some(Self { median, min, max, count: sorted.len() })
    }
}

/// The longest step in a row of times in milliseconds; nothing with fewer than two.
pub(crate) fn longest_step(times: &[f64]) -> Option<f64> {
    steps(times).max_by(f64::total_cmp)
}

/// The steps in a row of times.
pub(crate) fn steps(times: &[f64]) -> impl Iterator<Item = f64> {
    times.windows(2).map(|pair| pair[1] - pair[0])
}

/// The least value that this part of all values is no greater than; [`NEVER`] where there is none.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(NEVER)
}

/// A number with as many digits as say something.
pub(crate) fn short(value: f64) -> String {
    if value == NEVER {
        return "never".to_owned();
    }
    let digits = match value.abs() {
        0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    // 20.0 nodes and 0.00 lost are counts.
    let trimmed =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let odd = Summary::of(&[5.0, 1.0, 3.0]).unwrap();
        assert_eq!(odd, Summary { median: 3.0, min: 1.0, max: 5.0, count: 3 });
        let even = Summary::of(&[4.0, -1.0, 2.0, 3.0]).unwrap();
        assert_eq!(even, Summary { median: 2.5, min: -1.0, max: 4.0, count: 4 });
    }

    #[test]
    fn a_quantile_has_its_part_of_all_values_below_it() {
        let values: Vec<f64> = (1..=2000).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.999, 1.0].map(|part| quantile(&values, part)), [1000.0, 1998.0, 2000.0]);
        assert_eq!(quantile(&[7.0], 0.999), 7.0);
        assert_eq!(quantile(&[], 0.999), NEVER);
    }

    #[test]
    fn nothing_and_no_number_are_no_value() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[f64::NAN]), None);
        assert_eq!(Summary::of(&[f64::NAN, 2.0]).unwrap().count, 1);
    }

    #[test]
    fn what_never_came_is_later_than_all_that_did() {
        let summary = Summary::of(&[NEVER, 2.0, 1.0]).unwrap();
        assert_eq!(summary, Summary { median: 2.0, min: 1.0, max: NEVER, count: 3 });
        assert_eq!(Summary::of(&[NEVER, 1.0]).unwrap().median, NEVER);
        assert_eq!(Summary::of(&[NEVER]).unwrap().min, NEVER);
    }

    #[test]
    fn the_longest_step_is_between_neighbours() {
        assert_eq!(longest_step(&[0.0, 10.0, 35.0, 40.0]), Some(25.0));
        assert_eq!(longest_step(&[7.0]), None);
    }

    #[test]
    fn numbers_are_as_long_as_they_say_something() {
        let told = |value| short(value);
        assert_eq!(told(0.0), "0");
        assert_eq!(told(-0.0001), "0");
        assert_eq!(told(0.0312), "0.031");
        assert_eq!(told(1.5), "1.5");
        assert_eq!(told(23.456), "23.5");
        assert_eq!(told(19_987.4), "19987");
        assert_eq!(told(100.0), "100");
        assert_eq!(told(NEVER), "never");
    }
}
