//! Addresses of routers that are on the host although no router here holds them.
//!
//! Whether one does, the thread that puts them on knows, and at any moment: who asks it does so behind
//! what made the address appear, if that was a router.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rtnetlink::packet_route::address::AddressFlags;
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::settings::VirtualAddress;

use super::addr::{PROTOCOL, Removed};
use super::executor::Timing;
use super::leftover;
use super::preferred::Place;
use super::table::HostAddress;
use super::worker::{Worker, warn};

/// The same one is told of once in this time, and removed once.
const AGAIN: Duration = Duration::from_secs(60);
/// `RTPROT_DHCP`, as `IFA_PROTO`.
const DHCP: u8 = 16;

/// An address of a router that is not Active, on the interface that it is configured for.
#[derive(Clone, Debug)]
pub(crate) struct Stray {
    /// The instance's name.
    pub name: String,
    /// Its state, as users know it.
    pub state: &'static str,
    /// The interface's name.
    pub device: String,
    /// Its index.
    pub ifindex: u32,
    /// The address as it is on the host.
    pub address: HostAddress,
    /// Another daemon for VRRP that runs here and may have put it there.
    pub rival: Option<String>,
}

impl Stray {
    fn place(&self) -> Place {
        (self.ifindex, self.address.ip, self.address.prefix)
    }

    fn to_virtual(&self) -> VirtualAddress {
        let HostAddress { ip, prefix, peer, .. } = self.address;
        VirtualAddress { peer, ..VirtualAddress::new(ip, prefix, self.device.as_str()) }
    }

    /// Who put it there, as far as the kernel tells.
    fn by(&self) -> String {
        if let Some(rival) = &self.rival {
            return format!("perhaps by {rival}");
        }
        let flags = AddressFlags::from_bits_retain(self.address.flags);
        let by = if self.address.proto == PROTOCOL {
            "by another xvrrp or keepalived"
        } else if self.address.proto == DHCP || !flags.contains(AddressFlags::Permanent) {
            "for a limited time, as by DHCP"
        } else if flags.contains(AddressFlags::Noprefixroute) {
            "most likely by NetworkManager"
        } else {
            "by hand or by the host's network configuration (netplan, systemd-networkd, ifupdown)"
        };
        by.to_owned()
    }
}

impl fmt::Display for Stray {
    /// One line for the log, with the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, state, device, address, .. } = self;
        let HostAddress { ip, prefix, .. } = address;
        let by = self.by();
        write!(
            f,
            "({name}) {ip}/{prefix} is on {device} although {state}, put there {by}: two hosts may answer \
             for it. Take it out of there, and off: `ip address del {ip}/{prefix} dev {device}`"
        )
    }
}

/// Those that were told of or removed lately.
#[derive(Debug, Default)]
pub(super) struct Strays {
    told: BTreeMap<Place, Instant>,
    removed: BTreeMap<Place, Instant>,
}

impl Strays {
    fn forget_old(&mut self, now: Instant) {
        for all in [&mut self.told, &mut self.removed] {
            all.retain(|_, at| now.duration_since(*at) < AGAIN);
        }
    }
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Takes one off that a daemon has left which is gone, and tells of every other, unless a router holds
    /// it by now.
    pub(super) fn stray(&mut self, stray: &Stray) {
        let (place, ip) = (stray.place(), stray.address.ip);
        if self.claims.has(ip, stray.ifindex) || leftover::is_own(&self.own, ip) {
            return;
        }
        let now = Instant::now();
        self.strays.forget_old(now);
        let is_left = stray.address.proto == PROTOCOL && stray.rival.is_none();
        // Whoever puts it on again is alive.
        if is_left && !self.strays.removed.contains_key(&place) {
            self.strays.removed.insert(place, now);
            self.remove_stray(stray);
            return;
        }
        if self.strays.told.contains_key(&place) {
            return;
        }
        // It may be gone by now.
        if self.addresses.list().is_ok_and(|there| there.contains_key(&place)) {
            self.strays.told.insert(place, now);
            tracing::warn!("{stray}");
        }
    }

    fn remove_stray(&mut self, stray: &Stray) {
        let address = stray.to_virtual();
        let Stray { name, state, device, .. } = stray;
        match self.addresses.remove_from([(&address, Some(stray.ifindex))]).pop() {
            Some(Ok(Removed::Gone)) => tracing::warn!(
                "({name}) {}/{} was on {device} although {state}, left by an xvrrp or keepalived that is \
                 gone: removed",
                address.ip,
                address.prefix
            ),
            Some(Ok(Removed::NotThere)) | None => {}
            Some(Err(error)) => warn("remove", &address, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures;
    use rstest::rstest;

    const PERMANENT: AddressFlags = AddressFlags::Permanent;

    #[rstest]
    #[case::by_hand(0, PERMANENT, None, "by hand or by the host's network configuration")]
    #[case::network_manager(0, PERMANENT | AddressFlags::Noprefixroute, None, "NetworkManager")]
    #[case::dhcp(0, AddressFlags::empty(), None, "as by DHCP")]
    #[case::marked_so(DHCP, PERMANENT, None, "as by DHCP")]
    #[case::of_our_kind(PROTOCOL, PERMANENT, None, "by another xvrrp or keepalived")]
    #[case::a_rival(
        PROTOCOL,
        PERMANENT,
        Some("keepalived (process 7)"),
        "perhaps by keepalived (process 7)"
    )]
    fn who_put_it_there(
        #[case] proto: u8,
        #[case] flags: AddressFlags,
        #[case] rival: Option<&str>,
        #[case] by: &str,
    ) {
        let address =
            HostAddress { proto, flags: flags.bits(), ..fixtures::address("192.0.2.250", 24) };
        let stray = Stray {
            name: "VI_1".to_owned(),
            state: "BACKUP",
            device: "eth0".to_owned(),
            ifindex: 2,
            address,
            rival: rival.map(str::to_owned),
        };
        let line = stray.to_string();
        assert!(line.contains(by), "{line}");
        let said = "(VI_1) 192.0.2.250/24 is on eth0 although BACKUP, put there ";
        assert!(line.starts_with(said), "{line}");
        assert!(line.ends_with("`ip address del 192.0.2.250/24 dev eth0`"), "{line}");
    }
}
