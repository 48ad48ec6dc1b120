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

/// Whoever turns IPv6 off and on again at an interface, as network managers do, has it forget all
/// addresses, and for a moment refuse them.
#[test]
fn what_was_refused_is_put_on_once_ipv6_is_back() -> Result<()> {
    const OF_IPV6: &str = "2001:db8::250";
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let off = |off: u32| lab.ns("r1").sysctl("net.ipv6.conf.eth0.disable_ipv6", off);
    let excluded = format!("virtual_ipaddress_excluded {{\n{OF_IPV6}/64\n}}");
    let r1 = lab.run("r1", &brisk(100).line(&excluded).alone(3))?;
    let shown = || lab.ns("r1").ip("-o -6 addr show dev eth0");
    let is_held = || shown().is_ok_and(|all| all.contains(OF_IPV6));
    wait_until("it is held", LIMIT, is_held).with_context(|| r1.log_end())?;
    off(1)?;
    r1.wait_log("ERROR (VI_1) address 2001:db8::250/64 can't be put on eth0: ", LIMIT)?;
    ensure!(lab.holds("r1", VIP), "the other address is gone");
    off(0)?;
    wait_until("it is held again", LIMIT, is_held).with_context(|| r1.log_end())?;
    r1.wait_log("address 2001:db8::250/64 on eth0 was refused; trying again", LIMIT)?;
    Ok(())
}
