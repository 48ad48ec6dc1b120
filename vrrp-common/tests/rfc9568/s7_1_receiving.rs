//! §7.1: what is checked about an advert.

use vrrp_common::check::Agreement;
use vrrp_common::{Reject, Version};

use crate::support::{Frame, IP, MESSAGE, Settings, VIP, sum_header, sum_message};
use crate::{OTHER, advert, v3};

/// A good advert whose packet has so many bytes; what is behind it is padding.
fn cut(bytes: usize) -> Vec<u8> {
    let mut frame = advert().bytes();
    frame[IP + 2..IP + 4].copy_from_slice(&(bytes as u16).to_be_bytes());
    sum_header(&mut frame);
    frame
}

#[test]
fn the_whole_message_must_be_there() {
    let whole = advert().bytes().len() - IP;
    assert!(v3().verdict(&cut(whole)).is_ok());
    for bytes in 20 + 2..whole {
        assert_eq!(v3().verdict(&cut(bytes)), Err(Reject::Length), "{bytes} bytes");
    }
    // One address more than there is.
    let mut frame = advert().bytes();
    frame[MESSAGE + 3] = 2;
    sum_message(&mut frame);
    assert_eq!(v3().verdict(&frame), Err(Reject::Length));
}

/// Another interval than ours is worth a line and no reason to drop.
#[test]
fn another_interval_is_no_reason_to_drop() {
    let settings = v3();
    assert_eq!(settings.router.interval, 1);
    let checked = settings.verdict(&advert().bytes()).unwrap();
    assert_eq!(checked.interval, 100);
}

/// A list that differs is told apart and accepted, unless none of the addresses is ours.
#[test]
fn other_addresses_are_no_reason_to_drop_while_one_is_ours() {
    let both = Frame { addresses: vec![VIP, OTHER], ..advert() }.bytes();
    assert_eq!(v3().verdict(&both).map(|checked| checked.agreement), Ok(Agreement::Overlap));
    let other = Frame { addresses: vec![OTHER], ..advert() }.bytes();
    assert_eq!(v3().verdict(&other), Err(Reject::ForeignCluster));
    // In the order of either side, the same list is the same list.
    let settings = Settings::new(Version::V3, &[OTHER, VIP]);
    assert_eq!(settings.verdict(&both).map(|checked| checked.agreement), Ok(Agreement::Exact));
}

/// The optional check, made: `vip_mismatch drop`.
#[test]
fn other_addresses_are_refused_on_request() {
    let both = Frame { addresses: vec![VIP, OTHER], ..advert() }.bytes();
    assert_eq!(v3().with_same_addresses().verdict(&both), Err(Reject::Addresses));
    assert!(v3().with_same_addresses().verdict(&advert().bytes()).is_ok());
}
