//! The configuration.
pub mod model;
