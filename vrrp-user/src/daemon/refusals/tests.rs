use std::net::Ipv4Addr;
use std::path::Path;

use rstest::rstest;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::Slot;

use super::*;
use crate::config;
use crate::config::model::Peer;
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
            near: Vec::new(),
            room: 255,
            realm: None,
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
    let reason = Reject::from_index(record.reason.into()).expect("a reason");
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
    let right = format!("checksum: VRRP checksum 0x1234 does not fit its {addresses} addresses");
    assert_eq!(said, right);
}

#[rstest]
#[case::v2(2, "length: a length other than the 24 bytes of a version 2 message with 2 addresses")]
#[case::v3(3, "length: a length other than the 16 bytes of a version 3 message with 2 addresses")]
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

/// keepalived's line, where its adverts are accepted and where they are not.
#[rstest]
#[case::overlap(false, (1, 3), Some("192.0.2.101, 192.0.2.102"))]
#[case::strict(true, (1, 3), Some("192.0.2.101, 192.0.2.102"))]
#[case::more_than_ours(false, (3, 1), None)]
#[case::alike(true, (2, 2), None)]
fn addresses_that_are_not_in_it(
    #[case] same: bool,
    #[case] (theirs, ours): (u8, u8),
    #[case] expected: Option<&str>,
) {
    let ours = Instance { same_addresses: same, ..instance(3, ours) };
    let route = |of: &Instance, last| {
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let way = plan::Way {
            ifindex: 7,
            mac: [2; 6],
            source,
            is_own: true,
            peers: Vec::new(),
            near: Vec::new(),
            room: 255,
            realm: None,
        };
        plan::route(of, Slot(0), &way).expect("a route")
    };
    let mut frame = route(&instance(3, theirs), 12).frames.remove(0);
    let (mine, mut table) = (route(&ours, 11), Table::new());
    table.set(mine.key, mine.rule, &mine.addresses, &mine.peers);
    let frame = frame.patch(Priority::new(100), ChecksumForm::PseudoHeader);
    let record = table.frame(7, Instant::from_nanos(1), frame).expect("a record");
    assert_eq!(record.kind == abi::Event::REFUSED, same && expected.is_some());
    let what = "ip address associated with VRID 51 not present in advert from 192.0.2.12";
    assert_eq!(
        missing(&record, ours.vrid, &ours.addresses),
        expected.map(|list| format!("{what}: {list}"))
    );
}

/// The record of an accepted advert with these addresses, some of which are ours.
fn overlapping(addresses: &[IpAddr]) -> abi::Event {
    let mut record: abi::Event = bytemuck::Zeroable::zeroed();
    let (family, size) = if addresses[0].is_ipv6() { (Family::V6, 16) } else { (Family::V4, 4) };
    (record.kind, record.family) = (abi::Event::ADVERT, family as u8);
    record.agreement = Agreement::Overlap as u8;
    record.head[3] = addresses.len() as u8;
    let body: Vec<u8> =
        addresses.iter().flat_map(|ip| wire::octets(*ip)[..size].to_vec()).collect();
    let len = body.len().min(record.head.len() - wire::HEADER);
    record.head[wire::HEADER..][..len].copy_from_slice(&body[..len]);
    record.head_len = (wire::HEADER + len) as u8;
    record
}

/// What the record does not hold is believed to differ: whoever judged the advert has seen all of it.
#[rstest]
#[case::v4("192.0.2.", 9, 8)]
#[case::v6("fe80::", 3, 2)]
fn a_difference_beyond_what_the_record_holds(
    #[case] net: &str,
    #[case] count: usize,
    #[case] held: usize,
) {
    let address = |last: usize| format!("{net}{last}").parse::<IpAddr>().expect("an address");
    let ours = |lasts: &[usize]| -> Vec<VirtualAddress> {
        let one = instance(3, 1).addresses[0].clone();
        lasts.iter().map(|last| VirtualAddress { ip: address(*last), ..one.clone() }).collect()
    };
    let lasts: Vec<usize> = (1..=count).collect();
    let mut theirs = lasts.clone();
    theirs[count - 1] = 99;
    let theirs: Vec<IpAddr> = theirs.into_iter().map(address).collect();
    let record = overlapping(&theirs);
    assert!(!Compared::of(&record, &ours(&lasts)).is_alike());
    let begin = format!("expected {count} VIPs but received {count}");
    let said = oddities(&record, &ours(&lasts));
    assert_eq!(said, [format!("{begin}; they differ beyond the first {held}")]);
    // Something else is known.
    let mut other = lasts.clone();
    other[0] = 98;
    let said = oddities(&record, &ours(&other));
    assert_eq!(said, [format!("{begin}; not ours: {}", address(1))]);
    let said = oddities(&record, &ours(&lasts[1..]));
    let begin = format!("expected {} VIPs but received {count}", count - 1);
    assert_eq!(said, [format!("{begin}; not ours: {}", address(1))]);
    // All that it has is held.
    let record = overlapping(&theirs[..held]);
    assert!(Compared::of(&record, &ours(&lasts[..held])).is_alike());
}

