//! More good adverts than anybody sends: a loop in the network, or somebody who repeats them.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use vrrp_tests::generator::{Beat, Generator};
use vrrp_tests::process::Memory;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab};

use super::{ADDRESS, LIMIT, VIP, brisk, state, wait_state};

/// KiB: what is told of a flood may wait in memory, but not as much as comes. All would take 8 MiB where
/// only 20,000 adverts a second come.
const MORE: u64 = 4 << 10;

#[test]
fn a_flood_of_good_adverts_is_no_more_than_adverts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("native", || lower("xdp")), ("socket", || lower("socket"))])
}

/// Adverts that lose against the MASTER, in turn of several senders.
fn lower(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &brisk(200).alone(3), &["--datapath", path])?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let beat = |number: u8, priority| Beat {
        source: Ipv4Addr::new(192, 0, 2, number),
        version: 3,
        vrid: 51,
        priority,
        interval_ms: 400,
        addresses: vec![ADDRESS],
        password: None,
    };
    let frames = (0..128).map(|n| beat(100 + n % 3, 100).frame()).collect();
    let workers = [r1.worker()?];
    let before = Memory::of(&workers).resident;
    let generator = Generator::at_full_speed(lab.ns("r2"), frames)?;
    pause(3000);
    let sent = generator.finish()?;
    let after = Memory::of(&workers).resident;
    ensure!(after < before + MORE, "{before} KiB, then {after} KiB of {} frames", sent.frames);
    ensure!(state(&r1, "VI_1")? == "MASTER" && lab.holds("r1", VIP), "{}", r1.log_end());
    // What matters is told as ever.
    lab.inject("r2", &beat(99, 250).frame())?;
    r1.wait_log("higher priority 250", LIMIT).with_context(|| r1.log_end())
}
