//! Which macvlans of ours hear: those that a router holds an address on.

use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::RouteNetlinkMessage;

use super::{Macvlan, message};
use crate::transmit::Mac;

/// On the thread that moves addresses: what it has to ask of the kernel beside that. Pure; an address
/// counts as held from just before it is put on until just after it was taken off.
#[derive(Debug, Default)]
pub(in crate::net) struct Hearing {
    links: BTreeMap<u32, Link>,
    /// Deaf by now, and to be set down when there is nothing else to do.
    resting: BTreeSet<u32>,
}

#[derive(Debug)]
struct Link {
    is: Macvlan,
    hears: Option<bool>,
}

/// What is to be asked of the kernel.
pub(in crate::net) type Requests = Vec<RouteNetlinkMessage>;

impl Hearing {
    /// Takes in one that is new, or has changed, and brings it in line with what is `held`.
    pub(in crate::net) fn add(&mut self, is: Macvlan, held: bool) -> Requests {
        let index = is.index;
        self.links.insert(index, Link { is, hears: None });
        if held { self.open([index]) } else { self.close_one(index).into_iter().collect() }
    }

    /// Forgets one that is gone.
    pub(in crate::net) fn remove(&mut self, index: u32) {
        self.links.remove(&index);
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

    /// What can be done while nothing else is: it takes the kernel some 15 ms.
    pub(in crate::net) fn idle(&mut self) -> Option<RouteNetlinkMessage> {
        let index = self.resting.pop_first()?;
        Some(message::set_up(index, false))
    }

    /// Whether something is left for then.
    pub(in crate::net) fn has_more(&self) -> bool {
        !self.resting.is_empty()
    }

    /// The base and the MAC address of the one of that name.
    pub(in crate::net) fn of(&self, name: &str) -> Option<(&str, Mac)> {
        let link = self.links.values().find(|link| link.is.name == name)?;
        Some((&link.is.base, link.is.mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macvlan(index: u32, v6: bool) -> Macvlan {
        let mac = [0, 0, 0x5e, 0, 1, 10];
        Macvlan { index, name: format!("vrrp.{index}"), base: "eth0".to_owned(), mac, v6 }
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
    }

    #[test]
    fn one_that_an_earlier_life_left_is_as_what_it_holds() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.add(macvlan(7, false), false), [message::set_hearing(7, false)]);
        assert_eq!(hearing.add(macvlan(8, false), true)[0], message::set_hearing(8, true));
        assert_eq!(hearing.of("vrrp.9"), None);
        assert_eq!(hearing.of("vrrp.8").map(|(base, _)| base), Some("eth0"));
    }
}
