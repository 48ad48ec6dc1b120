//! Adverts to this host alone, by whichever interface they come: as IP delivers them, behind the host's
//! firewall and its check of reverse paths.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use vrrp_common::{Family, wire};

use super::filter::ethertype;
use super::sys::Arrived;

const ETHERNET: usize = 14;

/// All interfaces of a VRF, or of all of the host, and what is taken from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Realm {
    /// The index of the VRF's own interface. `None`: in no VRF, and in any as long as the kernel's
    /// `raw_l3mdev_accept` is on.
    pub vrf: Option<u32>,
    /// The family of the adverts.
    pub family: Family,
    /// They stand behind an authentication header.
    pub sealed: bool,
}

impl Realm {
    /// What stands for it where interfaces stand by their indexes. Those are positive `int`s, counted from
    /// 1, so that none is as great.
    pub const fn index(self) -> u32 {
        let family = matches!(self.family, Family::V6) as u32;
        1 << 31 | (self.sealed as u32) << 30 | family << 29 | self.routes()
    }

    /// The index of the interface that stands for its routes; 0: those of no VRF.
    pub const fn routes(self) -> u32 {
        match self.vrf {
            Some(vrf) => vrf,
            None => 0,
        }
    }

    /// Opens its socket, in the calling thread's network namespace. `vrf`: the VRF's name.
    pub(super) fn open(self, vrf: Option<&str>) -> io::Result<Socket> {
        let (domain, protocol) = match (self.family, self.sealed) {
            (Family::V4, false) => (Domain::IPV4, wire::PROTOCOL),
            (Family::V4, true) => (Domain::IPV4, wire::PROTOCOL_AH),
            (Family::V6, false) => (Domain::IPV6, wire::PROTOCOL),
            (Family::V6, true) => (Domain::IPV6, wire::PROTOCOL_AH),
        };
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::from(i32::from(protocol))))?;
        if self.sealed {
            socket.attach_filter(&sealed_alone(self.family))?;
        }
        // Groups are joined for other instances.
        match self.family {
            Family::V4 => {
                socket.set_multicast_all_v4(false)?;
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            }
            Family::V6 => {
                socket.set_multicast_all_v6(false)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                socket.set_recv_hoplimit_v6(true)?;
            }
        }
        if let Some(vrf) = vrf {
            socket.bind_device(Some(vrf.as_bytes()))?;
        }
        Ok(socket)
    }

    /// How much of a frame the kernel takes off before it hands the packet over.
    pub(super) const fn front(self) -> usize {
        match self.family {
            Family::V4 => ETHERNET,
            Family::V6 => ETHERNET + wire::IPV6_HEADER,
        }
    }

    /// Puts that back in front of a packet, but for the MAC addresses, which are not known any more. Gives
    /// the index of the interface that it came by.
    pub(super) fn restore(self, packet: &mut Arrived<'_>) -> Option<u32> {
        let index = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
        let by = match self.family {
            Family::V4 => index(packet.control(libc::IPPROTO_IP, libc::IP_PKTINFO)?)?,
            Family::V6 => {
                let info = packet.control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)?;
                let hops = packet.control(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)?;
                let (destination, by) = info.split_first_chunk()?;
                let by = index(by)?;
                // A `sockaddr_in6`: the address is behind family, port and flow.
                let source = packet.name.get(8..)?.first_chunk()?;
                let hops = u8::try_from(index(hops)?).ok()?;
                let length = packet.frame.len().checked_sub(self.front())?;
                let header = ipv6_header(source, destination, hops, u16::try_from(length).ok()?);
                packet.frame.get_mut(ETHERNET..self.front())?.copy_from_slice(&header);
                by
            }
        };
        let kind = packet.frame.get_mut(ETHERNET - 2..ETHERNET)?;
        kind.copy_from_slice(&ethertype(self.family).to_be_bytes());
        Some(by)
    }
}

/// A filter for authentication headers with an advert behind: a tunnel's traffic would wake the daemon for
/// each packet, and fill the socket. The kernel shows it IPv4 from the header on, IPv6 from behind it.
fn sealed_alone(family: Family) -> Vec<SockFilter> {
    const HEADER_LENGTH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
    const BEHIND: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    const FIRST: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const UNLESS_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, if_not, value| SockFilter::new(code as u16, 0, if_not, value);
    let mut steps = match family {
        Family::V4 => vec![step(HEADER_LENGTH, 0, 0), step(BEHIND, 0, 0)],
        Family::V6 => vec![step(FIRST, 0, 0)],
    };
    steps.push(step(UNLESS_EQUAL, 1, u32::from(wire::PROTOCOL)));
    steps.extend([step(RETURN, 0, u32::MAX), step(RETURN, 0, 0)]);
    steps
}

/// The header of a packet that holds a VRRP message and nothing else.
fn ipv6_header(
    source: &[u8; 16],
    destination: &[u8; 16],
    hops: u8,
    length: u16,
) -> [u8; wire::IPV6_HEADER] {
    let mut header = [0; wire::IPV6_HEADER];
    header[0] = 6 << 4;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6] = wire::PROTOCOL;
    header[7] = hops;
    header[8..24].copy_from_slice(source);
    header[24..].copy_from_slice(destination);
    header
}

#[cfg(test)]
mod tests {
    use vrrp_common::check::Envelope;
    use vrrp_common::frame;

    use super::*;

    #[test]
    fn each_has_its_own_index_and_no_interface_has_it() {
        let families = [Family::V4, Family::V6];
        let mut all: Vec<u32> = families
            .into_iter()
            .flat_map(|family| [None, Some(1), Some(7)].map(|vrf| (family, vrf)))
            .flat_map(|(family, vrf)| [false, true].map(|sealed| Realm { vrf, family, sealed }))
            .map(Realm::index)
            .collect();
        assert!(all.iter().all(|index| i32::try_from(*index).is_err()), "{all:?}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
    }

    /// What the kernel has taken off is there again for whoever judges the frame.
    #[test]
    fn a_packet_of_ipv6_is_a_frame_again() {
        let (source, destination) = ([0x21; 16], [0x22; 16]);
        let mut frame = vec![0; ETHERNET];
        frame[ETHERNET - 2..].copy_from_slice(&ethertype(Family::V6).to_be_bytes());
        frame.extend(ipv6_header(&source, &destination, 254, 24));
        frame.extend([0x31, 52]);
        frame.resize(ETHERNET + wire::IPV6_HEADER + 24, 0);
        let located = frame::locate::<_, true>(&frame[..]).expect("an advert");
        let envelope = Envelope::read(&frame[..], &located).expect("its ends");
        assert_eq!((envelope.source, envelope.destination), (source, destination));
        assert_eq!((envelope.ttl, envelope.vrid), (254, 52));
    }
}
