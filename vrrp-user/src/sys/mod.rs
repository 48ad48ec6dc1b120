//! System calls that no library wraps safely: the only `unsafe` code outside the maps' types.
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod interface;
pub(crate) mod limits;
pub(crate) mod link_address;
pub(crate) mod mapped;
pub(crate) mod memory;
pub(crate) mod readiness;
pub(crate) mod schedule;
pub(crate) mod send_beside;
pub(crate) mod send_many;
pub(crate) mod signals;
