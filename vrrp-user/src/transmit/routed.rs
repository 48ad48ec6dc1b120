//! Packets to single hosts: the kernel finds the way and the neighbour's MAC address.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PRIORITY_CONTROL, make_room};

/// Sends whole IP packets to single hosts.
///
/// By raw IP sockets and not by a packet socket: so the host's routes and firewall have their say. The
/// sockets are opened when they are first needed, and receive nothing.
#[derive(Debug, Default)]
pub struct Routed {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Routed {
    /// None is open yet.
    pub const fn new() -> Self {
        Self { v4: None, v6: None }
    }

    /// Sends a packet with its header out of the interface with this index; never blocks. IPv4: the kernel
    /// computes the header's checksum.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW` or by the host's firewall, `ENETUNREACH` where there is no route by
    /// that interface (IPv6; IPv4 then takes the host for a neighbour), `EAGAIN` or `ENOBUFS` where a queue is full, `ENODEV` or `ENETDOWN` where the
    /// interface is gone or down, `EINVAL` where it is no IP packet.
    pub fn send(&mut self, ifindex: u32, packet: &[u8]) -> io::Result<()> {
        match destination(packet).ok_or(io::ErrorKind::InvalidInput)? {
            IpAddr::V4(to) => {
                let socket = open(&mut self.v4, Domain::IPV4)?;
                let from = packet.get(12..16).and_then(|from| from.first_chunk()).copied();
                let from: [u8; 4] = from.ok_or(io::ErrorKind::InvalidInput)?;
                let info = libc::in_pktinfo {
                    ipi_ifindex: ifindex as libc::c_int,
                    // The host's rules choose the route by the source, too.
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let [a, b, c, d] = to.octets();
                let to = SockaddrIn::new(a, b, c, d, 0);
                let parts = [IoSlice::new(packet)];
                let beside = [ControlMessage::Ipv4PacketInfo(&info)];
                sendmsg(socket.as_raw_fd(), &parts, &beside, MsgFlags::empty(), Some(&to))?;
            }
            IpAddr::V6(to) => {
                let socket = open(&mut self.v6, Domain::IPV6)?;
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
                    ipi6_ifindex: ifindex,
                };
                // A link-local address means nothing without its link.
                let scope = if to.is_unicast_link_local() { ifindex } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
                let parts = [IoSlice::new(packet)];
                let beside = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(socket.as_raw_fd(), &parts, &beside, MsgFlags::empty(), Some(&to))?;
            }
        }
        Ok(())
    }
}

/// Where a packet goes, by its header.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..20)?.first_chunk().map(|to| Ipv4Addr::from_octets(*to).into()),
        6 => packet.get(24..40)?.first_chunk().map(|to| Ipv6Addr::from_octets(*to).into()),
        _ => None,
    }
}

fn open(slot: &mut Option<Socket>, domain: Domain) -> io::Result<&Socket> {
    match slot {
        Some(socket) => Ok(socket),
        None => {
            // The protocol by which the header is the caller's, and nothing is received.
            let raw = Protocol::from(libc::IPPROTO_RAW);
            let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(raw))?;
            // What waits for a neighbour that does not answer is counted here, up to as much as a socket
            // has by default for each.
            make_room(&socket)?;
            // As for what leaves by the packet socket.
            setsockopt(&socket, sockopt::Priority, &PRIORITY_CONTROL)?;
            Ok(slot.insert(socket))
        }
    }
}
