//! The interfaces that instances make for themselves.

use std::collections::BTreeSet;

use vrrp_proto::Slot;

use super::running::Running;
use super::secondaries::{self, Secondaries};
use super::service::Service;
use crate::config::model::{Instance, OwnLinkKind};
use crate::net::addr::PROTOCOL;
use crate::net::own_link::{OwnLinks, Shape, Wanted};
use crate::net::traces::Traces;
use crate::transmit::Mac;

/// The interfaces that an instance makes for itself: its own, and those for addresses elsewhere.
pub(super) fn wanted(instance: &Instance) -> Vec<Wanted> {
    let macvlan = |name: &str, mac: Mac| {
        let mut held = instance.addresses.iter().chain(&instance.excluded);
        let v6 = held.any(|address| address.device == *name && address.ip.is_ipv6());
        Shape::Macvlan { mac, v6 }
    };
    let adverts_from = instance.own_link.as_ref().and_then(|link| match link.kind {
        OwnLinkKind::Macvlan(mac) if !link.send_on_base => Some(mac),
        OwnLinkKind::Macvlan(_) | OwnLinkKind::Ipvlan { .. } => None,
    });
    let own = instance.own_link.iter().map(|link| Wanted {
        name: link.name.clone(),
        base: instance.interface.clone(),
        shape: match link.kind {
            OwnLinkKind::Macvlan(mac) => macvlan(&link.name, mac),
            OwnLinkKind::Ipvlan { source, mode } => Shape::Ipvlan { mode, source },
        },
        adverts: adverts_from.is_some(),
        group: link.group,
    });
    let others = instance.address_links.iter().map(|link| Wanted {
        name: link.name.clone(),
        base: link.base.clone(),
        shape: macvlan(&link.name, link.mac),
        adverts: adverts_from == Some(link.mac),
        group: 0,
    });
    own.chain(others).collect()
}

/// What is made and changed for an instance by now, or about to be.
fn traces(
    running: &Running,
    own_links: &OwnLinks,
    secondaries: &Secondaries,
    leased: bool,
) -> Traces {
    let mut traces = own_links.traces(&wanted(&running.instance));
    let devices: BTreeSet<&str> =
        secondaries::devices(running, &running.settings, leased).collect();
    traces.settings.extend(secondaries.before(devices.into_iter()));
    traces
}

impl Service {
    /// Makes what an instance wants and has not, where its own interface is there. Says whether it has
    /// all. `note`: first in the ledger.
    pub(super) fn make_own_links(&mut self, slot: Slot, note: bool) -> bool {
        // Another daemon has made them, for itself.
        if self.running.get(&slot).is_some_and(|running| self.is_taken(&running.instance)) {
            return true;
        }
        let leased = self.is_leased();
        let Some(running) = self.running.get_mut(&slot) else { return false };
        let wanted = wanted(&running.instance);
        let missing: Vec<&Wanted> =
            wanted.iter().filter(|one| !self.own_links.is_there(one, &self.host)).collect();
        if missing.is_empty() {
            return true;
        }
        for one in &missing {
            self.own_links.look(one, &self.host);
        }
        running.traces = traces(running, &self.own_links, &self.secondaries, leased);
        if note {
            self.life.note(slot, running, &self.host, &self.own);
        }
        for one in missing {
            self.own_links.make(one, &mut self.host);
        }
        self.tell_own_links();
        wanted.iter().all(|one| self.own_links.is_there(one, &self.host))
    }

    /// Why an interface of an instance's own can't be used, where that is known.
    pub(super) fn no_device(&self, instance: &Instance) -> Option<&str> {
        let own = instance.own_link.iter().map(|link| &link.name);
        let mut names = own.chain(instance.address_links.iter().map(|link| &link.name));
        names.find_map(|name| self.own_links.complaint(name))
    }

    /// Notes in the ledger what is made and changed for an instance, where that is news.
    pub(super) fn note_traces(&mut self, slot: Slot) {
        let leased = self.is_leased();
        let Some(running) = self.running.get_mut(&slot) else { return };
        let now = traces(running, &self.own_links, &self.secondaries, leased);
        if running.traces != now {
            running.traces = now;
            self.life.note(slot, running, &self.host, &self.own);
        }
    }

    /// Removes what no instance wants any more, once its addresses are off.
    pub(super) fn tidy_own_links(&mut self) {
        let all: Vec<Wanted> =
            self.running.values().flat_map(|running| wanted(&running.instance)).collect();
        let in_use = |one: &Wanted| {
            let link = self.host.by_name(&one.name);
            link.is_some_and(|link| {
                link.addresses.iter().any(|a| a.proto == PROTOCOL && !one.has_from_start(a.ip))
            })
        };
        self.own_links.keep_only(&all, in_use, |index| self.executor.unmade(index));
        if !self.own_links.waits() {
            self.life.forget_earlier();
            // What was put back is no longer to be: somebody else may set it.
            for slot in self.running.keys().copied().collect::<Vec<_>>() {
                self.note_traces(slot);
            }
        }
    }

    /// Removes all, and puts back what was changed for them.
    pub(super) fn end_own_links(&mut self) {
        self.own_links.keep_only(&[], |_| false, |index| self.executor.unmade(index));
    }

    fn tell_own_links(&mut self) {
        let news = self.own_links.news();
        for index in news.gone {
            self.executor.unmade(index);
        }
        for macvlan in news.made {
            self.executor.made(macvlan);
        }
    }
}
