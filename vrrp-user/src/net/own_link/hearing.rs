//! Which macvlans of ours hear: those that a router holds an address on.

use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkMessage, MacVlanMode};

use vrrp_proto::VirtualAddress;

use super::{Macvlan, message};
use crate::net::Interface;
use crate::net::table::read_link;
use crate::transmit::Mac;

/// On the thread that moves addresses: what it has to ask of the kernel beside that. Pure; an address
/// counts as held from just before it is put on until just after it was taken off.
#[derive(Debug, Default)]
pub(in crate::net) struct Hearing {
    links: BTreeMap<u32, Link>,
    /// The indexes by name.
    names: BTreeMap<String, u32>,
    /// Deaf by now, and to be set down when there is nothing else to do.
    resting: BTreeSet<u32>,
}

#[derive(Debug)]
struct Link {
    is: Macvlan,
    hears: Option<bool>,
}

/// How one was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its index.
    pub(super) index: u32,
    pub(super) up: bool,
    pub(super) mac: Option<Mac>,
    pub(super) mode: Option<MacVlanMode>,
}

impl Found {
    pub(super) const fn of(interface: &Interface) -> Self {
        let Interface { ifindex, admin_up, mac, mode, .. } = interface;
        Self { index: *ifindex, up: *admin_up, mac: *mac, mode: *mode }
    }

    /// As the kernel describes it.
    pub(in crate::net) fn read(message: &LinkMessage) -> Self {
        Self::of(&read_link(message))
    }
}

/// What is to be asked of the kernel.
pub(in crate::net) type Requests = Vec<RouteNetlinkMessage>;

impl Hearing {
    /// Takes in one that is new, or has changed, and brings it in line with what is `held`.
    pub(in crate::net) fn add(&mut self, is: Macvlan, held: bool) -> Requests {
        let index = is.index;
        // It may go by another name by now.
        self.remove(index);
        self.names.insert(is.name.clone(), index);
        self.links.insert(index, Link { is, hears: None });
        if held { self.open([index]) } else { self.close_one(index).into_iter().collect() }
    }

    /// Forgets one that is gone.
    pub(in crate::net) fn remove(&mut self, index: u32) {
        if let Some(gone) = self.links.remove(&index)
            && self.names.get(&gone.is.name) == Some(&index)
        {
            self.names.remove(&gone.is.name);
        }
        self.resting.remove(&index);
    }

    /// Those with these indexes are about to get addresses.
    pub(in crate::net) fn open(&mut self, indexes: impl IntoIterator<Item = u32>) -> Requests {
        let mut requests = Vec::new();
        for index in indexes {
            let Some(link) = self.links.get_mut(&index) else { continue };
            if link.hears.replace(true) == Some(true) {
                continue;
            }
            self.resting.remove(&index);
            requests.push(message::set_hearing(index, true));
            requests.push(message::set_up(index, true));
        }
        requests
    }

    /// Addresses were taken off those with these indexes.
    pub(in crate::net) fn close(
        &mut self,
        indexes: impl IntoIterator<Item = u32>,
        held: impl Fn(u32) -> bool,
    ) -> Requests {
        let hears = |index: &u32| self.links.get(index).is_some_and(|l| l.hears == Some(true));
        let indexes: BTreeSet<u32> = indexes.into_iter().filter(hears).collect();
        let closed = indexes.into_iter().filter(|index| !held(*index)).collect::<Vec<_>>();
        closed.into_iter().filter_map(|index| self.close_one(index)).collect()
    }

    fn close_one(&mut self, index: u32) -> Option<RouteNetlinkMessage> {
        let link = self.links.get_mut(&index)?;
        link.hears = Some(false);
        if link.is.v6 {
            self.resting.insert(index);
        }
        Some(message::set_hearing(index, false))
    }

    /// The name of one that is not as it is to be.
    pub(in crate::net) fn doubts(&self, found: &Found) -> Option<&str> {
        let differs = !self.mending(found).is_empty();
        self.links.get(&found.index).map(|link| link.is.name.as_str()).filter(|_| differs)
    }

