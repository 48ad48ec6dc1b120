//! What the engine asks for and tells.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, Priority};

use crate::input::{Advert, GroupId, Slot};
use crate::paths::Paths;
use crate::settings::{TrackerId, VirtualAddress};

/// An advert to send now. First lane: never behind an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The router.
    pub slot: Slot,
    /// The priority to say; 0 releases.
    pub priority: Priority,
    /// The checksum form to use.
    pub form: ChecksumForm,
    /// It is to show whether adverts leave: [`Input::Sent`](crate::Input::Sent) is awaited, whatever
    /// becomes of it.
    pub trial: bool,
}

/// What the engine would not need to be told of, if somebody else watches it: a Backup's Active router
/// that only repeats itself. Who can't watch hands in every advert, as if nothing had been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Until further notice this advert, repeated, is worth no `Input::Advert`. When `down` has passed
    /// since the last one, `Input::Heard` and [`Engine::handle_timeout`](crate::Engine::handle_timeout)
    /// are due.
    Start {
        /// The router.
        slot: Slot,
        /// The advert.
        advert: Advert,
        /// Master_Down_Interval.
        down: Duration,
        /// When it was heard last.
        heard: Instant,
    },
    /// Every advert matters again. One that came before this was obeyed is to be handed in.
    Stop {
        /// The router.
        slot: Slot,
    },
}

/// Work on the host's addresses, routes and rules, to be done in this order for each router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put these addresses on their interfaces, then answer with `Input::Outcome`.
    AddAddresses {
        /// The router.
        slot: Slot,
        /// Which.
        addresses: Arc<[VirtualAddress]>,
    },
    /// Take these addresses off. Announcements for them that still wait are dropped.
    RemoveAddresses {
        /// The router.
        slot: Slot,
        /// Which.
        addresses: Arc<[VirtualAddress]>,
    },
    /// Put these routes and rules on, in this order, where they are not there already, and tell by
    /// `Input::Outcome` what could not be put on, and what is there now that was missing.
    AddPaths {
        /// The router.
        slot: Slot,
        /// Which.
        paths: Arc<Paths>,
    },
    /// Take these rules and routes off, in the reverse order.
    RemovePaths {
        /// The router.
        slot: Slot,
        /// Which.
        paths: Arc<Paths>,
    },
    /// Announce these addresses: gratuitous ARP (RFC 9568 §6.4.2, erratum 7947) or unsolicited
    /// neighbour advertisements.
    Announce {
        /// The router.
        slot: Slot,
        /// Which.
        addresses: Arc<[VirtualAddress]>,
        /// How often each.
        repeat: u32,
    },
    /// Say for another router, once, that these addresses are at its MAC address. The winner of two
    /// Active routers may never have heard the loser, and so has no reason to announce anything again.
    Redirect {
        /// The router that lost.
        slot: Slot,
        /// Which: of those in the adverts, those on the link of these.
        addresses: Arc<[VirtualAddress]>,
        /// The winner.
        from: IpAddr,
        /// The MAC address that its advert came from: its own, unless a router is between.
        mac: [u8; 6],
    },
}

/// A router's state, in RFC 9568's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// Not started, or held back.
    Initialize,
    /// Listening.
    Backup,
    /// Holding the addresses.
    Active,
    /// Something it needs is missing; RFC 9568 calls this Initialize too.
    Fault,
}

/// Why a router changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It starts, and listens first.
    Startup,
    /// It owns the addresses, so it does not ask.
    Owner,
    /// The Active router was not heard for this long.
    NoAdvert {
        /// Who it was; `None` where none was ever heard.
        from: Option<IpAddr>,
        /// Since its last advert, or since listening began.
        silence: Duration,
    },
    /// The Active router released, and the skew passed.
    Released {
        /// Who it was.
        from: IpAddr,
    },
    /// The Active router has a lower priority than ours, and Preempt_Mode is on.
    Preempting {
        /// The Active router.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// Ours.
        ours: Priority,
    },
    /// An advert of higher priority.
    HigherPriority {
        /// Its sender.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// Ours.
        ours: Priority,
    },
    /// An advert of the same priority from a higher address.
    HigherAddress {
        /// Its sender.
        from: IpAddr,
        /// The priority.
        priority: Priority,
    },
    /// Another owner of the addresses, with a lower address, went on for longer than it takes to hear
    /// and obey us.
    SecondOwner {
        /// The other one.
        from: IpAddr,
    },
    /// It was Active and sent nothing for so long that a peer has taken over (`late_peer`).
    Overslept {
        /// Since its last advert.
        silence: Duration,
    },
    /// The router's interface is down or gone.
    LinkDown,
    /// The router's interface has no address to send from.
    NoSource,
    /// An interface that one of the router's addresses belongs to is not there.
    NoDevice,
    /// There is no unicast peer to send to.
    NoPeer,
    /// Adverts can't be received on the router's interface.
    Deaf,
    /// Another process of this host serves the virtual router.
    Taken,
    /// No advert left for so long that peers have taken over.
    Mute {
        /// It was tried again, and no other router was heard for the whole Master_Down_Interval before.
        alone: bool,
    },
    /// Whether adverts leave again is to be seen.
    Trying,
    /// A watched thing with weight 0 failed.
    Tracker(TrackerId),
    /// A watched thing with weight 0 has said nothing yet.
    Undecided(TrackerId),
    /// The kernel refused an address.
    AddressRefused,
    /// Another router of its sync group came to that state, and it goes with it.
    Member(Slot),
    /// It was Active before this process was started anew, and goes on.
    Resumed,
    /// Nothing is in the way any more.
    Recovered,
    /// The process ends.
    Shutdown,
    /// The router is no longer configured.
    Removed,
}

