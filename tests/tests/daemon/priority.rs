//! The scheduling of the daemon's threads.

use anyhow::{Context, Result, ensure};
use vrrp_tests::{Daemon, Kind, Lab, inject, wait_until};

use super::{LIMIT, VIP, brisk, master};

const SCHED_OTHER: i32 = 0;
const SCHED_FIFO: i32 = 1;

/// Priority and policy of a thread, fields 40 and 41 of its `stat`.
fn scheduling(daemon: &Daemon, name: &str) -> Result<(i32, i32)> {
    let threads = inject::threads(daemon.pid(), name);
    let [thread] = threads[..] else { anyhow::bail!("threads called {name}: {threads:?}") };
    let stat = std::fs::read_to_string(format!("/proc/{}/task/{thread}/stat", daemon.pid()))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3).context("too short");
    Ok((field(40)?.parse()?, field(41)?.parse()?))
}

#[test]
fn only_the_protocol_thread_is_real_time() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let r1 = master(&lab)?;
    let protocol = scheduling(&r1, "xvrrp-protocol")?;
    ensure!(protocol == (51, SCHED_FIFO), "{protocol:?}: {}", r1.log_end());
    for other in ["xvrrp", "xvrrp-effects", "xvrrp-log"] {
        let other_is = scheduling(&r1, other)?;
        ensure!(other_is == (0, SCHED_OTHER), "{other}: {other_is:?}");
    }
    ensure!(r1.count_log("real-time") == 0, "{}", r1.log_end());
    Ok(())
}

/// Where it may not have it, that is said once, and all goes on.
#[test]
fn without_the_right_it_goes_on_and_says_so() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let without =
        ["prlimit", "--rtprio=0:0", "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
    let conf = brisk(100).alone(3);
    let r1 = Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf, &without)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let protocol = scheduling(&r1, "xvrrp-protocol")?;
    ensure!(protocol == (0, SCHED_OTHER), "{protocol:?}");
    let told = r1.count_log("no real-time scheduling, adverts may be late on a busy host");
    ensure!(told == 1, "{told} lines: {}", r1.log_end());
    Ok(())
}
