//! Takeovers from a router that was alive: its adverts came later than Master_Down_Interval lets them.

use std::net::IpAddr;
use std::time::Duration;

use tracing::warn;
use vrrp_common::Instant;
use vrrp_proto::{Slot, StateName, Why};

use super::hear::say;
use super::repeats::Topic;
use super::service::Service;
use crate::text::span;

/// One alone may be a network that healed, or a host that stood still: within this time there are two.
const WITHIN: Duration = Duration::from_secs(60);

/// What one instance took over lately, and gave back at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flaps {
    taken: Option<Taken>,
    /// When it last gave back what it had taken over.
    gave_back: Option<Instant>,
}

/// A takeover from a router that fell silent.
#[derive(Clone, Copy, Debug)]
struct Taken {
    at: Instant,
    from: IpAddr,
    silence: Duration,
}

/// Adverts come late again and again.
#[derive(Debug, PartialEq, Eq)]
struct Late {
    from: IpAddr,
    silence: Duration,
    /// How long after the takeover the next advert came.
    back: Duration,
}

impl Flaps {
    /// Nothing was taken over yet.
    pub(super) const fn new() -> Self {
        Self { taken: None, gave_back: None }
    }

    /// Takes in a change of the state; says whether adverts came late once more.
    ///
    /// Late is who is heard again before it would have been missed a second time.
    fn note(&mut self, now: Instant, to: StateName, why: &Why) -> Option<Late> {
        let taken = self.taken.take();
        if let (StateName::Active, Why::NoAdvert { from: Some(from), silence }) = (to, *why) {
            self.taken = Some(Taken { at: now, from, silence });
            return None;
        }
        let Taken { at, from, silence } = taken?;
        let (Why::HigherPriority { from: heard, .. } | Why::HigherAddress { from: heard, .. }) =
            *why
        else {
            return None;
        };
        let back = now.since(at);
        if heard != from || back > silence {
            return None;
        }
        let before = self.gave_back.replace(now)?;
        (now.since(before) <= WITHIN).then_some(Late { from, silence, back })
    }
}

impl Service {
    /// Says, once a minute, that adverts come too late for the interval (RFC 9568 §2.5).
    pub(super) fn flapped(&mut self, now: Instant, slot: Slot, to: StateName, why: &Why) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let Some(Late { from, silence, back }) = running.flaps.note(now, to, why) else { return };
        let name = running.instance.name.clone();
        let line = format!(
            "({name}) flapping: {from} is alive, but its adverts come late: none for {}, and then one {} behind our \
             takeover; the network or a host holds them up for longer than `advert_int` allows: set a longer one on all \
             routers",
            span(silence),
            span(back)
        );
        let said = self.chatter.count(now, slot.0, (Topic::Flaps, from.to_string()), 1);
        say(said, &name, &line, |text| warn!("{text}"));
    }
}

#[cfg(test)]
mod tests {
    use vrrp_common::Priority;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(36);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Takes over from one router and gives way to one, that much later.
    fn flap(flaps: &mut Flaps, millis: u64, from: u8, to: u8, later: u64) -> Option<Late> {
        let why = Why::NoAdvert { from: Some(peer(from)), silence: SILENCE };
        assert_eq!(flaps.note(at(millis), StateName::Active, &why), None);
        let [theirs, ours] = [200, 100].map(Priority::new);
        let why = Why::HigherPriority { from: peer(to), theirs, ours };
        flaps.note(at(millis + later), StateName::Backup, &why)
    }

    #[test]
    fn adverts_that_come_late_again_are_said() {
        let mut flaps = Flaps::new();
        assert_eq!(flap(&mut flaps, 0, 12, 12, 3), None, "once is no flapping");
        let back = Duration::from_millis(3);
        let late = Late { from: peer(12), silence: SILENCE, back };
        assert_eq!(flap(&mut flaps, 60_000, 12, 12, 3), Some(late));
        assert_eq!(flap(&mut flaps, 120_004, 12, 12, 3), None, "the last one was long ago");
    }

    #[test]
    fn who_was_away_or_is_another_came_not_late() {
        let mut flaps = Flaps::new();
        for millis in [0, 1000, 2000] {
            assert_eq!(flap(&mut flaps, millis, 12, 12, 37), None, "away for longer");
            assert_eq!(flap(&mut flaps, millis + 500, 12, 13, 3), None, "another one");
        }
        // What came between ends the takeover.
        for millis in [3000, 4000] {
            let why = Why::NoAdvert { from: Some(peer(12)), silence: SILENCE };
            assert_eq!(flaps.note(at(millis), StateName::Active, &why), None);
            assert_eq!(flaps.note(at(millis + 1), StateName::Fault, &Why::LinkDown), None);
            let why = Why::HigherAddress { from: peer(12), priority: Priority::DEFAULT };
            assert_eq!(flaps.note(at(millis + 2), StateName::Backup, &why), None);
        }
    }
}
