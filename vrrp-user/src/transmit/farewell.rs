//! Adverts on behalf of a process that is gone, from the frames that it has left.

use std::io;

use vrrp_common::wire;

use super::{ETHERNET, ETHERTYPE_IPV4, Routed, Sender, ethertype};
use crate::ah;

/// Sends them; nobody else does at that time.
#[derive(Debug)]
pub(crate) struct Farewell {
    sender: io::Result<Sender>,
    routed: Routed,
    /// The number of all authentication headers.
    sequence: u32,
}

impl Farewell {
    /// Opens the socket for adverts to groups, in the calling thread's network namespace. `sequence`: a
    /// number that no authentication header of the process had.
    pub(crate) fn new(sequence: u32) -> Self {
        Self { sender: Sender::open(), routed: Routed::new(), sequence }
    }

    /// Sends a frame of [`super::AdvertFrame`] out of the interface with this index; with `by_routes`, one to a
    /// single host as [`Routed::send_by_route`] does. One with an authentication header is signed by `key`.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn send(
        &mut self,
        ifindex: u32,
        by_routes: Option<u32>,
        frame: &[u8],
        key: &[u8; 8],
    ) -> io::Result<()> {
        let mut frame = frame.to_vec();
        let (to_one, sealed) = (is_routed(&frame), is_sealed(&frame));
        if let Some(packet) = frame.get_mut(ETHERNET..).filter(|_| sealed) {
            ah::sign(key, packet, wire::IPV4_HEADER, to_one, self.sequence);
        }
        if to_one {
            let packet = frame.get(ETHERNET..).unwrap_or_default();
            return match by_routes {
                Some(vrf) => self.routed.send_by_route(vrf, ifindex, packet),
                None => self.routed.send(ifindex, packet),
            };
        }
        match &self.sender {
            Ok(sender) => sender.send(ifindex, &frame),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

/// Whether a frame has no MAC address to go to: the kernel finds that of its one receiver.
fn is_routed(frame: &[u8]) -> bool {
    frame.first_chunk() == Some(&[0; 6])
}

/// Whether an authentication header follows the IP header.
fn is_sealed(frame: &[u8]) -> bool {
    ethertype(frame) == ETHERTYPE_IPV4 && frame.get(ETHERNET + 9) == Some(&ah::PROTOCOL)
}
