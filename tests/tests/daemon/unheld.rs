//! An address that the kernel does not take, while the router goes on with the others.

use anyhow::{Context, Result, ensure};
use vrrp_tests::{Kind, Lab, wait_until};

use super::{LIMIT, VIP, brisk};

/// All addresses of one network on an interface have the same scope. Whoever reads errors alone hears of
/// it, and `status` says it as long as it is so.
#[test]
fn what_the_kernel_refuses_is_an_error_and_in_status() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let bad = "192.0.2.248/24 scope host";
    let vip = format!("{VIP}/24");
    let r1 = lab.run("r1", &brisk(100).holding(&[&vip, bad]).alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let line = "ERROR (VI_1) address 192.0.2.248/24 can't be put on eth0: ";
    r1.wait_log(line, LIMIT)?;
    let says =
        |end: &str| r1.status().and_then(|all| Ok(all.instance("VI_1")?.json().contains(end)));
    ensure!(says("\"error\":\"Invalid argument")?, "{:?}", r1.status());
    // Where it is put right, nothing is left of it.
    r1.reload(&brisk(100).holding(&[&vip, "192.0.2.248/24"]).alone(3))?;
    wait_until("both are held", LIMIT, || lab.holds("r1", "192.0.2.248"))?;
    wait_until("status says so", LIMIT, || says("\"error\"").is_ok_and(|said| !said))?;
    Ok(())
}