    /// What makes one as it is to be again, with what is wrong about it.
    pub(in crate::net) fn mending(
        &self,
        found: &Found,
    ) -> Vec<(&'static str, RouteNetlinkMessage)> {
        let Found { index, up, mac, mode } = *found;
        let Some(Link { is, hears: Some(hears) }) = self.links.get(&index) else {
            return Vec::new();
        };
        let mut mending = Vec::new();
        if mac != Some(is.mac) {
            mending.push(("has another MAC address", message::set_mac(index, is.mac)));
        }
        if mode != Some(message::mode(*hears)) {
            mending.push(("is in another mode", message::set_hearing(index, *hears)));
        }
        let is_to_be_up = *hears || !is.v6;
        if up != is_to_be_up && !self.resting.contains(&index) {
            let what = if up { "is up" } else { "is down" };
            mending.push((what, message::set_up(index, is_to_be_up)));
        }
        mending
    }

    /// What can be done while nothing else is: it takes the kernel some 15 ms.
    pub(in crate::net) fn idle(&mut self) -> Option<RouteNetlinkMessage> {
        let index = self.resting.pop_first()?;
        Some(message::set_up(index, false))
    }

    /// Whether something is left for then.
    pub(in crate::net) fn has_more(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Where it is to be said that an address has gone to the router whose adverts come from `mac`; `None`:
    /// nowhere, it stays at the virtual MAC address.
    pub(in crate::net) fn gone_to(
        &self,
        address: &VirtualAddress,
        mac: Mac,
    ) -> Option<VirtualAddress> {
        let link = self.names.get(&address.device).and_then(|index| self.links.get(index));
        let Some(link) = link else { return Some(address.clone()) };
        // Where adverts don't come from it, theirs say nothing of where the address is.
        if mac == link.is.mac || !link.is.adverts {
            return None;
        }
        // And from there, nothing may leave any more.
        Some(VirtualAddress { device: link.is.base.clone(), ..address.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macvlan(index: u32, v6: bool) -> Macvlan {
        let mac = [0, 0, 0x5e, 0, 1, 10];
        let name = format!("vrrp.{index}");
        Macvlan { index, name, base: "eth0".to_owned(), mac, v6, adverts: true }
    }

    #[test]
    fn one_hears_from_before_its_first_address_until_after_its_last() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.add(macvlan(7, false), false), [message::set_hearing(7, false)]);
        let opened = [message::set_hearing(7, true), message::set_up(7, true)];
        assert_eq!(hearing.open([2, 7]), opened, "the other one is not ours");
        assert_eq!(hearing.open([7]), []);
        assert_eq!(hearing.close([2, 7], |index| index == 7), []);
        assert_eq!(hearing.close([7, 7], |_| false), [message::set_hearing(7, false)]);
        assert_eq!(hearing.close([7], |_| false), []);
        assert_eq!(hearing.idle(), None);
        assert_eq!(hearing.open([7]), opened);
        hearing.remove(7);
        assert_eq!(hearing.close([7], |_| false), []);
    }

    #[test]
    fn one_with_ipv6_addresses_is_down_while_it_has_none() {
        let mut hearing = Hearing::default();
        hearing.add(macvlan(7, true), true);
        assert!(!hearing.has_more());
        assert_eq!(hearing.close([7], |_| false), [message::set_hearing(7, false)]);
        assert!(hearing.has_more());
        assert_eq!(hearing.open([7]).len(), 2, "before there was time");
        assert_eq!(hearing.idle(), None);
        hearing.close([7], |_| false);
        assert_eq!(hearing.idle(), Some(message::set_up(7, false)));
        assert!(!hearing.has_more());
        hearing.open([7]);
        hearing.close([7], |_| false);
        hearing.remove(7);
        assert!(!hearing.has_more(), "it is about to be removed");
    }

    #[test]
    fn one_that_an_earlier_life_left_is_as_what_it_holds() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.add(macvlan(7, false), false), [message::set_hearing(7, false)]);
        assert_eq!(hearing.add(macvlan(8, false), true)[0], message::set_hearing(8, true));
    }

