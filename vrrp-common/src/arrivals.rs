//! How long adverts let one wait: a histogram that the kernel program keeps of each watched router.
//!
//! Buckets are log-linear: 16 to an octave from 1 ms to 69 s, one for what is shorter and one for what
//! is longer. A quantile is known to a sixteenth of itself at worst.

use core::time::Duration;

/// Buckets of a histogram.
pub const BUCKETS: usize = 1 + (HIGHEST - LOWEST) as usize * STEPS + 1;
const _: () = assert!(BUCKETS == 258);

/// Shorter than 2 to this many nanoseconds, 1.05 ms: bucket 0.
const LOWEST: u32 = 20;
/// Not shorter than 2 to this many nanoseconds, 68.7 s: the last bucket.
const HIGHEST: u32 = 36;
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;

/// Value of the `ARRIVALS` map: some neighbouring buckets of one slot.
pub type Row = [u64; BUCKETS_PER_ROW];
/// Buckets of a [`Row`]: two cache lines.
const BUCKETS_PER_ROW: usize = 16;
/// Rows of a histogram.
pub const ROWS: usize = BUCKETS.div_ceil(BUCKETS_PER_ROW);
/// Slots whose rows lie together: as many as fill a page of memory with one row each.
const SLOTS_TOGETHER: u32 = 32;

/// How many rows the `ARRIVALS` map of that many slots has.
pub const fn rows(slots: u32) -> u32 {
    slots.div_ceil(SLOTS_TOGETHER) * SLOTS_TOGETHER * ROWS as u32
}

/// Where a slot's row is in the `ARRIVALS` map.
///
/// Adverts of the same interval meet in the same row of all slots: a hundred routers that are heard each
/// 10 ms then touch a few pages of memory, where a histogram in one piece would have each touch its own.
#[inline(always)]
pub const fn row_at(slot: u32, row: usize) -> u32 {
    let (group, within) = (slot / SLOTS_TOGETHER, slot % SLOTS_TOGETHER);
    (group * ROWS as u32 + row as u32) * SLOTS_TOGETHER + within
}

/// The row of a [`bucket`] and its place there.
#[inline(always)]
pub const fn place(bucket: usize) -> (usize, usize) {
    (bucket / BUCKETS_PER_ROW, bucket % BUCKETS_PER_ROW)
}

/// The gaps between a watched router's adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Adverts that did not come: for each gap of more than an interval and a half, as many intervals
    /// as it has, rounded, less one.
    pub missed: u64,
    /// The longest gap in nanoseconds.
    pub max: u64,
    /// The shortest gap in nanoseconds, all bits turned over, so that zero is none yet.
    pub min_inverted: u64,
    /// How many gaps there were of each length.
    pub buckets: [u64; BUCKETS],
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { missed: 0, max: 0, min_inverted: 0, buckets: [0; BUCKETS] }
    }
}

impl Arrivals {
    /// Takes over one of the [`ROWS`] of the `ARRIVALS` map; what is behind the last bucket is left out.
    pub fn set_row(&mut self, row: usize, values: &Row) {
        for (to, from) in self.buckets.iter_mut().skip(row * BUCKETS_PER_ROW).zip(values) {
            *to = *from;
        }
    }

    /// Notes the gap before an advert of a router that sends each `interval`; both in nanoseconds.
    pub fn note(&mut self, gap: u64, interval: u64) {
        self.missed = self.missed.saturating_add(missed(gap, interval));
        self.max = self.max.max(gap);
        self.min_inverted = self.min_inverted.max(!gap);
        let bucket = &mut self.buckets[bucket(gap)];
        *bucket = bucket.saturating_add(1);
    }

    /// How many gaps there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The shortest gap; nothing where there was none.
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(!self.min_inverted))
    }

    /// The longest gap; nothing where there was none.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.max))
    }

    /// The gap that so many of a thousand did not exceed, as near as the buckets tell: 500 asks for the
    /// median. Nothing where there was none.
    pub fn per_mille(&self, part: u16) -> Option<Duration> {
        let count = self.count();
        let (min, max) = (!self.min_inverted, self.max);
        let wanted = (u128::from(count) * u128::from(part.min(1000))).div_ceil(1000).max(1) as u64;
        let mut sum = 0_u64;
        let at = self.buckets.iter().position(|n| {
            sum = sum.saturating_add(*n);
            sum >= wanted
        })?;
        let (from, upto) = bounds(at);
        let middle = from + (upto.min(max.saturating_add(1)).saturating_sub(from)) / 2;
        // The kernel notes the three numbers one after the other: they may disagree for a moment.
        Some(Duration::from_nanos(middle.max(min).min(max)))
    }
}

impl core::ops::AddAssign for Arrivals {
    fn add_assign(&mut self, other: Self) {
        self.missed = self.missed.saturating_add(other.missed);
        self.max = self.max.max(other.max);
        self.min_inverted = self.min_inverted.max(other.min_inverted);
        for (to, from) in self.buckets.iter_mut().zip(other.buckets) {
            *to = to.saturating_add(from);
        }
    }
}

