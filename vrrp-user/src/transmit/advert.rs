//! Adverts as whole Ethernet frames, built once and patched per sending.

use std::net::IpAddr;

use vrrp_common::checksum::Sum;
use vrrp_common::ids::{Family, Priority};
use vrrp_common::wire::{self, Advert, ChecksumForm, EmitError};

use super::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac, ethernet};
use crate::ah;

/// "Internetwork control", as keepalived and holo mark adverts; unmarked ones are the first that a
/// full switch drops.
const TRAFFIC_CLASS: u8 = 0xc0;
const IPV6_HEADER: usize = 40;
/// Offset of the protocol in an IPv4 header.
const IPV4_PROTOCOL: usize = 9;
const IPV4_ID: usize = ETHERNET + 4;
const IPV4_CHECKSUM: usize = ETHERNET + 10;
/// Offset of the priority in a message.
const PRIORITY_AT: usize = 2;
/// Offset of the authentication type in a message of VRRPv2 (RFC 3768 §5.1).
const AUTH_TYPE_AT: usize = 4;

/// What is around an advert.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The MAC address that it leaves with. An advert to a single host has none: the kernel finds the way.
    pub mac: Mac,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The key of its authentication header, where it has one (VRRPv2, IPv4).
    pub key: Option<[u8; 8]>,
}

impl Around {
    /// Nothing but headers, for the link alone (RFC 9568 §5.1.1.3).
    pub const fn plain(mac: Mac) -> Self {
        Self { mac, ttl: wire::TTL, key: None }
    }
}

/// The advert of one virtual router to a group or to one host, ready to be sent.
///
/// Priority and checksum form change from one advert to the next, everything else only with the
/// settings or the interface: those two are patched, for the rest a new frame is built.
#[derive(Clone, Debug)]
pub struct AdvertFrame {
    bytes: Vec<u8>,
    /// Offset of the VRRP message.
    message: usize,
    family: Family,
    key: Option<[u8; 8]>,
    /// It goes to one host.
    routed: bool,
    /// The IPv4 identification of the last advert.
    id: u16,
    /// The message's sum with priority 0 and without its checksum, by form.
    sums: [Sum; 2],
    /// The IPv4 header's sum without identification and checksum.
    header: Sum,
}

impl AdvertFrame {
    /// Builds the frame of an advert.
    ///
    /// IPv4: TOS 0xC0, no "don't fragment", as keepalived's. IPv6: traffic class 0xC0.
    ///
    /// # Errors
    /// [`EmitError`] where the advert can't be written.
    pub fn new(around: Around, advert: &Advert<'_>) -> Result<Self, EmitError> {
        let family = wire::family_of(advert.source);
        let key = around.key.filter(|_| family == Family::V4);
        let seal = if key.is_some() { ah::LEN } else { 0 };
        let len = seal + advert.len();
        let (header, ethertype) = match family {
            Family::V4 => (wire::IPV4_HEADER, ETHERTYPE_IPV4),
            Family::V6 => (IPV6_HEADER, ETHERTYPE_IPV6),
        };
        let (payload, routed) = (ETHERNET + header, !advert.destination.is_multicast());
        let message = payload + seal;
        let mut bytes = vec![0; payload + len];
        let (to, from) = match group_mac(advert.destination) {
            Some(group) => (group, around.mac),
            None => ([0; 6], [0; 6]),
        };
        ethernet(&mut bytes, to, from, ethertype);
        let header = &mut bytes[ETHERNET..payload];
        match family {
            Family::V4 => ipv4(header, advert, len, around.ttl),
            Family::V6 => ipv6(header, advert, len, around.ttl),
        }
        if key.is_some() {
            bytes[ETHERNET + IPV4_PROTOCOL] = ah::PROTOCOL;
            if let Some(header) = bytes[payload..].first_chunk_mut() {
                let [a, b, c, d, ..] = wire::octets(advert.source);
                ah::write(header, [a, b, c, d]);
            }
        }
        let mut sum_of = |form| {
            let released = Advert { priority: Priority::RELEASE, form, ..*advert };
            released.emit(&mut bytes[message..])?;
            let checksum =
                [bytes[message + wire::CHECKSUM_AT], bytes[message + wire::CHECKSUM_AT + 1]];
            // A checksum is the complement of the sum of everything else.
            let sum = Sum::new().word(!u16::from_be_bytes(checksum));
            if key.is_none() {
                return Ok(sum);
            }
            bytes[message + AUTH_TYPE_AT] = ah::AUTH_TYPE;
            // The first byte of its 16-bit word.
            Ok(sum.word(u16::from(ah::AUTH_TYPE) << 8))
        };
        let sums = [sum_of(ChecksumForm::Message)?, sum_of(ChecksumForm::PseudoHeader)?];
        let header = Sum::new().slice(&bytes[ETHERNET..payload]);
        let mut frame = Self { bytes, message, family, key, routed, id: 0, sums, header };
        frame.patch(advert.priority, advert.form);
        Ok(frame)
    }

