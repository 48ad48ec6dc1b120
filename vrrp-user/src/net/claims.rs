//! Which router holds which address, and on which interface it was put.
//!
//! Pure: a claim says what was done, the host is somebody else's business.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use vrrp_proto::input::Slot;
use vrrp_proto::settings::VirtualAddress;

/// The claims to all addresses, by address and prefix length.
///
/// The kernel has an address once for each interface, however many routers ask for it: so it goes with
/// the last claim, and by the index of the interface that it was put on. The name may be another
/// interface's by then.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claims: BTreeMap<(IpAddr, u8), Vec<Claim>>,
    /// How many there are to addresses on each interface, by its index, and of each router.
    on: Counts<u32>,
    of: Counts<Slot>,
}

/// How many there are of each.
#[derive(Debug)]
struct Counts<K>(BTreeMap<K, u32>);

#[derive(Debug)]
struct Claim {
    slot: Slot,
    /// The address as it is configured, with its interface's name.
    address: VirtualAddress,
    /// The interface's index.
    index: u32,
}

impl Claims {
    /// Notes that a router has an address on the interface of that index.
    pub(super) fn claim(&mut self, slot: Slot, address: &VirtualAddress, index: u32) {
        let claims = self.claims.entry((address.ip, address.prefix)).or_default();
        if let Some(known) = claims.iter_mut().find(|claim| claim.is(slot, &address.device)) {
            self.on.drop(known.index);
            known.index = index;
            known.address.clone_from(address);
        } else {
            self.of.add(slot);
            claims.push(Claim { slot, address: address.clone(), index });
        }
        self.on.add(index);
    }

    /// Ends a router's claim, and returns the index of the interface that the address is to be taken
    /// off; `None` where there was no claim, or another router has one to the same address there.
    pub(super) fn release(&mut self, slot: Slot, address: &VirtualAddress) -> Option<u32> {
        let key = (address.ip, address.prefix);
        let claims = self.claims.get_mut(&key)?;
        let at = claims.iter().position(|claim| claim.is(slot, &address.device))?;
        let index = claims.swap_remove(at).index;
        self.on.drop(index);
        self.of.drop(slot);
        if claims.is_empty() {
            self.claims.remove(&key);
        }
        (!self.holds(address, index)).then_some(index)
    }

    /// Ends a router's claim where it is to another interface than the one of that index, as
    /// [`release`](Self::release) does.
    pub(super) fn leave(
        &mut self,
        slot: Slot,
        address: &VirtualAddress,
        index: u32,
    ) -> Option<u32> {
        let claims = self.claims.get(&(address.ip, address.prefix))?;
        let elsewhere = |claim: &Claim| claim.is(slot, &address.device) && claim.index != index;
        if claims.iter().any(elsewhere) { self.release(slot, address) } else { None }
    }

    /// Says whether any router has the address on the interface of that index.
    pub(super) fn holds(&self, address: &VirtualAddress, index: u32) -> bool {
        let claims = self.claims.get(&(address.ip, address.prefix));
        claims.is_some_and(|claims| claims.iter().any(|claim| claim.index == index))
    }

    /// Says whether any router has the address on the interface of that index, with whatever prefix length.
    pub(super) fn has(&self, ip: IpAddr, index: u32) -> bool {
        let mut claims = self.claims.range((ip, 0)..=(ip, u8::MAX)).flat_map(|(_, claims)| claims);
        claims.any(|claim| claim.index == index)
    }

    /// The routers that have the address on the interface of that index, and as what.
    pub(super) fn holders(
        &self,
        ip: IpAddr,
        prefix: u8,
        index: u32,
    ) -> impl Iterator<Item = (Slot, &VirtualAddress)> {
        let claims = self.claims.get(&(ip, prefix)).into_iter().flatten();
        claims.filter(move |claim| claim.index == index).map(|claim| (claim.slot, &claim.address))
    }

    /// Says whether any router has an address on the interface of that index.
    pub(super) fn on(&self, index: u32) -> bool {
        self.on.has(index)
    }

    /// Says whether a router has any address at all.
    pub(super) fn any(&self, slot: Slot) -> bool {
        self.of.has(slot)
    }

    /// Says whether nobody has any address.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// All that is held, each address once for each interface, with the interface's index.
    pub(super) fn held(&self) -> impl Iterator<Item = (&VirtualAddress, u32)> {
        self.claims.values().flat_map(|claims| {
            let first = |i: usize| claims[..i].iter().all(|c| c.index != claims[i].index);
            let each = (0..claims.len()).filter(move |i| first(*i));
            each.map(|i| (&claims[i].address, claims[i].index))
        })
    }

    /// The index of the interface that a router has an address on, by the name that is configured.
    pub(super) fn index(&self, slot: Slot, device: &str, ip: IpAddr) -> Option<u32> {
        let claims = self.claims.range((ip, 0)..=(ip, u8::MAX)).flat_map(|(_, claims)| claims);
        claims.into_iter().find(|claim| claim.is(slot, device)).map(|claim| claim.index)
    }
}

