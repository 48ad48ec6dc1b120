//! What the engine is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, Priority};

use crate::settings::{Settings, TrackerId, VirtualAddress};

/// The number of a virtual router in this process; also its slot in the kernel's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The number of a sync group in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// An advert that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Its sender.
    pub source: IpAddr,
    /// The sender's priority; 0 releases.
    pub priority: Priority,
    /// The sender's interval.
    pub interval: Interval,
    /// The checksum form the sender uses.
    pub form: ChecksumForm,
    /// Whether the addresses are ours.
    pub agreement: Agreement,
    /// The number of the list of addresses, by [`Agreement::list`].
    pub list: u32,
    /// The sender's MAC address: the interface's, or the virtual router's (RFC 9568 §7.2).
    pub mac: [u8; 6],
}

/// The state of a router's own interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It can carry adverts, from this source address.
    Up(IpAddr),
    /// It is there and up, but has no address to send from.
    NoSource,
    /// It is up, but an interface that one of the addresses belongs to is not there.
    NoDevice,
    /// It is up, but there is no unicast peer to send to.
    NoPeer,
    /// It is up, but adverts can't be received on it: no descriptor, no permission.
    Deaf,
    /// It is up, but another process serves the virtual router on it.
    Taken,
    /// It is down, without carrier, or gone; it has this source address all the same, where that is known. One
    /// whose link is not tracked takes part from there.
    Down(Option<IpAddr>),
}

/// What a watched thing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has said nothing yet.
    Unknown,
    /// Well.
    Good,
    /// Not well.
    Bad,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The addresses are as asked; those that were not there before are announced.
    Done,
    /// The kernel refused an address, with its reason; others of the router are there.
    Partly {
        /// Which.
        address: VirtualAddress,
        /// The kernel's word for it.
        error: String,
    },
    /// The kernel refused an address, with its reason, and the router has no other.
    Failed {
        /// Which.
        address: VirtualAddress,
        /// The kernel's word for it.
        error: String,
    },
    /// What became of routes and rules, where there is something to tell.
    Paths {
        /// Those that were gone or refused before, and are there now.
        restored: Vec<String>,
        /// Those that are not there, and the kernel's reason.
        failed: Vec<(String, String)>,
    },
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A new router. It does nothing before `hold` is over and its first [`Input::Link`] has come.
    Add {
        /// Its number, not in use.
        slot: Slot,
        /// Its settings.
        settings: Box<Settings>,
        /// How long it stays silent after this (`vrrp_startup_delay`).
        hold: Duration,
    },
    /// A router that was just added, and has no link yet, was Active a moment ago in an earlier life of
    /// this process: it goes on as soon as its link is up, without listening first. Its addresses are on
    /// their interfaces; where it can't go on, they are taken off.
    Resume {
        /// Its number.
        slot: Slot,
        /// When its peers take over: from then on it listens like any other.
        until: Instant,
        /// The priority it had, which it keeps until everything with a weight has spoken.
        priority: Priority,
        /// The checksum form of its adverts, which it keeps until it hears another: its peers may take no
        /// other, and say nothing while it is Active.
        form: ChecksumForm,
    },
    /// New settings for a router, by reload. VRID and family stay: with others it is another router. Where
    /// the version is another, [`Transmit`](crate::Transmit) means adverts of that from now on.
    Change {
        /// Its number.
        slot: Slot,
        /// Its settings from now on.
        settings: Box<Settings>,
    },
    /// The routers that change their state together (keepalived's `vrrp_sync_group`), for each group that
    /// is another one than before all of them; without any the group is no more. A router is in the group
    /// that named it last; one that is not there is left out. Groups that change together are told
    /// together: whoever goes from one to another is never without.
    ///
    /// Behind the [`Input::Add`] of new members and before their first [`Input::Link`]: a group starts
    /// once it knows all of its members. Those of a group that is Active stay so when another one comes.
    Groups {
        /// Each with its number.
        groups: Vec<(GroupId, Vec<Slot>)>,
    },
    /// A router is no longer wanted: it releases and ends, and leaves its group as it is.
    Remove {
        /// Its number.
        slot: Slot,
    },
    /// An advert for a router arrived; `now` is the kernel's stamp.
    Advert {
        /// The router's number.
        slot: Slot,
        /// The advert.
        advert: Advert,
    },
    /// The advert that is watched for a router was repeated; `now` is the last time. Nothing is lost by
    /// saying so again.
    Heard {
        /// The router's number.
        slot: Slot,
        /// A timer runs that will tell when the Active router has been silent for too long.
        armed: bool,
    },
    /// A router's own interface changed.
    Link {
        /// The router's number.
        slot: Slot,
        /// Its state now.
        link: Link,
    },
    /// What became of an advert, where that is news: each that did not leave is to be told, the first that
    /// did behind such a one, and each with [`Transmit::trial`](crate::Transmit::trial). Others left, unless
    /// something is said.
    Sent {
        /// The router's number.
        slot: Slot,
        /// What the advert said.
        priority: Priority,
        /// Whether it left.
        left: bool,
    },
    /// A watched thing changed.
    Track {
        /// Which.
        id: TrackerId,
        /// What it says now.
        health: Health,
    },
    /// Somebody else removed addresses of a router.
    AddressesLost {
        /// The router's number.
        slot: Slot,
        /// Which.
        addresses: Vec<VirtualAddress>,
    },
    /// Something happened that may have cost a router routes or rules.
    PathsDoubted {
        /// The router's number.
        slot: Slot,
        /// Addresses that an interface of the host has lost since this was said last.
        gone: Arc<BTreeSet<IpAddr>>,
    },
    /// An effect ended.
    Outcome {
        /// The router's number.
        slot: Slot,
        /// How.
        outcome: Outcome,
    },
    /// The process ends: every router releases.
    Shutdown,
}
