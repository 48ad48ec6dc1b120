//! What a captured frame says. A reader of its own, so that the product's can't hide its faults.

use std::net::Ipv4Addr;

/// A frame that these tests care for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A VRRP advert over IPv4.
    Advert(Advert),
    /// A gratuitous ARP: sender and target address are the same.
    Announcement {
        /// The address announced.
        address: Ipv4Addr,
        /// The hardware address it says.
        mac: [u8; 6],
    },
}

/// A VRRP advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The sender.
    pub source: Ipv4Addr,
    /// Where to.
    pub destination: Ipv4Addr,
    /// TTL.
    pub ttl: u8,
    /// 2 or 3.
    pub version: u8,
    /// The virtual router.
    pub vrid: u8,
    /// The priority; 0 releases.
    pub priority: u8,
    /// The interval in milliseconds.
    pub interval_ms: u32,
    /// VRRPv2's authentication type; 0 in version 3.
    pub auth_type: u8,
    /// The count field.
    pub count: u8,
    /// The addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// What follows the addresses: VRRPv2's authentication data.
    pub trailer: Vec<u8>,
    /// The frame's source.
    pub mac: [u8; 6],
    /// The whole message, as it came.
    pub message: Vec<u8>,
}

/// Reads an Ethernet frame; `None` if it is nothing of interest.
pub fn read(frame: &[u8]) -> Option<Frame> {
    let mac = frame.get(6..12)?.try_into().ok()?;
    match frame.get(12..14)? {
        [0x08, 0x00] => read_advert(frame.get(14..)?, mac).map(Frame::Advert),
        [0x08, 0x06] => read_arp(frame.get(14..)?),
        _ => None,
    }
}

fn read_arp(arp: &[u8]) -> Option<Frame> {
    let (sender, target) = (address(arp.get(14..18)?)?, address(arp.get(24..28)?)?);
    let mac = arp.get(8..14)?.try_into().ok()?;
    (sender == target && !sender.is_unspecified())
        .then_some(Frame::Announcement { address: sender, mac })
}

fn read_advert(ip: &[u8], mac: [u8; 6]) -> Option<Advert> {
    let header = usize::from(ip.first()? & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?));
    if *ip.get(9)? != 112 {
        return None;
    }
    let vrrp = ip.get(header..total)?;
    let version = vrrp.first()? >> 4;
    let count = *vrrp.get(3)?;
    let end = 8 + 4 * usize::from(count);
    let interval_ms = if version == 2 {
        u32::from(*vrrp.get(5)?) * 1000
    } else {
        (u32::from(*vrrp.get(4)? & 0xf) << 8 | u32::from(*vrrp.get(5)?)) * 10
    };
    Some(Advert {
        source: address(ip.get(12..16)?)?,
        destination: address(ip.get(16..20)?)?,
        ttl: *ip.get(8)?,
        version,
        vrid: *vrrp.get(1)?,
        priority: *vrrp.get(2)?,
        interval_ms,
        auth_type: if version == 2 { *vrrp.get(4)? } else { 0 },
        count,
        addresses: vrrp.get(8..end)?.chunks_exact(4).filter_map(address).collect(),
        trailer: vrrp.get(end..)?.to_vec(),
        mac,
        message: vrrp.to_vec(),
    })
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn reads_a_handed_advert() {
        let file = cases::packets("P05-v2-auth");
        let Some(Frame::Advert(advert)) = read(&file[0].bytes) else { panic!("no advert") };
        assert_eq!(advert.source, Ipv4Addr::new(192, 0, 2, 101));
        assert_eq!((advert.version, advert.vrid, advert.priority), (2, 51, 150));
        assert_eq!((advert.interval_ms, advert.auth_type), (1000, 1));
        assert_eq!(advert.addresses, [Ipv4Addr::new(192, 0, 2, 250)]);
        assert_eq!(advert.trailer, b"1111\0\0\0\0");
    }
}
