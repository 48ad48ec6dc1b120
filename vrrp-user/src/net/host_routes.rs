//! The routes that the kernel keeps for IPv6 addresses, taken away ahead of many of these.
//!
//! With each IPv6 address that goes, the kernel walks through all IPv6 routes of the namespace
//! (`rt6_remove_prefsrc`), of which each address has one or two for itself: taking thousands off takes it
//! as long as the square of their number. A route goes without a walk, so that the addresses, without
//! theirs, take as long as their number.

use std::net::{IpAddr, Ipv6Addr};

use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use vrrp_proto::settings::VirtualAddress;

/// So many addresses are many: with fewer, looking which are there takes longer than the walks.
pub(super) const MANY: usize = 64;

/// The table of addresses that are the host's (`RT_TABLE_LOCAL`).
const LOCAL: u8 = 255;
const WHOLE: u8 = 128;

/// What takes the routes away that the kernel made for this address alone, on the interface of that
/// index. In a VRF they are in another table, and stay until the address goes.
pub(super) fn removals(address: &VirtualAddress, index: u32) -> Vec<RouteNetlinkMessage> {
    let IpAddr::V6(ip) = address.ip else { return Vec::new() };
    let local = route(ip, index, LOCAL, RouteType::Local);
    // With a shorter prefix it is the network's, with a peer the peer's.
    let network = (address.prefix == WHOLE && address.peer.is_none())
        .then(|| route(ip, index, RouteHeader::RT_TABLE_MAIN, RouteType::Unicast));
    std::iter::once(local).chain(network).map(RouteNetlinkMessage::DelRoute).collect()
}

fn route(ip: Ipv6Addr, index: u32, table: u8, kind: RouteType) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = WHOLE;
    message.header.table = table;
    message.header.kind = kind;
    // Nobody else's.
    message.header.protocol = RouteProtocol::Kernel;
    message.attributes =
        vec![RouteAttribute::Destination(RouteAddress::Inet6(ip)), RouteAttribute::Oif(index)];
    message
}
