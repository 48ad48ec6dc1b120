//! The beat that the Active routers of a host fall into: in step, many wake the process no oftener than one.
//!
//! One of those with the shortest interval leads. A router whose interval is a multiple of the leader's is in step
//! where it speaks when the leader does, any other one where its beats are whole intervals of its own away from one
//! of the leader's. Who is not in step gets there by being a little early, some times in a row, and never late.

use std::time::Duration;

use vrrp_common::Instant;

use crate::input::Slot;

/// How much earlier than due an advert may leave: no sooner than anybody could mind.
pub(crate) fn tolerance(interval: Duration) -> Duration {
    interval / 64
}

/// From when the interval behind an advert counts that was due and leaves now: from when it was due, or every late
/// wake-up would shift the beat. Where that was more than half an interval ago, from now: the next one would come
/// right behind it, and who was frozen would make up for what it missed.
pub(crate) fn counts_from(due: Instant, now: Instant, interval: Duration) -> Instant {
    if now.since(due) > interval / 2 { now } else { due }
}

/// How much later than due an advert may leave.
pub(crate) fn lateness(interval: Duration) -> Duration {
    interval / 50
}

/// With whose adverts the others' are to leave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beat {
    leader: Option<Leader>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    slot: Slot,
    interval: Duration,
    /// A time at which its advert was due.
    beat: Instant,
    /// It speaks no more where it has not by then.
    until: Instant,
}

impl Beat {
    /// When a router speaks again that speaks now, and should no later than at `next`, its interval after
    /// this beat.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        slot: Slot,
        next: Instant,
        interval: Duration,
    ) -> Instant {
        let leads = |it: &Leader| it.slot != slot && it.interval <= interval && now <= it.until;
        match self.leader.filter(leads) {
            Some(leader) => next - leader.lag(next, interval).min(tolerance(interval)),
            None => {
                self.lead(slot, next, interval);
                next
            }
        }
    }

    fn lead(&mut self, slot: Slot, next: Instant, interval: Duration) {
        let until = next + interval;
        let before = self.leader.filter(|leader| leader.slot == slot);
        // As long as it keeps its beat the others' stays too, also of those whose interval is no part of its
        // own.
        let kept = before.filter(|leader| is_multiple(next.since(leader.beat), interval));
        let beat = kept.map_or(next - interval, |leader| leader.beat);
        self.leader = Some(Leader { slot, interval, beat, until });
    }
}

impl Leader {
    /// How long after a time that is in step another one is.
    fn lag(&self, at: Instant, interval: Duration) -> Duration {
        let step = if is_multiple(interval, self.interval) { self.interval } else { interval };
        let lag = rest(at.since(self.beat), step);
        // One that is just ahead takes the leader with it.
        if step - lag <= tolerance(self.interval) { Duration::ZERO } else { lag }
    }
}

fn is_multiple(time: Duration, of: Duration) -> bool {
    rest(time, of).is_zero()
}

/// What is left of a time behind the last whole interval. Both fit: the clock's reading and 255 s.
fn rest(time: Duration, interval: Duration) -> Duration {
    Duration::from_nanos(time.as_nanos() as u64 % interval.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: Slot = Slot(7);
    const OTHER: Slot = Slot(1);

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One whose leader spoke at 5 ms, and does so each 64.
    fn beat() -> Beat {
        let mut beat = Beat::default();
        assert_eq!(beat.next(at(5000), LEADER, at(69_000), ms(64)), at(69_000));
        beat
    }

    /// When the other one speaks next that speaks each 64 ms.
    fn other(beat: &mut Beat, us: u64) -> u64 {
        beat.next(at(us), OTHER, at(us) + ms(64), ms(64)).as_nanos() / 1000
    }

    #[test]
    fn others_come_nearer_by_a_64th_until_they_are_in_step() {
        let mut beat = beat();
        let (mut us, mut steps) = (8500, Vec::new());
        for _ in 0..5 {
            let next = other(&mut beat, us);
            steps.push(next - us);
            us = next;
            // The leader has its turns meanwhile.
            beat.next(at(us), LEADER, at(5000 + 64_000 * steps.len() as u64) + ms(64), ms(64));
        }
        assert_eq!(steps, [63_000, 63_000, 63_000, 63_500, 64_000]);
    }

    #[test]
    fn one_just_ahead_stays_there_for_the_leader_to_join_it() {
        assert_eq!(other(&mut beat(), 4500), 68_500);
        assert_eq!(other(&mut beat(), 3999), 66_999);
    }

    #[test]
    fn a_leader_that_leaves_its_beat_is_followed() {
        let mut beat = beat();
        beat.next(at(60_000), LEADER, at(124_000), ms(64));
        assert_eq!(other(&mut beat, 60_500), 124_000);
    }

    #[test]
    fn who_speaks_when_the_leader_no_longer_does_leads() {
        let mut beat = beat();
        assert_eq!(other(&mut beat, 133_000), 197_000);
        assert_eq!(other(&mut beat, 133_500), 197_500);
        assert_eq!(beat.next(at(134_000), LEADER, at(198_000), ms(64)), at(197_500));
    }

    #[test]
    fn longer_intervals_are_in_step_with_each_beat_or_with_their_own() {
        let mut beat = beat();
        let mut next = |slot, us, own| beat.next(at(us), Slot(slot), at(us) + ms(own), ms(own));
        assert_eq!(next(1, 69_500, 128), at(197_000));
        // Each 100 ms from 5 ms on.
        assert_eq!(next(2, 105_000, 100), at(205_000));
        assert_eq!(next(3, 106_000, 100), at(205_000));
    }

    #[test]
    fn who_has_a_shorter_interval_leads() {
        let mut beat = beat();
        let mut next = |slot, us, own| beat.next(at(us), Slot(slot), at(us) + ms(own), ms(own));
        assert_eq!(next(1, 9000, 32), at(41_000));
        assert_eq!(next(7, 41_500, 64), at(105_000));
    }
}
