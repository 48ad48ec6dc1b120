//! Tells when routes or rules are taken away that may be ours.
//!
//! The kernel does not tell of everything: IPv4 routes that go with their interface or their source go in
//! silence. Who listens here has to look after changes of those too.

use std::io;
use std::os::fd::AsFd;

use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use vrrp_proto::paths::PROTOCOL;

use crate::sys::readiness;

/// Routes and rules of both families, as bits of their groups.
const GROUPS: u32 = 1 << (libc::RTNLGRP_IPV4_ROUTE - 1)
    | 1 << (libc::RTNLGRP_IPV6_ROUTE - 1)
    | 1 << (libc::RTNLGRP_IPV4_RULE - 1)
    | 1 << (libc::RTNLGRP_IPV6_RULE - 1);
/// Where a message has its type, and a route its protocol.
const TYPE: u32 = 4;
const ROUTE_PROTOCOL: u32 = 16 + 5;
/// What is told is not read, so that its beginning is enough.
const DATAGRAM: usize = 64;

/// Begins to watch, in the calling thread's network namespace, as a task of the current tokio runtime that
/// ends with the receiver. What happens while the last word waits to be heard is in that word.
///
/// # Errors
/// The kernel's, where no socket can be had.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn start() -> io::Result<Receiver<()>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    // Before anything is heard: a table of the whole internet may be on its way.
    SockRef::from(&socket).attach_filter(&filter())?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    let (told, receiver) = channel(1);
    tokio::spawn(async move {
        if let Err(error) = follow(&socket, &told).await {
            tracing::warn!("Routes and rules are not watched any more: {error}");
        }
    });
    Ok(receiver)
}

async fn follow(socket: &Socket, told: &Sender<()>) -> io::Result<()> {
    let readable = readiness::watch(socket.as_fd())?;
    let mut buffer = Vec::with_capacity(DATAGRAM);
    loop {
        let mut guard = tokio::select! {
            () = told.closed() => return Ok(()),
            ready = readable.readable() => ready?,
        };
        loop {
            buffer.clear();
            match socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                // Where too many came, some of ours may have been among them.
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            // One word waits already: whoever hears it looks at everything.
            told.try_send(()).ok();
        }
        guard.clear_ready();
    }
}

/// Lets removals of routes pass that have our mark, and of rules, where the mark is in no fixed place.
fn filter() -> [SockFilter; 7] {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The filter reads numbers in the order of the network, the message has the host's.
    let kind = |kind: u16| u32::from(kind.to_be());
    [
        SockFilter::new(LOAD_HALF, 0, 0, TYPE),
        SockFilter::new(EQUAL, 3, 0, kind(libc::RTM_DELRULE)),
        SockFilter::new(EQUAL, 0, 3, kind(libc::RTM_DELROUTE)),
        SockFilter::new(LOAD_BYTE, 0, 0, ROUTE_PROTOCOL),
        SockFilter::new(EQUAL, 0, 1, u32::from(PROTOCOL)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
