//! The handed packets: each frame's mark, and the exact reason where it is to be dropped.

use std::path::Path;

use rstest::rstest;
use vrrp_common::abi::{Router, TtlBounds};
use vrrp_common::check::Judgement;
use vrrp_common::wire;
use vrrp_common::{Reject, Version};

use crate::support::{PEER, Settings, VIP, VIP6};

/// One frame of a file.
struct Case {
    name: String,
    expect: String,
    bytes: Vec<u8>,
}

/// A file: the configuration it is for, and its frames.
fn read(file: &str) -> (String, Vec<Case>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut configuration = String::new();
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        match words(line).as_slice() {
            [mark, file, rest @ ..] if mark == "#!" && file == "file" => {
                let at = rest.iter().position(|word| word == "dut").unwrap();
                configuration.clone_from(&rest[at + 1]);
            }
            [mark, frame, name, expect, what] if mark == "#!" && frame == "frame" => {
                assert_eq!(expect, "expect");
                let (name, expect) = (name.clone(), what.clone());
                cases.push(Case { name, expect, bytes: Vec::new() });
            }
            [first, ..] if first.starts_with('#') => {}
            [hex] => cases.last_mut().unwrap().bytes = bytes(hex),
            other => assert!(other.is_empty(), "{file}: {line}"),
        }
    }
    assert!(!cases.is_empty() && cases.iter().all(|case| !case.bytes.is_empty()), "{file}");
    (configuration, cases)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn settings(configuration: &str) -> Settings {
    match configuration {
        "DUT-v2.conf" => Settings::new(Version::V2, &[VIP]),
        "DUT-unicast.conf" => unicast(),
        "DUT-v6.conf" => Settings::v6(&[VIP6, "2001:db8::250".parse().unwrap()]),
        "DUT-v2-pass.conf" => Settings::new(Version::V2, &[VIP]).with_password(*b"1111\0\0\0\0"),
        "DUT-v3.conf" => Settings::new(Version::V3, &[VIP]),
        other => panic!("no settings for {other}"),
    }
}

/// The reason for each frame that is refused.
fn reason(file: &str, name: &str) -> Reject {
    match name {
        "ttl-254" | "ttl-1" | "hop-limit-254" => Reject::Ttl,
        "version-2" | "version-1" | "version-3-on-v2-instance" | "v2-message-on-v3-instance" => {
            Reject::Version
        }
        // A VRRPv3 message that says 2: twelve bytes, where VRRPv2 has twenty.
        "version-2-nibble-in-v3-message" | "count-3-two-present" => Reject::Length,
        "type-2" | "type-0" => Reject::Type,
        "checksum-plus-one"
        | "checksum-byte-swapped"
        | "neither-sum"
        | "sum-wrong"
        | "sum-without-pseudo-header"
        | "pseudo-sum-of-other-source"
        | "pass-right-checksum-wrong"
        | "router-alert-and-bad-vrrp-sum" => Reject::Checksum,
        "interval-2" | "interval-0" | "interval-255" | "interval-100-as-centiseconds" => {
            Reject::Interval
        }
        "pass-wrong" | "type-1-empty-data" | "pass-prefix-only" => Reject::AuthData,
        "type-0-no-data"
        | "type-0-but-right-data"
        | "type-2-ah-without-ah-header"
        | "type-3-unknown" => Reject::AuthType,
        "unicast-to-us-on-multicast-instance" => Reject::Destination,
        "multicast-on-unicast-instance" | "to-224.0.0.1" => Reject::Group,
        // Decided: no address in common is another cluster.
        "theirs-higher-prio" | "theirs-two-addresses" => Reject::ForeignCluster,
        other => panic!("{file}: no reason for {other}"),
    }
}

#[rstest]
#[case("P01-v2-header.hex")]
#[case("P03-v2-advert-interval.hex")]
#[case("P05-v2-auth.hex")]
#[case("P07-v3-header.hex")]
#[case("P09-link-plain.hex")]
#[case("P11-ip-header.hex")]
#[case("P13-v6-header.hex")]
#[case("P15-unicast.hex")]
#[case("P18-other-group-same-vrid.hex")]
#[case("P19-master-hears.hex")]
#[case("P23-learned-interval.hex")]
fn as_marked(#[case] file: &str) {
    let (configuration, cases) = read(file);
    let settings = settings(&configuration);
    for case in cases {
        let judgement = settings.judge(&case.bytes);
        let name = &case.name;
        match case.expect.as_str() {
            "accept" => assert!(settings.verdict(&case.bytes).is_ok(), "{name}: {judgement:?}"),
            // Decided: the sum that RFC 9568 describes is as good as keepalived's.
            // So are a link-local address's neighbours, and by default any sender of unicast.
            "choice"
                if matches!(
                    name.as_str(),
                    "message-only-sum-rfc9568" | "source-global" | "from-a-stranger"
                ) =>
            {
                assert!(settings.verdict(&case.bytes).is_ok(), "{name}: {judgement:?}");
            }
            // Decided: it has no effect, and is told.
            "ignore" if name == "to-224.0.0.1" => {
                assert_eq!(settings.verdict(&case.bytes), Err(reason(file, name)), "{name}");
            }
            "drop" | "choice" => {
                assert_eq!(settings.verdict(&case.bytes), Err(reason(file, name)), "{name}");
            }
            "ignore" => assert!(
                matches!(judgement, None | Some(Judgement::Stranger)),
                "{name}: {judgement:?}"
            ),
            other => panic!("{name}: expect {other}"),
        }
        if let Some(fast) = settings.judge_fast(&case.bytes) {
            assert_eq!(Some(fast), judgement, "{name}");
        }
    }
}

/// The unicast router of `DUT-unicast.conf`.
fn unicast() -> Settings {
    let mut settings = Settings::new(Version::V2, &[VIP]);
    settings.router.flags = Router::UNICAST;
    settings.router.destination = settings.router.source;
    settings.peers.insert(wire::octets(PEER.into()), TtlBounds::ANY);
    settings
}

/// With `check_unicast_src` a sender that is not in the list is refused, the listed one not.
#[test]
fn strangers_are_refused_on_demand() {
    let mut settings = unicast();
    settings.router.flags |= Router::CHECK_SOURCE;
    let (_, cases) = read("P15-unicast.hex");
    for case in cases {
        match case.name.as_str() {
            "multicast-on-unicast-instance" => {}
            "from-a-stranger" => {
                assert_eq!(settings.verdict(&case.bytes), Err(Reject::NotAPeer));
                assert!(!unicast().verdict(&case.bytes).unwrap().listed);
            }
            name => {
                assert!(settings.verdict(&case.bytes).is_ok(), "{name}");
                assert!(unicast().verdict(&case.bytes).unwrap().listed);
            }
        }
    }
}
