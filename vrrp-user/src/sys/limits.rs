//! What the kernel lets this process have, and what it lets those have that it starts for others.

use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// A soft limit and a hard one.
pub(crate) type Limit = (rlim_t, rlim_t);

/// The limits that the daemon changes for itself, as they were when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtStart {
    /// Open descriptors.
    pub(crate) descriptors: Limit,
    /// Microseconds of real time without a pause.
    pub(crate) run_time: Limit,
}

static AT_START: OnceLock<AtStart> = OnceLock::new();

/// The limits as they were; `None`: they are as they were.
pub(crate) fn at_start() -> Option<AtStart> {
    AT_START.get().copied()
}

/// Learns what the limit of descriptors was when the daemon was started, of which this process is a part
/// that was started with another one. Before this process changes any limit itself.
///
/// # Errors
/// None that a kernel gives.
pub(crate) fn started_with(descriptors: Limit) -> io::Result<()> {
    let run_time = getrlimit(Resource::RLIMIT_RTTIME)?;
    AT_START.get_or_init(|| AtStart { descriptors, run_time });
    Ok(())
}

/// Lets this process, and those of the daemon that it starts, have as many descriptors as the hard limit
/// allows.
///
/// # Errors
/// The kernel's; the limit is then the one before.
pub(crate) fn raise_descriptors() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    started_with((soft, hard))?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}
