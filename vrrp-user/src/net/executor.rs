//! Carries out the engine's effects, on a thread of its own.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_indextoname;
use vrrp_common::abi;
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::settings::VirtualAddress;

use super::addr::{AddrError, Addresses};
use super::announce::{Announcement, Announcer};
use super::claims::Claims;
use super::leftover::OwnAddress;
use crate::sys::interface::Interfaces;
use crate::transmit::{Mac, Sender, arp, ndisc};

/// Announcements sent before waiting address work is looked for again: about a tenth of a millisecond.
const BURST: usize = 32;

/// The slot of no router, for [`Effect::RemoveAddresses`] of what an earlier life left.
///
/// A router's removal takes off what that router put on, where it was put. This one takes off what is
/// on the interface of that name, unless a router holds it.
pub const LEFTOVERS: Slot = Slot(abi::MAX_SLOTS);

/// How fast announcements may go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Least time between two gratuitous ARPs on one link; zero: back to back.
    pub garp_interval: Duration,
    /// Least time between two unsolicited neighbour advertisements on one link; zero: back to back.
    pub gna_interval: Duration,
}

/// The handle to the thread that puts addresses on and off and announces them.
///
/// Effects are carried out in the order of sending. Address work never waits for announcements;
/// announcements keep their order and pace on each link. When the handle is dropped, the thread does
/// what address work it was given and ends; announcements that still wait are dropped.
#[derive(Debug)]
pub struct Executor {
    messages: mpsc::Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Effect(Effect),
    Protect(BTreeSet<OwnAddress>),
    Pace(Config),
    Flush(SyncSender<()>),
}

impl Executor {
    /// Starts the thread, in the calling thread's network namespace and with its scheduling.
    ///
    /// `report` is called on that thread, once for each [`Effect::AddAddresses`].
    ///
    /// # Errors
    /// The kernel's, where a socket or a thread can't be had.
    pub fn spawn(
        config: Config,
        report: impl Fn(Slot, Outcome) + Send + 'static,
    ) -> io::Result<Self> {
        let (messages, queue) = mpsc::channel();
        let worker = Worker {
            queue,
            addresses: Addresses::open()?,
            claims: Claims::default(),
            interfaces: Interfaces::open()?,
            sender: Sender::open()?,
            announcer: Announcer::new(config.garp_interval, config.gna_interval),
            refused: BTreeSet::new(),
            own: BTreeSet::new(),
            report,
        };
        thread::Builder::new().name("xvrrp-effects".to_owned()).spawn(move || worker.run())?;
        Ok(Self { messages })
    }

    /// Hands over an effect; never blocks.
    pub fn send(&self, effect: Effect) {
        self.post(Message::Effect(effect));
    }

    /// Lets announcements go out at another pace from now on.
    pub fn set_pace(&self, config: Config) {
        self.post(Message::Pace(config));
    }

