//! The timers that run out when a watched advert stays away.
//!
//! They are lazy: an advert does not touch a running timer. And they are few: one for a group of slots,
//! which runs out when the first of them may be due, looks at all, and runs on for the first that is then.
//! As masters repeat themselves, each look finds all of them due later, so that a group costs one interrupt
//! per Master_Down_Interval where a timer for each slot would cost as many as there are slots. And groups
//! look a little early, at round times, so that one interrupt does for all of them; what is due is looked
//! at in time all the same, see [`early`].
#![expect(unsafe_code, reason = "timers are kernel helpers, and map values are reached by pointer")]

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::bpf_timer;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start};
use aya_ebpf::macros::btf_map;
use vrrp_common::abi::{Event, MAX_SLOTS, Runtime, SLOTS_PER_TIMER};

use crate::atomic::{load, replace, store, swap};
use crate::{emit, maps, watch};

/// A map that holds a timer can't be mapped into user space, so it holds nothing else of use there.
#[repr(C)]
struct Group {
    timer: bpf_timer,
    /// When the timer runs out at the latest; [`NEVER`] while it need not, and while it is looking.
    next: u64,
}

#[btf_map]
static TIMERS: Array<Group, { MAX_SLOTS.div_ceil(SLOTS_PER_TIMER) as usize }> = Array::new();

const CLOCK_MONOTONIC: u64 = 1;
const NEVER: u64 = u64::MAX;
/// An expiry that finds no room in the ring comes again after so many nanoseconds.
const AGAIN: u64 = 1_000_000;
/// A look that is not due for so many nanoseconds, 67 ms, may be earlier by a [`COARSE`] span.
const FAR: u64 = 1 << 26;
/// 17 ms.
const COARSE: u64 = 1 << 24;
/// A look that is not due for so many nanoseconds, 4.2 ms, may be earlier by a [`FINE`] span.
const NEAR: u64 = 1 << 22;
/// 2.1 ms.
const FINE: u64 = 1 << 21;
/// So often one starts anew because another CPU wants the timer to run out at another time.
const TRIES: u32 = 4;

/// Has the slot's timer run for this watch where it does not yet.
///
/// # Safety
/// The pointer must lead to the slot's value of `RUNTIME`.
#[inline(always)]
pub(crate) unsafe fn run(slot: u32, runtime: *mut Runtime, watch: u64) {
    // SAFETY: the caller's.
    unsafe {
        // Behind the exchange of `last_seen`: either this sees that the timer has run out, or the
        // timer sees that the advert came.
        if load(&raw const (*runtime).armed) == watch {
            return;
        }
        let due = due_at(runtime);
        // Before it runs, or it might run out first and be taken for running ever after. An exchange:
        // either `run_until` sees that the timer has run out, or the timer sees that this slot is armed.
        swap(&raw mut (*runtime).armed, watch);
        if !run_until::<true>(slot / SLOTS_PER_TIMER, due) {
            store(&raw mut (*runtime).armed, 0);
        }
    }
}

/// When to look for what is due at `due`: at a time at which others look too, where there is time for
/// another look before it; else just then.
#[inline(always)]
fn early(due: u64, now: u64) -> u64 {
    let wait = due.saturating_sub(now);
    if wait >= FAR {
        due & !(COARSE - 1)
    } else if wait >= NEAR {
        due & !(FINE - 1)
    } else {
        due
    }
}

/// Has a group's timer run out at `due` at the latest; `false` where that can't be had.
///
/// Where it may be the first time that it runs, `ANEW`, it is set up. The timer itself must not ask for
/// that: the verifier would follow it into itself for ever.
#[inline(never)]
fn run_until<const ANEW: bool>(group: u32, due: u64) -> bool {
    let Some(group) = TIMERS.get_ptr_mut(group) else {
        return false;
    };
    let due = early(due, emit::now());
    // SAFETY: the array's memory stays.
    unsafe {
        let next = &raw mut (*group).next;
        for _ in 0..TRIES {
            let before = load(next);
            // A group that never ran is zero.
            if before != 0 && before <= due {
                return true;
            }
            if replace(next, before, due) == before {
                return start::<ANEW>(group, due);
            }
        }
    }
    false
}

