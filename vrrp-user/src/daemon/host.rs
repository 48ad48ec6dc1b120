//! The host's interfaces as the service thread last heard of them.

use std::collections::BTreeSet;
use std::time::Duration;

use vrrp_proto::VirtualAddress;

use super::service::Service;
use crate::net::executor::Detected;
use crate::net::monitor::Change;
use crate::net::{HostAddress, Interface, Snapshot};

/// From an order until its address work is begun, and from a change until the kernel's word of it is read.
const MOMENT: Duration = Duration::from_millis(2);
/// How long address work may take until an address that is off is taken for lost.
const SETTLE: Duration = Duration::from_millis(100);

/// Says whether an interface can carry adverts.
pub(super) fn is_up(interface: &Interface) -> bool {
    interface.admin_up && interface.carrier
}

/// The addresses for which a change ends duplicate address detection, on the host as it was before.
pub(super) fn detected(host: &Snapshot, change: &Change) -> Vec<Detected> {
    match change {
        Change::AddressAdded { ifindex, address, .. } => {
            let asked = || is_asked_for(host, *ifindex, address);
            ended(*ifindex, address, asked).into_iter().collect()
        }
        // Its end may be among what was lost. An interface may have thousands, few of them asked for.
        Change::Resync(now) => {
            let asked: BTreeSet<_> = all(host)
                .filter(|(_, address)| !address.is_usable())
                .map(|(ifindex, address)| (ifindex, address.ip, address.prefix))
                .collect();
            let of = |(ifindex, address): (u32, &HostAddress)| {
                let asked = || asked.contains(&(ifindex, address.ip, address.prefix));
                ended(ifindex, address, asked)
            };
            all(now).filter_map(of).collect()
        }
        Change::Link(_) | Change::Gone { .. } | Change::AddressRemoved { .. } | Change::Behind => {
            Vec::new()
        }
    }
}

/// All addresses of a host, each with the index of its interface.
fn all<'a>(host: &'a Snapshot) -> impl Iterator<Item = (u32, &'a HostAddress)> {
    let of = |on: &'a Interface| on.addresses.iter().map(|address| (on.ifindex, address));
    host.interfaces.values().flat_map(of)
}

/// Whether the kernel still asked others for an address.
fn is_asked_for(host: &Snapshot, ifindex: u32, address: &HostAddress) -> bool {
    let (ip, prefix) = (address.ip, address.prefix);
    // Most are new, and an interface may have thousands.
    let on =
        host.interfaces.get(&ifindex).filter(|on| host.interfaces.holds(on.ifindex, ip, prefix));
    let before = on.and_then(|on| on.addresses.iter().find(|a| (a.ip, a.prefix) == (ip, prefix)));
    before.is_some_and(|before| !before.is_usable())
}

/// How duplicate address detection has ended for an address that is so by now; `None` where it has not, or had
/// before.
fn ended(ifindex: u32, address: &HostAddress, asked: impl Fn() -> bool) -> Option<Detected> {
    let (ip, prefix, duplicate) = (address.ip, address.prefix, address.is_duplicate());
    let ended = duplicate || address.is_usable() && asked();
    ended.then_some(Detected { ifindex, ip, prefix, duplicate })
}

/// Says whether an address is on its interface.
pub(super) fn holds(host: &Snapshot, address: &VirtualAddress) -> bool {
    let on = host.by_name(&address.device);
    on.is_some_and(|on| host.interfaces.holds(on.ifindex, address.ip, address.prefix))
}

/// Says whether an address is on its interface, with whatever prefix length.
pub(super) fn has(host: &Snapshot, address: &VirtualAddress) -> bool {
    let on = host.by_name(&address.device);
    on.is_some_and(|on| host.interfaces.has(on.ifindex, address.ip))
}

impl Service {
    /// Lets address work that is under way come to its end, and what the kernel tells of it arrive: an
    /// address that moves from one router to another goes and comes, and nobody has taken it away.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(MOMENT).await;
        self.executor.flush(SETTLE);
        tokio::time::sleep(MOMENT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixtures::{address, host, interface};

    /// The kernel's flags of an address that it still asks for, and of one that another host has.
    const TENTATIVE: u32 = 0x40;
    const DUPLICATE: u32 = 0x48;

    fn with(flags: &[(&str, u32)]) -> Snapshot {
        let addresses =
            flags.iter().map(|(ip, flags)| HostAddress { flags: *flags, ..address(ip, 64) });
        host([interface(2, "eth0", addresses)])
    }

    fn told(before: &Snapshot, change: &Change) -> Vec<(String, bool)> {
        let all = detected(before, change);
        all.iter().map(|one| (one.ip.to_string(), one.duplicate)).collect()
    }

    /// What was lost may have been the kernel's word of it.
    #[test]
    fn an_end_of_detection_is_seen_in_what_is_read_again() {
        let before =
            with(&[("2001:db8::1", 0), ("2001:db8::2", TENTATIVE), ("2001:db8::3", TENTATIVE)]);
        let now = with(&[
            ("2001:db8::1", 0),
            ("2001:db8::2", 0),
            ("2001:db8::3", TENTATIVE),
            ("2001:db8::4", DUPLICATE),
            ("2001:db8::5", 0),
        ]);
        let right = [("2001:db8::2".to_owned(), false), ("2001:db8::4".to_owned(), true)];
        assert_eq!(told(&before, &Change::Resync(now.clone())), right);
        // One by one it is the same.
        let on = now.by_name("eth0").unwrap();
        let one = |address: &HostAddress| {
            let (name, address) = ("eth0".to_owned(), address.clone());
            told(&before, &Change::AddressAdded { ifindex: 2, name, address })
        };
        assert_eq!(on.addresses.iter().flat_map(one).collect::<Vec<_>>(), right);
        // Also of an interface that is new.
        assert_eq!(told(&Snapshot::default(), &Change::Resync(now)), right[1..]);
    }
}
