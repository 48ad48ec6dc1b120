//! Talk with nf_tables.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::message::{Batch, SUBSYSTEM};
use super::{FirewallError, rules};

/// Room for a batch of some ten thousand addresses, and for its answers.
const BUFFER: usize = 4 << 20;
/// The kernel's answers to a batch come in datagrams of this size at most.
const DATAGRAM: usize = 64 * 1024;
const MESSAGE_ERROR: u16 = 2;

/// The socket that requests are made by: one for all, so that what the kernel tells of their doing is
/// known by its port.
#[derive(Debug, Default)]
pub(super) struct Requests(Option<(Socket, u32)>);

impl Requests {
    /// Whether a message about a change tells of one that was asked for here.
    pub(super) fn are_of(&self, message: &[u8]) -> bool {
        let port = message.get(12..).and_then(<[u8]>::first_chunk);
        let ours = self.0.as_ref().map(|(_, port)| *port);
        port.is_some_and(|port| Some(u32::from_ne_bytes(*port)) == ours)
    }

    /// Has the kernel carry out a batch, all of it or nothing.
    pub(super) fn carry_out(&mut self, batch: Batch) -> Result<(), FirewallError> {
        let (bytes, missing) = batch.finish();
        self.ask(|socket| {
            socket.send(&bytes, 0).map_err(from_system)?;
            // The answers are there when the batch is sent.
            hear(missing, |buffer| socket.recv(buffer, libc::MSG_DONTWAIT).map(drop))
        })
    }

    /// Says whether all that is asked for is there.
    pub(super) fn are_there(&mut self, questions: &[Vec<u8>]) -> Result<bool, FirewallError> {
        self.ask(|socket| {
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
        })
    }

    /// Asks by a socket without an answer to an earlier question in it: where one fails it is closed.
    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&Socket) -> Result<T, FirewallError>,
    ) -> Result<T, FirewallError> {
        let (socket, port) = match self.0.take() {
            Some(open) => open,
            None => open_with_port(0).map_err(from_system)?,
        };
        let answer = ask(&socket)?;
        self.0 = Some((socket, port));
        Ok(answer)
    }
}

/// A socket that is subscribed to a set of groups (bit n is group n + 1).
pub(super) fn open(groups: u32) -> io::Result<Socket> {
    open_with_port(groups).map(|(socket, _)| socket)
}

fn open_with_port(groups: u32) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
    socket.bind(&SocketAddr::new(0, groups))?;
    // An error's answer needs no copy of the request.
    socket.set_cap_ack(true)?;
    let mut address = SocketAddr::new(0, 0);
    socket.get_address(&mut address)?;
    Ok((socket, address.port_number()))
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

/// Whether a message tells of a change to the table of that name: to itself, or to something in it.
pub(super) fn is_about(message: &[u8], table: &str) -> bool {
    const HEADERS: usize = 20;
    let ours = message.get(5) == Some(&SUBSYSTEM)
        && message.get(16).is_some_and(|family| rules::FAMILIES.contains(family));
    // Its name is the first attribute of whatever is in it.
    let name = message.get(HEADERS..).and_then(|attributes| {
        let (head, value) = attributes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]])).checked_sub(head.len())?;
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        value.get(..length).filter(|_| kind == 1)?.strip_suffix(&[0])
    });
    ours && name == Some(table.as_bytes())
}

/// The error numbers in a datagram of answers; 0: done.
fn answers(datagram: &[u8]) -> impl Iterator<Item = i32> {
    messages(datagram).filter(|message| kind(message) == Some(MESSAGE_ERROR)).filter_map(
        |message| message.get(16..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)),
    )
}

/// Reads the answers to a batch: the first refusal is the reason for all others.
fn hear(
    mut missing: u32,
    mut receive: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> Result<(), FirewallError> {
    let mut buffer = Vec::with_capacity(DATAGRAM);
    while missing > 0 {
        buffer.clear();
        receive(&mut buffer).map_err(from_system)?;
        for code in answers(&buffer) {
            if code != 0 {
                return Err(refused(Errno::from_raw(code.saturating_abs())));
            }
            missing = missing.saturating_sub(1);
        }
    }
    Ok(())
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
    use super::super::message::Request;
    use super::*;

    fn answer(code: i32) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[0] = 36;
        bytes[4] = 2;
        bytes[16..20].copy_from_slice(&code.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    /// Without nfnetlink there is no such socket, without nf_tables alone nobody for the batch.
    #[test]
    fn a_kernel_without_nf_tables_is_told_from_one_that_refuses() {
        let heard = |code: i32| {
            hear(2, |buffer| {
                buffer.extend([answer(0), answer(code)].concat());
                Ok(())
            })
        };
        assert!(heard(0).is_ok());
        let missing = heard(-libc::EOPNOTSUPP);
        assert!(matches!(missing, Err(FirewallError::Missing)), "{missing:?}");
        assert_eq!(missing.unwrap_err().to_string(), "the kernel has no nf_tables");
        assert!(matches!(heard(-libc::EPERM), Err(FirewallError::Refused(Errno::EPERM))));
        let fails = |errno| hear(1, |_| Err(io::Error::from_raw_os_error(errno)));
        assert!(matches!(fails(libc::EPROTONOSUPPORT), Err(FirewallError::Missing)));
        assert!(matches!(fails(libc::EPERM), Err(FirewallError::Netlink(_))));
    }

    #[test]
    fn answers_are_read_one_by_one() {
        let datagram = [answer(0), answer(-2), answer(0)].concat();
        assert_eq!(answers(&datagram).collect::<Vec<_>>(), [0, -2, 0]);
        assert_eq!(answers(&datagram[..50]).collect::<Vec<_>>(), [0]);
        assert_eq!(answers(&[]).count(), 0);
    }

    #[test]
    fn what_is_told_of_the_table_is_known() {
        let of = |request, family| {
            Batch::question(request, family, |attributes| {
                attributes.text(1, "xvrrp").text(2, "input");
            })
        };
        let rule = of(Request::NewRule, 2);
        assert!(is_about(&rule, "xvrrp") && !is_about(&rule, "xvrrp-0"));
        assert!(!is_about(&of(Request::NewRule, 1), "xvrrp"), "another family's");
        for short in 0..30 {
            assert!(!is_about(&rule[..short], "xvrrp"), "cut at {short}");
        }
        let mut another = Batch::question(Request::NewRule, 2, |attributes| {
            attributes.text(2, "xvrrp");
        });
        assert!(!is_about(&another, "xvrrp"), "another attribute");
        another[5] = 0;
        assert!(!is_about(&another, "xvrrp"));
        let mut requests = Requests(None);
        assert!(!requests.are_of(&rule));
        requests.0 = Some(open_with_port(0).unwrap());
        assert!(!requests.are_of(&rule));
        let port = requests.0.as_ref().unwrap().1;
        let ours = [&rule[..12], &port.to_ne_bytes(), &rule[16..]].concat();
        assert!(port != 0 && requests.are_of(&ours));
    }
}
