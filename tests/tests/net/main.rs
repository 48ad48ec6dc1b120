//! The host's side, seen from outside: addresses, announcements, frames, interface events.

mod addresses;
mod announcements;
mod batch;
mod claims;
mod firewall;
mod frames;
mod leases;
mod leftovers;
mod monitor;
mod neighbours;
mod own_links;
mod paths;
mod routed;
mod serving;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use serde_json::Value;
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::netns::Netns;

/// Two hosts on one cable: eth0 here is 192.0.2.11/24, eth0 there 192.0.2.12/24.
struct Cable {
    here: Netns,
    there: Netns,
}

impl Cable {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("xvnet{}-{count}{end}", std::process::id());
        let cable = Self { here: Netns::new(&name("a"))?, there: Netns::new(&name("b"))? };
        let there = cable.there.name();
        // Two indexes: between ends of one index the kernel takes a loss of carrier for less urgent,
        // and may tell a second late.
        cable.here.ip(&format!("link add eth0 index 99 type veth peer name eth0 netns {there}"))?;
        for (host, ip) in [(&cable.here, "192.0.2.11/24"), (&cable.there, "192.0.2.12/24")] {
            host.ip(&format!("addr add {ip} dev eth0"))?;
            host.ip("link set eth0 up")?;
        }
        cable.here.wait_up("eth0")?;
        cable.there.wait_up("eth0")?;
        Ok(cable)
    }

    /// What `ip -j addr` says about an address of eth0 here; `None` where it is not there.
    fn shown(&self, ip: &str) -> Result<Option<Value>> {
        let addresses = self.all_shown()?;
        Ok(addresses.into_iter().find(|address| address["local"] == ip))
    }

    fn all_shown(&self) -> Result<Vec<Value>> {
        let json: Value = serde_json::from_str(&self.here.ip("-j -d addr show dev eth0")?)?;
        json[0]["addr_info"].as_array().cloned().context("no addr_info")
    }
}

/// 192.0.2.LAST/24 on eth0 with nothing said about it.
fn vip(last: u8) -> VirtualAddress {
    VirtualAddress::new([192, 0, 2, last].into(), 24, "eth0")
}

/// As many addresses as asked for, 10.0.x.y/32 on eth0.
fn many(count: u16) -> Vec<VirtualAddress> {
    (0..count)
        .map(|n| VirtualAddress {
            ip: [10, 0, (n >> 8) as u8, n as u8].into(),
            prefix: 32,
            ..vip(0)
        })
        .collect()
}
