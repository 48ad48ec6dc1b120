//! The host's interfaces, found by index, by name and by address: a host may have thousands of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops;

use super::table::{HostAddress, Interface};

/// The interfaces of a host by index, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    all: BTreeMap<u32, Interface>,
    /// The indexes by name, the lowest first: one name is two interfaces' for a moment where another gets
    /// it before the first is seen to be gone.
    names: BTreeMap<String, BTreeSet<u32>>,
    /// Every address with its interface's index and its prefix length.
    places: BTreeSet<(IpAddr, u32, u8)>,
}

impl Interfaces {
    /// The one of that index.
    pub fn get(&self, ifindex: &u32) -> Option<&Interface> {
        self.all.get(ifindex)
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Interface> {
        self.all.values()
    }

    /// Says whether there is one of that index.
    pub fn contains_key(&self, ifindex: &u32) -> bool {
        self.all.contains_key(ifindex)
    }

    /// The one of that name.
    pub fn named(&self, name: &str) -> Option<&Interface> {
        self.all.get(self.names.get(name)?.first()?)
    }

    /// Those that have an address.
    pub fn having(&self, ip: IpAddr) -> impl Iterator<Item = &Interface> {
        let mut last = None;
        let places = self.places.range((ip, 0, 0)..=(ip, u32::MAX, u8::MAX));
        let each = places.map(|(_, ifindex, _)| *ifindex);
        // Once, with however many prefix lengths.
        let each = each.filter(move |ifindex| last.replace(*ifindex) != Some(*ifindex));
        each.filter_map(|ifindex| self.all.get(&ifindex))
    }

    /// Says whether one has an address with that prefix length.
    pub fn holds(&self, ifindex: u32, ip: IpAddr, prefix: u8) -> bool {
        self.places.contains(&(ip, ifindex, prefix))
    }

    /// Says whether one has an address, with whatever prefix length.
    pub(crate) fn has(&self, ifindex: u32, ip: IpAddr) -> bool {
        self.prefixes(ifindex, ip).next().is_some()
    }

    /// The prefix lengths that an interface has an address with.
    pub(crate) fn prefixes(&self, ifindex: u32, ip: IpAddr) -> impl Iterator<Item = u8> {
        let places = self.places.range((ip, ifindex, 0)..=(ip, ifindex, u8::MAX));
        places.map(|(_, _, prefix)| *prefix)
    }

    /// Takes one in, in place of the one of its index before.
    pub fn insert(&mut self, interface: Interface) {
        let ifindex = interface.ifindex;
        self.remove(&ifindex);
        self.names.entry(interface.name.clone()).or_default().insert(ifindex);
        self.places.extend(interface.addresses.iter().map(|a| (a.ip, ifindex, a.prefix)));
        self.all.insert(ifindex, interface);
    }

    /// Takes one out.
    pub fn remove(&mut self, ifindex: &u32) -> Option<Interface> {
        let gone = self.all.remove(ifindex)?;
        if let Some(same) = self.names.get_mut(&gone.name) {
            same.remove(ifindex);
            if same.is_empty() {
                self.names.remove(&gone.name);
            }
        }
        for address in &gone.addresses {
            self.places.remove(&(address.ip, *ifindex, address.prefix));
        }
        Some(gone)
    }

    /// Takes out all of one's name but itself.
    pub(super) fn remove_namesakes(&mut self, name: &str, ifindex: u32) {
        let others = self.names.get(name).cloned().unwrap_or_default();
        for other in others.into_iter().filter(|other| *other != ifindex) {
            self.remove(&other);
        }
    }

    /// Puts an address where the kernel has it. `None`: there is no such interface, or it was there, just
    /// so.
    pub(super) fn put(&mut self, ifindex: u32, address: &HostAddress) -> Option<&Interface> {
        let interface = self.all.get_mut(&ifindex)?;
        let is_new = self.places.insert((address.ip, ifindex, address.prefix));
        interface.put(address, is_new).then_some(interface)
    }

    /// Takes an address off. `None`: it was not there.
    pub(super) fn take(&mut self, ifindex: u32, address: &HostAddress) -> Option<&Interface> {
        if !self.places.remove(&(address.ip, ifindex, address.prefix)) {
            return None;
        }
        let interface = self.all.get_mut(&ifindex)?;
        interface.take(address);
        Some(interface)
    }

    /// Marks addresses as put there by `proto`: those that it is `of`, by their interface's name.
    pub(crate) fn mark(&mut self, proto: u8, of: impl Fn(&str, IpAddr) -> bool) {
        for interface in self.all.values_mut() {
            for address in &mut interface.addresses {
                if of(&interface.name, address.ip) {
                    address.proto = proto;
                }
            }
        }
    }
}

impl ops::Index<&u32> for Interfaces {
    type Output = Interface;

