//! What is on the wire, with the kernel's arrival stamps.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::frame::{self, Advert, Frame};
use crate::netns::Netns;
use crate::packet;
use crate::turns::Turns;

/// How long what arrives waits to be read: to wake the reader for each frame takes the sender, whose time is
/// what is measured, as long as to send it. The kernel has stamped it by then.
const REST: Duration = Duration::from_millis(2);

/// A frame with the time of its arrival, in the clock of [`crate::now`].
#[derive(Clone, Debug)]
pub struct Seen<T = Frame> {
    /// When the kernel saw it.
    pub at: Duration,
    /// What it was.
    pub frame: T,
}

/// An advert with the time of its arrival.
#[derive(Clone, Debug)]
pub struct SeenAdvert {
    /// When the kernel saw it.
    pub at: Duration,
    /// The advert.
    pub advert: Advert,
}

/// A running capture: of adverts over IPv4 and gratuitous ARPs, or of what another reader knows.
#[derive(Debug)]
pub struct Capture<T = Frame> {
    seen: Arc<Mutex<Vec<Seen<T>>>>,
    turns: Arc<Turns>,
    end: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl<T: Clone + Send + 'static> Capture<T> {
    /// Captures at a device from now on what `read` makes something of.
    ///
    /// # Errors
    /// No packet socket.
    pub fn of(netns: &Netns, device: &str, read: fn(&[u8]) -> Option<T>) -> Result<Self> {
        let socket = netns.enter(|| {
            let socket = packet::open(device)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
            Ok(socket)
        })?;
        let (seen, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let turns = Arc::new(Turns::default());
        let reader = std::thread::spawn({
            let (seen, turns, end) = (Arc::clone(&seen), Arc::clone(&turns), Arc::clone(&end));
            move || {
                read_all(&socket, read, &seen, &turns, &end);
                turns.end();
            }
        });
        Ok(Self { seen, turns, end, reader: Some(reader) })
    }

    /// Everything so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen<T>> {
        self.turns.wait();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Capture {
    /// Captures adverts and gratuitous ARPs at a device from now on.
    ///
    /// # Errors
    /// No packet socket.
    pub fn start(netns: &Netns, device: &str) -> Result<Self> {
        Self::of(netns, device, frame::read)
    }

    /// The adverts so far.
    pub fn adverts(&self) -> Vec<SeenAdvert> {
        let advert = |seen: Seen| match seen.frame {
            Frame::Advert(advert) => Some(SeenAdvert { at: seen.at, advert }),
            Frame::Announcement { .. } => None,
        };
        self.seen().into_iter().filter_map(advert).collect()
    }

    /// The adverts of a host of the laboratory so far.
    pub fn adverts_of(&self, host: &str) -> Vec<SeenAdvert> {
        let source = Ipv4Addr::new(192, 0, 2, crate::lab::number(host));
        let mut all = self.adverts();
        all.retain(|seen| seen.advert.source == source);
        all
    }

    /// When gratuitous ARPs for this address arrived, with the hardware address they said.
    pub fn announcements(&self, of: Ipv4Addr) -> Vec<(Duration, [u8; 6])> {
        let announcement = |seen: Seen| match seen.frame {
            Frame::Announcement { address, mac } if address == of => Some((seen.at, mac)),
            Frame::Announcement { .. } | Frame::Advert(_) => None,
        };
        self.seen().into_iter().filter_map(announcement).collect()
    }
}

impl<T> Drop for Capture<T> {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_all<T>(
    socket: &OwnedFd,
    read: fn(&[u8]) -> Option<T>,
    seen: &Mutex<Vec<Seen<T>>>,
    turns: &Turns,
    end: &AtomicBool,
) {
    let mut buffer = [0; 2048];
    while !end.load(Ordering::Relaxed) {
        let turn = turns.asked();
        match read_one(socket, read, &mut buffer) {
            Ok(Some(one)) => seen.lock().unwrap_or_else(PoisonError::into_inner).push(one),
            Ok(None) | Err(Errno::EINTR | Errno::ENETDOWN) => {}
            Err(Errno::EAGAIN) => {
                turns.done(turn);
                let mut arrives = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                if poll(&mut arrives, PollTimeout::from(10_u8)).is_ok_and(|ready| ready > 0) {
                    std::thread::sleep(REST);
                }
            }
            Err(_) => return,
        }
    }
}

fn read_one<T>(
    socket: &OwnedFd,
    read: fn(&[u8]) -> Option<T>,
    buffer: &mut [u8],
) -> Result<Option<Seen<T>>, Errno> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let got =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let stamp = got.cmsgs()?.find_map(|message| {
        let ControlMessageOwned::ScmTimestampns(stamp) = message else { return None };
        Some(Duration::from(stamp))
    });
    let length = got.bytes;
    let read = read(&buffer[..length.min(buffer.len())]);
    Ok(stamp.zip(read).map(|(at, frame)| Seen { at, frame }))
}
