//! A link that flaps: what does not last changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::pause;
use vrrp_tests::{Kind, Lab, cases, now, wait_until};

use super::{ADDRESS, LIMIT, VIP};

/// Well over the second that the kernel may keep a link's return to itself, and less than what the
/// peers wait but one interval.
const DELAY: Duration = Duration::from_secs(3);

#[test]
fn a_link_that_is_back_in_time_is_no_fault() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let delays = format!("interface_up_down_delays {{\n    eth0 {} 0.1\n}}\n", DELAY.as_secs());
    let conf = delays + &Instance::new(255).every("2").alone(2);
    let r1 = lab.run("r1", &conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    lab.carrier("r1", false)?;
    pause(200);
    lab.carrier("r1", true)?;
    pause(3500);
    ensure!(r1.count_log("FAULT") == 0 && lab.holds("r1", VIP), "{}", r1.log_end());
    let cut = std::time::Instant::now();
    lab.carrier("r1", false)?;
    r1.wait_log("Entering FAULT STATE", LIMIT)?;
    let after = cut.elapsed();
    ensure!(after > DELAY - Duration::from_millis(100), "after {after:?}: {}", r1.log_end());
    wait_until("it lets go", LIMIT, || !lab.holds("r1", VIP)).map(drop)
}

/// RFC 9568 §2.5: a router whose adverts come late again and again is alive, and that is said once.
#[test]
fn adverts_that_come_late_are_told() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "gen"])?;
    let r1 = lab.run("r1", &Instance::new(100).every("0.1").alone(3))?;
    let late = cases::frame("P23-learned-interval", "interval-10cs-prio-150");
    let watch = lab.watch("r1")?;
    let round = || {
        wait_until("r1 takes over", LIMIT, || lab.holds("r1", VIP))?;
        let begin = now();
        lab.inject("gen", &late)?;
        watch.wait_gone(ADDRESS, begin, LIMIT)
    };
    // A machine that is busy may be too late for being late.
    let told = || r1.count_log("is alive, but its adverts come late");
    let is_told = || round().is_ok() && told() > 0;
    wait_until("it is told", LIMIT, is_told).with_context(|| r1.log_end())?;
    for _ in 0..3 {
        round().with_context(|| r1.log_end())?;
    }
    ensure!(told() == 1, "{} lines: {}", told(), r1.log_end());
    let mastered = r1.count_log("Entering MASTER STATE");
    ensure!(mastered > 5, "the first is no flap, nor is one alone: {}", r1.log_end());
    Ok(())
}
