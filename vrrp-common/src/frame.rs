//! Ethernet and IP, down to where the VRRP message starts.

use crate::bytes::Bytes;
use crate::ids::Family;
use crate::wire;

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// A tag's VLAN identifier: the low 12 bits (IEEE 802.1Q §9.6).
const VID_MASK: u16 = 0x0fff;
/// Flags and offset of a fragment: everything but "don't fragment" and the reserved bit.
const FRAGMENT_MASK: u16 = 0x3fff;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;

/// Where an advert lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The family of the IP header.
    pub family: Family,
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of the VRRP message.
    pub message: usize,
}

/// Why a frame is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Not VRRP, or on a VLAN that is another interface's business.
    Other,
    /// VRRP in a shape that only the slow path takes apart: IP options or a fragment.
    Complex,
}

/// Finds the VRRP message in an Ethernet frame.
///
/// A tag with VLAN identifier 0 carries only a priority, so the frame counts as untagged (IEEE
/// 802.1Q §6.9.1); any other tag names another interface's network. With `FULL` unset, IPv4 options
/// and fragments are [`Skip::Complex`], which keeps every later offset a small constant sum for the
/// kernel's verifier; with `FULL` set they are located like any other.
///
/// # Errors
/// [`Skip`] says who else the frame is for.
#[inline(always)]
pub fn locate<B: Bytes + ?Sized, const FULL: bool>(frame: &B) -> Result<Located, Skip> {
    let mut ip = ETHERNET;
    let mut ethertype = frame.be16(ip - 2).ok_or(Skip::Other)?;
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
        let tag = frame.be16(ETHERNET).ok_or(Skip::Other)?;
        if tag & VID_MASK != 0 {
            return Err(Skip::Other);
        }
        ip = ETHERNET + VLAN_TAG;
        ethertype = frame.be16(ip - 2).ok_or(Skip::Other)?;
    }
    if ethertype != ETHERTYPE_IPV4 {
        return Err(Skip::Other);
    }
    let start: [u8; 10] = frame.read(ip).ok_or(Skip::Other)?;
    if start[9] != wire::PROTOCOL || start[0] >> 4 != 4 {
        return Err(Skip::Other);
    }
    let header = usize::from(start[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([start[6], start[7]]) & FRAGMENT_MASK;
    if FULL {
        // Behind the first fragment there is no VRID by which to name the instance.
        if header < wire::IPV4_HEADER || fragment & FRAGMENT_OFFSET_MASK != 0 {
            return Err(Skip::Other);
        }
        return Ok(Located { family: Family::V4, ip, message: ip + header });
    }
    if header != wire::IPV4_HEADER || fragment != 0 {
        return Err(Skip::Complex);
    }
    Ok(Located { family: Family::V4, ip, message: ip + wire::IPV4_HEADER })
}

/// Says whether an IPv4 header's third word marks a fragment.
#[inline(always)]
pub(crate) fn is_fragment(flags_and_offset: [u8; 2]) -> bool {
    u16::from_be_bytes(flags_and_offset) & FRAGMENT_MASK != 0
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
    #[case::ipv6(with(12, &hex!("86dd")), Err(Skip::Other), Err(Skip::Other))]
    #[case::ip_version_5(with(14, &[0x55]), Err(Skip::Other), Err(Skip::Other))]
    #[case::options(with(14, &[0x46]), Err(Skip::Complex), Ok((14, 38)))]
    #[case::header_too_short(with(14, &[0x44]), Err(Skip::Complex), Err(Skip::Other))]
    #[case::do_not_fragment(with(20, &hex!("4000")), Ok((14, 34)), Ok((14, 34)))]
    #[case::first_fragment(with(20, &hex!("2000")), Err(Skip::Complex), Ok((14, 34)))]
    #[case::later_fragment(with(20, &hex!("0001")), Err(Skip::Complex), Err(Skip::Other))]
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
}
