//! Membership in the groups that adverts are sent to.

use std::io;
use std::net::IpAddr;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

/// Keeps an interface in a multicast group (224.0.0.18, ff02::12) until it is dropped.
///
/// Needed even where XDP does the receiving: the membership opens the network card's filter and makes
/// the host answer IGMP and MLD queries, without which a snooping switch stops forwarding adverts. Over
/// IPv4 it works on an interface without any address. One socket each, since a socket can join only
/// `net.ipv4.igmp_max_memberships` groups, 20 by default.
#[derive(Debug)]
pub struct Membership {
    _socket: Socket,
}

impl Membership {
    /// Joins on the interface with this index, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV` where there is no such interface or it does not speak the family.
    pub fn join(ifindex: u32, group: IpAddr) -> io::Result<Self> {
        let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.cloexec(), None)?;
        match group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))?;
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, ifindex)?,
        }
        Ok(Self { _socket: socket })
    }
}
