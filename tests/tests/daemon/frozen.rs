//! The daemon stands still, or the host with it, while things happen.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use vrrp_proto::VirtualAddress;
use vrrp_tests::{Kind, Lab, wait_until};
use xvrrp::net::addr::Addresses;

use super::{LIMIT, VIP, master};

/// More changes than the netlink socket has room for.
const CHANGES: u32 = 4000;

fn others() -> Vec<VirtualAddress> {
    let base = Ipv4Addr::new(10, 0, 0, 0).to_bits();
    let ip = |n| IpAddr::from(Ipv4Addr::from_bits(base + n));
    (0..CHANGES).map(|n| VirtualAddress::new(ip(n), 32, "eth0")).collect()
}

/// Events are lost, that of the address that goes among them: all is read again, and it is put back.
#[test]
fn what_changes_unseen_is_found() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let r1 = master(&lab)?;
    r1.freeze();
    lab.ns("r1").enter(|| {
        let mut addresses = Addresses::open()?;
        let resolve = |name: &str| if_nametoindex(name).ok();
        addresses.add(&others(), resolve);
        addresses.remove(&others(), resolve);
        Ok(())
    })?;
    lab.ns("r1").ip(&format!("addr del {VIP}/24 dev eth0"))?;
    r1.thaw();
    wait_until("the address is back", LIMIT, || lab.holds("r1", VIP)).context(r1.log_end())?;
    for told in ["Netlink: events lost", "are known again", "was removed from eth0"] {
        r1.wait_log(told, LIMIT)?;
    }
    let status = r1.status()?;
    ensure!(status.instance("VI_1")?.state() == "MASTER", "{}", r1.log_end());
    Ok(())
}
