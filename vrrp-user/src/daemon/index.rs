//! Which instances an interface or an address concerns, so that a change on the host costs what it
//! touches and not what is configured.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrrp_proto::{Slot, VirtualAddress};

use super::plan;
use super::running::Running;
use crate::net::leftover::{OwnAddress, is_own};

/// The running instances by what they depend on.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the interface of their adverts.
    interfaces: BTreeMap<String, BTreeSet<Slot>>,
    /// By the interfaces of their addresses.
    devices: BTreeMap<String, BTreeSet<Slot>>,
    /// By their addresses, whatever the interface.
    addresses: BTreeMap<(IpAddr, u8), BTreeSet<Slot>>,
    /// By the addresses of hosts that they name: their source and peers.
    named: BTreeMap<IpAddr, BTreeSet<Slot>>,
    /// All virtual addresses but the host's own: none of them is a source.
    virtual_ones: BTreeSet<IpAddr>,
}

impl Index {
    /// Takes an instance in; `own` are the host's own addresses.
    pub(super) fn add(&mut self, slot: Slot, running: &Running, own: &BTreeSet<OwnAddress>) {
        self.interfaces.entry(running.instance.interface.clone()).or_default().insert(slot);
        for ip in plan::named(&running.instance) {
            self.named.entry(ip).or_default().insert(slot);
        }
        for address in running.settings.held() {
            self.devices.entry(address.device.clone()).or_default().insert(slot);
            self.addresses.entry((address.ip, address.prefix)).or_default().insert(slot);
            // The owner's virtual address is its own, and the source of its adverts.
            if !is_own(own, address.ip) {
                self.virtual_ones.insert(address.ip);
            }
        }
    }

    /// Takes an instance out, by what it was when it was taken in.
    pub(super) fn remove(&mut self, slot: Slot, running: &Running) {
        remove(&mut self.interfaces, &running.instance.interface, slot);
        for ip in plan::named(&running.instance) {
            remove(&mut self.named, &ip, slot);
        }
        for address in running.settings.held() {
            remove(&mut self.devices, &address.device, slot);
            remove(&mut self.addresses, &(address.ip, address.prefix), slot);
            if self.with_ip(address.ip).next().is_none() {
                self.virtual_ones.remove(&address.ip);
            }
        }
    }

    /// Learns of more addresses that are the host's own.
    pub(super) fn learn_own(&mut self, own: &BTreeSet<OwnAddress>) {
        for own in own {
            self.virtual_ones.remove(&own.ip);
        }
    }

    /// The virtual addresses, none of which is a source of adverts.
    pub(super) const fn virtual_ones(&self) -> &BTreeSet<IpAddr> {
        &self.virtual_ones
    }

    /// Whether adverts of an instance use the interface.
    pub(super) fn uses(&self, interface: &str) -> bool {
        self.interfaces.contains_key(interface)
    }

    /// Whether the address is one of an instance.
    pub(super) fn is_virtual(&self, ip: IpAddr) -> bool {
        self.virtual_ones.contains(&ip)
    }

    /// The instances whose adverts or addresses use the interface.
    pub(super) fn on(&self, interface: &str) -> impl Iterator<Item = Slot> {
        let maps = [&self.interfaces, &self.devices];
        maps.into_iter().filter_map(move |map| map.get(interface)).flatten().copied()
    }

    /// The interfaces with addresses of instances.
    pub(super) fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// The instances with addresses on the interface.
    pub(super) fn with_addresses_on(&self, interface: &str) -> impl Iterator<Item = Slot> {
        self.devices.get(interface).into_iter().flatten().copied()
    }

    /// The instances with the address.
    pub(super) fn with(&self, ip: IpAddr, prefix: u8) -> impl Iterator<Item = Slot> {
        self.addresses.get(&(ip, prefix)).into_iter().flatten().copied()
    }

    /// The instances that have to know whether the host has the address.
    pub(super) fn naming(&self, ip: IpAddr) -> impl Iterator<Item = Slot> {
        self.named.get(&ip).into_iter().flatten().copied()
    }

    /// The instances with the address, whatever its prefix length.
    pub(super) fn with_ip(&self, ip: IpAddr) -> impl Iterator<Item = Slot> {
        self.addresses.range((ip, 0)..=(ip, u8::MAX)).flat_map(|(_, slots)| slots).copied()
    }
}

fn remove<K: Ord>(map: &mut BTreeMap<K, BTreeSet<Slot>>, key: &K, slot: Slot) {
    if let Some(slots) = map.get_mut(key) {
        slots.remove(&slot);
        if slots.is_empty() {
            map.remove(key);
        }
    }
}

/// Whether an address of an instance is the one that a change names.
pub(super) fn is(address: &VirtualAddress, device: &str, ip: IpAddr, prefix: u8) -> bool {
    (address.ip, address.prefix, address.device.as_str()) == (ip, prefix, device)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vrrp_proto::TrackerId;

    use super::*;
    use crate::config;

    /// An instance with these addresses, all on `eth1`, whose adverts are on `eth0`.
    fn running(vrid: u8, addresses: &[&str]) -> Running {
        let list: String = addresses.iter().map(|a| format!("  {a} dev eth1\n")).collect();
        let text = format!(
            "vrrp_instance A {{\n interface eth0\n virtual_router_id {vrid}\n virtual_ipaddress {{\n{list} }}\n}}\n"
        );
        let config = config::parse_str(Path::new("test.conf"), text).config;
        let instance = config.expect("a configuration").instances.remove(0);
        Running::new(instance.clone(), plan::settings(&instance, |_| TrackerId(0)))
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn what_an_instance_leaves_is_gone_and_what_others_have_stays() {
        let (mut index, none) = (Index::default(), BTreeSet::new());
        let first = running(1, &["192.0.2.1/24", "192.0.2.2/24"]);
        let second = running(2, &["192.0.2.2/32"]);
        index.add(Slot(1), &first, &none);
        index.add(Slot(2), &second, &none);
        let on = |index: &Index, name: &str| index.on(name).map(|slot| slot.0).collect::<Vec<_>>();
        assert_eq!((on(&index, "eth0"), on(&index, "eth1")), (vec![1, 2], vec![1, 2]));
        assert!(index.uses("eth0") && !index.uses("eth1"));
        assert_eq!(index.with(ip(2), 32).collect::<Vec<_>>(), [Slot(2)]);
        index.remove(Slot(1), &first);
        assert!(!index.is_virtual(ip(1)) && index.is_virtual(ip(2)));
        assert_eq!(on(&index, "eth1"), [2]);
        index.remove(Slot(2), &second);
        assert!(index.virtual_ones().is_empty() && !index.uses("eth0"));
        assert_eq!(on(&index, "eth1"), [0u32; 0]);
    }

    #[test]
    fn the_host_s_own_address_stays_a_source() {
        let own = |last| OwnAddress { device: "eth1".to_owned(), ip: ip(last), prefix: 24 };
        let mut index = Index::default();
        let owner = running(1, &["192.0.2.1/24", "192.0.2.2/24"]);
        index.add(Slot(1), &owner, &BTreeSet::from([own(1)]));
        assert_eq!(index.virtual_ones(), &BTreeSet::from([ip(2)]));
        index.learn_own(&BTreeSet::from([own(2)]));
        assert!(index.virtual_ones().is_empty());
    }
}
