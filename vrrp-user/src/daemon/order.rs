//! The host's own addresses come before ours, so that it sends from its own.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::service::Service;
use crate::net::monitor::Change;
use crate::net::{order, routes};

impl Service {
    /// The interface where a change may have put an address of the host's own behind ours.
    pub(super) fn may_be_behind<'a>(&self, change: &'a Change) -> Option<&'a str> {
        let Change::AddressAdded { name, address, .. } = change else { return None };
        let behind = address.secondary && !self.index.is_virtual(address.ip);
        behind.then_some(name.as_str())
    }

    /// Has the host's own addresses come before ours on these interfaces.
    pub(super) fn put_behind<'a>(&self, interfaces: impl IntoIterator<Item = &'a str>) {
        for name in interfaces {
            let Some(interface) = self.host.by_name(name) else { continue };
            let ours = |ip| self.index.is_virtual(ip);
            let front: BTreeSet<_> = order::in_front(&interface.addresses, |a| ours(a.ip))
                .iter()
                .map(|a| a.ip)
                .collect();
            if front.is_empty() {
                continue;
            }
            match routes::written() {
                Ok(written) => {
                    if let Some(ip) = front.iter().find(|ip| written.contains(ip)) {
                        info!(
                            "{ip} stays the first address of its network on {name}: a route names it as its source"
                        );
                        continue;
                    }
                }
                Err(error) => {
                    warn!(
                        "{name}: ours stay in front, since the host's routes can't be read: {error}"
                    );
                    continue;
                }
            }
            self.executor.put_behind(interface.ifindex);
        }
    }

    /// The same for all interfaces with addresses of ours: what an earlier life held may be in front.
    pub(super) fn put_all_behind(&self) {
        self.put_behind(self.index.devices());
    }
}
