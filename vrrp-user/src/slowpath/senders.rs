//! Who sent the accepted adverts of a virtual router, in the order in which they came.

use vrrp_common::Instant;

/// The last few that took turns: what one source of frames tells may be older than what another has told
/// already, as after a freeze.
#[derive(Debug, Default)]
pub(super) struct Senders(Vec<Run>);

/// Adverts of one sender with none of another's between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: [u8; 16],
    /// When the first and the last came.
    since: Instant,
    until: Instant,
}

impl Senders {
    const KEPT: usize = 8;

    /// Notes an accepted advert.
    pub(super) fn note(&mut self, at: Instant, from: [u8; 16]) {
        let place = self.0.partition_point(|run| run.since <= at);
        let (before, behind) = self.0.split_at_mut(place);
        match (before.last_mut(), behind.first_mut()) {
            (Some(run), _) if run.from == from => {
                run.until = run.until.max(at);
                return;
            }
            // It came in between.
            (Some(run), _) if run.until > at => {
                let rest = Run { since: run.until, ..*run };
                run.until = at;
                self.0.insert(place, rest);
            }
            (_, Some(run)) if run.from == from => {
                run.since = at;
                return;
            }
            _ => {}
        }
        self.0.insert(place, Run { from, since: at, until: at });
        let more = self.0.len().saturating_sub(Self::KEPT);
        self.0.drain(..more);
    }

    /// Whose came last until then, and when.
    pub(super) fn last(&self, at: Instant) -> Option<(Instant, [u8; 16])> {
        let run = self.0.iter().rfind(|run| run.since <= at)?;
        Some((run.until.min(at), run.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Instant {
        Instant::from_nanos(n)
    }

    fn last(senders: &Senders, n: u64) -> Option<(u64, u8)> {
        senders.last(at(n)).map(|(at, from)| (at.as_nanos(), from[0]))
    }

    fn heard(all: &[(u64, u8)]) -> Senders {
        let mut senders = Senders::default();
        all.iter().for_each(|(n, from)| senders.note(at(*n), [*from; 16]));
        senders
    }

    #[test]
    fn the_last_one_until_then() {
        let senders = heard(&[(10, 1), (20, 1), (30, 2), (40, 1)]);
        let times = [9, 10, 15, 29, 30, 39, 40, 99].map(|n| last(&senders, n));
        let right = [
            None,
            Some((10, 1)),
            Some((15, 1)),
            Some((20, 1)),
            Some((30, 2)),
            Some((30, 2)),
            Some((40, 1)),
            Some((40, 1)),
        ];
        assert_eq!(times, right);
    }

    #[test]
    fn what_is_told_late_has_its_place() {
        let senders = heard(&[(10, 1), (50, 1), (30, 2)]);
        assert_eq!(
            [29, 30, 49, 50].map(|n| last(&senders, n).map(|(_, from)| from)),
            [Some(1), Some(2), Some(2), Some(1)]
        );
        let senders = heard(&[(30, 2), (20, 2), (10, 1)]);
        assert_eq!(
            [19, 20, 30].map(|n| last(&senders, n).map(|(_, from)| from)),
            [Some(1), Some(2), Some(2)]
        );
    }

    #[test]
    fn only_so_many_are_kept() {
        let turns: Vec<(u64, u8)> = (0..200).map(|n| (n, (n % 2) as u8)).collect();
        let senders = heard(&turns);
        assert_eq!(senders.0.len(), Senders::KEPT);
        assert_eq!((last(&senders, 199), last(&senders, 100)), (Some((199, 1)), None));
    }
}
