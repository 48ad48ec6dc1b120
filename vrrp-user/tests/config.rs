//! The configuration: what files mean, and what is said about those that are wrong.

#[path = "config/addresses.rs"]
mod addresses;
#[path = "config/cases.rs"]
mod cases;
#[path = "config/common.rs"]
mod common;
#[path = "config/grammar.rs"]
mod grammar;
#[path = "config/groups.rs"]
mod groups;
#[path = "config/links.rs"]
mod links;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/never_panics.rs"]
mod never_panics;
#[path = "config/outcome.rs"]
mod outcome;
#[path = "config/peers.rs"]
mod peers;
#[path = "config/schedule.rs"]
mod schedule;
