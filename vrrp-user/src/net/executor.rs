//! Carries out the engine's effects, on a thread of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use vrrp_common::{Instant, abi};
use vrrp_proto::Paths;
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::settings::VirtualAddress;

use super::inbox::Inbox;
use super::leftover::OwnAddress;
use super::own_link::{Found, Macvlan};
use super::paths::Kept;
use super::strays::Stray;
use super::worker::Worker;
use crate::config::model::Scheduling;

/// The slot of no router, for [`Effect::RemoveAddresses`] and [`Effect::RemovePaths`] of what an earlier life
/// left.
///
/// A router's removal takes off what that router put on, where it was put. This one takes off what is
/// on the interface of that name, unless a router holds it.
pub const LEFTOVERS: Slot = Slot(abi::MAX_SLOTS);

/// How addresses are put on and announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Least time between two gratuitous ARPs on one link; zero: back to back.
    pub garp_interval: Duration,
    /// Least time between two unsolicited neighbour advertisements on one link; zero: back to back.
    pub gna_interval: Duration,
    /// How long addresses outlive the thread, in whole seconds: the kernel takes them off that long
    /// after they were last renewed, which is done three times as often. `None`: they stay.
    pub lease: Option<Duration>,
    /// How the thread is scheduled: one level below the settings' own.
    pub scheduling: Scheduling,
}

/// How duplicate address detection (RFC 4862 §5.4) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The index of the interface.
    pub ifindex: u32,
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Another host has it.
    pub duplicate: bool,
}

/// When a router's addresses came to serve, on the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The router.
    pub slot: Slot,
    /// The first of its addresses was up.
    pub address_up: Instant,
    /// It was on its interface before.
    pub was_on: bool,
    /// The first announcement had left; `None` where all addresses are on links without any, such as `lo`.
    pub announced: Option<Instant>,
}

/// The handle to the thread that puts addresses on and off and announces them.
///
/// Effects are carried out in the order of sending. Address work never waits for announcements;
/// announcements keep their order and pace on each link. When the handle is dropped, the thread does
/// what address work it was given and ends; announcements that still wait are dropped.
#[derive(Debug)]
pub struct Executor {
    messages: UnboundedSender<Message>,
    turn: Turn,
}

#[derive(Debug)]
pub(super) enum Message {
    /// Effects follow at once.
    Soon,
    Effect(Effect),
    Claim(Slot, Vec<(VirtualAddress, u32)>),
    ClaimPaths(Slot, Arc<Paths>),
    RemoveKept(Vec<Kept>),
    Protect(BTreeSet<OwnAddress>),
    Detected(Detected),
    Refresh(Slot, Arc<[VirtualAddress]>),
    Present(String, IpAddr),
    Made(Macvlan),
    Unmade(u32),
    Found(Found),
    Behind(u32),
    Suspect(Box<Stray>),
    Configure(Config),
    Flush(SyncSender<()>),
}

impl Executor {
    /// Starts the thread, in the calling thread's network namespace.
    ///
    /// Both are called on that thread: `report` once for each [`Effect::AddAddresses`], and for an
    /// [`Effect::AddPaths`] where there is something to tell, `timed` once
    /// for each of them whose addresses are to be announced, with the first announcement, or where no link
    /// of theirs has any.
    ///
    /// # Errors
    /// The kernel's, where a socket or a thread can't be had.
    pub fn spawn(
        config: Config,
        report: impl Fn(Slot, Outcome) + Send + 'static,
        timed: impl Fn(Timing) + Send + 'static,
    ) -> io::Result<Self> {
        let (messages, receiver) = unbounded_channel();
        let queue = Inbox::new(receiver);
        let turn = Turn::default();
        let worker = Worker::new(config, queue, turn.clone(), report, timed)?;
        thread::Builder::new().name("xvrrp-effects".to_owned()).spawn(move || worker.run())?;
        Ok(Self { messages, turn })
    }

