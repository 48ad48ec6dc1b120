//! One number for a list of addresses.

use crate::bytes::Bytes;
use crate::ids::Family;
use crate::wire;

/// An odd number, far from any sum of few powers of two: what is multiplied by it differs in many bits.
const MIX: u32 = 0x9e37_79b1;
/// The high bits are the mixed ones: they are to be the next word's low ones.
const TURN: u32 = 13;

/// The number of the list of addresses in a message that was judged, by their values and their order.
///
/// Lists as long as each other that differ in one word never have the same, others by chance. Two can be
/// made to, but only by a sender whose adverts are good: all it has of it is that its other list is not told.
///
/// `WORDS` is that of [`super::judge`].
#[inline(always)]
pub fn digest<B: Bytes + ?Sized, const WORDS: usize>(message: &B, family: Family) -> u32 {
    let Some([_, _, _, count]) = message.read_anew::<4>(0) else {
        return 0;
    };
    let words = usize::from(count) * (family.address_len() / 4);
    let mut digest = u32::from(count);
    let mut i = 0;
    // Both bounds: the constant one, of IPv6 addresses, is for the verifier.
    while i < 4 * 32 * WORDS && i < words {
        let Some(word) = message.read_anew::<4>(wire::HEADER + 4 * i) else {
            break;
        };
        digest = (digest ^ u32::from_be_bytes(word)).wrapping_mul(MIX).rotate_left(TURN);
        i += 1;
    }
    digest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::check::Agreement;

    #[test]
    fn only_lists_that_are_compared_and_differ_have_one() {
        let all = [Agreement::Exact, Agreement::Overlap, Agreement::Unasked];
        assert_eq!(all.map(|agreement| agreement.list(|| 7)), [0, 7, 0]);
    }

    /// Of a message with these addresses.
    fn of<const SIZE: usize>(family: Family, addresses: &[[u8; SIZE]]) -> u32 {
        let mut message = vec![0x31, 51, 150, addresses.len() as u8, 0, 100, 0, 0];
        message.extend(addresses.concat());
        let number = digest::<_, 8>(&message[..], family);
        // What is behind the addresses does not count, and in the kernel it is the same.
        message.extend(*b"1111\0\0\0\0");
        assert_eq!(digest::<_, 1>(&message[..], family), number);
        number
    }

    fn ten(lasts: &[u8]) -> u32 {
        let addresses: Vec<_> = lasts.iter().map(|last| [10, 0, 0, *last]).collect();
        of(Family::V4, &addresses)
    }

    #[test]
    fn values_order_and_number_count() {
        // Of each pair the sum is the same.
        assert_ne!(ten(&[1, 4]), ten(&[2, 3]));
        assert_ne!(ten(&[1, 4]), ten(&[4, 1]));
        assert_eq!(ten(&[1, 4]), ten(&[1, 4]));
        let zeros: HashSet<_> = (0..=32).map(|n| of(Family::V4, &vec![[0; 4]; n])).collect();
        assert_eq!(zeros.len(), 33);
    }

    #[test]
    fn lists_of_one_network_are_told_apart() {
        let pairs = (0..=255).flat_map(|a| (0..=255).map(move |b| ten(&[a, b])));
        let pairs: HashSet<_> = pairs.collect();
        assert_eq!(pairs.len(), 256 * 256);
    }

    #[test]
    fn each_byte_of_an_address_counts() {
        let of = |address| of(Family::V6, &[[0xfe; 16], address, [0x20; 16]]);
        let plain = of([0x20; 16]);
        for at in 0..16 {
            let mut other = [0x20; 16];
            other[at] ^= 1;
            assert_ne!(of(other), plain, "byte {at}");
        }
    }

    /// More than the kernel program judges.
    #[test]
    fn the_last_address_of_the_longest_list_counts() {
        let mut all = vec![[10, 0, 0, 1]; 255];
        let long = |all: &[[u8; 4]]| {
            let message = [&[0x31, 51, 150, 255, 0, 100, 0, 0][..], all.as_flattened()].concat();
            digest::<_, 8>(&message[..], Family::V4)
        };
        let before = long(&all);
        all[254][3] = 2;
        assert_ne!(long(&all), before);
    }
}
