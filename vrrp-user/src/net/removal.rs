//! Taking addresses, routes and rules off.

use std::collections::BTreeSet;
use std::sync::Arc;

use vrrp_proto::Paths;
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::settings::VirtualAddress;

use super::executor::{LEFTOVERS, Message, Timing};
use super::worker::{Worker, is_own, resolver, take_off};

/// What is to go, of one router after the other.
#[derive(Default)]
struct Removals {
    addresses: Vec<(Slot, Arc<[VirtualAddress]>)>,
    paths: Vec<(Slot, Arc<Paths>)>,
}

impl Removals {
    /// Takes in an effect that is one; `false`: it is none.
    fn take(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::RemoveAddresses { slot, addresses } => {
                self.addresses.push((*slot, Arc::clone(addresses)));
            }
            Effect::RemovePaths { slot, paths } => self.paths.push((*slot, Arc::clone(paths))),
            Effect::AddAddresses { .. }
            | Effect::AddPaths { .. }
            | Effect::Announce { .. }
            | Effect::Redirect { .. } => return false,
        }
        true
    }
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Takes off what a router gives up, with what others give up next: many at once take the kernel less.
    /// Routes and rules go before all addresses.
    pub(super) fn remove(&mut self, first: &Effect) {
        let Removals { addresses: all, paths } = self.with_next(first);
        if !paths.is_empty() {
            self.remove_paths(&paths);
        }
        if !all.is_empty() {
            self.remove_addresses(&all);
        }
    }

    fn remove_addresses(&mut self, all: &[(Slot, Arc<[VirtualAddress]>)]) {
        let mut resolve = resolver(&self.interfaces);
        let (mut off, mut on) = (Vec::new(), BTreeSet::new());
        for (slot, addresses) in all {
            self.up.remove(slot);
            for address in addresses.iter() {
                on.extend(resolve(&address.device));
                self.announcer.withdraw(*slot, address);
                self.refused.remove(&(*slot, address.ip));
                let index = if *slot == LEFTOVERS {
                    resolve(&address.device).filter(|index| !self.claims.holds(address, *index))
                } else {
                    self.claims.release(*slot, address)
                };
                if is_own(&self.own, address) {
                    tracing::debug!("{address:?} is the host's own and stays");
                } else if index.is_some() {
                    off.push((address, index));
                } else {
                    tracing::debug!("{address:?} stays: another router's, or not there");
                }
            }
        }
        take_off(&mut self.addresses, &off);
        // Also where none was ever put on: an interface hears from before its first address.
        let requests = self.hearing.close(on, |index| self.claims.on(index));
        self.addresses.interfaces(requests);
    }

    /// With the removals that come next in the queue, up to the first message that is none.
    fn with_next(&mut self, first: &Effect) -> Removals {
        let mut all = Removals::default();
        all.take(first);
        while self.ahead.is_none()
            && let Some(next) = self.queue.take()
        {
            let taken = matches!(&next, Message::Effect(effect) if all.take(effect));
            if !taken {
                self.ahead = Some(next);
            }
        }
        all
    }
}
