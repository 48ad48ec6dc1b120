//! The values in kernel maps and in the ring buffer.
//!
//! Every type is `repr(C)` without padding or `bool`, its size asserted, so that the kernel program
//! and the daemon, built by two compilers, lay it out alike. [`VERSION`] changes with any of them.

mod event;
pub mod index;

use bytemuck::{Pod, Zeroable};

use crate::check::{Checked, Envelope};
use crate::ids::Family;
use crate::reject::Reject;

pub use self::event::Event;
pub use self::index::ROWS_PER_SLOT;

/// The layout's version. The kernel program carries it and the loader refuses another.
pub const VERSION: u32 = 9;
/// Instances one process can hold: 255 VRIDs, two families, eight interfaces, and room.
pub const MAX_SLOTS: u32 = 4096;
/// Slots next to each other that share one kernel timer.
///
/// Each time it runs out all of them are looked at, which takes half a microsecond.
pub const SLOTS_PER_TIMER: u32 = 32;
/// Bytes of the largest ring buffer: 4,369 records of 112 bytes with their headers of 8.
pub const RING_BYTES: u32 = 1 << 19;
/// Virtual routers of others that are remembered.
pub const MAX_STRANGERS: u32 = 1024;
/// Room for the addresses of each family, in the mean over all slots, as far as that is not too much
/// memory: an advert can hold 255.
pub const ADDRESSES_PER_SLOT: u32 = 256;

/// Room for unicast peers, in the mean over all slots.
pub const PEERS_PER_SLOT: u32 = 16;

/// The counters of one slot: one per [`Reject`], then these.
pub const COUNTERS_PER_SLOT: u32 = 32;
/// One number per counter: the value of the `COUNTERS` map, and of `REPORTS`, which holds when the
/// last [`Event::REFUSED`] of each reason was written.
pub type PerCounter = [u64; COUNTERS_PER_SLOT as usize];
/// Counter of adverts that passed every check and were reported.
pub const COUNTER_ACCEPTED: u32 = 24;
/// Counter of adverts sent up the slow path because the ring was full.
pub const COUNTER_RING_FULL: u32 = 25;
/// Counter of adverts sent up the slow path: for their shape (IPv4 options, fragments, long lists), or
/// because only user space can finish the judgement (authentication headers, [`Router::SKIP_ADDRESSES`]).
/// IPv6 extension headers go the same way without being counted here.
pub const COUNTER_COMPLEX: u32 = 26;
/// Counter of adverts that passed every check and said nothing new. The kernel program keeps it in
/// [`Runtime::repeated`], which it has at hand then.
pub const COUNTER_REPEATED: u32 = 27;
const _: () = assert!(Reject::ALL.len() <= COUNTER_ACCEPTED as usize);

/// At most one [`Event::REFUSED`] per slot and reason in this time; the counters count them all.
pub const REFUSED_EVERY_NANOS: u64 = 250_000_000;

/// Which router an advert is for. [`index`] says where it leads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct RouterKey {
    /// The interface the advert arrived on.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u8,
    /// The virtual router.
    pub vrid: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl RouterKey {
    /// The key of an instance.
    #[inline(always)]
    pub const fn new(ifindex: u32, family: Family, vrid: u8) -> Self {
        Self { ifindex, family: family as u8, vrid, reserved: [0; 2] }
    }
}

/// Value of the `ROUTERS` map, one of [`index::ROWS_PER_SLOT`] for each slot: what an advert for one instance must
/// agree with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Router {
    /// The instance's number in this process.
    pub slot: u32,
    /// The interval field: seconds in VRRPv2; not compared in VRRPv3.
    pub interval: u16,
    /// 2 or 3.
    pub version: u8,
    /// RFC 2338 authentication type, 0 to 2.
    pub auth_type: u8,
    /// The password or the authentication header's key, padded with zeros.
    pub password: [u8; 8],
    /// Our own source address, in the first bytes.
    pub source: [u8; 16],
    /// Where adverts for us are sent, in the first bytes: a group, or our own address with
    /// [`Router::UNICAST`].
    pub destination: [u8; 16],
    /// How many addresses we advertise.
    pub addresses: u8,
    /// [`Router::SAME_ADDRESSES`] and its kin.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// One of the addresses, in the first bytes, or zeros: most instances have no other, and then an
    /// advert is judged without another look into memory.
    pub first: [u8; 16],
}

