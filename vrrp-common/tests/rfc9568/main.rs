//! RFC 9568, VRRP version 3, as far as adverts are built and judged, section by section.

#[cfg(test)]
#[allow(dead_code, reason = "the other version's tests use the rest")]
#[path = "../validator/support.rs"]
mod support;

#[cfg(test)]
mod s5_1_ip_header;
#[cfg(test)]
mod s5_2_message;
#[cfg(test)]
mod s7_1_receiving;

use std::net::Ipv4Addr;

use vrrp_common::Version;

use support::{Frame, Settings, VIP};

/// A router with one address.
fn v3() -> Settings {
    Settings::new(Version::V3, &[VIP])
}

/// A good advert for it.
fn advert() -> Frame {
    Frame::new(Version::V3, &[VIP])
}

/// An address that is not one of the router's.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
