//! IPv6, unicast, another group and AH: failover among ours, and with keepalived in both roles.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

/// Many daemons start beside each other, and each has its kernel program verified.
const LIMIT: Duration = Duration::from_secs(25);

/// What adverts travel by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Group6,
    OtherGroup,
    Unicast,
    Unicast6,
    /// To the group, behind an authentication header.
    Sealed,
}

impl By {
    /// An address that moves, and the first in the adverts.
    fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Group6 | Self::Unicast6 => &["fe80::5e00:250/64", "2001:db8::250/64"],
            Self::OtherGroup | Self::Unicast | Self::Sealed => &["192.0.2.250/24"],
        }
    }

    fn conf(self, kind: Kind, host: &str, priority: u8) -> String {
        let (version, interval) = if self == Self::Sealed { (2, "1") } else { (3, "0.2") };
        let instance = Instance::new(priority).every(interval).holding(self.addresses());
        let conf = Conf::new(version);
        let host_of = |n: u8| match self {
            Self::Unicast6 => format!("2001:db8::{n}"),
            Self::Group6 | Self::OtherGroup | Self::Unicast | Self::Sealed => {
                format!("192.0.2.{n}")
            }
        };
        match self {
            Self::Group6 => conf.with(instance).text(),
            Self::Sealed => {
                let words = ["auth_type AH", "auth_pass lab12345"];
                conf.with(instance.track("authentication", &words)).text()
            }
            Self::OtherGroup => conf.global("vrrp_mcast_group4 239.192.0.18").with(instance).text(),
            Self::Unicast | Self::Unicast6 => {
                let (own, other) = if host == "r1" { (11, 12) } else { (12, 11) };
                let (own, other) = (host_of(own), host_of(other));
                let mut peers = vec![other.as_str()];
                if kind == Kind::Xvrrp {
                    // One file for all: this host is not its own peer.
                    peers.push(&own);
                }
                let instance = instance.line(&format!("unicast_src_ip {own}"));
                conf.with(instance.track("unicast_peer", &peers)).text()
            }
        }
    }
}

/// Whether a host has all addresses, ready for use.
fn holds(lab: &Lab, host: &str, by: By) -> bool {
    let all = lab.ns(host).ip("-o addr show dev eth0").unwrap_or_default();
    let held = |address: &&str| {
        all.lines().any(|line| line.contains(*address) && !line.contains("tentative"))
    };
    by.addresses().iter().all(held)
}

fn take_turns(by: By, first: Kind, second: Kind) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    for (host, number) in [("r1", 11), ("r2", 12)] {
        lab.ns(host).ip(&format!("addr add 2001:db8::{number}/64 dev eth0 nodad"))?;
    }
    let start = |kind, host: &str, priority| -> Result<Daemon> {
        lab.start(kind, host, &by.conf(kind, host, priority))
    };
    let serves = |host: &str, what: &str| {
        let other = if host == "r1" { "r2" } else { "r1" };
        wait_until(what, LIMIT, || holds(&lab, host, by) && !holds(&lab, other, by))
    };
    let mut r1 = start(first, "r1", 200)?;
    serves("r1", "r1 holds").with_context(|| r1.log_end())?;
    let mut r2 = start(second, "r2", 100)?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(if by == By::Sealed { 5000 } else { 1500 });
    ensure!(holds(&lab, "r1", by) && !holds(&lab, "r2", by), "r2 took over: {}", r2.log_end());
    r1.stop()?;
    serves("r2", "r2 holds after r1 stopped").with_context(|| r2.log_end())?;
    ensure!(r2.log().contains("eceived priority 0 adver"), "no priority 0: {}", r2.log());
    let mut r1 = start(first, "r1", 200)?;
    serves("r1", "r1 preempts").with_context(|| r1.log_end() + &r2.log_end())?;
    pause(1000);
    lab.carrier("r1", false)?;
    r1.kill()?;
    wait_until("r2 holds after r1 died", LIMIT, || holds(&lab, "r2", by))
        .with_context(|| r2.log_end())?;
    if second == Kind::Xvrrp {
        let status = r2.status()?;
        let ours = status.instance("VI_1")?;
        ensure!(ours.refused_at_all() == 0, "refused: {}", ours.json());
    }
    r2.stop()?;
    Ok(())
}

