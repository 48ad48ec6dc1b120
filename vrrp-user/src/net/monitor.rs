//! Tells what happens to the host's interfaces and addresses.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::netlink::Netlink;
use super::table::{HostAddress, Interface, Snapshot};
use crate::sys::readiness::watch;

/// Attempts to read a list that keeps changing, or loses events, while it is read.
const ATTEMPTS: usize = 10;
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
    /// Events were lost: this is how everything is now.
    Resync(Snapshot),
}

/// Starts the monitor of interfaces and addresses.
#[derive(Debug)]
pub struct Monitor;

impl Monitor {
    /// A receive buffer for about two thousand events.
    pub const RECEIVE_BUFFER: usize = 2 << 20;

    /// Starts a monitor in the calling thread's network namespace, as a task of the current tokio
    /// runtime. It ends when the receiver is dropped.
    ///
    /// The snapshot and the changes together are complete: each change after the snapshot is told once,
    /// in the kernel's order. `receive_buffer` is in bytes; when more happens at once than fits, all is
    /// read again and told as [`Change::Resync`].
    ///
    /// # Errors
    /// The kernel's, where a socket can't be had or the lists can't be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(receive_buffer: usize) -> io::Result<(Snapshot, UnboundedReceiver<Change>)> {
        let (netlink, table) = read_all(receive_buffer)?;
        let snapshot = table.clone();
        let (changes, receiver) = unbounded_channel();
        let ready = watch(netlink.as_fd())?;
        let watch = Watch { netlink, table, changes, receive_buffer };
        tokio::spawn(watch.run(ready));
        Ok((snapshot, receiver))
    }
}

impl Snapshot {
    /// Reads the interfaces and addresses of the calling thread's network namespace once.
    ///
    /// # Errors
    /// The kernel's, where a socket can't be had or the lists can't be read.
    pub fn read() -> io::Result<Self> {
        read_all(Monitor::RECEIVE_BUFFER).map(|(_, table)| table)
    }
}

struct Watch {
    netlink: Netlink,
    table: Snapshot,
    changes: UnboundedSender<Change>,
    receive_buffer: usize,
}

impl Watch {
    async fn run(mut self, ready: AsyncFd<OwnedFd>) {
        let changes = self.changes.clone();
        tokio::select! {
            () = changes.closed() => {}
            result = self.follow(ready) => if let Err(error) = result {
                // Without events an address or a link could be lost unseen.
                tracing::error!("Netlink monitor stopped: {error}");
            }
        }
    }

    async fn follow(&mut self, mut socket: AsyncFd<OwnedFd>) -> io::Result<()> {
        loop {
            let mut ready = socket.readable().await?;
            match self.tell() {
                // More may wait, and readiness stays set; but others get their turn.
                Ok(()) => tokio::task::yield_now().await,
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => ready.clear_ready(),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    socket = self.resync()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a share of the events that wait, and tells what they changed.
    fn tell(&mut self) -> io::Result<()> {
        let mut told = Vec::new();
        let mut outcome = Ok(());
        for _ in 0..BUDGET {
            outcome = self.netlink.events(|message| self.table.apply(message, &mut told));
            if outcome.is_err() {
                break;
            }
        }
        for change in told {
            self.changes.send(change).ok();
        }
        outcome
    }

    /// Starts over with a new socket: what still waits in the old one is older than what is read now.
    fn resync(&mut self) -> io::Result<AsyncFd<OwnedFd>> {
        let (netlink, table) = read_all(self.receive_buffer)?;
        tracing::warn!("Netlink: events lost, interfaces and addresses read again");
        let ready = watch(netlink.as_fd())?;
        self.netlink = netlink;
        self.table = table;
        let resync = Change::Resync(self.table.clone());
        self.changes.send(resync).ok();
        Ok(ready)
    }
}

/// Subscribes, then reads the lists. What changes meanwhile is in the list, or comes behind it as an
/// event by the same socket, or both; so nothing is missed and the last word is right.
fn read_all(receive_buffer: usize) -> io::Result<(Netlink, Snapshot)> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let groups = groups.iter().fold(0, |set, group| set | 1 << (*group as u32 - 1));
    let mut last = io::Error::from_raw_os_error(libc::ENOBUFS);
    for _ in 0..ATTEMPTS {
        let mut netlink = Netlink::open(groups, receive_buffer)?;
        match read_lists(&mut netlink) {
            Ok(Some(table)) => return Ok((netlink, table)),
            Ok(None) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// `None`: a list changed under the reader in a way that may have hidden an entry.
fn read_lists(netlink: &mut Netlink) -> io::Result<Option<Snapshot>> {
    let mut table = Snapshot::default();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut whole = true;
    for list in [links, addresses] {
        // Part of the beginning, so not told as changes.
        whole &= netlink.dump(list, |message| table.apply(message, &mut Vec::new()))?;
    }
    Ok(whole.then_some(table))
}
