//! Where the time of a takeover went: from the last advert to the first announcement.

use std::time::Duration;

use vrrp_common::Instant;

use crate::status;
use crate::text::span;

/// The stages of one takeover, each when it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The last advert arrived; `None` where none was ever heard.
    pub(crate) heard: Option<Instant>,
    /// Master_Down_Timer ran out.
    pub(crate) due: Instant,
    /// The protocol thread knew of it.
    pub(crate) woke: Instant,
    /// The first advert had left; `None` where it could not be sent.
    pub(crate) spoke: Option<Instant>,
    /// The first address was there.
    pub(crate) address: Option<Instant>,
    /// The first announcement had left.
    pub(crate) announced: Option<Instant>,
    /// The first notify command ran.
    pub(crate) notified: Option<Instant>,
}

impl Budget {
    /// A takeover that has just begun.
    pub(crate) fn new(heard: Option<Instant>, due: Instant, woke: Instant) -> Self {
        Self { heard, due, woke, spoke: None, address: None, announced: None, notified: None }
    }

    /// One line's worth: the silence, then each stage as its time behind the end of the silence.
    pub(crate) fn line(&self) -> String {
        let last = [self.announced, self.address, self.spoke].into_iter().flatten().next();
        let mut parts = Vec::new();
        let mut total = String::new();
        if let Some(heard) = self.heard {
            total = format!(" in {}", seconds(last.unwrap_or(self.woke).since(heard), 3));
            parts.push(format!("silence {}", seconds(self.due.since(heard), 4)));
        }
        let stages =
            [("advert", self.spoke), ("address", self.address), ("announced", self.announced)];
        for (name, at) in stages {
            if let Some(at) = at {
                parts.push(format!("{name} +{:.2} ms", millis(at.since(self.due))));
            }
        }
        format!("took over{total}: {}", parts.join(", "))
    }

    /// The same for `status`.
    pub(crate) fn status(&self, now: Instant) -> status::Takeover {
        let behind = |at: Option<Instant>| at.map(|at| millis(at.since(self.due)));
        status::Takeover {
            ago_ms: now.since(self.due).as_millis() as u64,
            silence_ms: self.heard.map(|heard| millis(self.due.since(heard))),
            woke_ms: millis(self.woke.since(self.due)),
            advert_ms: behind(self.spoke),
            address_ms: behind(self.address),
            announced_ms: behind(self.announced),
            notify_ms: behind(self.notified),
        }
    }
}

fn seconds(time: Duration, digits: usize) -> String {
    // Below a second `span` says milliseconds, which is what is wanted there.
    if time < Duration::from_secs(1) {
        span(time)
    } else {
        format!("{:.digits$} s", time.as_secs_f64())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    #[test]
    fn each_stage_is_told_behind_the_silence() {
        let budget = Budget {
            heard: Some(at(1_000_000)),
            due: at(4_609_375),
            woke: at(4_609_400),
            spoke: Some(at(4_609_430)),
            address: Some(at(4_609_800)),
            announced: Some(at(4_609_900)),
            notified: None,
        };
        assert_eq!(
            budget.line(),
            "took over in 3.610 s: silence 3.6094 s, advert +0.06 ms, address +0.42 ms, announced +0.53 ms"
        );
        let status = budget.status(at(5_609_375));
        assert_eq!((status.ago_ms, status.notify_ms), (1000, None));
        assert_eq!(status.silence_ms, Some(3609.375));
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        let budget = Budget {
            heard: None,
            due: at(5),
            woke: at(5),
            spoke: None,
            address: Some(at(305)),
            announced: None,
            notified: None,
        };
        assert_eq!(budget.line(), "took over: address +0.30 ms");
    }
}
