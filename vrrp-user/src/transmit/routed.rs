//! Packets to single hosts: the kernel finds the way and the neighbour's MAC address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use nix::sys::socket::{SockaddrIn, SockaddrIn6, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PRIORITY_CONTROL, make_room};
use crate::sys::send_beside;

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

    /// Sends a packet by whichever interface the routes of the VRF with that index name, 0: of none; where
    /// they name none, to a neighbour on the interface with this index.
    ///
    /// # Errors
    /// As [`Routed::send`].
    pub fn send_by_route(&mut self, vrf: u32, ifindex: u32, packet: &[u8]) -> io::Result<()> {
        // Its own interface stands for all of a VRF's.
        match self.send(vrf, packet) {
            // A VRF often ends its table with an `unreachable default`, which is the second one.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
                ) =>
            {
                self.send(ifindex, packet)
            }
            sent => sent,
        }
    }

    /// Sends a packet with its header out of the interface with this index; never blocks, and allocates
    /// nothing once its socket is open. IPv4: the kernel computes the header's checksum.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW` or by the host's firewall, `ENETUNREACH` where there is no route by
    /// that interface (IPv6; IPv4 then takes the host for a neighbour), `EAGAIN` or `ENOBUFS` where a queue is full, `ENODEV` or `ENETDOWN` where the
    /// interface is gone or down, `EINVAL` where it is no IP packet.
    pub fn send(&mut self, ifindex: u32, packet: &[u8]) -> io::Result<()> {
        // The host's rules choose the route by the source, too.
        match ends(packet).ok_or(io::ErrorKind::InvalidInput)? {
            Ends::V4 { from, to } => {
                let way = libc::in_pktinfo {
                    ipi_ifindex: ifindex as libc::c_int,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                let socket = open(&mut self.v4, Domain::IPV4)?;
                send_beside::send(socket.as_fd(), packet, way, &to)
            }
            Ends::V6 { from, to } => {
                let way = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                    ipi6_ifindex: ifindex,
                };
                // A link-local address means nothing without its link.
                let scope = if to.is_unicast_link_local() { ifindex } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
                let socket = open(&mut self.v6, Domain::IPV6)?;
                send_beside::send(socket.as_fd(), packet, way, &to)
            }
        }
    }
}

/// Between whom a packet goes.
enum Ends {
    V4 { from: Ipv4Addr, to: Ipv4Addr },
    V6 { from: Ipv6Addr, to: Ipv6Addr },
}

/// By its header.
fn ends(packet: &[u8]) -> Option<Ends> {
    let v4 = |at| Some(Ipv4Addr::from_octets(*packet.get(at..)?.first_chunk()?));
    let v6 = |at| Some(Ipv6Addr::from_octets(*packet.get(at..)?.first_chunk()?));
    match packet.first()? >> 4 {
        4 => Some(Ends::V4 { from: v4(12)?, to: v4(16)? }),
        6 => Some(Ends::V6 { from: v6(8)?, to: v6(24)? }),
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
            if domain == Domain::IPV6 {
                // As for IPv4, the source may be one that the interface has not.
                socket.set_freebind_v6(true)?;
            }
            // What waits for a neighbour that does not answer is counted here, up to as much as a socket
            // has by default for each.
            make_room(&socket)?;
            // As for what leaves by the packet socket.
            setsockopt(&socket, sockopt::Priority, &PRIORITY_CONTROL)?;
            Ok(slot.insert(socket))
        }
    }
}
