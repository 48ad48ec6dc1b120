//! The project's chores, as `cargo xtask VERB`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod apt;
mod build_ebpf;
mod compiler;
mod linker;
mod object;
mod run;
mod toolchain;

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", about = "Builds, tests and shows xvrrp")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Build the kernel program that xvrrp embeds, installing the toolchain for it if need be
    BuildEbpf(build_ebpf::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::BuildEbpf(args) => build_ebpf::build(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
