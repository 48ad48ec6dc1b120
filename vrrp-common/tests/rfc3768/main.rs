//! RFC 3768, VRRP version 2, as far as adverts are built and judged, section by section.

#[cfg(test)]
#[allow(dead_code, reason = "the other version's tests use the rest")]
#[path = "../validator/support.rs"]
mod support;

#[cfg(test)]
mod s5_3_message;
#[cfg(test)]
mod s7_1_receiving;

use vrrp_common::Version;

use support::{Frame, MESSAGE, Settings, VIP, sum_message};

/// A router with one address and without authentication.
fn v2() -> Settings {
    Settings::new(Version::V2, &[VIP])
}

/// A good advert for it.
fn advert() -> Frame {
    Frame::new(Version::V2, &[VIP])
}

/// A good advert with a byte of its message changed and the sum made right.
fn message(at: usize, byte: u8) -> Vec<u8> {
    let mut frame = advert().bytes();
    frame[MESSAGE + at] = byte;
    sum_message(&mut frame);
    frame
}
