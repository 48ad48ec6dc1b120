//! Making a configuration and the host as it is the ones in use: the one route for start, reload, and an
//! interface that comes, goes or changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use vrrp_common::{Priority, abi};
use vrrp_proto::{Effect, Health, Input, Link, Settings, Slot, TrackerId, VirtualAddress};

use super::place::Place;
use super::plan;
use super::running::Running;
use super::service::Service;
use super::{elsewhere, leftovers};
use crate::config::model::{Config, Instance};
use crate::config::summary::work;
use crate::config::tracked;
use crate::fastpath::FastPath;
use crate::ledger::{Body, judge};
use crate::net::executor;
use crate::net::leftover;
use crate::net::paths::Kept;
use crate::track::Policy;

/// Who gets which slot next.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Where the search for a free one begins.
    next: u32,
    /// Instances of the file for which there is none before others have ended: the file has no more than
    /// there are slots.
    waiting: VecDeque<Arc<Instance>>,
}

/// What routers had in an earlier life, and have no longer.
#[derive(Default)]
struct Left {
    addresses: Vec<VirtualAddress>,
    paths: Vec<Kept>,
}

/// How a configuration has addresses put on and announced.
pub(super) fn host_work(config: &Config) -> executor::Config {
    executor::Config {
        garp_interval: config.global.garp_interval,
        gna_interval: config.global.gna_interval,
        lease: config.global.address_lease,
        scheduling: config.global.scheduling.clone(),
    }
}

impl Service {
    /// Makes a configuration that is filled in the one in use: start and reload alike.
    pub(super) fn apply(&mut self, config: Config, starting: bool) {
        let policy = Policy::of(&config.global);
        self.notifier.set_policy(policy.clone());
        self.life.tell_level(&config.global.scheduling);
        self.executor.configure(host_work(&config));
        if !starting {
            self.clear_leftovers(&config);
            self.choose_datapath(&config);
        }
        self.refuse_traffic(&config);
        let staying = self.running.iter().filter(|(_, running)| !running.ending);
        let mut old: BTreeMap<Place, Slot> =
            staying.map(|(slot, r)| (Place::of(&r.instance), *slot)).collect();
        let hold =
            if starting { self.life.silent(config.global.startup_delay) } else { Duration::ZERO };
        self.slots.waiting.clear();
        let mut otherwise = self.otherwise_written(&old, &config);
        let mut left = Left::default();
        for instance in &config.instances {
            // Its own place first: the other one may be that of a router which goes.
            let slot = old.remove(&Place::of(instance)).or_else(|| {
                let place = Place::found(instance).and_then(|place| otherwise.remove(&place))?;
                old.remove(&place)
            });
            match slot {
                Some(slot) => self.change(slot, instance),
                None => self.add(instance, hold, &mut left),
            }
        }
        // Once all that resumed hold what is theirs: an address may have gone from one to another.
        self.take_left(left);
        for slot in old.into_values() {
            self.remove(slot);
        }
        self.scripts.apply(tracked(&config), &policy);
        self.unwatch(&config);
        self.life.settled();
        for running in self.running.values_mut() {
            (running.resize, running.cut) = (true, false);
        }
        self.announces_elsewhere = elsewhere::is_wanted(&config);
        self.config = config;
        self.regroup();
        self.watch_paths();
        self.reconcile();
    }

    /// Those of the running instances that are not in the configuration as they were written, by their
    /// interface: one may be there by another writing, and goes on.
    fn otherwise_written(
        &self,
        old: &BTreeMap<Place, Slot>,
        config: &Config,
    ) -> BTreeMap<Place, Place> {
        let places: BTreeSet<Place> = config.instances.iter().map(|one| Place::of(one)).collect();
        let gone = old.iter().filter(|(place, _)| !places.contains(place));
        let found = |slot: &Slot| Place::found(&self.running.get(slot)?.instance);
        gone.filter_map(|(place, slot)| Some((found(slot)?, place.clone()))).collect()
    }

