//! Addresses of a router that is not Active, and that the host has all the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use vrrp_proto::{Slot, StateName, VirtualAddress};

use super::leftovers;
use super::running::Running;
use super::service::Service;
use super::words;
use crate::net::addr::PROTOCOL;
use crate::net::leftover;
use crate::net::monitor::Change;
use crate::net::strays::Stray;
use crate::net::{HostAddress, Interface};

impl Service {
    /// Looks at an address that came: whether it is one of a router that is not Active.
    pub(super) fn look_at_added(&mut self, change: &Change) {
        let Change::AddressAdded { ifindex, name, address } = change else { return };
        let slots: BTreeSet<Slot> = self.index.with_ip(address.ip).collect();
        for slot in slots {
            let Some(running) = self.running.get(&slot) else { continue };
            if has_on(running, address.ip, name) {
                self.suspect(slot, name, *ifindex, address.clone());
            }
        }
    }

    /// Looks what the host has of the addresses of routers that are not Active. Of those that one has just
    /// let go the kernel's word is still to come: they are looked at where `also_as_written`.
    pub(super) fn look_for_strays(
        &mut self,
        slots: impl IntoIterator<Item = Slot>,
        also_as_written: bool,
    ) {
        for slot in slots {
            let Some(running) = self.running.get(&slot) else { continue };
            let mut found = Vec::new();
            for written in running.settings.held() {
                let on = self.host.having(written.ip);
                let on = on.filter(|on| is_for(running, written, &on.name));
                for (interface, prefix) in prefixes(on, self, written.ip) {
                    if also_as_written || prefix != written.prefix {
                        let all = interface.addresses.iter();
                        let one = all.filter(|a| (a.ip, a.prefix) == (written.ip, prefix));
                        found.extend(
                            one.map(|a| (interface.name.clone(), interface.ifindex, a.clone())),
                        );
                    }
                }
            }
            for (name, ifindex, address) in found {
                self.suspect(slot, &name, ifindex, address);
            }
        }
    }

    /// Has the thread for addresses judge one, which knows whether a router has put it on.
    fn suspect(&mut self, slot: Slot, device: &str, ifindex: u32, address: HostAddress) {
        let Some(running) = self.running.get(&slot) else { return };
        // What belongs to another daemon is its own business, and the engine is about to end this one.
        if running.state == StateName::Active || running.ending || self.is_taken(&running.instance)
        {
            return;
        }
        let (name, state) = (running.instance.name.clone(), words::state(running.state));
        let rival = if address.proto == PROTOCOL { self.served.rivals.any() } else { None };
        let device = device.to_owned();
        self.executor.suspect(Stray { name, state, device, ifindex, address, rival });
    }

    /// Judges, as a start does, what the host has of the addresses of routers that another daemon has
    /// served until now.
    pub(super) fn judge_freed(&mut self, slots: &BTreeSet<Slot>) {
        let others = self.running.iter().filter(|(slot, _)| !slots.contains(slot));
        let known = others.flat_map(|(_, running)| running.settings.held());
        let known = known.map(|address| (address.device.clone(), address.ip)).collect();
        let freed = self.running.iter().filter(|(slot, _)| slots.contains(slot));
        let freed: Vec<_> = freed.map(|(_, running)| running.instance.clone()).collect();
        let found = leftovers::find(&self.host, &freed, &[], &known, |_| false);
        self.own.extend(leftover::own(&found));
        self.index.learn_own(&self.own);
        self.executor.protect(self.own.clone());
        self.take_off(leftovers::removals(&found).collect());
    }

    /// Whether the host has an address of an instance: on its interface, with whatever prefix length.
    pub(super) fn is_on_host(&self, running: &Running, address: &VirtualAddress) -> bool {
        self.host.having(address.ip).any(|on| is_for(running, address, &on.name))
    }
}

/// Each interface with each prefix length that it has the address with.
fn prefixes<'a>(
    on: impl Iterator<Item = &'a Interface>,
    service: &'a Service,
    ip: IpAddr,
) -> impl Iterator<Item = (&'a Interface, u8)> {
    let all = &service.host.interfaces;
    on.flat_map(move |on| all.prefixes(on.ifindex, ip).map(move |prefix| (on, prefix)))
}

fn has_on(running: &Running, ip: IpAddr, device: &str) -> bool {
    running.settings.held().any(|held| held.ip == ip && is_for(running, held, device))
}

/// Whether an address is for that interface, or for one that its router makes on top of it.
fn is_for(running: &Running, address: &VirtualAddress, device: &str) -> bool {
    address.device == device || running.instance.base_of(&address.device) == Some(device)
}
