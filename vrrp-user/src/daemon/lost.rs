//! Addresses that are gone from their interfaces, and who took them: somebody else, or the kernel with the
//! link.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use vrrp_proto::{Input, Slot, StateName, VirtualAddress};

use super::running::Running;
use super::service::Service;
use super::{host, index};
use crate::net::monitor::Change;
use crate::net::{Interface, Snapshot};

/// Why a router has not an address that it is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The kernel refused it, for that reason.
    Refused(String),
    /// The kernel took it with its link, the loss of which is no fault yet, or never.
    Went,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Went => f.write_str("it went with its link"),
        }
    }
}

/// Addresses, each with an instance that is to hold it as MASTER.
pub(super) type Lost = Vec<(Slot, VirtualAddress)>;

/// Whether an interface keeps its addresses: one that is set down loses those of IPv6.
const fn keeps(interface: &Interface) -> bool {
    interface.admin_up
}

/// Whether an address that is gone went with its link, and could not be put back there.
fn goes_with_link(address: &VirtualAddress, host: &Snapshot) -> bool {
    host.by_name(&address.device).is_none_or(|on| address.ip.is_ipv6() && !keeps(on))
}

impl Service {
    /// The addresses that instances lost by a change, if they held them, or can have again: the engine knows
    /// their state, this thread only hears of it later.
    pub(super) fn lost(&self, change: &Change) -> Lost {
        let of = |slot: Slot, gone: &dyn Fn(&VirtualAddress) -> bool| {
            let held = self.running.get(&slot).into_iter().flat_map(|r| r.settings.held());
            held.filter(|address| gone(address)).map(|a| (slot, a.clone())).collect::<Vec<_>>()
        };
        match change {
            Change::AddressRemoved { name, address, .. } => {
                let (ip, prefix) = (address.ip, address.prefix);
                let gone = |held: &VirtualAddress| index::is(held, name, ip, prefix);
                self.index.with(ip, prefix).flat_map(|slot| of(slot, &gone)).collect()
            }
            // Another interface may have the name before anybody saw the first one go.
            Change::Gone { name, .. } => {
                let gone = |held: &VirtualAddress| held.device == *name;
                self.index.with_addresses_on(name).flat_map(|slot| of(slot, &gone)).collect()
            }
            // A re-read list is compared as a whole: what happened while events were lost is not known.
            Change::Resync(now) => {
                let gone = |held: &VirtualAddress| !host::holds(now, held);
                self.running.keys().flat_map(|slot| of(*slot, &gone)).collect()
            }
            Change::AddressAdded { name, address, .. } => self.refused_before(name, address.ip),
            Change::Link(interface) => self.went_before(interface),
            Change::Behind => Vec::new(),
        }
    }

    /// The IPv6 addresses that the kernel refused, as it does while IPv6 is off, where one of the host's has
    /// come to their interface, or to the one below: the link-local one, when IPv6 is on again.
    fn refused_before(&self, name: &str, new: IpAddr) -> Lost {
        if new.is_ipv4() || self.index.is_virtual(new) {
            return Vec::new();
        }
        self.unheld(self.index.on(name), |address, lack| {
            matches!(lack, Lack::Refused(_)) && address.ip.is_ipv6()
        })
    }

    /// The addresses that went with a link which is back.
    fn went_before(&self, now: &Interface) -> Lost {
        if !keeps(now) || self.host.by_name(&now.name).is_some_and(keeps) {
            return Vec::new();
        }
        self.unheld(self.index.with_addresses_on(&now.name), |address, lack| {
            *lack == Lack::Went && address.device == now.name
        })
    }

    fn unheld(
        &self,
        slots: impl Iterator<Item = Slot>,
        is_meant: impl Fn(&VirtualAddress, &Lack) -> bool,
    ) -> Lost {
        let of = |slot: Slot| {
            let all = self.running.get(&slot).into_iter().flat_map(|running| &running.unheld);
            let meant = all.filter(|(address, lack)| is_meant(address, lack));
            meant.map(|(address, _)| (slot, address.clone())).collect::<Vec<_>>()
        };
        slots.flat_map(of).collect()
    }

    /// Tells the engine which addresses are gone that can be put back. Those that went with their link come
    /// back with it, or by another one.
    pub(super) fn tell_lost(&mut self, lost: Lost) {
        let mut by_slot: BTreeMap<Slot, Vec<VirtualAddress>> = BTreeMap::new();
        for (slot, address) in lost {
            // One that is back by now was changed and not removed: a reload with another label, say.
            if host::holds(&self.host, &address) {
                continue;
            }
            if goes_with_link(&address, &self.host) {
                if let Some(running) = self.running.get_mut(&slot) {
                    running.note_gone(address);
                }
                continue;
            }
            let its = by_slot.entry(slot).or_default();
            // Perhaps put on by others meanwhile, and removed again.
            if !its.contains(&address) {
                its.push(address);
            }
        }
        for (slot, addresses) in by_slot {
            self.tell(Input::AddressesLost { slot, addresses });
        }
    }
}

impl Running {
    /// Notes that an address went with its link. A router in another state has none.
    fn note_gone(&mut self, address: VirtualAddress) {
        if self.state == StateName::Active && self.settings.held().any(|held| *held == address) {
            self.note_unheld(address, Lack::Went);
        }
    }

    /// Notes why it has not an address.
    pub(super) fn note_unheld(&mut self, address: VirtualAddress, lack: Lack) {
        self.unheld.retain(|(one, _)| *one != address);
        self.unheld.push((address, lack));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures::{host, interface};

    #[test]
    fn what_goes_with_a_link() {
        let up = interface(2, "eth0", []);
        let without_carrier = Interface { carrier: false, ..interface(3, "eth1", []) };
        let down = Interface { admin_up: false, ..interface(4, "eth2", []) };
        let host = host([up, without_carrier, down]);
        let goes = |ip: &str| {
            ["eth0", "eth1", "eth2", "eth3"].map(|device| {
                let ip: IpAddr = ip.parse().unwrap();
                goes_with_link(&VirtualAddress::new(ip, 32, device), &host)
            })
        };
        assert_eq!(goes("192.0.2.250"), [false, false, false, true]);
        assert_eq!(goes("2001:db8::250"), [false, false, true, true]);
    }
}
