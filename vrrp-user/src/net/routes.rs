//! The source addresses that the host's routes give its packets, and the interfaces these leave by.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;
use super::table::{HostAddress, Snapshot};

const RECEIVE_BUFFER: usize = 1 << 20;

/// Reads the host's routes and names the addresses that they use as source, written or not.
///
/// Routes that the kernel made for an address itself don't count: they come and go with it. Nor do those of
/// virtual routers, which name the virtual address that they come and go with. Takes as long as the
/// routing tables are, so not for a thread that must not wait.
///
/// # Errors
/// The kernel's, where the routes can't be read.
pub fn sources(host: &Snapshot) -> io::Result<BTreeSet<IpAddr>> {
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    let mut sources = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        // A route that changes meanwhile was not what the operator came in by.
        netlink.dump(RouteNetlinkMessage::GetRoute(request), |message| {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                add_sources(&route, host, &mut sources);
            }
        })?;
    }
    Ok(sources)
}

/// Names the addresses that routes of IPv4 say as their source, but for the kernel's own routes: such a
/// route goes with the address.
///
/// # Errors
/// As [`sources`].
pub(crate) fn written() -> io::Result<BTreeSet<IpAddr>> {
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let mut written = BTreeSet::new();
    netlink.dump(RouteNetlinkMessage::GetRoute(request), |message| {
        if let RouteNetlinkMessage::NewRoute(route) = message
            && route.header.protocol != RouteProtocol::Kernel
        {
            written.extend(route.attributes.iter().find_map(|attribute| {
                let RouteAttribute::PrefSource(address) = attribute else { return None };
                ip(address)
            }));
        }
    })?;
    Ok(written)
}

/// Asks the host's routes where packets leave.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Option<Netlink>);

impl Leaving {
    /// The index of the interface by which packets from an address leave for another one, in the VRF of
    /// that index; `None` where no route leads there.
    ///
    /// # Errors
    /// The kernel's, where it can't be asked.
    pub(crate) fn by(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        vrf: Option<u32>,
    ) -> io::Result<Option<u32>> {
        let netlink = match &mut self.0 {
            Some(open) => open,
            none => none.insert(Netlink::open(0, RECEIVE_BUFFER)?),
        };
        let mut by = None;
        let refused =
            netlink.ask(RouteNetlinkMessage::GetRoute(question(from, to, vrf)), |message| {
                if let RouteNetlinkMessage::NewRoute(route) = message {
                    by = route.attributes.iter().find_map(|attribute| {
                        let RouteAttribute::Oif(index) = attribute else { return None };
                        Some(*index)
                    });
                }
            })?;
        // It refuses to name a route where none is.
        Ok(by.filter(|_| refused.is_ok()))
    }
}

fn question(from: IpAddr, to: IpAddr, vrf: Option<u32>) -> RouteMessage {
    let mut request = RouteMessage::default();
    let (family, whole) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = whole;
    request.header.source_prefix_length = whole;
    request.attributes =
        vec![RouteAttribute::Destination(to.into()), RouteAttribute::Source(from.into())];
    request.attributes.extend(vrf.map(RouteAttribute::Oif));
    request
}

fn add_sources(route: &RouteMessage, host: &Snapshot, sources: &mut BTreeSet<IpAddr>) {
    let with_an_address =
        matches!(route.header.protocol, RouteProtocol::Kernel | RouteProtocol::KeepAlived);
    if route.header.kind != RouteType::Unicast || with_an_address {
        return;
    }
    let mut written = None;
    let mut hops = Vec::new();
    let mut hop = Hop::default();
    for attribute in &route.attributes {
        if let RouteAttribute::PrefSource(address) = attribute {
            written = ip(address);
        } else if let RouteAttribute::MultiPath(paths) = attribute {
            for path in paths {
                let mut hop = Hop::default();
                path.attributes.iter().for_each(|a| hop.read(a));
                hop.interface = Some(path.interface_index);
                hops.push(hop);
            }
        } else {
            hop.read(attribute);
        }
    }
    if let Some(address) = written {
        sources.insert(address);
        return;
    }
    // IPv6 chooses a source for each packet, by RFC 6724 and not by route.
    if route.header.address_family != AddressFamily::Inet {
        return;
    }
    hops.push(hop);
    sources.extend(hops.iter().filter_map(|hop| hop.source(host)).map(IpAddr::V4));
}

