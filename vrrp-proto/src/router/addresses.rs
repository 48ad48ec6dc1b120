//! The addresses of a router: put on, announced, taken off, lost and refused.

use std::sync::Arc;

use vrrp_common::Instant;

use super::held::remove_paths;
use super::{REFUSED_WAIT, Router, State};
use crate::engine::Lanes;
use crate::input::Outcome;
use crate::output::{Effect, Event, Why};
use crate::settings::VirtualAddress;

/// The wait never grows beyond this many quadruplings: 320 s.
const REFUSED_STEPS: u32 = 3;

impl Router {
    pub(crate) fn on_addresses_lost(&mut self, lost: &[VirtualAddress], lanes: &mut Lanes) {
        match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => {}
            State::Active(_) => {
                let held = |one: &&VirtualAddress| self.settings.held().any(|held| held == *one);
                let lost = lost.iter().filter(|one| one.tracked).filter(held);
                let (slot, addresses) = (self.slot, lost.cloned().collect::<Arc<[_]>>());
                if !addresses.is_empty() {
                    let repeat = self.settings.announce.repeat.max(1);
                    let [put, told, announced] = std::array::from_fn(|_| Arc::clone(&addresses));
                    let wrong =
                        self.settings.paths.forgetting(addresses.iter().map(|lost| lost.ip));
                    remove_paths(slot, &Arc::new(wrong), lanes);
                    lanes.effects.push_back(Effect::AddAddresses { slot, addresses: put });
                    // Those that have one of these as their source went with it.
                    self.put_paths_back(lanes);
                    let announce = Effect::Announce { slot, addresses: announced, repeat };
                    lanes.effects.push_back(announce);
                    lanes.events.push_back(Event::AddressesRestored { slot, addresses: told });
                }
            }
        }
    }

    pub(crate) fn on_outcome(&mut self, now: Instant, outcome: Outcome, lanes: &mut Lanes) {
        match (outcome, &self.state) {
            (Outcome::Done, State::Active(_)) => self.refusals = 0,
            (Outcome::Done, State::Initialize | State::Fault { .. } | State::Backup(_)) => {}
            (Outcome::Partly { address, error }, _) => {
                // The others are served; a peer is no likelier to hold this one.
                let slot = self.slot;
                lanes.events.push_back(Event::AddressFailed { slot, address, error });
            }
            (Outcome::Paths { restored, failed }, _) => self.on_paths(restored, failed, lanes),
            (Outcome::Failed { address, error }, state) => {
                let active = matches!(state, State::Active(_));
                lanes.events.push_back(Event::AddressFailed { slot: self.slot, address, error });
                if active {
                    // An Active router without its address is a black hole; a peer may do better.
                    let wait = REFUSED_WAIT * 4u32.pow(self.refusals.min(REFUSED_STEPS));
                    self.refusals += 1;
                    self.enter_fault(now, Why::AddressRefused, Some(now + wait), lanes);
                }
            }
        }
    }

    pub(super) fn announce(&self, repeat: u32, lanes: &mut Lanes) {
        if repeat == 0 {
            return;
        }
        let addresses: Arc<[_]> = self.settings.held().cloned().collect();
        if !addresses.is_empty() {
            lanes.effects.push_back(Effect::Announce { slot: self.slot, addresses, repeat });
        }
    }

    pub(super) fn remove_addresses(&self, lanes: &mut Lanes) {
        let addresses: Arc<[_]> = self.settings.held().cloned().collect();
        if !addresses.is_empty() {
            lanes.effects.push_back(Effect::RemoveAddresses { slot: self.slot, addresses });
        }
    }
}