    /// Starts an instance, and notes what it had in an earlier life and no longer has. Where there is no slot
    /// for it, it waits for one.
    fn add(&mut self, instance: &Arc<Instance>, hold: Duration, left: &mut Left) {
        let Some(slot) = self.life.slot(instance).or_else(|| self.free_slot()) else {
            self.slots.waiting.push_back(Arc::clone(instance));
            return;
        };
        let resumes = self.life.begin(slot, instance);
        // What the maps have no room for is not counted there.
        if let Some(fast) = self.fast.as_mut().filter(|fast| slot.0 < fast.room())
            && let Err(error) = fast.reset(slot.0)
        {
            warn!("({}) its counters start from an earlier value: {error}", instance.name);
        }
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        info!("({}) {}", instance.name, work(instance));
        let running = Box::new(Running::new(Arc::clone(instance), settings.clone()));
        if resumes.is_none() {
            // The other's record has its priority 0 until there is a route for a new one.
            self.life.note(slot, &running, &self.host, &self.own);
        }
        if let Some((_, body)) = &resumes {
            self.claim(slot, &running.settings, body);
            // Those that are not there are not missed when they are taken off.
            self.executor.claim_paths(slot, Arc::clone(&settings.paths));
            left.paths.extend(self.life.paths_left(body, &running.kept_paths(&self.host)));
            left.addresses.extend(
                self.life.left(body).filter(|old| !settings.held().any(|a| is_same(a, old))),
            );
        }
        self.index.add(slot, &running, &self.own);
        self.running.insert(slot, running);
        self.make_own_links(slot, resumes.is_none());
        let hold = if resumes.is_some() { Duration::ZERO } else { hold };
        self.tell(Input::Add { slot, settings: Box::new(settings), hold });
        if let Some((entry, _)) = resumes {
            let (until, priority) = (judge::peers_wait(&entry), Priority::new(entry.priority));
            self.tell(Input::Resume { slot, until, priority, form: entry.form });
        }
    }

    /// Takes off what routers no longer have.
    fn take_left(&self, left: Left) {
        if !left.paths.is_empty() {
            self.executor.remove_kept(left.paths);
        }
        self.take_off(left.addresses);
    }

    /// Makes the addresses that a resumed router has on already its own: it may have to take them off
    /// before it ever puts them on.
    fn claim(&self, slot: Slot, settings: &Settings, body: &Body) {
        let on = body.addresses.iter().filter(|held| !held.own && held.dropped.is_none());
        let claimed = on.filter_map(|held| {
            let address = settings.held().find(|address| held.is(address))?;
            let index = match held.ifindex {
                0 => self.host.by_name(&held.device)?.ifindex,
                index => index,
            };
            Some((address.clone(), index))
        });
        self.executor.claim(slot, claimed.collect());
    }

    /// Starts one that has waited for a slot, where another has ended.
    pub(super) fn add_waiting(&mut self) {
        if let Some(instance) = self.slots.waiting.pop_front() {
            let mut left = Left::default();
            self.add(&instance, Duration::ZERO, &mut left);
            self.take_left(left);
            if self.config.groups.iter().any(|group| group.members.contains(&instance.name)) {
                self.regroup();
            }
        }
    }

    fn change(&mut self, slot: Slot, instance: &Arc<Instance>) {
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        let Some(running) = self.running.get_mut(&slot) else { return };
        // Where it was written may have moved without a change of meaning.
        let same = running.settings == settings && plan::is_alike(&running.instance, instance);
        if same {
            running.instance = Arc::clone(instance);
            return;
        }
        self.index.remove(slot, running);
        let before = std::mem::replace(&mut running.instance, Arc::clone(instance));
        let other_version = before.version != instance.version;
        // That it was found elsewhere has been said.
        if before.interface == instance.interface || before.sought != instance.sought {
            info!("({}) changed by reload", instance.name);
        }
        running.settings = settings.clone();
        running.unheld.retain(|(address, _)| settings.held().any(|held| held == address));
        self.index.add(slot, running, &self.own);
        running.reroute = true;
        self.life.note(slot, running, &self.host, &self.own);
        // It has no interface any more: it says its last words by the way that it had, and takes its
        // addresses off before they are meant for none.
        let lost = instance.interface.is_empty() && running.link != Some(Link::NoSource);
        if lost {
            running.link = Some(Link::NoSource);
        }
        self.make_own_links(slot, true);
        self.forget(slot);
        if lost {
            self.tell(Input::Link { slot, link: Link::NoSource });
        }
        if other_version {
            // The engine speaks at once. Else its last words by the old settings go first.
            self.reroute(slot);
        }
        self.tell(Input::Change { slot, settings: Box::new(settings) });
    }

