//! What a router holds while it is Active: addresses, and routes and rules, which go on behind them and off
//! before them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Router, State};
use crate::engine::Lanes;
use crate::input::Slot;
use crate::output::{Effect, Event};
use crate::paths::Paths;

/// Puts them on, if there are any.
pub(super) fn add_paths(slot: Slot, paths: &Arc<Paths>, lanes: &mut Lanes) {
    if !paths.is_empty() {
        let paths = Arc::clone(paths);
        lanes.effects.push_back(Effect::AddPaths { slot, paths });
    }
}

/// Takes them off, if there are any.
pub(super) fn remove_paths(slot: Slot, paths: &Arc<Paths>, lanes: &mut Lanes) {
    if !paths.is_empty() {
        let paths = Arc::clone(paths);
        lanes.effects.push_back(Effect::RemovePaths { slot, paths });
    }
}

impl Router {
    /// Puts everything on and announces it.
    pub(super) fn hold(&self, lanes: &mut Lanes) {
        let addresses: Arc<[_]> = self.settings.held().cloned().collect();
        if !addresses.is_empty() {
            lanes.effects.push_back(Effect::AddAddresses { slot: self.slot, addresses });
        }
        // Before anybody is told to send packets here.
        add_paths(self.slot, &self.settings.paths, lanes);
        self.announce(self.settings.announce.repeat.max(1), lanes);
    }

    /// Takes off what was put on, in the reverse order.
    pub(super) fn give_up(&self, lanes: &mut Lanes) {
        remove_paths(self.slot, &self.settings.paths, lanes);
        self.remove_addresses(lanes);
    }

    /// Has those be there that are to be put back, as they were asked for, if the router is Active.
    pub(crate) fn on_paths_doubted(&self, gone: &BTreeSet<IpAddr>, lanes: &mut Lanes) {
        match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => {}
            State::Active(_) => {
                // When one of these goes that is put back itself, its routes go on behind it.
                let is_put_back =
                    |ip: &&IpAddr| self.settings.held().any(|own| own.tracked && own.ip == **ip);
                let others = gone.iter().filter(|ip| !is_put_back(ip)).copied();
                let wrong = self.settings.paths.forgetting(others);
                remove_paths(self.slot, &Arc::new(wrong), lanes);
                self.put_paths_back(lanes);
            }
        }
    }

    /// Has those be there that are to be put back, if the router is Active.
    pub(super) fn put_paths_back(&self, lanes: &mut Lanes) {
        match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => {}
            State::Active(_) if self.settings.paths.is_empty() => {}
            State::Active(_) => {
                add_paths(self.slot, &Arc::new(self.settings.paths.tracked()), lanes);
            }
        }
    }

    /// An Active router goes on without a route: its addresses serve whoever does not need that one, and
    /// nobody says that a peer would have it.
    pub(super) fn on_paths(
        &self,
        restored: Vec<String>,
        failed: Vec<(String, String)>,
        lanes: &mut Lanes,
    ) {
        let slot = self.slot;
        if !restored.is_empty() {
            lanes.events.push_back(Event::PathsRestored { slot, paths: restored });
        }
        if !failed.is_empty() {
            lanes.events.push_back(Event::PathsFailed { slot, failed });
        }
    }
}
