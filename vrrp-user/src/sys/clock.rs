//! CLOCK_MONOTONIC: its reading, and one timer on it.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};
use tokio::io::unix::AsyncFd;
use vrrp_common::Instant;

use crate::sys::readiness::watch;

/// The time now, on the clock of `bpf_ktime_get_ns`.
pub(crate) fn now() -> Instant {
    // The clock is always there; the call fails only for one that does not exist.
    clock_gettime(Clock::CLOCK_MONOTONIC).map_or_else(
        |_| Instant::default(),
        |t| Instant::from_nanos(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64),
    )
}

/// One deadline. tokio's own timers have a grain of a millisecond; this one has the kernel's.
#[derive(Debug)]
pub(crate) struct Timer {
    timer: TimerFd,
    ready: AsyncFd<OwnedFd>,
    armed: Option<Instant>,
}

impl Timer {
    /// A timer that is not armed; inside a tokio runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let ready = watch(timer.as_fd())?;
        Ok(Self { timer, ready, armed: None })
    }

    /// Moves the deadline; no call to the kernel where it stays.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>) -> std::io::Result<()> {
        if deadline == self.armed {
            return Ok(());
        }
        match deadline {
            Some(at) => {
                // Zero would disarm it; a deadline in the past fires at once.
                let nanos = at.as_nanos().max(1);
                let spec =
                    TimeSpec::new((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as i64);
                let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
                self.timer.set(Expiration::OneShot(spec), flags)?;
            }
            None => self.timer.unset()?,
        }
        self.armed = deadline;
        Ok(())
    }

    /// Waits for the deadline; forever where none is armed.
    pub(crate) async fn expired(&mut self) -> std::io::Result<()> {
        let mut guard = self.ready.readable().await?;
        guard.clear_ready();
        // Setting the timer anew takes the expiry back, so it need not be read.
        self.armed = None;
        Ok(())
    }
}