    /// Names the addresses that are the host's own: from here on none of them is ever removed.
    pub fn protect(&self, own: BTreeSet<OwnAddress>) {
        self.post(Message::Protect(own));
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

struct Worker<R> {
    queue: Receiver<Message>,
    addresses: Addresses,
    claims: Claims,
    interfaces: Interfaces,
    sender: Sender,
    announcer: Announcer,
    /// Addresses that the kernel refused: not to be announced.
    refused: BTreeSet<(Slot, IpAddr)>,
    own: BTreeSet<OwnAddress>,
    report: R,
}

/// What to do next.
enum Next {
    Message(Message),
    Announce,
    End,
}

impl<R: Fn(Slot, Outcome)> Worker<R> {
    fn run(mut self) {
        loop {
            match self.next() {
                Next::Message(Message::Effect(effect)) => self.carry_out(&effect),
                Next::Message(Message::Protect(own)) => self.own = own,
                Next::Message(Message::Pace(pace)) => {
                    self.announcer.set_pace(pace.garp_interval, pace.gna_interval);
                }
                Next::Message(Message::Flush(done)) => {
                    self.announce(usize::MAX);
                    // Whoever asked may have stopped waiting.
                    done.try_send(()).ok();
                }
                Next::Announce => self.announce(BURST),
                Next::End => return,
            }
        }
    }

    /// Messages first, then announcements that are due, then whichever comes first.
    fn next(&self) -> Next {
        let due = self.announcer.next();
        match self.queue.try_recv() {
            Ok(message) => return Next::Message(message),
            Err(TryRecvError::Disconnected) => return Next::End,
            Err(TryRecvError::Empty) => {}
        }
        let Some(due) = due else {
            return self.queue.recv().map_or(Next::End, Next::Message);
        };
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Next::Announce;
        }
        match self.queue.recv_timeout(wait) {
            Ok(message) => Next::Message(message),
            Err(RecvTimeoutError::Timeout) => Next::Announce,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::AddAddresses { slot, addresses } => {
                let outcome = self.add(*slot, addresses);
                (self.report)(*slot, outcome);
            }
            Effect::RemoveAddresses { slot, addresses } => self.remove(*slot, addresses),
            Effect::Announce { slot, addresses, repeat } => {
                let now = Instant::now();
                let there = |a: &&VirtualAddress| !self.refused.contains(&(*slot, a.ip));
                for address in addresses.iter().filter(there) {
                    self.announcer.push(now, *slot, address, *repeat);
                }
            }
            Effect::Redirect { slot, addresses, mac } => {
                let now = Instant::now();
                for address in addresses.iter().filter(|address| !is_own(&self.own, address)) {
                    self.announcer.push_for(now, *slot, address, 1, Some(*mac));
                }
            }
        }
    }

    fn add(&mut self, slot: Slot, addresses: &[VirtualAddress]) -> Outcome {
        let mut resolve = resolver(&self.interfaces);
        let mut elsewhere = Vec::new();
        for address in addresses {
            // The name may have gone to another interface since; the address is to be on one only.
            let left = resolve(&address.device)
                .and_then(|index| self.claims.leave(slot, address, index))
                .filter(|_| !is_own(&self.own, address));
            elsewhere.extend(left.map(|index| (address, Some(index))));
        }
        take_off(&mut self.addresses, &elsewhere);
        let results = self.addresses.add(addresses, &mut resolve);
        for (address, result) in addresses.iter().zip(&results) {
            // Where the kernel's answer is not known, the address may be there.
            let there = matches!(result, Ok(_) | Err(AddrError::Netlink(_)));
            if there {
                self.refused.remove(&(slot, address.ip));
            } else {
                self.refused.insert((slot, address.ip));
            }
            if let Some(index) = resolve(&address.device).filter(|_| there) {
                self.claims.claim(slot, address, index);
            }
        }
        let mut failures = addresses
            .iter()
            .zip(results)
            .filter_map(|(address, result)| result.err().map(|error| (address, error)));
        let Some((address, error)) = failures.next() else {
            return Outcome::Done;
        };
        for (address, error) in failures {
            warn("add", address, &error);
        }
        let (address, error) = (address.clone(), error.to_string());
        if self.claims.any(slot) {
            Outcome::Partly { address, error }
        } else {
            Outcome::Failed { address, error }
        }
    }

    fn remove(&mut self, slot: Slot, addresses: &[VirtualAddress]) {
        let mut resolve = resolver(&self.interfaces);
        let mut off = Vec::new();
        for address in addresses {
            self.announcer.withdraw(slot, address);
            self.refused.remove(&(slot, address.ip));
            let index = if slot == LEFTOVERS {
                resolve(&address.device).filter(|index| !self.claims.holds(address, *index))
            } else {
                self.claims.release(slot, address)
            };
            if is_own(&self.own, address) {
                tracing::debug!("{address:?} is the host's own and stays");
            } else if index.is_some() {
                off.push((address, index));
            } else {
                tracing::debug!("{address:?} stays: another router's, or not there");
            }
        }
        take_off(&mut self.addresses, &off);
    }

    /// Sends announcements that are due, that many at most.
    fn announce(&mut self, most: usize) {
        // Good for one burst only: a bond may change its MAC address, an interface be made anew.
        let mut links = BTreeMap::new();
        for _ in 0..most {
            let now = Instant::now();
            let Some(announcement) = self.announcer.pop(now) else {
                return;
            };
            let Announcement { slot, device, ip, mac } = &announcement;
            let index = self.claims.index(*slot, device, *ip);
            let link = links
                .entry((device.clone(), index))
                .or_insert_with(|| Link::read(&self.interfaces, device, index));
            // An interface that is gone or speaks no Ethernet has nobody to tell.
            let Some(link) = link else {
                continue;
            };
            match link.send(&self.sender, *ip, *mac) {
                Ok(()) => self.announcer.sent(&announcement),
                Err(error) => self.not_sent(now, announcement, &error),
            }
        }
    }

    fn not_sent(&mut self, now: Instant, announcement: Announcement, error: &io::Error) {
        let device = announcement.device.clone();
        let full =
            matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM));
        // A link that is down or gone announces when it is back: the engine sees to that.
        if full && self.announcer.retry(now, announcement) {
            return;
        }
        tracing::debug!("({device}) announcement not sent: {error}");
    }
}

