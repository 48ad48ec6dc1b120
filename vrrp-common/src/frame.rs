//! Ethernet and IP, down to where the VRRP message starts.

use crate::bytes::Bytes;
use crate::ids::Family;
use crate::wire;

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// A tag's VLAN identifier: the low 12 bits (IEEE 802.1Q §9.6).
const VID_MASK: u16 = 0x0fff;
/// Flags and offset of a fragment: everything but "don't fragment" and the reserved bit.
const FRAGMENT_MASK: u16 = 0x3fff;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
/// The length field of a [`wire::AH_HEADER`]: words less two (RFC 2402 §2.2).
const AH_LENGTH: u8 = (wire::AH_HEADER / 4 - 2) as u8;

/// IPv6 extension headers that may stand before a VRRP message (RFC 8200 §4.1).
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// As many are followed; RFC 8200 §4.1 has each once, destination options twice.
    pub const MOST: usize = 8;
}

/// Where an advert lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The family of the IP header.
    pub family: Family,
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset behind the IP header with its options; an authentication header or IPv6 extension headers
    /// may follow.
    pub payload: usize,
    /// Offset of the VRRP message.
    pub message: usize,
    /// The message stands behind an authentication header, which ends where it begins.
    pub sealed: bool,
    /// The packet is the first of several fragments.
    pub fragment: bool,
}

impl Located {
    /// A message right behind an IPv4 header without options at that offset.
    #[inline(always)]
    pub const fn v4(ip: usize) -> Self {
        Self::plain(Family::V4, ip, wire::IPV4_HEADER)
    }

    /// The same with an authentication header between them.
    #[inline(always)]
    pub const fn sealed_v4(ip: usize) -> Self {
        let plain = Self::v4(ip);
        Self { message: plain.payload + wire::AH_HEADER, sealed: true, ..plain }
    }

    /// A message right behind an IPv6 header at that offset.
    #[inline(always)]
    pub const fn v6(ip: usize) -> Self {
        Self::plain(Family::V6, ip, wire::IPV6_HEADER)
    }

    #[inline(always)]
    const fn plain(family: Family, ip: usize, header: usize) -> Self {
        let payload = ip + header;
        Self { family, ip, payload, message: payload, sealed: false, fragment: false }
    }
}

/// Why a frame is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Not VRRP, or on a VLAN that is another interface's business.
    Other,
    /// Perhaps VRRP, in a shape that only the slow path takes apart: IPv4 options, an authentication
    /// header of an unusual length, IPv6 extension headers, a fragment.
    Complex {
        /// The family of the IP header.
        family: Family,
        /// Offset of the IP header.
        ip: usize,
    },
}

/// Finds the VRRP message in an Ethernet frame.
///
/// A tag that [names a VLAN](names_a_vlan) makes it another interface's. With `FULL` unset, options,
/// extension headers and fragments are [`Skip::Complex`], which keeps every later offset a small
/// constant sum for the kernel's verifier; with `FULL` set they are located like any other.
///
/// # Errors
/// [`Skip`] says who else the frame is for.
#[inline(always)]
pub fn locate<B: Bytes + ?Sized, const FULL: bool>(frame: &B) -> Result<Located, Skip> {
    let mut ip = ETHERNET;
    let mut ethertype = frame.be16(ip - 2).ok_or(Skip::Other)?;
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
        let tag = frame.be16(ETHERNET).ok_or(Skip::Other)?;
        if names_a_vlan(tag) {
            return Err(Skip::Other);
        }
        ip = ETHERNET + VLAN_TAG;
        ethertype = frame.be16(ip - 2).ok_or(Skip::Other)?;
    }
    match ethertype {
        ETHERTYPE_IPV4 => locate_v4::<B, FULL>(frame, ip),
        ETHERTYPE_IPV6 => locate_v6::<B, FULL>(frame, ip),
        _ => Err(Skip::Other),
    }
}

/// Whether a tag says that the frame is another interface's: identifier 0 carries only a priority, so the
/// frame counts as untagged (IEEE 802.1Q §6.9.1), any other names another interface's network.
#[inline(always)]
pub const fn names_a_vlan(tag: u16) -> bool {
    tag & VID_MASK != 0
}

