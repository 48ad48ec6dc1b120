//! The maps that say which adverts are ours and what must be in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use aya::maps::{HashMap, MapData, MapError};
use tracing::debug;
use vrrp_common::abi::{AddressKey, Router, RouterKey};

use super::UpdateError;

/// Addresses with their positions.
pub(crate) type Positions = BTreeMap<Ipv4Addr, u32>;

/// `ROUTERS` and `ADDRESSES`, and what is in them.
pub(super) struct Routers {
    routers: HashMap<MapData, RouterKey, Router>,
    addresses: HashMap<MapData, AddressKey, u32>,
    slots: BTreeMap<RouterKeyOrder, u32>,
    positions: BTreeMap<u32, Positions>,
    /// Those that an earlier process has set, and this one has not yet.
    found: BTreeSet<RouterKeyOrder>,
}

/// [`RouterKey`] in an order.
type RouterKeyOrder = (u32, u8, u8);

impl Routers {
    pub(super) fn new(
        routers: HashMap<MapData, RouterKey, Router>,
        addresses: HashMap<MapData, AddressKey, u32>,
    ) -> Self {
        Self {
            routers,
            addresses,
            slots: BTreeMap::new(),
            positions: BTreeMap::new(),
            found: BTreeSet::new(),
        }
    }

    /// Learns what an earlier process has put into the maps.
    pub(super) fn recall(&mut self) -> Result<(), MapError> {
        for entry in self.routers.iter() {
            let (key, router) = entry?;
            self.slots.insert(order(key), router.slot);
            self.found.insert(order(key));
        }
        for entry in self.addresses.iter() {
            let (key, position) = entry?;
            let address = Ipv4Addr::from_octets(key.address);
            self.positions.entry(key.slot).or_default().insert(address, position);
        }
        Ok(())
    }

    /// Removes what an earlier process has put into the maps and nobody has set since.
    pub(super) fn drop_unused(&mut self) {
        for (ifindex, family, vrid) in std::mem::take(&mut self.found) {
            let key = RouterKey { ifindex, family, vrid, reserved: [0; 2] };
            if let Some(slot) = self.slots.get(&order(key)).copied() {
                self.remove(key, slot);
            }
        }
        let used: BTreeSet<u32> = self.slots.values().copied().collect();
        let unused: Vec<u32> =
            self.positions.keys().copied().filter(|slot| !used.contains(slot)).collect();
        for slot in unused {
            self.forget_unused(slot);
        }
    }

    pub(super) fn set(
        &mut self,
        key: RouterKey,
        router: Router,
        addresses: &[IpAddr],
    ) -> Result<(), UpdateError> {
        self.found.remove(&order(key));
        let slot = router.slot;
        let old = self.positions.entry(slot).or_default();
        let new = positions(old, addresses);
        for (address, position) in &new {
            if old.get(address) == Some(position) {
                continue;
            }
            // Noted first: what is there in part must go too when the router goes.
            old.insert(*address, *position);
            self.addresses.insert(address_key(slot, *address), position, 0)?;
        }
        let router = Router { addresses: new.len().min(255) as u8, ..router };
        self.routers.insert(key, router, 0)?;
        if let Some(other) = self.slots.insert(order(key), slot)
            && other != slot
        {
            self.forget_unused(other);
        }
        let stale = self.positions.insert(slot, new).unwrap_or_default();
        for address in stale.into_keys() {
            if !self.positions[&slot].contains_key(&address) {
                self.remove_address(slot, address);
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, key: RouterKey, slot: u32) {
        // The key may lead to the router that came after.
        if self.slots.get(&order(key)).is_some_and(|now| *now != slot) {
            return;
        }
        self.found.remove(&order(key));
        if let Err(error) = self.routers.remove(&key) {
            debug!(vrid = key.vrid, ifindex = key.ifindex, "no router to remove: {error}");
        }
        if let Some(slot) = self.slots.remove(&order(key)) {
            self.forget_unused(slot);
        }
    }

    /// Removes a slot's addresses when no key leads to it any more.
    fn forget_unused(&mut self, slot: u32) {
        if self.slots.values().any(|used| *used == slot) {
            return;
        }
        for address in self.positions.remove(&slot).unwrap_or_default().into_keys() {
            self.remove_address(slot, address);
        }
    }

    fn remove_address(&mut self, slot: u32, address: Ipv4Addr) {
        if let Err(error) = self.addresses.remove(&address_key(slot, address)) {
            debug!(slot, "no address {address} to remove: {error}");
        }
    }
}

/// Positions for a list of addresses, each address once, as its adverts' checks number them.
///
/// An address that had a position in `old` keeps it, so that an advert which is judged while the list
/// changes is not counted short. Up to 32 addresses stay below 32, where the kernel program tells them
/// all apart.
pub(crate) fn positions(old: &Positions, addresses: &[IpAddr]) -> Positions {
    let mut new: BTreeMap<Ipv4Addr, Option<u32>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(v4) => Some((*v4, None)),
            IpAddr::V6(_) => None,
        })
        .collect();
    let limit = new.len().max(32) as u32;
    let mut free = vec![true; limit as usize];
    for (address, position) in &mut new {
        *position = old.get(address).copied().filter(|at| *at < limit);
        if let Some(at) = *position {
            free[at as usize] = false;
        }
    }
    let mut unused = (0..limit).filter(|at| free[*at as usize]);
    // There are at least as many numbers as addresses.
    new.into_iter()
        .filter_map(|(address, position)| Some((address, position.or_else(|| unused.next())?)))
        .collect()
}

fn order(key: RouterKey) -> RouterKeyOrder {
    (key.ifindex, key.family, key.vrid)
}

fn address_key(slot: u32, address: Ipv4Addr) -> AddressKey {
    AddressKey { slot, address: address.octets() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[test]
    fn each_address_once_and_no_other_family() {
        let list = [v4(9), v4(3), v4(9), "2001:db8::1".parse().unwrap()];
        assert_eq!(positions(&Positions::new(), &list).len(), 2);
    }

    proptest! {
        #[test]
        fn positions_differ_and_stay(
            before in proptest::collection::vec(any::<u8>(), 0..60),
            after in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let list = |lasts: &[u8]| lasts.iter().map(|last| v4(*last)).collect::<Vec<_>>();
            let old = positions(&Positions::new(), &list(&before));
            let new = positions(&old, &list(&after));
            let mut wanted = after.clone();
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(new.len(), wanted.len());
            let mut numbers: Vec<u32> = new.values().copied().collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), new.len());
            let limit = new.len().max(32) as u32;
            prop_assert!(numbers.iter().all(|at| *at < limit));
            for (address, at) in &new {
                if let Some(was) = old.get(address).filter(|was| **was < limit) {
                    prop_assert_eq!(at, was);
                }
            }
        }
    }
}