/// An interface as announcements need it.
struct Link {
    device: String,
    index: u32,
    mac: Mac,
    /// Whether it forwards IPv6; read when the first neighbour advertisement asks.
    router: OnceCell<bool>,
}

impl Link {
    /// The interface of that index, whatever its name is by now, or else the one of that name.
    fn read(interfaces: &Interfaces, device: &str, index: Option<u32>) -> Option<Self> {
        let device = match index {
            Some(index) => if_indextoname(index).ok()?.into_string().ok()?,
            None => device.to_owned(),
        };
        let mac = interfaces.mac(&device).ok()??;
        let index = index.or_else(|| interfaces.index(&device).ok())?;
        Some(Self { device, index, mac, router: OnceCell::new() })
    }

    /// Announces an address at `mac`, or at this interface's own.
    fn send(&self, sender: &Sender, ip: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        let mac = mac.unwrap_or(self.mac);
        match ip {
            IpAddr::V4(ip) => sender.send(self.index, &arp::on_behalf(self.mac, mac, ip)),
            IpAddr::V6(ip) => {
                let router = *self.router.get_or_init(|| forwards(&self.device));
                sender.send(self.index, &ndisc::on_behalf(self.mac, mac, ip, router))
            }
        }
    }
}

/// Whether an interface forwards IPv6; not, where IPv6 is off.
fn forwards(device: &str) -> bool {
    let forwarding = std::fs::read(format!("/proc/sys/net/ipv6/conf/{device}/forwarding"));
    forwarding.is_ok_and(|text| text.first() != Some(&b'0'))
}

/// Indexes by name, each asked for once.
fn resolver(interfaces: &Interfaces) -> impl FnMut(&str) -> Option<u32> {
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

fn is_own(own: &BTreeSet<OwnAddress>, address: &VirtualAddress) -> bool {
    own.contains(&OwnAddress::of(address))
}

/// Removes each address from the interface of the index beside it.
fn take_off(host: &mut Addresses, addresses: &[(&VirtualAddress, Option<u32>)]) {
    let results = host.remove_from(addresses.iter().copied());
    for ((address, _), result) in addresses.iter().zip(results) {
        if let Err(error) = result {
            warn("remove", address, &error);
        }
    }
}

fn warn(verb: &str, address: &VirtualAddress, error: &AddrError) {
    tracing::warn!("Can't {verb} {}/{} on {}: {error}", address.ip, address.prefix, address.device);
}
