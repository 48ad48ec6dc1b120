//! The thread that puts addresses on and off and announces them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::settings::VirtualAddress;

use super::addr::{Added, AddrError, Addresses};
use super::announce::Announcer;
use super::announcing::Up;
use super::claims::Claims;
use super::executor::{Config, LEFTOVERS, Message, Timing, Turn};
use super::inbox::Inbox;
use super::lease::Lease;
use super::leftover::{self, OwnAddress};
use super::link::{self, Link};
use super::own_link::Hearing;
use super::paths;
use super::strays::Strays;
use crate::sys::interface::Interfaces;
use crate::sys::schedule;
use crate::transmit::{Sender, arp};

/// Announcements sent before waiting address work is looked for again: about a tenth of a millisecond.
const BURST: usize = 32;
/// Addresses put on between announcements of those before.
const PORTION: usize = 100;
/// How long the thread stays awake for effects that were said to be coming.
const AWAKE: Duration = Duration::from_micros(800);

/// The thread's own.
pub(super) struct Worker<R, T> {
    config: Config,
    pub(super) queue: Inbox<Message>,
    pub(super) turn: Turn,
    /// A message that was taken from the queue before its turn.
    pub(super) ahead: Option<Message>,
    pub(super) addresses: Addresses,
    pub(super) claims: Claims,
    lease: Lease,
    pub(super) interfaces: Interfaces,
    pub(super) sender: Sender,
    pub(super) announcer: Announcer,
    /// Addresses that the kernel refused: not to be announced.
    pub(super) refused: BTreeSet<(Slot, IpAddr)>,
    pub(super) own: BTreeSet<OwnAddress>,
    pub(super) hearing: Hearing,
    pub(super) strays: Strays,
    pub(super) paths: paths::Table,
    /// Routers whose first address is up and was not announced yet.
    pub(super) up: BTreeMap<Slot, Up>,
    pub(super) report: R,
    pub(super) timed: T,
}

/// What to do next.
enum Next {
    Message(Message),
    Announce,
    Renew,
    Rest,
    End,
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    pub(super) fn new(
        config: Config,
        queue: Inbox<Message>,
        turn: Turn,
        report: R,
        timed: T,
    ) -> io::Result<Self> {
        let mut addresses = Addresses::open()?;
        addresses.set_lease(config.lease);
        Ok(Self {
            queue,
            turn,
            ahead: None,
            addresses,
            claims: Claims::default(),
            lease: Lease::new(config.lease),
            interfaces: Interfaces::open()?,
            sender: Sender::open()?,
            announcer: Announcer::new(config.garp_interval, config.gna_interval),
            refused: BTreeSet::new(),
            own: BTreeSet::new(),
            hearing: Hearing::default(),
            strays: Strays::default(),
            paths: paths::Table::default(),
            up: BTreeMap::new(),
            config,
            report,
            timed,
        })
    }

    pub(super) fn run(mut self) {
        self.schedule();
        loop {
            match self.next() {
                Next::Message(message) => self.obey(message),
                Next::Announce => self.announce(BURST),
                Next::Renew => self.renew(),
                Next::Rest => self.addresses.interfaces(self.hearing.idle().into_iter().collect()),
                Next::End => return,
            }
        }
    }

