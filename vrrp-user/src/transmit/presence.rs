//! Being there for adverts that are sent to this host alone.

use std::io;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use vrrp_common::Family;

/// Keeps the host from answering adverts to it alone with "protocol unreachable" (RFC 1122 §3.2.2.1), or
/// "unrecognized next header" (RFC 4443 §3.4), until it is dropped.
///
/// Adverts are taken from the interface before the IP stack sees them, and of those that it still sees
/// nobody there knows what to do with them. Adverts to a group are not answered in any case.
#[derive(Debug)]
pub struct Presence {
    _socket: Socket,
}

impl Presence {
    /// For packets of an IP protocol, in the calling thread's network namespace. Nothing is kept of them.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open(family: Family, protocol: u8) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::from(i32::from(protocol))))?;
        // A packet that found no room in the socket would count as one that nobody wanted.
        socket.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)])?;
        Ok(Self { _socket: socket })
    }
}
