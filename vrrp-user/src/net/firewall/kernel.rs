//! Talk with nf_tables.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::FirewallError;
use super::message::Batch;

/// Room for a batch of some ten thousand addresses, and for its answers.
const BUFFER: usize = 4 << 20;
/// The kernel's answers to a batch come in datagrams of this size at most.
const DATAGRAM: usize = 64 * 1024;
const MESSAGE_ERROR: u16 = 2;

/// Has the kernel carry out a batch, all of it or nothing.
pub(super) fn carry_out(batch: Batch) -> Result<(), FirewallError> {
    let (bytes, mut missing) = batch.finish();
    let socket = open(0).map_err(from_system)?;
    socket.send(&bytes, 0).map_err(from_system)?;
    let mut buffer = Vec::with_capacity(DATAGRAM);
    // The answers are there when the batch is sent; the first refusal is the reason for all others.
    while missing > 0 {
        buffer.clear();
        socket.recv(&mut buffer, libc::MSG_DONTWAIT).map_err(from_system)?;
        for code in answers(&buffer) {
            if code != 0 {
                return Err(refused(Errno::from_raw(code.saturating_abs())));
            }
            missing -= 1;
        }
    }
    Ok(())
}

/// Says whether all that is asked for is there.
pub(super) fn are_there(questions: &[Vec<u8>]) -> Result<bool, FirewallError> {
    let socket = open(0).map_err(from_system)?;
    let mut buffer = Vec::with_capacity(DATAGRAM);
    for question in questions {
        socket.send(question, 0).map_err(from_system)?;
        buffer.clear();
        socket.recv(&mut buffer, libc::MSG_DONTWAIT).map_err(from_system)?;
        match answers(&buffer).find(|code| *code != 0) {
            Some(code) if code == -libc::ENOENT => return Ok(false),
            Some(code) => return Err(refused(Errno::from_raw(code.saturating_abs()))),
            None => {}
        }
    }
    Ok(true)
}

/// A socket that is subscribed to a set of groups (bit n is group n + 1).
pub(super) fn open(groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
    socket.bind(&SocketAddr::new(0, groups))?;
    // An error's answer needs no copy of the request.
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// The messages in a datagram.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let (message, after) = rest.split_at_checked(length.max(4))?;
        rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        Some(message)
    })
}

/// A message's type.
pub(super) fn kind(message: &[u8]) -> Option<u16> {
    message.get(4..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// The error numbers in a datagram of answers; 0: done.
fn answers(datagram: &[u8]) -> impl Iterator<Item = i32> {
    messages(datagram).filter(|message| kind(message) == Some(MESSAGE_ERROR)).filter_map(
        |message| message.get(16..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)),
    )
}

fn refused(errno: Errno) -> FirewallError {
    if matches!(errno, Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) {
        FirewallError::Missing
    } else {
        FirewallError::Refused(errno)
    }
}

fn from_system(error: io::Error) -> FirewallError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => FirewallError::Missing,
        Some(_) | None => FirewallError::Netlink(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_by_one() {
        let answer = |code: i32| {
            let mut bytes = vec![0; 20];
            bytes[0] = 36;
            bytes[4] = 2;
            bytes[16..20].copy_from_slice(&code.to_ne_bytes());
            bytes.resize(36, 0);
            bytes
        };
        let datagram = [answer(0), answer(-2), answer(0)].concat();
        assert_eq!(answers(&datagram).collect::<Vec<_>>(), [0, -2, 0]);
        assert_eq!(answers(&datagram[..50]).collect::<Vec<_>>(), [0]);
        assert_eq!(answers(&[]).count(), 0);
    }
}
