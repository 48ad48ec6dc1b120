//! Frames out: adverts, gratuitous ARP, neighbour advertisements, and the group that adverts come by.
//!
//! Every frame is built whole, with its Ethernet header, and handed to a packet socket: a host
//! firewall that is being reloaded sees none of them and can stop none of them. Building is pure;
//! [`Sender`] is what talks to the kernel, and [`Batch`] has it send many frames by one call. Apart from
//! that there are [`group::Membership`], and [`Routed`] for adverts to single hosts, whose MAC address
//! only the kernel knows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::sys::link_address::link_address;

pub mod advert;
pub mod arp;
pub mod batch;
pub(crate) mod farewell;
pub mod group;
pub mod ndisc;
pub mod presence;
pub mod routed;

pub use advert::{AdvertFrame, Around};
pub use batch::Batch;
pub use presence::Presence;
pub use routed::Routed;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `TC_PRIO_CONTROL`: the first band of the kernel's priority queues.
const PRIORITY_CONTROL: i32 = 7;

/// Room for what waits in the kernel: for some three hundred neighbours that don't answer, or in the queues
/// of interfaces that stand. It costs nothing before.
const SEND_BUFFER: usize = 64 << 20;

/// A MAC address.
pub type Mac = [u8; 6];

/// Sends whole Ethernet frames.
///
/// The socket has protocol 0, so the kernel delivers nothing to it and spends nothing on it.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
}

impl Sender {
    /// Opens the socket, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, None)?;
        // Ahead of the host's bulk traffic in the queue of the interface, as the TOS of the packet
        // says; a packet socket does not derive one from the other.
        setsockopt(&socket, sockopt::Priority, &PRIORITY_CONTROL)?;
        make_room(&socket)?;
        Ok(Self { socket })
    }

    /// Sends one frame out of an interface; never blocks.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOBUFS` where a queue is full, `ENETDOWN` or `ENXIO` where the interface is down
    /// or gone, `EMSGSIZE` where the frame is longer than its MTU.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        // A packet socket sends a frame whole or not at all.
        self.socket.send_to(frame, &link_address(ifindex, ethertype(frame))).map(drop)
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lets one interface or neighbour that takes nothing keep back no frames to the others: what waits for it
/// is counted against the socket, which by default has room for 270 adverts.
fn make_room(socket: &Socket) -> io::Result<()> {
    setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER))
        .map_err(io::Error::from)
}

/// The EtherType of a frame; 0 where it is too short to have one.
fn ethertype(frame: &[u8]) -> u16 {
    let field = frame.get(ETHERNET - 2..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Writes an Ethernet header into a frame's first bytes.
fn ethernet(frame: &mut [u8], destination: Mac, source: Mac, ethertype: u16) {
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    frame[12..ETHERNET].copy_from_slice(&ethertype.to_be_bytes());
}
