//! When addresses come and go, as the kernel tells it: asking `ip` again and again would measure
//! how long a process takes to start.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Netns;
use crate::turns::Turns;
use crate::wait::{now, scheduled, wait_until};

/// An address that came or went, with the time in the clock of [`crate::now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the kernel's word arrived.
    pub at: Duration,
    /// The index of the interface.
    pub ifindex: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it came.
    pub added: bool,
}

/// Watches the IPv4 addresses of a namespace.
#[derive(Debug)]
pub struct Watch {
    changes: Arc<Mutex<Vec<Change>>>,
    turns: Arc<Turns>,
    end: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches from now on.
    ///
    /// # Errors
    /// No netlink socket.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.enter(|| {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )?;
            let groups = NetlinkAddr::new(0, libc::RTMGRP_IPV4_IFADDR.cast_unsigned());
            bind(socket.as_raw_fd(), &groups).context("join the group of addresses")?;
            setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
            Ok(socket)
        })?;
        let (changes, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let turns = Arc::new(Turns::default());
        let reader = std::thread::spawn({
            let (changes, turns, end) =
                (Arc::clone(&changes), Arc::clone(&turns), Arc::clone(&end));
            move || {
                // On a busy machine a reader that waits for its turn would measure that. Without
                // the right to it the stamps are late, and never early.
                scheduled("50");
                read_all(&socket, &changes, &turns, &end);
            }
        });
        Ok(Self { changes, turns, end, reader: Some(reader) })
    }

    /// What happened to an address, in order.
    pub fn of(&self, address: Ipv4Addr) -> Vec<Change> {
        self.turns.wait();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|one| one.address == address).copied().collect()
    }

    /// The longest time that the host was without an address that it had at the beginning; without an
    /// end where it still is.
    pub fn longest_gap(&self, address: Ipv4Addr) -> Duration {
        longest_gap(&self.of(address))
    }

    /// When the address went for the first time after a moment.
    pub fn gone_after(&self, address: Ipv4Addr, moment: Duration) -> Option<Duration> {
        self.turns.wait();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let went = |one: &&Change| one.address == address && !one.added && one.at >= moment;
        changes.iter().find(went).map(|one| one.at)
    }

    /// Waits until the address has gone, and says how long after a moment that was.
    ///
    /// # Errors
    /// It is still there after `limit`.
    pub fn wait_gone(
        &self,
        address: Ipv4Addr,
        moment: Duration,
        limit: Duration,
    ) -> Result<Duration> {
        let gone = || self.gone_after(address, moment);
        wait_until(&format!("{address} is gone"), limit, || gone().is_some())?;
        Ok(gone().context("it was gone a moment ago")? - moment)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn longest_gap(changes: &[Change]) -> Duration {
    let mut held = 1;
    let (mut gone, mut longest) = (None, Duration::ZERO);
    for change in changes {
        held += if change.added { 1 } else { -1 };
        if held <= 0 {
            gone = Some(change.at);
        } else if let Some(gone) = gone.take() {
            longest = longest.max(change.at - gone);
        }
    }
    gone.map_or(longest, |_| Duration::MAX)
}

fn read_all(socket: &OwnedFd, changes: &Mutex<Vec<Change>>, turns: &Turns, end: &AtomicBool) {
    let mut buffer = [0; 1 << 15];
    while !end.load(Ordering::Relaxed) {
        let turn = turns.asked();
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let read = read(&buffer[..length], now());
                changes.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
            }
            Err(Errno::EAGAIN) => turns.done(turn),
            Err(Errno::EINTR) => {}
            Err(error) => panic!("the kernel's word about addresses: {error}"),
        }
    }
}

/// The changes in one datagram of netlink messages.
fn read(mut datagram: &[u8], at: Duration) -> Vec<Change> {
    const HEADER: usize = 16;
    let mut changes = Vec::new();
    while let Some((length, kind)) = word(datagram, 0).zip(half(datagram, 4)) {
        let length = length as usize;
        let Some(body) = datagram.get(HEADER..length) else { break };
        if let Some((address, ifindex)) = local(body).zip(word(body, 4)) {
            let kind = u32::from(kind);
            if kind == u32::from(libc::RTM_NEWADDR) || kind == u32::from(libc::RTM_DELADDR) {
                let added = kind == u32::from(libc::RTM_NEWADDR);
                changes.push(Change { at, ifindex, address, added });
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    changes
}

/// `IFA_LOCAL` behind the eight bytes of an `ifaddrmsg`, which end in the interface's index.
fn local(body: &[u8]) -> Option<Ipv4Addr> {
    let mut attributes = body.get(8..)?;
    while let Some((length, kind)) = half(attributes, 0).zip(half(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        if kind == libc::IFA_LOCAL {
            return <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One message as the kernel writes it: type, and `IFA_LOCAL` behind another attribute.
    fn message(kind: u16, address: [u8; 4]) -> Vec<u8> {
        let mut bytes = 40_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([2, 24, 0, 0, 2, 0, 0, 0]);
        for (attribute, value) in [(1_u16, [127, 0, 0, 1]), (2, address)] {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(attribute.to_ne_bytes());
            bytes.extend(value);
        }
        bytes
    }

    #[test]
    fn reads_all_messages_of_a_datagram() {
        let at = Duration::from_secs(1);
        let datagram = [message(20, [192, 0, 2, 1]), message(21, [192, 0, 2, 2])].concat();
        let change =
            |last, added| Change { at, ifindex: 2, address: Ipv4Addr::new(192, 0, 2, last), added };
        assert_eq!(read(&datagram, at), [change(1, true), change(2, false)]);
        assert_eq!(read(&datagram[..50], at), [change(1, true)]);
    }

    #[test]
    fn a_gap_is_while_it_is_nowhere() {
        let change = |millis, added| Change {
            at: Duration::from_millis(millis),
            ifindex: 2,
            address: Ipv4Addr::LOCALHOST,
            added,
        };
        assert_eq!(longest_gap(&[]), Duration::ZERO);
        let moved = [change(10, false), change(13, true), change(20, false), change(21, true)];
        assert_eq!(longest_gap(&moved), Duration::from_millis(3));
        // On two interfaces for a moment.
        assert_eq!(longest_gap(&[change(10, true), change(12, false)]), Duration::ZERO);
        assert_eq!(longest_gap(&moved[..3]), Duration::MAX);
    }
}
