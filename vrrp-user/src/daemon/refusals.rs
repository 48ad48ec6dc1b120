//! Why an advert was refused, told so that it can be mended.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use vrrp_common::check::Agreement;
use vrrp_common::checksum::{self, Sum};
use vrrp_common::{Family, Reject, Version, Vrid, abi, wire};
use vrrp_proto::VirtualAddress;

use crate::config::model::{Auth, Destination, Instance};
use crate::text;

/// A refused advert in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explained {
    /// The sender.
    pub(crate) source: IpAddr,
    /// What came and what was expected, in one line.
    pub(crate) detail: String,
}

/// Puts a refused advert into words.
pub(crate) fn explain(record: &abi::Event, reason: Reject, instance: &Instance) -> Explained {
    let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
    Explained { source: source(record), detail: detail(record, reason, head, instance) }
}

fn detail(record: &abi::Event, reason: Reject, head: &[u8], instance: &Instance) -> String {
    let byte = |at: usize| head.get(at).copied().unwrap_or_default();
    match reason {
        Reject::Truncated => truncated(record, head),
        // The record holds none of the IP header.
        Reject::HeaderChecksum => {
            "the IP header's checksum is wrong: something changed it on its way".to_owned()
        }
        Reject::Fragment => "an advert in fragments; adverts fit in one packet".to_owned(),
        Reject::Destination => destination(record, instance),
        Reject::Group => group(record, instance),
        Reject::Source => "that can't be a host's address".to_owned(),
        Reject::Ttl => ttl(record.ttl, source(record), &instance.destination),
        Reject::Version => format!(
            "VRRP version {}, this instance speaks version {}: set `version` alike on all routers",
            byte(0) >> 4,
            instance.version
        ),
        Reject::Type => format!("message type {}, expected 1 (advertisement)", byte(0) & 0x0f),
        Reject::Length => format!(
            "a length other than the {} bytes of a version {} message with {}",
            wire::message_len(instance.version, family(record), usize::from(byte(3))),
            instance.version,
            counted(byte(3))
        ),
        Reject::Checksum => wrong_checksum(record, head, instance.version),
        Reject::AuthType => auth_type(byte(4), instance),
        Reject::AuthData => {
            "received an invalid passwd: set `auth_pass` alike on all routers".to_owned()
        }
        Reject::Replay => {
            "its sequence number was used before: somebody repeats an old advert, or its sender began \
             anew"
                .to_owned()
        }
        Reject::NotAPeer => {
            "not one of `unicast_peer`: add it there, or see `check_unicast_src`".to_owned()
        }
        Reject::FirstAddress => format!(
            "its first address is not link-local ({}): put a link-local address first on all routers",
            list(&addresses(record, head), byte(3))
        ),
        Reject::Interval => interval(byte(5), instance),
        Reject::NoAddress => format!("no address in it, expected {}", ours(instance)),
        Reject::Addresses | Reject::ForeignCluster => {
            format!(
                "its addresses are {}, ours {}",
                list(&addresses(record, head), byte(3)),
                ours(instance)
            )
        }
        Reject::OwnSource => {
            "our own address: a loop in the network, or another host with our address".to_owned()
        }
    }
}

/// Where it was sent and where the instance listens.
fn destination(record: &abi::Event, instance: &Instance) -> String {
    let to = wire::address(family(record), record.destination);
    match &instance.destination {
        Destination::Group(group) => {
            format!(
                "sent to {to} alone; this instance listens on the group {group}: write `unicast_peer` \
                 on all routers or on none"
            )
        }
        Destination::Peers(_) => format!(
            "sent to {to}; this instance listens at its own address, which its peers need in \
             `unicast_peer`"
        ),
    }
}

/// The same for what was sent to a group.
fn group(record: &abi::Event, instance: &Instance) -> String {
    let to = wire::address(family(record), record.destination);
    match &instance.destination {
        Destination::Group(group) => format!(
            "sent to the group {to}; this instance listens on {group}: write the same `mcast_dst_ip` on \
             all routers"
        ),
        Destination::Peers(_) => format!(
            "sent to the group {to}, and here `unicast_peer` is written: write it on all routers or on \
             none"
        ),
    }
}

/// Whether a refused advert is of another cluster that is kept apart by its group, as it should be: as far
/// as the record shows its addresses, none of them is ours.
pub(crate) fn is_apart(record: &abi::Event, reason: Reject, ours: &[VirtualAddress]) -> bool {
    let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
    let is_ours = |theirs: &IpAddr| ours.iter().any(|address| address.ip == *theirs);
    let common = ours.is_empty() || addresses(record, head).iter().any(is_ours);
    reason == Reject::Group && !common
}