/// Starts a group's timer for the time that its `next` was just set to.
///
/// # Safety
/// The pointer must lead to a value of `TIMERS`.
#[inline(always)]
unsafe fn start<const ANEW: bool>(group: *mut Group, due: u64) -> bool {
    let mut due = due;
    // SAFETY: the caller's.
    unsafe {
        let timer = &raw mut (*group).timer;
        for _ in 0..TRIES {
            let wait = due.saturating_sub(emit::now());
            if bpf_timer_start(timer, wait, 0) != 0 && !(ANEW && set_up(timer, wait)) {
                store(&raw mut (*group).next, NEVER);
                return false;
            }
            // Whoever wants it earlier sets `next` first. If its start came before this one, this one
            // sees here what it wants.
            let next = load(&raw const (*group).next);
            if next >= due {
                return true;
            }
            due = next;
        }
    }
    false
}

/// Makes a timer of a group's memory and starts it. Another CPU may be here too; each step is right after
/// the other's.
///
/// # Safety
/// The pointer must lead to a timer of `TIMERS`.
#[inline(always)]
unsafe fn set_up(timer: *mut bpf_timer, wait: u64) -> bool {
    // SAFETY: the caller's.
    unsafe {
        bpf_timer_init(timer, ptr::from_ref(&TIMERS).cast_mut().cast(), CLOCK_MONOTONIC);
        bpf_timer_set_callback(timer, ran_out as *mut c_void);
        bpf_timer_start(timer, wait, 0) == 0
    }
}

/// Called by the kernel with the map and the key and value of the timer.
unsafe extern "C" fn ran_out(_: *mut c_void, index: *const u32, group: *mut Group) -> i32 {
    // SAFETY: the kernel's pointers are good for the call, and the array's memory stays.
    unsafe {
        let index = *index;
        // Before the slots are looked at: who has one watched from now on starts the timer itself.
        swap(&raw mut (*group).next, NEVER);
        let now = emit::now();
        let mut first = NEVER;
        let base = index.wrapping_mul(SLOTS_PER_TIMER);
        for at in 0..SLOTS_PER_TIMER {
            let due = due(base.wrapping_add(at), now);
            if due < first {
                first = due;
            }
        }
        if first != NEVER && !run_until::<false>(index, first) {
            // Others change `next` all the time. They start it themselves, but for what is here too it
            // must run.
            let wait = first.saturating_sub(emit::now());
            bpf_timer_start(&raw mut (*group).timer, wait, 0);
        }
    }
    0
}

/// Says when a slot's watch runs out, [`NEVER`] where no timer runs for one; reports it where it has.
#[inline(never)]
fn due(slot: u32, now: u64) -> u64 {
    let Some(runtime) = watch::runtime(slot) else {
        return NEVER;
    };
    // SAFETY: the array's memory stays; all words of it are aligned.
    unsafe {
        // First: what is read below belongs to this watch, or to a later one, and then nobody cares.
        let watch = load(&raw const (*runtime).watch);
        let armed = load(&raw const (*runtime).armed);
        if armed == 0 {
            return NEVER;
        }
        let due = due_at(runtime);
        if armed == watch && due > now {
            return due;
        }
        // An exchange for its barrier: see `run`.
        swap(&raw mut (*runtime).armed, 0);
        if watch == 0 {
            return NEVER;
        }
        let now = emit::now();
        let mut due = due_at(runtime);
        if due <= now {
            let last_seen = load(&raw const (*runtime).last_seen);
            if maps::emit(Event::expired(now, slot, last_seen, watch), |_| ()) {
                return NEVER;
            }
            due = now + AGAIN;
        }
        store(&raw mut (*runtime).armed, watch);
        due
    }
}

/// Master_Down_Interval after the last advert. It does not overflow: the clock began at boot, and user
/// space writes no interval of centuries. (To say so to the compiler would double the verifier's work.)
///
/// # Safety
/// The pointer must lead to a value of `RUNTIME`.
#[inline(always)]
unsafe fn due_at(runtime: *mut Runtime) -> u64 {
    // SAFETY: the caller's.
    unsafe { load(&raw const (*runtime).last_seen).wrapping_add(load(&raw const (*runtime).down)) }
}