    fn remove(&mut self, slot: Slot) {
        // The instance stays known until the engine has ended it: its last words need its name.
        if let Some(running) = self.running.get_mut(&slot) {
            running.ending = true;
        }
        self.tell(Input::Remove { slot });
    }

    fn free_slot(&mut self) -> Option<Slot> {
        // Those first that the kernel's maps have room for.
        let room = self.fast.as_ref().map_or(abi::MAX_SLOTS, FastPath::room);
        let taken = self.running.len() as u32 + self.life.reserved();
        if taken >= abi::MAX_SLOTS {
            return None;
        }
        let full = taken >= room;
        let upto = if full { abi::MAX_SLOTS } else { room };
        let next = self.slots.next;
        let mut slots = (0..upto).map(|n| Slot(next.wrapping_add(n) % upto));
        let free = |slot: &Slot| !self.running.contains_key(slot) && !self.life.is_reserved(*slot);
        let slot = slots.find(free)?;
        self.slots.next = slot.0 + 1;
        Some(slot)
    }

    /// Forgets what scripts said that nobody tracks any more: one that comes back has said nothing.
    fn unwatch(&mut self, config: &Config) {
        let tracked: BTreeSet<&str> = tracked(config).map(|s| s.name.as_str()).collect();
        let gone: Vec<TrackerId> = self
            .trackers
            .scripts()
            .filter(|(_, name)| !tracked.contains(name))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.tell(Input::Track { id, health: Health::Unknown });
        }
    }

    /// Takes addresses off that an earlier life left, and learns which are the host's own: of all that
    /// are new in a configuration, before anybody may put them on.
    pub(super) fn clear_leftovers(&mut self, config: &Config) {
        self.serve(&config.instances);
        let held = self.running.values().flat_map(|running| running.settings.held());
        // Those of another daemon that runs are no leftovers.
        let taken = config.instances.iter().filter(|instance| self.is_taken(instance));
        let theirs = taken.flat_map(|instance| instance.addresses.iter().chain(&instance.excluded));
        let known =
            held.chain(theirs).map(|address| (address.device.clone(), address.ip)).collect();
        let (host, resumes) = (self.life.marked(&self.host), |i: &Instance| self.life.resumes(i));
        let refused = leftovers::nobodys(&config.refused, &mut self.served);
        let found = leftovers::find(&host, &config.instances, refused, &known, resumes);
        self.own.extend(leftover::own(&found));
        self.index.learn_own(&self.own);
        self.executor.protect(self.own.clone());
        self.clear_paths(&config.instances, refused);
        self.take_off(leftovers::removals(&found).collect());
    }

    /// Takes addresses of an earlier life off, but for those that a router holds.
    pub(super) fn take_off(&self, addresses: Vec<VirtualAddress>) {
        if !addresses.is_empty() {
            let slot = executor::LEFTOVERS;
            self.executor.send(Effect::RemoveAddresses { slot, addresses: addresses.into() });
        }
    }

    /// Opens the interfaces anew where the file wants another data path; the command line overrides it.
    fn choose_datapath(&mut self, config: &Config) {
        let want = self.options.datapath.or(config.global.datapath).unwrap_or_default();
        self.ports.choose(want, &mut self.fast);
    }
}

/// Whether two are one address on one interface, whatever else is said of it.
fn is_same(one: &VirtualAddress, other: &VirtualAddress) -> bool {
    (one.ip, one.prefix, &one.device) == (other.ip, other.prefix, &other.device)
}
