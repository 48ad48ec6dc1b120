//! `promote_secondaries`: the other addresses of a network stay when its first one goes.
//!
//! Where we take it off, that is seen to then (`net/promotion.rs`). Addresses with a lease the kernel takes
//! off itself, when we may be gone.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;
use vrrp_proto::{Settings, Slot};

use super::running::Running;
use super::service::Service;
use crate::net::promotion;
use crate::net::sysctl::Key;
use crate::net::traces::{Before, Traces};

/// The interfaces where the setting was off before, by name and index.
#[derive(Debug, Default)]
pub(super) struct Secondaries(BTreeMap<String, u32>);

impl Secondaries {
    /// As an earlier life has noted them.
    pub(super) fn after(earlier: &Traces) -> Self {
        let settings = earlier.settings.iter().filter(|b| b.key == Key::PromoteSecondaries);
        Self(settings.map(|before| (before.device.clone(), before.index)).collect())
    }

    /// How the setting was on these interfaces, where it is changed.
    pub(super) fn before<'a>(
        &'a self,
        devices: impl Iterator<Item = &'a str> + 'a,
    ) -> impl Iterator<Item = Before> + 'a {
        devices.filter_map(|device| Some(before(device, *self.0.get(device)?)))
    }

    /// Notes on which of these it is off, and gives those.
    fn look<'a>(&mut self, wanted: &BTreeMap<&'a str, u32>) -> BTreeSet<&'a str> {
        let mut new = BTreeSet::new();
        let _turn = promotion::turn();
        for (device, index) in wanted {
            let off = || Key::PromoteSecondaries.read(device).is_ok_and(|now| now == 0);
            if self.0.get(*device) != Some(index) && off() {
                self.0.insert((*device).to_owned(), *index);
                new.insert(*device);
            }
        }
        new
    }

    /// Puts it back on all but these.
    fn keep_only(&mut self, wanted: &BTreeMap<&str, u32>) {
        let _turn = promotion::turn();
        self.0.retain(|device, index| {
            let stays = wanted.get(device.as_str()) == Some(index);
            if !stays {
                before(device, *index).put_back();
            }
            stays
        });
    }

    /// Sets it on an interface.
    fn set(&mut self, device: &str) {
        let _turn = promotion::turn();
        if let Err(error) = Key::PromoteSecondaries.write(device, 1) {
            warn!("{device}: promote_secondaries can't be set to 1: {error}");
            self.0.remove(device);
        }
    }
}

fn before(device: &str, index: u32) -> Before {
    Before { device: device.to_owned(), index, key: Key::PromoteSecondaries, value: 0 }
}

/// The interfaces where an instance wants it. `leased`: addresses have a lease.
pub(super) fn devices<'a>(
    running: &Running,
    settings: &'a Settings,
    leased: bool,
) -> impl Iterator<Item = &'a str> {
    let wants = (running.instance.promote_secondaries || leased) && !running.ending;
    let held = settings.held().filter(move |address| wants && address.ip.is_ipv4());
    held.map(|address| address.device.as_str())
}

impl Service {
    /// Has secondary addresses stay on the interfaces where instances want that.
    pub(super) fn promote_secondaries(&mut self) {
        let (wanting, leased) = (self.running.values(), self.is_leased());
        let wanted: BTreeSet<&str> =
            wanting.flat_map(|one| devices(one, &one.settings, leased)).collect();
        let wanted: BTreeSet<String> = wanted.into_iter().map(str::to_owned).collect();
        let there = |device: &'_ String| self.host.by_name(device).map(|link| link.ifindex);
        let wanted: BTreeMap<&str, u32> =
            wanted.iter().filter_map(|device| Some((device.as_str(), there(device)?))).collect();
        self.secondaries.keep_only(&wanted);
        let new = self.secondaries.look(&wanted);
        if new.is_empty() {
            return;
        }
        // In the ledger before it is done.
        for slot in self.running.keys().copied().collect::<Vec<Slot>>() {
            self.note_traces(slot);
        }
        for device in new {
            self.secondaries.set(device);
        }
    }

    /// Whether addresses have a lease.
    pub(super) fn is_leased(&self) -> bool {
        self.config.global.address_lease.is_some()
    }

    /// Puts the setting back everywhere.
    pub(super) fn end_secondaries(&mut self) {
        self.secondaries.keep_only(&BTreeMap::new());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::daemon::plan;
    use crate::daemon::trackers::Trackers;

    #[test]
    fn it_is_wanted_for_ipv4_and_until_the_end() {
        let wanting = |line: &str, ending: bool, leased: bool| {
            let text = format!(
                "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n{line}\n\
                 virtual_ipaddress {{\n192.0.2.1/24 dev eth1\n}}\nvirtual_ipaddress_excluded {{\n\
                 192.0.2.2/24 dev eth2\n2001:db8::1/64 dev eth3\n}}\n}}\n"
            );
            let config = config::parse_str(Path::new("test.conf"), text).config.expect("one");
            let mut numbers = Trackers::default();
            let settings = plan::settings(&config.instances[0], |watched| numbers.id(watched));
            let mut running = Running::new(Arc::clone(&config.instances[0]), settings);
            running.ending = ending;
            devices(&running, &running.settings, leased).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(wanting("promote_secondaries", false, false), ["eth1", "eth2"]);
        assert_eq!(wanting("", false, true), ["eth1", "eth2"]);
        assert!(wanting("", false, false).is_empty());
        assert!(wanting("promote_secondaries", true, true).is_empty());
    }
}
