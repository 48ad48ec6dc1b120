//! An IPv6 address that another host has too.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::LIMIT;

const ADDRESS: &str = "2001:db8::250";
const SAID: &str = "2001:db8::250 is at another host too";

/// What the kernel says of the address on r1's interface.
fn shown(lab: &Lab) -> String {
    let all = lab.ns("r1").ip("-6 addr show dev eth0").unwrap_or_default();
    all.lines().find(|line| line.contains(ADDRESS)).unwrap_or_default().to_owned()
}

fn is_in_use(lab: &Lab) -> bool {
    let line = shown(lab);
    line.contains("nodad") && !line.contains("dadfailed") && !line.contains("tentative")
}

/// r1, which has the address put on with detection, beside a client that has it.
fn beside_a_duplicate(lab: &Lab) -> Result<Daemon> {
    lab.ns("client").ip(&format!("addr add {ADDRESS}/64 dev eth0 nodad"))?;
    let instance = Instance::new(100)
        .every("0.4")
        .track("virtual_ipaddress_excluded", &[&format!("{ADDRESS}/64 -nodad")]);
    lab.run("r1", &instance.alone(3))
}

/// Duplicate address detection fails: the MASTER answers all the same, and says so.
#[test]
fn a_duplicate_is_put_on_again() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let r1 = beside_a_duplicate(&lab)?;
    r1.wait_log(SAID, LIMIT)?;
    wait_until("it is in use", LIMIT, || is_in_use(&lab))?;
    ensure!(r1.count_log("Entering MASTER") == 1 && r1.count_log("putting it back") == 0);
    Ok(())
}

/// The kernel's word of it is lost among more changes than are kept for a daemon that stands still.
#[test]
fn a_duplicate_is_put_on_again_where_nobody_heard_of_it() -> Result<()> {
    /// Twice as many changes, more than fit (`Monitor::RECEIVE_BUFFER`).
    const ADDED: u32 = 12_000;
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let one = |n: u32| format!("10.0.{}.{}/32 dev lo\n", n / 250 % 250, 1 + n % 250);
    let lines = (0..ADDED).map(|n| format!("addr add {0}addr del {0}", one(n)));
    let batch = lab.write("batch", &lines.collect::<String>())?;
    let r1 = beside_a_duplicate(&lab)?;
    wait_until("it is asked for", LIMIT, || shown(&lab).contains("tentative"))
        .with_context(|| r1.log_end())?;
    r1.freeze();
    lab.ns("r1").ip(&format!("-batch {}", batch.display()))?;
    wait_until("it is found to be a duplicate", LIMIT, || shown(&lab).contains("dadfailed"))?;
    r1.thaw();
    wait_until("it is in use", LIMIT, || is_in_use(&lab)).with_context(|| r1.log_end())?;
    ensure!(r1.count_log("Netlink: events lost") > 0, "none were lost: {}", r1.log_end());
    ensure!(r1.count_log(SAID) == 1, "{}", r1.log_end());
    Ok(())
}
