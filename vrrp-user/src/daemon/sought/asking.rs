//! When the host's routes are asked for again: nobody tells of them.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The first time behind the loss of a link. A routing daemon that has seen it, too, is about as fast.
const SOON: Duration = Duration::from_millis(5);
/// From then on they are asked for as often as where no link is lost.
const LONG: Duration = Duration::from_secs(2);

/// Asks often while routes are about to lead elsewhere, and ever less often: a fault is held back for times
/// between 10 ms and minutes, and of each little is to be lost.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The instances without a link, by name.
    cut_off: BTreeSet<String>,
    /// The loss that was seen last.
    lost: Option<Lost>,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    since: Instant,
    next: Instant,
}

impl Asking {
    /// Notes which instances' routes lead by an interface without its link. With each new one it begins anew:
    /// another one may be so for good.
    pub(super) fn note(&mut self, cut_off: BTreeSet<String>) {
        if cut_off.is_empty() {
            self.lost = None;
        } else if !cut_off.is_subset(&self.cut_off) {
            let since = Instant::now();
            self.lost = Some(Lost { since, next: since + SOON });
        }
        self.cut_off = cut_off;
    }

    /// Waits until they are to be asked for.
    pub(super) async fn due(&mut self) {
        let Some(next) = self.next() else { return pending().await };
        sleep_until(next).await;
        self.asked(Instant::now());
    }

    fn next(&self) -> Option<Instant> {
        self.lost.filter(|lost| lost.next - lost.since < LONG).map(|lost| lost.next)
    }

    /// They are asked for `now`. Who stood still until long behind the time for it asks once for all that he
    /// missed.
    fn asked(&mut self, now: Instant) {
        if let Some(Lost { since, next }) = &mut self.lost {
            let at = now.max(*next);
            *next = at + (at - *since) / 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Asks until it is done with a loss, and says when, in milliseconds behind it.
    fn asks(asking: &mut Asking, lost: &[&str]) -> Vec<u128> {
        let since = asking.next().expect("it is lost") - SOON;
        let mut behind = Vec::new();
        while let Some(next) = asking.next() {
            behind.push((next - since).as_millis());
            asking.asked(next);
            // It is lost still.
            asking.note(names(lost));
        }
        behind
    }

    #[test]
    fn often_at_first_and_once_for_each_loss() {
        let mut asking = Asking::default();
        for _ in 0..2 {
            let begin = Instant::now();
            asking.note(names(&["VI_1"]));
            assert!(asking.next().is_some_and(|next| next >= begin + SOON));
            let behind = asks(&mut asking, &["VI_1"]);
            assert!(behind.starts_with(&[5, 6, 7, 9, 12]), "{behind:?}");
            assert!(behind.len() == 27 && behind.iter().all(|time| *time < 2000), "{behind:?}");
            asking.note(names(&[]));
            assert_eq!(asking.next(), None);
        }
    }

    /// One that is cut off for good costs no other one its quick look-ups.
    #[test]
    fn anew_for_each_that_is_cut_off() {
        let mut asking = Asking::default();
        asking.note(names(&["VI_1"]));
        assert_eq!(asks(&mut asking, &["VI_1"]).len(), 27);
        for _ in 0..2 {
            asking.note(names(&["VI_1", "VI_2"]));
            assert_eq!(asks(&mut asking, &["VI_1", "VI_2"]).len(), 27);
            // It is back, or its route leads elsewhere.
            asking.note(names(&["VI_1"]));
            assert_eq!(asking.next(), None);
        }
    }

    #[test]
    fn once_for_a_time_that_was_missed() {
        let mut asking = Asking::default();
        asking.note(names(&["VI_1"]));
        let since = asking.next().expect("it is lost") - SOON;
        asking.asked(since + Duration::from_millis(1200));
        assert_eq!(asking.next(), Some(since + Duration::from_millis(1500)));
        asking.asked(since + LONG);
        assert_eq!(asking.next(), None);
    }
}
