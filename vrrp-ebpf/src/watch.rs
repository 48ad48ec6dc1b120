//! Adverts that say what is known already: noted, not reported.
#![expect(unsafe_code, reason = "map values are reached by pointer")]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use vrrp_common::abi::{MAX_SLOTS, Meaning, Runtime};
use vrrp_common::arrivals;

use crate::atomic::{add, behind, load, store, swap};

const SLOTS: usize = MAX_SLOTS as usize;

#[btf_map]
static RUNTIME: Array<Runtime, SLOTS, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static ARRIVALS: Array<arrivals::Row, { arrivals::rows(MAX_SLOTS) as usize }> = Array::new();

/// What is watched in a slot.
#[inline(always)]
pub(crate) fn runtime(slot: u32) -> Option<*mut Runtime> {
    RUNTIME.get_ptr_mut(slot)
}

/// Notes an advert that repeats the watched one; `false` for one that must be reported.
///
/// The user space may end or change the watch at any time. It writes `watch` and then reads
/// `last_seen`; here `last_seen` is written and then `watch` read again, so that at least one sees
/// what the other did.
#[inline(always)]
pub(crate) fn repeats(slot: u32, meaning: &Meaning, at: u64) -> bool {
    let Some(runtime) = runtime(slot) else {
        return false;
    };
    // SAFETY: the array's memory stays; all words of it are aligned.
    unsafe {
        let watch = load(&raw const (*runtime).watch);
        if watch == 0 || !matches(behind(watch, runtime), meaning) {
            return false;
        }
        let before = swap(&raw mut (*runtime).last_seen, at);
        if load(&raw const (*runtime).watch) != watch {
            return false;
        }
        // Two CPUs may have stamped two adverts and written them down the other way round.
        if at > before {
            note(slot, runtime, at - before);
        }
        add(&raw mut (*runtime).repeated, 1);
        #[cfg(feature = "timers")]
        crate::timer::run(slot, runtime, watch);
    }
    true
}

/// Compares an advert with the watched one.
///
/// # Safety
/// The pointer must lead to a value of `RUNTIME`.
#[inline(always)]
unsafe fn matches(runtime: *const Runtime, meaning: &Meaning) -> bool {
    let [a, b, c, d] = meaning.words();
    // SAFETY: the caller's.
    let [w, x, y, z] = unsafe {
        let words = &raw const (*runtime).meaning;
        [
            load(words.cast()),
            load(words.cast::<u64>().add(1)),
            load(words.cast::<u64>().add(2)),
            load(words.cast::<u64>().add(3)),
        ]
    };
    (a ^ w) | (b ^ x) | (c ^ y) | (d ^ z) == 0
}

/// Adds a gap to the histogram of a slot. Two CPUs that do so at the same time may lose an extreme,
/// never a count.
///
/// # Safety
/// The pointer must lead to the slot's value of `RUNTIME`.
#[inline(always)]
unsafe fn note(slot: u32, runtime: *mut Runtime, gap: u64) {
    // SAFETY: the caller's.
    unsafe {
        if gap > load(&raw const (*runtime).max) {
            store(&raw mut (*runtime).max, gap);
        }
        if !gap > load(&raw const (*runtime).min_inverted) {
            store(&raw mut (*runtime).min_inverted, !gap);
        }
        let missed = arrivals::missed(gap, load(&raw const (*runtime).interval));
        if missed > 0 {
            add(&raw mut (*runtime).missed, missed);
        }
    }
    let (row, at) = arrivals::place(arrivals::bucket(gap));
    if let Some(row) = ARRIVALS.get_ptr_mut(arrivals::row_at(slot, row)) {
        // SAFETY: the array's memory stays; all words of it are aligned.
        unsafe {
            if let Some(bucket) = (*row).get_mut(at) {
                add(bucket, 1);
            }
        }
    }
}