fn auth_type(came: u8, instance: &Instance) -> String {
    let expected = match instance.auth {
        None => wire::AUTH_NONE,
        Some(Auth::Pass(_)) => wire::AUTH_PASS,
        Some(Auth::Ah(_)) => wire::AUTH_AH,
    };
    if came == expected {
        return format!(
            "authentication type {}, but not the authentication header of HMAC-MD5-96 that it needs",
            auth(came)
        );
    }
    format!(
        "authentication type {}, expected {}: set `auth_type` alike on all routers",
        auth(came),
        auth(expected)
    )
}

fn interval(came: u8, instance: &Instance) -> String {
    match instance.version {
        Version::V2 => format!(
            "advertisement interval mismatch: theirs is {came} s, ours {}: set `advert_int` alike on \
             all routers",
            text::span(instance.interval.get())
        ),
        Version::V3 => "advertisement interval 0, which would time out at once".to_owned(),
    }
}

/// Which TTL came and which was expected.
fn ttl(came: u8, source: IpAddr, destination: &Destination) -> String {
    let bounds = match destination {
        Destination::Group(_) => None,
        Destination::Peers(unicast) => unicast.peers.iter().find(|peer| peer.address == source),
    };
    match bounds {
        None => format!("TTL {came}, expected 255: it passed a router or is forged"),
        Some(peer) => format!(
            "TTL {came}, expected {} to {}: see `min_ttl` and `max_ttl` of `unicast_peer`",
            peer.min_ttl, peer.max_ttl
        ),
    }
}

/// How much of a message came, where its beginning did.
fn truncated(record: &abi::Event, head: &[u8]) -> String {
    let Some(header) = head.first_chunk::<{ wire::HEADER }>() else {
        return "the frame ends within the VRRP header".to_owned();
    };
    let version = Version::new(header[0] >> 4);
    let whole = version.map(|v| wire::message_len(v, family(record), usize::from(header[3])));
    match whole {
        // The record holds whole words: up to three bytes more may have come.
        Some(whole) if head.len() < whole.min(record.head.len()) => format!(
            "the frame ends {} to {} bytes into a message of {whole}, with {}",
            head.len(),
            head.len() + 3,
            counted(header[3])
        ),
        Some(_) | None => "the frame ends before the packet does".to_owned(),
    }
}

/// The checksum that came and the one it should be, where the record holds the whole message.
fn wrong_checksum(record: &abi::Event, head: &[u8], version: Version) -> String {
    let at = wire::CHECKSUM_AT;
    let (Some(came), Some(count)) = (head.get(at..at + 2), head.get(3)) else {
        return "the VRRP checksum is wrong".to_owned();
    };
    let came = u16::from_be_bytes([came[0], came[1]]);
    let len = wire::message_len(version, family(record), usize::from(*count));
    let Some(message) = head.get(..len) else {
        return format!("VRRP checksum {came:#06x} does not fit its {}", counted(*count));
    };
    let sum = Sum::new().slice(&message[..at]).slice(&message[at + 2..]);
    let (source, destination) = (&record.source, &record.destination);
    let pseudo = checksum::pseudo_header(family(record), source, destination, len as u16);
    let (alone, with_pseudo) = (sum.checksum(), sum.plus(pseudo).checksum());
    let came = format!("VRRP checksum {came:#06x}, expected");
    match (version, family(record)) {
        (Version::V2, _) => format!("{came} {alone:#06x}"),
        (Version::V3, Family::V6) => format!("{came} {with_pseudo:#06x}"),
        (Version::V3, Family::V4) => {
            format!("{came} {with_pseudo:#06x}, or {alone:#06x} without pseudo-header")
        }
    }
}

fn counted(addresses: u8) -> String {
    if addresses == 1 { "1 address".to_owned() } else { format!("{addresses} addresses") }
}

fn ours(instance: &Instance) -> String {
    let ours: Vec<_> = instance.addresses.iter().map(|a| a.ip).collect();
    list(&ours, 0)
}

/// What is odd about an accepted advert: each in words.
///
/// `ours`: the addresses that our own adverts carry.
pub(crate) fn oddities(record: &abi::Event, ours: &[VirtualAddress]) -> Vec<String> {
    let mut all = Vec::new();
    if Agreement::from_index(record.agreement) == Agreement::Overlap {
        all.push(difference(record, ours));
    }
    if record.unlisted != 0 {
        all.push(
            "it is not one of `unicast_peer`: add it there, or refuse such with \
             `check_unicast_src`"
                .to_owned(),
        );
    }
    if record.reason == Reject::Replay as u8 {
        all.push(
            "its sequence number is lower than before: for Master_Down_Interval no greater one was \
             heard, so its sender began anew, maybe with its clock set back"
                .to_owned(),
        );
    }
    all
}