#[test]
fn ours_with_ours() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Xvrrp, Kind::Xvrrp)),
        ("another group", || take_turns(By::OtherGroup, Kind::Xvrrp, Kind::Xvrrp)),
        ("unicast", || take_turns(By::Unicast, Kind::Xvrrp, Kind::Xvrrp)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Xvrrp, Kind::Xvrrp)),
        ("AH", || take_turns(By::Sealed, Kind::Xvrrp, Kind::Xvrrp)),
    ])
}

#[test]
fn ours_before_keepalived() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Xvrrp, Kind::Keepalived)),
        ("another group", || take_turns(By::OtherGroup, Kind::Xvrrp, Kind::Keepalived)),
        ("unicast", || take_turns(By::Unicast, Kind::Xvrrp, Kind::Keepalived)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Xvrrp, Kind::Keepalived)),
        ("AH", || take_turns(By::Sealed, Kind::Xvrrp, Kind::Keepalived)),
    ])
}

#[test]
fn keepalived_before_ours() -> Result<()> {
    together(&[
        ("IPv6", || take_turns(By::Group6, Kind::Keepalived, Kind::Xvrrp)),
        ("another group", || take_turns(By::OtherGroup, Kind::Keepalived, Kind::Xvrrp)),
        ("unicast", || take_turns(By::Unicast, Kind::Keepalived, Kind::Xvrrp)),
        ("unicast over IPv6", || take_turns(By::Unicast6, Kind::Keepalived, Kind::Xvrrp)),
        ("AH", || take_turns(By::Sealed, Kind::Keepalived, Kind::Xvrrp)),
    ])
}

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
    let lab = Lab::new(&["r1", "r2"])?;
    for (host, number) in [("r1", 11), ("r2", 12)] {
        lab.ns(host).ip(&format!("addr add 2001:db8::{number}/64 dev eth0 nodad"))?;
    }
    let start = |kind, host: &str, priority| -> Result<Daemon> {
        lab.start(kind, host, &by.conf(kind, host, priority))
    };
    let serves = |host: &str, what: &str| {
        let other = if host == "r1" { "r2" } else { "r1" };
        wait_until(what, LIMIT, || holds(&lab, host, by) && !holds(&lab, other, by))
    };
    let mut r1 = start(Kind::Xvrrp, "r1", 200)?;
    serves("r1", "r1 holds").with_context(|| r1.log_end())?;
    if by == By::Sealed {
        r1.kill()?;
        let ahead = set_numbers_ahead(r1.run_dir())?;
        r1 = start(Kind::Xvrrp, "r1", 200)?;
        serves("r1", "r1 goes on").with_context(|| r1.log_end())?;
        let grown = || last_number(r1.run_dir()).is_ok_and(|last| last > ahead);
        wait_until("r1's numbers go on", LIMIT, grown).with_context(|| r1.log_end())?;
    }
    let mut r2 = start(other, "r2", 100)?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(1500);
    ensure!(holds(&lab, "r1", by) && !holds(&lab, "r2", by), "r2 took over: {}", r2.log_end());
    match end {
        End::Release => {
            r1.kill()?;
            let done = r1.release(&lab, "r1")?;
            let words = String::from_utf8_lossy(&done.stdout).into_owned();
            ensure!(done.status.success() && words.contains("priority 0 sent"), "{words}");
        }
        End::Workers => kill_workers(&r1)?,
    }
    serves("r2", "r2 holds after r1 was killed").with_context(|| r1.log_end() + &r2.log_end())?;
    ensure!(r2.log().contains("eceived priority 0 adver"), "no priority 0: {}", r2.log());
    if end == End::Release {
        r1 = start(Kind::Xvrrp, "r1", 200)?;
        serves("r1", "r1 preempts").with_context(|| r1.log_end() + &r2.log_end())?;
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