impl Router {
    /// Any difference between the address lists refuses the advert (RFC 3768 §7.1).
    pub const SAME_ADDRESSES: u8 = 1;
    /// Adverts come to us alone. TTL and hop limit are the peer's affair, see [`TtlBounds`].
    pub const UNICAST: u8 = 2;
    /// With [`Router::UNICAST`]: only the peers' adverts are accepted.
    pub const CHECK_SOURCE: u8 = 4;
    /// The addresses are not compared where the advert accepted before came from the same sender.
    pub const SKIP_ADDRESSES: u8 = 8;
    /// The first IPv6 address must be link-local (RFC 9568 §5.2.9, erratum 8300).
    pub const LINK_LOCAL_FIRST: u8 = 16;
    /// Other instances have its VRID on its interface, and other groups.
    pub const SHARED: u8 = 32;
    /// It is one of those others: the kernel program does not know it.
    pub const BESIDE: u8 = 64;

    /// Whether an IPv4 address is [`Router::first`].
    #[inline(always)]
    pub fn is_first_v4(&self, address: [u8; 4]) -> bool {
        let [a, b, c, d, ..] = self.first;
        let first = u32::from_ne_bytes([a, b, c, d]);
        first != 0 && first == u32::from_ne_bytes(address)
    }

    /// Whether an IPv6 address is [`Router::first`].
    #[inline(always)]
    pub fn is_first_v6(&self, address: [u8; 16]) -> bool {
        let first = u128::from_ne_bytes(self.first);
        first != 0 && first == u128::from_ne_bytes(address)
    }
}

/// Key of the `ADDRESSES` map, whose value is the address's position as `u32`. IPv4; short, since the
/// kernel hashes it for each address of each advert.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct AddressKey {
    /// The instance.
    pub slot: u32,
    /// The address.
    pub address: [u8; 4],
}

/// Key of the `ADDRESSES6` map, whose value is the address's position as `u32`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Address6Key {
    /// The instance.
    pub slot: u32,
    /// The address.
    pub address: [u8; 16],
}

/// Key of the `PEERS` map: one of the senders that a [`Router::UNICAST`] instance knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PeerKey {
    /// The instance.
    pub slot: u32,
    /// The peer, in the first bytes.
    pub address: [u8; 16],
}

/// Value of the `PEERS` map: which TTLs or hop limits the peer's adverts may have.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TtlBounds {
    /// The least.
    pub min: u8,
    /// The greatest.
    pub max: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl TtlBounds {
    /// Any.
    pub const ANY: Self = Self::new(0, u8::MAX);

    /// From `min` to `max`, both among them.
    #[inline(always)]
    pub const fn new(min: u8, max: u8) -> Self {
        Self { min, max, reserved: [0; 2] }
    }

    /// Says whether a TTL is within.
    #[inline(always)]
    pub const fn hold(self, ttl: u8) -> bool {
        self.min <= ttl && ttl <= self.max
    }
}

/// Key of the `STRANGERS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct StrangerKey {
    /// The interface.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u8,
    /// The VRID that is not ours.
    pub vrid: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The sender.
    pub source: [u8; 16],
}

/// Value of the `STRANGERS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Stranger {
    /// When the last packet came, as `CLOCK_MONOTONIC` nanoseconds.
    pub last: u64,
    /// How many came.
    pub count: u64,
}

/// What an advert says, as far as the engine cares: two with the same meaning are one advert repeated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Meaning {
    /// The sender in the first bytes.
    pub source: [u8; 16],
    /// The Ethernet source.
    pub mac: [u8; 6],
    /// The interval field.
    pub interval: u16,
    /// The sender's priority.
    pub priority: u8,
    /// The [`crate::wire::ChecksumForm`].
    pub form: u8,
    /// The [`crate::check::Agreement`].
    pub agreement: u8,
    /// Zero.
    pub reserved: u8,
    /// The number of the list of addresses, by [`crate::check::Agreement::list`].
    pub list: u32,
}

