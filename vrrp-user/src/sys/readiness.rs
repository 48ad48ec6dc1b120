//! Waiting for a descriptor without blocking the thread.
#![expect(unsafe_code, reason = "tokio has no safe way to register a descriptor")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// Watches what a descriptor refers to, by a descriptor of its own.
///
/// Once the thing is drained, clear the readiness; it comes back with the next event.
///
/// # Errors
/// The kernel's, where no descriptor is left or the thing can't be waited for.
pub(crate) fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is open, and stays the same descriptor, until it is dropped, and the
    // `AsyncFd` owns it from here on.
    unsafe { AsyncFd::register(own) }.map_err(io::Error::from)
}

/// The same for one wait at a time, and without a descriptor of its own: it needs none to be left.
///
/// # Errors
/// The kernel's, where the thing can't be waited for.
pub(crate) fn look(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: what is borrowed is open, and stays the same descriptor, for as long as it is borrowed,
    // and the `AsyncFd` is gone before.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