    fn index(&self, ifindex: &u32) -> &Interface {
        &self.all[ifindex]
    }
}

impl FromIterator<Interface> for Interfaces {
    fn from_iter<I: IntoIterator<Item = Interface>>(interfaces: I) -> Self {
        let mut all = Self::default();
        interfaces.into_iter().for_each(|interface| all.insert(interface));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures;

    fn address(last: u8, prefix: u8) -> HostAddress {
        fixtures::address(&format!("192.0.2.{last}"), prefix)
    }

    fn interface(ifindex: u32, name: &str, lasts: &[u8]) -> Interface {
        fixtures::interface(ifindex, name, lasts.iter().map(|last| address(*last, 24)))
    }

    fn indexes<'a>(interfaces: impl Iterator<Item = &'a Interface>) -> Vec<u32> {
        interfaces.map(|interface| interface.ifindex).collect()
    }

    #[test]
    fn a_name_goes_with_its_interface() {
        let mut all: Interfaces =
            [interface(2, "eth0", &[]), interface(3, "eth1", &[])].into_iter().collect();
        let named = |all: &Interfaces, name: &str| all.named(name).map(|one| one.ifindex);
        all.insert(interface(2, "lan", &[]));
        assert_eq!((named(&all, "eth0"), named(&all, "lan")), (None, Some(2)));
        // Another one gets the name before the first is seen to be gone.
        all.insert(interface(9, "lan", &[]));
        assert_eq!(named(&all, "lan"), Some(2));
        let mut two = all.clone();
        two.remove_namesakes("lan", 9);
        assert_eq!((named(&two, "lan"), two.contains_key(&2)), (Some(9), false));
        all.remove(&2);
        assert_eq!(named(&all, "lan"), Some(9));
        all.remove(&9);
        assert_eq!((named(&all, "lan"), named(&all, "eth1")), (None, Some(3)));
        assert_eq!(all, [interface(3, "eth1", &[])].into_iter().collect());
    }

    #[test]
    fn an_address_is_found_wherever_it_is() {
        let mut all: Interfaces =
            [interface(2, "eth0", &[1]), interface(3, "eth1", &[1, 2])].into_iter().collect();
        let ip = |last| address(last, 24).ip;
        assert_eq!(indexes(all.having(ip(1))), [2, 3]);
        assert!(all.put(2, &address(1, 32)).is_some());
        assert!(all.put(2, &address(1, 32)).is_none(), "it is there");
        assert!(all.put(7, &address(1, 32)).is_none(), "there is no such interface");
        assert_eq!(indexes(all.having(ip(1))), [2, 3], "each once");
        assert!(all.holds(2, ip(1), 32) && !all.holds(3, ip(1), 32) && !all.holds(7, ip(1), 32));
        assert!(all.take(2, &address(1, 24)).is_some());
        assert!(all.take(2, &address(1, 24)).is_none());
        assert_eq!(indexes(all.having(ip(1))), [2, 3]);
        assert!(all.take(2, &address(1, 32)).is_some());
        assert_eq!(indexes(all.having(ip(1))), [3]);
        // One that is made anew has what it is told with.
        all.insert(interface(3, "eth1", &[2, 4]));
        assert_eq!(indexes(all.having(ip(1))), [0u32; 0]);
        assert_eq!((indexes(all.having(ip(2))), indexes(all.having(ip(4)))), (vec![3], vec![3]));
        all.remove(&3);
        assert_eq!(indexes(all.having(ip(2))), [0u32; 0]);
        assert!(!all.holds(3, ip(2), 24));
    }
}
