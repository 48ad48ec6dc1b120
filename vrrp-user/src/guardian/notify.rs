//! What the service manager is told, where there is one that wants to know.

use std::time::Duration;

use sd_notify::NotifyState;
use vrrp_common::Instant;

/// The service manager's watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// As the environment says.
    pub(super) fn new(now: Instant) -> Self {
        // Twice as often as it has to be.
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 2), next: now }
    }

    /// Tells it that this process lives, when that is due, and says when it is again.
    pub(super) fn tend(&mut self, now: Instant) -> Option<Instant> {
        let every = self.every?;
        if now >= self.next {
            tell(&[NotifyState::Watchdog]);
            self.next = now + every;
        }
        Some(self.next)
    }
}

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a service manager nothing is sent; one that does not listen is not waited for.
    let _ = sd_notify::notify(state);
}
