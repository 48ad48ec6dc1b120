//! The VRRP message: RFC 3768 §7.1, RFC 9568 §7.1.

use crate::abi::Router;
use crate::bytes::Bytes;
use crate::check::{Agreement, Checked, Rules};
use crate::checksum::Sum;
use crate::frame::Located;
use crate::ids::{Family, Version};
use crate::reject::Reject;
use crate::wire::{self, ChecksumForm};

/// What is known of a message from outside it.
pub(super) struct Outside<'a> {
    pub(super) located: &'a Located,
    pub(super) router: &'a Router,
    pub(super) family: Family,
    /// The message's length by the IP header.
    pub(super) len: usize,
    /// The sum of the pseudo-header.
    pub(super) pseudo_header: Sum,
    /// The sender is one that the instance knows.
    pub(super) listed: bool,
}

/// Why a message is not checked any further.
pub(super) enum Stop {
    Refused(Reject),
    /// More addresses than the loop takes, or something that [`Rules`] can't tell.
    Unfinished,
}

impl From<Reject> for Stop {
    #[inline(always)]
    fn from(reason: Reject) -> Self {
        Self::Refused(reason)
    }
}

/// Checks a VRRP message.
#[inline(always)]
pub(super) fn check<B, R, const WORDS: usize>(
    message: &B,
    outside: &Outside<'_>,
    rules: &R,
) -> Result<Checked, Stop>
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
{
    let header = message.read::<{ wire::HEADER }>(0).ok_or(Reject::Truncated)?;
    preamble(&header, outside)?;
    let router = outside.router;
    let slot = router.slot;
    let count = usize::from(header[3]);
    if count > 32 * WORDS {
        return Err(Stop::Unfinished);
    }
    let sum = Sum::new().array(header);
    let (sum, matched) = match outside.family {
        Family::V4 => {
            let is_first = |a| router.is_first_v4(a);
            addresses::<B, 4, WORDS>(message, count, sum, is_first, |a| rules.address_v4(slot, a))?
        }
        Family::V6 => {
            let is_first = |a| router.is_first_v6(a);
            addresses::<B, 16, WORDS>(message, count, sum, is_first, |a| rules.address_v6(slot, a))?
        }
    };
    whole(message, outside, sum, matched, rules)
}

/// Adds the addresses to the sum and counts how many of ours are among them; a list of one that `is_first`
/// without asking for its `position`.
#[inline(always)]
fn addresses<B: Bytes + ?Sized, const SIZE: usize, const WORDS: usize>(
    message: &B,
    count: usize,
    sum: Sum,
    is_first: impl Fn([u8; SIZE]) -> bool,
    position: impl Fn([u8; SIZE]) -> Option<u32>,
) -> Result<(Sum, u32), Reject> {
    if count == 1 {
        let address = message.read::<SIZE>(wire::HEADER).ok_or(Reject::Truncated)?;
        // In the loop this question would have the verifier go twice as far with each address: too far
        // for that of Linux 6.1.
        if is_first(address) {
            return Ok((sum.array(address).forgotten(message), message.forget(1)));
        }
    }
    // Or the verifier would go through the loop once for one and once for many.
    let count = message.forget(count as u32) as usize;
    list::<B, SIZE, WORDS>(message, count, sum, position)
}

/// Adds the addresses to the sum and counts how many of ours are among them.
#[inline(always)]
fn list<B: Bytes + ?Sized, const SIZE: usize, const WORDS: usize>(
    message: &B,
    count: usize,
    mut sum: Sum,
    position: impl Fn([u8; SIZE]) -> Option<u32>,
) -> Result<(Sum, u32), Reject> {
    let mut seen = [0u32; WORDS];
    let mut i = 0;
    // Both bounds: the constant one is for the verifier.
    while i < 32 * WORDS && i < count {
        let address = message.read::<SIZE>(wire::HEADER + SIZE * i).ok_or(Reject::Truncated)?;
        sum = sum.array(address);
        if let Some(at) = position(address) {
            // Positions meet in one bit only where we have more addresses than the loop takes, and
            // then the lists differ whatever the bits say.
            seen[(at as usize / 32) % WORDS] |= 1 << (at % 32);
        }
        i += 1;
    }
    let matched = seen.iter().map(|word| message.forget(*word).count_ones()).sum();
    Ok((sum.forgotten(message), matched))
}

