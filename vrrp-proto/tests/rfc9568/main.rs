//! The state machine of RFC 9568 §6.4, section by section.

#[path = "../support/mod.rs"]
mod support;

mod s6_1_parameters;
mod s6_4_1_initialize;
mod s6_4_2_backup;
mod s6_4_3_active;
