//! The maps that say which adverts are ours and what must be in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::{Array, HashMap, MapData, MapError};
use tracing::debug;
use vrrp_common::abi::{
    Address6Key, AddressKey, PeerKey, ROWS_PER_SLOT, Router, RouterKey, TtlBounds,
};
use vrrp_common::wire;

use super::UpdateError;
use super::index::{Full, Index};
use super::sys::Mapping;
use crate::config::model::Peer;

/// Addresses with their positions.
pub(crate) type Positions = BTreeMap<IpAddr, u32>;

/// A slot's unicast peers.
type Peers = BTreeMap<[u8; 16], TtlBounds>;

/// The maps and what is in them.
pub(super) struct Routers {
    maps: Maps,
    slots: BTreeMap<RouterKeyOrder, u32>,
    /// The same the other way round: a removal need not look at all keys.
    keys: BTreeSet<(u32, RouterKeyOrder)>,
    /// The row that each slot has, or had last, and what is in it.
    rows: BTreeMap<u32, (u32, Router)>,
    positions: BTreeMap<u32, Positions>,
    peers: BTreeMap<u32, Peers>,
    /// Those that an earlier process has set, and this one has not yet.
    found: BTreeSet<RouterKeyOrder>,
}

/// The maps.
pub(super) struct Maps {
    pub(super) index: Index<Mapping>,
    pub(super) rows: Array<MapData, Router>,
    pub(super) addresses: HashMap<MapData, AddressKey, u32>,
    pub(super) addresses6: HashMap<MapData, Address6Key, u32>,
    pub(super) peers: HashMap<MapData, PeerKey, TtlBounds>,
}

/// [`RouterKey`] in an order.
type RouterKeyOrder = (u32, u8, u8);

impl Routers {
    pub(super) fn new(maps: Maps) -> Self {
        Self {
            maps,
            slots: BTreeMap::new(),
            keys: BTreeSet::new(),
            rows: BTreeMap::new(),
            positions: BTreeMap::new(),
            peers: BTreeMap::new(),
            found: BTreeSet::new(),
        }
    }

    /// Learns what an earlier process has put into the maps.
    pub(super) fn recall(&mut self) -> Result<(), MapError> {
        for (key, row) in self.maps.index.iter() {
            let router = self.maps.rows.get(&row, 0)?;
            self.slots.insert(order(key), router.slot);
            self.keys.insert((router.slot, order(key)));
            self.rows.insert(router.slot, (row, router));
            self.found.insert(order(key));
        }
        for entry in self.maps.addresses.iter() {
            let (key, position) = entry?;
            let address = IpAddr::from(key.address);
            self.positions.entry(key.slot).or_default().insert(address, position);
        }
        for entry in self.maps.addresses6.iter() {
            let (key, position) = entry?;
            let address = IpAddr::from(key.address);
            self.positions.entry(key.slot).or_default().insert(address, position);
        }
        for entry in self.maps.peers.iter() {
            let (key, bounds) = entry?;
            self.peers.entry(key.slot).or_default().insert(key.address, bounds);
        }
        Ok(())
    }

    /// Removes what an earlier process has put into the maps and nobody has set since.
    pub(super) fn drop_unused(&mut self) {
        for (ifindex, family, vrid) in std::mem::take(&mut self.found) {
            let key = keyed((ifindex, family, vrid));
            if let Some(slot) = self.slots.get(&order(key)).copied() {
                self.remove(key, slot);
            }
        }
        let used: BTreeSet<u32> = self.slots.values().copied().collect();
        let there: BTreeSet<u32> =
            self.positions.keys().chain(self.peers.keys()).copied().collect();
        for slot in there.difference(&used) {
            self.forget(*slot);
        }
    }

    /// Has adverts for `key` judged by `router`. Where this fails the kernel program knows no such router any more, so that it passes its adverts
    /// on and judges none by what was.
    pub(super) fn set(
        &mut self,
        key: RouterKey,
        router: Router,
        addresses: &[IpAddr],
        peers: &[Peer],
    ) -> Result<(), UpdateError> {
        let slot = router.slot;
        let result = self.try_set(key, router, addresses, peers);
        if result.is_err() {
            self.lead(key, slot);
            self.remove(key, slot);
        }
        result
    }