/// Words of a [`Meaning`].
pub const MEANING_WORDS: usize = size_of::<Meaning>() / 8;

impl Meaning {
    /// The meaning of an advert that passed every check, whose list of addresses has this number.
    #[inline(always)]
    pub const fn new(envelope: &Envelope, checked: &Checked, list: u32) -> Self {
        Self {
            source: envelope.source,
            mac: envelope.mac,
            interval: checked.interval,
            priority: checked.priority,
            form: checked.form as u8,
            agreement: checked.agreement as u8,
            reserved: 0,
            list,
        }
    }

    /// The meaning of the advert that an [`Event::ADVERT`] reports.
    pub const fn of(event: &Event) -> Self {
        Self {
            source: event.source,
            mac: event.mac,
            interval: event.interval,
            priority: event.priority,
            form: event.form,
            agreement: event.agreement,
            reserved: 0,
            list: event.list,
        }
    }

    /// The same as words, as they stand in [`Runtime::meaning`].
    #[inline(always)]
    pub fn words(&self) -> [u64; MEANING_WORDS] {
        bytemuck::cast(*self)
    }

    /// The meaning that [`Meaning::words`] were made of.
    pub fn from_words(words: [u64; MEANING_WORDS]) -> Self {
        bytemuck::cast(words)
    }
}

/// Value of the `RUNTIME` map: an advert that is only to be noted when it is repeated.
///
/// User space maps it and writes the first half, the kernel program the second; each is a cache line. Only
/// a new watch and a new instance in the slot have user space write to the second.
/// Every word is read and written whole. Whoever writes `watch` reads `last_seen` after, and whoever
/// writes `last_seen` reads `watch` after, with a full barrier between: so an advert that arrives
/// while the watch ends is seen by one of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Runtime {
    /// The watch's number, never used twice; 0: nothing is watched.
    pub watch: u64,
    /// Master_Down_Interval in nanoseconds.
    pub down: u64,
    /// The sender's interval in nanoseconds.
    pub interval: u64,
    /// Zero.
    pub reserved: u64,
    /// The [`Meaning`] that is watched.
    pub meaning: [u64; MEANING_WORDS],
    /// When the advert last came, as `CLOCK_MONOTONIC` nanoseconds.
    pub last_seen: u64,
    /// The watch for which its group's timer runs, 0 for none.
    pub armed: u64,
    /// How many adverts were noted and not reported.
    pub repeated: u64,
    /// [`Arrivals::missed`](crate::arrivals::Arrivals::missed).
    pub missed: u64,
    /// [`Arrivals::max`](crate::arrivals::Arrivals::max).
    pub max: u64,
    /// [`Arrivals::min_inverted`](crate::arrivals::Arrivals::min_inverted).
    pub min_inverted: u64,
    /// Zero.
    pub reserved_kernel: [u64; 2],
}

const _: () = {
    assert!(size_of::<RouterKey>() == 8);
    assert!(size_of::<Router>() == 68);
    assert!(size_of::<AddressKey>() == 8);
    assert!(size_of::<Address6Key>() == 20);
    assert!(size_of::<PeerKey>() == 20);
    assert!(size_of::<TtlBounds>() == 4);
    assert!(size_of::<StrangerKey>() == 24);
    assert!(size_of::<Stranger>() == 16);
    assert!(size_of::<Event>() == 112);
    assert!(size_of::<Meaning>() == 32);
    assert!(size_of::<Runtime>() == 128);
    assert!(core::mem::offset_of!(Runtime, last_seen) == 64);
};

#[cfg(feature = "user")]
mod user {
    #![expect(unsafe_code, reason = "aya::Pod is an unsafe marker trait")]

    // SAFETY: bytemuck has checked each type to be plain old data: repr(C), no padding, any bits valid.
    unsafe impl aya::Pod for super::RouterKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Router {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::AddressKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Address6Key {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::PeerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::TtlBounds {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StrangerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Stranger {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Event {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Runtime {}
}
