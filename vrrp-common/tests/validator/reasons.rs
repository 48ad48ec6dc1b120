//! For each reason a frame that is refused for it and nothing else.

use std::net::Ipv4Addr;

use rstest::rstest;
use vrrp_common::abi::Router;
use vrrp_common::check::{Agreement, Checked, Judgement};
use vrrp_common::wire::{self, ChecksumForm};
use vrrp_common::{Reject, Version};

use crate::support::{
    Frame, IP, MESSAGE, OURS, Settings, VIP, VIP6, advert_v6, sealed, sum_header, sum_message,
};

const PASSWORD: [u8; 8] = *b"1111\0\0\0\0";

fn v2() -> Settings {
    Settings::new(Version::V2, &[VIP])
}

fn good() -> Vec<u8> {
    Frame::new(Version::V2, &[VIP]).bytes()
}

/// A good frame with bytes of its IP header changed and the header's sum made right.
fn header(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = good();
    frame[IP + at..IP + at + bytes.len()].copy_from_slice(bytes);
    sum_header(&mut frame);
    frame
}

/// A good frame with a byte of its message changed and the message's sum made right.
fn message(at: usize, byte: u8) -> Vec<u8> {
    let mut frame = good();
    frame[MESSAGE + at] = byte;
    sum_message(&mut frame);
    frame
}

/// The settings and a frame that they refuse for just this reason. A reason without one does not
/// compile.
fn example(reason: Reject) -> (Settings, Vec<u8>) {
    match reason {
        Reject::Truncated => (v2(), good()[..MESSAGE + 11].to_vec()),
        Reject::HeaderChecksum => {
            let mut frame = good();
            frame[IP + 11] ^= 1;
            (v2(), frame)
        }
        Reject::Fragment => (v2(), header(6, &[0x20, 0])),
        Reject::Destination => (v2(), header(16, &OURS.octets())),
        Reject::Group => (v2(), header(16, &[224, 0, 0, 19])),
        Reject::Source => (v2(), header(12, &[127, 0, 0, 1])),
        Reject::Ttl => (v2(), header(8, &[254])),
        Reject::Version => (v2(), message(0, 0x31)),
        Reject::Type => (v2(), message(0, 0x22)),
        // One address more than there is room for.
        Reject::Length => (v2(), message(3, 2)),
        Reject::Checksum => {
            let mut frame = good();
            frame[MESSAGE + 7] ^= 1;
            (v2(), frame)
        }
        Reject::AuthType => (v2(), message(4, 1)),
        Reject::AuthData => {
            let frame =
                Frame { password: Some(*b"2222\0\0\0\0"), ..Frame::new(Version::V2, &[VIP]) };
            (v2().with_password(PASSWORD), frame.bytes())
        }
        Reject::Interval => (v2(), message(5, 2)),
        Reject::NoAddress => {
            (Settings::new(Version::V3, &[VIP]), Frame::new(Version::V3, &[]).bytes())
        }
        Reject::Addresses => {
            let theirs = [VIP, Ipv4Addr::new(192, 0, 2, 251)];
            (v2().with_same_addresses(), Frame::new(Version::V2, &theirs).bytes())
        }
        Reject::ForeignCluster => {
            (v2(), Frame::new(Version::V2, &[Ipv4Addr::new(192, 0, 2, 66)]).bytes())
        }
        Reject::OwnSource => {
            (v2(), Frame { source: OURS, ..Frame::new(Version::V2, &[VIP]) }.bytes())
        }
        Reject::NotAPeer => {
            let mut settings = v2();
            settings.router.flags = Router::UNICAST | Router::CHECK_SOURCE;
            settings.router.destination = settings.router.source;
            (settings, header(16, &OURS.octets()))
        }
        Reject::FirstAddress => {
            let list = ["2001:db8::250".parse().unwrap(), VIP6];
            let mut settings = Settings::v6(&list);
            settings.router.flags = Router::LINK_LOCAL_FIRST;
            (settings, advert_v6(&list))
        }
        Reject::Replay => {
            let mut settings = v2();
            settings.router.auth_type = wire::AUTH_AH;
            settings.unsealed = Some(Err(Reject::Replay));
            (settings, sealed())
        }
    }
}

#[test]
fn the_frame_that_the_others_come_from_is_good() {
    let checked = Checked {
        priority: 150,
        interval: 1,
        form: ChecksumForm::Message,
        agreement: Agreement::Exact,
        listed: true,
    };
    assert_eq!(v2().verdict(&good()), Ok(checked));
}

#[test]
fn each_reason_has_its_frame() {
    for reason in Reject::ALL {
        let (settings, frame) = example(reason);
        assert_eq!(settings.verdict(&frame), Err(reason));
        // The kernel program says the same, where it can take the frame apart.
        if let Some(judgement) = settings.judge_fast(&frame) {
            assert_eq!(Some(judgement), settings.judge(&frame), "{reason}");
        } else {
            assert_eq!(reason, Reject::Fragment);
        }
    }
}

