//! The project's chores, as `cargo xtask VERB`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod build_ebpf;
mod compiler;
mod demo;
mod deny;
mod linker;
mod object;
mod packages;
mod programs;
mod root_tests;
mod run;
mod second;
mod slim;
mod steps;
mod test;
mod tidy;
mod toolchain;

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", about = "Builds, tests and shows xvrrp")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Measure xvrrp, keepalived and FRR side by side in network namespaces
    Bench(vrrp_tests::bench_args::BenchArgs),
    /// Build the kernel program that xvrrp embeds, installing the toolchain for it if need be
    BuildEbpf(build_ebpf::Args),
    /// Show in a minute, on two hosts and a client made of namespaces, what xvrrp does
    Demo(demo::Args),
    /// Run all checks and tests, or the chosen parts, with all the set-up they need
    Test(test::Args),
    /// Check the repository's own rules
    Tidy,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Bench(args) => bench::bench(&args),
        Verb::BuildEbpf(args) => build_ebpf::build(&args),
        Verb::Demo(args) => demo::demo(&args),
        Verb::Test(args) => test::test(&args),
        Verb::Tidy => tidy::tidy(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
