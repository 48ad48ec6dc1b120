//! Our list of addresses against theirs.

use std::net::Ipv4Addr;

use rstest::rstest;
use vrrp_common::check::{Agreement, Judgement};
use vrrp_common::{Reject, Version};

use crate::support::{Frame, SLOT, Settings, addresses};

const BOTH: [Version; 2] = [Version::V2, Version::V3];

fn list(lasts: &[u8]) -> Vec<Ipv4Addr> {
    lasts.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last)).collect()
}

#[rstest]
#[case::same(&[1, 2, 3], &[1, 2, 3], Ok(Agreement::Exact))]
#[case::other_order(&[1, 2, 3], &[3, 1, 2], Ok(Agreement::Exact))]
#[case::subset(&[1, 2, 3], &[1, 3], Ok(Agreement::Overlap))]
#[case::superset(&[1, 2], &[1, 2, 3], Ok(Agreement::Overlap))]
#[case::one_in_common(&[1, 2], &[2, 9], Ok(Agreement::Overlap))]
#[case::one_twice(&[1], &[1, 1], Ok(Agreement::Overlap))]
#[case::one_twice_for_another(&[1, 2], &[1, 1], Ok(Agreement::Overlap))]
#[case::none_in_common(&[1, 2], &[3, 4], Err(Reject::ForeignCluster))]
#[case::we_have_none(&[], &[3, 4], Ok(Agreement::Overlap))]
fn lists(#[case] ours: &[u8], #[case] theirs: &[u8], #[case] right: Result<Agreement, Reject>) {
    for version in BOTH {
        let settings = Settings::new(version, &list(ours));
        let frame = Frame::new(version, &list(theirs)).bytes();
        assert_eq!(settings.verdict(&frame).map(|checked| checked.agreement), right);
        assert_eq!(settings.judge_fast(&frame), settings.judge(&frame));
        // A router that demands the same list takes no other.
        let strict = match right {
            Ok(Agreement::Overlap) => Err(Reject::Addresses),
            other => other,
        };
        let settings = settings.with_same_addresses();
        assert_eq!(settings.verdict(&frame).map(|checked| checked.agreement), strict);
    }
}

/// The only address of both is found without a look into the list, and nothing else is.
#[test]
fn an_only_address_is_at_hand() {
    for version in BOTH {
        let agreement = |ours: &[u8], theirs: &[u8]| {
            let settings = Settings::new(version, &list(ours)).without_list();
            let verdict = settings.verdict(&Frame::new(version, &list(theirs)).bytes());
            verdict.map(|checked| checked.agreement)
        };
        assert_eq!(agreement(&[1], &[1]), Ok(Agreement::Exact));
        assert_eq!(agreement(&[1, 2], &[1]), Ok(Agreement::Overlap));
        for (ours, theirs) in [(&[1][..], &[2][..]), (&[1], &[1, 1]), (&[2, 1], &[1])] {
            assert_eq!(agreement(ours, theirs), Err(Reject::ForeignCluster), "{ours:?} {theirs:?}");
        }
    }
}

#[test]
fn no_address_at_all() {
    let empty = Frame::new(Version::V3, &[]).bytes();
    for ours in [0, 1] {
        let settings = Settings::new(Version::V3, &addresses(ours));
        assert_eq!(settings.verdict(&empty), Err(Reject::NoAddress));
    }
    // VRRPv2 has no such rule: two routers without addresses agree.
    let empty = Frame::new(Version::V2, &[]).bytes();
    let none = Settings::new(Version::V2, &[]);
    assert_eq!(none.verdict(&empty).map(|checked| checked.agreement), Ok(Agreement::Exact));
    let one = Settings::new(Version::V2, &addresses(1));
    assert_eq!(one.verdict(&empty), Err(Reject::NoAddress));
}

#[test]
fn every_length_that_a_message_can_have() {
    for version in BOTH {
        for count in 1..=255 {
            let ours = addresses(count);
            let theirs: Vec<_> = ours.iter().rev().copied().collect();
            let settings = Settings::new(version, &ours);
            let frame = Frame::new(version, &theirs).bytes();
            let verdict = settings.verdict(&frame).map(|checked| checked.agreement);
            assert_eq!(verdict, Ok(Agreement::Exact), "{count} addresses");
            let fast = settings.judge_fast(&frame);
            if count <= 32 {
                assert_eq!(fast, settings.judge(&frame), "{count} addresses");
            } else {
                assert_eq!(fast, Some(Judgement::Unfinished { slot: SLOT }), "{count} addresses");
            }
            // Any one of them exchanged is noticed.
            let mut other = theirs;
            other[usize::from(count) / 2] = Ipv4Addr::new(203, 0, 113, 1);
            let frame = Frame::new(version, &other).bytes();
            let right =
                if count == 1 { Err(Reject::ForeignCluster) } else { Ok(Agreement::Overlap) };
            assert_eq!(settings.verdict(&frame).map(|checked| checked.agreement), right);
        }
    }
}

/// With more addresses than the kernel program's loop takes, ours share bits there; a shorter list of
/// theirs must not look like all of ours.
#[test]
fn a_long_list_of_ours_is_not_mistaken_by_the_short_loop() {
    for ours in [33, 40, 64, 65, 255] {
        let settings = Settings::new(Version::V3, &addresses(ours));
        for theirs in 1..=32 {
            let frame = Frame::new(Version::V3, &addresses(theirs)).bytes();
            let verdict = settings.verdict(&frame).map(|checked| checked.agreement);
            assert_eq!(verdict, Ok(Agreement::Overlap));
            assert_eq!(settings.judge_fast(&frame), settings.judge(&frame));
        }
    }
}
