//! cargo-deny: licences, sources and bans of what we depend on.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::object::target_dir;
use crate::run::{cargo, forget, program, root, run, which};
use crate::steps::Steps;

const VERSION: &str = "0.20.2";

/// The step. Who has no cargo-deny is spared its minute of compiling, except CI.
pub(crate) fn check(steps: &mut Steps) {
    const STEP: &str = "licences";
    let tools = target_dir(&root()).join("tools");
    let found = which("cargo-deny", &[tools.join("bin")]);
    if found.is_none() && env::var_os("CI").is_none() {
        return steps.leave_out(STEP, "no cargo-deny here (`cargo install --locked cargo-deny`)");
    }
    steps.step(STEP, || {
        let deny = found.map_or_else(|| install(&tools), Ok)?;
        // Not the advisories: their list is fetched from outside and changes without us.
        run(program(deny).args(["deny", "check", "bans", "licenses", "sources"]))
    });
}

/// Into the target folder, unoptimised: a third of the time, and nobody else's tools are touched.
fn install(tools: &Path) -> Result<PathBuf> {
    println!("  installing cargo-deny {VERSION} in {}", tools.display());
    let mut command = cargo(["install", "--locked", "--debug", "cargo-deny", "--version", VERSION]);
    forget(&mut command, |name| name.contains("RUSTFLAGS") || name == "CARGO_TARGET_DIR");
    run(command.arg("--root").arg(tools).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(tools.join("bin/cargo-deny"))
}
