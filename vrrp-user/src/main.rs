//! `xvrrp`: VRRP for Linux with the keepalived.conf you have.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Whoever started us may have blocked signals, and then SIGTERM would never come.
    if let Err(error) = nix::sys::signal::SigSet::all().thread_unblock() {
        eprintln!("xvrrp: signals stay blocked as they were: {error}");
    }
    xvrrp::cli::main()
}
