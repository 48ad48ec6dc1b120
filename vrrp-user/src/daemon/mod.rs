//! The daemon: two threads that matter and how they start and end.
//!
//! The protocol thread (`protocol`) hears and sends adverts and owns the engine. Everything else
//! (`service`) runs on the thread that called `run`: configuration, interfaces, scripts, notify
//! commands, the control socket and the log. Address work has its thread in [`crate::net::executor`].

mod accept;
pub(crate) mod accepted;
mod apply;
mod budget;
mod elsewhere;
mod flaps;
mod groups;
mod hear;
mod host;
mod index;
mod lapses;
mod leftovers;
mod life;
mod lost;
mod names;
mod order;
mod own_links;
mod paths;
mod place;
mod plan;
mod ports;
mod protocol;
mod reading;
mod reconcile;
mod refusals;
mod repeats;
mod report;
mod rivals;
mod room;
mod running;
mod secondaries;
pub(crate) mod served;
mod service;
pub(crate) mod sought;
mod stopping;
mod strays;
mod trackers;
mod unknown;
mod unsent;
mod words;

use std::fs::File;
use std::path::PathBuf;

use self::accepted::Accepted;
use crate::config::ReadError;
use crate::config::model::Datapath;
use crate::guardian::channel::Keeper;
use crate::log;
use crate::run_dir::RunDirError;
use crate::sys::limits::raise_descriptors;

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Which way adverts take; `None` leaves it to the file.
    pub datapath: Option<Datapath>,
    /// The run directory.
    pub run_dir: PathBuf,
    /// What an earlier worker had read: a start in its place reads that.
    pub(crate) accepted: Option<Accepted>,
}

/// Why the daemon ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operator: the configuration can't be used. The details have been logged.
    #[error("{0}")]
    Config(String),
    /// The operator: no configuration file.
    #[error("{0}")]
    NoConfig(String),
    /// The operator: a configuration file that can't be read.
    #[error("the configuration can't be read: {0}")]
    Unreadable(ReadError),
    /// The operator: not enough rights.
    #[error(
        "{what}: {error}; xvrrp needs root, or CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"
    )]
    Permission {
        /// What was refused.
        what: &'static str,
        /// By whom and how.
        error: std::io::Error,
    },
    /// The run directory.
    #[error("{0}{remedy}", remedy = .0.remedy())]
    RunDir(#[from] RunDirError),
    /// The system.
    #[error("{what}: {error}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// Ourselves.
    #[error("internal error: {0}")]
    Internal(String),
}

impl RunError {
    /// keepalived's exit codes: 1 fatal, 2 configuration, 4 no permission, 6 no configuration, 70
    /// internal.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Permission { .. } => 4,
            Self::NoConfig(_) => 6,
            Self::RunDir(RunDirError::Io { error, .. })
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                4
            }
            Self::Unreadable(error)
                if error.source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                4
            }
            Self::RunDir(_) | Self::System { .. } | Self::Unreadable(_) => 1,
            Self::Internal(_) => log::INTERNAL,
        }
    }

    fn from_io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                Self::Permission { what, error }
            } else {
                Self::System { what, error }
            }
        }
    }
}

/// Descriptors that the runtime and its signals take: it panics where there are none for the latter.
const ROOM: usize = 10;

/// Runs until a signal ends it; where it has a guardian, as its worker.
///
/// # Errors
/// [`RunError`] says who has to do what.
pub(crate) fn run(options: Options, keeper: Option<Keeper>) -> Result<(), RunError> {
    // Each interface takes four descriptors and each running script some; what the hard limit allows is
    // ours to use. Where even that is refused, the soft limit will do for most.
    if let Err(error) = raise_descriptors() {
        tracing::debug!("the limit of descriptors stays as it is: {error}");
    }
    has_room().map_err(RunError::from_io("runtime"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::from_io("tokio runtime"))?;
    let result = runtime.block_on(service::run(options, keeper));
    // A look-up of a user that hangs in a directory service must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Takes [`ROOM`] descriptors for a moment.
fn has_room() -> std::io::Result<()> {
    let some = (0..ROOM).map(|_| File::open("/dev/null")).collect::<std::io::Result<Vec<_>>>();
    some.map(drop)
}