    fn schedule(&self) {
        if let Err(denied) = schedule::apply(&self.config.scheduling, schedule::Role::Effects) {
            // The protocol thread asks for more, and tells it.
            tracing::debug!("addresses are moved by an ordinary thread: {denied}");
        }
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::Soon => self.ahead = self.stay_awake(),
            Message::Effect(effect) => self.carry_out(&effect),
            Message::Claim(slot, addresses) => {
                for (address, index) in &addresses {
                    self.claims.claim(slot, address, *index);
                }
            }
            Message::ClaimPaths(slot, paths) => self.claim_paths(slot, &paths),
            Message::RemoveKept(kept) => self.remove_kept(&kept),
            Message::Protect(own) => self.own = own,
            Message::Detected(detected) => self.detected(&detected),
            Message::Refresh(slot, addresses) => self.refresh(slot, &addresses),
            Message::Present(device, ip) => {
                link::present(&self.interfaces, &self.sender, &device, ip);
            }
            Message::Made(macvlan) => {
                let held = self.claims.on(macvlan.index);
                self.addresses.interfaces(self.hearing.add(macvlan, held));
            }
            Message::Unmade(index) => self.hearing.remove(index),
            Message::Found(found) => self.mend(&found),
            Message::Behind(ifindex) => self.put_behind(ifindex),
            Message::Suspect(stray) => self.stray(&stray),
            Message::Configure(config) => self.configure(config),
            Message::Flush(done) => {
                self.announce(usize::MAX);
                // Whoever asked may have stopped waiting.
                done.try_send(()).ok();
            }
        }
    }

    /// Messages first, then leases and announcements that are due, then whichever comes first.
    fn next(&mut self) -> Next {
        if let Some(message) = self.ahead.take() {
            return Next::Message(message);
        }
        match self.queue.poll() {
            Poll::Ready(Some(message)) => return Next::Message(message),
            Poll::Ready(None) => return Next::End,
            Poll::Pending => {}
        }
        let renewal = self.lease.next().map(|at| (at, Next::Renew));
        let announcement = self.announcer.next().map(|at| (at, Next::Announce));
        let Some((due, work)) = renewal.into_iter().chain(announcement).min_by_key(|(at, _)| *at)
        else {
            if self.hearing.has_more() {
                return Next::Rest;
            }
            return self.queue.wait().map_or(Next::End, Next::Message);
        };
        if due <= Instant::now() {
            return work;
        }
        if self.hearing.has_more() {
            return Next::Rest;
        }
        match self.queue.wait_until(due) {
            Poll::Ready(Some(message)) => Next::Message(message),
            Poll::Ready(None) => Next::End,
            Poll::Pending => work,
        }
    }

    /// Waits for the next message without sleeping, for a moment: to be woken takes longer than all else
    /// that is between an advert and the first announcement.
    fn stay_awake(&mut self) -> Option<Message> {
        let end = Instant::now() + AWAKE;
        self.rehearse();
        while Instant::now() < end {
            match self.queue.poll() {
                Poll::Ready(message) => return message,
                // On a single CPU, whoever is to send it needs that.
                Poll::Pending => thread::yield_now(),
            }
        }
        None
    }

    /// Goes the way of an address to its announcement, on an interface that is none: for no other effect
    /// than that code and data are in the CPU's caches. Cold, what is ours of it takes half as long as what
    /// is the kernel's.
    fn rehearse(&mut self) {
        const NO_INTERFACE: u32 = 0;
        let nobody = VirtualAddress::new(Ipv4Addr::UNSPECIFIED.into(), 32, "lo");
        let (mut claims, mut announcer) = (Claims::default(), Announcer::default());
        let added = self.addresses.add([&nobody], |_| Some(NO_INTERFACE));
        claims.claim(LEFTOVERS, &nobody, NO_INTERFACE);
        let now = Instant::now();
        announcer.push(now, LEFTOVERS, &nobody, 1);
        let announcement = announcer.pop(now).map(|next| claims.index(next.slot, "lo", next.ip));
        let loopback = Link::read(&self.interfaces, "lo", None).is_some();
        let frame = arp::gratuitous([0; 6], [0; 6], Ipv4Addr::UNSPECIFIED);
        let sent = self.sender.send(NO_INTERFACE, &frame);
        std::hint::black_box((added.len(), announcement, loopback, sent.is_ok()));
    }

    fn configure(&mut self, config: Config) {
        self.announcer.set_pace(config.garp_interval, config.gna_interval);
        let before = std::mem::replace(&mut self.config, config);
        if before.scheduling != self.config.scheduling {
            self.schedule();
        }
        if before.lease != self.config.lease {
            self.addresses.set_lease(self.config.lease);
            self.lease = Lease::new(self.config.lease);
            self.renew();
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::AddAddresses { slot, addresses } => self.take(*slot, addresses),
            Effect::AddPaths { slot, paths } => self.add_paths(*slot, paths),
            Effect::RemoveAddresses { .. } | Effect::RemovePaths { .. } => self.remove(effect),
            Effect::Announce { slot, addresses, repeat } => {
                self.enqueue(*slot, addresses, *repeat);
            }
            Effect::Redirect { slot, addresses, mac, .. } => {
                let now = Instant::now();
                // However long the prefix is written: nobody else has the host's own address.
                let own = |ip| leftover::is_own(&self.own, ip);
                for address in addresses.iter().filter(|address| !own(address.ip)) {
                    if let Some(address) = self.hearing.gone_to(address, *mac) {
                        self.announcer.push_for(now, *slot, &address, 1, Some(*mac));
                    }
                }
            }
        }
    }

    /// Puts a router's addresses on. Where they are to be announced, which is the next thing the engine
    /// says, that begins with the first one while the others are still to come.
    fn take(&mut self, slot: Slot, addresses: &Arc<[VirtualAddress]>) {
        let mut failed = None;
        let (first, rest) = addresses.split_at(addresses.len().min(1));
        let (mut up, mut announced, mut repeat, mut serving) = (0, 0, None, false);
        for portion in std::iter::once(first).chain(rest.chunks(PORTION)) {
            if let Some(added) = self.add(slot, portion, &mut failed)
                && !serving
            {
                serving = true;
                self.up.insert(slot, Up::now(added == Added::AlreadyThere));
            }
            up += portion.len();
            repeat = repeat.or_else(|| self.announcement_of(slot, addresses));
            if let Some(repeat) = repeat {
                self.enqueue(slot, &addresses[announced..up], repeat);
                self.announce_soon(up - announced);
                announced = up;
            }
        }
        self.all_are_up(slot, repeat.is_some());
        let outcome = match failed {
            None => Outcome::Done,
            Some((address, error)) if self.claims.any(slot) => Outcome::Partly { address, error },
            Some((address, error)) => Outcome::Failed { address, error },
        };
        (self.report)(slot, outcome);
    }

    /// Takes the announcement of exactly these addresses out of the queue, where it comes next; says how
    /// often each is to be announced.
    fn announcement_of(&mut self, slot: Slot, addresses: &Arc<[VirtualAddress]>) -> Option<u32> {
        let next = self.ahead.take().or_else(|| self.queue.take());
        if let Some(Message::Effect(Effect::Announce { slot: of, addresses: which, repeat })) =
            &next
            && *of == slot
            && which == addresses
        {
            return Some(*repeat);
        }
        self.ahead = next;
        None
    }

    /// Puts addresses on. Says how the first got there that is, and keeps the first failure.
    fn add(
        &mut self,
        slot: Slot,
        addresses: &[VirtualAddress],
        failed: &mut Option<(VirtualAddress, String)>,
    ) -> Option<Added> {
        let mut resolve = resolver(&self.interfaces);
        let devices = addresses.iter().filter_map(|address| resolve(&address.device));
        let requests = self.hearing.open(devices);
        self.addresses.interfaces(requests);
        let mut elsewhere = Vec::new();
        for address in addresses {
            // The name may have gone to another interface since; the address is to be on one only.
            let left = resolve(&address.device)
                .and_then(|index| self.claims.leave(slot, address, index))
                .filter(|_| !is_own(&self.own, address));
            elsewhere.extend(left.map(|index| (address, Some(index))));
        }
        if !elsewhere.is_empty() {
            take_off(&mut self.addresses, &elsewhere);
        }
        let results = self.addresses.add(addresses, &mut resolve);
        let (mut before, mut first) = (Vec::new(), None);
        for (address, result) in addresses.iter().zip(results) {
            // Where the kernel's answer is not known, the address may be there.
            let there = matches!(result, Ok(_) | Err(AddrError::Netlink(_)));
            if there {
                first = first.or(Some(*result.as_ref().unwrap_or(&Added::New)));
                self.refused.remove(&(slot, address.ip));
            } else {
                self.refused.insert((slot, address.ip));
            }
            if let Err(AddrError::Refused { .. }) = &result {
                // It is not there any more. Where no interface has the name, one that had it may hold it.
                self.claims.release(slot, address);
            }
            if let Some(index) = resolve(&address.device).filter(|_| there) {
                self.claims.claim(slot, address, index);
                if result == Ok(Added::AlreadyThere) && !is_own(&self.own, address) {
                    before.push((address, index));
                }
            }
            if let Err(error) = result {
                if failed.is_some() {
                    warn("add", address, &error);
                } else {
                    *failed = Some((address.clone(), error.to_string()));
                }
            }
        }
        drop(resolve);
        self.look_for_duplicates(&before);
        if self.config.lease.is_some() {
            // What an earlier life left ends with the lease that it was given then.
            extend(&mut self.addresses, &before);
            self.lease.begin(Instant::now());
        }
        first
    }

    /// Renews the leases of all addresses that are held and there: one that somebody removed is not put
    /// back by this, for the engine knows whether it is to be, and announces it then.
    fn renew(&mut self) {
        self.lease.renewed(Instant::now(), self.claims.is_empty());
        if self.claims.is_empty() {
            return;
        }
        let there = match self.addresses.list() {
            Ok(there) => there,
            Err(error) => {
                tracing::warn!("Can't read the host's addresses to renew them: {error}");
                return;
            }
        };
        let ours = |(address, index): &(&VirtualAddress, u32)| {
            !is_own(&self.own, address) && there.contains_key(&(*index, address.ip, address.prefix))
        };
        let held: Vec<_> = self.claims.held().filter(ours).collect();
        extend(&mut self.addresses, &held);
    }

    /// Adds announcements of addresses that were not refused to those that wait.
    pub(super) fn enqueue(&mut self, slot: Slot, addresses: &[VirtualAddress], repeat: u32) {
        let now = Instant::now();
        for address in addresses {
            if !self.refused.contains(&(slot, address.ip)) {
                self.announcer.push(now, slot, address, repeat);
            }
        }
    }

    /// Announces what a router holds by now: it may have given some up since that was asked.
    fn refresh(&mut self, slot: Slot, addresses: &[VirtualAddress]) {
        for address in addresses {
            if self.claims.index(slot, &address.device, address.ip).is_some() {
                self.enqueue(slot, std::slice::from_ref(address), 1);
            }
        }
    }
}

