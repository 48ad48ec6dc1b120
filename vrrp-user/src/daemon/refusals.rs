//! Why an advert was refused, told so that it can be mended.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use vrrp_common::{Family, Reject, Version, abi, wire};

use crate::config::model::Instance;
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
    let source = wire::address(family(record), record.source);
    let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
    Explained { source, detail: detail(record, reason, head, instance) }
}

fn detail(record: &abi::Event, reason: Reject, head: &[u8], instance: &Instance) -> String {
    let byte = |at: usize| head.get(at).copied().unwrap_or_default();
    match reason {
        Reject::Truncated => "the frame ends before the packet does".to_owned(),
        Reject::HeaderChecksum => "the IP header's checksum is wrong".to_owned(),
        Reject::Fragment => "an advert in fragments; adverts fit in one packet".to_owned(),
        Reject::Destination => format!(
            "sent to {} alone; this instance listens on the group 224.0.0.18",
            wire::address(family(record), record.destination)
        ),
        Reject::Source => "that can't be a host's address".to_owned(),
        Reject::Ttl => {
            format!("TTL {}, expected 255: it passed a router or is forged", record.ttl)
        }
        Reject::Version => format!(
            "VRRP version {}, this instance speaks version {}: set `version` alike on all routers",
            byte(0) >> 4,
            instance.version
        ),
        Reject::Type => format!("message type {}, expected 1 (advertisement)", byte(0) & 0x0f),
        Reject::Length => format!("a length that does not fit its {} addresses", byte(3)),
        Reject::Checksum => "the VRRP checksum is wrong".to_owned(),
        Reject::AuthType => format!(
            "authentication type {}, expected {}: set `auth_type` alike on all routers",
            auth(byte(4)),
            auth(if instance.password.is_some() { wire::AUTH_PASS } else { wire::AUTH_NONE })
        ),
        Reject::AuthData => {
            "received an invalid passwd: set `auth_pass` alike on all routers".to_owned()
        }
        Reject::Interval => match instance.version {
            Version::V2 => format!(
                "advertisement interval mismatch: theirs is {} s, ours {}: set `advert_int` alike on all routers",
                byte(5),
                text::span(instance.interval.get())
            ),
            Version::V3 => "advertisement interval 0, which would time out at once".to_owned(),
        },
        Reject::NoAddress => "no address in it".to_owned(),
        Reject::Addresses | Reject::ForeignCluster => {
            let theirs = addresses(head);
            let ours: Vec<_> = instance.addresses.iter().map(|a| a.ip).collect();
            format!("its addresses are {}, ours {}", list(&theirs, byte(3)), list(&ours, 0))
        }
        Reject::OwnSource => {
            "our own address: a loop in the network, or another host with our address".to_owned()
        }
    }
}

/// What differs between an accepted advert's addresses and ours.
pub(crate) fn difference(record: &abi::Event, instance: &Instance) -> String {
    let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
    let count = head.get(3).copied().unwrap_or_default();
    let theirs: BTreeSet<_> = addresses(head).into_iter().collect();
    let ours: BTreeSet<_> = instance.addresses.iter().map(|a| a.ip).collect();
    let mut text = format!("expected {} VIPs but received {count}", ours.len());
    // Beyond what the record holds nothing can be said to be missing.
    if theirs.len() == usize::from(count) {
        for missing in ours.difference(&theirs) {
            let _ = write!(text, "; not in it: {missing}");
        }
    }
    for extra in theirs.difference(&ours) {
        let _ = write!(text, "; not ours: {extra}");
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
        2 => "2 (AH)".to_owned(),
        other => other.to_string(),
    }
}

fn family(record: &abi::Event) -> Family {
    if record.family == Family::V6 as u8 { Family::V6 } else { Family::V4 }
}

/// The addresses in the first bytes of a message: those that its count and the bytes both hold.
fn addresses(head: &[u8]) -> Vec<IpAddr> {
    let Some(body) = head.get(wire::HEADER..) else { return Vec::new() };
    let count = usize::from(head[3]);
    let (words, _) = body.as_chunks::<4>();
    words.iter().take(count).map(|word| IpAddr::from(*word)).collect()
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
mod tests {
    use super::*;

    #[test]
    fn free_vrids_are_ranges() {
        assert_eq!(free_vrids(&BTreeSet::from([51])), "1-50, 52-255");
        assert_eq!(free_vrids(&BTreeSet::from([1, 3, 255])), "2, 4-254");
        assert_eq!(free_vrids(&(1..=255).collect()), "none");
        assert_eq!(free_vrids(&BTreeSet::new()), "1-255");
    }
}
