//! Taking addresses off.

use std::collections::BTreeSet;
use std::sync::Arc;

use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::settings::VirtualAddress;

use super::executor::{LEFTOVERS, Message, Timing};
use super::worker::{Worker, is_own, resolver, take_off};

/// The addresses of a router that are to go.
type Removal = (Slot, Arc<[VirtualAddress]>);

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Takes a router's addresses off, with those of others that are to go next: many at once take the
    /// kernel less.
    pub(super) fn remove(&mut self, first: Removal) {
        let all = self.with_next(first);
        let mut resolve = resolver(&self.interfaces);
        let (mut off, mut on) = (Vec::new(), BTreeSet::new());
        for (slot, addresses) in &all {
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
    fn with_next(&mut self, first: Removal) -> Vec<Removal> {
        let mut all = vec![first];
        while self.ahead.is_none()
            && let Ok(next) = self.queue.try_recv()
        {
            if let Message::Effect(Effect::RemoveAddresses { slot, addresses }) = next {
                all.push((slot, addresses));
            } else {
                self.ahead = Some(next);
            }
        }
        all
    }
}
