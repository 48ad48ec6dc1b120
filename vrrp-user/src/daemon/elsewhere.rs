//! `garp_extra_if`: announcements that are repeated on interfaces that adverts don't leave by. Switches
//! would forget the MAC address there.

use std::sync::Arc;
use std::time::Duration;

use vrrp_proto::{StateName, VirtualAddress};

use super::running::Running;
use super::service::Service;
use crate::config::model::{Config, OwnLink};
use crate::sys::clock;

/// How often it is looked for what is due: the keyword is in whole seconds.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The addresses of an instance that this is about.
fn addresses(running: &Running, all: bool) -> Arc<[VirtualAddress]> {
    let instance = &running.instance;
    // Switches learn of the virtual MAC address by the adverts where those leave with it.
    let made = |device: &String| {
        let own = |link: &OwnLink| link.send_on_base && link.name == *device;
        instance.own_link.as_ref().is_some_and(own)
            || instance.address_links.iter().any(|link| link.name == *device)
    };
    let adverts_leave_by = match &instance.own_link {
        Some(link) if !link.send_on_base => &link.name,
        Some(_) | None => &instance.interface,
    };
    let elsewhere = |address: &&VirtualAddress| {
        address.device != *adverts_leave_by && (all || made(&address.device))
    };
    running.settings.held().filter(elsewhere).cloned().collect()
}

/// Whether any instance of a configuration asks for it.
pub(super) fn is_wanted(config: &Config) -> bool {
    config.instances.iter().any(|instance| instance.announce_elsewhere.is_some())
}

impl Service {
    /// Announces what is due.
    pub(super) fn announce_elsewhere(&mut self) {
        let now = clock::now();
        for (slot, running) in &mut self.running {
            let Some(elsewhere) = running.instance.announce_elsewhere else { continue };
            if running.state != StateName::Active {
                running.elsewhere = now;
            } else if now.since(running.elsewhere) >= elsewhere.every {
                running.elsewhere = now;
                self.executor.refresh(*slot, addresses(running, elsewhere.all));
            }
        }
    }
}
