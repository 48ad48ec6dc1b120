//! Tells what happens to the host's interfaces and addresses.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::netlink::Netlink;
use super::table::{HostAddress, Interface, Snapshot};
use crate::sys::readiness::look;
use crate::text::span;

/// Readings of lists that change under the reader, until what they say together is taken.
const ATTEMPTS: usize = 5;
/// The same in time: each reading may wait for whoever changes the host.
const READING: Duration = Duration::from_millis(500);
/// What lists are read through holds one datagram of the kernel's, and the next only follows when it is
/// read.
const LIST_BUFFER: usize = 128 << 10;
/// The first pause between two losses of events, and the longest: while more happens than can be told,
/// reading all of it time and again helps nobody.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// Without a loss for that long, the next one is made up for at once.
const CALM: Duration = Duration::from_secs(3);
/// Losses are told in the log once in that time.
const TOLD: Duration = Duration::from_secs(60);
/// How long nobody is woken after events: who puts 200 addresses on would wake this thread for each, and spend
/// nearly as long on that as on the addresses.
const REST: Duration = Duration::from_millis(2);
/// Datagrams read before other tasks of the thread get their turn.
const BUDGET: usize = 64;

/// Something that happened to the host's interfaces or addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface is new, or something about it changed: this is how it is now.
    Link(Interface),
    /// An interface is gone, or goes by another name from now on; its addresses went with it.
    Gone {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// An interface has a new address, or something about one changed.
    AddressAdded {
        /// The interface's index.
        ifindex: u32,
        /// The interface's name.
        name: String,
        /// The address as it is now.
        address: HostAddress,
    },
    /// An interface lost an address: to whoever removed it, or to the kernel, which drops secondary
    /// addresses with the first one of their network.
    AddressRemoved {
        /// The interface's index.
        ifindex: u32,
        /// The interface's name.
        name: String,
        /// The address as it was.
        address: HostAddress,
    },
    /// Events were lost, or a list could not be read whole: until the next [`Change::Resync`] things may
    /// be otherwise than was told.
    Behind,
    /// All was read again: this is how everything is now.
    Resync(Snapshot),
}

/// Starts the monitor of interfaces and addresses.
#[derive(Debug)]
pub struct Monitor;

impl Monitor {
    /// A receive buffer for about eight thousand events: a takeover for all slots brings six. It costs
    /// nothing while they don't wait.
    pub const RECEIVE_BUFFER: usize = 8 << 20;

    /// Starts a monitor in the calling thread's network namespace, as a task of the current tokio
    /// runtime. It ends when the receiver is dropped, and not before.
    ///
    /// The snapshot and the changes together are complete: each change after the snapshot is told once,
    /// in the kernel's order. `receive_buffer` is in bytes; when more happens at once than fits, that is
    /// told as [`Change::Behind`], and all is read again and told as [`Change::Resync`].
    ///
    /// # Errors
    /// The kernel's, where a socket can't be had or the lists can't be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(receive_buffer: usize) -> io::Result<(Snapshot, UnboundedReceiver<Change>)> {
        let events = subscribe(receive_buffer)?;
        let (table, whole) = read_lists(&mut open_lists()?)?;
        let snapshot = table.clone();
        let (changes, receiver) = unbounded_channel();
        let watch = Watch { events, table, changes, receive_buffer, behind: None, told: None };
        tokio::spawn(watch.run(whole));
        Ok((snapshot, receiver))
    }
}

impl Snapshot {
    /// Reads the interfaces and addresses of the calling thread's network namespace once.
    ///
    /// # Errors
    /// The kernel's, where a socket can't be had or the lists can't be read.
    pub fn read() -> io::Result<Self> {
        read_lists(&mut open_lists()?).map(|(table, _)| table)
    }
}

struct Watch {
    events: Netlink,
    table: Snapshot,
    changes: UnboundedSender<Change>,
    receive_buffer: usize,
    /// Since when the table may be wrong, where that was told in the log.
    behind: Option<Instant>,
    /// When that was told last.
    told: Option<Instant>,
}

impl Watch {
    async fn run(mut self, whole: bool) {
        let changes = self.changes.clone();
        tokio::select! {
            () = changes.closed() => {}
            never = self.follow(whole) => match never {},
        }
    }

    /// Tells what happens; whatever goes wrong with that, the last table stays until there is another one.
    async fn follow(&mut self, mut whole: bool) -> Infallible {
        let mut pauses = Pauses::default();
        loop {
            let why = if whole {
                self.tell_all().await
            } else {
                io::Error::other("the lists change while they are read")
            };
            self.fall_behind(&why);
            tokio::time::sleep(pauses.next(Instant::now())).await;
            whole = match self.resync().await {
                Ok(whole) => whole,
                Err(error) => {
                    tracing::debug!("Netlink: interfaces and addresses can't be read: {error}");
                    false
                }
            };
            pauses.ended(Instant::now());
        }
    }

