//! Real-time scheduling.
#![expect(unsafe_code, reason = "no library wraps sched_setscheduler safely")]

use std::io;

/// Above the kernel's threaded interrupts, which run at 50: below them a thread that waits for a packet
/// waits for everything else the host receives.
pub(crate) const PRIORITY: i32 = 51;

/// Gives the calling thread real-time scheduling, first in first out; processes it starts don't inherit
/// it.
///
/// # Errors
/// The kernel's, where the process may not have it.
pub(crate) fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
