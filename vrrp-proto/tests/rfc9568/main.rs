//! RFC 9568 as far as the engine is concerned, section by section.

#[path = "../support/mod.rs"]
mod support;

mod s6_1_parameters;
mod s6_4_1_initialize;
mod s6_4_2_backup;
mod s6_4_3_active;
mod s8_3_2_owners;
