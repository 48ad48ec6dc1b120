//! An interface as announcements need it.

use std::cell::OnceCell;
use std::io;
use std::net::IpAddr;

use nix::net::if_::if_indextoname;

use crate::sys::interface::Interfaces;
use crate::transmit::{Mac, Sender, arp, ndisc};

/// An interface as announcements need it.
pub(super) struct Link {
    device: String,
    index: u32,
    mac: Mac,
    /// Whether it forwards IPv6; read when the first neighbour advertisement asks.
    router: OnceCell<bool>,
}

impl Link {
    /// The interface of that index, whatever its name is by now, or else the one of that name.
    pub(super) fn read(interfaces: &Interfaces, device: &str, index: Option<u32>) -> Option<Self> {
        let named = interfaces.index(device).ok();
        let device = match index {
            // To ask for the name takes a socket of its own each time, and it is hardly ever another.
            Some(index) if named != Some(index) => {
                if_indextoname(index).ok()?.into_string().ok()?
            }
            Some(_) | None => device.to_owned(),
        };
        let mac = interfaces.mac(&device).ok()??;
        let index = index.or(named)?;
        Some(Self { device, index, mac, router: OnceCell::new() })
    }

    /// Announces an address at `mac`, or at this interface's own.
    pub(super) fn send(&self, sender: &Sender, ip: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        let mac = mac.unwrap_or(self.mac);
        match ip {
            IpAddr::V4(ip) => sender.send(self.index, &arp::gratuitous(self.mac, mac, ip)),
            IpAddr::V6(ip) => {
                let router = *self.router.get_or_init(|| forwards(&self.device));
                sender.send(self.index, &ndisc::unsolicited(self.mac, mac, ip, router))
            }
        }
    }
}

/// Announces an address of the host's own once, where that can be done.
pub(super) fn present(interfaces: &Interfaces, sender: &Sender, device: &str, ip: IpAddr) {
    let sent = Link::read(interfaces, device, None).map(|link| link.send(sender, ip, None));
    if let Some(Err(error)) = sent {
        tracing::debug!("({device}) {ip} is not announced: {error}");
    }
}

/// Whether an interface forwards IPv6; not, where IPv6 is off.
fn forwards(device: &str) -> bool {
    let forwarding = std::fs::read(format!("/proc/sys/net/ipv6/conf/{device}/forwarding"));
    forwarding.is_ok_and(|text| text.first() != Some(&b'0'))
}