impl<K: Ord> Counts<K> {
    fn add(&mut self, one: K) {
        *self.0.entry(one).or_default() += 1;
    }

    fn drop(&mut self, one: K) {
        if let Entry::Occupied(mut count) = self.0.entry(one) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn has(&self, one: K) -> bool {
        self.0.contains_key(&one)
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Claim {
    fn is(&self, slot: Slot, device: &str) -> bool {
        self.slot == slot && self.address.device == device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: u32 = 2;
    const ETH1: u32 = 3;

    fn vip(device: &str, prefix: u8) -> VirtualAddress {
        VirtualAddress::new(IpAddr::from([192, 0, 2, 250]), prefix, device)
    }

    #[test]
    fn the_last_claim_takes_the_address_along() {
        let mut claims = Claims::default();
        let address = vip("eth0", 24);
        claims.claim(Slot(1), &address, ETH0);
        claims.claim(Slot(1), &address, ETH0);
        claims.claim(Slot(2), &address, ETH0);
        assert_eq!(claims.release(Slot(3), &address), None);
        assert_eq!(claims.release(Slot(1), &address), None);
        assert!(claims.holds(&address, ETH0));
        assert_eq!(claims.release(Slot(2), &address), Some(ETH0));
        assert_eq!(claims.release(Slot(2), &address), None);
        assert!(claims.claims.is_empty());
    }

    #[test]
    fn what_two_routers_hold_is_there_once() {
        let mut claims = Claims::default();
        assert!(claims.is_empty());
        claims.claim(Slot(1), &vip("eth0", 24), ETH0);
        claims.claim(Slot(2), &vip("eth0", 24), ETH0);
        claims.claim(Slot(2), &vip("eth1", 24), ETH1);
        claims.claim(Slot(1), &vip("eth0", 32), ETH0);
        let held: Vec<_> = claims.held().map(|(a, index)| (a.prefix, index)).collect();
        assert_eq!(held, [(24, ETH0), (24, ETH1), (32, ETH0)]);
    }

    #[test]
    fn an_interface_is_in_use_until_its_last_claim_ends() {
        let mut claims = Claims::default();
        let address = vip("eth0", 24);
        claims.claim(Slot(1), &address, ETH0);
        claims.claim(Slot(1), &address, ETH0);
        claims.claim(Slot(2), &address, ETH0);
        claims.claim(Slot(2), &vip("eth1", 24), ETH1);
        assert!(claims.on(ETH0) && claims.on(ETH1) && claims.any(Slot(1)) && !claims.any(Slot(3)));
        claims.release(Slot(1), &address);
        assert!(claims.on(ETH0) && !claims.any(Slot(1)));
        // To another index by the same name.
        claims.claim(Slot(2), &address, ETH1);
        assert!(!claims.on(ETH0) && claims.any(Slot(2)));
        claims.release(Slot(2), &address);
        assert!(claims.on(ETH1) && claims.any(Slot(2)));
        claims.release(Slot(2), &vip("eth1", 24));
        assert!(!claims.on(ETH1) && !claims.any(Slot(2)));
        assert!(claims.on.0.is_empty() && claims.of.0.is_empty());
    }

    #[test]
    fn another_prefix_or_interface_is_another_address() {
        let mut claims = Claims::default();
        claims.claim(Slot(1), &vip("eth0", 24), ETH0);
        claims.claim(Slot(2), &vip("eth0", 32), ETH0);
        claims.claim(Slot(3), &vip("eth1", 24), ETH1);
        assert!(!claims.holds(&vip("eth0", 16), ETH0));
        let ip = vip("", 0).ip;
        assert!(claims.has(ip, ETH0) && claims.has(ip, ETH1) && !claims.has(ip, ETH1 + 1));
        assert_eq!(claims.release(Slot(1), &vip("eth0", 24)), Some(ETH0));
        assert!(claims.has(ip, ETH0));
        assert_eq!(claims.release(Slot(3), &vip("eth1", 24)), Some(ETH1));
        assert_eq!(claims.release(Slot(2), &vip("eth0", 32)), Some(ETH0));
    }

    #[test]
    fn a_name_that_went_to_another_interface() {
        let mut claims = Claims::default();
        let address = vip("eth0", 24);
        claims.claim(Slot(1), &address, ETH0);
        assert_eq!(claims.leave(Slot(1), &address, ETH0), None);
        assert_eq!(claims.index(Slot(1), "eth0", address.ip), Some(ETH0));
        assert_eq!(claims.leave(Slot(1), &address, ETH1), Some(ETH0));
        assert_eq!(claims.index(Slot(1), "eth0", address.ip), None);
        claims.claim(Slot(1), &address, ETH1);
        assert_eq!(claims.index(Slot(1), "eth0", address.ip), Some(ETH1));
        assert_eq!(claims.index(Slot(2), "eth0", address.ip), None);
        assert_eq!(claims.index(Slot(1), "eth1", address.ip), None);
    }
}
