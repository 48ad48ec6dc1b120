//! Unsolicited neighbour advertisements.

use std::net::Ipv6Addr;

use vrrp_common::checksum::Sum;

use super::{ETHERNET, ETHERTYPE_IPV6, Mac, ethernet};

/// Bytes of the frame: one option.
pub const LEN: usize = ETHERNET + IPV6_HEADER + MESSAGE;
const IPV6_HEADER: usize = 40;
const MESSAGE: usize = 32;
const ICMPV6: u8 = 58;
/// RFC 4861 §7.1.2: anything that crossed a router is refused.
const HOP_LIMIT: u8 = 255;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET_LINK_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// The neighbour advertisement by which the interface `own` says that `address` is at `mac` (RFC 9568
/// §6.4.2), its own or another's: to all nodes, from the address itself, not solicited, overriding. `router`
/// says whether the interface forwards. The frame comes from `own`.
pub fn unsolicited(own: Mac, mac: Mac, address: Ipv6Addr, router: bool) -> [u8; LEN] {
    let mut frame = [0; LEN];
    ethernet(&mut frame, ALL_NODES_MAC, own, ETHERTYPE_IPV6);
    let (header, message) = frame[ETHERNET..].split_at_mut(IPV6_HEADER);
    header[0] = 0x60;
    header[4..6].copy_from_slice(&(MESSAGE as u16).to_be_bytes());
    header[6] = ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&address.octets());
    header[24..40].copy_from_slice(&ALL_NODES.octets());

    message[0] = NEIGHBOUR_ADVERTISEMENT;
    message[4] = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
    message[8..24].copy_from_slice(&address.octets());
    message[24] = OPTION_TARGET_LINK_ADDRESS;
    message[25] = 1; // in units of eight bytes
    message[26..32].copy_from_slice(&mac);
    // The pseudo-header of RFC 8200 §8.1.
    let sum = Sum::new()
        .word(u16::from(ICMPV6))
        .word(MESSAGE as u16)
        .array(address.octets())
        .array(ALL_NODES.octets())
        .slice(message)
        .checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const OWN: Mac = [2, 0, 0, 0, 0, 0x0a];

    #[test]
    fn bytes_of_a_router_s() {
        let address = "2001:db8::250".parse().unwrap();
        let frame = unsolicited(OWN, OWN, address, true);
        assert_eq!(
            frame[..58],
            hex!(
                "333300000001 02000000000a 86dd"
                "60000000 0020 3a ff"
                "20010db8000000000000000000000250"
                "ff020000000000000000000000000001"
                "88 00 7483"
            )[..58]
        );
        assert_eq!(
            frame[58..],
            hex!("a0000000 20010db8000000000000000000000250 02 01 02000000000a")
        );
    }

    /// A second opinion from another library.
    #[test]
    fn etherparse_agrees_with_the_checksum() {
        for router in [false, true] {
            let address: Ipv6Addr = "fe80::5e00:1".parse().unwrap();
            let frame = unsolicited(OWN, OWN, address, router);
            let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else {
                panic!("not ICMPv6: {sliced:?}");
            };
            assert!(icmp.is_checksum_valid(address.octets(), ALL_NODES.octets()));
        }
    }
}