/// Where a route leads first.
#[derive(Debug, Default)]
struct Hop {
    interface: Option<u32>,
    gateway: Option<IpAddr>,
}

impl Hop {
    fn read(&mut self, attribute: &RouteAttribute) {
        if let RouteAttribute::Gateway(address) = attribute {
            self.gateway = ip(address);
        } else if let RouteAttribute::Oif(index) = attribute {
            self.interface = Some(*index);
        }
    }

    /// The kernel's choice: the first address that is not secondary, one of the gateway's network
    /// before any other.
    fn source(&self, host: &Snapshot) -> Option<Ipv4Addr> {
        let interface = host.interfaces.get(&self.interface?)?;
        let first = |of: &dyn Fn(&HostAddress, Ipv4Addr) -> bool| {
            interface.addresses.iter().find_map(|a| match a.ip {
                IpAddr::V4(ip) if !a.secondary && of(a, ip) => Some(ip),
                IpAddr::V4(_) | IpAddr::V6(_) => None,
            })
        };
        let near = |a: &HostAddress, ip: Ipv4Addr| match self.gateway {
            Some(IpAddr::V4(gateway)) => {
                (ip.to_bits() ^ gateway.to_bits()).checked_shr(32 - u32::from(a.prefix)) == Some(0)
                    || a.prefix == 0
            }
            Some(IpAddr::V6(_)) | None => false,
        };
        first(&near).or_else(|| first(&|_, _| true))
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ip) = address {
        Some(IpAddr::V4(*ip))
    } else if let RouteAddress::Inet6(ip) = address {
        Some(IpAddr::V6(*ip))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures;
    use rstest::rstest;

    /// eth0 (index 2): 192.0.2.11/24, 192.0.2.12/24 (secondary), 198.51.100.5/24.
    fn host() -> Snapshot {
        let second = HostAddress { secondary: true, ..fixtures::address("192.0.2.12", 24) };
        let first = ["192.0.2.11", "198.51.100.5"].map(|ip| fixtures::address(ip, 24));
        fixtures::host([fixtures::interface(2, "eth0", first.into_iter().chain([second]))])
    }

    fn gateway(ip: &str) -> RouteAttribute {
        RouteAttribute::Gateway(ip.parse::<IpAddr>().unwrap().into())
    }

    fn source(ip: &str) -> RouteAttribute {
        RouteAttribute::PrefSource(ip.parse::<IpAddr>().unwrap().into())
    }

    #[rstest]
    #[case::written(RouteProtocol::Static, &[RouteAttribute::Oif(2), source("192.0.2.12")], &["192.0.2.12"])]
    #[case::near_the_gateway(RouteProtocol::Boot, &[RouteAttribute::Oif(2), gateway("198.51.100.1")], &["198.51.100.5"])]
    #[case::never_a_secondary(RouteProtocol::Boot, &[RouteAttribute::Oif(2), gateway("192.0.2.12")], &["192.0.2.11"])]
    #[case::far_gateway(RouteProtocol::Boot, &[RouteAttribute::Oif(2), gateway("203.0.113.1")], &["192.0.2.11"])]
    #[case::no_gateway(RouteProtocol::Dhcp, &[RouteAttribute::Oif(2)], &["192.0.2.11"])]
    #[case::the_kernel_s_own(RouteProtocol::Kernel, &[RouteAttribute::Oif(2), source("192.0.2.12")], &[])]
    #[case::a_virtual_router_s(RouteProtocol::KeepAlived, &[RouteAttribute::Oif(2), source("192.0.2.12")], &[])]
    #[case::unknown_interface(RouteProtocol::Boot, &[RouteAttribute::Oif(9), gateway("192.0.2.1")], &[])]
    fn sources_of_routes(
        #[case] protocol: RouteProtocol,
        #[case] attributes: &[RouteAttribute],
        #[case] right: &[&str],
    ) {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.kind = RouteType::Unicast;
        route.header.protocol = protocol;
        route.attributes = attributes.to_vec();
        let mut found = BTreeSet::new();
        add_sources(&route, &host(), &mut found);
        let right: BTreeSet<IpAddr> = right.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(found, right);
    }
}
