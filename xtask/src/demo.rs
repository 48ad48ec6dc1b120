//! `cargo xtask demo`: two web hosts, one address, and everything that can die, in a minute.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use vrrp_tests::daemon::use_binary;
use vrrp_tests::lab::{remove_all, remove_on_interrupt};
use vrrp_tests::{Kind, Lab};

use crate::object::target_dir;
use crate::run::{cargo, is_root, root, run};
use crate::{build_ebpf, packages};

mod acts;
mod conf;
mod stage;
mod table;
mod ticker;

use stage::Stage;

/// How to show it.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Leave the hosts and what runs on them standing at the end, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Only remove what an earlier `--keep` left standing
    #[arg(long, conflicts_with = "keep")]
    clean: bool,
}

/// What the namespaces of every demo begin with.
const PREFIX: &str = "xvdemo";

/// Builds what is needed, plays the whole programme and judges it.
///
/// # Errors
///
/// When something can't be built or installed, or did not go as it should.
pub(crate) fn demo(args: &Args) -> Result<()> {
    if !is_root() {
        bail!(
            "the demo makes network namespaces, and that needs root: run `sudo --preserve-env=PATH,HOME cargo xtask demo`"
        );
    }
    if args.clean {
        println!("{} namespaces of demos removed", remove_all(PREFIX));
        return Ok(());
    }
    packages::ensure(&packages::FOR_DEMO, "the demo", true)?;
    // For comparison the same programme can be played with keepalived.
    if Kind::ours_under_test() {
        build_ebpf::build(&build_ebpf::Args::default())?;
        let mut build: Command = cargo(["build", "--release", "--package", "vrrp-user"]);
        run(&mut build)?;
        use_binary(target_dir(&root()).join("release/xvrrp"));
    }
    play(args.keep)
}

fn play(keep: bool) -> Result<()> {
    let name = format!("{PREFIX}{}-", std::process::id());
    remove_on_interrupt(&name)?;
    let mut stage = Stage::set(Lab::named(&name, &["r1", "r2", "client"])?)?;
    let played = acts::play(&mut stage);
    let judged = table::print(stage.results());
    if keep {
        stage.keep();
    }
    played?;
    ensure!(judged, "not everything went as it should");
    Ok(())
}
