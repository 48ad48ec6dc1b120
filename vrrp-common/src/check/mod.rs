//! The one validator: is this advert good, and if not, why not.
//!
//! XDP, the slow path, the fuzzers and `xvrrp` itself call [`judge`]; nothing else decides about an
//! advert. The order follows RFC 9568 §7.1: what is cheap and about the packet comes before what
//! needs our settings.

mod digest;
mod message;
mod packet;

use self::message::{Outside, Stop};
use self::packet::Packet;
use crate::abi::{Router, TtlBounds};
use crate::bytes::{Bytes, Tail};
use crate::checksum;
use crate::frame::Located;
use crate::ids::Family;
use crate::reject::Reject;
use crate::wire::ChecksumForm;

pub use self::digest::digest;

/// What the validator asks about our own configuration, and about what was heard before: maps in the
/// kernel, tables in user space.
pub trait Rules {
    /// The instance with this VRID on the frame's interface; of several the one whose adverts go to
    /// `destination`, in the first bytes, where the caller knows more than one.
    fn router(&self, family: Family, vrid: u8, destination: &[u8; 16]) -> Option<&Router>;

    /// The position of an address in the instance's list.
    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32>;

    /// The same for IPv6.
    fn address_v6(&self, slot: u32, address: [u8; 16]) -> Option<u32>;

    /// Which TTLs a unicast peer's adverts may have; nothing for a sender that is no peer.
    fn peer(&self, slot: u32, source: [u8; 16]) -> Option<TtlBounds>;

    /// Whether the packet's authentication header fits it and is new; nothing where that can't be told.
    fn unsealed(&self, router: &Router, located: &Located) -> Option<Result<(), Reject>>;

    /// Whether the advert accepted last came from the packet's sender; nothing where that can't be told.
    fn came_last(&self, slot: u32, located: &Located) -> Option<bool>;
}

/// How an advert's addresses relate to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Agreement {
    /// The same set, in whatever order.
    Exact = 0,
    /// At least one in common: a reload that has not reached every router yet.
    Overlap = 1,
    /// Not the same set, and by [`Router::SKIP_ADDRESSES`] nobody asks.
    Unasked = 2,
}

impl Agreement {
    /// The agreement that a number in a ring record names.
    pub const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Exact,
            2 => Self::Unasked,
            _ => Self::Overlap,
        }
    }

    /// The number by which an advert's list of addresses is told from another one: its [`digest()`] where
    /// another list would be news. Of our own list only the order could differ, and where nobody asks for
    /// the addresses, another list says nothing.
    #[inline(always)]
    pub fn list(self, digest: impl FnOnce() -> u32) -> u32 {
        match self {
            Self::Exact | Self::Unasked => 0,
            Self::Overlap => digest(),
        }
    }
}

/// An advert that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The sender's priority; 0 releases.
    pub priority: u8,
    /// The interval field: seconds in VRRPv2, centiseconds (1 to 4095) in VRRPv3.
    pub interval: u16,
    /// Which bytes the checksum covered.
    pub form: ChecksumForm,
    /// Whether the addresses are ours.
    pub agreement: Agreement,
    /// Unset for the advert of a sender that is not among the instance's unicast peers.
    pub listed: bool,
}

/// Who sent a VRRP packet to whom, before anything in it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The IP source in the first bytes.
    pub source: [u8; 16],
    /// The IP destination in the first bytes.
    pub destination: [u8; 16],
    /// TTL or hop limit.
    pub ttl: u8,
    /// The VRID byte.
    pub vrid: u8,
    /// The Ethernet source.
    pub mac: [u8; 6],
}

impl Envelope {
    /// Reads it from a frame; nothing where that ends before the VRID.
    ///
    /// The kernel program reads it only when there is something to tell: 50 bytes that are carried
    /// through all checks are more than its registers and its stack hold.
    #[inline(always)]
    pub fn read<B: Bytes + ?Sized>(bytes: &B, located: &Located) -> Option<Self> {
        let vrid = bytes.read_anew::<2>(located.message)?[1];
        let mac = bytes.read_anew::<6>(6)?;
        let (source, destination, ttl) = match located.family {
            Family::V4 => packet::V4::read_anew(bytes, located)?.ends(),
            Family::V6 => packet::V6::read_anew(bytes, located)?.ends(),
        };
        Some(Self { source, destination, ttl, vrid, mac })
    }
}

