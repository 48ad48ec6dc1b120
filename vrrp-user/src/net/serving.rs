//! Waiting until the kernel takes packets for IPv6 addresses that it was given.
//!
//! It answers a request once the address is in its list. The group in which others ask for the address,
//! and the route that makes it the host's, come from a thread of the kernel's (`addrconf_dad_work`, also
//! where no duplicate is looked for), on the CPU of the request: for as long as a real-time thread keeps
//! that busy, packets for the address are forwarded or lost. So is the answer to whom the host asks for
//! a client's address from it, which then asks again after a whole second.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::settings::VirtualAddress;

use super::executor::Timing;
use super::netlink::Netlink;
use super::worker::Worker;

/// Between two looks. Asleep: the kernel's thread may have to have this CPU.
const PAUSE: Duration = Duration::from_micros(50);
/// Measured: 0.1 ms for one address, 4 ms for 200. On a host too busy for that, who asks for the address
/// is better off with an announcement than without.
const LONGEST: Duration = Duration::from_millis(20);
/// As many as are waited for together, where more are to be put on: each wait costs some.
const FEW: usize = 64;

/// IPv6 addresses that the kernel has still to make the host's, with their interfaces' indexes.
#[derive(Debug, Default)]
pub(super) struct Coming {
    addresses: Vec<(Ipv6Addr, u32)>,
    /// How many announcements wait for them.
    put_off: usize,
}

impl Coming {
    /// Notes an address that was put on. Not where the kernel asks other hosts for it before: it takes a second
    /// over that, and tells of the end.
    pub(super) fn note(&mut self, address: &VirtualAddress, index: Option<u32>) {
        if let (IpAddr::V6(ip), false) = (address.ip, address.detect_duplicates) {
            self.addresses.extend(index.map(|index| (ip, index)));
        }
    }

    /// One is taken off.
    pub(super) fn forget(&mut self, ip: IpAddr, index: Option<u32>) {
        self.addresses.retain(|(coming, on)| (IpAddr::V6(*coming), Some(*on)) != (ip, index));
    }

    fn are_few(&self) -> bool {
        (1..FEW).contains(&self.addresses.len())
    }

    /// Waits until each is the host's own; not for long.
    pub(super) fn wait(&mut self, netlink: &mut Netlink) {
        self.put_off = 0;
        let begin = Instant::now();
        for (ip, index) in std::mem::take(&mut self.addresses) {
            loop {
                match is_the_hosts(netlink, ip, index) {
                    Ok(false) if begin.elapsed() < LONGEST => thread::sleep(PAUSE),
                    Ok(true) => break,
                    Ok(false) => {
                        tracing::debug!("{ip} may be announced before it answers");
                        return;
                    }
                    Err(error) => {
                        tracing::debug!("Can't see whether {ip} answers: {error}");
                        return;
                    }
                }
            }
        }
    }
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Sends so many announcements that are due; or later, where others wait to be put on whose addresses are
    /// waited for together with these.
    pub(super) fn announce_soon(&mut self, count: usize) {
        let coming = &mut self.addresses.coming;
        coming.put_off += count;
        if coming.are_few() && self.has_more() {
            return;
        }
        let count = std::mem::take(&mut self.addresses.coming.put_off);
        self.announce(count);
    }

    /// Whether another message waits.
    fn has_more(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self.queue.take();
        }
        self.ahead.is_some()
    }
}

/// Whether a packet for the address would come to this host. Without a route to it, it would not.
fn is_the_hosts(netlink: &mut Netlink, ip: Ipv6Addr, index: u32) -> io::Result<bool> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet6;
    request.header.destination_prefix_length = 128;
    // A link-local address may be another interface's, too, and that one's table is a VRF's.
    request.attributes =
        vec![RouteAttribute::Destination(RouteAddress::Inet6(ip)), RouteAttribute::Oif(index)];
    let mut is_local = false;
    let answer = netlink.ask(RouteNetlinkMessage::GetRoute(request), |message| {
        if let RouteNetlinkMessage::NewRoute(route) = message {
            is_local |= route.header.kind == RouteType::Local;
        }
    })?;
    Ok(answer.is_ok() && is_local)
}
