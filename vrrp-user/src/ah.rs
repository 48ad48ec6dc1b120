//! The IPsec authentication header in front of an advert (RFC 2338 §5.3.6.3), as keepalived writes and
//! checks it: RFC 2402 with HMAC-MD5-96 (RFC 2403), the password as its key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use vrrp_common::wire;

/// The header's IP protocol number.
pub const PROTOCOL: u8 = 51;
/// "IP authentication header" in the advert itself (RFC 2338 §5.3.6.3).
pub const AUTH_TYPE: u8 = 2;
/// Bytes of the header: the fixed ones and the check value.
pub const LEN: usize = 24;
/// Bytes of the check value.
pub const ICV: usize = 12;
/// Offset of the sequence number.
pub const SEQUENCE: usize = 8;
/// Offset of the check value.
const ICV_AT: usize = LEN - ICV;
/// The length field: four-byte words less two (RFC 2402 §2.2).
const WORDS: u8 = (LEN / 4 - 2) as u8;
/// An IPv4 header with all options.
const LONGEST_HEADER: usize = 60;
/// Sequence numbers in a second: more than adverts leave, answers to others among them.
const PER_SECOND: u64 = 4;
/// 2024-01-01, from which they are counted.
const EPOCH: Duration = Duration::from_secs(1_704_067_200);
/// The clock gives none behind this one, of 2053: a clock that is wrong leaves numbers for many years.
const LAST_BY_CLOCK: u32 = 0xdfff_ffff;

/// Writes the header but for its sequence number and check value. As the security parameters index, which
/// nobody has agreed upon, keepalived takes the IP source and insists on it.
pub fn write(header: &mut [u8; LEN], source: [u8; 4]) {
    header.fill(0);
    header[0] = wire::PROTOCOL;
    header[1] = WORDS;
    header[4..8].copy_from_slice(&source);
}

/// Writes the sequence number and the check value of the IPv4 packet whose header of `header` bytes an
/// authentication header follows. `hops`: the TTL may change on the way.
pub fn sign(key: &[u8; 8], packet: &mut [u8], header: usize, hops: bool, sequence: u32) {
    let at = header + SEQUENCE;
    packet[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
    let Some(mac) = over(key, packet, header, hops) else { return };
    let value = mac.finalize().into_bytes();
    let at = header + ICV_AT;
    packet[at..at + ICV].copy_from_slice(&value[..ICV]);
}

/// Whether the check value of such a packet fits it; the time that takes does not depend on the value.
pub fn fits(key: &[u8; 8], packet: &[u8], header: usize, hops: bool) -> bool {
    let value = packet.get(header + ICV_AT..header + LEN);
    over(key, packet, header, hops)
        .zip(value)
        .is_some_and(|(mac, value)| mac.verify_truncated_left(value).is_ok())
}

/// The sequence number that follows `last`, the greatest that was sent or heard. A number must be greater
/// than all that a peer has heard of the virtual router (keepalived keeps one for all senders), of a life
/// too that nothing is left of: so it follows the wall clock where that is ahead.
pub fn next(last: u32, now: SystemTime) -> u32 {
    let since = now.duration_since(UNIX_EPOCH + EPOCH).unwrap_or_default();
    let ticks = since.as_millis() as u64 * PER_SECOND / 1000;
    let by_clock = u32::try_from(ticks).unwrap_or(u32::MAX).min(LAST_BY_CLOCK);
    last.saturating_add(1).max(by_clock)
}

/// The code over a packet without what routers may change (RFC 2402 §3.3.3.1.1.1) and without the check
/// value. keepalived counts the TTL among that only where adverts are unicast.
fn over(key: &[u8; 8], packet: &[u8], header: usize, hops: bool) -> Option<Hmac<Md5>> {
    let (ip, rest) = packet.split_at_checked(header)?;
    let (ah, message) = rest.split_at_checked(LEN)?;
    let mut fixed = [0; LONGEST_HEADER];
    let fixed = fixed.get_mut(..header).filter(|_| header >= wire::IPV4_HEADER)?;
    fixed.copy_from_slice(ip);
    fixed[1] = 0;
    fixed[6..8].fill(0);
    if hops {
        fixed[8] = 0;
    }
    fixed[10..12].fill(0);
    let mut mac = Hmac::<Md5>::new_from_slice(key).ok()?;
    mac.update(fixed);
    mac.update(&ah[..ICV_AT]);
    mac.update(&[0; ICV]);
    mac.update(message);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    const KEY: [u8; 8] = *b"lab12345";

    fn packet() -> Vec<u8> {
        let mut packet = hex!(
            "45c0 0040 0007 0000 ff33 1835 c0000265 e0000012"
            "000000000000000000000000 000000000000000000000000"
            "2133640102010000 c00002fa 0000000000000000"
        )
        .to_vec();
        let header = packet[20..44].first_chunk_mut().unwrap();
        write(header, [192, 0, 2, 0x65]);
        packet
    }

    #[test]
    fn the_header_is_keepalived_s() {
        let mut packet = packet();
        sign(&KEY, &mut packet, 20, false, 0x0102_0304);
        assert_eq!(packet[20..32], hex!("70 04 0000 c0000265 01020304"));
        assert!(fits(&KEY, &packet, 20, false));
    }

    /// RFC 2202 §2, test case 2, by way of the same code.
    #[test]
    fn the_code_is_hmac_md5() {
        let mut mac = Hmac::<Md5>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        assert_eq!(mac.finalize().into_bytes()[..], hex!("750c783e6ab0b503eaa86e310a5db738"));
    }

    #[test]
    fn what_routers_change_does_not_matter_and_all_else_does() {
        for hops in [false, true] {
            let mut good = packet();
            sign(&KEY, &mut good, 20, hops, 5);
            for at in 0..good.len() {
                let mut changed = good.clone();
                changed[at] ^= 1;
                let free = matches!(at, 1 | 6 | 7 | 10 | 11) || (hops && at == 8);
                assert_eq!(fits(&KEY, &changed, 20, hops), free, "byte {at}");
            }
            assert!(!fits(b"lab12346", &good, 20, hops));
            assert!(!fits(&KEY, &good[..43], 20, hops));
            assert!(!fits(&KEY, &good, 11, hops), "shorter than an IPv4 header");
        }
    }

    #[test]
    fn sequence_numbers_grow_whatever_the_clock_does() {
        let at = |last, seconds| next(last, UNIX_EPOCH + EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(0, 1), at(4, 100)), (4, 400), "faster than adverts leave");
        assert_eq!((at(400, 100), at(401, 1)), (401, 402), "many at a time, a clock set back");
        assert_eq!(next(7, UNIX_EPOCH), 8);
        let far = at(400, u64::from(u32::MAX));
        assert_eq!((far, at(far, u64::from(u32::MAX))), (LAST_BY_CLOCK, LAST_BY_CLOCK + 1));
    }
}
