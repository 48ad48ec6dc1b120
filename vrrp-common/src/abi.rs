//! The values in kernel maps and in the ring buffer.
//!
//! Every type is `repr(C)` without padding or `bool`, its size asserted, so that the kernel program
//! and the daemon, built by two compilers, lay it out alike. [`VERSION`] changes with any of them.

use bytemuck::{Pod, Zeroable};

use crate::bytes::Bytes;
use crate::check::{Checked, Envelope};
use crate::ids::Family;
use crate::reject::Reject;
use crate::time::Instant;

/// The layout's version. The kernel program carries it and the loader refuses another.
pub const VERSION: u32 = 3;
/// Instances one process can hold: 255 VRIDs, two families, eight interfaces, and room.
pub const MAX_SLOTS: u32 = 4096;
/// Bytes of the ring buffer: 4,096 records of 128 bytes with their headers.
pub const RING_BYTES: u32 = 1 << 19;
/// Virtual routers of others that are remembered.
pub const MAX_STRANGERS: u32 = 1024;
/// Addresses one advert can hold; the `ADDRESSES` map has room for as many per slot.
pub const ADDRESSES_PER_SLOT: u32 = 256;

/// The counters of one slot: one per [`Reject`], then these.
pub const COUNTERS_PER_SLOT: u32 = 32;
/// One number per counter: the value of the `COUNTERS` map, and of `REPORTS`, which holds when the
/// last [`Event::REFUSED`] of each reason was written.
pub type PerCounter = [u64; COUNTERS_PER_SLOT as usize];
/// Counter of adverts that passed every check and were reported.
pub const COUNTER_ACCEPTED: u32 = 24;
/// Counter of adverts sent up the slow path because the ring was full.
pub const COUNTER_RING_FULL: u32 = 25;
/// Counter of adverts sent up the slow path for their shape: options, fragments, long lists.
pub const COUNTER_COMPLEX: u32 = 26;
/// Counter of adverts that passed every check and said nothing new: see [`Runtime`].
pub const COUNTER_REPEATED: u32 = 27;
const _: () = assert!(Reject::ALL.len() <= COUNTER_ACCEPTED as usize);

/// At most one [`Event::REFUSED`] per slot and reason in this time; the counters count them all.
pub const REFUSED_EVERY_NANOS: u64 = 250_000_000;

/// Key of the `ROUTERS` map.
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

/// Value of the `ROUTERS` map: what an advert for one instance must agree with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Router {
    /// The instance's number in this process.
    pub slot: u32,
    /// The interval field: seconds in VRRPv2; not compared in VRRPv3.
    pub interval: u16,
    /// 2 or 3.
    pub version: u8,
    /// RFC 2338 authentication type, 0 or 1.
    pub auth_type: u8,
    /// The password, padded with zeros.
    pub password: [u8; 8],
    /// Our own source address, in the first bytes.
    pub source: [u8; 16],
    /// How many addresses we advertise.
    pub addresses: u8,
    /// [`Router::SAME_ADDRESSES`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl Router {
    /// Any difference between the address lists refuses the advert (RFC 3768 §7.1).
    pub const SAME_ADDRESSES: u8 = 1;
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
    pub reserved: [u8; 5],
}

/// Words of a [`Meaning`].
pub const MEANING_WORDS: usize = size_of::<Meaning>() / 8;

impl Meaning {
    /// The meaning of an advert that passed every check.
    #[inline(always)]
    pub const fn new(envelope: &Envelope, checked: &Checked) -> Self {
        Self {
            source: envelope.source,
            mac: envelope.mac,
            interval: checked.interval,
            priority: checked.priority,
            form: checked.form as u8,
            agreement: checked.agreement as u8,
            reserved: [0; 5],
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
            reserved: [0; 5],
        }
    }

    /// The same as words, as they stand in [`Runtime::meaning`].
    #[inline(always)]
    pub fn words(&self) -> [u64; MEANING_WORDS] {
        bytemuck::cast(*self)
    }
}

/// Value of the `RUNTIME` map: an advert that is only to be noted when it is repeated.
///
/// User space maps it and writes the first half, the kernel program the second; each is a cache line.
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
    /// The watch for which a kernel timer runs, 0 for none.
    pub armed: u64,
    /// Zero.
    pub reserved_kernel: [u64; 6],
}

/// An [`Event::EXPIRED`] in detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When the watched advert last came.
    pub last_seen: Instant,
    /// The [`Runtime::watch`] whose advert stayed away.
    pub watch: u64,
}

const HEAD: usize = 40;

/// One record in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// When the frame arrived or the timer ran out, as `CLOCK_MONOTONIC` nanoseconds.
    pub at: u64,
    /// [`Event::ADVERT`], [`Event::REFUSED`] or [`Event::EXPIRED`].
    pub kind: u32,
    /// The instance.
    pub slot: u32,
    /// The interface.
    pub ifindex: u32,
    /// The [`Reject`] of a refused one.
    pub reason: u32,
    /// The interval field of an accepted one.
    pub interval: u16,
    /// Bytes of `head` that are set.
    pub head_len: u8,
    /// 4 or 6.
    pub family: u8,
    /// The VRID.
    pub vrid: u8,
    /// The sender's priority, of an accepted one.
    pub priority: u8,
    /// The [`crate::wire::ChecksumForm`], of an accepted one.
    pub form: u8,
    /// The [`crate::check::Agreement`], of an accepted one.
    pub agreement: u8,
    /// The sender; of an expiry, its details.
    pub source: [u8; 16],
    /// Where it was sent.
    pub destination: [u8; 16],
    /// TTL or hop limit.
    pub ttl: u8,
    /// Zero.
    pub reserved: u8,
    /// The Ethernet source.
    pub mac: [u8; 6],
    /// The message's first bytes, where they say more than the fields: a refused advert, or one whose
    /// addresses are not quite ours.
    pub head: [u8; HEAD],
}

