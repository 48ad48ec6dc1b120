//! `promote_secondaries`: the other addresses of a network stay when its first one goes.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::service::Service;
use crate::net::sysctl::Key;

/// The interfaces where the setting was off before, by name and index.
#[derive(Debug, Default)]
pub(super) struct Secondaries(BTreeMap<String, u32>);

impl Secondaries {
    /// Sets it on these interfaces, where it is off, and puts it back on all others.
    fn promote_on(&mut self, wanted: &BTreeMap<&str, u32>) {
        self.0.retain(|device, index| {
            let stays = wanted.get(device.as_str()) == Some(index);
            // Somebody else may have set it since.
            if !stays && Key::PromoteSecondaries.read(device).is_ok_and(|now| now != 0) {
                set(device, 0);
            }
            stays
        });
        for (device, index) in wanted {
            let off = || Key::PromoteSecondaries.read(device).is_ok_and(|now| now == 0);
            if !self.0.contains_key(*device) && off() && set(device, 1) {
                self.0.insert((*device).to_owned(), *index);
            }
        }
    }
}

fn set(device: &str, value: u32) -> bool {
    Key::PromoteSecondaries
        .write(device, value)
        .inspect_err(|error| {
            warn!("{device}: promote_secondaries can't be set to {value}: {error}");
        })
        .is_ok()
}

impl Service {
    /// Has secondary addresses stay on the interfaces where instances want that.
    pub(super) fn promote_secondaries(&mut self) {
        let wanting =
            self.running.values().filter(|one| one.instance.promote_secondaries && !one.ending);
        let devices: BTreeSet<&str> = wanting
            .flat_map(|running| running.settings.held())
            .filter(|address| address.ip.is_ipv4())
            .map(|address| address.device.as_str())
            .collect();
        let there = |device| self.host.by_name(device).map(|link| (device, link.ifindex));
        let wanted = devices.into_iter().filter_map(there).collect();
        self.secondaries.promote_on(&wanted);
    }

    /// Puts the setting back everywhere.
    pub(super) fn end_secondaries(&mut self) {
        self.secondaries.promote_on(&BTreeMap::new());
    }
}
