//! A link that flaps: what does not last changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::pause;
use vrrp_tests::{Kind, Lab, wait_until};

use super::{LIMIT, VIP};

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
