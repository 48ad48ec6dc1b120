//! §5.2: the fields of the message.

use std::net::{IpAddr, Ipv4Addr};

use rstest::rstest;
use vrrp_common::abi::Router;
use vrrp_common::check::Judgement;
use vrrp_common::checksum::Sum;
use vrrp_common::wire::{Advert, ChecksumForm, EmitError, GROUP_V4};
use vrrp_common::{Priority, Reject, Version, Vrid};

use crate::support::{
    Frame, IP, MESSAGE, MESSAGE6, PEER, Settings, VIP, VIP6, VRID, advert_v6, sum_message,
};
use crate::{advert, v3};

/// A good advert with a byte of its message changed and the sum made right.
fn message(at: usize, byte: u8) -> Vec<u8> {
    let mut frame = advert().bytes();
    frame[MESSAGE + at] = byte;
    sum_message(&mut frame);
    frame
}

/// An advert as its bytes.
fn emitted(interval: u16, addresses: &[IpAddr]) -> Result<Vec<u8>, EmitError> {
    let advert = Advert {
        version: Version::V3,
        vrid: Vrid::new(VRID).unwrap(),
        priority: Priority::new(100),
        interval,
        addresses,
        password: None,
        form: ChecksumForm::Message,
        source: PEER.into(),
        destination: Ipv4Addr::from(GROUP_V4).into(),
    };
    let mut bytes = vec![0xa5; 2048];
    let len = advert.emit(&mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// §5.2.1, §7.1.
#[test]
fn any_version_but_3_is_refused() {
    for version in (0..16).filter(|version| !matches!(version, 2 | 3)) {
        assert_eq!(v3().verdict(&message(0, version << 4 | 1)), Err(Reject::Version));
    }
    let v2 = Frame::new(Version::V2, &[VIP]).bytes();
    assert_eq!(v3().verdict(&v2), Err(Reject::Version));
    assert_eq!(emitted(100, &[VIP.into()]).unwrap()[0], 0x31);
}

/// §5.2.2.
#[test]
fn any_type_but_1_is_refused() {
    for kind in (0..16).filter(|kind| *kind != 1) {
        assert_eq!(v3().verdict(&message(0, 0x30 | kind)), Err(Reject::Type), "{kind}");
    }
}

/// §5.2.3.
#[test]
fn other_vrids_are_other_routers() {
    for vrid in (0..=255).filter(|vrid| *vrid != VRID) {
        let judgement = v3().judge(&message(1, vrid));
        assert!(matches!(judgement, Some(Judgement::Stranger)), "{vrid}: {judgement:?}");
    }
    assert_eq!(Vrid::new(0), None);
}

/// §5.2.4: 255 for the owner, 0 for a release, and the others for Backups.
#[test]
fn each_priority_is_taken_as_it_is() {
    for priority in 0..=255 {
        let checked = v3().verdict(&message(2, priority)).unwrap();
        assert_eq!(checked.priority, priority);
    }
}

/// §5.2.5 and erratum 8299.
#[test]
fn an_advert_without_addresses_is_ignored() {
    let none = Frame { addresses: Vec::new(), ..advert() };
    assert_eq!(v3().verdict(&none.bytes()), Err(Reject::NoAddress));
}

/// §5.2.6: zero when sent, ignored when received.
#[test]
fn the_reserved_bits_mean_nothing() {
    for bits in 0..16 {
        let checked = v3().verdict(&message(4, bits << 4)).unwrap();
        assert_eq!(checked.interval, 100, "{bits}");
    }
    for interval in [1, 100, 255, 256, 4095] {
        assert_eq!(emitted(interval, &[VIP.into()]).unwrap()[4] >> 4, 0, "{interval}");
    }
}

/// §5.2.7 and erratum 8301: 1 to 4095 centiseconds.
#[test]
fn an_interval_of_nothing_is_refused() {
    for interval in [1u16, 2, 99, 100, 255, 256, 4095] {
        let frame = Frame { interval, ..advert() }.bytes();
        assert_eq!(v3().verdict(&frame).map(|checked| checked.interval), Ok(interval));
    }
    for reserved in [0, 0xf0] {
        let mut frame = Frame { interval: 0, ..advert() }.bytes();
        frame[MESSAGE + 4] |= reserved;
        sum_message(&mut frame);
        assert_eq!(v3().verdict(&frame), Err(Reject::Interval));
    }
}

/// §5.2.8: over the message alone, as the RFC describes it, and with the pseudo-header that keepalived
/// and others add over IPv4.
#[rstest]
#[case::of_the_rfc(ChecksumForm::Message)]
#[case::of_keepalived(ChecksumForm::PseudoHeader)]
fn a_checksum_is_right_in_either_form_and_in_no_other(#[case] form: ChecksumForm) {
    let good = Frame { form, ..advert() }.bytes();
    assert_eq!(v3().verdict(&good).map(|checked| checked.form), Ok(form));
    for bit in 0..16 {
        let mut frame = good.clone();
        frame[MESSAGE + 6 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(v3().verdict(&frame), Err(Reject::Checksum), "bit {bit}");
    }
}

/// §5.2.9: the addresses are of the packet's family.
#[test]
fn the_addresses_are_of_the_packets_family() {
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(emitted(100, &[VIP.into(), v6]), Err(EmitError::MixedFamilies));
    assert_eq!(emitted(100, &[v6]), Err(EmitError::MixedFamilies));
    // A message of IPv6 addresses over IPv4 has another length than its count says.
    let mut frame = advert().bytes();
    frame.splice(MESSAGE + 8.., [0xfe; 16]);
    let total = (frame.len() - IP) as u16;
    frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
    crate::support::sum_header(&mut frame);
    sum_message(&mut frame);
    assert_eq!(v3().verdict(&frame), Err(Reject::Length));
}

/// §5.2.8 over IPv6: the pseudo-header is in the sum, so that another sender's is another sum.
#[test]
fn over_ipv6_the_checksum_is_over_the_pseudo_header_too() {
    let settings = Settings::v6(&[VIP6]);
    let good = advert_v6(&[VIP6]);
    assert!(settings.verdict(&good).is_ok());
    // The lower half of the source, and each bit of the sum.
    for (at, bit) in
        (IP + 16..IP + 24).chain(MESSAGE6 + 6..MESSAGE6 + 8).zip([1, 128].iter().cycle())
    {
        let mut frame = good.clone();
        frame[at] ^= bit;
        assert_eq!(settings.verdict(&frame), Err(Reject::Checksum), "byte {at}");
    }
    // The form without it, which version 3 knows over IPv4 only.
    let mut frame = good;
    frame[MESSAGE6 + 6..MESSAGE6 + 8].fill(0);
    let sum = Sum::new().slice(&frame[MESSAGE6..]).checksum();
    frame[MESSAGE6 + 6..MESSAGE6 + 8].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(settings.verdict(&frame), Err(Reject::Checksum));
}

/// §5.2.9 and erratum 8300: the first one is link-local. Demanded of others by who does so itself.
#[test]
fn the_first_ipv6_address_is_link_local() {
    let global = "2001:db8::250".parse().unwrap();
    let mut settings = Settings::v6(&[VIP6, global]);
    settings.router.flags = Router::LINK_LOCAL_FIRST;
    assert!(settings.verdict(&advert_v6(&[VIP6, global])).is_ok());
    assert_eq!(settings.verdict(&advert_v6(&[global, VIP6])), Err(Reject::FirstAddress));
    // Beside fe80::/10 on either side.
    for other in ["fe7f::1", "fec0::1"] {
        let other = other.parse().unwrap();
        assert_eq!(settings.verdict(&advert_v6(&[other, VIP6])), Err(Reject::FirstAddress));
    }
    assert_eq!(settings.verdict(&advert_v6(&[global])), Err(Reject::FirstAddress));
}