/// Indexes by name, each asked for once.
pub(super) fn resolver(interfaces: &Interfaces) -> impl FnMut(&str) -> Option<u32> {
    let mut known: BTreeMap<String, Option<u32>> = BTreeMap::new();
    move |name| {
        if let Some(index) = known.get(name) {
            return *index;
        }
        let index = interfaces.index(name).ok();
        known.insert(name.to_owned(), index);
        index
    }
}

pub(super) fn is_own(own: &BTreeSet<OwnAddress>, address: &VirtualAddress) -> bool {
    own.contains(&OwnAddress::of(address))
}

/// Removes each address from the interface of the index beside it.
pub(super) fn take_off(host: &mut Addresses, addresses: &[(&VirtualAddress, Option<u32>)]) {
    let results = host.remove_from(addresses.iter().copied());
    for ((address, _), result) in addresses.iter().zip(results) {
        if let Err(error) = result {
            warn("remove", address, &error);
        }
    }
}

/// Lets each address, on the interface of the index beside it, last for a whole lease from now.
fn extend(host: &mut Addresses, addresses: &[(&VirtualAddress, u32)]) {
    let results = host.renew(addresses);
    for ((address, _), result) in addresses.iter().zip(results) {
        if let Err(error) = result {
            warn("renew", address, &error);
        }
    }
}

pub(super) fn warn(verb: &str, address: &VirtualAddress, error: &AddrError) {
    tracing::warn!("Can't {verb} {}/{} on {}: {error}", address.ip, address.prefix, address.device);
}
