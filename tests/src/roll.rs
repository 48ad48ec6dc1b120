//! Who speaks for which virtual router, on many LANs and over both families at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use crate::capture::{Capture, Seen};
use crate::conf::{Conf, Instance};
use crate::lab::{Lab, number};
use crate::wait::wait_until;

/// A virtual router: its LAN, its family (4 or 6) and its VRID.
pub type Router = (u8, u8, u8);

/// VRIDs 1 to `vrids` on the first `lans` LANs in both families, each with an instance of its own at an
/// interval as it stands behind `advert_int`. Those of IPv4 hold one address, those of IPv6 two.
pub fn conf(lans: u8, vrids: u8, priority: u8, interval: &str) -> String {
    let instance = |(lan, family, vrid): Router| {
        let addresses = addresses((lan, family, vrid));
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let one = Instance::new(priority).named(&format!("VI_{lan}_{family}_{vrid}"), vrid);
        one.on(&format!("eth{lan}")).every(interval).holding(&addresses)
    };
    routers(lans, vrids).map(instance).fold(Conf::new(3), Conf::with).text()
}

/// The addresses of a virtual router of [`conf`], with their prefix lengths.
pub fn addresses((lan, family, vrid): Router) -> Vec<String> {
    // No part of them is zero, so that `ip` prints them as they are written here.
    let net = lan + 1;
    match family {
        4 => vec![format!("10.{net}.{vrid}.1/32")],
        _ => vec![format!("fe80::{net:x}:{vrid:x}/64"), format!("2001:db8:{net:x}::{vrid:x}/64")],
    }
}

/// Waits until the link-local addresses of hosts can be a source: while one is still being tried, it is
/// none.
///
/// # Errors
/// They are not within a few seconds.
pub fn wait_link_local(lab: &Lab, hosts: &[&str]) -> Result<()> {
    for host in hosts {
        wait_until("link-local addresses are usable", Duration::from_secs(15), || {
            lab.ns(host).ip("-6 -o addr show tentative").is_ok_and(|list| list.is_empty())
        })?;
    }
    Ok(())
}

/// How many virtual addresses of these virtual routers a host has.
///
/// # Errors
/// `ip` fails.
pub fn held(lab: &Lab, host: &str, routers: impl IntoIterator<Item = Router>) -> Result<usize> {
    let list = lab.ns(host).ip("-o addr show")?;
    let there: BTreeSet<&str> =
        list.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    let wanted = routers.into_iter().flat_map(addresses);
    Ok(wanted.filter(|address| there.contains(address.as_str())).count())
}

/// All virtual routers of [`conf`].
pub fn routers(lans: u8, vrids: u8) -> impl Iterator<Item = Router> {
    (0..lans).flat_map(move |lan| {
        [4, 6].into_iter().flat_map(move |family| (1..=vrids).map(move |vrid| (lan, family, vrid)))
    })
}

/// An advert, as far as it says who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// The last byte of the sender's hardware address: the host's number.
    pub host: u8,
    /// 4 or 6.
    pub family: u8,
    /// The VRID.
    pub vrid: u8,
    /// The priority; 0 releases.
    pub priority: u8,
    /// The sender's address.
    pub source: IpAddr,
}

/// A running capture of the adverts on some LANs of a laboratory, at the bridges: there XDP on a host
/// takes none away.
#[derive(Debug)]
pub struct Roll(Vec<Capture<Called>>);

impl Roll {
    /// Listens to the first `lans` LANs from now on.
    ///
    /// # Errors
    /// No packet socket.
    pub fn start(lab: &Lab, lans: u8) -> Result<Self> {
        let bridge = |lan: u8| Capture::of(lab.switch(), &format!("br{lan}"), read);
        (0..lans).map(bridge).collect::<Result<_>>().map(Self)
    }

    /// When a host has sent adverts so far, by virtual router, last words left out.
    pub fn spoke(&self, host: &str) -> BTreeMap<Router, Vec<Duration>> {
        self.times(host, |called| called.priority != 0)
    }

    /// When a host has sent its last words so far, by virtual router.
    pub fn released(&self, host: &str) -> BTreeMap<Router, Vec<Duration>> {
        self.times(host, |called| called.priority == 0)
    }

    /// For which virtual routers a host has sent an advert since a moment, last words left out.
    pub fn leads(&self, host: &str, since: Duration) -> BTreeSet<Router> {
        let all = self.spoke(host).into_iter();
        all.filter(|(_, times)| times.iter().any(|at| *at >= since))
            .map(|(router, _)| router)
            .collect()
    }

    /// The addresses that a host's adverts came from so far, by LAN and family.
    pub fn sources(&self, host: &str) -> BTreeMap<(u8, u8), BTreeSet<IpAddr>> {
        let host = number(host);
        let mut all = BTreeMap::<(u8, u8), BTreeSet<IpAddr>>::new();
        for (capture, lan) in self.0.iter().zip(0..) {
            for Seen { frame, .. } in
                capture.seen().into_iter().filter(|one| one.frame.host == host)
            {
                all.entry((lan, frame.family)).or_default().insert(frame.source);
            }
        }
        all
    }

    fn times(&self, host: &str, of: fn(&Called) -> bool) -> BTreeMap<Router, Vec<Duration>> {
        let host = number(host);
        let mut by_router = BTreeMap::<Router, Vec<Duration>>::new();
        for (capture, lan) in self.0.iter().zip(0..) {
            for Seen { at, frame } in capture.seen() {
                if frame.host == host && of(&frame) {
                    by_router.entry((lan, frame.family, frame.vrid)).or_default().push(at);
                }
            }
        }
        by_router
    }
}

/// Reads an advert of either family; `None` if it is none.
fn read(frame: &[u8]) -> Option<Called> {
    let ip = frame.get(14..)?;
    let (family, vrrp, source) = match frame.get(12..14)? {
        [0x08, 0x00] if *ip.get(9)? == 112 => {
            let source = IpAddr::from(*ip.get(12..)?.first_chunk::<4>()?);
            (4, ip.get(usize::from(ip.first()? & 0xf) * 4..)?, source)
        }
        [0x86, 0xdd] if *ip.get(6)? == 112 => {
            (6, ip.get(40..)?, IpAddr::from(*ip.get(8..)?.first_chunk::<16>()?))
        }
        _ => return None,
    };
    let (vrid, priority) = (*vrrp.get(1)?, *vrrp.get(2)?);
    Some(Called { host: *frame.get(11)?, family, vrid, priority, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn both_families_are_read_and_nothing_else() {
        let of = |name: &str| read(&cases::packets(name)[0].bytes);
        let source = IpAddr::from([192, 0, 2, 101]);
        let called = Called { host: 0x65, family: 4, vrid: 51, priority: 150, source };
        assert_eq!(of("P05-v2-auth"), Some(called));
        assert_eq!(of("P13-v6-header").map(|called| (called.family, called.vrid)), Some((6, 51)));
        assert_eq!(read(&[0; 64]), None);
        assert_eq!(read(&[0; 12]), None);
    }
}
