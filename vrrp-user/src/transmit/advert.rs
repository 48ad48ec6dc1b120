//! Adverts as whole Ethernet frames, built once and patched per sending.

use vrrp_common::checksum::Sum;
use vrrp_common::ids::{Family, Priority};
use vrrp_common::wire::{self, Advert, ChecksumForm, EmitError};

use super::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac, ethernet};

/// "Internetwork control", as keepalived and holo mark adverts; unmarked ones are the first that a
/// full switch drops.
const TRAFFIC_CLASS: u8 = 0xc0;
const IPV6_HEADER: usize = 40;
const IPV4_ID: usize = ETHERNET + 4;
const IPV4_CHECKSUM: usize = ETHERNET + 10;
/// Offset of the priority in a message.
const PRIORITY_AT: usize = 2;
/// 224.0.0.18 and ff02::12 as MAC addresses (RFC 1112 §6.4, RFC 2464 §7).
const GROUP_MAC_V4: Mac = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
const GROUP_MAC_V6: Mac = [0x33, 0x33, 0x00, 0x00, 0x00, 0x12];

/// The advert of one virtual router, ready to be sent.
///
/// Priority and checksum form change from one advert to the next, everything else only with the
/// settings or the interface: those two are patched, for the rest a new frame is built.
#[derive(Clone, Debug)]
pub struct AdvertFrame {
    bytes: Vec<u8>,
    /// Offset of the VRRP message.
    message: usize,
    family: Family,
    /// The IPv4 identification of the last advert.
    id: u16,
    /// The message's sum with priority 0 and without its checksum, by form.
    sums: [Sum; 2],
    /// The IPv4 header's sum without identification and checksum.
    header: Sum,
}

impl AdvertFrame {
    /// Builds the frame of an advert that leaves an interface with this MAC address.
    ///
    /// IPv4: TOS 0xC0, TTL 255, no "don't fragment", as keepalived's. IPv6: traffic class 0xC0, hop
    /// limit 255. The destination must be the group of the source's family.
    ///
    /// # Errors
    /// [`EmitError`] where the advert can't be written.
    pub fn new(source: Mac, advert: &Advert<'_>) -> Result<Self, EmitError> {
        let family = wire::family_of(advert.source);
        let len = advert.len();
        let (message, group, ethertype) = match family {
            Family::V4 => (ETHERNET + wire::IPV4_HEADER, GROUP_MAC_V4, ETHERTYPE_IPV4),
            Family::V6 => (ETHERNET + IPV6_HEADER, GROUP_MAC_V6, ETHERTYPE_IPV6),
        };
        let mut bytes = vec![0; message + len];
        ethernet(&mut bytes, group, source, ethertype);
        let header = &mut bytes[ETHERNET..message];
        match family {
            Family::V4 => ipv4(header, advert, len),
            Family::V6 => ipv6(header, advert, len),
        }
        let mut sum_of = |form| {
            let released = Advert { priority: Priority::RELEASE, form, ..*advert };
            released.emit(&mut bytes[message..])?;
            let checksum =
                [bytes[message + wire::CHECKSUM_AT], bytes[message + wire::CHECKSUM_AT + 1]];
            // A checksum is the complement of the sum of everything else.
            Ok(Sum::new().word(!u16::from_be_bytes(checksum)))
        };
        let sums = [sum_of(ChecksumForm::Message)?, sum_of(ChecksumForm::PseudoHeader)?];
        let header = Sum::new().slice(&bytes[ETHERNET..message]);
        let mut frame = Self { bytes, message, family, id: 0, sums, header };
        frame.patch(advert.priority, advert.form);
        Ok(frame)
    }

    /// Makes the frame the next advert to send, with this priority and checksum form, and returns it.
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

    /// The frame as it was last patched.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Counts the IPv4 identification up, past zero.
    fn next_id(&mut self) {
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.bytes[IPV4_ID..IPV4_ID + 2].copy_from_slice(&self.id.to_be_bytes());
        let sum = self.header.word(self.id).checksum();
        self.bytes[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Writes an IPv4 header (RFC 791 §3.1) but for identification and checksum.
fn ipv4(header: &mut [u8], advert: &Advert<'_>, len: usize) {
    header[0] = 0x45;
    header[1] = TRAFFIC_CLASS;
    header[2..4].copy_from_slice(&((wire::IPV4_HEADER + len) as u16).to_be_bytes());
    header[8] = wire::TTL;
    header[9] = wire::PROTOCOL;
    header[12..16].copy_from_slice(&wire::octets(advert.source)[..4]);
    header[16..20].copy_from_slice(&wire::octets(advert.destination)[..4]);
}

/// Writes an IPv6 header (RFC 8200 §3).
fn ipv6(header: &mut [u8], advert: &Advert<'_>, len: usize) {
    header[0] = 0x60 | (TRAFFIC_CLASS >> 4);
    header[1] = TRAFFIC_CLASS << 4;
    header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    header[6] = wire::PROTOCOL;
    header[7] = wire::TTL;
    header[8..24].copy_from_slice(&wire::octets(advert.source));
    header[24..40].copy_from_slice(&wire::octets(advert.destination));
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;
    use vrrp_common::{Version, Vrid};

    const MAC: Mac = [2, 0, 0, 0, 0, 0x0a];
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
