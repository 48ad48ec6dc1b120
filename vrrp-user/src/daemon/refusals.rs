//! Why an advert was refused, told so that it can be mended.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use vrrp_common::check::Agreement;
use vrrp_common::checksum::{self, Sum};
use vrrp_common::{Family, Reject, Version, abi, wire};

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
            format!("sent to {to} alone; this instance listens on the group {group}")
        }
        Destination::Peers(_) => format!(
            "sent to {to}; this instance listens at its own address, which its peers need in \
             `unicast_peer`"
        ),
    }
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
pub(crate) fn oddities(record: &abi::Event, instance: &Instance) -> Vec<String> {
    let mut all = Vec::new();
    if Agreement::from_index(record.agreement) == Agreement::Overlap {
        all.push(difference(record, instance));
    }
    if record.unlisted != 0 {
        all.push(
            "it is not one of `unicast_peer`: add it there, or refuse such with \
             `check_unicast_src`"
                .to_owned(),
        );
    }
    if record.reason == Reject::Replay.index() {
        all.push(
            "its sequence number is lower than before: for Master_Down_Interval no greater one was \
             heard, so its sender began anew, maybe with its clock set back"
                .to_owned(),
        );
    }
    all
}

/// What differs between an accepted advert's addresses and ours.
fn difference(record: &abi::Event, instance: &Instance) -> String {
    let head = &record.head[..usize::from(record.head_len).min(record.head.len())];
    let count = head.get(3).copied().unwrap_or_default();
    let theirs: BTreeSet<_> = addresses(record, head).into_iter().collect();
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
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use rstest::rstest;
    use vrrp_common::wire::ChecksumForm;
    use vrrp_common::{Instant, Priority};
    use vrrp_proto::Slot;

    use super::*;
    use crate::config;
    use crate::daemon::plan;
    use crate::slowpath::Table;

    /// Where the VRRP message of a frame begins.
    const MESSAGE: usize = 34;

    /// An instance with this version and that many addresses.
    fn instance(version: u8, addresses: u8) -> Instance {
        let all: String = (0..addresses).map(|n| format!("192.0.2.{}/24 ", 100 + n)).collect();
        let text = format!(
            "vrrp_instance A {{ \n version {version}\n interface eth0\n virtual_router_id 51\n priority 100\n advert_int 1\n virtual_ipaddress {{\n {}\n }}\n}}\n",
            all.replace(' ', "\n")
        );
        let loaded = config::parse_str(Path::new("test.conf"), text);
        let config = loaded.config.expect("a configuration");
        config.instances[0].as_ref().clone()
    }

    /// What is said of a peer's advert after `spoil` had it.
    fn said_of(ours: &Instance, spoil: impl FnOnce(&mut Vec<u8>)) -> String {
        let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let route = |last| {
            let mac = [2, 0, 0, 0, 0, last];
            let way = plan::Way {
                ifindex: 7,
                mac,
                source: address(last),
                is_own: true,
                peers: Vec::new(),
            };
            plan::route(ours, Slot(0), &way)
        };
        let mut theirs = route(12).expect("a route").frames.remove(0);
        let form = ChecksumForm::PseudoHeader;
        let mut frame = theirs.patch(Priority::new(100), form).to_vec();
        spoil(&mut frame);
        let mine = route(11).expect("a route");
        let mut table = Table::new();
        table.set(mine.key, mine.rule, &mine.addresses, &mine.peers);
        let record = table.frame(7, Instant::from_nanos(1), &frame).expect("a record");
        let reason = Reject::from_index(record.reason).expect("a reason");
        assert_eq!(record.kind, abi::Event::REFUSED);
        let explained = explain(&record, reason, ours);
        assert_eq!(explained.source, address(12));
        format!("{reason}: {}", explained.detail)
    }

    fn checksum_of(frame: &[u8]) -> u16 {
        u16::from_be_bytes([frame[MESSAGE + 6], frame[MESSAGE + 7]])
    }

    /// The checksum that is said to be right is the one that the sender had written.
    #[rstest]
    #[case::v2(2, 1)]
    #[case::v2_as_many_as_a_record_holds(2, 6)]
    #[case::v3(3, 1)]
    #[case::v3_as_many_as_a_record_holds(3, 8)]
    fn a_wrong_checksum_and_the_right_one(#[case] version: u8, #[case] addresses: u8) {
        let mut right = 0;
        let said = said_of(&instance(version, addresses), |frame| {
            right = checksum_of(frame);
            frame[MESSAGE + 6..MESSAGE + 8].copy_from_slice(&[0x12, 0x34]);
        });
        let start = format!("checksum: VRRP checksum 0x1234, expected {right:#06x}");
        assert!(said.starts_with(&start), "{said}, not {start}");
        assert_eq!(said.contains("without pseudo-header"), version == 3, "{said}");
    }

    #[rstest]
    #[case::v2(2, 7)]
    #[case::v3(3, 9)]
    fn a_checksum_of_more_than_the_record_holds(#[case] version: u8, #[case] addresses: u8) {
        let said = said_of(&instance(version, addresses), |frame| {
            frame[MESSAGE + 6..MESSAGE + 8].copy_from_slice(&[0x12, 0x34]);
        });
        let right =
            format!("checksum: VRRP checksum 0x1234 does not fit its {addresses} addresses");
        assert_eq!(said, right);
    }

    #[rstest]
    #[case::v2(
        2,
        "length: a length other than the 24 bytes of a version 2 message with 2 addresses"
    )]
    #[case::v3(
        3,
        "length: a length other than the 16 bytes of a version 3 message with 2 addresses"
    )]
    fn a_length_is_told_with_the_right_one(#[case] version: u8, #[case] right: &str) {
        assert_eq!(said_of(&instance(version, 1), |frame| frame[MESSAGE + 3] = 2), right);
    }

    #[rstest]
    #[case::header(5, "truncated: the frame ends within the VRRP header")]
    #[case::addresses(
        14,
        "truncated: the frame ends 12 to 15 bytes into a message of 16, with 2 addresses"
    )]
    fn a_short_frame_is_told_with_its_length(#[case] left: usize, #[case] right: &str) {
        assert_eq!(said_of(&instance(3, 2), |frame| frame.truncate(MESSAGE + left)), right);
    }

    /// What a router that speaks VRRPv3 has to be told is not its authentication.
    #[test]
    fn another_version_and_another_authentication() {
        let mut ours = instance(2, 1);
        ours.auth = Some(Auth::Ah(*b"lab12345"));
        let bare = |first: u8, kind: u8| {
            said_of(&ours, |frame| {
                // Out of the authentication header.
                frame.drain(MESSAGE..MESSAGE + wire::AH_HEADER);
                frame[17] -= wire::AH_HEADER as u8;
                frame[23] = wire::PROTOCOL;
                frame[24..26].fill(0);
                let sum = Sum::new().slice(&frame[14..MESSAGE]).checksum();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
                (frame[MESSAGE], frame[MESSAGE + 4]) = (first, kind);
            })
        };
        let version = "version: VRRP version 3, this instance speaks version 2";
        assert!(bare(0x31, 0).starts_with(version), "{}", bare(0x31, 0));
        let none = "auth_type: authentication type 0 (none), expected 2 (AH)";
        assert!(bare(0x21, 0).starts_with(none), "{}", bare(0x21, 0));
        let header = "auth_type: authentication type 2 (AH), but not the authentication header";
        assert!(bare(0x21, 2).starts_with(header), "{}", bare(0x21, 2));
    }

    #[test]
    fn a_missing_address_is_told_with_ours() {
        let said = said_of(&instance(3, 2), |frame| {
            frame.truncate(MESSAGE + 8);
            frame[MESSAGE + 3] = 0;
            // The IP header's length, its checksum and the message's.
            frame[17] = 28;
            frame[24..26].fill(0);
            let sum = Sum::new().slice(&frame[14..MESSAGE]).checksum();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame[MESSAGE + 6..].fill(0);
            let sum = Sum::new().slice(&frame[MESSAGE..]).checksum();
            frame[MESSAGE + 6..].copy_from_slice(&sum.to_be_bytes());
        });
        assert_eq!(said, "no_address: no address in it, expected 192.0.2.100, 192.0.2.101");
    }

    /// An instance with `auth_type AH`, and what its table says of a peer's adverts with these numbers, one
    /// each second: the reason where it is refused, and the reasons of accepted ones.
    fn sealed(adverts: u8, numbers: &[u32]) -> (Vec<Option<Reject>>, Vec<String>, u32) {
        let auth = Some(Auth::Ah(*b"lab12345"));
        let ours = Instance { auth, down_timer_adverts: adverts, ..instance(2, 1) };
        let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let route = |last| {
            let way = plan::Way {
                ifindex: 7,
                mac: [2; 6],
                source: address(last),
                is_own: true,
                peers: Vec::new(),
            };
            plan::route(&ours, Slot(0), &way).expect("a route")
        };
        let mut theirs = route(12).frames.remove(0);
        let (mine, mut table) = (route(11), Table::new());
        table.set(mine.key, mine.rule, &mine.addresses, &mine.peers);
        table.wait(0, mine.down.0, mine.down.1);
        let (mut reasons, mut said) = (Vec::new(), Vec::new());
        for (second, number) in numbers.iter().enumerate() {
            theirs.patch(Priority::new(100), ChecksumForm::Message);
            theirs.sign(*number);
            // The reports of refused ones have pauses.
            table.reset(0);
            let at = Instant::from_nanos(1_000_000_000 * (second as u64 + 1));
            let record = table.frame(7, at, theirs.bytes()).expect("a record");
            let refused = record.kind == abi::Event::REFUSED;
            reasons.push(Reject::from_index(record.reason).filter(|_| refused));
            if !refused {
                said.extend(oddities(&record, &ours));
            }
        }
        (reasons, said, table.greatest_sequence(0))
    }

    /// It is refused for a Master_Down_Interval, and heard with a word then.
    #[test]
    fn a_peer_whose_clock_was_set_back() {
        let replay = Some(Reject::Replay);
        let (reasons, said, greatest) = sealed(3, &[500, 1, 2, 3, 4, 5, 6, 6]);
        assert_eq!(reasons, [None, replay, replay, replay, replay, None, None, replay]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("clock set back"), "{said:?}");
        assert_eq!(greatest, 500);
        let (reasons, ..) = sealed(5, &[500, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(reasons.iter().rposition(Option::is_some), Some(6), "{reasons:?}");
    }

    #[test]
    fn free_vrids_are_ranges() {
        assert_eq!(free_vrids(&BTreeSet::from([51])), "1-50, 52-255");
        assert_eq!(free_vrids(&BTreeSet::from([1, 3, 255])), "2, 4-254");
        assert_eq!(free_vrids(&(1..=255).collect()), "none");
        assert_eq!(free_vrids(&BTreeSet::new()), "1-255");
    }
}
