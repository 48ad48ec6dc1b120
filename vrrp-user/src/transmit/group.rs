//! Membership in the group that adverts are sent to.

use std::io;
use std::net::Ipv4Addr;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use vrrp_common::wire::GROUP_V4;

/// Keeps an interface in the VRRP group (224.0.0.18) until it is dropped.
///
/// Needed even where XDP does the receiving: the membership opens the network card's filter and makes
/// the host answer IGMP queries, without which a snooping switch stops forwarding adverts. It works on
/// an interface without any address. One socket each, since a socket can join only
/// `net.ipv4.igmp_max_memberships` groups, 20 by default.
#[derive(Debug)]
pub struct Membership {
    _socket: Socket,
}

impl Membership {
    /// Joins on the interface with this index, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV` where there is no such interface or it speaks no IPv4.
    pub fn join(ifindex: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v4_n(
            &Ipv4Addr::from_octets(GROUP_V4),
            &InterfaceIndexOrAddress::Index(ifindex),
        )?;
        Ok(Self { _socket: socket })
    }
}
