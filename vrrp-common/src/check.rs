//! The one validator: is this advert good, and if not, why not.
//!
//! XDP, the slow path, the fuzzers and `xvrrp` itself call [`judge`]; nothing else decides about an
//! advert. The order follows RFC 9568 §7.1: what is cheap and about the packet comes before what
//! needs our settings.

use crate::abi::Router;
use crate::bytes::{Bytes, Tail};
use crate::checksum::{self, Sum};
use crate::frame::{self, Located};
use crate::ids::{Family, Version};
use crate::reject::Reject;
use crate::wire::{self, ChecksumForm};

/// What the validator asks about our own configuration: maps in the kernel, tables in user space.
pub trait Rules {
    /// The instance with this VRID on the frame's interface.
    fn router(&self, family: Family, vrid: u8) -> Option<&Router>;

    /// The position of an address in the instance's list.
    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32>;
}

/// How an advert's addresses relate to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Agreement {
    /// The same set, in whatever order.
    Exact = 0,
    /// At least one in common: a reload that has not reached every router yet.
    Overlap = 1,
}

impl Agreement {
    /// The agreement that a number in a ring record names.
    pub const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Exact,
            _ => Self::Overlap,
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

/// What is to be done about a VRRP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Too short to name a VRID, or sent to a group that is not VRRP's: not our business.
    NotOurs,
    /// No instance of ours has this VRID here.
    Stranger(Envelope),
    /// Too many addresses for the caller's loop; the slow path decides.
    TooLong {
        /// The instance.
        slot: u32,
    },
    /// For one of our instances, with the verdict.
    Ours {
        /// Who sent it.
        envelope: Envelope,
        /// The instance.
        slot: u32,
        /// Good, or why not.
        verdict: Result<Checked, Reject>,
    },
}

/// Judges the VRRP packet that [`frame::locate`] found.
///
/// `WORDS` bounds the address loop at `32 * WORDS`: 1 in the kernel, where the verifier walks the
/// loop, 8 elsewhere, enough for the 255 that a message can hold.
#[inline(always)]
pub fn judge<B, R, const WORDS: usize>(bytes: &B, located: &Located, rules: &R) -> Judgement
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
{
    let Some(ip) = bytes.read::<{ wire::IPV4_HEADER }>(located.ip) else {
        return Judgement::NotOurs;
    };
    let Some(vrid) = bytes.byte(located.message + 1) else {
        return Judgement::NotOurs;
    };
    let Some(mac) = bytes.read::<6>(6) else {
        return Judgement::NotOurs;
    };
    let envelope = Envelope {
        source: first_four([ip[12], ip[13], ip[14], ip[15]]),
        destination: first_four([ip[16], ip[17], ip[18], ip[19]]),
        ttl: ip[8],
        vrid,
        mac,
    };
    let to = [ip[16], ip[17], ip[18], ip[19]];
    if is_multicast(to[0]) && to != wire::GROUP_V4 {
        return Judgement::NotOurs;
    }
    let Some(router) = rules.router(located.family, vrid) else {
        return Judgement::Stranger(envelope);
    };
    let slot = router.slot;
    let verdict = match ipv4(bytes, located, &ip, router) {
        Ok(len) => {
            let message = Tail::new(bytes, located.message);
            let outside = Outside { envelope: &envelope, router, family: located.family, len };
            match advert::<_, R, WORDS>(&message, &outside, rules) {
                Some(verdict) => verdict,
                None => return Judgement::TooLong { slot },
            }
        }
        Err(reason) => Err(reason),
    };
    Judgement::Ours { envelope, slot, verdict }
}

/// Checks the IPv4 header of a packet for `router`; returns the length of the message behind it.
#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(
    bytes: &B,
    located: &Located,
    ip: &[u8; wire::IPV4_HEADER],
    router: &Router,
) -> Result<usize, Reject> {
    if frame::is_fragment([ip[6], ip[7]]) {
        return Err(Reject::Fragment);
    }
    let mut sum = Sum::new().array(*ip);
    let mut at = located.ip + wire::IPV4_HEADER;
    while at < located.message {
        sum = sum.array(bytes.read::<4>(at).ok_or(Reject::Truncated)?);
        at += 4;
    }
    if !sum.is_whole() {
        return Err(Reject::HeaderChecksum);
    }
    if !is_multicast(ip[16]) {
        return Err(Reject::Destination);
    }
    let source = [ip[12], ip[13], ip[14], ip[15]];
    if source[0] == 0 || source[0] == 127 || source[0] >= 224 {
        return Err(Reject::Source);
    }
    if first_four(source) == router.source {
        return Err(Reject::OwnSource);
    }
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let header = located.message - located.ip;
    total.checked_sub(header).ok_or(Reject::Truncated)
}

/// What is known of a message from outside it.
struct Outside<'a> {
    envelope: &'a Envelope,
    router: &'a Router,
    family: Family,
    /// The message's length by the IP header.
    len: usize,
}

