//! §5.3: the fields of the message.

use vrrp_common::Reject;
use vrrp_common::wire::ChecksumForm;

use crate::support::{Frame, MESSAGE, sum_message};
use crate::{advert, message, v2};

/// §5.3.2.
#[test]
fn any_type_but_1_is_refused() {
    assert!(v2().verdict(&message(0, 0x21)).is_ok());
    for kind in (0..16).filter(|kind| *kind != 1) {
        assert_eq!(v2().verdict(&message(0, 0x20 | kind)), Err(Reject::Type), "{kind}");
    }
}

/// §5.3.4.
#[test]
fn each_priority_is_taken_as_it_is() {
    for priority in 0..=255 {
        assert_eq!(v2().verdict(&message(2, priority)).map(|c| c.priority), Ok(priority));
    }
}

/// §5.3.6: no type but the configured one.
#[test]
fn any_other_authentication_type_is_refused() {
    for kind in 1..=255 {
        assert_eq!(v2().verdict(&message(4, kind)), Err(Reject::AuthType), "{kind}");
    }
    let settings = v2().with_password(*b"1111\0\0\0\0");
    for kind in (0..=255).filter(|kind| *kind != 1) {
        assert_eq!(settings.verdict(&message(4, kind)), Err(Reject::AuthType), "{kind}");
    }
}

/// §5.3.8: over the message alone. The form with a pseudo-header is version 3's.
#[test]
fn the_checksum_is_over_the_message_alone() {
    let good = advert().bytes();
    assert_eq!(v2().verdict(&good).map(|checked| checked.form), Ok(ChecksumForm::Message));
    for bit in 0..16 {
        let mut frame = good.clone();
        frame[MESSAGE + 6 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(v2().verdict(&frame), Err(Reject::Checksum), "bit {bit}");
    }
    // The sum of version 3 over IPv4: 192.0.2.101, 224.0.0.18, 112 and the length come in.
    let mut frame = good;
    let sum = u16::from_be_bytes([frame[MESSAGE + 6], frame[MESSAGE + 7]]);
    let parts = [0xc000u32, 0x0265, 0xe000, 0x0012, 112, 20, u32::from(!sum)];
    let mut total: u32 = parts.iter().sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    frame[MESSAGE + 6..MESSAGE + 8].copy_from_slice(&(!(total as u16)).to_be_bytes());
    assert_eq!(v2().verdict(&frame), Err(Reject::Checksum));
}

/// §5.3.10: without authentication the last eight bytes are zero when sent, and ignored.
#[test]
fn authentication_data_means_nothing_without_authentication() {
    let good = advert().bytes();
    assert_eq!(good[MESSAGE + 12..], [0; 8]);
    for at in 12..20 {
        assert!(v2().verdict(&message(at, 0x77)).is_ok());
    }
    // With it, each of them counts.
    let password = *b"12345678";
    let settings = v2().with_password(password);
    let with = Frame { password: Some(password), ..advert() }.bytes();
    assert!(settings.verdict(&with).is_ok());
    for at in 12..20 {
        let mut frame = with.clone();
        frame[MESSAGE + at] ^= 1;
        sum_message(&mut frame);
        assert_eq!(settings.verdict(&frame), Err(Reject::AuthData), "byte {at}");
    }
}
