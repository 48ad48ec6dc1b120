//! How values read, wherever they are shown.

use std::time::Duration;

/// A time to the millisecond, or to a tenth of it where it is less than a second: `3.609 s`, `36.1 ms`.
pub(crate) fn span(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.3} s", time.as_secs_f64())
    } else {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    }
}

/// The first of a list, and how many more there are.
pub(crate) fn some_of(list: &[String]) -> String {
    some_apart(list, ", ")
}

/// The same of what has commas in it.
pub(crate) fn some_apart(list: &[String], by: &str) -> String {
    const SHOWN: usize = 8;
    match list.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", list[..SHOWN].join(by)),
        Some(0) | None => list.join(by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        assert_eq!(span(Duration::from_micros(36_093)), "36.1 ms");
        assert_eq!(span(Duration::from_millis(3609)), "3.609 s");
    }

    #[test]
    fn long_lists_are_cut() {
        let list = |n: u32| (1..=n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(some_of(&list(8)), "1, 2, 3, 4, 5, 6, 7, 8");
        assert_eq!(some_of(&list(10)), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
        assert_eq!(some_apart(&list(3), "; "), "1; 2; 3");
    }
}
