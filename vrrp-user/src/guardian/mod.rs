//! The guardian: the main process. It starts the worker, which is the daemon proper, and takes care of
//! what that leaves when it dies.
//!
//! It is small, has one thread and waits in one place: for signals, which it passes on; for the worker's
//! end; for messages of the worker (`channel`), which has its descriptors kept here; and for the time
//! at which the ledger says that the worker should have been back.
//!
//! A first worker that ends by itself before it was at work is believed, whatever it ended with, and so is
//! each later one that was asked to end; the guardian ends with that code. One that was killed, failed or
//! hangs is replaced at once, and the new one goes on as Active, with the configuration that it had, while
//! the peers still wait. Where that can't be made in time, the routers are released from here: priority 0,
//! addresses off. So are those of an earlier life, while a first worker starts. A worker that crashes
//! again and again is let go and tried anew after a while, which then listens first.

use std::ffi::CStr;
use std::process::ExitCode;

pub(crate) mod channel;
mod crash;
mod crashes;
mod left;
mod notify;
mod run;
mod say;
mod starved;
mod worker;

/// The name under which a worker has its ledger kept.
pub(crate) const LEDGER: &str = "ledger";

/// The name under which a worker has the run directory's lock kept.
pub(crate) const LOCK: &str = "lock";

/// The argument by which the worker knows that it is one.
pub(crate) const MARK: &str = "--guarded";

/// The name that a worker's process gives itself.
pub(crate) const WORKER: &CStr = c"xvrrp-worker";

/// Runs as the guardian of a worker with this process's arguments, until that ends.
pub(crate) fn main() -> ExitCode {
    match run::Guardian::start() {
        Ok(guardian) => ExitCode::from(guardian.watch()),
        Err(error) => {
            say::error(&format!("the daemon can't be started: {error}"));
            ExitCode::FAILURE
        }
    }
}
