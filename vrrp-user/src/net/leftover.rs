//! What to do, at start, with configured addresses that the host already has.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use vrrp_common::Family;
use vrrp_common::wire::family_of;
use vrrp_proto::settings::VirtualAddress;

use super::addr::PROTOCOL;
use super::table::{HostAddress, Interface, Snapshot};

/// `RT_SCOPE_LINK`: from here on an address reaches nobody beyond the link.
const SCOPE_LINK: u8 = 253;

/// An address that is the host's own and is never removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnAddress {
    // First, so that in their order those with one address are side by side.
    /// The address.
    pub ip: IpAddr,
    /// Its interface's name.
    pub device: String,
    /// Its prefix length.
    pub prefix: u8,
}

impl OwnAddress {
    /// What the host's own address would be called if it were this one.
    pub fn of(address: &VirtualAddress) -> Self {
        Self { device: address.device.clone(), ip: address.ip, prefix: address.prefix }
    }
}

/// A configured address, and whether its router is Active from the start.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The address.
    pub address: &'a VirtualAddress,
    /// The interface below the one that its router makes for itself, where it does: there the host may
    /// have the address as its own.
    pub base: Option<&'a str>,
    /// Its router does not ask first: it is the owner, or goes on as the Active one it was.
    pub at_once: bool,
}

/// Where an address that was found comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An earlier life of ours, or keepalived, put it there: it has the mark.
    OursBefore,
    /// The host's own: its only address on that interface, or the source of its routes or adverts.
    /// Whoever gives it away can't log in any more.
    HostOwn,
    /// Nobody knows; most likely an earlier life on a kernel that keeps no mark.
    Leftover,
}

/// A configured address that the host has, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The interface's name.
    pub device: String,
    /// The address as it is on the host.
    pub address: HostAddress,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it is to be removed before anything else is done.
    pub remove: bool,
    /// Whether every router that it is configured for is Active from the start: its owner.
    pub at_once: bool,
}

impl Found {
    /// Whether somebody should look at it: not where it stays, and with the router that owns it
    /// (RFC 9568 §6.1, priority 255).
    pub fn is_alarming(&self) -> bool {
        self.remove || !self.at_once
    }

    /// The address as a removal names it.
    pub fn to_virtual(&self) -> VirtualAddress {
        VirtualAddress {
            peer: self.address.peer,
            tracked: false,
            ..VirtualAddress::new(self.address.ip, self.address.prefix, self.device.as_str())
        }
    }
}

impl fmt::Display for Found {
    /// One line for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostAddress { ip, prefix, .. } = &self.address;
        write!(f, "{ip}/{prefix} is on {} already: ", self.device)?;
        match (self.origin, self.remove) {
            (Origin::HostOwn, _) if self.at_once => {
                f.write_str("the host's own address, whose owner this router is; never removed")
            }
            (Origin::HostOwn, _) => f.write_str(
                "the host's own address, never removed, whichever router is MASTER; \
                 two hosts may answer for it",
            ),
            (Origin::OursBefore, true) => f.write_str("from an earlier life, removed"),
            (Origin::Leftover, true) => f.write_str("left over, removed"),
            (Origin::OursBefore, false) => f.write_str("from an earlier life, kept"),
            (Origin::Leftover, false) => f.write_str("left over, kept"),
        }
    }
}

/// The addresses among those found that must never be removed.
pub fn own(found: &[Found]) -> BTreeSet<OwnAddress> {
    found
        .iter()
        .filter(|found| found.origin == Origin::HostOwn)
        .map(|found| OwnAddress {
            device: found.device.clone(),
            ip: found.address.ip,
            prefix: found.address.prefix,
        })
        .collect()
}

/// Says whether an address is the host's own on some interface, with some prefix length.
pub fn is_own(own: &BTreeSet<OwnAddress>, ip: IpAddr) -> bool {
    let least = OwnAddress { ip, device: String::new(), prefix: 0 };
    own.range(least..).next().is_some_and(|first| first.ip == ip)
}

