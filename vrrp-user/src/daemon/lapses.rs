//! What the daemon did not see when it happened.

use std::time::Duration;

use tracing::warn;
use vrrp_common::Instant;

use super::hear::say;
use super::protocol::Stall;
use super::repeats::Topic;
use super::service::Service;
use crate::net::lease::may_run_out;
use crate::net::monitor::Change;
use crate::sys::clock;
use crate::text::span;

/// What was missed in a time in which nothing was done is heard within this time behind it.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Shorter ones are told once in a while: on a host where they come, there are many.
const LONG: Duration = Duration::from_secs(1);
/// Whom lines are about that are about no router.
const HOST: u32 = u32::MAX;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    /// Since when the host may be otherwise than it is known.
    pub(super) behind: Option<Instant>,
    /// When nothing was done last although something was due.
    stall: Option<Stall>,
    stalls: u64,
}

impl Lapses {
    /// Takes in a change on the host.
    pub(super) fn note(&mut self, change: &Change) {
        match change {
            Change::Behind => self.behind = self.behind.or_else(|| Some(clock::now())),
            Change::Resync(_) => self.behind = None,
            Change::Link(_)
            | Change::Gone { .. }
            | Change::AddressAdded { .. }
            | Change::AddressRemoved { .. } => {}
        }
    }

    /// Whether an address that is found to be gone `now` went because its lease could not be renewed.
    fn ended(&self, now: Instant, lease: Option<Duration>) -> bool {
        let stall = self.stall.filter(|stall| now.since(stall.until) < AFTERMATH);
        stall.zip(lease).is_some_and(|(stall, lease)| may_run_out(lease, stall.most))
    }
}

/// Says whether an address may be gone by a change.
pub(super) const fn may_lose(change: &Change) -> bool {
    matches!(change, Change::AddressRemoved { .. } | Change::Resync(_))
}

impl Service {
    /// The protocol thread did nothing although something was due.
    pub(super) fn stood_still(&mut self, stall: Stall) {
        self.lapses.stall = Some(stall);
        self.lapses.stalls += 1;
        let line = line(stall.late);
        if stall.late >= LONG {
            warn!("{line}");
        } else {
            let said = {
                let what = (Topic::StoodStill, String::new());
                self.chatter.note(stall.until, HOST, what, self.lapses.stalls)
            };
            say(said, "xvrrp", &line, |text| warn!("{text}"));
        }
    }

    /// Whether an address that is found to be gone now went because its lease could not be renewed.
    pub(super) fn lease_ended(&self) -> bool {
        self.lapses.ended(clock::now(), self.config.global.address_lease)
    }
}

/// keepalived's words, and what they come to.
fn line(late: Duration) -> String {
    let (whole, rest) = (late.as_secs(), late.subsec_micros());
    format!(
        "A thread timer expired {whole}.{rest:06} seconds ago: this host, or xvrrp on it, stood still for {} at \
         least",
        span(late)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Snapshot;

    #[test]
    fn behind_from_the_first_loss_until_all_is_read() {
        let mut lapses = Lapses::default();
        let link = Change::Gone { ifindex: 2, name: "eth0".to_owned() };
        lapses.note(&link);
        assert_eq!(lapses.behind, None);
        lapses.note(&Change::Behind);
        let since = lapses.behind;
        assert!(since.is_some());
        lapses.note(&Change::Behind);
        lapses.note(&link);
        assert_eq!(lapses.behind, since);
        lapses.note(&Change::Resync(Snapshot::default()));
        assert_eq!(lapses.behind, None);
    }

    #[test]
    fn a_late_timer_has_the_words_of_keepalived() {
        assert_eq!(
            line(Duration::from_micros(4_020_003)),
            "A thread timer expired 4.020003 seconds ago: this host, or xvrrp on it, stood still for 4.020 s at least"
        );
    }

    #[test]
    fn a_lease_ends_in_a_long_stall_and_not_long_behind_it() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let [late, most] = [4, 5].map(Duration::from_secs);
        let stall = Some(Stall { until: at(10), late, most });
        let lapses = Lapses { stall, ..Lapses::default() };
        let lease = |seconds| Some(Duration::from_secs(seconds));
        assert!(lapses.ended(at(10), lease(3)));
        assert!(!lapses.ended(at(13), lease(3)));
        assert!(!lapses.ended(at(10), lease(60)));
        assert!(!lapses.ended(at(10), None));
        assert!(!Lapses::default().ended(at(10), lease(3)));
    }
}
