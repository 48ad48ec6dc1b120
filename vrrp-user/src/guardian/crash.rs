//! What a crash means for each router, and when a worker is taken for hung. Pure, by the ledger and the
//! clock.

use std::time::Duration;

use vrrp_common::Instant;

use crate::ledger::{Entry, State, judge};

/// A start is never believed to take less.
const LEAST_START: Duration = Duration::from_millis(100);
/// The grace beyond the time at which a worker said it would be back.
const GRACE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(1);

/// What becomes of the routers of a worker that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    /// To be released now: the next worker would come too late.
    pub(super) released: Vec<Entry>,
    /// Left as they are: the next worker speaks before their peers' wait is over.
    pub(super) waiting: Vec<Entry>,
}

/// Judges the routers of a worker that died, where the next one takes `start` to speak.
pub(super) fn judge(entries: impl Iterator<Item = Entry>, now: Instant, start: Duration) -> Fates {
    let speaks = now + start.max(LEAST_START);
    let mut fates = Fates::default();
    for entry in entries.filter(|entry| entry.state == State::Active) {
        if judge::goes_on(&entry, speaks) {
            fates.waiting.push(entry);
        } else {
            fates.released.push(entry);
        }
    }
    fates
}

/// How long beyond its word a worker with these routers may stay away: the shortest interval of an
/// Active one, so that a new one can still speak in time; 100 ms at least and a second at most.
pub(super) fn grace(entries: impl Iterator<Item = Entry>) -> Duration {
    let active = entries.filter(|entry| entry.state == State::Active);
    let shortest = active.map(|entry| entry.interval).min();
    shortest.unwrap_or(*GRACE.end()).clamp(*GRACE.start(), *GRACE.end())
}

/// When the first of a worker's peers takes over, unless the worker speaks before that.
pub(super) fn peers_take_over(entries: impl Iterator<Item = Entry>) -> Option<Instant> {
    let active = entries.filter(|entry| entry.state == State::Active);
    active.map(|entry| judge::peers_wait(&entry)).min()
}

/// Whether the worker keeps its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Look again then.
    Good(Instant),
    /// It should have been back, and this process was awake all the time.
    Broken,
}

/// Watches over the worker's word.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// This process was itself late then: the grace begins there.
    forgiven: Instant,
}

impl Patience {
    /// Judges at `now`, where the worker said to be `back` and this process wanted to look at `planned`.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        planned: Instant,
        back: Instant,
        grace: Duration,
    ) -> Word {
        // Both were frozen, or the machine is starved: the worker gets its chance first.
        if now.since(planned) > grace / 4 {
            self.forgiven = now;
        }
        let due = back.max(self.forgiven) + grace;
        if now < due { Word::Good(due) } else { Word::Broken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_common::wire::ChecksumForm;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn active(slot: u32, interval: u64, sent: u64) -> Entry {
        Entry {
            slot,
            state: State::Active,
            priority: 100,
            form: ChecksumForm::Message,
            interval: millis(interval),
            adverts: 3,
            sent: at(sent),
            left: Instant::default(),
            rose: Instant::default(),
        }
    }

    #[test]
    fn who_can_be_continued_and_who_not() {
        let backup = Entry { state: State::Backup, ..active(9, 1000, 0) };
        let routers = [
            active(0, 1000, 9_500),
            active(1, 10, 9_999),
            // It fell silent before the worker died.
            active(2, 1000, 7_000),
            active(3, 100, 9_950),
            backup,
        ];
        let slots = |entries: &[Entry]| entries.iter().map(|e| e.slot).collect::<Vec<_>>();
        let fates = judge(routers.into_iter(), at(10_000), millis(20));
        assert_eq!(slots(&fates.waiting), [0, 3]);
        assert_eq!(slots(&fates.released), [1, 2]);
        let slow = judge(routers.into_iter(), at(10_000), millis(260));
        assert_eq!(slots(&slow.waiting), [0]);
    }

    #[test]
    fn the_grace_is_by_the_fastest_router() {
        assert_eq!(grace([].into_iter()), millis(1000));
        assert_eq!(grace([active(0, 10, 0)].into_iter()), millis(100));
        assert_eq!(grace([active(0, 200, 0), active(1, 1000, 0)].into_iter()), millis(200));
        let backup = Entry { state: State::Backup, ..active(0, 10, 0) };
        assert_eq!(grace([backup, active(1, 5000, 0)].into_iter()), millis(1000));
    }

    #[test]
    fn a_worker_that_stays_away_is_hung() {
        let mut patience = Patience::default();
        let (back, grace) = (at(1000), millis(200));
        assert_eq!(patience.judge(at(1000), at(1000), back, grace), Word::Good(at(1200)));
        assert_eq!(patience.judge(at(1200), at(1200), back, grace), Word::Broken);
    }

    #[test]
    fn one_that_was_frozen_with_us_is_not() {
        let mut patience = Patience::default();
        let (back, grace) = (at(1000), millis(200));
        let again = patience.judge(at(6000), at(1200), back, grace);
        assert_eq!(again, Word::Good(at(6200)));
        assert_eq!(patience.judge(at(6010), at(6200), back, grace), again);
        assert_eq!(patience.judge(at(6200), at(6200), back, grace), Word::Broken);
    }
}
