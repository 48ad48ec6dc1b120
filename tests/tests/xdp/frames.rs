//! Adverts in frames, whole and damaged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrrp_common::checksum::{self, Sum};
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Priority, Version, Vrid};

use xvrrp::ah;

use crate::bench::{KEY, PEER, VRID};

/// That many addresses, the handed one first.
pub(crate) fn vips(count: u8) -> Vec<IpAddr> {
    (0..count)
        .map(|i| IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250_u8.wrapping_add(i.wrapping_mul(7)))))
        .collect()
}

/// A frame with an advert of our router.
pub(crate) fn advert(
    version: Version,
    form: ChecksumForm,
    addresses: &[IpAddr],
    options: &[u8],
) -> Vec<u8> {
    let message = Advert {
        version,
        vrid: Vrid::new(VRID).expect("not zero"),
        priority: Priority::new(150),
        interval: if version == Version::V2 { 1 } else { 100 },
        addresses,
        password: None,
        form,
        source: PEER.into(),
        destination: Ipv4Addr::from(wire::GROUP_V4).into(),
    };
    let header = 20 + options.len();
    let mut frame = b"\x01\x00\x5e\x00\x00\x12\x02\x00\x00\x00\x00\x65\x08\x00".to_vec();
    frame.resize(14 + header + message.len(), 0);
    message.emit(&mut frame[14 + header..]).expect("there is room for it");
    frame[14] = 0x40 | (header / 4) as u8;
    frame[15] = 0xc0;
    let total = (header + message.len()) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[22] = 255;
    frame[23] = wire::PROTOCOL;
    frame[26..30].copy_from_slice(&PEER.octets());
    frame[30..34].copy_from_slice(&wire::GROUP_V4);
    frame[34..34 + options.len()].copy_from_slice(options);
    sum_header(&mut frame);
    frame
}

/// That many IPv6 addresses, the first link-local.
pub(crate) fn vips_v6(count: u8) -> Vec<IpAddr> {
    let address = |i: u8| match i {
        0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x5e00, 0x250),
        i => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i.into()),
    };
    (0..count).map(|i| address(i).into()).collect()
}

