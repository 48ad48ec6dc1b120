//! §7.1: what is checked about an advert.

use std::net::Ipv4Addr;

use vrrp_common::Reject;
use vrrp_common::check::{Agreement, Judgement};

use crate::support::{Frame, IP, MESSAGE, VIP, VRID, sum_header, sum_message};
use crate::{advert, message, v2};

#[test]
fn any_ttl_but_255_is_refused() {
    for ttl in 0..=255 {
        let mut frame = advert().bytes();
        frame[IP + 8] = ttl;
        sum_header(&mut frame);
        let right = if ttl == 255 { Ok(150) } else { Err(Reject::Ttl) };
        assert_eq!(v2().verdict(&frame).map(|checked| checked.priority), right, "{ttl}");
    }
}

#[test]
fn any_version_but_2_is_refused() {
    for version in (0..16).filter(|version| *version != 2) {
        let verdict = v2().verdict(&message(0, version << 4 | 1));
        assert_eq!(verdict, Err(Reject::Version), "{version}");
    }
}

/// Fixed fields, addresses and authentication data.
#[test]
fn the_whole_message_must_be_there() {
    let good = advert().bytes();
    let whole = good.len() - IP;
    assert_eq!(whole, 20 + 8 + 4 + 8);
    for bytes in 20 + 2..whole {
        let mut frame = good.clone();
        frame[IP + 2..IP + 4].copy_from_slice(&(bytes as u16).to_be_bytes());
        sum_header(&mut frame);
        assert_eq!(v2().verdict(&frame), Err(Reject::Length), "{bytes} bytes");
    }
    let mut frame = good;
    frame[MESSAGE + 3] = 3;
    sum_message(&mut frame);
    assert_eq!(v2().verdict(&frame), Err(Reject::Length));
}

#[test]
fn only_configured_vrids_are_ours() {
    for vrid in (0..=255).filter(|vrid| *vrid != VRID) {
        let judgement = v2().judge(&message(1, vrid));
        assert!(matches!(judgement, Some(Judgement::Stranger)), "{vrid}: {judgement:?}");
    }
    assert!(v2().verdict(&message(1, VRID)).is_ok());
}

#[test]
fn any_interval_but_ours_is_refused() {
    for interval in 0..=255 {
        let right = if interval == 1 { Ok(1) } else { Err(Reject::Interval) };
        let verdict = v2().verdict(&message(5, interval));
        assert_eq!(verdict.map(|checked| checked.interval), right, "{interval}");
    }
}

/// The optional check of the list, made: `vip_mismatch drop`. Without it an overlap is accepted.
#[test]
fn other_addresses_are_refused_on_request() {
    let both = Frame { addresses: vec![VIP, Ipv4Addr::new(192, 0, 2, 66)], ..advert() }.bytes();
    assert_eq!(v2().with_same_addresses().verdict(&both), Err(Reject::Addresses));
    assert!(v2().with_same_addresses().verdict(&advert().bytes()).is_ok());
    assert_eq!(v2().verdict(&both).map(|checked| checked.agreement), Ok(Agreement::Overlap));
}
