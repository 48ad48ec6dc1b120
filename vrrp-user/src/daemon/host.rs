//! The host's interfaces as the service thread last heard of them.

use std::time::Duration;

use vrrp_proto::VirtualAddress;

use super::service::Service;
use crate::net::executor::Detected;
use crate::net::monitor::Change;
use crate::net::{Interface, Snapshot};

/// From an order until its address work is begun, and from a change until the kernel's word of it is read.
const MOMENT: Duration = Duration::from_millis(2);
/// How long address work may take until an address that is off is taken for lost.
const SETTLE: Duration = Duration::from_millis(100);

/// Says whether an interface can carry adverts.
pub(super) fn is_up(interface: &Interface) -> bool {
    interface.admin_up && interface.carrier
}

/// Says whether a change ends duplicate address detection for an address, on the host as it was before.
pub(super) fn detected(host: &Snapshot, change: &Change) -> Option<Detected> {
    let Change::AddressAdded { ifindex, address, .. } = change else {
        return None;
    };
    let (ip, prefix, duplicate) = (address.ip, address.prefix, address.is_duplicate());
    let interface = host.interfaces.get(ifindex)?;
    // Most are new, and an interface may have thousands.
    let is_there = host.interfaces.holds(*ifindex, ip, prefix);
    let before =
        interface.addresses.iter().filter(|_| is_there).find(|a| (a.ip, a.prefix) == (ip, prefix));
    let asked = before.is_some_and(|before| !before.is_usable() && address.is_usable());
    (asked || duplicate).then_some(Detected { ifindex: *ifindex, ip, prefix, duplicate })
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
