//! A laboratory of network namespaces for everything that needs root: hosts on a bridge, daemons
//! in them, a capture with the kernel's stamps, a client that asks all the time.
//!
//! What is made is named after the process and removed when it is dropped, after a panic too; what
//! a killed run left behind goes when the next one begins. The daemon under test is `xvrrp` from
//! `XVRRP`, else from the workspace's `target/release`; `LAB_DAEMON=keepalived` plays the same
//! scenarios with keepalived, which shows whether it is the scenario or the daemon that fails.

pub mod bench_args;
pub mod capture;
pub mod cases;
pub mod conf;
pub mod daemon;
pub mod frame;
pub mod generator;
pub mod http;
pub mod inject;
pub mod lab;
pub mod netns;
pub mod packet;
pub mod ping;
pub mod probe;
pub mod process;
pub mod pulse;
pub mod roll;
pub mod status;
pub mod tshark;
mod turns;
pub mod wait;
pub mod watch;
pub mod web;

pub use capture::Capture;
pub use daemon::{Daemon, Kind};
pub use lab::Lab;
pub use pulse::Pulse;
pub use wait::{now, wait_until};
pub use watch::Watch;