/// Checks a VRRP message; `None` where it has more addresses than the loop takes.
#[inline(always)]
fn advert<B, R, const WORDS: usize>(
    message: &B,
    outside: &Outside<'_>,
    rules: &R,
) -> Option<Result<Checked, Reject>>
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
{
    let Some(header) = message.read::<{ wire::HEADER }>(0) else {
        return Some(Err(Reject::Truncated));
    };
    let version = match preamble(&header, outside) {
        Ok(version) => version,
        Err(reason) => return Some(Err(reason)),
    };
    let count = usize::from(header[3]);
    if count > 32 * WORDS {
        return None;
    }
    let mut sum = Sum::new().array(header);
    let mut seen = [0u32; WORDS];
    let mut i = 0;
    // Both bounds: the constant one is for the verifier.
    while i < 32 * WORDS && i < count {
        let Some(address) = message.read::<4>(wire::HEADER + 4 * i) else {
            return Some(Err(Reject::Truncated));
        };
        sum = sum.array(address);
        if let Some(at) = rules.address_v4(outside.router.slot, address) {
            // Positions meet in one bit only where we have more addresses than the loop takes, and
            // then the lists differ whatever the bits say.
            seen[(at as usize / 32) % WORDS] |= 1 << (at % 32);
        }
        i += 1;
    }
    let matched = seen.iter().map(|word| word.count_ones()).sum();
    Some(whole(message, outside, version, sum, matched))
}

/// The checks that need the whole message, given the sum of all but the trailer and how many of the
/// addresses are ours.
#[inline(always)]
fn whole<B: Bytes + ?Sized>(
    message: &B,
    outside: &Outside<'_>,
    version: Version,
    sum: Sum,
    matched: u32,
) -> Result<Checked, Reject> {
    let header = message.read_anew::<{ wire::HEADER }>(0).ok_or(Reject::Truncated)?;
    let count = header[3];
    let mut sum = sum;
    let mut trailer = [0; wire::AUTH_DATA];
    if matches!(version, Version::V2) {
        let at = wire::HEADER + 4 * usize::from(count);
        trailer = message.read_anew::<{ wire::AUTH_DATA }>(at).ok_or(Reject::Truncated)?;
        sum = sum.array(trailer);
    }
    let form = form_of(version, sum, outside).ok_or(Reject::Checksum)?;
    let interval = interval_and_auth(version, &header, &trailer, outside.router)?;
    let agreement = agreement(version, u32::from(count), matched, outside.router)?;
    Ok(Checked { priority: header[2], interval, form, agreement })
}

/// The checks that need only the header: RFC 9568 §7.1, first list.
#[inline(always)]
fn preamble(header: &[u8; wire::HEADER], outside: &Outside<'_>) -> Result<Version, Reject> {
    let Outside { envelope, router, family, len } = *outside;
    if envelope.ttl != wire::TTL {
        return Err(Reject::Ttl);
    }
    let version = match Version::new(header[0] >> 4) {
        Some(version) if version as u8 == router.version => version,
        _ => return Err(Reject::Version),
    };
    if header[0] & 0x0f != wire::TYPE_ADVERTISEMENT {
        return Err(Reject::Type);
    }
    if len != wire::message_len(version, family, usize::from(header[3])) {
        return Err(Reject::Length);
    }
    Ok(version)
}

/// The form in which the checksum holds, if it does in one that the version knows.
#[inline(always)]
fn form_of(version: Version, sum: Sum, outside: &Outside<'_>) -> Option<ChecksumForm> {
    let Outside { envelope, family, len, .. } = *outside;
    if matches!(version, Version::V3) {
        let pseudo =
            checksum::pseudo_header(family, &envelope.source, &envelope.destination, len as u16);
        if sum.plus(pseudo).is_whole() {
            return Some(ChecksumForm::PseudoHeader);
        }
    }
    let alone = matches!(version, Version::V2) || matches!(family, Family::V4);
    (alone && sum.is_whole()).then_some(ChecksumForm::Message)
}

/// Authentication (RFC 2338 §5.3.6) and the interval (RFC 3768 §7.1, RFC 9568 erratum 8301).
#[inline(always)]
fn interval_and_auth(
    version: Version,
    header: &[u8; wire::HEADER],
    trailer: &[u8; wire::AUTH_DATA],
    router: &Router,
) -> Result<u16, Reject> {
    match version {
        Version::V2 => {
            if header[4] != router.auth_type {
                return Err(Reject::AuthType);
            }
            let same = u64::from_ne_bytes(*trailer) == u64::from_ne_bytes(router.password);
            if router.auth_type == wire::AUTH_PASS && !same {
                return Err(Reject::AuthData);
            }
            let interval = u16::from(header[5]);
            if interval != router.interval {
                return Err(Reject::Interval);
            }
            Ok(interval)
        }
        Version::V3 => match u16::from_be_bytes([header[4] & 0x0f, header[5]]) {
            0 => Err(Reject::Interval),
            interval => Ok(interval),
        },
    }
}

/// How the addresses relate, given how many there are and how many different ones are ours.
#[inline(always)]
fn agreement(
    version: Version,
    count: u32,
    matched: u32,
    router: &Router,
) -> Result<Agreement, Reject> {
    let ours = u32::from(router.addresses);
    if count == 0 && (matches!(version, Version::V3) || ours != 0) {
        return Err(Reject::NoAddress);
    }
    if matched == count && matched == ours {
        return Ok(Agreement::Exact);
    }
    // An instance without addresses of its own has nothing to compare with.
    if matched == 0 && ours != 0 {
        return Err(Reject::ForeignCluster);
    }
    if router.flags & Router::SAME_ADDRESSES != 0 {
        return Err(Reject::Addresses);
    }
    Ok(Agreement::Overlap)
}

#[inline(always)]
const fn is_multicast(first: u8) -> bool {
    first & 0xf0 == 0xe0
}

#[inline(always)]
const fn first_four(a: [u8; 4]) -> [u8; 16] {
    [a[0], a[1], a[2], a[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
