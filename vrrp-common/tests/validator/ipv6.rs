//! VRRPv3 over IPv6.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use rstest::rstest;
use vrrp_common::abi::Router;
use vrrp_common::check::{Agreement, Envelope, Judgement};
use vrrp_common::wire::{self, ChecksumForm};
use vrrp_common::{Reject, checksum, frame};

use crate::support::{IP, MESSAGE6, OURS6, SLOT, Settings, VIP6, advert_v6};

/// That many addresses, the first link-local.
fn list(count: u8) -> Vec<Ipv6Addr> {
    let global = (1..count).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()));
    std::iter::once(VIP6).chain(global).take(count.into()).collect()
}

fn sum(frame: &mut [u8]) {
    let (source, destination) = (frame[IP + 8..IP + 24].to_vec(), frame[IP + 24..IP + 40].to_vec());
    let len = u16::from_be_bytes([frame[IP + 4], frame[IP + 5]]);
    let message = &mut frame[MESSAGE6..MESSAGE6 + usize::from(len)];
    message[6..8].fill(0);
    let pseudo = checksum::pseudo_header(
        vrrp_common::Family::V6,
        &source.try_into().unwrap(),
        &destination.try_into().unwrap(),
        len,
    );
    let sum = pseudo.slice(message).checksum();
    message[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// A good frame with these bytes of the IP header changed, and the message's sum made right.
fn header(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = advert_v6(&list(2));
    frame[IP + at..IP + at + bytes.len()].copy_from_slice(bytes);
    sum(&mut frame);
    frame
}

#[test]
fn every_length_that_a_message_can_have() {
    for count in 1..=255 {
        let settings = Settings::v6(&list(count));
        let mut theirs = list(count);
        theirs.reverse();
        let frame = advert_v6(&theirs);
        let checked = settings.verdict(&frame).unwrap();
        assert_eq!(checked.agreement, Agreement::Exact, "{count}");
        assert_eq!(checked.form, ChecksumForm::PseudoHeader);
        let fast = settings.judge_fast(&frame);
        if count <= 32 {
            assert_eq!(fast, settings.judge(&frame), "{count}");
        } else {
            assert_eq!(fast, Some(Judgement::Unfinished { slot: SLOT }), "{count}");
        }
        theirs[0] = "2001:db8:1::1".parse().unwrap();
        let right = if count == 1 { Err(Reject::ForeignCluster) } else { Ok(Agreement::Overlap) };
        assert_eq!(settings.verdict(&advert_v6(&theirs)).map(|c| c.agreement), right);
    }
}

#[rstest]
#[case::hop_limit(header(7, &[254]), Reject::Ttl)]
#[case::to_one_host(header(24, &OURS6.octets()), Reject::Destination)]
#[case::from_a_group(header(8, &wire::GROUP_V6), Reject::Source)]
#[case::from_nobody(header(8, &[0; 16]), Reject::Source)]
#[case::from_loopback(header(8, &Ipv6Addr::LOCALHOST.octets()), Reject::Source)]
#[case::from_ourselves(header(8, &OURS6.octets()), Reject::OwnSource)]
#[case::shorter_than_it_says(advert_v6(&list(2))[..MESSAGE6 + 30].to_vec(), Reject::Truncated)]
#[case::no_address(advert_v6(&[]), Reject::NoAddress)]
fn refused(#[case] frame: Vec<u8>, #[case] reason: Reject) {
    let settings = Settings::v6(&list(2));
    assert_eq!(settings.verdict(&frame), Err(reason));
    assert_eq!(settings.judge_fast(&frame), settings.judge(&frame));
}

#[test]
fn other_groups_and_the_other_family() {
    let settings = Settings::v6(&list(2));
    let mut other = wire::GROUP_V6;
    other[15] = 0x13;
    assert_eq!(settings.verdict(&header(24, &other)), Err(Reject::Group));
    // The same VRID over IPv4 is another virtual router.
    let v4 = Settings::new(vrrp_common::Version::V3, &[]);
    assert_eq!(v4.judge(&advert_v6(&list(2))), Some(Judgement::Stranger));
}

/// What is told of a frame beside the verdict.
#[test]
fn where_it_comes_from_and_where_it_goes() {
    let frame = header(7, &[254]);
    let located = frame::locate::<_, true>(&frame[..]).unwrap();
    let right = Envelope {
        source: frame[IP + 8..IP + 24].try_into().unwrap(),
        destination: wire::GROUP_V6,
        ttl: 254,
        vrid: frame[MESSAGE6 + 1],
        mac: frame[6..12].try_into().unwrap(),
    };
    assert_eq!(Envelope::read(&frame[..], &located), Some(right));
}

/// Extension headers are skipped, summed by nobody, and left to the slow path.
#[test]
fn extension_headers() {
    let settings = Settings::v6(&list(2));
    let mut frame = advert_v6(&list(2));
    let plain = settings.verdict(&frame).unwrap();
    frame[IP + 6] = 0;
    frame[IP + 5] += 8;
    frame.splice(MESSAGE6..MESSAGE6, [112, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!(settings.verdict(&frame), Ok(plain));
    assert_eq!(settings.judge_fast(&frame), None);
    // One that says more than the packet holds.
    frame[IP + 5] = 4;
    assert_eq!(settings.verdict(&frame), Err(Reject::Truncated));
    let mut fragment = advert_v6(&list(2));
    fragment[IP + 6] = 44;
    fragment.splice(MESSAGE6..MESSAGE6, [112, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(settings.verdict(&fragment), Err(Reject::Fragment));
}

/// Erratum 8300, where the instance keeps it itself.
#[test]
fn the_first_address_is_link_local() {
    let mut settings = Settings::v6(&list(3));
    let mut theirs = list(3);
    theirs.reverse();
    let frame = advert_v6(&theirs);
    assert!(settings.verdict(&frame).is_ok());
    settings.router.flags = Router::LINK_LOCAL_FIRST;
    assert_eq!(settings.verdict(&frame), Err(Reject::FirstAddress));
    assert!(settings.verdict(&advert_v6(&list(3))).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The sum covers everything that is not checked otherwise.
    #[test]
    fn one_wrong_byte_is_noticed(
        count in 1_u8..40,
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let settings = Settings::v6(&list(count));
        let mut frame = advert_v6(&list(count));
        let at = at.index(frame.len());
        frame[at] ^= change;
        let judgement = settings.judge(&frame);
        if let Some(Judgement::Ours { verdict: Ok(_), .. }) = judgement {
            // Ethernet addresses, traffic class and flow label.
            prop_assert!(at < 12 || (IP..IP + 4).contains(&at), "byte {at}: {judgement:?}");
        }
        match settings.judge_fast(&frame) {
            None | Some(Judgement::Unfinished { .. }) => {}
            fast => prop_assert_eq!(fast, judgement),
        }
    }
}
