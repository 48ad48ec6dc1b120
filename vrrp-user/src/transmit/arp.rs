//! Gratuitous ARP.

use std::net::Ipv4Addr;

use super::{ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, Mac, ethernet};

/// Bytes of an ARP frame over Ethernet and IPv4.
pub const LEN: usize = ETHERNET + 28;
const BROADCAST: Mac = [0xff; 6];
const HARDWARE_ETHERNET: u16 = 1;
const OPERATION_REQUEST: u16 = 1;

/// The gratuitous ARP by which the interface `own` says that `address` is at `mac` (RFC 9568 §6.4.2): its
/// own, or another's.
///
/// Sender and target are the announced address at `mac`, the hardware address too (errata 7947 and 7949;
/// keepalived has the broadcast address as the target's). As keepalived's it is a request, which every
/// stack takes as an update. The frame comes from `own`: a switch must not learn another's address on our
/// port.
pub fn gratuitous(own: Mac, mac: Mac, address: Ipv4Addr) -> [u8; LEN] {
    let mut frame = [0; LEN];
    ethernet(&mut frame, BROADCAST, own, ETHERTYPE_ARP);
    let arp = &mut frame[ETHERNET..];
    arp[0..2].copy_from_slice(&HARDWARE_ETHERNET.to_be_bytes());
    arp[2..4].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    arp[4] = 6;
    arp[5] = 4;
    arp[6..8].copy_from_slice(&OPERATION_REQUEST.to_be_bytes());
    arp[8..14].copy_from_slice(&mac);
    arp[14..18].copy_from_slice(&address.octets());
    arp[18..24].copy_from_slice(&mac);
    arp[24..28].copy_from_slice(&address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const OWN: Mac = [2, 0, 0, 0, 0, 0x0a];

    #[test]
    fn another_s_address_is_in_the_message_only() {
        let (own, theirs) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let frame = gratuitous(own, theirs, Ipv4Addr::new(192, 0, 2, 250));
        assert_eq!(frame[6..12], own);
        assert_eq!([&frame[22..28], &frame[32..38]], [theirs, theirs]);
    }

    #[test]
    fn sender_and_target_are_the_announced_address() {
        assert_eq!(
            gratuitous(OWN, OWN, Ipv4Addr::new(192, 0, 2, 250)),
            hex!(
                "ffffffffffff 02000000000a 0806"
                "0001 0800 06 04 0001"
                "02000000000a c00002fa"
                "02000000000a c00002fa"
            )
        );
    }
}
