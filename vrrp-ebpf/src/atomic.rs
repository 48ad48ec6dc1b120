//! Words that user space or another CPU reads and writes at the same time.
#![expect(unsafe_code, reason = "the words are in map values, reached by pointer")]

#[cfg(all(target_arch = "bpf", feature = "timers"))]
use core::intrinsics::atomic_cxchg;
#[cfg(target_arch = "bpf")]
use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xchg};
use core::ptr;

/// Reads a word, whole and at this place in the program's order.
///
/// # Safety
/// The pointer must lead to an aligned word of a map value.
#[inline(always)]
pub(crate) unsafe fn load(word: *const u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { ptr::read_volatile(word) }
}

/// Makes reads through the pointer wait for the value `read` that was read before.
///
/// BPF has no load that other loads wait for before Linux 6.15; but no CPU reads from an address before
/// it knows it.
#[inline(always)]
pub(crate) fn behind<T>(read: u64, pointer: *const T) -> *const T {
    #[cfg(target_arch = "bpf")]
    {
        let mut nothing = read;
        // SAFETY: it changes this register and nothing else.
        unsafe {
            core::arch::asm!("{0} &= 0", inout(reg) nothing, options(pure, nomem, nostack));
        }
        pointer.wrapping_byte_add(nothing as usize)
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = read;
        pointer
    }
}

/// Writes a word, whole and at this place in the program's order.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store(word: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { ptr::write_volatile(word, value) }
}

/// Replaces a word and returns what it was; nothing before it is done after it, nothing after it
/// before.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn swap(word: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's. The kernel runs the instruction with a full barrier.
    return unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(word, value) };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    return unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .swap(value, core::sync::atomic::Ordering::SeqCst);
}

/// Replaces a word where it is `expected`, and returns what it was; in order as [`swap`].
///
/// # Safety
/// As for [`load`].
#[cfg(feature = "timers")]
#[inline(always)]
pub(crate) unsafe fn replace(word: *mut u64, expected: u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's. The kernel runs the instruction with a full barrier.
    return unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
            word, expected, value,
        )
    }
    .0;
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    return unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .compare_exchange(
            expected,
            value,
            core::sync::atomic::Ordering::SeqCst,
            core::sync::atomic::Ordering::SeqCst,
        )
        .unwrap_or_else(|other| other);
}

/// Adds to a word.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, value);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .fetch_add(value, core::sync::atomic::Ordering::Relaxed);
}
