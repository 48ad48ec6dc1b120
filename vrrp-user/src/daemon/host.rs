//! The host's interfaces as the service thread last heard of them.

use std::time::Duration;

use vrrp_proto::VirtualAddress;

use super::service::{Running, Service};
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

/// Says whether a change took this address away. A re-read list is compared as a whole: what happened
/// while events were lost is not known.
pub(super) fn takes(change: &Change, address: &VirtualAddress) -> bool {
    match change {
        Change::AddressRemoved { name, address: gone, .. } => {
            *name == address.device && gone.ip == address.ip && gone.prefix == address.prefix
        }
        Change::Resync(now) => !holds(now, address),
        // Another interface may have the name before anybody saw the first one go.
        Change::Gone { name, .. } => *name == address.device,
        Change::Link(_) | Change::AddressAdded { .. } => false,
    }
}

/// Says whether an address is on its interface.
pub(super) fn holds(host: &Snapshot, address: &VirtualAddress) -> bool {
    host.by_name(&address.device).is_some_and(|interface| {
        interface.addresses.iter().any(|a| a.ip == address.ip && a.prefix == address.prefix)
    })
}

/// The addresses that an instance lost by a change, if it held them: the engine knows its state, this
/// thread only hears of it later.
pub(super) fn lost<'a>(
    change: &Change,
    running: &'a Running,
) -> impl Iterator<Item = &'a VirtualAddress> {
    running.settings.held().filter(move |address| takes(change, address))
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
