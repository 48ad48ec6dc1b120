//! Where the time of a takeover went: from the last advert, or from the start where there was nothing to
//! wait for, to the first announcement.

use std::time::Duration;

use vrrp_common::Instant;
use vrrp_proto::Waited;

use crate::net::executor::Timing;
use crate::status;
use crate::text::span;

/// The stages of one takeover, each when it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// For what the router had waited.
    pub(crate) waited: Waited,
    /// When that was over; the start, where there was nothing to wait for.
    pub(crate) due: Instant,
    /// The protocol thread knew of it.
    pub(crate) woke: Instant,
    /// The first advert had left; `None` where it could not be sent.
    pub(crate) spoke: Option<Instant>,
    /// The first address was there.
    pub(crate) address: Option<Instant>,
    /// It was on its interface before.
    pub(crate) was_on: bool,
    /// The first announcement had left; `None` where no link of the addresses has any.
    pub(crate) announced: Option<Instant>,
    /// The first notify command ran.
    pub(crate) notified: Option<Instant>,
    /// It is in the log.
    pub(crate) told: bool,
}

impl Budget {
    /// A takeover that has just begun.
    pub(crate) fn new(waited: Waited, due: Instant, woke: Instant) -> Self {
        Self {
            waited,
            due,
            woke,
            spoke: None,
            address: None,
            was_on: false,
            announced: None,
            notified: None,
            told: false,
        }
    }

    /// Takes in when its addresses came to serve.
    pub(crate) fn serve(&mut self, timing: &Timing) {
        self.address = Some(timing.address_up);
        self.was_on = timing.was_on;
        self.announced = timing.announced;
    }

    /// One line's worth: the silence, then each stage as its time behind the end of the silence.
    pub(crate) fn line(&self) -> String {
        let last = [self.announced, self.address, self.spoke].into_iter().flatten().next();
        let mut parts = Vec::new();
        let begin = match self.waited {
            Waited::Silence { heard: Some(heard) } => {
                parts.push(format!("silence {}", seconds(self.due.since(heard), 4)));
                format!("took over in {}", seconds(last.unwrap_or(self.woke).since(heard), 3))
            }
            Waited::Silence { heard: None } => "took over".to_owned(),
            Waited::Owner => "took over as the owner, without a wait".to_owned(),
            Waited::Resumed => "went on, without a wait".to_owned(),
        };
        let stage = |name, at: Option<Instant>| {
            at.map(|at| format!("{name} +{:.2} ms", millis(at.since(self.due))))
        };
        parts.extend(stage("advert", self.spoke));
        if self.was_on {
            parts.push("address on before".to_owned());
        } else {
            parts.extend(stage("address", self.address));
        }
        parts.extend(stage("announced", self.announced));
        format!("{begin}: {}", parts.join(", "))
    }

    /// The same for `status`.
    pub(crate) fn status(&self, now: Instant) -> status::Takeover {
        let behind = |at: Option<Instant>| at.map(|at| millis(at.since(self.due)));
        let (after, heard) = match self.waited {
            Waited::Silence { heard } => (status::After::Silence, heard),
            Waited::Owner => (status::After::Owner, None),
            Waited::Resumed => (status::After::Resumed, None),
        };
        status::Takeover {
            ago_ms: now.since(self.due).as_millis() as u64,
            after,
            silence_ms: heard.map(|heard| millis(self.due.since(heard))),
            woke_ms: millis(self.woke.since(self.due)),
            advert_ms: behind(self.spoke),
            address_ms: behind(self.address.filter(|_| !self.was_on)),
            address_was_on: self.was_on,
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
        let waited = Waited::Silence { heard: Some(at(1_000_000)) };
        let budget = Budget {
            spoke: Some(at(4_609_430)),
            address: Some(at(4_609_800)),
            announced: Some(at(4_609_900)),
            ..Budget::new(waited, at(4_609_375), at(4_609_400))
        };
        assert_eq!(
            budget.line(),
            "took over in 3.610 s: silence 3.6094 s, advert +0.06 ms, address +0.42 ms, announced +0.53 ms"
        );
        let status = budget.status(at(5_609_375));
        assert_eq!((status.ago_ms, status.notify_ms), (1000, None));
        assert_eq!((status.after, status.silence_ms), (status::After::Silence, Some(3609.375)));
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        let budget = Budget {
            address: Some(at(305)),
            ..Budget::new(Waited::Silence { heard: None }, at(5), at(5))
        };
        assert_eq!(budget.line(), "took over: address +0.30 ms");
    }

    #[test]
    fn one_without_a_wait_tells_no_silence() {
        let owner = Budget { spoke: Some(at(25)), ..Budget::new(Waited::Owner, at(5), at(5)) };
        assert_eq!(owner.line(), "took over as the owner, without a wait: advert +0.02 ms");
        let mut resumed =
            Budget { spoke: Some(at(45)), ..Budget::new(Waited::Resumed, at(5), at(5)) };
        let slot = vrrp_proto::Slot(0);
        resumed.serve(&Timing { slot, address_up: at(55), was_on: true, announced: Some(at(105)) });
        assert_eq!(
            resumed.line(),
            "went on, without a wait: advert +0.04 ms, address on before, announced +0.10 ms"
        );
        let status = resumed.status(at(1005));
        assert_eq!((status.after, status.silence_ms), (status::After::Resumed, None));
        assert_eq!((status.address_ms, status.address_was_on), (None, true));
    }
}
