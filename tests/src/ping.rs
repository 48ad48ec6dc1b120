//! ICMP echo, without a program that may not be installed.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_millis(500);

/// Says whether an address answers ping, asked from a host, perhaps from one of its addresses there.
/// `scope`: the interface's index, for a link-local address. A question that the asking host itself does
/// not let out has no answer.
///
/// # Errors
/// No raw socket, or no such source.
pub fn answers(netns: &Netns, from: Option<IpAddr>, to: IpAddr, scope: u32) -> Result<bool> {
    let (domain, protocol, request, answer) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = netns.enter(|| {
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(WAIT / 5))?;
        Ok(socket)
    })?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    let mut target = SocketAddr::new(to, 0);
    if let SocketAddr::V6(target) = &mut target {
        target.set_scope_id(scope);
    }
    let question = message(request, to);
    if socket.connect(&target.into()).is_err() || socket.send(&question).is_err() {
        return Ok(false);
    }
    let begin = Instant::now();
    let mut buffer = [0; 1500];
    // The IPv4 header comes along.
    let start = if to.is_ipv4() { 20 } else { 0 };
    while begin.elapsed() < WAIT {
        let Ok(length) = (&socket).read(&mut buffer) else { continue };
        let bytes = &buffer[..length];
        if bytes.get(start) == Some(&answer) && bytes.ends_with(&question[8..]) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An echo request; over IPv6 the kernel writes the checksum. It says whom it is for, as the socket hears
/// answers to others too until it is connected.
fn message(kind: u8, to: IpAddr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    match to {
        IpAddr::V4(to) => message.extend(to.octets()),
        IpAddr::V6(to) => message.extend(to.octets()),
    }
    let words = message.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}
