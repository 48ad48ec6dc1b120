//! §5.1: the fields of the IP header.

use vrrp_common::check::Judgement;
use vrrp_common::{Reject, wire};

use crate::support::{IP, sum_header};
use crate::{advert, v3};

/// §5.1.1.2: the group.
#[test]
fn adverts_for_another_group_are_nobodys() {
    assert!(v3().verdict(&advert().bytes()).is_ok());
    for group in [[224, 0, 0, 17], [224, 0, 0, 19], [239, 0, 0, 18], [225, 0, 0, 18]] {
        let mut frame = advert().bytes();
        frame[IP + 16..IP + 20].copy_from_slice(&group);
        sum_header(&mut frame);
        assert_eq!(v3().judge(&frame), Some(Judgement::NotOurs), "{group:?}");
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