impl Event {
    /// An advert that passed every check.
    pub const ADVERT: u32 = 1;
    /// An advert that did not, or a sample of many.
    pub const REFUSED: u32 = 2;
    /// A watched advert stayed away for Master_Down_Interval: [`Event::expiry`].
    pub const EXPIRED: u32 = 3;
    /// Bytes kept of a message: its header and eight IPv4 addresses.
    pub const HEAD: usize = HEAD;

    /// The record of a judged advert, without the message's first bytes.
    #[inline(always)]
    pub fn new(
        at: u64,
        ifindex: u32,
        family: Family,
        slot: u32,
        envelope: &Envelope,
        verdict: &Result<Checked, Reject>,
    ) -> Self {
        let mut event = Self {
            at,
            kind: Self::ADVERT,
            slot,
            ifindex,
            reason: 0,
            interval: 0,
            head_len: 0,
            family: family as u8,
            vrid: envelope.vrid,
            priority: 0,
            form: 0,
            agreement: 0,
            source: envelope.source,
            destination: envelope.destination,
            ttl: envelope.ttl,
            reserved: 0,
            mac: envelope.mac,
            head: [0; Self::HEAD],
        };
        match verdict {
            Ok(checked) => {
                event.interval = checked.interval;
                event.priority = checked.priority;
                event.form = checked.form as u8;
                event.agreement = checked.agreement as u8;
            }
            Err(reason) => {
                event.kind = Self::REFUSED;
                event.reason = reason.index();
            }
        }
        event
    }

    /// The record of a watched advert that stayed away, at `at`.
    #[inline(always)]
    pub fn expired(at: u64, slot: u32, last_seen: u64, watch: u64) -> Self {
        let mut event = Self::zeroed();
        event.at = at;
        event.kind = Self::EXPIRED;
        event.slot = slot;
        let details: [u8; 16] = bytemuck::cast([last_seen, watch]);
        event.source = details;
        event
    }

    /// The details of an [`Event::EXPIRED`]; nothing for another record.
    pub fn expiry(&self) -> Option<Expiry> {
        if self.kind != Self::EXPIRED {
            return None;
        }
        let [last_seen, watch]: [u64; 2] = bytemuck::cast(self.source);
        Some(Expiry { last_seen: Instant::from_nanos(last_seen), watch })
    }

    /// Copies the first bytes of the message at offset `at` of a frame.
    #[inline(always)]
    pub fn keep_head<B: Bytes + ?Sized>(&mut self, bytes: &B, at: usize) {
        let mut i = 0;
        while i < Self::HEAD / 4 {
            let Some(word) = bytes.read_anew::<4>(at + 4 * i) else {
                break;
            };
            self.head[4 * i] = word[0];
            self.head[4 * i + 1] = word[1];
            self.head[4 * i + 2] = word[2];
            self.head[4 * i + 3] = word[3];
            self.head_len = (4 * i + 4) as u8;
            i += 1;
        }
    }
}

const _: () = {
    assert!(size_of::<RouterKey>() == 8);
    assert!(size_of::<Router>() == 36);
    assert!(size_of::<AddressKey>() == 8);
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
    unsafe impl aya::Pod for super::StrangerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Stranger {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Event {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Runtime {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Agreement;
    use crate::wire::ChecksumForm;

    fn judged() -> (Envelope, Checked) {
        let envelope = Envelope {
            source: [192, 0, 2, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            destination: [0; 16],
            ttl: 255,
            vrid: 51,
            mac: [2, 0, 0, 0, 0, 0x65],
        };
        let checked = Checked {
            priority: 150,
            interval: 100,
            form: ChecksumForm::PseudoHeader,
            agreement: Agreement::Exact,
        };
        (envelope, checked)
    }

    #[test]
    fn a_record_means_what_the_advert_means() {
        let (envelope, checked) = judged();
        let event = Event::new(7, 2, Family::V4, 3, &envelope, &Ok(checked));
        assert_eq!(Meaning::of(&event), Meaning::new(&envelope, &checked));
        assert_eq!(event.expiry(), None);
    }

    #[test]
    fn whatever_matters_changes_the_words() {
        let (envelope, checked) = judged();
        let words = Meaning::new(&envelope, &checked).words();
        let mut others = [(envelope, checked); 6];
        others[0].0.source[3] ^= 1;
        others[1].0.mac[5] ^= 1;
        others[2].1.interval += 1;
        others[3].1.priority -= 1;
        others[4].1.form = ChecksumForm::Message;
        others[5].1.agreement = Agreement::Overlap;
        for (envelope, checked) in others {
            assert_ne!(
                Meaning::new(&envelope, &checked).words(),
                words,
                "{envelope:?} {checked:?}"
            );
        }
    }

    #[test]
    fn an_expiry_comes_back() {
        let event = Event::expired(9, 3, 5, u64::MAX);
        assert_eq!((event.at, event.slot), (9, 3));
        let details = Expiry { last_seen: Instant::from_nanos(5), watch: u64::MAX };
        assert_eq!(event.expiry(), Some(details));
    }
}