    /// Makes the frame the next advert to send, with this priority and checksum form, and returns it.
    /// One with an authentication header has to be [signed](Self::sign) then.
    ///
    /// Allocates nothing and does not look at the addresses again. The form matters in VRRPv3 over
    /// IPv4 only.
    pub fn patch(&mut self, priority: Priority, form: ChecksumForm) -> &[u8] {
        self.bytes[self.message + PRIORITY_AT] = priority.get();
        // The priority is the first byte of its 16-bit word.
        let sum = self.sums[form as usize].word(u16::from(priority.get()) << 8).checksum();
        let at = self.message + wire::CHECKSUM_AT;
        self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        if self.family == Family::V4 {
            self.next_id();
        }
        &self.bytes
    }

    /// Gives the authentication header, where there is one, its sequence number and check value.
    pub fn sign(&mut self, sequence: u32) {
        if let Some(key) = &self.key {
            let packet = &mut self.bytes[ETHERNET..];
            ah::sign(key, packet, wire::IPV4_HEADER, self.routed, sequence);
        }
    }

    /// The frame as it was last patched.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same from the IP header on.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[ETHERNET..]
    }

    /// Whether it goes to one host and not to a group.
    pub const fn is_routed(&self) -> bool {
        self.routed
    }

    /// Whether it has an authentication header.
    pub const fn is_sealed(&self) -> bool {
        self.key.is_some()
    }

    /// Counts the IPv4 identification up, past zero.
    fn next_id(&mut self) {
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.bytes[IPV4_ID..IPV4_ID + 2].copy_from_slice(&self.id.to_be_bytes());
        let sum = self.header.word(self.id).checksum();
        self.bytes[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The MAC address of a multicast group (RFC 1112 §6.4, RFC 2464 §7).
fn group_mac(group: IpAddr) -> Option<Mac> {
    match group {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) if group.is_multicast() => {
            let [.., a, b, c, d] = group.octets();
            Some([0x33, 0x33, a, b, c, d])
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Writes an IPv4 header (RFC 791 §3.1) but for identification and checksum.
fn ipv4(header: &mut [u8], advert: &Advert<'_>, len: usize, ttl: u8) {
    header[0] = 0x45;
    header[1] = TRAFFIC_CLASS;
    header[2..4].copy_from_slice(&((wire::IPV4_HEADER + len) as u16).to_be_bytes());
    header[8] = ttl;
    header[IPV4_PROTOCOL] = wire::PROTOCOL;
    header[12..16].copy_from_slice(&wire::octets(advert.source)[..4]);
    header[16..20].copy_from_slice(&wire::octets(advert.destination)[..4]);
}

/// Writes an IPv6 header (RFC 8200 §3).
fn ipv6(header: &mut [u8], advert: &Advert<'_>, len: usize, ttl: u8) {
    header[0] = 0x60 | (TRAFFIC_CLASS >> 4);
    header[1] = TRAFFIC_CLASS << 4;
    header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    header[6] = wire::PROTOCOL;
    header[7] = ttl;
    header[8..24].copy_from_slice(&wire::octets(advert.source));
    header[24..40].copy_from_slice(&wire::octets(advert.destination));
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;
    use vrrp_common::{Version, Vrid};

    const MAC: Around = Around::plain([2, 0, 0, 0, 0, 0x0a]);
    const VIP: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250))];

    fn advert(version: Version, addresses: &[IpAddr]) -> Advert<'_> {
        Advert {
            version,
            vrid: Vrid::new(51).unwrap(),
            priority: Priority::new(150),
            interval: 100,
            addresses,
            password: None,
            form: ChecksumForm::PseudoHeader,
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 101)),
            destination: IpAddr::V4(Ipv4Addr::from_octets(wire::GROUP_V4)),
        }
    }

    #[test]
    fn a_frame_byte_by_byte() {
        let frame = AdvertFrame::new(MAC, &advert(Version::V3, &VIP)).unwrap();
        assert_eq!(
            frame.bytes(),
            hex!(
                "01005e000012 02000000000a 0800"
                "45c0 0020 0001 0000 ff70 1835 c0000265 e0000012"
                "3133 9601 0064 d277 c00002fa"
            )
        );
    }

    #[test]
    fn ipv6_frame() {
        let addresses = ["fe80::5e00:250".parse().unwrap()];
        let v6 = Advert {
            source: "fe80::65".parse().unwrap(),
            destination: "ff02::12".parse().unwrap(),
            ..advert(Version::V3, &addresses)
        };
        let frame = AdvertFrame::new(MAC, &v6).unwrap();
        assert_eq!(
            frame.bytes()[..54],
            hex!(
                "333300000012 02000000000a 86dd"
                "6c000000 0018 70 ff fe800000000000000000000000000065"
                "ff020000000000000000000000000012"
            )
        );
        let mut whole = [0; 64];
        let len = v6.emit(&mut whole).unwrap();
        assert_eq!(frame.bytes()[54..], whole[..len]);
        let far = AdvertFrame::new(Around { ttl: 64, ..MAC }, &v6).unwrap();
        assert_eq!(far.bytes()[20..22], [wire::PROTOCOL, 64]);
    }

    #[test]
    fn another_group_s_frame() {
        let other = |group: &str| {
            let destination = group.parse().unwrap();
            AdvertFrame::new(MAC, &Advert { destination, ..advert(Version::V3, &VIP) }).unwrap()
        };
        assert_eq!(other("224.128.0.18").bytes()[..6], hex!("01005e000012"));
        assert_eq!(other("239.1.2.3").bytes()[..6], hex!("01005e010203"));
        assert!(!other("239.1.2.3").is_routed());
    }

    #[test]
    fn a_packet_to_one_host() {
        let destination = "192.0.2.12".parse().unwrap();
        let one = Advert { destination, ..advert(Version::V3, &VIP) };
        let frame = AdvertFrame::new(Around { ttl: 64, ..MAC }, &one).unwrap();
        assert!(frame.is_routed());
        assert_eq!(frame.packet()[..20], hex!("45c0 0020 0001 0000 4070 f53b c0000265 c000020c"));
        // The pseudo-header has the peer's address, not the group's.
        let mut message = [0; 64];
        let len = one.emit(&mut message).unwrap();
        assert_eq!(frame.packet()[20..], message[..len]);
    }

    #[test]
    fn an_authentication_header_seals_the_packet() {
        let key = *b"lab12345";
        for destination in ["224.0.0.18", "192.0.2.12"] {
            let destination = destination.parse().unwrap();
            let one = Advert { destination, interval: 1, ..advert(Version::V2, &VIP) };
            let mut frame = AdvertFrame::new(Around { key: Some(key), ..MAC }, &one).unwrap();
            for (priority, sequence) in [(100, 7), (0, 8)] {
                frame.patch(Priority::new(priority), ChecksumForm::Message);
                frame.sign(sequence);
                let packet = frame.packet();
                assert_eq!((packet[9], packet.len()), (ah::PROTOCOL, 20 + 24 + 20));
                assert_eq!(packet[2..4], hex!("0040"));
                assert_eq!(
                    packet[20..32],
                    [&hex!("70040000 c0000265 000000")[..], &[sequence as u8]].concat()
                );
                assert_eq!(packet[44..50], [0x21, 51, priority, 1, 2, 1]);
                assert_eq!(Sum::new().slice(&packet[44..]).checksum(), 0);
                assert!(ah::fits(&key, packet, 20, frame.is_routed()));
                let (header, _) = etherparse::Ipv4Header::from_slice(packet).unwrap();
                assert_eq!(header.calc_header_checksum(), header.header_checksum);
            }
        }
    }

    #[test]
    fn the_identification_passes_over_zero() {
        let mut frame = AdvertFrame::new(MAC, &advert(Version::V2, &VIP)).unwrap();
        frame.id = 0xfffe;
        let mut id = || {
            let bytes = frame.patch(Priority::DEFAULT, ChecksumForm::Message);
            u16::from_be_bytes([bytes[IPV4_ID], bytes[IPV4_ID + 1]])
        };
        assert_eq!([id(), id(), id()], [0xffff, 1, 2]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let many = vec![VIP[0]; 256];
        let error = AdvertFrame::new(MAC, &advert(Version::V3, &many)).unwrap_err();
        assert_eq!(error, EmitError::TooManyAddresses);
    }

    proptest! {
        /// However it was patched before, the frame is the one built anew, but for the identification;
        /// and another library finds the IPv4 header's checksum right.
        #[test]
        fn patching_is_building(
            patches in proptest::collection::vec((any::<u8>(), any::<bool>()), 1..8),
            v2: bool,
            hosts in proptest::collection::vec(any::<u32>(), 1..40),
            password: Option<[u8; 8]>,
        ) {
            let addresses: Vec<IpAddr> = hosts.into_iter().map(|h| IpAddr::V4(h.into())).collect();
            let version = if v2 { Version::V2 } else { Version::V3 };
            let start = Advert { password, ..advert(version, &addresses) };
            let mut frame = AdvertFrame::new(MAC, &start).unwrap();
            for (priority, pseudo) in patches {
                let form = if pseudo { ChecksumForm::PseudoHeader } else { ChecksumForm::Message };
                let now = Advert { priority: Priority::new(priority), form, ..start };
                let mut message = [0xa5; wire::LONGEST];
                let len = now.emit(&mut message).unwrap();
                let bytes = frame.patch(now.priority, form);
                prop_assert_eq!(&bytes[34..], &message[..len]);
                let (header, _) = etherparse::Ipv4Header::from_slice(&bytes[ETHERNET..]).unwrap();
                prop_assert_eq!(header.calc_header_checksum(), header.header_checksum);
            }
        }
    }
}
