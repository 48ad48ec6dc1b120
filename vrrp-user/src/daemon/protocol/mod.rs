//! The protocol thread: adverts in, adverts out, one deadline.
//!
//! It does no file I/O, waits for no netlink answer and writes no log. What it has to tell goes to the
//! service thread over a channel that never blocks it.

mod chatter;
mod failing;
mod line;
mod outbox;
mod senders;
mod sockets;
mod sources;
mod thread;
mod watching;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use vrrp_common::abi::{self, RouterKey};
use vrrp_common::arrivals::Arrivals;
use vrrp_common::{Instant, Version};
use vrrp_proto::{Event, Input, Slot, View};

pub(crate) use self::failing::Failing;
pub(crate) use self::senders::{Differing, Sender as Heard};
use self::thread::Protocol;
use crate::config::model::{Peer, Scheduling};
use crate::daemon::budget::Budget;
use crate::fastpath::{Counters, Ring, Watcher};
use crate::ledger::Pulse;
use crate::net::executor::Executor;
use crate::slowpath::{Filter, Realm, SlowPath};
use crate::sys::schedule;
use crate::transmit::{AdvertFrame, Sender};

/// What the service thread asks of the protocol thread.
pub(crate) enum Order {
    /// Something for the engine.
    Input(Input),
    /// How a router's adverts leave, and which it listens to.
    Route(Slot, Box<Route>),
    /// A router has no interface at present.
    Unroute(Slot),
    /// Adverts of an interface and family, or of a realm, that come up the slow path; from now on through this
    /// socket.
    Listen(Box<SlowPath>),
    /// What of an interface comes up the slow path.
    Filter(u32, Filter),
    /// The interface is gone, or nobody hears the realm any more.
    Unlisten(u32),
    /// Tell how everything is.
    Inspect(oneshot::Sender<Inspection>),
    /// Tell which virtual routers of others the slow path heard.
    Strangers(oneshot::Sender<Vec<(abi::StrangerKey, abi::Stranger)>>),
    /// Release everything, tell when it is done, and end.
    Stop(oneshot::Sender<()>),
}

/// How a router's adverts leave and what it listens to.
pub(crate) struct Route {
    pub(crate) key: RouterKey,
    /// Adverts also come by other interfaces, and leave by whichever the host's routes name.
    pub(crate) realm: Option<Realm>,
    pub(crate) version: Version,
    pub(crate) rule: abi::Router,
    pub(crate) addresses: Vec<IpAddr>,
    /// The senders that it knows, where adverts come to it alone.
    pub(crate) peers: Vec<Peer>,
    /// The senders that no router is in front of. `None`: that is so for all.
    pub(crate) near: Option<Vec<IpAddr>>,
    /// Its Master_Down_Interval, and how many adverts are missed in it.
    pub(crate) down: (Duration, u8),
    /// The advert to the group, or to each peer.
    pub(crate) frames: Vec<AdvertFrame>,
}

impl Route {
    /// What the slow path judges its adverts by, on its own interface and in its realm.
    fn rules(&self) -> impl Iterator<Item = (RouterKey, abi::Router)> {
        let of_realm = self.realm.map(|realm| {
            // By its address, and beside whoever has that VRID there.
            let flags = self.rule.flags | abi::Router::BESIDE;
            let key = RouterKey { ifindex: realm.index(), ..self.key };
            (key, abi::Router { flags, ..self.rule })
        });
        std::iter::once((self.key, self.rule)).chain(of_realm)
    }
}

/// What the protocol thread tells the service thread.
#[derive(Debug)]
pub(crate) enum Notice {
    /// From the engine, with the time it happened, and how many of its kind there were since the last one:
    /// not all are told of what may come with every packet.
    Event(Instant, Event, u64),
    /// A router became Active because its time had come; follows the event.
    TookOver(Slot, Budget),
    /// A refused advert, or an accepted one whose addresses differ from ours; and how many, as above.
    Record(abi::Event, u64),
    /// Adverts can't be sent, and how long they are; told at once and each minute until one could.
    SendFailed(Slot, Failing, usize),
    /// Adverts leave again.
    SendWorks(Slot),
    /// The socket of an interface can't be waited for.
    Deaf(u32, String),
    /// The socket of an interface takes more than was asked for, since the kernel allows no longer filter.
    Coarse(u32),
    /// Sockets that are no longer heard: to close one, the kernel waits longer than this thread can.
    Close(Vec<SlowPath>),
    /// The thread did nothing although something was due.
    StoodStill(Stall),
    /// The thread is not scheduled as configured, or memory not locked.
    Denied(String),
    /// The thread can't go on.
    Broken(String),
}

/// A time in which the thread did nothing although something was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    /// Its end.
    pub(crate) until: Instant,
    /// How late that was: it lasted for that long at least.
    pub(crate) late: Duration,
    /// It lasted for that long at most.
    pub(crate) most: Duration,
}

/// How everything is, for `status`.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    pub(crate) now: Instant,
    pub(crate) views: Vec<View>,
    /// Counters of the slow path by slot.
    pub(crate) counters: BTreeMap<Slot, Counters>,
    /// The gaps between adverts that the kernel did not keep to itself, by slot.
    pub(crate) arrivals: BTreeMap<Slot, Arrivals>,
    /// Adverts that can't be sent, and how long they are, by slot.
    pub(crate) failing: BTreeMap<Slot, (Failing, usize)>,
    /// The senders of accepted adverts, by slot.
    pub(crate) senders: BTreeMap<Slot, Vec<Heard>>,
    /// Virtual routers of others that the slow path heard.
    pub(crate) strangers: Vec<(abi::StrangerKey, abi::Stranger)>,
    /// Frames that found no room in the socket of an interface.
    pub(crate) lost: BTreeMap<u32, u64>,
}

/// What the protocol thread needs to run.
pub(crate) struct Parts {
    pub(crate) orders: UnboundedReceiver<Order>,
    pub(crate) notices: UnboundedSender<Notice>,
    pub(crate) ring: Option<Ring>,
    /// What the kernel watches, where there is a ring.
    pub(crate) watcher: Option<Watcher>,
    pub(crate) sender: Sender,
    pub(crate) executor: Arc<Executor>,
    /// What is known of this thread when it is gone.
    pub(crate) pulse: Pulse,
    pub(crate) scheduling: Scheduling,
}

/// Runs until [`Order::Stop`], or until the service thread is gone.
pub(crate) fn run(parts: Parts) {
    let notices = parts.notices.clone();
    // Handlers run on threads that nobody waits for. It can't fail: the one error is an unknown way to block.
    let _ = SigSet::all().thread_block();
    if let Err(denied) = schedule::apply(&parts.scheduling, schedule::Role::Protocol) {
        // As below.
        let _ = notices.send(Notice::Denied(denied.to_string()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let result = runtime.and_then(|runtime| {
        runtime.block_on(async { Protocol::new(parts)?.turn_until_stopped().await })
    });
    if let Err(error) = result {
        // The service thread hears it, or has ended itself.
        let _ = notices.send(Notice::Broken(error.to_string()));
    }
}
