//! VRRP as a state machine.
pub mod input;
pub mod output;
pub mod settings;