/// What is to be done about a VRRP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Too short to name a VRID, or sent to a group that may be another instance's of that VRID.
    NotOurs,
    /// No instance of ours has this VRID here.
    Stranger,
    /// The caller can't finish: too many addresses for its loop, or [`Rules`] can't tell. The slow path
    /// can.
    Unfinished {
        /// The instance.
        slot: u32,
    },
    /// For one of our instances, with the verdict.
    Ours {
        /// The instance.
        slot: u32,
        /// Good, or why not.
        verdict: Result<Checked, Reject>,
    },
}

/// Judges the VRRP packet that [`crate::frame::locate`] found.
///
/// `WORDS` bounds the address loop at `32 * WORDS`: 1 in the kernel, where the verifier walks the
/// loop, 8 elsewhere, enough for the 255 that a message can hold.
#[inline(always)]
pub fn judge<B, R, const WORDS: usize>(bytes: &B, located: &Located, rules: &R) -> Judgement
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
{
    // Two branches that never meet: each family's offsets and lengths stay constants in its own.
    match located.family {
        Family::V4 => judge_as::<_, _, packet::V4, WORDS>(bytes, located, rules),
        Family::V6 => judge_as::<_, _, packet::V6, WORDS>(bytes, located, rules),
    }
}

#[inline(always)]
fn judge_as<B, R, P, const WORDS: usize>(bytes: &B, located: &Located, rules: &R) -> Judgement
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
    P: Packet,
{
    let (Some(packet), Some(vrid)) = (P::read(bytes, located), bytes.byte(located.message + 1))
    else {
        return Judgement::NotOurs;
    };
    let (_, to, _) = packet.ends();
    let Some(router) = rules.router(P::FAMILY, vrid, &to) else {
        return Judgement::Stranger;
    };
    let slot = router.slot;
    if P::is_multicast(&to) && !packet::same::<P>(&to, &router.destination) {
        if router.flags & Router::SHARED != 0 {
            return Judgement::NotOurs;
        }
        // Before anything else is asked: whoever listens there judges the rest.
        return Judgement::Ours { slot, verdict: Err(Reject::Group) };
    }
    let verdict = match verdict::<_, _, _, WORDS>(bytes, located, rules, router, &packet) {
        Ok(checked) => Ok(checked),
        Err(Stop::Refused(reason)) => Err(reason),
        Err(Stop::Unfinished) => return Judgement::Unfinished { slot },
    };
    Judgement::Ours { slot, verdict }
}

/// Judges a packet that is for `router`, or might be.
#[inline(always)]
fn verdict<B, R, P, const WORDS: usize>(
    bytes: &B,
    located: &Located,
    rules: &R,
    router: &Router,
    packet: &P,
) -> Result<Checked, Stop>
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
    P: Packet,
{
    let len = packet.check(bytes, located, router)?;
    let (source, destination, ttl) = packet.ends();
    let (bounds, listed) = packet::sender::<R>(source, router, rules)?;
    if !bounds.hold(ttl) {
        return Err(Reject::Ttl.into());
    }
    // Or the verifier would walk the rest once for each.
    let listed = bytes.forget(u32::from(listed)) != 0;
    let pseudo_header = checksum::pseudo_header(P::FAMILY, &source, &destination, len as u16);
    let message = Tail::new(bytes, located.message);
    let outside = Outside { located, router, family: P::FAMILY, len, pseudo_header, listed };
    let checked = message::check::<_, R, WORDS>(&message, &outside, rules)?;
    if located.sealed {
        rules.unsealed(router, located).ok_or(Stop::Unfinished)??;
    }
    Ok(checked)
}
