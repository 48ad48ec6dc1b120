//! The running daemon where something fails, moves or is missing under it.

mod accept;
mod answers;
mod anywhere;
mod apart;
mod away;
mod beside;
mod changing;
mod deaf;
mod differing;
mod duplicates;
mod elsewhere;
mod ending;
mod exits;
mod flapping;
mod flooded;
mod frozen;
mod groups;
mod lost;
mod macvlans;
mod moving;
mod owners;
mod paths;
mod priority;
mod released;
mod renaming;
mod rights;
mod run_dirs;
mod scripted;
mod sought;
mod sources;
mod strays;
mod taken_off;
mod takeovers;
mod twice;
mod unheard;
mod unheld;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Daemon, Lab, wait_until};

const VIP: &str = "192.0.2.250";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);

/// Less than two intervals of 1 s: between two adverts that are no further apart, none is missing.
const GAP: Duration = Duration::from_millis(1790);

/// An instance that is MASTER after 1.5 s where it is alone.
fn brisk(priority: u8) -> Instance {
    Instance::new(priority).every("0.4")
}

/// A daemon on `r1` that holds the address.
fn master(lab: &Lab) -> Result<Daemon> {
    let daemon = lab.run("r1", &brisk(100).alone(3))?;
    // An earlier one may have left the address, so that alone says nothing.
    wait_state(&daemon, "VI_1", "MASTER")?;
    wait_until("r1 has the address", LIMIT, || lab.holds("r1", VIP))
        .with_context(|| daemon.log_end())?;
    Ok(daemon)
}

/// The state of an instance, as `status` says.
fn state(daemon: &Daemon, instance: &str) -> Result<String> {
    Ok(daemon.status()?.instance(instance)?.state().to_owned())
}

/// Waits until `status` says that an instance is in a state.
fn wait_state(daemon: &Daemon, instance: &str, expected: &str) -> Result<Duration> {
    let there = || state(daemon, instance).is_ok_and(|state| state == expected);
    wait_until(&format!("{instance} is {expected}"), LIMIT, there).with_context(|| daemon.log_end())
}
