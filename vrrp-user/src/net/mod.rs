//! The host's interfaces and addresses.
//!
//! Two directions, two threads. [`executor`] carries out what the engine asks for, on a thread of its
//! own (`worker`): addresses by [`addr`], as long as `claims` says that somebody holds them, and behind
//! it `serving`, which waits for the kernel; announcements by `announce`, which
//! says what is next, and `announcing`; `removal` takes addresses off, many at once; `duplicates` puts on again what the kernel will not use,
//! `mending` undoes what somebody did to an interface of ours; `paths` has routes and rules. [`own_link`]
//! makes the interfaces that instances have for themselves. [`monitor`] tells what happens on the host,
//! on the service thread. [`leftover`] judges, at start, the addresses that are already there.
//!
//! Nothing here runs on the protocol thread, and nothing here decides an election.

pub mod addr;
mod announce;
mod announcing;
mod claims;
mod duplicates;
pub mod executor;
pub mod firewall;
#[cfg(test)]
pub(crate) mod fixtures;
mod host_routes;
mod inbox;
mod interfaces;
pub(crate) mod lease;
pub mod leftover;
mod link;
mod mending;
pub mod monitor;
mod netlink;
pub(crate) mod order;
pub mod own_link;
pub(crate) mod paths;
mod preferred;
pub(crate) mod promotion;
mod removal;
pub mod routes;
mod serving;
pub(crate) mod strays;
pub(crate) mod sysctl;
mod table;
pub mod traces;
mod worker;

pub(crate) use table::in_one_network;
pub use table::{HostAddress, Interface, Possession, Snapshot};
