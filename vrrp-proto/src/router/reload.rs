//! New settings for a router that runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use vrrp_common::{Instant, time};

use super::held::{add_paths, remove_paths};
use super::{Backup, Router, State};
use crate::engine::Lanes;
use crate::input::{Health, Slot};
use crate::output::Effect;
use crate::settings::{Settings, TrackerId, VirtualAddress};

impl Router {
    /// Goes on with other settings, as little disturbed as they allow. The same settings disturb
    /// nothing.
    pub(crate) fn change(
        &mut self,
        now: Instant,
        settings: Settings,
        health: &BTreeMap<TrackerId, Health>,
        lanes: &mut Lanes,
    ) {
        if settings == self.settings {
            return;
        }
        let before = std::mem::replace(&mut self.settings, settings);
        let other_version = before.version != self.settings.version;
        self.forgive();
        if before.priority != self.settings.priority {
            self.earlier = None;
        }
        self.read_health(&before.trackers, health);
        self.reprioritize(now, lanes);
        self.recount(now, before.down_adverts);
        // The form of the adverts of one version says nothing of those of the other.
        if before.form != self.settings.form || other_version {
            self.form = self.settings.form;
        }
        match &mut self.state {
            State::Initialize | State::Fault { .. } => {}
            State::Backup(backup) => {
                let Settings { version, interval, down_adverts, .. } = self.settings;
                let wait = time::master_down(version, self.priority, interval, down_adverts);
                let unheard = backup.following.is_none() && backup.released.is_none();
                if other_version {
                    // Nobody was heard in this one yet.
                    *backup = Backup::listening(now, wait, None);
                } else if unheard && before.interval != interval {
                    // Nobody was heard, so the wait since listening began is by our own interval.
                    backup.down_at = (backup.listens + wait).max(now);
                }
                if before.preempt_delay != self.settings.preempt_delay {
                    backup.preempt_at = None;
                }
            }
            State::Active(active) => {
                // Who speaks the new version hears nothing before this.
                let soon = if other_version { now } else { now + self.settings.interval.get() };
                active.advert_at = active.advert_at.min(soon);
                if before.announce != self.settings.announce {
                    active.announcements.changed(now, &self.settings.announce);
                }
                let repeat = self.settings.announce.repeat.max(1);
                exchange(self.slot, &before, &self.settings, repeat, lanes);
            }
        }
        self.review(now, lanes);
    }

    /// Moves Master_Down_Timer where another number of adverts may be missed than before.
    fn recount(&mut self, now: Instant, before: u8) {
        let State::Backup(backup) = &mut self.state else {
            return;
        };
        // Behind a release only the skew is waited for.
        if backup.released.is_none() {
            let interval = backup.interval(&self.settings).get();
            let [was, is] = [before, self.settings.down_adverts].map(|n| interval * u32::from(n));
            backup.down_at = (backup.down_at + is - was).max(now);
        }
    }
}

/// Takes the addresses, routes and rules off that are no longer held and puts the new ones on. The others
/// are not touched. Removal comes first: an address with another label or prefix is both.
fn exchange(slot: Slot, before: &Settings, after: &Settings, repeat: u32, lanes: &mut Lanes) {
    let missing_in = |there: &Settings, here: &Settings| -> Arc<[VirtualAddress]> {
        there.held().filter(|a| here.held().all(|b| b != *a)).cloned().collect()
    };
    let (gone, addresses) = (missing_in(before, after), missing_in(after, before));
    let mut off = before.paths.without(&after.paths);
    off.routes.extend(before.paths.without(&off).forgetting(gone.iter().map(|a| a.ip)).routes);
    remove_paths(slot, &Arc::new(off), lanes);
    if !gone.is_empty() {
        lanes.effects.push_back(Effect::RemoveAddresses { slot, addresses: Arc::clone(&gone) });
    }
    if !addresses.is_empty() {
        let added = Arc::clone(&addresses);
        lanes.effects.push_back(Effect::AddAddresses { slot, addresses: added });
    }
    let added = after.paths.without(&before.paths);
    let moved = !gone.is_empty() || !addresses.is_empty();
    // With an address go the routes that have it as their source; the others are there already.
    let put = if moved { after.paths.tracked_or(&added) } else { added };
    add_paths(slot, &Arc::new(put), lanes);
    if !addresses.is_empty() {
        lanes.effects.push_back(Effect::Announce { slot, addresses, repeat });
    }
}
