//! A source address that this host has not: a file copied from the other router, or one that comes late.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::pause;
use vrrp_tests::{Kind, Lab, wait_until};

use super::{LIMIT, VIP, brisk, state, wait_state};

/// The other router's address.
const THEIRS: &str = "192.0.2.12";

fn unicast(instance: Instance, source: &str, peer: &str) -> String {
    instance.line(&format!("unicast_src_ip {source}")).track("unicast_peer", &[peer]).alone(3)
}

/// Over multicast the address is only what it says: the other router is heard. Over unicast nothing
/// would come to it, so it is a fault until it is there.
#[test]
fn a_copied_source_does_not_make_two_masters() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let source = format!("mcast_src_ip {THEIRS}");
    let mut r2 = lab.run("r2", &brisk(200).line(&source).alone(3))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &brisk(100).line(&source).alone(3))?;
    r1.wait_log(&format!("this host has no {THEIRS}, which its adverts come from"), LIMIT)?;
    wait_until("r1 hears r2", LIMIT, || {
        r1.status().is_ok_and(|status| {
            status.instance("VI_1").is_ok_and(|one| one.counter("accepted") > 5)
        })
    })
    .with_context(|| r1.log_end())?;
    ensure!(state(&r1, "VI_1")? == "BACKUP", "{}", r1.log_end());
    // By then it is its own, and what comes from there is not heard any more.
    lab.ns("r1").ip(&format!("addr add {THEIRS}/32 dev lo"))?;
    wait_until("r1 refuses its own address", LIMIT, || {
        r1.status().is_ok_and(|status| {
            status.instance("VI_1").is_ok_and(|one| one.refused("own_source") > 0)
        })
    })
    .with_context(|| r1.log_end())?;
    lab.ns("r1").ip(&format!("addr del {THEIRS}/32 dev lo"))?;

    r2.reload(&unicast(brisk(200), THEIRS, "192.0.2.11"))?;
    r1.reload(&unicast(brisk(100), THEIRS, THEIRS))?;
    wait_state(&r1, "VI_1", "FAULT")?;
    let why = r1.status()?.instance("VI_1")?.why().to_owned();
    ensure!(
        why == format!("this host has no {THEIRS}, which its adverts are to come from"),
        "{why}"
    );
    pause(2000);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "{}", r1.log_end());

    // One that comes late ends the fault.
    r1.reload(&unicast(brisk(100), "192.0.2.111", THEIRS))?;
    r2.reload(&unicast(brisk(200), THEIRS, "192.0.2.111"))?;
    r1.wait_log("Reload done", LIMIT)?;
    ensure!(state(&r1, "VI_1")? == "FAULT", "{}", r1.log_end());
    lab.ns("r1").ip("addr add 192.0.2.111/24 dev eth0")?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    r2.stop()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.ns("r1").ip("addr del 192.0.2.111/24 dev eth0")?;
    wait_state(&r1, "VI_1", "FAULT")?;
    wait_until("the address is off", LIMIT, || !lab.holds("r1", VIP))?;
    Ok(())
}
