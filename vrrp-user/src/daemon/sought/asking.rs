//! When the host's routes are asked for again: nobody tells of them.

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
    lost: Option<Lost>,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    since: Instant,
    next: Instant,
}

impl Asking {
    /// Notes whether an interface that a route leads by is without its link.
    pub(super) fn note(&mut self, is_lost: bool) {
        let new = || {
            let since = Instant::now();
            Lost { since, next: since + SOON }
        };
        self.lost = is_lost.then(|| self.lost.unwrap_or_else(new));
    }

    /// Waits until they are to be asked for.
    pub(super) async fn due(&mut self) {
        let Some(next) = self.next() else { return pending().await };
        sleep_until(next).await;
        self.asked();
    }

    fn next(&self) -> Option<Instant> {
        self.lost.filter(|lost| lost.next - lost.since < LONG).map(|lost| lost.next)
    }

    fn asked(&mut self) {
        if let Some(Lost { since, next }) = &mut self.lost {
            *next += (*next - *since) / 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn often_at_first_and_once_for_each_loss() {
        let mut asking = Asking::default();
        for _ in 0..2 {
            let begin = Instant::now();
            asking.note(true);
            let since = asking.next().expect("it is lost") - SOON;
            assert!(since >= begin);
            let mut behind = Vec::new();
            while let Some(next) = asking.next() {
                behind.push((next - since).as_millis());
                asking.asked();
                // It is lost still.
                asking.note(true);
            }
            assert!(behind.starts_with(&[5, 6, 7, 9, 12]), "{behind:?}");
            assert!(behind.len() == 27 && behind.iter().all(|time| *time < 2000), "{behind:?}");
            asking.note(false);
            assert_eq!(asking.next(), None);
        }
    }
}