/// Finds the configured addresses that the host has, and decides about each.
///
/// An address with the mark is ours on whatever interface it is; without it, only on the interface it
/// is configured for, since a real server behind LVS holds the same address on `lo` for good. The
/// prefix length does not matter: it may have been changed since.
///
/// `sources` names the source addresses of the host's routes ([`super::routes::sources`]) and those
/// written for adverts; it is asked only where the answer depends on it.
pub fn judge(
    host: &Snapshot,
    wanted: &[Wanted<'_>],
    sources: impl FnOnce() -> BTreeSet<IpAddr>,
) -> Vec<Found> {
    let sources = LazyCell::new(sources);
    let virtuals: BTreeSet<IpAddr> = wanted.iter().map(|w| w.address.ip).collect();
    // Both are thousands where one that led for many has died.
    let mut by_ip: BTreeMap<IpAddr, Vec<&Wanted<'_>>> = BTreeMap::new();
    for one in wanted {
        by_ip.entry(one.address.ip).or_default().push(one);
    }
    let mut found = Vec::new();
    for interface in host.interfaces.values() {
        let kinds = LazyCell::new(|| kinds(interface, &virtuals));
        for address in &interface.addresses {
            let marked = address.proto == PROTOCOL;
            let on_it = |w: &Wanted<'_>| w.address.device == interface.name;
            let here = |w: &Wanted<'_>| on_it(w) || w.base == Some(&interface.name);
            let all = by_ip.get(&address.ip).into_iter().flatten().copied();
            let matching: Vec<_> = all.filter(|w| marked || here(w)).collect();
            if matching.is_empty() {
                continue;
            }
            // Nobody else puts addresses on an interface that is the virtual router's.
            let on_own_link = matching.iter().any(|w| w.base.is_some() && on_it(w));
            let origin = if marked {
                Origin::OursBefore
            } else if on_own_link {
                Origin::Leftover
            } else if stands_alone(address, &kinds) || sources.contains(&address.ip) {
                Origin::HostOwn
            } else {
                Origin::Leftover
            };
            // Kept only as what it will be: on its interface and with its prefix.
            let as_it_is =
                |w: &Wanted<'_>| w.at_once && on_it(w) && w.address.prefix == address.prefix;
            let adopted = matching.iter().any(|w| as_it_is(w));
            found.push(Found {
                device: interface.name.clone(),
                address: address.clone(),
                origin,
                remove: origin != Origin::HostOwn && !adopted,
                at_once: matching.iter().all(|w| w.at_once),
            });
        }
    }
    found
}

/// What an address is good for: its family, and whether it is of one link alone.
type Purpose = (Family, bool);

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// What the addresses of an interface that are no virtual ones are good for.
fn kinds(interface: &Interface, virtuals: &BTreeSet<IpAddr>) -> BTreeSet<Purpose> {
    let others = interface.addresses.iter().filter(|a| !virtuals.contains(&a.ip));
    let kinds = others.flat_map(|a| {
        let far = (a.scope < SCOPE_LINK).then_some((family_of(a.ip), false));
        far.into_iter().chain(is_link_local(a.ip).then_some((Family::V6, true)))
    });
    kinds.collect()
}

/// Says whether the host would be left without an address of that family on the interface, whose other
/// addresses are of those `kinds`. A link-local address of IPv6 stands for itself: adverts come from one.
fn stands_alone(address: &HostAddress, kinds: &BTreeSet<Purpose>) -> bool {
    // A secondary address has its network's first one beside it.
    !address.secondary && !kinds.contains(&(family_of(address.ip), is_link_local(address.ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures;
    use rstest::rstest;

    fn host_address(ip: &str, prefix: u8, proto: u8, secondary: bool) -> HostAddress {
        HostAddress { proto, secondary, ..fixtures::address(ip, prefix) }
    }

    fn vip(ip: &str, prefix: u8, device: &str) -> VirtualAddress {
        VirtualAddress::new(ip.parse().unwrap(), prefix, device)
    }

    fn host(interfaces: &[(&str, &[HostAddress])]) -> Snapshot {
        let all = (1..).zip(interfaces);
        fixtures::host(all.map(|(ifindex, (name, addresses))| {
            fixtures::interface(ifindex, name, addresses.iter().cloned())
        }))
    }

    const VIP: &str = "192.0.2.250";
    const OURS: u8 = PROTOCOL;

    /// One VIP, 192.0.2.250/24 on eth0; what else is on eth0; the verdict and what follows.
    #[rstest]
    #[case::marked(&[("192.0.2.11", 24, 0, false), (VIP, 24, OURS, true)], false, &[], Origin::OursBefore, true)]
    #[case::marked_goes_on(&[("192.0.2.11", 24, 0, false), (VIP, 24, OURS, true)], true, &[], Origin::OursBefore, false)]
    #[case::marked_and_alone(&[(VIP, 24, OURS, false)], false, &[], Origin::OursBefore, true)]
    #[case::marked_other_prefix(&[("192.0.2.11", 24, 0, false), (VIP, 32, OURS, false)], true, &[], Origin::OursBefore, true)]
    #[case::alone(&[(VIP, 24, 0, false)], false, &[], Origin::HostOwn, false)]
    #[case::alone_and_owner(&[(VIP, 24, 0, false)], true, &[], Origin::HostOwn, false)]
    #[case::alone_but_for_ipv6(&[(VIP, 24, 0, false), ("2001:db8::11", 64, 0, false)], false, &[], Origin::HostOwn, false)]
    #[case::alone_beside_a_virtual_one(&[(VIP, 24, 0, false), ("192.0.2.251", 24, OURS, true)], false, &[], Origin::HostOwn, false)]
    #[case::source_of_a_route(&[(VIP, 24, 0, false), ("192.0.2.11", 24, 0, true)], false, &[VIP], Origin::HostOwn, false)]
    #[case::left_over(&[("192.0.2.11", 24, 0, false), (VIP, 24, 0, true)], false, &["192.0.2.11"], Origin::Leftover, true)]
    #[case::left_over_host_prefix(&[("192.0.2.11", 24, 0, false), (VIP, 32, 0, false)], false, &[], Origin::Leftover, true)]
    #[case::left_over_and_owner(&[("192.0.2.11", 24, 0, false), (VIP, 24, 0, true)], true, &[], Origin::Leftover, false)]
    #[case::other_protocols_are_no_mark(&[("192.0.2.11", 24, 0, false), (VIP, 24, 16, true)], false, &[], Origin::Leftover, true)]
    fn verdicts(
        #[case] on_host: &[(&str, u8, u8, bool)],
        #[case] at_once: bool,
        #[case] sources: &[&str],
        #[case] origin: Origin,
        #[case] remove: bool,
    ) {
        let addresses: Vec<_> = on_host
            .iter()
            .map(|(ip, prefix, proto, secondary)| host_address(ip, *prefix, *proto, *secondary))
            .collect();
        let host = host(&[("eth0", &addresses)]);
        let (first, second) = (vip(VIP, 24, "eth0"), vip("192.0.2.251", 24, "eth0"));
        let wanted = [
            Wanted { address: &first, base: None, at_once },
            Wanted { address: &second, base: None, at_once: false },
        ];
        let sources = || sources.iter().map(|s| s.parse().unwrap()).collect();
        let found = judge(&host, &wanted, sources);
        let verdict = found.iter().find(|f| f.address.ip == first.ip).unwrap();
        assert_eq!((verdict.origin, verdict.remove), (origin, remove));
        assert_eq!(own(&found).contains(&OwnAddress::of(&first)), origin == Origin::HostOwn);
    }

    /// The same VIP, alone on eth0 or left there, as one router or two want it.
    #[rstest]
    #[case::owner(0, &[true], false, "whose owner this router is")]
    #[case::not_the_owner(0, &[false], true, "two hosts may answer")]
    #[case::one_owner_of_two(0, &[true, false], true, "two hosts may answer")]
    #[case::owner_once_more(OURS, &[true], false, "from an earlier life, kept")]
    #[case::left_by_an_earlier_life(OURS, &[false], true, "from an earlier life, removed")]
    fn only_its_owner_has_it_without_alarm(
        #[case] proto: u8,
        #[case] at_once: &[bool],
        #[case] alarming: bool,
        #[case] words: &str,
    ) {
        let host = host(&[("eth0", &[host_address(VIP, 24, proto, false)])]);
        let address = vip(VIP, 24, "eth0");
        let wanted: Vec<_> = at_once
            .iter()
            .map(|at_once| Wanted { address: &address, base: None, at_once: *at_once })
            .collect();
        let found = judge(&host, &wanted, BTreeSet::new);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].is_alarming(), alarming);
        assert!(found[0].to_string().contains(words), "{}", found[0]);
    }

    /// What keepalived leaves on its macvlan as it dies is alone there, and a host has no need of it.
    #[test]
    fn nothing_on_a_virtual_routers_interface_is_the_hosts_own() {
        let left = host_address(VIP, 24, 0, false);
        let host = host(&[("eth0", &[]), ("vrrp.51", std::slice::from_ref(&left))]);
        let address = vip(VIP, 24, "vrrp.51");
        let base = Some("eth0");
        let wanted = [Wanted { address: &address, base, at_once: false }];
        let found = judge(&host, &wanted, || BTreeSet::from([left.ip]));
        assert_eq!((found[0].origin, found[0].remove), (Origin::Leftover, true));
        let host = self::host(&[("eth0", &[left])]);
        let found = judge(&host, &wanted, BTreeSet::new);
        assert_eq!((found[0].origin, found[0].remove), (Origin::HostOwn, false));
    }

    /// A link-local VIP is the host's own where the host has no other one to speak from.
    #[rstest]
    #[case::left_over(&["fe80::11", "fe80::250"], Origin::Leftover)]
    #[case::left_over_with_global(&["fe80::11", "2001:db8::11", "fe80::250"], Origin::Leftover)]
    #[case::alone_but_for_global(&["2001:db8::11", "fe80::250"], Origin::HostOwn)]
    #[case::only_one(&["fe80::250"], Origin::HostOwn)]
    fn link_local_addresses(#[case] on_host: &[&str], #[case] origin: Origin) {
        let scope = |ip: &str| if ip.starts_with("fe80") { SCOPE_LINK } else { 0 };
        let address =
            |ip: &&str| HostAddress { scope: scope(ip), ..host_address(ip, 64, 0, false) };
        let addresses: Vec<_> = on_host.iter().map(address).collect();
        let host = host(&[("eth0", &addresses)]);
        let address = vip("fe80::250", 64, "eth0");
        let found = judge(
            &host,
            &[Wanted { address: &address, base: None, at_once: false }],
            BTreeSet::new,
        );
        assert_eq!(found[0].origin, origin);
    }

    #[test]
    fn an_address_is_own_on_whichever_interface() {
        let all = [vip("192.0.2.3", 24, "eth9"), vip("192.0.2.5", 32, "")];
        let own = all.iter().map(OwnAddress::of).collect();
        let is_own = |ip: &str| is_own(&own, ip.parse().unwrap());
        assert!(is_own("192.0.2.3") && is_own("192.0.2.5"));
        assert!(!is_own("192.0.2.2") && !is_own("192.0.2.4") && !is_own("192.0.2.6"));
        assert!(!is_own("2001:db8::1"));
    }

    #[test]
    fn what_is_not_configured_is_not_touched() {
        let host = host(&[("eth0", &[host_address("192.0.2.99", 24, OURS, false)])]);
        let address = vip(VIP, 24, "eth0");
        let wanted = [Wanted { address: &address, base: None, at_once: false }];
        assert_eq!(judge(&host, &wanted, BTreeSet::new), []);
    }

    #[test]
    fn a_real_server_keeps_the_address_on_loopback() {
        let lo = [host_address("127.0.0.1", 8, 1, false), host_address(VIP, 32, 0, false)];
        let eth0 = [host_address("192.0.2.11", 24, 0, false)];
        let host = host(&[("lo", &lo), ("eth0", &eth0)]);
        let address = vip(VIP, 24, "eth0");
        let wanted = [Wanted { address: &address, base: None, at_once: false }];
        assert_eq!(judge(&host, &wanted, BTreeSet::new), []);
    }

    #[test]
    fn the_host_s_own_below_an_interface_of_the_router_s() {
        let eth0 = [host_address(VIP, 24, 0, false)];
        let host = host(&[("eth0", &eth0), ("vrrp.51", &[])]);
        let address = vip(VIP, 32, "vrrp.51");
        let wanted = [Wanted { address: &address, base: Some("eth0"), at_once: true }];
        let found = judge(&host, &wanted, BTreeSet::new);
        assert_eq!((found[0].origin, found[0].remove), (Origin::HostOwn, false));
    }

    #[test]
    fn a_marked_one_is_found_on_the_interface_it_was_on_before() {
        let eth1 = [host_address("198.51.100.1", 24, 0, false), host_address(VIP, 24, OURS, false)];
        let host = host(&[("eth0", &[]), ("eth1", &eth1)]);
        let address = vip(VIP, 24, "eth0");
        let wanted = [Wanted { address: &address, base: None, at_once: true }];
        let found = judge(&host, &wanted, BTreeSet::new);
        assert_eq!((found[0].device.as_str(), found[0].remove), ("eth1", true));
        let removal = found[0].to_virtual();
        assert_eq!((removal.ip, removal.prefix, removal.device.as_str()), (address.ip, 24, "eth1"));
    }

    #[test]
    fn routes_are_not_read_for_nothing() {
        let eth0 = [host_address("192.0.2.11", 24, 0, false), host_address(VIP, 24, OURS, true)];
        let host = host(&[("eth0", &eth0)]);
        let address = vip(VIP, 24, "eth0");
        let wanted = [Wanted { address: &address, base: None, at_once: false }];
        let found = judge(&host, &wanted, || unreachable!("the mark decides"));
        assert_eq!(found.len(), 1);
    }
}
