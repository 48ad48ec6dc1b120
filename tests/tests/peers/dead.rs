//! What a dead process has left to say is said for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, wait_until};

use crate::{By, LIMIT, Pair, holds};

/// How a daemon ends that can't say priority 0 itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it is killed, and `xvrrp release` is run.
    Release,
    /// Its workers are killed until the guardian gives up.
    Workers,
}

/// What a dead process has left to say is said to single hosts and behind authentication headers, too: the
/// peer takes over by priority 0, and hears the one that is started anew.
#[test]
fn what_a_dead_process_has_left_to_say() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("unicast", || say_for_the_dead(By::Unicast, Kind::Keepalived, End::Release)),
        ("unicast over IPv6", || say_for_the_dead(By::Unicast6, Kind::Xvrrp, End::Release)),
        ("unicast, workers", || say_for_the_dead(By::Unicast, Kind::Xvrrp, End::Workers)),
        ("AH", || say_for_the_dead(By::Sealed, Kind::Keepalived, End::Release)),
        ("AH, workers", || say_for_the_dead(By::Sealed, Kind::Xvrrp, End::Workers)),
    ])
}

fn say_for_the_dead(by: By, other: Kind, end: End) -> Result<()> {
    let pair = Pair::new(by)?;
    let lab = &pair.lab;
    let mut r1 = pair.start(Kind::Xvrrp, "r1", 200)?;
    pair.serves("r1", "r1 holds").with_context(|| r1.log_end())?;
    if by == By::Sealed {
        r1.kill()?;
        let ahead = set_numbers_ahead(r1.run_dir())?;
        r1 = pair.start(Kind::Xvrrp, "r1", 200)?;
        // Its address is on all the time; on a busy machine it may be too late, and begin anew.
        wait_until("r1 goes on", LIMIT, || {
            r1.status().is_ok_and(|s| s.instance("VI_1").is_ok_and(|one| one.state() == "MASTER"))
        })
        .with_context(|| r1.log_end())?;
        pair.serves("r1", "r1 has it").with_context(|| r1.log_end())?;
        let grown = || last_number(r1.run_dir()).is_ok_and(|last| last > ahead);
        wait_until("r1's numbers go on", LIMIT, grown).with_context(|| r1.log_end())?;
    }
    let mut r2 = pair.start(other, "r2", 100)?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(1500);
    ensure!(holds(lab, "r1", by) && !holds(lab, "r2", by), "r2 took over: {}", r2.log_end());
    match end {
        End::Release => {
            r1.kill()?;
            let done = r1.release(lab, "r1")?;
            let words = String::from_utf8_lossy(&done.stdout).into_owned();
            ensure!(done.status.success() && words.contains("priority 0 sent"), "{words}");
        }
        End::Workers => kill_workers(&r1)?,
    }
    pair.serves("r2", "r2 holds after r1 was killed")
        .with_context(|| r1.log_end() + &r2.log_end())?;
    ensure!(r2.log().contains("eceived priority 0 adver"), "no priority 0: {}", r2.log());
    if end == End::Release {
        r1 = pair.start(Kind::Xvrrp, "r1", 200)?;
        pair.serves("r1", "r1 preempts").with_context(|| r1.log_end() + &r2.log_end())?;
    }
    r1.stop()?;
    r2.stop()?;
    Ok(())
}

fn kill_workers(daemon: &Daemon) -> Result<()> {
    for _ in 0..8 {
        let old = daemon.worker()?;
        signal(old, Signal::SIGKILL);
        let next = || daemon.pids().get(1).is_some_and(|pid| *pid != old);
        wait_until("there is another worker", LIMIT, next).with_context(|| daemon.log_end())?;
        if daemon.count_log("crashes again and again") > 0 {
            return Ok(());
        }
        pause(100);
    }
    anyhow::bail!("the guardian goes on and on: {}", daemon.log_end())
}

/// Where a ledger has the greatest sequence number that left.
const SIGNED: u64 = 13 * 8;

fn last_number(run_dir: &Path) -> Result<u64> {
    let mut word = [0; 8];
    File::open(run_dir.join("ledger"))?.read_exact_at(&mut word, SIGNED)?;
    Ok(u64::from_le_bytes(word))
}

/// Puts the last sequence number in a ledger three days ahead, as though the clock had been set back since.
fn set_numbers_ahead(run_dir: &Path) -> Result<u64> {
    let last = last_number(run_dir)?;
    ensure!(last > 0, "no number in the ledger");
    let ledger = File::options().write(true).open(run_dir.join("ledger"))?;
    ledger.write_all_at(&(last + 1_000_000).to_le_bytes(), SIGNED)?;
    Ok(last + 1_000_000)
}