    #[test]
    fn where_an_address_goes_that_is_given_up() {
        let mut hearing = Hearing::default();
        hearing.add(macvlan(7, false), false);
        hearing.add(Macvlan { adverts: false, ..macvlan(8, false) }, false);
        let address = |device: &str| VirtualAddress::new([192, 0, 2, 250].into(), 24, device);
        let (theirs, virtual_mac) = ([2, 0, 0, 0, 0, 12], [0, 0, 0x5e, 0, 1, 10]);
        let gone = |device: &str, mac: Mac| hearing.gone_to(&address(device), mac);
        assert_eq!(gone("eth0", theirs), Some(address("eth0")));
        assert_eq!(gone("vrrp.7", virtual_mac), None, "it stays where it was");
        assert_eq!(gone("vrrp.7", theirs), Some(address("eth0")), "they have no virtual one");
        assert_eq!(gone("vrrp.8", theirs), None, "they have it as well, as far as is known");
    }

    #[test]
    fn one_is_found_by_the_name_that_it_has_now() {
        let mut hearing = Hearing::default();
        let base = |hearing: &Hearing, name: &str| {
            let address = VirtualAddress::new([192, 0, 2, 250].into(), 24, name);
            let gone = hearing.gone_to(&address, [2, 0, 0, 0, 0, 12]);
            gone.map(|to| to.device).filter(|device| device != name)
        };
        hearing.add(macvlan(7, false), false);
        hearing.add(Macvlan { base: "eth1".to_owned(), ..macvlan(7, false) }, false);
        assert_eq!(base(&hearing, "vrrp.7").as_deref(), Some("eth1"));
        hearing.add(Macvlan { name: "other".to_owned(), ..macvlan(7, false) }, false);
        assert!(base(&hearing, "vrrp.7").is_none() && base(&hearing, "other").is_some());
        // Made anew under the same name, before the old one is known to be gone.
        hearing.add(Macvlan { name: "other".to_owned(), ..macvlan(8, false) }, false);
        hearing.remove(7);
        assert!(base(&hearing, "other").is_some());
        hearing.remove(8);
        assert!(base(&hearing, "other").is_none() && hearing.names.is_empty());
    }

    #[test]
    fn one_that_somebody_changes_is_mended() {
        let mut hearing = Hearing::default();
        hearing.add(macvlan(7, false), false);
        let deaf = Found {
            index: 7,
            up: true,
            mac: Some([0, 0, 0x5e, 0, 1, 10]),
            mode: Some(MacVlanMode::Source),
        };
        assert_eq!(hearing.doubts(&deaf), None);
        let down = Found { up: false, ..deaf };
        assert_eq!(hearing.doubts(&down), Some("vrrp.7"));
        assert_eq!(hearing.mending(&down), [("is down", message::set_up(7, true))]);
        assert_eq!(hearing.doubts(&Found { index: 8, ..down }), None, "not ours");
        hearing.open([7]);
        let hears = Found { mode: Some(MacVlanMode::Private), ..deaf };
        assert_eq!(hearing.doubts(&hears), None);
        let mode = message::set_hearing(7, true);
        assert_eq!(hearing.mending(&deaf), [("is in another mode", mode)]);
        let mac = message::set_mac(7, [0, 0, 0x5e, 0, 1, 10]);
        let other = Found { mac: Some([2, 0, 0, 0, 0, 9]), ..hears };
        assert_eq!(hearing.mending(&other), [("has another MAC address", mac)]);
    }

    #[test]
    fn one_with_ipv6_addresses_is_set_down_again() {
        let mut hearing = Hearing::default();
        hearing.add(macvlan(7, true), false);
        let mac = Some([0, 0, 0x5e, 0, 1, 10]);
        let up = Found { index: 7, up: true, mac, mode: Some(MacVlanMode::Source) };
        assert_eq!(hearing.doubts(&up), None, "it will be set down");
        hearing.idle();
        assert_eq!(hearing.doubts(&Found { up: false, ..up }), None);
        assert_eq!(hearing.mending(&up), [("is up", message::set_up(7, false))]);
        hearing.open([7]);
        let down = Found { up: false, mode: Some(MacVlanMode::Private), ..up };
        assert_eq!(hearing.mending(&down), [("is down", message::set_up(7, true))]);
    }
}
