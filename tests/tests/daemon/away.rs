//! A unicast peer that was away.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP, wait_state};

/// An instance of 192.0.2.LAST or 2001:db8::LAST, with the peer of the other number.
fn unicast(priority: u8, v6: bool, last: u8, peer: u8) -> Instance {
    let ip = |last| if v6 { format!("2001:db8::{last}") } else { format!("192.0.2.{last}") };
    let instance = Instance::new(priority).every("0.1");
    let instance = if v6 { instance.holding(&["fe80::250/64"]) } else { instance };
    instance
        .line(&format!("unicast_src_ip {}", ip(last)))
        .track("unicast_peer", &[&ip(peer)])
        .line("nopreempt")
}

/// While it was away, the other one's kernel asked for it in vain, and asks again a second later; it would
/// wait for a third of that only, and take over from a router that is there.
fn is_heard_in_time(v6: bool) -> Result<()> {
    const ROUNDS: usize = 5;
    let lab = Lab::new(&["r1", "r2"])?;
    if v6 {
        for (host, last) in [("r1", 11), ("r2", 12)] {
            lab.ns(host).ip(&format!("addr add 2001:db8::{last}/64 dev eth0 nodad"))?;
        }
        // Otherwise they go with the link.
        lab.ns("r2").sysctl("net.ipv6.conf.eth0.keep_addr_on_down", 1)?;
    }
    let r1 = lab.run("r1", &unicast(100, v6, 11, 12).alone(3))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &unicast(150, v6, 12, 11).alone(3))?;
    let their = if v6 { "2001:db8::12" } else { "192.0.2.12" };
    let is_unknown = || -> Result<bool> {
        let neighbours = lab.ns("r1").ip(&format!("neigh show {their} dev eth0"))?;
        Ok(["FAILED", "INCOMPLETE"].iter().any(|state| neighbours.contains(state)))
    };
    for _ in 0..ROUNDS {
        wait_state(&r2, "VI_1", "BACKUP")?;
        lab.carrier("r2", false)?;
        lab.ns("r1").ip("neigh flush dev eth0")?;
        wait_until("r1 asks in vain", LIMIT, || is_unknown().unwrap_or(false))?;
        wait_state(&r2, "VI_1", "FAULT")?;
        lab.carrier("r2", true)?;
        pause(1500);
    }
    let took_over = |daemon: &Daemon| daemon.count_log("Entering MASTER");
    ensure!(took_over(&r2) == 0, "it took over: {}", r2.log());
    ensure!(took_over(&r1) == 1, "it yielded: {}", r1.log());
    ensure!(v6 || lab.holds("r1", VIP), "{}", r1.log());
    Ok(())
}

#[test]
fn a_unicast_peer_that_was_away_hears_the_master_in_time() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("over IPv4", || is_heard_in_time(false).context("IPv4")),
        ("over IPv6", || is_heard_in_time(true).context("IPv6")),
    ])
}
