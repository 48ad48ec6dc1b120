//! The order of the IPv4 addresses of one network on an interface.
//!
//! The first one is what the host sends from. Ours is behind the host's own where that is there first; but
//! where somebody configures the interface anew, ours may be back before it, and the host would send from
//! the virtual address, and be the one whose address depends on it.

use std::collections::BTreeMap;

use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::settings::VirtualAddress;

use super::executor::Timing;
use super::table::HostAddress;
use super::worker::{Worker, is_own, take_off, warn};

/// The addresses of ours that are in front of the host's own one of their network, which would be the
/// first without them. `addresses`: an interface's, in the kernel's order.
pub(crate) fn in_front(
    addresses: &[HostAddress],
    is_ours: impl Fn(&HostAddress) -> bool,
) -> Vec<&HostAddress> {
    let mut front: Vec<&HostAddress> = Vec::new();
    for own in addresses.iter().filter(|a| a.ip.is_ipv4() && a.secondary && !is_ours(a)) {
        let network = || addresses.iter().filter(|a| is_one_network(a, own));
        let first = network().find(|a| !a.secondary);
        // Behind the same one as another is: that has been found.
        if first.is_some_and(|first| is_ours(first) && !front.contains(&first)) {
            front.extend(network().take_while(|a| is_ours(a)));
        }
    }
    front
}

/// As the kernel sees it: of one prefix length, and the one near the other.
fn is_one_network(one: &HostAddress, other: &HostAddress) -> bool {
    one.prefix == other.prefix && one.is_near(other.peer.unwrap_or(other.ip))
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Puts what routers hold on an interface behind the host's own: off and on again, in which time the
    /// host does not answer for it.
    pub(super) fn put_behind(&mut self, ifindex: u32) {
        let there = match self.addresses.on(ifindex) {
            Ok(there) => there,
            Err(error) => {
                tracing::warn!("Can't read the host's addresses to put ours behind: {error}");
                return;
            }
        };
        let held: BTreeMap<_, &VirtualAddress> = self
            .claims
            .held()
            .filter(|(address, index)| *index == ifindex && !is_own(&self.own, address))
            .map(|(address, _)| ((address.ip, address.prefix), address))
            .collect();
        let ours = |address: &HostAddress| held.get(&(address.ip, address.prefix)).copied();
        let front = in_front(&there, |address| ours(address).is_some());
        let off: Vec<(VirtualAddress, Option<u32>)> =
            front.into_iter().filter_map(|a| Some((ours(a)?.clone(), Some(ifindex)))).collect();
        let Some((first, _)) = off.first() else { return };
        tracing::info!(
            "{} came before the host's own address on {}: {} put behind it",
            first.ip,
            first.device,
            if off.len() == 1 { "off and on again," } else { "all of ours off and on again," }
        );
        let off: Vec<(&VirtualAddress, Option<u32>)> =
            off.iter().map(|(address, index)| (address, *index)).collect();
        take_off(&mut self.addresses, &off);
        let results = self.addresses.add(off.iter().map(|(a, _)| *a), |_| Some(ifindex));
        for ((address, _), result) in off.iter().zip(results) {
            if let Err(error) = result {
                warn("add", address, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures;
    use rstest::rstest;

    /// An interface's addresses by their last byte, secondary ones behind a bar; ours are from 250 on.
    #[rstest]
    #[case::the_host_came_first(&["11"], &["250"], &[])]
    #[case::ours_came_first(&["250"], &["11"], &["250"])]
    #[case::more_of_the_host(&["250"], &["11", "12"], &["250"])]
    #[case::more_of_ours(&["250"], &["251", "11", "252"], &["250", "251"])]
    #[case::ours_alone(&["250"], &["251"], &[])]
    #[case::behind_another_of_the_host(&["11"], &["250", "12"], &[])]
    fn those_in_front(
        #[case] first: &[&str],
        #[case] secondary: &[&str],
        #[case] expected: &[&str],
    ) {
        let address = |secondary| {
            move |last: &&str| HostAddress {
                secondary,
                ..fixtures::address(&format!("192.0.2.{last}"), 24)
            }
        };
        let mut all: Vec<_> = first.iter().map(address(false)).collect();
        // Another network and another prefix length have orders of their own.
        all.push(fixtures::address("198.18.0.11", 24));
        all.push(fixtures::address("192.0.2.99", 25));
        all.extend(secondary.iter().map(address(true)));
        let last = |a: &HostAddress| match a.ip {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        let front = in_front(&all, |a| last(a) >= 250);
        let front: Vec<_> = front.into_iter().map(|a| last(a).to_string()).collect();
        assert_eq!(front, expected);
    }
}