/// The bucket of a gap in nanoseconds; always below [`BUCKETS`].
#[inline(always)]
pub const fn bucket(gap: u64) -> usize {
    if gap < 1 << LOWEST {
        return 0;
    }
    if gap >= 1 << HIGHEST {
        return BUCKETS - 1;
    }
    // The highest bit, by halves: BPF has no instruction for it, and what the compiler writes in its
    // place is twice as long.
    let mut octave = 0;
    let mut rest = gap >> (LOWEST - STEP_BITS);
    if rest >= 1 << (8 + STEP_BITS) {
        rest >>= 8;
        octave += 8;
    }
    if rest >= 1 << (4 + STEP_BITS) {
        rest >>= 4;
        octave += 4;
    }
    if rest >= 1 << (2 + STEP_BITS) {
        rest >>= 2;
        octave += 2;
    }
    if rest >= 1 << (1 + STEP_BITS) {
        rest >>= 1;
        octave += 1;
    }
    // `rest` has its highest bit, worth one octave, at STEP_BITS.
    1 + octave * STEPS + (rest as usize - STEPS)
}

/// The gaps of a bucket in nanoseconds: from the first, below the second.
pub const fn bounds(bucket: usize) -> (u64, u64) {
    if bucket == 0 {
        return (0, 1 << LOWEST);
    }
    if bucket >= BUCKETS - 1 {
        return (1 << HIGHEST, u64::MAX);
    }
    let (octave, step) = ((bucket - 1) / STEPS, (bucket - 1) % STEPS);
    let unit = 1 << (LOWEST as usize - STEP_BITS as usize + octave);
    ((STEPS + step) as u64 * unit, (STEPS + step + 1) as u64 * unit)
}

/// How many adverts are missing in a gap.
#[inline(always)]
pub const fn missed(gap: u64, interval: u64) -> u64 {
    // The usual case without a division.
    if interval == 0 || gap <= interval + interval / 2 {
        return 0;
    }
    (gap - interval / 2 - 1) / interval
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[test]
    fn buckets_meet_without_a_gap() {
        let mut from = 0;
        for at in 0..BUCKETS {
            let (begin, end) = bounds(at);
            assert_eq!(begin, from, "bucket {at}");
            assert_eq!((bucket(begin), bucket(end - 1)), (at, at), "bucket {at}");
            from = end;
        }
        assert_eq!((from, bucket(u64::MAX)), (u64::MAX, BUCKETS - 1));
    }

    #[test]
    fn each_bucket_of_each_slot_has_a_place_of_its_own() {
        const SLOTS: u32 = 70;
        let mut taken = vec![false; rows(SLOTS) as usize * BUCKETS_PER_ROW];
        for slot in 0..SLOTS {
            for bucket in 0..BUCKETS {
                let (row, at) = place(bucket);
                assert!(row < ROWS);
                let place = row_at(slot, row) as usize * BUCKETS_PER_ROW + at;
                assert!(!taken[place], "{slot} {bucket}");
                taken[place] = true;
            }
        }
    }

    #[test]
    fn rows_become_a_histogram() {
        let mut arrivals = Arrivals::default();
        for row in 0..ROWS {
            arrivals.set_row(row, &core::array::from_fn(|at| (row * BUCKETS_PER_ROW + at) as u64));
        }
        assert!(arrivals.buckets.iter().enumerate().all(|(at, value)| *value == at as u64));
    }

    const MS: u64 = 1_000_000;

    #[rstest]
    #[case::on_time(10 * MS, 0)]
    #[case::late(15 * MS, 0)]
    #[case::one(15 * MS + 1, 1)]
    #[case::one_early(19 * MS, 1)]
    #[case::still_one(25 * MS, 1)]
    #[case::two(25 * MS + 1, 2)]
    #[case::a_hundred(1010 * MS, 100)]
    fn missed_ones(#[case] gap: u64, #[case] count: u64) {
        assert_eq!(missed(gap, 10 * MS), count);
    }

    #[test]
    fn nothing_is_missed_without_an_interval() {
        assert_eq!(missed(u64::MAX, 0), 0);
    }

    #[test]
    fn nothing_heard_has_no_quantile() {
        let none = Arrivals::default();
        assert_eq!((none.min(), none.max(), none.per_mille(500)), (None, None, None));
    }

    proptest! {
        #[test]
        fn quantiles_are_near(
            mut gaps in proptest::collection::vec(MS..60_000 * MS, 1..200),
            part in 0_u16..=1000,
        ) {
            let mut arrivals = Arrivals::default();
            for gap in &gaps {
                arrivals.note(*gap, 10 * MS);
            }
            gaps.sort_unstable();
            prop_assert_eq!(arrivals.count(), gaps.len() as u64);
            prop_assert_eq!(arrivals.min(), Some(Duration::from_nanos(gaps[0])));
            prop_assert_eq!(arrivals.max(), Some(Duration::from_nanos(gaps[gaps.len() - 1])));
            let at = (gaps.len() * usize::from(part)).div_ceil(1000).max(1) - 1;
            let found = arrivals.per_mille(part).unwrap().as_nanos() as u64;
            prop_assert!(found.abs_diff(gaps[at]) <= gaps[at] / 16 + 1, "{} {}", found, gaps[at]);
        }

        #[test]
        fn every_gap_is_within_its_bucket(gap: u64, shift in 0_u32..64) {
            let gap = gap >> shift;
            let (from, upto) = bounds(bucket(gap));
            prop_assert!(from <= gap && (gap < upto || gap == u64::MAX));
        }
    }
}
