//! `cargo xtask bench`: xvrrp, keepalived and FRR side by side. This builds and installs what that
//! needs; the program that measures is in the tests' package, on whose laboratory it is built.

use std::env;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail};
use vrrp_tests::bench_args::{BenchArgs, Measure, Who};

use crate::build_ebpf;
use crate::object::target_dir;
use crate::packages::{FOR_TESTS, Needed, ensure};
use crate::run::{cargo, is_root, program, root, run, shell_line};

/// Names the daemon to measure in the place of the one that is built here.
const BINARY: &str = "XVRRP";

/// Builds what is needed and becomes the program that measures.
///
/// # Errors
///
/// When something can't be built, installed or started.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if !is_root() {
        bail!(
            "the measuring makes network namespaces, and that needs root: run `sudo --preserve-env=PATH,HOME cargo xtask bench`"
        );
    }
    let needed: Vec<_> = FOR_TESTS.into_iter().filter(|tool| is_needed(tool, args)).collect();
    ensure(&needed, "the measures", true)?;
    if build_is_needed(args) {
        build_ebpf::build(&build_ebpf::Args::default())?;
    }
    let target = target_dir(&root()).join("release");
    let mut measure = program(target.join("bench"));
    if args.daemons().contains(&Who::Xvrrp) && env::var_os(BINARY).is_none() {
        run(&mut cargo(["build", "--release", "--package", "vrrp-user"]))?;
        measure.env(BINARY, target.join("xvrrp"));
    }
    let what = ["build", "--release", "--package", "vrrp-tests"];
    run(cargo(what).args(["--features", "bench", "--bin", "bench"]))?;
    // The same words to the same parser; and files where the caller stands, not in the workspace.
    measure.args(env::args_os().skip(2)).current_dir(env::current_dir()?);
    println!("  $ {}", shell_line(&measure));
    // In this task's place: it gets a Ctrl-C itself, and removes its namespaces before it ends.
    Err(measure.exec()).context("start the measuring")
}

/// Whether a tool of the tests is one of the measures as well.
fn is_needed(tool: &Needed, args: &BenchArgs) -> bool {
    match tool.package {
        "iproute2" | "ethtool" => true,
        "keepalived" => args.daemons().contains(&Who::Keepalived),
        "frr" => args.daemons().contains(&Who::Frr),
        _ => false,
    }
}

/// Whether the kernel program is asked for anything.
fn build_is_needed(args: &BenchArgs) -> bool {
    args.daemons().contains(&Who::Xvrrp)
        && (env::var_os(BINARY).is_none() || args.measures().contains(&Measure::Xdp))
}