/// A frame with an advert of our router over IPv6.
pub(crate) fn advert_v6(addresses: &[IpAddr]) -> Vec<u8> {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x65);
    let message = Advert {
        version: Version::V3,
        vrid: Vrid::new(VRID).expect("not zero"),
        priority: Priority::new(150),
        interval: 100,
        addresses,
        password: None,
        form: ChecksumForm::PseudoHeader,
        source: source.into(),
        destination: Ipv6Addr::from(wire::GROUP_V6).into(),
    };
    let mut frame = b"\x33\x33\x00\x00\x00\x12\x02\x00\x00\x00\x00\x65\x86\xdd".to_vec();
    frame.extend([0x6c, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([wire::PROTOCOL, wire::TTL]);
    frame.extend(source.octets());
    frame.extend(wire::GROUP_V6);
    frame.resize(54 + message.len(), 0);
    message.emit(&mut frame[54..]).expect("there is room for it");
    frame
}

/// A VRRPv2 advert behind an authentication header by [`KEY`].
pub(crate) fn sealed(sequence: u32, ttl: u8) -> Vec<u8> {
    let mut frame = advert(Version::V2, ChecksumForm::Message, &vips(1), &[]);
    frame[38] = wire::AUTH_AH;
    sum_message(&mut frame);
    let mut header = [0; ah::LEN];
    ah::write(&mut header, PEER.octets());
    frame.splice(34..34, header);
    frame[17] += ah::LEN as u8;
    (frame[22], frame[23]) = (ttl, ah::PROTOCOL);
    sum_header(&mut frame);
    ah::sign(&KEY, &mut frame[14..], 20, false, sequence);
    frame
}

/// Makes the IPv4 header's checksum right, where there is such a header.
pub(crate) fn sum_header(frame: &mut [u8]) {
    let Some(header) = frame.get(14).map(|first| usize::from(first & 15) * 4) else { return };
    if let Some(header) = frame.get_mut(14..14 + header)
        && header.len() >= 20
    {
        header[10..12].fill(0);
        let sum = Sum::new().slice(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the message's checksum right in the form without a pseudo-header.
pub(crate) fn sum_message(frame: &mut [u8]) {
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if let Some(message) = frame.get_mut(34..end)
        && message.len() >= 8
    {
        message[6..8].fill(0);
        let sum = Sum::new().slice(message).checksum();
        message[6..8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the checksum of a message right behind an IPv6 header right.
fn sum_message_v6(frame: &mut [u8]) {
    let length = u16::from_be_bytes([frame[18], frame[19]]);
    let mut ends = [[0; 16]; 2];
    ends[0].copy_from_slice(&frame[22..38]);
    ends[1].copy_from_slice(&frame[38..54]);
    if let Some(message) = frame.get_mut(54..54 + usize::from(length))
        && message.len() >= 8
    {
        message[6..8].fill(0);
        let pseudo = checksum::pseudo_header(Family::V6, &ends[0], &ends[1], length);
        let sum = pseudo.slice(message).checksum();
        message[6..8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the sums right, where the message is right behind the IP header.
pub(crate) fn sum_again(frame: &mut [u8]) {
    if is_v6(frame) {
        sum_message_v6(frame);
    } else {
        sum_message(frame);
        sum_header(frame);
    }
}

/// Puts an extension header, sometimes a fragment's or one that there is not, behind an IPv6 header.
pub(crate) fn behind_an_extension(frame: &mut Vec<u8>, numbers: &mut Numbers) {
    let kind = [0, 43, 44, 60, 6][numbers.below(5)];
    frame.splice(54..54, [wire::PROTOCOL, 0, 0, numbers.below(2) as u8, 0, 0, 0, 0]);
    let length = u16::from_be_bytes([frame[18], frame[19]]) + 8;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame[20] = kind;
}

/// A generator of numbers that are the same in each run (xorshift64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn is_v6(frame: &[u8]) -> bool {
    frame.len() > 62 && frame[12..14] == [0x86, 0xdd]
}

/// Damages a frame in one or more ways, and sometimes makes the sums right again, so that the damage
/// is seen by the checks behind them.
pub(crate) fn damage(frame: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(frame.len());
        match numbers.below(8) {
            0 => frame[at] = numbers.below(256) as u8,
            1 => frame[at] ^= 1 << numbers.below(8),
            2 => frame.truncate(at.max(14)),
            3 => frame.extend(std::iter::repeat_n(0x55, numbers.below(40))),
            // The fields that decide: count, length, version and type, options, fragment.
            // Over IPv6 the same: count, length, version and type, next header, hop limit, destination.
            4 if is_v6(frame) => frame[57] = numbers.below(70) as u8,
            5 if is_v6(frame) => frame[19] = numbers.below(256) as u8,
            6 if is_v6(frame) => frame[54] = [0x21, 0x31, 0x32, 0x11][numbers.below(4)],
            7 if is_v6(frame) => {
                frame[[20, 21, 22, 38, 53, 62][numbers.below(6)]] = numbers.below(256) as u8;
            }
            4 if frame.len() > 38 => frame[37] = numbers.below(70) as u8,
            5 if frame.len() > 38 => frame[17] = numbers.below(256) as u8,
            6 if frame.len() > 38 => frame[34] = [0x21, 0x31, 0x22, 0x11][numbers.below(4)],
            7 if frame.len() > 38 => {
                frame[[14, 20, 22, 30][numbers.below(4)]] = numbers.below(256) as u8;
            }
            _ => {}
        }
    }
    if frame.len() > 54 && frame[12..14] == [0x86, 0xdd] {
        if numbers.below(4) > 0 {
            sum_message_v6(frame);
        }
    } else if frame.len() > 38 && numbers.below(4) > 0 {
        if numbers.below(2) > 0 {
            sum_message(frame);
        }
        sum_header(frame);
    }
}
