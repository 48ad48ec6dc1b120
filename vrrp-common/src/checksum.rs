//! The Internet checksum (RFC 1071) over bytes, and the pseudo-headers put in front of them.

use crate::bytes::Bytes;
use crate::ids::Family;

/// A running one's-complement sum of 16-bit words.
///
/// The words are added as they lie in memory, which RFC 1071 §2(B) shows to give the same sum, so
/// that the kernel program need not swap each of them. 32 bits hold 65,536 words before they
/// overflow; an IP packet has 32,768 at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds the word with this value.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word.to_be() as u32)
    }

    /// Adds an even number of bytes.
    #[inline(always)]
    #[must_use]
    pub fn array<const N: usize>(self, bytes: [u8; N]) -> Self {
        const { assert!(N.is_multiple_of(2)) }
        let mut sum = self.0;
        let mut i = 0;
        while i < N {
            sum += u32::from(u16::from_ne_bytes([bytes[i], bytes[i + 1]]));
            i += 2;
        }
        Self(sum)
    }

    /// Adds bytes of any number; an odd last one counts as if a zero followed.
    #[must_use]
    pub fn slice(self, bytes: &[u8]) -> Self {
        let mut sum = self;
        let (pairs, rest) = bytes.as_chunks::<2>();
        for pair in pairs {
            sum = sum.word(u16::from_be_bytes(*pair));
        }
        match rest {
            [last] => sum.word(u16::from_be_bytes([*last, 0])),
            _ => sum,
        }
    }

    /// The same sum, by [`Bytes::forget`].
    #[inline(always)]
    #[must_use]
    pub fn forgotten<B: Bytes + ?Sized>(self, bytes: &B) -> Self {
        Self(bytes.forget(self.0))
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum folded to 16 bits.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        u16::from_be(twice as u16)
    }

    /// Says whether a message that holds its own checksum is whole.
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        self.fold() == 0xffff
    }

    /// The checksum to write where the summed bytes held zero.
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The pseudo-header's words: addresses, protocol 112 and the message's length.
///
/// For IPv6 that of RFC 8200 §8.1. For VRRPv3 over IPv4 the one keepalived and FRR put in front
/// although RFC 9568 §5.2.8 has none. `source` and `destination` hold an address in their first
/// [`Family::address_len`] bytes.
#[inline(always)]
pub fn pseudo_header(family: Family, source: &[u8; 16], destination: &[u8; 16], len: u16) -> Sum {
    let sum = Sum::new().word(u16::from(crate::wire::PROTOCOL)).word(len);
    match family {
        Family::V4 => sum.array([source[0], source[1], source[2], source[3]]).array([
            destination[0],
            destination[1],
            destination[2],
            destination[3],
        ]),
        Family::V6 => sum.array(*source).array(*destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().array(bytes).fold(), 0xddf2);
        assert_eq!(Sum::new().slice(&bytes).checksum(), !0xddf2);
        assert_eq!(Sum::new().slice(&[0xab]).fold(), 0xab00);
    }

    proptest! {
        #[test]
        fn a_message_with_its_checksum_is_whole(mut bytes in proptest::collection::vec(any::<u8>(), 2..1500)) {
            bytes[..2].fill(0);
            let sum = Sum::new().slice(&bytes).checksum();
            bytes[..2].copy_from_slice(&sum.to_be_bytes());
            prop_assert!(Sum::new().slice(&bytes).is_whole());
        }

        /// A second opinion from a library that sums differently.
        #[test]
        fn etherparse_agrees(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes).ones_complement();
            prop_assert_eq!(Sum::new().slice(&bytes).checksum(), theirs.to_be());
        }
    }
}
