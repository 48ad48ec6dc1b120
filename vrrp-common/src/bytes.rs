//! Bounds-checked reads from a frame.

/// A source of bytes that can refuse a read but never fails otherwise.
///
/// The kernel's verifier accepts a packet read only behind a comparison with the packet's end. With
/// the comparison inside [`Bytes::read`] and a length known at compile time, one validator serves the
/// kernel and user space.
pub trait Bytes {
    /// Reads `N` bytes at offset `at`, or `None` where they are not all there.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Reads one byte.
    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        self.read::<1>(at).map(|b| b[0])
    }

    /// Reads `N` bytes as if nothing had been read before.
    ///
    /// The verifier walks what follows a loop once for each number of turns, as long as something
    /// that is still in use tells them apart: the value that ended the loop, or how far the frame is
    /// known to reach. In the kernel this starts from nothing, so that what follows is walked once.
    #[inline(always)]
    fn read_anew<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.read(at)
    }

    /// The value, as if nothing were known of it.
    ///
    /// For the verifier two sums of different numbers of words are two different things, and it walks
    /// what follows for each. In the kernel this is a value that may be any.
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        value
    }

    /// Reads a 16-bit integer in network order.
    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        self.read::<2>(at).map(u16::from_be_bytes)
    }
}

impl Bytes for [u8] {
    #[inline]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk::<N>().copied()
    }
}

/// A byte source seen from an offset on.
///
/// Offsets stay small sums of constants, which is what the verifier can follow.
#[derive(Debug)]
pub struct Tail<'a, B: ?Sized> {
    bytes: &'a B,
    at: usize,
}

impl<'a, B: Bytes + ?Sized> Tail<'a, B> {
    /// The bytes of `bytes` behind offset `at`.
    #[inline(always)]
    pub fn new(bytes: &'a B, at: usize) -> Self {
        Self { bytes, at }
    }
}

impl<B: Bytes + ?Sized> Bytes for Tail<'_, B> {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.read::<N>(self.at + at)
    }

    #[inline(always)]
    fn read_anew<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.read_anew::<N>(self.at + at)
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        self.bytes.forget(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stay_inside() {
        let b: &[u8] = &[1, 2, 3, 4];
        assert_eq!(b.read::<4>(0), Some([1, 2, 3, 4]));
        assert_eq!(b.read::<2>(2), Some([3, 4]));
        assert_eq!(b.read::<2>(3), None);
        assert_eq!(b.read::<1>(usize::MAX), None);
        assert_eq!(Tail::new(b, 3).byte(0), Some(4));
        assert_eq!(Tail::new(b, 3).byte(1), None);
    }
}
