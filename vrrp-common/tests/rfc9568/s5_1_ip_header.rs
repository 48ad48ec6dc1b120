//! §5.1: the fields of the IP header.

use vrrp_common::{Reject, wire};

use crate::support::{IP, Settings, VIP6, advert_v6, sum_header};
use crate::{advert, v3};

/// §5.1.1.2: the group.
#[test]
fn adverts_for_another_group_are_refused() {
    assert!(v3().verdict(&advert().bytes()).is_ok());
    for group in [[224, 0, 0, 17], [224, 0, 0, 19], [239, 0, 0, 18], [225, 0, 0, 18]] {
        let mut frame = advert().bytes();
        frame[IP + 16..IP + 20].copy_from_slice(&group);
        sum_header(&mut frame);
        assert_eq!(v3().verdict(&frame), Err(Reject::Group), "{group:?}");
    }
}

/// §5.1.1.3: TTL 255 and no other.
#[test]
fn any_ttl_but_255_is_refused() {
    for ttl in 0..=255 {
        let mut frame = advert().bytes();
        frame[IP + 8] = ttl;
        sum_header(&mut frame);
        let verdict = v3().verdict(&frame);
        if ttl == 255 {
            assert!(verdict.is_ok());
        } else {
            assert_eq!(verdict, Err(Reject::Ttl), "{ttl}");
        }
    }
}

/// §5.1.1.4: protocol 112.
#[test]
fn another_protocol_is_no_advert() {
    for protocol in [0, 2, 17, 111, 113, 255] {
        let mut frame = advert().bytes();
        frame[IP + 9] = protocol;
        sum_header(&mut frame);
        assert_eq!(v3().judge(&frame), None, "{protocol}");
    }
    assert_eq!(wire::PROTOCOL, 112);
}

/// §5.1.2.2: the group over IPv6.
#[test]
fn adverts_for_another_ipv6_group_are_refused() {
    let settings = Settings::v6(&[VIP6]);
    assert!(settings.verdict(&advert_v6(&[VIP6])).is_ok());
    for (at, byte) in [(24 + 15, 0x11), (24 + 15, 0x13), (24 + 1, 0x05), (24 + 1, 0x01)] {
        let mut frame = advert_v6(&[VIP6]);
        frame[IP + at] = byte;
        assert_eq!(settings.verdict(&frame), Err(Reject::Group), "{at}: {byte:#x}");
    }
}

/// §5.1.2.3: hop limit 255 and no other.
#[test]
fn any_hop_limit_but_255_is_refused() {
    let settings = Settings::v6(&[VIP6]);
    for limit in 0..=255 {
        let mut frame = advert_v6(&[VIP6]);
        frame[IP + 7] = limit;
        let verdict = settings.verdict(&frame);
        if limit == 255 {
            assert!(verdict.is_ok());
        } else {
            assert_eq!(verdict, Err(Reject::Ttl), "{limit}");
        }
    }
}

/// §5.1.2.4: next header 112.
#[test]
fn another_next_header_is_no_advert() {
    for next in [6, 17, 58, 59, 111, 113, 255] {
        let mut frame = advert_v6(&[VIP6]);
        frame[IP + 6] = next;
        assert_eq!(Settings::v6(&[VIP6]).judge(&frame), None, "{next}");
    }
}