/// The checks that need the whole message, given the sum of all but the trailer and how many of the
/// addresses are ours.
#[inline(always)]
fn whole<B, R>(
    message: &B,
    outside: &Outside<'_>,
    sum: Sum,
    matched: u32,
    rules: &R,
) -> Result<Checked, Stop>
where
    B: Bytes + ?Sized,
    R: Rules + ?Sized,
{
    let header = message.read_anew::<{ wire::HEADER }>(0).ok_or(Reject::Truncated)?;
    // Known, but told again, for the same reason as `read_anew`.
    let version = Version::new(header[0] >> 4).ok_or(Reject::Version)?;
    let count = header[3];
    let mut sum = sum;
    let mut trailer = [0; wire::AUTH_DATA];
    if matches!(version, Version::V2) {
        let at = wire::HEADER + outside.family.address_len() * usize::from(count);
        trailer = message.read_anew::<{ wire::AUTH_DATA }>(at).ok_or(Reject::Truncated)?;
        sum = sum.array(trailer);
    }
    let form = form_of(version, sum, outside).ok_or(Reject::Checksum)?;
    let interval = interval_and_auth(version, &header, &trailer, outside.router)?;
    if matches!(outside.family, Family::V6)
        && count > 0
        && outside.router.flags & Router::LINK_LOCAL_FIRST != 0
    {
        let first = message.read_anew::<2>(wire::HEADER).ok_or(Reject::Truncated)?;
        if u16::from_be_bytes(first) & 0xffc0 != 0xfe80 {
            return Err(Reject::FirstAddress.into());
        }
    }
    let agreement = agreement(version, u32::from(count), matched, outside, rules)?;
    Ok(Checked { priority: header[2], interval, form, agreement, listed: outside.listed })
}

/// The checks that need only the header: RFC 9568 §7.1, first list.
#[inline(always)]
fn preamble(header: &[u8; wire::HEADER], outside: &Outside<'_>) -> Result<(), Reject> {
    let Outside { located, router, family, len, .. } = *outside;
    let version = match Version::new(header[0] >> 4) {
        Some(version) if version as u8 == router.version => version,
        _ => return Err(Reject::Version),
    };
    if header[0] & 0x0f != wire::TYPE_ADVERTISEMENT {
        return Err(Reject::Type);
    }
    // Behind the version: whoever speaks VRRPv3 has no authentication to set alike.
    let sealed_as_ours = located.message - located.payload == wire::AH_HEADER;
    if located.sealed != (router.auth_type == wire::AUTH_AH) || located.sealed && !sealed_as_ours {
        return Err(Reject::AuthType);
    }
    if len != wire::message_len(version, family, usize::from(header[3])) {
        return Err(Reject::Length);
    }
    Ok(())
}

/// The form in which the checksum holds, if it does in one that the version knows.
#[inline(always)]
fn form_of(version: Version, sum: Sum, outside: &Outside<'_>) -> Option<ChecksumForm> {
    if matches!(version, Version::V3) && sum.plus(outside.pseudo_header).is_whole() {
        return Some(ChecksumForm::PseudoHeader);
    }
    let alone = matches!(version, Version::V2) || matches!(outside.family, Family::V4);
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
fn agreement<R: Rules + ?Sized>(
    version: Version,
    count: u32,
    matched: u32,
    outside: &Outside<'_>,
    rules: &R,
) -> Result<Agreement, Stop> {
    let Outside { located, router, .. } = *outside;
    let ours = u32::from(router.addresses);
    if count == 0 && (matches!(version, Version::V3) || ours != 0) {
        return Err(Reject::NoAddress.into());
    }
    if matched == count && matched == ours {
        return Ok(Agreement::Exact);
    }
    if router.flags & Router::SKIP_ADDRESSES != 0 {
        match rules.came_last(router.slot, located) {
            None => return Err(Stop::Unfinished),
            Some(true) => return Ok(Agreement::Unasked),
            Some(false) => {}
        }
    }
    // An instance without addresses of its own has nothing to compare with.
    if matched == 0 && ours != 0 {
        return Err(Reject::ForeignCluster.into());
    }
    if router.flags & Router::SAME_ADDRESSES != 0 {
        return Err(Reject::Addresses.into());
    }
    Ok(Agreement::Overlap)
}
