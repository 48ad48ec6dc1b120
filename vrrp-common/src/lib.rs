//! What the kernel program, the daemon and the fuzzers agree on.
//!
//! The crate runs inside XDP, so it is `no_std`, allocates nothing, does no I/O and never panics on
//! input. From the outside in:
//!
//! - [`bytes`]: bounds-checked reads from a frame, the only way any code here looks at input;
//! - [`frame`]: Ethernet and IP, down to where the VRRP message starts ([`frame::locate`]);
//! - [`wire`]: the VRRP message itself (RFC 3768 §5.1, RFC 9568 §5.2) and how to write one;
//! - [`check`]: the one validator, [`check::judge`], used by XDP, the slow path and the fuzzers;
//! - [`reject`]: why a message was refused: an error, a counter index and a name at once;
//! - [`time`]: integer nanoseconds, Skew_Time and Master_Down_Interval (RFC 3768 §6.1, RFC 9568 §6.1);
//! - [`ids`]: VRIDs, priorities, address families, virtual MAC addresses;
//! - [`abi`]: the values in kernel maps and in the ring buffer;
//! - [`arrivals`]: the histogram of the gaps between adverts.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod arrivals;
pub mod bytes;
pub mod check;
pub mod checksum;
pub mod frame;
pub mod ids;
pub mod reject;
pub mod time;
pub mod wire;

pub use bytes::Bytes;
pub use ids::{Family, Priority, Version, Vrid};
pub use reject::Reject;
pub use time::{Instant, Interval};
