//! Adverts that the kernel program keeps to itself while they only repeat themselves.

use std::fmt;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use vrrp_common::Instant;
use vrrp_common::abi::{Meaning, Runtime};
use vrrp_common::arrivals::Arrivals;

use super::sys::Mapping;

const WORDS: usize = size_of::<Runtime>() / 8;
const WATCH: usize = offset_of!(Runtime, watch) / 8;
const DOWN: usize = offset_of!(Runtime, down) / 8;
const INTERVAL: usize = offset_of!(Runtime, interval) / 8;
const MEANING: usize = offset_of!(Runtime, meaning) / 8;
const LAST_SEEN: usize = offset_of!(Runtime, last_seen) / 8;
const ARMED: usize = offset_of!(Runtime, armed) / 8;
const REPEATED: usize = offset_of!(Runtime, repeated) / 8;
const MISSED: usize = offset_of!(Runtime, missed) / 8;
const MAX: usize = offset_of!(Runtime, max) / 8;
const MIN_INVERTED: usize = offset_of!(Runtime, min_inverted) / 8;

/// The `RUNTIME` map's memory.
#[derive(Clone)]
pub(super) struct Slots(Arc<Mapping>);

impl Slots {
    /// How many words the map of that many slots has.
    pub(super) const fn words(slots: u32) -> usize {
        slots as usize * WORDS
    }

    pub(super) fn new(mapping: Mapping) -> Self {
        Self(Arc::new(mapping))
    }

    /// Has the kernel program report every advert for a slot.
    pub(super) fn stop(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            words[WATCH].store(0, SeqCst);
        }
    }

    /// Has it report every advert, for all slots.
    pub(super) fn stop_all(&self) {
        for slot in 0..(self.0.len() / WORDS) as u32 {
            // Reading a page that nobody has written costs no memory.
            if self.slot(slot).is_some_and(|words| words[WATCH].load(SeqCst) != 0) {
                self.stop(slot);
            }
        }
    }

    /// How many of a slot's adverts were noted and not reported.
    pub(super) fn repeated(&self, slot: u32) -> u64 {
        self.slot(slot).map_or(0, |words| words[REPEATED].load(Relaxed))
    }

    /// The gaps between them, without the buckets.
    pub(super) fn gaps(&self, slot: u32) -> Arrivals {
        let Some(words) = self.slot(slot) else { return Arrivals::default() };
        Arrivals {
            missed: words[MISSED].load(Relaxed),
            max: words[MAX].load(Relaxed),
            min_inverted: words[MIN_INVERTED].load(Relaxed),
            ..Arrivals::default()
        }
    }

    /// Begins to count anew in a slot where nothing is watched.
    pub(super) fn begin(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            for word in [REPEATED, MISSED, MAX, MIN_INVERTED] {
                words[word].store(0, Relaxed);
            }
        }
    }

    fn slot(&self, slot: u32) -> Option<&[AtomicU64]> {
        let from = slot as usize * WORDS;
        self.0.get(from..from + WORDS)
    }
}

/// When a watched advert was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it came, or when the one came from which the watch began.
    pub at: Instant,
    /// Whether a kernel timer runs, so that an [`Event::EXPIRED`](vrrp_common::abi::Event::EXPIRED)
    /// comes Master_Down_Interval after it.
    pub armed: bool,
}

/// Says whose watched adverts the kernel program keeps to itself.
#[derive(Clone)]
pub struct Repeats(Slots);

impl Repeats {
    /// When the slot's watched advert last came, and from whom; nothing where nothing is watched.
    pub fn last(&self, slot: u32) -> Option<(Instant, [u8; 16])> {
        let words = self.0.slot(slot)?;
        if words[WATCH].load(SeqCst) == 0 {
            return None;
        }
        let meaning = std::array::from_fn(|at| words[MEANING + at].load(SeqCst));
        let at = Instant::from_nanos(words[LAST_SEEN].load(SeqCst));
        Some((at, Meaning::from_words(meaning).source))
    }
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

/// Tells the kernel program which adverts are only to be noted when they are repeated.
///
/// For slots that the maps don't have, nothing is watched and nothing was heard.
pub struct Watcher {
    slots: Slots,
    timers: bool,
    /// The next watch's number.
    next: u64,
}

impl Watcher {
    pub(super) fn new(slots: Slots, timers: bool, now: Instant) -> Self {
        // From the clock on, no number comes again in another process on the same maps.
        Self { slots, timers, next: now.as_nanos().max(1) }
    }

    /// From now on adverts with this meaning move [`Watcher::seen`] and are not reported, until
    /// another [`Watcher::start`] or [`Watcher::stop`]; those with another meaning are reported as ever.
    ///
    /// `down` is Master_Down_Interval, counted from the last advert, `interval` the sender's, `heard`
    /// when the advert came that is to be repeated. The kernel timer runs from the first repetition on.
    /// One that arrives while this is called is either reported or seen.
    pub fn start(
        &mut self,
        slot: u32,
        meaning: &Meaning,
        down: Duration,
        interval: Duration,
        heard: Instant,
    ) {
        let Some(words) = self.slots.slot(slot) else { return };
        // First: the kernel program takes what it compared for what it was only where the watch is
        // the same before and after.
        words[WATCH].store(0, SeqCst);
        words[DOWN].store(nanos(down), SeqCst);
        words[INTERVAL].store(nanos(interval), SeqCst);
        for (to, word) in words[MEANING..].iter().zip(meaning.words()) {
            to.store(word, SeqCst);
        }
        // The watch before may have seen a later one.
        words[LAST_SEEN].fetch_max(heard.as_nanos(), SeqCst);
        words[WATCH].store(self.next, SeqCst);
        self.next += 1;
    }

    /// The slot's watched advert came by another way, since the kernel program was not there: the next gap
    /// counts from it.
    pub fn heard(&self, slot: u32, at: Instant) {
        if let Some(words) = self.slots.slot(slot) {
            words[LAST_SEEN].fetch_max(at.as_nanos(), SeqCst);
        }
    }

    /// From now on every advert for the slot is reported. What arrived before is in [`Watcher::seen`].
    pub fn stop(&mut self, slot: u32) {
        self.slots.stop(slot);
    }

    /// When the slot's watched advert was last heard; after [`Watcher::stop`], the last that was not
    /// reported.
    pub fn seen(&self, slot: u32) -> Seen {
        let Some(words) = self.slots.slot(slot) else {
            return Seen { at: Instant::default(), armed: false };
        };
        let at = Instant::from_nanos(words[LAST_SEEN].load(SeqCst));
        let watch = words[WATCH].load(SeqCst);
        Seen { at, armed: watch != 0 && words[ARMED].load(SeqCst) == watch }
    }

    /// How many of the slot's adverts were noted and not reported, of all its watches.
    pub fn repeated(&self, slot: u32) -> u64 {
        self.slots.repeated(slot)
    }

    /// The number of the slot's watch, which the record of an expiry names; nothing where
    /// nothing is watched.
    pub fn watch(&self, slot: u32) -> Option<u64> {
        let watch = self.slots.slot(slot)?[WATCH].load(SeqCst);
        (watch != 0).then_some(watch)
    }

    /// Says the same of every slot to somebody else on the thread that starts and stops.
    pub fn repeats(&self) -> Repeats {
        Repeats(self.slots.clone())
    }

    /// Whether the kernel runs timers for watched adverts; without, [`Watcher::seen`] is all there is.
    pub const fn has_timers(&self) -> bool {
        self.timers
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("timers", &self.timers).finish_non_exhaustive()
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
