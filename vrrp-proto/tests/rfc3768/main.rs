//! RFC 3768, VRRP version 2, as far as the engine is concerned, section by section. What is the same in
//! version 3 has more cases in `tests/rfc9568`.

#[path = "../support/mod.rs"]
mod support;

mod s6_1_parameters;
mod s6_4_1_initialize;
mod s6_4_2_backup;
mod s6_4_3_master;

use vrrp_common::Version;
use vrrp_proto::Settings;

/// VRRPv2, an advert a second, one address, preempting.
fn v2(priority: u8) -> Settings {
    Settings { version: Version::V2, ..support::settings(priority) }
}
