//! The daemon.
pub mod config;
pub mod net;
mod sys;
pub mod transmit;
