//! Sequence numbers of authentication headers (RFC 2402 §3.4.3).

use std::collections::HashMap;
use std::time::Duration;

use vrrp_common::Instant;

/// What is known of the numbers of one virtual router's senders.
///
/// A sender whose numbers are lower than before is refused, as whoever repeats old adverts. But it may be
/// the real one, whose host has started anew with its clock set back: without a way back it would be
/// refused until its clock has caught up, for hours or years. So where none with a greater number comes
/// for a whole Master_Down_Interval, and the lower ones grow all the while, they count from then on.
#[derive(Debug)]
pub(super) struct Numbers {
    senders: HashMap<[u8; 16], Sender>,
    greatest: u32,
    /// The router's Master_Down_Interval.
    down: Duration,
    /// The adverts that are missed in it.
    adverts: u8,
}

impl Default for Numbers {
    /// Waits for ever until it knows for how long.
    fn default() -> Self {
        let (senders, greatest) = (HashMap::new(), 0);
        Self { senders, greatest, down: Duration::MAX, adverts: u8::MAX }
    }
}

#[derive(Debug)]
struct Sender {
    /// The last that was accepted.
    last: u32,
    /// What came since then that is not greater.
    lower: Option<Lower>,
}

#[derive(Clone, Copy, Debug)]
struct Lower {
    last: u32,
    /// How often one was greater than the one before it, since the first.
    grown: u8,
    /// When the first and the last came.
    since: Instant,
    until: Instant,
}

impl Lower {
    /// Whether a number goes on with them.
    fn goes_on(&self, number: u32, at: Instant, down: Duration) -> bool {
        number > self.last && at.since(self.until) < down
    }
}

impl Numbers {
    /// Sets the router's Master_Down_Interval, and how many adverts are missed in it.
    pub(super) fn wait(&mut self, down: Duration, adverts: u8) {
        (self.down, self.adverts) = (down, adverts);
    }

    /// Says whether a sender's number is to be accepted: it is greater than before, or belongs to those
    /// that have grown anew for a Master_Down_Interval.
    pub(super) fn grows(&self, from: [u8; 16], number: u32, at: Instant) -> bool {
        let Some(sender) = self.senders.get(&from) else { return true };
        let anew = |lower: Lower| {
            let enough = lower.grown.saturating_add(1) >= self.adverts;
            enough && at.since(lower.since) >= self.down && lower.goes_on(number, at, self.down)
        };
        number > sender.last || sender.lower.is_some_and(anew)
    }

    /// Notes an accepted number, and says whether it is lower than the sender's last.
    pub(super) fn accept(&mut self, from: [u8; 16], number: u32) -> bool {
        self.greatest = self.greatest.max(number);
        let before = self.senders.insert(from, Sender { last: number, lower: None });
        before.is_some_and(|before| number < before.last)
    }

    /// Notes a number that was refused.
    pub(super) fn refuse(&mut self, from: [u8; 16], number: u32, at: Instant) {
        let down = self.down;
        let Some(sender) = self.senders.get_mut(&from) else { return };
        match &mut sender.lower {
            // A frame that came twice.
            Some(lower) if number == lower.last => {}
            Some(lower) if lower.goes_on(number, at, down) => {
                (lower.last, lower.until) = (number, at);
                lower.grown = lower.grown.saturating_add(1);
            }
            lower => *lower = Some(Lower { last: number, grown: 0, since: at, until: at }),
        }
    }

    /// The greatest that was accepted, of whomever; 0: none.
    pub(super) fn greatest(&self) -> u32 {
        self.greatest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Duration = Duration::from_secs(4);
    const PEER: [u8; 16] = [1; 16];

    fn after(down: Duration, adverts: u8) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.wait(down, adverts);
        numbers
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// Hears a number as the table does; says whether it was accepted, and as a beginning.
    fn hear(numbers: &mut Numbers, number: u32, seconds: u64) -> Option<bool> {
        if numbers.grows(PEER, number, at(seconds)) {
            return Some(numbers.accept(PEER, number));
        }
        numbers.refuse(PEER, number, at(seconds));
        None
    }

    #[test]
    fn only_greater_ones_count() {
        let mut numbers = after(DOWN, 3);
        assert_eq!(hear(&mut numbers, 7, 0), Some(false));
        assert_eq!(hear(&mut numbers, 7, 1), None);
        assert_eq!(hear(&mut numbers, 8, 2), Some(false));
        assert!(numbers.grows([2; 16], 1, at(2)), "another sender counts for itself");
        assert_eq!(numbers.greatest(), 8);
    }

    #[test]
    fn a_sender_that_began_anew_counts_after_a_while() {
        let mut numbers = after(DOWN, 3);
        hear(&mut numbers, 1000, 0);
        for second in 0..4 {
            assert_eq!(hear(&mut numbers, 1 + second, 10 + u64::from(second)), None);
            assert_eq!(hear(&mut numbers, 1 + second, 10 + u64::from(second)), None, "twice");
        }
        assert_eq!(hear(&mut numbers, 5, 14), Some(true));
        assert_eq!(hear(&mut numbers, 6, 15), Some(false));
        assert_eq!(hear(&mut numbers, 5, 16), None);
        assert_eq!(numbers.greatest(), 1000, "ours stay beyond what keepalived may have heard");
    }

    /// As long as a Backup waits, however many adverts that is.
    #[test]
    fn the_while_is_a_master_down_interval() {
        let first = |down: u64, adverts: u8| {
            let mut numbers = after(Duration::from_secs(down), adverts);
            hear(&mut numbers, 1000, 0);
            (0..50).find(|n| hear(&mut numbers, 1 + n, 10 + u64::from(*n)) == Some(true))
        };
        assert_eq!(first(4, 3), Some(4));
        assert_eq!(first(11, 10), Some(11));
        assert_eq!(first(2, 1), Some(2));
        // In less time than that many adverts take: all of them are waited for.
        assert_eq!(first(2, 10), Some(10));
        let mut untold = Numbers::default();
        hear(&mut untold, 1000, 0);
        assert!((1..500).all(|n| hear(&mut untold, n, u64::from(n)).is_none()));
    }

    #[test]
    fn repeating_an_old_one_does_not_help() {
        let mut numbers = after(DOWN, 3);
        hear(&mut numbers, 1000, 0);
        for second in 1..100 {
            assert_eq!(hear(&mut numbers, 900, second), None);
        }
        // Nor repeating some over and over, nor few with long pauses.
        for second in 100..200 {
            assert_eq!(hear(&mut numbers, 900 + (second % 3) as u32, second), None);
            assert_eq!(hear(&mut numbers, second as u32, 1000 + 4 * second), None);
        }
        // Nor any while the real one is heard.
        for second in 2000..2100 {
            assert_eq!(hear(&mut numbers, second as u32 - 1500, second), None);
            assert_eq!(hear(&mut numbers, 1000 + second as u32, second), Some(false));
        }
    }
}