/// Finds the VRRP message in an IPv4 packet at that offset: see [`locate`].
///
/// # Errors
/// As for [`locate`].
#[inline(always)]
pub fn locate_v4<B: Bytes + ?Sized, const FULL: bool>(
    frame: &B,
    ip: usize,
) -> Result<Located, Skip> {
    let start: [u8; 10] = frame.read(ip).ok_or(Skip::Other)?;
    let sealed = start[9] == wire::PROTOCOL_AH;
    if (start[9] != wire::PROTOCOL && !sealed) || start[0] >> 4 != 4 {
        return Err(Skip::Other);
    }
    let header = usize::from(start[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([start[6], start[7]]) & FRAGMENT_MASK;
    if FULL {
        // Behind the first fragment there is no VRID by which to name the instance.
        if header < wire::IPV4_HEADER || fragment & FRAGMENT_OFFSET_MASK != 0 {
            return Err(Skip::Other);
        }
        let mut located = Located::plain(Family::V4, ip, header);
        located.fragment = fragment != 0;
        if sealed {
            let [next, length] = frame.read(located.payload).ok_or(Skip::Other)?;
            if next != wire::PROTOCOL {
                return Err(Skip::Other);
            }
            located.message += (usize::from(length) + 2) * 4;
            located.sealed = true;
        }
        return Ok(located);
    }
    if header != wire::IPV4_HEADER || fragment != 0 {
        return Err(Skip::Complex { family: Family::V4, ip });
    }
    if sealed {
        let [next, length] = frame.read(ip + wire::IPV4_HEADER).ok_or(Skip::Other)?;
        if next != wire::PROTOCOL {
            return Err(Skip::Other);
        }
        if length != AH_LENGTH {
            return Err(Skip::Complex { family: Family::V4, ip });
        }
        return Ok(Located::sealed_v4(ip));
    }
    Ok(Located::v4(ip))
}

#[inline(always)]
fn locate_v6<B: Bytes + ?Sized, const FULL: bool>(frame: &B, ip: usize) -> Result<Located, Skip> {
    let start: [u8; 7] = frame.read(ip).ok_or(Skip::Other)?;
    if start[0] >> 4 != 6 {
        return Err(Skip::Other);
    }
    let plain = Located::v6(ip);
    match start[6] {
        wire::PROTOCOL => Ok(plain),
        first if FULL => behind_extensions(frame, plain, first),
        extension::HOP_BY_HOP
        | extension::ROUTING
        | extension::FRAGMENT
        | extension::DESTINATION => Err(Skip::Complex { family: Family::V6, ip }),
        _ => Err(Skip::Other),
    }
}

/// Follows extension headers, the first of kind `next`.
fn behind_extensions<B: Bytes + ?Sized>(
    frame: &B,
    mut located: Located,
    mut next: u8,
) -> Result<Located, Skip> {
    for _ in 0..extension::MOST {
        let [following, length, a, b] = frame.read(located.message).ok_or(Skip::Other)?;
        match next {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                located.message += (usize::from(length) + 1) * 8;
            }
            extension::FRAGMENT => {
                // Offset in units of eight, two reserved bits, "more" (RFC 8200 §4.5). With neither,
                // it is a whole packet (RFC 6946).
                let field = u16::from_be_bytes([a, b]);
                if field & 0xfff8 != 0 {
                    return Err(Skip::Other);
                }
                located.fragment |= field & 1 != 0;
                located.message += 8;
            }
            _ => return Err(Skip::Other),
        }
        next = following;
        if next == wire::PROTOCOL {
            return Ok(located);
        }
    }
    Err(Skip::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use rstest::rstest;

    const GOOD: [u8; 54] = hex!(
        "01005e000012 020000000065 0800"
        "45c0002800010000ff70182dc0000265e0000012"
        "21339601000185cfc00002fa0000000000000000"
    );

    const COMPLEX: Result<(usize, usize), Skip> =
        Err(Skip::Complex { family: Family::V4, ip: ETHERNET });

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut frame = GOOD.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    }

    fn tagged(tags: &[u8]) -> Vec<u8> {
        let mut frame = GOOD[..12].to_vec();
        frame.extend_from_slice(tags);
        frame.extend_from_slice(&GOOD[12..]);
        frame
    }

    #[rstest]
    #[case::plain(GOOD.to_vec(), Ok((14, 34)), Ok((14, 34)))]
    #[case::priority_tag(tagged(&hex!("8100e000")), Ok((18, 38)), Ok((18, 38)))]
    #[case::service_priority_tag(tagged(&hex!("88a80000")), Ok((18, 38)), Ok((18, 38)))]
    #[case::vlan_100(tagged(&hex!("81000064")), Err(Skip::Other), Err(Skip::Other))]
    #[case::two_tags(tagged(&hex!("8100000081000000")), Err(Skip::Other), Err(Skip::Other))]
    #[case::udp(with(23, &[17]), Err(Skip::Other), Err(Skip::Other))]
    #[case::ipv6_version_4(with(12, &hex!("86dd")), Err(Skip::Other), Err(Skip::Other))]
    #[case::ip_version_5(with(14, &[0x55]), Err(Skip::Other), Err(Skip::Other))]
    #[case::options(with(14, &[0x46]), COMPLEX, Ok((14, 38)))]
    #[case::header_too_short(with(14, &[0x44]), COMPLEX, Err(Skip::Other))]
    #[case::do_not_fragment(with(20, &hex!("4000")), Ok((14, 34)), Ok((14, 34)))]
    #[case::first_fragment(with(20, &hex!("2000")), COMPLEX, Ok((14, 34)))]
    #[case::later_fragment(with(20, &hex!("0001")), COMPLEX, Err(Skip::Other))]
    #[case::cut(GOOD[..20].to_vec(), Err(Skip::Other), Err(Skip::Other))]
    fn shapes(
        #[case] frame: Vec<u8>,
        #[case] fast: Result<(usize, usize), Skip>,
        #[case] full: Result<(usize, usize), Skip>,
    ) {
        let short = |l: Located| (l.ip, l.message);
        assert_eq!(locate::<_, false>(&frame[..]).map(short), fast);
        assert_eq!(locate::<_, true>(&frame[..]).map(short), full);
    }

    /// Behind an authentication header whose length field has this value.
    fn sealed(next: u8, length: u8) -> Vec<u8> {
        let mut frame = with(23, &[wire::PROTOCOL_AH]);
        let mut header = vec![0; 4 * (usize::from(length) + 2)];
        header[..2].copy_from_slice(&[next, length]);
        frame.splice(34..34, header);
        frame
    }

    #[test]
    fn authentication_headers() {
        let usual = sealed(wire::PROTOCOL, 4);
        let located = locate::<_, true>(&usual[..]).unwrap();
        assert_eq!(locate::<_, false>(&usual[..]), Ok(located));
        assert_eq!((located.payload, located.message, located.sealed), (34, 58, true));
        let long = sealed(wire::PROTOCOL, 5);
        let full = locate::<_, true>(&long[..]).unwrap();
        assert_eq!((full.message, full.sealed), (62, true));
        assert_eq!(locate::<_, false>(&long[..]).map(|l| (l.ip, l.message)), COMPLEX);
        // IPsec of somebody else's.
        assert_eq!(locate::<_, true>(&sealed(17, 4)[..]), Err(Skip::Other));
        assert_eq!(locate::<_, false>(&sealed(17, 4)[..]), Err(Skip::Other));
    }

    const V6: [u8; 14] = hex!("333300000012 020000000065 86dd");

    /// An IPv6 packet with these headers behind the first.
    fn v6(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut frame = V6.to_vec();
        frame.extend(hex!("6c000000 0028"));
        frame.extend([first, 255]);
        frame.extend([0xfe; 32]);
        frame.extend(headers);
        frame.extend(hex!("3133960100640000"));
        frame
    }

    #[rstest]
    #[case::plain(v6(112, &[]), Ok((54, false)))]
    #[case::hop_by_hop(v6(0, &hex!("7000 0502 0000 0100")), Ok((62, false)))]
    #[case::destination_of_16(v6(60, &hex!("7001 010c 0000 0000 0000 0000 0000 0000")), Ok((70, false)))]
    #[case::two(v6(0, &hex!("3c00 0104 0000 0000 7000 0104 0000 0000")), Ok((70, false)))]
    #[case::first_fragment(v6(44, &hex!("7000 0001 0000 0001")), Ok((62, true)))]
    #[case::atomic_fragment(v6(44, &hex!("7000 0000 0000 0001")), Ok((62, false)))]
    #[case::later_fragment(v6(44, &hex!("7000 0009 0000 0001")), Err(Skip::Other))]
    #[case::udp(v6(17, &[]), Err(Skip::Other))]
    #[case::udp_behind_options(v6(0, &hex!("1100 0502 0000 0100")), Err(Skip::Other))]
    #[case::cut(v6(0, &[])[..56].to_vec(), Err(Skip::Other))]
    #[case::endless(v6(0, &hex!("0000010400000000").repeat(9)), Err(Skip::Other))]
    fn ipv6(#[case] frame: Vec<u8>, #[case] full: Result<(usize, bool), Skip>) {
        assert_eq!(locate::<_, true>(&frame[..]).map(|l| (l.message, l.fragment)), full);
        let fast = match frame[20] {
            112 => full,
            17 => Err(Skip::Other),
            _ => Err(Skip::Complex { family: Family::V6, ip: ETHERNET }),
        };
        assert_eq!(locate::<_, false>(&frame[..]).map(|l| (l.message, l.fragment)), fast);
        assert!(full.is_err() || locate::<_, true>(&frame[..]).unwrap().payload == 54);
    }
}
