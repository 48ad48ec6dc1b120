//! The IP packet around an advert: is it sound, for us, and from somebody who may send it.

use crate::abi::{Router, TtlBounds};
use crate::bytes::Bytes;
use crate::check::Rules;
use crate::checksum::Sum;
use crate::frame::Located;
use crate::ids::Family;
use crate::reject::Reject;
use crate::wire;

/// The header of a packet of either family.
pub(super) trait Packet: Sized {
    const FAMILY: Family;

    /// Reads what the checks need of it.
    fn read<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self>;

    /// The same by [`Bytes::read_anew`].
    fn read_anew<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self>;

    /// Source, destination, and TTL or hop limit.
    fn ends(&self) -> ([u8; 16], [u8; 16], u8);

    /// The number that the packet counts bytes with, and how many it says there are: from the IP
    /// header's end on.
    fn body(&self, located: &Located) -> Option<usize>;

    /// Checks what only this family has.
    fn own<B: Bytes + ?Sized>(&self, bytes: &B, located: &Located) -> Result<(), Reject>;

    /// Whether an address in the first bytes names a group.
    fn is_multicast(address: &[u8; 16]) -> bool;

    /// Whether an address in the first bytes can be a sender's.
    fn can_send(address: &[u8; 16]) -> bool;

    /// Checks the packet around a message for `router`; returns the message's length by the header.
    #[inline(always)]
    fn check<B: Bytes + ?Sized>(
        &self,
        bytes: &B,
        located: &Located,
        router: &Router,
    ) -> Result<usize, Reject> {
        if located.fragment {
            return Err(Reject::Fragment);
        }
        self.own(bytes, located)?;
        let (source, destination, _) = self.ends();
        if !same::<Self>(&destination, &router.destination) {
            return Err(Reject::Destination);
        }
        if !Self::can_send(&source) {
            return Err(Reject::Source);
        }
        if same::<Self>(&source, &router.source) {
            return Err(Reject::OwnSource);
        }
        let before = located.message - located.payload;
        self.body(located).and_then(|body| body.checked_sub(before)).ok_or(Reject::Truncated)
    }
}

/// The first bytes of an IPv4 header.
pub(super) struct V4([u8; wire::IPV4_HEADER]);

impl Packet for V4 {
    const FAMILY: Family = Family::V4;

    #[inline(always)]
    fn read<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self> {
        bytes.read(located.ip).map(Self)
    }

    #[inline(always)]
    fn read_anew<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self> {
        bytes.read_anew(located.ip).map(Self)
    }

    #[inline(always)]
    fn ends(&self) -> ([u8; 16], [u8; 16], u8) {
        let ip = &self.0;
        let source = first_four([ip[12], ip[13], ip[14], ip[15]]);
        (source, first_four([ip[16], ip[17], ip[18], ip[19]]), ip[8])
    }

    #[inline(always)]
    fn body(&self, located: &Located) -> Option<usize> {
        let total = usize::from(u16::from_be_bytes([self.0[2], self.0[3]]));
        total.checked_sub(located.payload - located.ip)
    }

    /// The header's checksum, options among it.
    #[inline(always)]
    fn own<B: Bytes + ?Sized>(&self, bytes: &B, located: &Located) -> Result<(), Reject> {
        let mut sum = Sum::new().array(self.0);
        let mut at = located.ip + wire::IPV4_HEADER;
        while at < located.payload {
            sum = sum.array(bytes.read::<4>(at).ok_or(Reject::Truncated)?);
            at += 4;
        }
        if sum.is_whole() { Ok(()) } else { Err(Reject::HeaderChecksum) }
    }

    #[inline(always)]
    fn is_multicast(address: &[u8; 16]) -> bool {
        address[0] & 0xf0 == 0xe0
    }

    #[inline(always)]
    fn can_send(address: &[u8; 16]) -> bool {
        let first = address[0];
        first != 0 && first != 127 && first < 224
    }
}

/// What an IPv6 header says.
pub(super) struct V6 {
    length: [u8; 2],
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

impl Packet for V6 {
    const FAMILY: Family = Family::V6;

    #[inline(always)]
    fn read<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self> {
        let [a, b, _, hop_limit] = bytes.read(located.ip + 4)?;
        let source = bytes.read(located.ip + 8)?;
        let destination = bytes.read(located.ip + 24)?;
        Some(Self { length: [a, b], hop_limit, source, destination })
    }

    #[inline(always)]
    fn read_anew<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self> {
        let [a, b, _, hop_limit] = bytes.read_anew(located.ip + 4)?;
        let source = bytes.read_anew(located.ip + 8)?;
        let destination = bytes.read_anew(located.ip + 24)?;
        Some(Self { length: [a, b], hop_limit, source, destination })
    }

    #[inline(always)]
    fn ends(&self) -> ([u8; 16], [u8; 16], u8) {
        (self.source, self.destination, self.hop_limit)
    }

    #[inline(always)]
    fn body(&self, _: &Located) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(self.length)))
    }

    #[inline(always)]
    fn own<B: Bytes + ?Sized>(&self, _: &B, _: &Located) -> Result<(), Reject> {
        Ok(())
    }

    #[inline(always)]
    fn is_multicast(address: &[u8; 16]) -> bool {
        address[0] == 0xff
    }

    /// RFC 9568 §5.1.2.1 has senders use a link-local address. keepalived can be told to use another,
    /// and the hop limit shows as well that it is a neighbour's.
    #[inline(always)]
    fn can_send(address: &[u8; 16]) -> bool {
        let [high, low] = halves(address);
        // Neither `::` nor `::1`.
        let none_or_loopback =
            high == 0 && low & !u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]) == 0;
        !Self::is_multicast(address) && !none_or_loopback
    }
}

/// Whether two addresses in the first bytes are the same.
#[inline(always)]
pub(super) fn same<P: Packet>(a: &[u8; 16], b: &[u8; 16]) -> bool {
    let four = |a: &[u8; 16]| u32::from_ne_bytes([a[0], a[1], a[2], a[3]]);
    match P::FAMILY {
        Family::V4 => four(a) == four(b),
        Family::V6 => halves(a) == halves(b),
    }
}

/// Which TTLs the sender's adverts may have, and whether it is one that the instance knows.
///
/// # Errors
/// [`Reject::NotAPeer`] where the instance listens to its peers alone.
#[inline(always)]
pub(super) fn sender<R: Rules + ?Sized>(
    source: [u8; 16],
    router: &Router,
    rules: &R,
) -> Result<(TtlBounds, bool), Reject> {
    if router.flags & Router::UNICAST == 0 {
        return Ok((TtlBounds::new(wire::TTL, wire::TTL), true));
    }
    match rules.peer(router.slot, source) {
        Some(bounds) => Ok((bounds, true)),
        None if router.flags & Router::CHECK_SOURCE != 0 => Err(Reject::NotAPeer),
        None => Ok((TtlBounds::ANY, false)),
    }
}

#[inline(always)]
const fn first_four(a: [u8; 4]) -> [u8; 16] {
    [a[0], a[1], a[2], a[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[inline(always)]
const fn halves(a: &[u8; 16]) -> [u64; 2] {
    [
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}
