//! An IPv6 address that another host has too.

use anyhow::{Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Kind, Lab, wait_until};

use super::LIMIT;

const ADDRESS: &str = "2001:db8::250";

/// Duplicate address detection fails: the MASTER answers all the same, and says so.
#[test]
fn a_duplicate_is_put_on_again() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    lab.ns("client").ip(&format!("addr add {ADDRESS}/64 dev eth0 nodad"))?;
    let instance = Instance::new(100)
        .every("0.4")
        .track("virtual_ipaddress_excluded", &[&format!("{ADDRESS}/64 -nodad")]);
    let r1 = lab.run("r1", &instance.alone(3))?;
    r1.wait_log("2001:db8::250 is at another host too", LIMIT)?;
    let shown = || lab.ns("r1").ip("-6 addr show dev eth0").unwrap_or_default();
    wait_until("it is in use", LIMIT, || {
        let line =
            shown().lines().find(|line| line.contains(ADDRESS)).unwrap_or_default().to_owned();
        line.contains("nodad") && !line.contains("dadfailed") && !line.contains("tentative")
    })?;
    ensure!(r1.count_log("Entering MASTER") == 1 && r1.count_log("putting it back") == 0);
    Ok(())
}
