//! The timer that runs out when a watched advert stays away.
//!
//! It is lazy: an advert does not touch a running timer. When it runs out it looks when the advert last
//! came, and runs on for what is left.
#![expect(unsafe_code, reason = "timers are kernel helpers, and map values are reached by pointer")]

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::bpf_timer;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start};
use aya_ebpf::macros::btf_map;
use vrrp_common::abi::{Event, MAX_SLOTS, Runtime};

use crate::atomic::{load, store, swap};
use crate::{emit, maps, watch};

/// A map that holds a timer can't be mapped into user space, so it holds nothing else.
#[repr(C)]
struct Timer {
    timer: bpf_timer,
}

#[btf_map]
static TIMERS: Array<Timer, { MAX_SLOTS as usize }> = Array::new();

const CLOCK_MONOTONIC: u64 = 1;
/// An expiry that finds no room in the ring comes again after so many nanoseconds.
const AGAIN: u64 = 1_000_000;

/// Starts the slot's timer where it does not run for this watch.
///
/// # Safety
/// The pointer must lead to the slot's value of `RUNTIME`.
#[inline(always)]
pub(crate) unsafe fn run(slot: u32, runtime: *mut Runtime, watch: u64) {
    // SAFETY: the caller's; the timers' array stays too.
    unsafe {
        // Behind the exchange of `last_seen`: either this sees that the timer has run out, or the
        // timer sees that the advert came.
        if load(&raw const (*runtime).armed) == watch {
            return;
        }
        let Some(timer) = TIMERS.get_ptr_mut(slot) else {
            return;
        };
        let timer = &raw mut (*timer).timer;
        let down = load(&raw const (*runtime).down);
        // Before it runs, or it might run out first and be taken for running ever after.
        store(&raw mut (*runtime).armed, watch);
        if bpf_timer_start(timer, down, 0) == 0 {
            return;
        }
        // The slot's first. Another CPU may be here too; each step is right after the other's.
        bpf_timer_init(timer, ptr::from_ref(&TIMERS).cast_mut().cast(), CLOCK_MONOTONIC);
        bpf_timer_set_callback(timer, ran_out as *mut c_void);
        if bpf_timer_start(timer, down, 0) != 0 {
            store(&raw mut (*runtime).armed, 0);
        }
    }
}

/// Called by the kernel with the map and the key and value of the timer.
unsafe extern "C" fn ran_out(_: *mut c_void, slot: *const u32, timer: *mut Timer) -> i32 {
    // SAFETY: the kernel's pointers are good for the call, and the array's memory stays.
    unsafe {
        let slot = *slot;
        if let Some(runtime) = watch::runtime(slot)
            && let Some((watch, wait)) = wait(slot, runtime)
        {
            store(&raw mut (*runtime).armed, watch);
            bpf_timer_start(&raw mut (*timer).timer, wait, 0);
        }
    }
    0
}

/// Says for which watch and how long the timer must run on; reports the expiry where it need not.
///
/// # Safety
/// The pointer must lead to the slot's value of `RUNTIME`.
#[inline(always)]
unsafe fn wait(slot: u32, runtime: *mut Runtime) -> Option<(u64, u64)> {
    // SAFETY: the caller's.
    let (watch, last_seen, down) = unsafe {
        // First: what is read below belongs to this watch, or to a later one, and then nobody cares.
        let watch = load(&raw const (*runtime).watch);
        // An exchange for its barrier: see `run`.
        swap(&raw mut (*runtime).armed, 0);
        (watch, load(&raw const (*runtime).last_seen), load(&raw const (*runtime).down))
    };
    if watch == 0 {
        return None;
    }
    let now = emit::now();
    let due = last_seen.saturating_add(down);
    if due > now {
        return Some((watch, due - now));
    }
    let event = Event::expired(now, slot, last_seen, watch);
    if maps::emit(event, |_| ()) { None } else { Some((watch, AGAIN)) }
}
