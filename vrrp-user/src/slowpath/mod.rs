//! Adverts through a packet socket, where XDP does not run or left a frame alone; and from IP, by whichever
//! interface they come, for instances that have none of their own.
//!
//! The same frame parser and the same validator as in the kernel program, so the same frame gets the
//! same verdict on either way.

mod filter;
#[cfg(test)]
mod frames;
mod numbers;
mod realm;
mod senders;
mod socket;
mod strangers;
mod sys;
mod table;
mod uses;

pub use self::filter::{Filter, Target};
pub use self::realm::Realm;
pub use self::socket::{SlowPath, Tap};
pub use self::table::Table;