/// The record of a peer's advert with so many addresses to another group than ours.
fn to_another_group(addresses: u8) -> abi::Event {
    let theirs = instance(3, addresses);
    let mut record: abi::Event = bytemuck::Zeroable::zeroed();
    (record.kind, record.family) = (abi::Event::REFUSED, Family::V4 as u8);
    record.destination = wire::octets(IpAddr::from([224, 0, 0, 19]));
    record.head[3] = addresses;
    record.head_len = 8 + 4 * addresses;
    for (at, address) in theirs.addresses.iter().enumerate() {
        record.head[8 + 4 * at..12 + 4 * at].copy_from_slice(&wire::octets(address.ip)[..4]);
    }
    record
}

/// It is the same cluster where any address is: the operator has to be told. And another one may be where
/// it pleases.
#[test]
fn another_group_is_told_where_it_parts_what_belongs_together() {
    let (ours, record) = (instance(3, 3), to_another_group(2));
    let explained = explain(&record, Reject::Group, &ours).detail;
    let words = "sent to the group 224.0.0.19; this instance listens on 224.0.0.18";
    assert!(explained.starts_with(words), "{explained}");
    let of = |at: usize| &ours.addresses[at..=at];
    for (reason, addresses, apart) in [
        (Reject::Group, &ours.addresses[..], false),
        (Reject::Group, of(1), false),
        (Reject::Group, of(2), true),
        // Nothing to tell one cluster from another by.
        (Reject::Group, &[][..], false),
        (Reject::ForeignCluster, of(2), false),
    ] {
        assert_eq!(is_apart(&record, reason, addresses), apart, "{reason} {addresses:?}");
    }
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
            near: Vec::new(),
            room: 255,
            realm: None,
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
        reasons.push(Reject::from_index(record.reason.into()).filter(|_| refused));
        if !refused {
            said.extend(oddities(&record, &ours.addresses));
        }
    }
    (reasons, said, table.greatest_sequence(0))
}

/// What an authentication header that does not fit, and one that was heard before, are told as.
#[test]
fn what_is_wrong_with_an_authentication_header() {
    let ours = Instance { auth: Some(Auth::Ah(*b"lab12345")), ..instance(2, 1) };
    let said = said_of(&ours, |frame| frame[MESSAGE + 12] ^= 1);
    assert_eq!(said, "auth_data: received an invalid passwd: set `auth_pass` alike on all routers");
    let replay = explain(&bytemuck::Zeroable::zeroed(), Reject::Replay, &ours).detail;
    assert!(replay.contains("its sequence number was used before"), "{replay}");
}

/// Routers on the way of a unicast advert count its TTL down.
#[test]
fn a_sealed_advert_may_come_from_far() {
    let text = "vrrp_instance A {\nversion 2\ninterface eth0\nvirtual_router_id 51\n\
                unicast_peer {\n192.0.2.11\n192.0.2.12\n}\n\
                authentication {\nauth_type AH\nauth_pass lab12345\n}\n\
                virtual_ipaddress {\n192.0.2.100/24\n}\n}\n";
    let config = config::parse_str(Path::new("test.conf"), text).config.expect("a configuration");
    let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let route = |last, peer| {
        let peers = vec![Peer { address: address(peer), min_ttl: 0, max_ttl: 255 }];
        let way = plan::Way {
            ifindex: 7,
            mac: [2; 6],
            source: address(last),
            is_own: true,
            peers,
            near: Vec::new(),
            room: 255,
            realm: None,
        };
        plan::route(&config.instances[0], Slot(0), &way).expect("a route")
    };
    let (mine, mut theirs) = (route(11, 12), route(12, 11).frames.remove(0));
    theirs.patch(Priority::new(100), ChecksumForm::Message);
    theirs.sign(7);
    let mut frame = theirs.bytes().to_vec();
    frame[22] -= 1;
    frame[24..26].fill(0);
    let sum = Sum::new().slice(&frame[14..MESSAGE]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut table = Table::new();
    table.set(mine.key, mine.rule, &mine.addresses, &mine.peers);
    let record = table.frame(7, Instant::from_nanos(1), &frame).expect("a record");
    assert_eq!(record.kind, abi::Event::ADVERT, "{:?}", Reject::from_index(record.reason.into()));
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