    fn try_set(
        &mut self,
        key: RouterKey,
        router: Router,
        addresses: &[IpAddr],
        peers: &[Peer],
    ) -> Result<(), UpdateError> {
        self.found.remove(&order(key));
        let slot = router.slot;
        let old = self.positions.entry(slot).or_default();
        let new = positions(old, key.family, addresses);
        for (address, position) in &new {
            if old.get(address) == Some(position) {
                continue;
            }
            // Noted first: what is there in part must go too when the router goes.
            old.insert(*address, *position);
            self.maps.set_address(slot, *address, *position)?;
        }
        let known = self.peers.entry(slot).or_default();
        let wanted = bounds(peers);
        for (address, bounds) in &wanted {
            if known.get(address) != Some(bounds) {
                known.insert(*address, *bounds);
                self.maps.peers.insert(PeerKey { slot, address: *address }, bounds, 0)?;
            }
        }
        let row = self.put(key, leading(router, &new))?;
        self.maps.index.lead(&key, row)?;
        self.lead(key, slot);
        let stale = self.positions.insert(slot, new).unwrap_or_default();
        for address in stale.into_keys() {
            if !self.positions[&slot].contains_key(&address) {
                self.maps.remove_address(slot, address);
            }
        }
        let stale = self.peers.insert(slot, wanted).unwrap_or_default();
        for address in stale.into_keys() {
            if !self.peers[&slot].contains_key(&address) {
                self.maps.remove_peer(slot, address);
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
        if !self.maps.index.end(&key) {
            debug!(vrid = key.vrid, ifindex = key.ifindex, "no router to remove");
        }
        if let Some(slot) = self.slots.remove(&order(key)) {
            self.part(key, slot);
        }
    }

    /// Puts a router into a row of its slot that no key leads to, and has all that lead to the slot, but `by`, lead
    /// there; returns the row. So an advert is judged by what was or by what is, and by nothing between.
    fn put(&mut self, by: RouterKey, router: Router) -> Result<u32, UpdateError> {
        let slot = router.slot;
        // The first rows of all slots, then the second ones: most slots are in the same, next to each other.
        let all = self.maps.rows.len();
        let row = match self.rows.get(&slot) {
            Some((row, there)) if *there == router => return Ok(*row),
            Some((row, _)) => (row + all / ROWS_PER_SLOT) % all,
            None => slot,
        };
        self.maps.rows.set(row, router, 0)?;
        self.rows.insert(slot, (row, router));
        for key in keys_of(&self.keys, slot).filter(|key| *key != order(by)) {
            // Of an earlier process's keys nobody knows yet whose they are.
            if self.found.contains(&key) {
                self.maps.index.end(&keyed(key));
            } else {
                self.maps.index.lead(&keyed(key), row)?;
            }
        }
        Ok(row)
    }

    /// Has a key lead to a slot; where none leads to its last one any more, that is forgotten.
    fn lead(&mut self, key: RouterKey, slot: u32) {
        self.keys.insert((slot, order(key)));
        if let Some(other) = self.slots.insert(order(key), slot).filter(|other| *other != slot) {
            self.part(key, other);
        }
    }

    /// Notes that a key does not lead to a slot any more.
    fn part(&mut self, key: RouterKey, slot: u32) {
        self.keys.remove(&(slot, order(key)));
        if keys_of(&self.keys, slot).next().is_none() {
            self.forget(slot);
        }
    }

    /// Removes a slot's addresses and peers.
    fn forget(&mut self, slot: u32) {
        for address in self.positions.remove(&slot).unwrap_or_default().into_keys() {
            self.maps.remove_address(slot, address);
        }
        for address in self.peers.remove(&slot).unwrap_or_default().into_keys() {
            self.maps.remove_peer(slot, address);
        }
    }
}

impl Maps {
    fn set_address(
        &mut self,
        slot: u32,
        address: IpAddr,
        position: u32,
    ) -> Result<(), UpdateError> {
        match address {
            IpAddr::V4(v4) => {
                let key = AddressKey { slot, address: v4.octets() };
                self.addresses.insert(key, position, 0)?;
            }
            IpAddr::V6(v6) => {
                let key = Address6Key { slot, address: v6.octets() };
                self.addresses6.insert(key, position, 0)?;
            }
        }
        Ok(())
    }

    fn remove_address(&mut self, slot: u32, address: IpAddr) {
        let removed = match address {
            IpAddr::V4(v4) => self.addresses.remove(&AddressKey { slot, address: v4.octets() }),
            IpAddr::V6(v6) => self.addresses6.remove(&Address6Key { slot, address: v6.octets() }),
        };
        if let Err(error) = removed {
            debug!(slot, "no address {address} to remove: {error}");
        }
    }

    fn remove_peer(&mut self, slot: u32, address: [u8; 16]) {
        if let Err(error) = self.peers.remove(&PeerKey { slot, address }) {
            debug!(slot, "no peer {address:02x?} to remove: {error}");
        }
    }
}

/// A router's settings with what they say of its addresses.
pub(crate) fn leading(router: Router, positions: &Positions) -> Router {
    let addresses = positions.len().min(255) as u8;
    let first = positions.keys().next().map_or([0; 16], |first| wire::octets(*first));
    Router { addresses, first, ..router }
}

/// The peers as the validator asks for them.
pub(crate) fn bounds(peers: &[Peer]) -> Peers {
    peers
        .iter()
        .map(|peer| (wire::octets(peer.address), TtlBounds::new(peer.min_ttl, peer.max_ttl)))
        .collect()
}

/// Positions for the addresses of a family in a list, each address once, as its adverts' checks number
/// them.
///
/// An address that had a position in `old` keeps it, so that an advert which is judged while the list
/// changes is not counted short. Up to 32 addresses stay below 32, where the kernel program tells them
/// all apart.
pub(crate) fn positions(old: &Positions, family: u8, addresses: &[IpAddr]) -> Positions {
    let mut new: BTreeMap<IpAddr, Option<u32>> = addresses
        .iter()
        .filter(|address| wire::family_of(**address) as u8 == family)
        .map(|address| (*address, None))
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

const fn keyed((ifindex, family, vrid): RouterKeyOrder) -> RouterKey {
    RouterKey { ifindex, family, vrid, reserved: [0; 2] }
}

/// The keys that lead to a slot.
fn keys_of(
    keys: &BTreeSet<(u32, RouterKeyOrder)>,
    slot: u32,
) -> impl Iterator<Item = RouterKeyOrder> + '_ {
    let all = (slot, (u32::MIN, u8::MIN, u8::MIN))..=(slot, (u32::MAX, u8::MAX, u8::MAX));
    keys.range(all).map(|(_, key)| *key)
}

impl From<Full> for UpdateError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use vrrp_common::Family;

    use super::*;

    const V4: u8 = Family::V4 as u8;

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[test]
    fn each_address_once_and_no_other_family() {
        let list = [v4(9), v4(3), v4(9), "2001:db8::1".parse().unwrap()];
        assert_eq!(positions(&Positions::new(), V4, &list).len(), 2);
        assert_eq!(positions(&Positions::new(), Family::V6 as u8, &list).len(), 1);
    }

    #[test]
    fn a_router_has_one_of_its_addresses_at_hand() {
        let router: Router = bytemuck::Zeroable::zeroed();
        let none = leading(router, &Positions::new());
        assert!(!none.is_first_v4([0; 4]) && !none.is_first_v6([0; 16]));
        let router = leading(router, &positions(&Positions::new(), V4, &[v4(9)]));
        assert_eq!(router.addresses, 1);
        assert!(router.is_first_v4([192, 0, 2, 9]) && !router.is_first_v4([192, 0, 2, 3]));
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let list = positions(&Positions::new(), Family::V6 as u8, &[v6]);
        let router = leading(router, &list);
        assert!(router.is_first_v6(wire::octets(v6)) && !router.is_first_v6([0x20; 16]));
    }

    proptest! {
        #[test]
        fn positions_differ_and_stay(
            before in proptest::collection::vec(any::<u8>(), 0..60),
            after in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let list = |lasts: &[u8]| lasts.iter().map(|last| v4(*last)).collect::<Vec<_>>();
            let old = positions(&Positions::new(), V4, &list(&before));
            let new = positions(&old, V4, &list(&after));
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
