//! Adverts to one host, and those behind an authentication header.

use rstest::rstest;
use vrrp_common::abi::{Router, TtlBounds};
use vrrp_common::check::{Agreement, Judgement};
use vrrp_common::{Reject, Version, wire};

use crate::support::{
    Frame, IP, OURS, PEER, SLOT, Settings, VIP, addresses, sealed, sum_header, sum_message,
};

fn unicast(min: u8, max: u8) -> Settings {
    let mut settings = Settings::new(Version::V2, &[VIP]);
    settings.router.flags = Router::UNICAST;
    settings.router.destination = settings.router.source;
    settings.peers.insert(wire::octets(PEER.into()), TtlBounds::new(min, max));
    settings
}

fn frame(ttl: u8, to: [u8; 4]) -> Vec<u8> {
    let mut frame = Frame::new(Version::V2, &[VIP]).bytes();
    frame[IP + 8] = ttl;
    frame[IP + 16..IP + 20].copy_from_slice(&to);
    sum_header(&mut frame);
    frame
}

#[rstest]
#[case::any(0, 255, 1, true)]
#[case::least(64, 255, 64, true)]
#[case::less(64, 255, 63, false)]
#[case::most(0, 64, 64, true)]
#[case::more(0, 64, 65, false)]
fn a_peers_ttl(#[case] min: u8, #[case] max: u8, #[case] ttl: u8, #[case] good: bool) {
    let settings = unicast(min, max);
    let frame = frame(ttl, OURS.octets());
    assert_eq!(settings.verdict(&frame).map(drop), if good { Ok(()) } else { Err(Reject::Ttl) });
    assert_eq!(settings.judge_fast(&frame), settings.judge(&frame));
}

/// `check_unicast_src off`: of whoever is not in the list, nothing is known.
#[test]
fn a_strangers_ttl() {
    let mut settings = unicast(255, 255);
    settings.peers.clear();
    for ttl in [0, 1, 64, 255] {
        assert_eq!(settings.verdict(&frame(ttl, OURS.octets())).map(drop), Ok(()), "{ttl}");
    }
}

#[test]
fn to_another_host_or_to_a_group() {
    let settings = unicast(0, 255);
    assert_eq!(settings.verdict(&frame(255, [192, 0, 2, 12])), Err(Reject::Destination));
    assert_eq!(settings.verdict(&frame(255, wire::GROUP_V4)), Err(Reject::Group));
    // A router on another group hears that and no other.
    let mut settings = Settings::new(Version::V2, &[VIP]);
    settings.router.destination[..4].copy_from_slice(&[239, 0, 0, 18]);
    assert!(settings.verdict(&frame(255, [239, 0, 0, 18])).is_ok());
    assert_eq!(settings.verdict(&frame(255, wire::GROUP_V4)), Err(Reject::Group));
    // Where others of ours have the VRID, that may be theirs.
    settings.router.flags = Router::SHARED;
    assert_eq!(settings.judge(&frame(255, wire::GROUP_V4)), Some(Judgement::NotOurs));
    assert!(settings.verdict(&frame(255, [239, 0, 0, 18])).is_ok());
}

#[test]
fn a_seal_is_asked_for_last() {
    let mut settings = Settings::new(Version::V2, &[VIP]);
    // No seal was wanted.
    assert_eq!(settings.verdict(&sealed()), Err(Reject::AuthType));
    settings.router.auth_type = wire::AUTH_AH;
    assert_eq!(settings.judge(&sealed()), Some(Judgement::Unfinished { slot: SLOT }));
    assert_eq!(settings.judge_fast(&sealed()), Some(Judgement::Unfinished { slot: SLOT }));
    settings.unsealed = Some(Ok(()));
    assert!(settings.verdict(&sealed()).is_ok());
    settings.unsealed = Some(Err(Reject::AuthData));
    assert_eq!(settings.verdict(&sealed()), Err(Reject::AuthData));
    // Whatever is wrong beside it is told first.
    let mut bad = sealed();
    bad[IP + 8] = 254;
    sum_header(&mut bad);
    assert_eq!(settings.verdict(&bad), Err(Reject::Ttl));
    // None, and one of another length.
    let mut none = Frame::new(Version::V2, &[VIP]).bytes();
    none[IP + wire::IPV4_HEADER + 4] = wire::AUTH_AH;
    sum_message(&mut none);
    assert_eq!(settings.verdict(&none), Err(Reject::AuthType));
    let mut long = sealed();
    long[IP + wire::IPV4_HEADER + 1] = 5;
    long.splice(IP + wire::IPV4_HEADER + 24..IP + wire::IPV4_HEADER + 24, [0; 4]);
    long[IP + 3] += 4;
    sum_header(&mut long);
    assert_eq!(settings.verdict(&long), Err(Reject::AuthType));
    assert_eq!(settings.judge_fast(&long), None);
}

/// Whoever speaks VRRPv3 has no authentication: the version is what there is to set alike.
#[test]
fn another_version_is_told_before_another_authentication() {
    let mut settings = Settings::new(Version::V2, &[VIP]);
    settings.router.auth_type = wire::AUTH_AH;
    let plain = Frame::new(Version::V3, &[VIP]).bytes();
    let mut behind_a_header = sealed();
    behind_a_header[IP + wire::IPV4_HEADER + wire::AH_HEADER] = 0x31;
    let mut behind_a_long_one = behind_a_header.clone();
    behind_a_long_one[IP + wire::IPV4_HEADER + 1] = 5;
    behind_a_long_one.splice(IP + wire::IPV4_HEADER + 24..IP + wire::IPV4_HEADER + 24, [0; 4]);
    behind_a_long_one[IP + 3] += 4;
    sum_header(&mut behind_a_long_one);
    for frame in [&plain, &behind_a_header, &behind_a_long_one] {
        assert_eq!(settings.verdict(frame), Err(Reject::Version), "{frame:02x?}");
    }
    for frame in [&plain, &behind_a_header] {
        assert_eq!(settings.judge_fast(frame), settings.judge(frame));
    }
}

/// `skip_check_adv_addr`: only a sender that was not heard last has its addresses compared.
#[rstest]
#[case::from_the_last(Some(true), Ok(Agreement::Unasked))]
#[case::from_another(Some(false), Err(Reject::ForeignCluster))]
fn addresses_are_skipped(#[case] last: Option<bool>, #[case] right: Result<Agreement, Reject>) {
    let mut settings = Settings::new(Version::V2, &[VIP]);
    let other = Frame::new(Version::V2, &addresses(2)).bytes();
    settings.came_last = last;
    assert_eq!(settings.verdict(&other).map(|c| c.agreement), Err(Reject::ForeignCluster));
    settings.router.flags = Router::SKIP_ADDRESSES;
    assert_eq!(settings.verdict(&other).map(|c| c.agreement), right);
    settings.came_last = None;
    assert_eq!(settings.judge(&other), Some(Judgement::Unfinished { slot: SLOT }));
    // The same ones need no answer.
    let same = Frame::new(Version::V2, &[VIP]).bytes();
    assert_eq!(settings.verdict(&same).map(|c| c.agreement), Ok(Agreement::Exact));
}
