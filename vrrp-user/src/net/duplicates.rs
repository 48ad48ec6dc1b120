//! Addresses that duplicate address detection has found at another host.
//!
//! The kernel refuses to use one for good (RFC 4862 §5.4.5). A virtual router has its own way to find out
//! who is to have the address, and who is Active must answer for it: so it is put on again without asking.

use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::settings::VirtualAddress;

use super::executor::{Detected, Timing};
use super::table::HostAddress;
use super::worker::{Worker, is_own, take_off, warn};

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Repairs an address that a router holds where it is a duplicate, and announces it: before, the kernel
    /// did not answer for it.
    pub(super) fn detected(&mut self, detected: &Detected) {
        let Detected { ifindex, ip, prefix, duplicate } = *detected;
        let holders: Vec<(Slot, VirtualAddress)> = self
            .claims
            .holders(ip, prefix, ifindex)
            .map(|(slot, address)| (slot, address.clone()))
            .collect();
        let Some((_, address)) = holders.first().filter(|(_, a)| !is_own(&self.own, a)) else {
            return;
        };
        if duplicate {
            self.put_on_again(address, ifindex);
        }
        for (slot, address) in &holders {
            self.enqueue(*slot, std::slice::from_ref(address), 1);
        }
    }

    /// Looks which of the addresses, found on the interfaces of the indexes beside them, are duplicates.
    pub(super) fn look_for_duplicates(&mut self, found: &[(&VirtualAddress, u32)]) {
        if found.iter().all(|(address, _)| address.ip.is_ipv4()) {
            return;
        }
        let there = match self.addresses.list() {
            Ok(there) => there,
            Err(error) => {
                tracing::warn!("Can't read the host's addresses to look for duplicates: {error}");
                return;
            }
        };
        for (address, index) in found {
            let shown = there.get(&(*index, address.ip, address.prefix));
            if shown.is_some_and(HostAddress::is_duplicate) {
                self.put_on_again(address, *index);
            }
        }
    }

    fn put_on_again(&mut self, address: &VirtualAddress, index: u32) {
        tracing::warn!(
            "{} is at another host too, says duplicate address detection on {}; put on again without asking",
            address.ip,
            address.device
        );
        take_off(&mut self.addresses, &[(address, Some(index))]);
        let unasked = VirtualAddress { detect_duplicates: false, ..address.clone() };
        for result in self.addresses.add([&unasked], |_| Some(index)) {
            if let Err(error) = result {
                warn("add", address, &error);
            }
        }
    }
}