    fn fall_behind(&mut self, why: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD) {
            let now = Instant::now();
            (self.told, self.behind) = (Some(now), self.behind.or(Some(now)));
            tracing::warn!("Netlink: events lost ({why}), reading interfaces and addresses again");
        } else {
            tracing::debug!("Netlink: events lost ({why})");
        }
        // Where nobody listens any more, the task ends.
        self.changes.send(Change::Behind).ok();
    }

    /// Tells events as they come, until some are lost or can't be read.
    async fn tell_all(&mut self) -> io::Error {
        loop {
            match self.tell() {
                // More may wait; but others get their turn.
                Ok(()) => tokio::task::yield_now().await,
                // What nobody tells of for a long time is known, too.
                Err(error) if is_end(&error) => {
                    self.caught_up();
                    if let Err(error) = self.more().await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Waits for events; but first a moment in which those that come wake nobody.
    async fn more(&self) -> io::Result<()> {
        tokio::time::sleep(REST).await;
        // With a descriptor for each wait it would be deaf where the process has none left.
        look(self.events.as_fd())?.readable().await.map(drop)
    }

    /// Reads a share of the events that wait, and tells what they changed.
    fn tell(&mut self) -> io::Result<()> {
        let mut told = Vec::new();
        let mut outcome = Ok(());
        for _ in 0..BUDGET {
            outcome = self.events.events(|message| self.table.apply(message, &mut told));
            if outcome.is_err() {
                break;
            }
        }
        for change in told {
            self.changes.send(change).ok();
        }
        outcome
    }

    /// Starts over with a new subscription: what still waits in the old one is older than what is read
    /// now. Says whether the lists were read whole.
    async fn resync(&mut self) -> io::Result<bool> {
        // By this thread, whose namespace it is about.
        let events = subscribe(self.receive_buffer)?;
        let mut lists = open_lists()?;
        // By another one: reading waits for whoever changes the host, which this thread has no time for.
        let read = tokio::task::spawn_blocking(move || read_lists(&mut lists));
        let (table, whole) = read.await.map_err(io::Error::other)??;
        self.events = events;
        self.table = table;
        self.changes.send(Change::Resync(self.table.clone())).ok();
        Ok(whole)
    }

    /// Notes that all there was has been told.
    fn caught_up(&mut self) {
        if let Some(since) = self.behind.take() {
            let took = span(since.elapsed());
            tracing::info!("Netlink: interfaces and addresses are known again after {took}");
        }
    }
}

/// Whether no more events wait.
fn is_end(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// How long to wait before all is read again.
#[derive(Default)]
struct Pauses {
    next: Duration,
    ended: Option<Instant>,
}

impl Pauses {
    fn next(&mut self, now: Instant) -> Duration {
        if self.ended.is_none_or(|ended| now.duration_since(ended) >= CALM) {
            self.next = Duration::ZERO;
        }
        let pause = self.next;
        let [first, longest] = PAUSES;
        self.next = (2 * pause).clamp(first, longest);
        pause
    }

    /// Notes when a reading has ended.
    fn ended(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

/// A socket for events. To be opened before the lists are read through another one: what changes meanwhile
/// is in the list, or comes as an event behind it, or both; so nothing is missed and the last word is right.
/// Events have a socket of their own so that however many come, the lists get through.
fn subscribe(receive_buffer: usize) -> io::Result<Netlink> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let groups = groups.iter().fold(0, |set, group| set | 1 << (*group as u32 - 1));
    Netlink::open(groups, receive_buffer)
}

fn open_lists() -> io::Result<Netlink> {
    Netlink::open(0, LIST_BUFFER)
}

/// Reads the lists. `false`: they change all the time; what is there is what any of some readings found, so
/// that an entry that one of them missed is not taken for gone, and one that is gone may still be there.
fn read_lists(lists: &mut Netlink) -> io::Result<(Snapshot, bool)> {
    let begin = Instant::now();
    let mut found = Snapshot::default();
    for _ in 0..ATTEMPTS {
        let (mut table, whole) = read_once(lists)?;
        if whole {
            return Ok((table, true));
        }
        table.fill(&found);
        found = table;
        if begin.elapsed() > READING {
            break;
        }
    }
    Ok((found, false))
}

/// Reads the lists once. `false`: one changed under the reader in a way that may have hidden an entry.
fn read_once(lists: &mut Netlink) -> io::Result<(Snapshot, bool)> {
    let mut table = Snapshot::default();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut whole = true;
    for list in [links, addresses] {
        // Part of the beginning, so not told as changes.
        whole &= lists.dump(list, |message| table.apply(message, &mut Vec::new()))?;
    }
    Ok((table, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_events_are_lost() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let mut lost_after = |wait: Duration| {
            now += wait;
            let pause = pauses.next(now);
            now += pause;
            pauses.ended(now);
            pause.as_millis()
        };
        let soon = Duration::from_millis(10);
        let grown: Vec<u128> = (0..8).map(|_| lost_after(soon)).collect();
        assert_eq!(grown, [0, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!([lost_after(CALM), lost_after(soon)], [0, 50]);
    }
}
