//! `cargo xtask test`: all checks that a change must pass, with the set-up that they need.

use anyhow::{Result, bail};

use crate::run::{cargo, is_root, root, run};
use crate::steps::Steps;
use crate::{build_ebpf, demo, deny, packages, root_tests, second, tidy};

/// Which parts to run; without any: all.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Format, own rules, clippy, documentation, licences
    #[arg(long)]
    lint: bool,
    /// What runs without root: unit tests, the fuzzers' corpus and targets
    #[arg(long)]
    unit: bool,
    /// What needs root: network namespaces, real peers, the kernel program
    #[arg(long)]
    root: bool,
    /// Of what needs root, only what runs on this kernel
    #[arg(long)]
    kernel: Option<Kernel>,
    /// Only those tests of that kernel whose names contain this
    #[arg(requires = "kernel")]
    filter: Option<String>,
    /// Install and fetch nothing: where something is missing, fail and say what would be done
    #[arg(long)]
    no_install: bool,
}

/// A kernel that the root tests run on.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// The one that runs here
    Running,
    /// Debian's own, emulated: for what the running one may have been built without
    Debian,
}

const BUILD: &str = "kernel program";
const RELEASE: &str = "release build";
const PACKAGES: &str = "packages";
const SECOND: &str = "second kernel";

/// Runs the chosen parts.
///
/// # Errors
///
/// When a step fails, with the names of all that did.
pub(crate) fn test(args: &Args) -> Result<()> {
    let root = args.root || args.kernel.is_some();
    let all = !(args.lint || args.unit || root);
    if (all || root) && !is_root() {
        bail!(
            "the tests in network namespaces need root: run `sudo --preserve-env=PATH,HOME cargo xtask test`, or `cargo xtask test --lint --unit` for all the others"
        );
    }
    let mut steps = Steps::default();
    steps.step(BUILD, || build_ebpf::build(&build_ebpf::Args::new(args.no_install)));
    if all || args.lint {
        lint(&mut steps);
    }
    if all || args.unit {
        unit(&mut steps);
    }
    if all || root {
        steps.step_after(&[BUILD], RELEASE, || {
            run(&mut cargo(["build", "--release", "--package", "vrrp-user"]))
        });
        if args.kernel != Some(Kernel::Debian) {
            root_tests(&mut steps, args);
        }
        if args.kernel != Some(Kernel::Running) {
            second_kernel(&mut steps, args);
        }
    }
    steps.close()
}

fn lint(steps: &mut Steps) {
    steps.step("format", || run(&mut cargo(["fmt", "--all", "--check"])));
    steps.step("tidy", tidy::tidy);
    steps.step("clippy", || {
        clippy(&["--all-targets"])?;
        clippy(&["--package", "vrrp-tests", "--all-targets"])?;
        // Its profile ends a panic at once, without which the program is not complete on the host.
        let kernel = ["--package", "vrrp-ebpf", "--profile", "ebpf"];
        clippy(&kernel)?;
        clippy(&[&kernel[..], &["--all-features"]].concat())
    });
    steps.step("documentation", || {
        run(cargo(["doc", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"))
    });
    deny::check(steps);
}

fn clippy(what: &[&str]) -> Result<()> {
    run(cargo(["clippy"]).args(what).args(["--", "-D", "warnings"]))
}

fn unit(steps: &mut Steps) {
    steps.step("unit tests", || run(&mut cargo(["test", "--no-fail-fast"])));
    if root().join("fuzz/Cargo.toml").is_file() {
        // Another workspace: a change of ours must not leave its lock file behind.
        let manifest = ["test", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
        steps.step("fuzz corpus", || run(&mut cargo(manifest)));
        // The corpus is replayed through the library; nothing else compiles the targets.
        let check = ["check", "--manifest-path", "fuzz/Cargo.toml", "--bins"];
        let features = ["--features", "targets"];
        steps.step("fuzz targets", || run(cargo(check).args(features)));
    }
}

fn root_tests(steps: &mut Steps, args: &Args) {
    steps.step(PACKAGES, || {
        packages::ensure(&packages::FOR_TESTS, "the root tests", !args.no_install)
    });
    steps.step_after(&[BUILD, RELEASE, PACKAGES], "root tests", || {
        root_tests::test(args.filter.as_deref())
    });
    if args.filter.is_none() {
        steps.step_after(
            &[BUILD, RELEASE, PACKAGES],
            "demo",
            || demo::demo(&demo::Args::default()),
        );
    }
}

fn second_kernel(steps: &mut Steps, args: &Args) {
    const FETCHED: &str = "Debian's kernel";
    steps.step(FETCHED, || second::prepare(!args.no_install));
    steps.step_after(&[BUILD, RELEASE, FETCHED], SECOND, || second::test(args.filter.as_deref()));
}