/// For what a router waited before it became Active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The silence of the Active router, for Master_Down_Interval.
    Silence {
        /// When the last advert came; `None` where none was ever heard.
        heard: Option<Instant>,
    },
    /// Nothing: it owns the addresses.
    Owner,
    /// Nothing: it was Active in an earlier life of this process.
    Resumed,
}

/// Something worth telling: to the log, to notify scripts, to `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A router changed its state.
    Transition {
        /// The router.
        slot: Slot,
        /// From.
        from: StateName,
        /// To.
        to: StateName,
        /// Why.
        why: Why,
        /// Its priority now.
        priority: Priority,
    },
    /// A sync group changed its state; comes behind the transitions of its members.
    Group {
        /// The group.
        group: GroupId,
        /// From.
        from: StateName,
        /// To.
        to: StateName,
    },
    /// A router became Active because its time had come; comes behind the [`Event::Transition`].
    TookOver {
        /// The router.
        slot: Slot,
        /// For what it had waited.
        waited: Waited,
        /// When its time had come: Master_Down_Timer ran out, or there was nothing to wait for.
        due: Instant,
    },
    /// Tracking moved a router's priority.
    PriorityChanged {
        /// The router.
        slot: Slot,
        /// From.
        from: Priority,
        /// To.
        to: Priority,
    },
    /// An Active router heard one that loses against it, and answered.
    LowerAdvert {
        /// The router.
        slot: Slot,
        /// The sender.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// Ours.
        ours: Priority,
    },
    /// A router that loses against an Active one goes on as Active although it was answered: it does not
    /// hear. Comes with each of its adverts.
    GoesOn {
        /// The router.
        slot: Slot,
        /// The sender.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
    },
    /// An owner of the addresses heard another one (RFC 9568 §8.3.2).
    SecondOwner {
        /// The router.
        slot: Slot,
        /// The other one.
        from: IpAddr,
    },
    /// An owner of the addresses discarded an advert unheard (`deaf_as_owner`).
    Ignored {
        /// The router.
        slot: Slot,
        /// The sender.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
    },
    /// A Backup hears another Active router than before, or one with another interval.
    Following {
        /// The router.
        slot: Slot,
        /// The Active router.
        from: IpAddr,
        /// Its priority.
        priority: Priority,
        /// Its interval.
        interval: Interval,
        /// Ours, which in VRRPv3 may be another (RFC 9568 §7.1).
        ours: Interval,
    },
    /// A Backup heard the Active router release.
    PriorityZero {
        /// The router.
        slot: Slot,
        /// The sender.
        from: IpAddr,
    },
    /// A Backup waits out `preempt_delay` before it takes over from a router of lower priority.
    PreemptDelayed {
        /// The router.
        slot: Slot,
        /// The Active router.
        from: IpAddr,
        /// Its priority.
        theirs: Priority,
        /// The delay.
        delay: Duration,
    },
    /// Somebody removed addresses of an Active router; they are being put back.
    AddressesRestored {
        /// The router.
        slot: Slot,
        /// Which.
        addresses: Arc<[VirtualAddress]>,
    },
    /// The kernel refused an address.
    AddressFailed {
        /// The router.
        slot: Slot,
        /// The address.
        address: VirtualAddress,
        /// The kernel's reason.
        error: String,
    },
    /// Routes or rules of an Active router were gone, or refused before; they are there now.
    PathsRestored {
        /// The router.
        slot: Slot,
        /// Which, as they show themselves.
        paths: Vec<String>,
    },
    /// The kernel refused routes or rules of an Active router.
    PathsFailed {
        /// The router.
        slot: Slot,
        /// Which, as they show themselves, each with the kernel's reason.
        failed: Vec<(String, String)>,
    },
    /// A router ended after `Input::Remove` or `Input::Shutdown`; its last effects come before this.
    Ended {
        /// The router.
        slot: Slot,
    },
}