    /// Wakes the thread for effects that are about to be sent: it is awake when they come, at the cost
    /// of a fraction of a millisecond on another CPU where none come. Never blocks.
    pub fn soon(&self) {
        self.post(Message::Soon);
    }

    /// Whose turn it is on the wire: effects can be handed over before the adverts that they follow have
    /// left, and announcements then wait for those.
    pub(crate) fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Hands over an effect; never blocks.
    pub fn send(&self, effect: Effect) {
        self.post(Message::Effect(effect));
    }

    /// Has a router hold addresses that an earlier life put on the interfaces of the indexes beside them:
    /// its [`Effect::RemoveAddresses`] takes them off as if it had put them on.
    pub fn claim(&self, slot: Slot, addresses: Vec<(VirtualAddress, u32)>) {
        self.post(Message::Claim(slot, addresses));
    }

    /// The same for routes and rules, on the interfaces that have their names now.
    pub fn claim_paths(&self, slot: Slot, paths: Arc<Paths>) {
        self.post(Message::ClaimPaths(slot, paths));
    }

    /// Takes off routes and rules that an earlier life put on, in this order, but for those that a router has.
    pub(crate) fn remove_kept(&self, kept: Vec<Kept>) {
        self.post(Message::RemoveKept(kept));
    }

    /// Announces those of the addresses once more that the router holds.
    pub fn refresh(&self, slot: Slot, addresses: Arc<[VirtualAddress]>) {
        self.post(Message::Refresh(slot, addresses));
    }

    /// Tells the link of that name which MAC address an address of the host's own has there, once.
    pub(crate) fn present(&self, device: String, ip: IpAddr) {
        self.post(Message::Present(device, ip));
    }

    /// Duplicate address detection has come to its end for an address: if a router holds it, it is
    /// announced, and before that put on again where it was found to be a duplicate.
    pub fn detected(&self, detected: Detected) {
        self.post(Message::Detected(detected));
    }

    /// Has an address judged that no router may have put on.
    pub(crate) fn suspect(&self, stray: Stray) {
        self.post(Message::Suspect(Box::new(stray)));
    }

    /// Has the addresses that routers hold on the interface of that index come behind the host's own.
    pub fn put_behind(&self, ifindex: u32) {
        self.post(Message::Behind(ifindex));
    }

    /// Works by another configuration from now on. Addresses that are there get its lease.
    pub fn configure(&self, config: Config) {
        self.post(Message::Configure(config));
    }

    /// Names the addresses that are the host's own: from here on none of them is ever removed.
    pub fn protect(&self, own: BTreeSet<OwnAddress>) {
        self.post(Message::Protect(own));
    }

    /// Tells of a macvlan of ours: from here on it hears as long as a router holds an address on it, and
    /// not otherwise.
    pub fn made(&self, macvlan: Macvlan) {
        self.post(Message::Made(macvlan));
    }

    /// Tells that the one of this index is gone.
    pub fn unmade(&self, index: u32) {
        self.post(Message::Unmade(index));
    }

    /// Tells how a macvlan of ours was found: where it still is not as it is to be, that is mended.
    pub fn found(&self, found: Found) {
        self.post(Message::Found(found));
    }

    /// Waits until all effects sent before are carried out; announcements that must still wait for
    /// their pace don't count. `false`: not within that time.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        self.post(Message::Flush(done));
        wait.recv_timeout(within).is_ok()
    }

    fn post(&self, message: Message) {
        if self.messages.send(message).is_err() {
            // The thread ends before its handle only by a panic, which has been reported.
            tracing::error!("The thread for addresses is gone");
        }
    }
}

/// See [`Executor::turn`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Adverts are about to leave.
    pub(crate) fn adverts(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// They have left.
    pub(crate) fn announcements(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Waits until the adverts have left: they are being sent right now, on another CPU. On a single one
    /// that may not be, so not for long.
    pub(super) fn wait(&self) {
        const LONGEST: Duration = Duration::from_millis(2);
        let begin = std::time::Instant::now();
        while self.0.load(Ordering::Acquire) && begin.elapsed() < LONGEST {
            thread::yield_now();
        }
    }
}