#[rstest]
#[case::this_network([0, 0, 0, 1], Reject::Source)]
#[case::loopback([127, 0, 0, 1], Reject::Source)]
#[case::multicast([224, 0, 0, 18], Reject::Source)]
#[case::broadcast([255, 255, 255, 255], Reject::Source)]
fn senders_that_no_host_can_have(#[case] source: [u8; 4], #[case] reason: Reject) {
    assert_eq!(v2().verdict(&header(12, &source)), Err(reason));
}

/// What the length in the IP header says, against what there is.
#[rstest]
#[case::shorter_than_the_header(19, Reject::Truncated)]
#[case::no_message(20, Reject::Length)]
#[case::half_a_message(30, Reject::Length)]
#[case::one_less(39, Reject::Length)]
#[case::one_more(41, Reject::Length)]
#[case::an_address_more(44, Reject::Length)]
fn total_lengths(#[case] total: u16, #[case] reason: Reject) {
    let mut frame = header(2, &total.to_be_bytes());
    assert_eq!(v2().verdict(&frame), Err(reason));
    // Bytes behind the packet change nothing.
    frame.extend([0x55; 30]);
    assert_eq!(v2().verdict(&frame), Err(reason));
}

#[test]
fn frames_cut_anywhere_are_truncated_or_not_ours() {
    let frame = good();
    for end in 0..frame.len() {
        let judgement = v2().judge(&frame[..end]);
        if end <= MESSAGE + 1 {
            assert!(matches!(judgement, None | Some(Judgement::NotOurs)), "{end}: {judgement:?}");
        } else {
            assert_eq!(v2().verdict(&frame[..end]), Err(Reject::Truncated), "{end}");
        }
    }
}

#[test]
fn options_are_summed_and_skipped() {
    for words in 1..=10 {
        let frame = Frame { options: vec![1; 4 * words], ..Frame::new(Version::V2, &[VIP]) };
        let mut bytes = frame.bytes();
        assert!(v2().verdict(&bytes).is_ok());
        assert_eq!(v2().judge_fast(&bytes), None);
        bytes[MESSAGE + 4 * words - 1] ^= 0x80;
        assert_eq!(v2().verdict(&bytes), Err(Reject::HeaderChecksum));
    }
}

#[test]
fn other_groups_and_other_virtual_routers() {
    assert_eq!(v2().verdict(&header(16, &[224, 0, 0, 1])), Err(Reject::Group));
    assert_eq!(v2().verdict(&header(16, &[239, 0, 0, 18])), Err(Reject::Group));
    assert_eq!(v2().judge(&message(1, 52)), Some(Judgement::Stranger));
}

#[test]
fn an_interval_is_learned_in_v3_and_demanded_in_v2() {
    let v3 = Settings::new(Version::V3, &[VIP]);
    for interval in [1, 99, 4095] {
        let frame = Frame { interval, ..Frame::new(Version::V3, &[VIP]) }.bytes();
        assert_eq!(v3.verdict(&frame).map(|checked| checked.interval), Ok(interval));
    }
    let zero = Frame { interval: 0, ..Frame::new(Version::V3, &[VIP]) }.bytes();
    assert_eq!(v3.verdict(&zero), Err(Reject::Interval));
    for interval in [0, 2, 255] {
        let frame = Frame { interval, ..Frame::new(Version::V2, &[VIP]) }.bytes();
        assert_eq!(v2().verdict(&frame), Err(Reject::Interval));
    }
}

/// The four bits in front of the interval are ignored (RFC 9568 §5.2.6).
#[test]
fn reserved_bits_are_ignored_in_v3() {
    let mut frame = Frame::new(Version::V3, &[VIP]).bytes();
    frame[MESSAGE + 4] |= 0xf0;
    sum_message(&mut frame);
    let checked = Settings::new(Version::V3, &[VIP]).verdict(&frame).unwrap();
    assert_eq!((checked.interval, checked.form), (100, ChecksumForm::Message));
}

#[test]
fn a_password_that_is_right_is_accepted_and_its_type_must_be_ours() {
    let settings = v2().with_password(PASSWORD);
    let frame = Frame { password: Some(PASSWORD), ..Frame::new(Version::V2, &[VIP]) };
    assert!(settings.verdict(&frame.bytes()).is_ok());
    assert_eq!(settings.verdict(&good()), Err(Reject::AuthType));
    // Without authentication the eight bytes have no say (RFC 3768 §5.3.10).
    assert!(v2().verdict(&message(19, 0x77)).is_ok());
}

/// The order of the checks decides what a frame with several faults is counted as.
#[test]
fn the_first_fault_counts() {
    let mut frame = good();
    frame[IP + 8] = 1;
    frame[MESSAGE] = 0x42;
    sum_header(&mut frame);
    assert_eq!(v2().verdict(&frame), Err(Reject::Ttl));
    frame[IP + 8] = 255;
    sum_header(&mut frame);
    assert_eq!(v2().verdict(&frame), Err(Reject::Version));
    // A broken interval byte is a broken checksum and not another configuration.
    let mut frame = good();
    frame[MESSAGE + 5] = 9;
    assert_eq!(v2().verdict(&frame), Err(Reject::Checksum));
}
