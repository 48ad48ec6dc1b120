//! The scheduling of the daemon's threads.

use anyhow::{Context, Result, ensure};
use vrrp_tests::{Daemon, Kind, Lab, inject, wait_until};

use super::{LIMIT, VIP, brisk, master};

const SCHED_OTHER: i32 = 0;
const SCHED_FIFO: i32 = 1;

/// Priority and policy of a thread, fields 40 and 41 of its `stat`.
fn scheduling(process: u32, name: &str) -> Result<(i32, i32)> {
    let thread = inject::thread(process, name)?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3).context("too short");
    Ok((field(40)?.parse()?, field(41)?.parse()?))
}

#[test]
fn only_what_must_be_in_time_is_real_time() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let r1 = master(&lab)?;
    let (guardian, worker) = (r1.pid(), r1.worker()?);
    for (process, name, expected) in [
        (guardian, "xvrrp", (60, SCHED_FIFO)),
        (worker, "xvrrp-protocol", (51, SCHED_FIFO)),
        (worker, "xvrrp-effects", (50, SCHED_FIFO)),
        (worker, "xvrrp-worker", (0, SCHED_OTHER)),
        (worker, "xvrrp-log", (0, SCHED_OTHER)),
    ] {
        let is = scheduling(process, name)?;
        ensure!(is == expected, "{name} of {process}: {is:?}: {}", r1.log_end());
    }
    let all = inject::threads(guardian).len() + inject::threads(worker).len();
    ensure!(all == 5, "{all} threads, and not all of them known");
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
    let worker = r1.worker()?;
    for (process, name) in
        [(r1.pid(), "xvrrp"), (worker, "xvrrp-protocol"), (worker, "xvrrp-effects")]
    {
        let is = scheduling(process, name)?;
        ensure!(is == (0, SCHED_OTHER), "{name} of {process}: {is:?}");
    }
    let told = r1.count_log("no real-time scheduling");
    ensure!(told == 1, "{told} lines: {}", r1.log_end());
    ensure!(r1.count_log("adverts may be late on a busy host") == 1, "{}", r1.log_end());
    Ok(())
}
