//! Two virtual routers with one VRID on one interface, told apart by their groups.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, brisk, wait_state};

const FIRST: &str = "VI_1";
const SECOND: &str = "VI_2";

/// The one on VRRP's own group.
fn first(priority: u8) -> Instance {
    brisk(priority).named(FIRST, 51).holding(&["192.0.2.241/24"])
}

fn second(priority: u8) -> Instance {
    let one = brisk(priority).named(SECOND, 51).holding(&["192.0.2.242/24"]);
    one.line("mcast_dst_ip 224.0.0.19")
}

fn both(one: Instance, other: Instance) -> String {
    Conf::new(3).with(one).with(other).text()
}

fn accepted(daemon: &Daemon, name: &str) -> Option<u64> {
    Some(daemon.status().ok()?.instance(name).ok()?.counter("accepted"))
}

/// Waits until an instance has heard more adverts than it has by now.
fn hears(daemon: &Daemon, name: &str) -> Result<()> {
    let before = accepted(daemon, name);
    wait_until(&format!("{name} hears"), LIMIT, || accepted(daemon, name) > before)
        .with_context(|| daemon.log_end())
        .map(drop)
}

/// Whether an instance's adverts come through a socket although XDP runs.
fn is_beside(daemon: &Daemon, name: &str) -> Result<bool> {
    Ok(daemon.status()?.instance(name)?.by_socket().is_some())
}

/// How often a daemon changed a state.
fn moves(daemon: &Daemon) -> usize {
    daemon.count_log("Entering MASTER") + daemon.count_log("Entering BACKUP")
}

/// Waits until one host has an address, and no other.
fn held(lab: &Lab, last: u8, by: &str) -> Result<()> {
    let address = format!("192.0.2.{last}");
    let alone = || lab.holders(&["r1", "r2"], &address) == [by];
    wait_until(&format!("{by} has {address} alone"), LIMIT, alone).map(drop)
}

#[test]
fn two_on_one_interface_with_one_vrid() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let ours = Kind::ours_under_test();
    let more: &[&str] = if ours { &["--datapath", "socket"] } else { &[] };
    let mut r1 = lab.run("r1", &both(first(200), second(100)))?;
    let r2 = Daemon::start(&lab, Kind::under_test(), "r2", &both(first(100), second(200)), more)?;
    held(&lab, 241, "r1")?;
    held(&lab, 242, "r2")?;
    if !ours {
        return Ok(());
    }
    for (daemon, listens) in [(&r1, SECOND), (&r2, FIRST)] {
        wait_state(daemon, listens, "BACKUP")?;
        hears(daemon, listens)?;
        let status = daemon.status()?;
        for name in [FIRST, SECOND] {
            ensure!(status.instance(name)?.refused_at_all() == 0, "{}", daemon.log());
        }
        ensure!(status.strangers().is_empty(), "{:?}", status.strangers());
    }
    // XDP has the first; the socket has all where XDP does not run.
    ensure!(r1.status()?.datapath("eth0")?.0 == "native", "{}", r1.log());
    ensure!(!is_beside(&r1, FIRST)? && is_beside(&r1, SECOND)?, "{}", r1.log());
    ensure!(!is_beside(&r2, FIRST)? && !is_beside(&r2, SECOND)?, "{}", r2.log());
    both_listen(&lab, &r1, &r2)?;
    reloads(&lab, &r1, &r2)?;
    crash(&lab, &r1, &r2)?;
    r1.stop()?;
    held(&lab, 241, "r2")?;
    held(&lab, 242, "r2")
}

/// Written the other way round they go on, each as it was, and so does the second without the first.
fn reloads(lab: &Lab, r1: &Daemon, r2: &Daemon) -> Result<()> {
    let before = [r1, r2].map(moves);
    r1.reload(&both(second(100), first(200)))?;
    wait_until("XDP has the other one", LIMIT, || is_beside(r1, FIRST).unwrap_or(false))?;
    ensure!(!is_beside(r1, SECOND)?, "{}", r1.log());
    hears(r1, SECOND)?;
    hears(r2, FIRST)?;
    r1.reload(&both(first(200), second(100)))?;
    wait_until("and the first again", LIMIT, || is_beside(r1, SECOND).unwrap_or(false))?;
    hears(r1, SECOND)?;
    pause(1500);
    ensure!([r1, r2].map(moves) == before, "{}\n{}", r1.log(), r2.log());
    r1.reload(&Conf::new(3).with(second(100)).text())?;
    wait_until("XDP has the one that stays", LIMIT, || !is_beside(r1, SECOND).unwrap_or(true))?;
    wait_state(r2, FIRST, "MASTER")?;
    held(lab, 241, "r2")?;
    hears(r1, SECOND)?;
    ensure!(moves(r1) == before[0], "{}", r1.log());
    // What goes to VRRP's own group is of another cluster now, and no word is lost about it.
    ensure!(r1.count_log("refused advert") == 0, "{}", r1.log());
    Ok(())
}

/// Where both hear adverts, none is taken for the other one's.
fn both_listen(lab: &Lab, r1: &Daemon, r2: &Daemon) -> Result<()> {
    r1.reload(&both(first(50), second(50)))?;
    held(lab, 241, "r2")?;
    held(lab, 242, "r2")?;
    let before = moves(r1);
    for name in [FIRST, SECOND] {
        wait_state(r2, name, "MASTER")?;
        wait_state(r1, name, "BACKUP")?;
        hears(r1, name)?;
    }
    pause(1500);
    ensure!(moves(r1) == before, "{}", r1.log());
    for name in [FIRST, SECOND] {
        ensure!(r1.status()?.instance(name)?.refused_at_all() == 0, "{}", r1.log());
    }
    r1.reload(&both(first(200), second(100)))?;
    held(lab, 241, "r1")?;
    wait_state(r2, FIRST, "BACKUP").map(drop)
}

/// Each goes on as what it was.
fn crash(lab: &Lab, r1: &Daemon, r2: &Daemon) -> Result<()> {
    // Slowly enough for a start on a busy host.
    r1.reload(&both(first(250).every("1"), second(250).every("1")))?;
    held(lab, 241, "r1")?;
    held(lab, 242, "r1")?;
    wait_state(r2, FIRST, "BACKUP")?;
    wait_state(r2, SECOND, "BACKUP")?;
    let (old, taken) = (r1.worker()?, moves(r2));
    signal(old, Signal::SIGKILL);
    wait_until("there is a new worker", LIMIT, || r1.worker().is_ok_and(|new| new != old))?;
    for name in [FIRST, SECOND] {
        wait_state(r1, name, "MASTER")?;
    }
    pause(1500);
    ensure!(moves(r2) == taken, "{}\n{}", r1.log(), r2.log());
    held(lab, 241, "r1")?;
    held(lab, 242, "r1")
}
