//! `xvrrp`: VRRP for Linux with the keepalived.conf you have.

use std::process::ExitCode;

fn main() -> ExitCode {
    xvrrp::cli::main()
}
