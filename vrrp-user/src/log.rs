//! The log: to standard error, with the time unless journald adds it.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts logging. `XVRRP_LOG` sets the level (`warn`, `info`, `debug`); `info` where it is not set.
pub fn init() {
    let filter = EnvFilter::try_from_env("XVRRP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // journald stamps each line itself and says where its socket is.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        subscriber.without_time().init();
    } else {
        subscriber.with_timer(SystemTime).init();
    }
}