/// The addresses of ours that an advert has not, in keepalived's words; `None` where that is not what is
/// wrong with it.
pub(crate) fn missing(record: &abi::Event, vrid: Vrid, ours: &[VirtualAddress]) -> Option<String> {
    let refused = record.kind == abi::Event::REFUSED;
    let differs = if refused {
        let reason = Reject::from_index(record.reason.into());
        matches!(reason, Some(Reject::Addresses | Reject::ForeignCluster))
    } else {
        Agreement::from_index(record.agreement) == Agreement::Overlap
    };
    if !differs {
        return None;
    }
    let Compared { missing, .. } = Compared::of(record, ours);
    let source = source(record);
    let what =
        format!("ip address associated with VRID {vrid} not present in advert from {source}");
    (!missing.is_empty()).then(|| format!("{what}: {}", list(&missing, 0)))
}

/// An advert's addresses beside ours.
pub(crate) struct Compared {
    /// How many it says it has.
    pub(crate) count: u8,
    /// How many are ours.
    pub(crate) ours: usize,
    /// Those of ours that it has not. Beyond what the record holds nothing can be said to be missing.
    pub(crate) missing: Vec<IpAddr>,
    /// Those that are not ours, as far as the record holds them.
    pub(crate) extra: Vec<IpAddr>,
    /// How many of them the record holds.
    held: usize,
}

impl Compared {
    pub(crate) fn of(record: &abi::Event, ours: &[VirtualAddress]) -> Self {
        let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
        let count = head.get(3).copied().unwrap_or_default();
        let theirs = addresses(record, head);
        let held = theirs.len();
        let theirs: BTreeSet<_> = theirs.into_iter().collect();
        let ours: BTreeSet<_> = ours.iter().map(|a| a.ip).collect();
        let is_whole = held == usize::from(count);
        let missing = ours.difference(&theirs).copied().filter(|_| is_whole).collect();
        let extra = theirs.difference(&ours).copied().collect();
        Self { count, ours: ours.len(), missing, extra, held }
    }

    /// The record holds all of its addresses, and they are ours. Where it does not hold all, it is for
    /// whoever judged the whole advert to say that they are.
    pub(crate) fn is_alike(&self) -> bool {
        self.shows_nothing() && self.held == usize::from(self.count)
    }

    /// Where an advert that was judged to differ does so only behind what the record holds: how many of
    /// its addresses that is.
    pub(crate) fn beyond(&self) -> Option<usize> {
        (self.shows_nothing() && self.held < usize::from(self.count)).then_some(self.held)
    }

    fn shows_nothing(&self) -> bool {
        self.ours == usize::from(self.count) && self.missing.is_empty() && self.extra.is_empty()
    }
}

/// What differs between an accepted advert's addresses and ours.
fn difference(record: &abi::Event, ours: &[VirtualAddress]) -> String {
    let compared = Compared::of(record, ours);
    let mut text = format!("expected {} VIPs but received {}", compared.ours, compared.count);
    for missing in &compared.missing {
        let _ = write!(text, "; not in it: {missing}");
    }
    for extra in &compared.extra {
        let _ = write!(text, "; not ours: {extra}");
    }
    if let Some(first) = compared.beyond() {
        let _ = write!(text, "; they differ beyond the first {first}");
    }
    text
}

/// VRIDs that nobody was heard using, as ranges.
pub(crate) fn free_vrids(used: &BTreeSet<u8>) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for vrid in (1..=255).filter(|vrid| !used.contains(vrid)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == vrid => *last = vrid,
            _ => ranges.push((vrid, vrid)),
        }
    }
    let text: Vec<String> = ranges
        .iter()
        .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
        .collect();
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

fn auth(kind: u8) -> String {
    match kind {
        wire::AUTH_NONE => "0 (none)".to_owned(),
        wire::AUTH_PASS => "1 (PASS)".to_owned(),
        wire::AUTH_AH => "2 (AH)".to_owned(),
        other => other.to_string(),
    }
}

fn source(record: &abi::Event) -> IpAddr {
    wire::address(family(record), record.source)
}

fn family(record: &abi::Event) -> Family {
    if record.family == Family::V6 as u8 { Family::V6 } else { Family::V4 }
}

/// The addresses in the first bytes of a message: those that its count and the bytes both hold.
fn addresses(record: &abi::Event, head: &[u8]) -> Vec<IpAddr> {
    let Some(body) = head.get(wire::HEADER..) else { return Vec::new() };
    let count = usize::from(head[3]);
    match family(record) {
        Family::V4 => body.as_chunks::<4>().0.iter().take(count).map(|a| (*a).into()).collect(),
        Family::V6 => body.as_chunks::<16>().0.iter().take(count).map(|a| (*a).into()).collect(),
    }
}

fn list(addresses: &[IpAddr], count: u8) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let mut text: Vec<String> = addresses.iter().take(8).map(ToString::to_string).collect();
    let more = addresses.len().max(usize::from(count)) - text.len();
    if more > 0 {
        text.push(format!("and {more} more"));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests;
