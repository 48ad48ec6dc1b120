//! Waiting until the kernel takes packets for IPv6 addresses that it was given.
//!
//! It answers a request once the address is in its list. The group in which others ask for the address,
//! and the route that makes it the host's, come from a thread of the kernel's (`addrconf_dad_work`, also
//! where no duplicate is looked for), on the CPU of the request: for as long as a real-time thread keeps
//! that busy, packets for the address are forwarded or lost. So is the answer to whom the host asks for
//! a client's address from it, which then asks again after a whole second.

use std::io;
use std::net::Ipv6Addr;
use std::thread;
use std::time::{Duration, Instant};

use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;

/// Between two looks. Asleep: the kernel's thread may have to have this CPU.
const PAUSE: Duration = Duration::from_micros(50);
/// Measured: 0.1 ms for one address, 4 ms for 200. On a host too busy for that, who asks for the address
/// is better off with an announcement than without.
const LONGEST: Duration = Duration::from_millis(20);

/// Waits until each address is the host's own, on the interface of the index beside it; not for long.
pub(super) fn wait(netlink: &mut Netlink, addresses: &[(Ipv6Addr, u32)]) {
    let begin = Instant::now();
    for (ip, index) in addresses {
        loop {
            match is_the_hosts(netlink, *ip, *index) {
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
