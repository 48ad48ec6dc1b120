//! Making a configuration and the host as it is the ones in use: the one route for start, reload, and an
//! interface that comes, goes or changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};
use vrrp_common::{Priority, abi};
use vrrp_proto::{
    Effect, Health, Input, Link, Settings, Slot, StateName, TrackerId, VirtualAddress,
};

use super::plan::{self, Place};
use super::protocol::Order;
use super::service::{Running, Service};
use super::{host, leftovers};
use crate::config::model::{Config, Instance};
use crate::config::summary::work;
use crate::fastpath::{FastPath, UpdateError};
use crate::ledger::{Body, judge};
use crate::net::executor;
use crate::net::leftover;
use crate::net::monitor::Change;
use crate::track::{Policy, script};
use crate::transmit::Mac;

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
    /// Makes a configuration the one in use: start and reload alike.
    pub(super) fn apply(&mut self, config: Config, starting: bool) {
        let policy = Policy::of(&config.global);
        self.notifier.set_policy(policy.clone());
        self.executor.configure(host_work(&config));
        if !starting {
            self.clear_leftovers(&config);
            self.choose_datapath(&config);
        }
        let staying = self.running.iter().filter(|(_, running)| !running.ending);
        let mut old: BTreeMap<Place, Slot> =
            staying.map(|(slot, r)| (Place::of(&r.instance), *slot)).collect();
        let hold =
            if starting { self.life.silent(config.global.startup_delay) } else { Duration::ZERO };
        let mut left = Vec::new();
        for instance in &config.instances {
            match old.remove(&Place::of(instance)) {
                Some(slot) => self.change(slot, instance),
                None => left.extend(self.add(instance, hold)),
            }
        }
        // Once all that resumed hold what is theirs: an address may have gone from one to another.
        self.take_off(left);
        for slot in old.into_values() {
            self.remove(slot);
        }
        self.scripts.apply(script::tracked(&config), &policy);
        self.unwatch(&config);
        self.life.settled();
        self.config = config;
        self.reconcile();
    }

    /// Starts an instance, and returns the addresses that it had in an earlier life and no longer has.
    fn add(&mut self, instance: &Instance, hold: Duration) -> Vec<VirtualAddress> {
        let slot = self.life.slot(instance).unwrap_or_else(|| self.free_slot());
        let resumes = self.life.begin(slot, instance);
        // What the maps have no room for is not counted there.
        if let Some(fast) = self.fast.as_mut().filter(|fast| slot.0 < fast.room())
            && let Err(error) = fast.reset(slot.0)
        {
            warn!("({}) its counters start from an earlier value: {error}", instance.name);
        }
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        info!("({}) {}", instance.name, work(instance));
        let running = Running {
            instance: instance.clone(),
            settings: settings.clone(),
            state: StateName::Initialize,
            last_refused: None,
            takeover: None,
            timing: None,
            ending: false,
            route: None,
            reroute: false,
            link: None,
        };
        if resumes.is_none() {
            // The other's record has its priority 0 until there is a route for a new one.
            self.life.note(slot, &running, &self.host, &self.own);
        }
        let mut left = Vec::new();
        if let Some((_, body)) = &resumes {
            self.claim(slot, &running.settings, body);
            left.extend(
                self.life.left(body).filter(|old| !settings.held().any(|a| is_same(a, old))),
            );
        }
        self.running.insert(slot, running);
        let hold = if resumes.is_some() { Duration::ZERO } else { hold };
        self.tell(Input::Add { slot, settings: Box::new(settings), hold });
        if let Some((entry, _)) = resumes {
            let (until, priority) = (judge::peers_wait(&entry), Priority::new(entry.priority));
            self.tell(Input::Resume { slot, until, priority });
        }
        left
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

    fn change(&mut self, slot: Slot, instance: &Instance) {
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        let Some(running) = self.running.get_mut(&slot) else { return };
        // Where it was written may have moved without a change of meaning.
        let same = running.settings == settings
            && (running.instance.source, running.instance.auth) == (instance.source, instance.auth);
        running.instance = instance.clone();
        if same {
            return;
        }
        info!("({}) changed by reload", instance.name);
        running.settings = settings.clone();
        running.reroute = true;
        self.life.note(slot, running, &self.host, &self.own);
        self.forget(slot);
        self.tell(Input::Change { slot, settings: Box::new(settings) });
    }

    fn remove(&mut self, slot: Slot) {
        // The instance stays known until the engine has ended it: its last words need its name.
        if let Some(running) = self.running.get_mut(&slot) {
            running.ending = true;
        }
        self.tell(Input::Remove { slot });
    }

    fn free_slot(&mut self) -> Slot {
        // Those first that the kernel's maps have room for.
        let room = self.fast.as_ref().map_or(abi::MAX_SLOTS, FastPath::room);
        let full = self.running.len() as u32 + self.life.reserved() >= room;
        let upto = if full { abi::MAX_SLOTS } else { room };
        loop {
            let slot = Slot(self.next_slot % upto);
            self.next_slot += 1;
            if !self.running.contains_key(&slot) && !self.life.is_reserved(slot) {
                return slot;
            }
        }
    }

    /// Brings what the kernel, the sockets and the engine know in line with the host as it is: the one
    /// route for start, reload, and an interface that comes, goes or changes.
    pub(super) fn reconcile(&mut self) {
        let mut wanted: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
        let mut vips = BTreeSet::new();
        for running in self.running.values() {
            let instance = &running.instance;
            wanted.entry(instance.interface.clone()).or_default().insert(instance.vrid.get());
            vips.extend(running.settings.held().map(|address| address.ip));
        }
        // The owner's virtual address is its own, and the source of its adverts.
        for own in &self.own {
            vips.remove(&own.ip);
        }
        self.ports.apply(&wanted, &self.host, &mut self.fast);
        let slots: Vec<Slot> = self.running.keys().copied().collect();
        for slot in slots {
            self.reconcile_one(slot, &vips);
        }
        self.life.keep_fast_path(self.fast.as_ref());
        self.watch_interfaces();
        let there = |name: &&String| self.host.by_name(name).is_some();
        self.deaf = wanted.keys().filter(there).any(|name| !self.ports.hears(name));
    }

    fn reconcile_one(&mut self, slot: Slot, vips: &BTreeSet<IpAddr>) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let interface = self.host.by_name(&running.instance.interface);
        let source = running
            .instance
            .source
            .or_else(|| interface.and_then(|interface| interface.primary_v4(vips)).map(IpAddr::V4));
        let route = interface.and_then(|interface| {
            // An interface without a MAC address carries no adverts.
            Some((interface.ifindex, interface.mac?, source?))
        });
        let missing =
            running.settings.held().any(|address| self.host.by_name(&address.device).is_none());
        let link = match (interface, route) {
            (Some(interface), _) if !host::is_up(interface) => Link::Down,
            (None, _) => Link::Down,
            (Some(interface), _) if !self.ports.hears(&interface.name) => Link::Deaf,
            (Some(_), _) if missing => Link::NoDevice,
            (Some(_), Some((_, _, source))) => Link::Up(source),
            (Some(_), None) => Link::NoSource,
        };
        let news = route != running.route || running.reroute;
        // While an interface is down its address may be gone for a moment; the old route does no harm.
        if news && (route.is_some() || interface.is_none()) {
            running.reroute = false;
            let old = std::mem::replace(&mut running.route, route);
            self.life.note(slot, running, &self.host, &self.own);
            set_route(slot, running, old, &mut self.fast, &self.orders);
        }
        if running.link != Some(link) {
            running.link = Some(link);
            self.tell(Input::Link { slot, link });
        }
    }

    /// Forgets what scripts said that nobody tracks any more: one that comes back has said nothing.
    fn unwatch(&mut self, config: &Config) {
        let tracked: BTreeSet<&str> = script::tracked(config).map(|s| s.name.as_str()).collect();
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

    fn watch_interfaces(&mut self) {
        let now: Vec<(TrackerId, Health)> = self
            .trackers
            .interfaces()
            .map(|(id, name)| {
                let up = self.host.by_name(name).is_some_and(host::is_up);
                (id, if up { Health::Good } else { Health::Bad })
            })
            .collect();
        for (id, health) in now {
            if self.watched.insert(id, health) != Some(health) {
                self.tell(Input::Track { id, health });
            }
        }
    }

    /// Takes in what happened on the host, all that is known by now at once: one address batch is many
    /// changes.
    pub(super) fn host_changed(&mut self, changes: &[Change]) {
        let mut new_link = false;
        let mut lost = Vec::new();
        for change in changes {
            if let Change::Link(interface) = change {
                let before = self.host.by_name(&interface.name).map(host::is_up);
                let now = host::is_up(interface);
                if before.is_some_and(|before| before != now) && self.concerns(&interface.name) {
                    info!("Netlink reports {} {}", interface.name, if now { "up" } else { "down" });
                }
                new_link |= !self.host.interfaces.contains_key(&interface.ifindex);
            }
            for (slot, running) in &self.running {
                lost.extend(host::lost(change, running).map(|address| (*slot, address.clone())));
            }
            self.host.follow(change);
        }
        // One that is back by now was changed and not removed: a reload with another label, say.
        lost.retain(|(_, address)| !host::holds(&self.host, address));
        // First what became of the interfaces: a router that is in Fault by it loses nothing more.
        self.reconcile();
        for (slot, address) in lost {
            self.tell(Input::AddressLost { slot, address });
        }
        if new_link {
            self.ports.recheck(&mut self.fast);
        }
    }

    /// Takes addresses off that an earlier life left, and learns which are the host's own: of all that
    /// are new in a configuration, before anybody may put them on.
    pub(super) fn clear_leftovers(&mut self, config: &Config) {
        let held = self.running.values().flat_map(|running| running.settings.held());
        let known = held.map(|address| (address.device.clone(), address.ip)).collect();
        let found = leftovers::find(&self.life.marked(&self.host), config, &known, |instance| {
            self.life.resumes(instance)
        });
        self.own.extend(leftover::own(&found));
        self.executor.protect(self.own.clone());
        self.take_off(leftovers::removals(&found).collect());
    }

    /// Takes addresses of an earlier life off, but for those that a router holds.
    fn take_off(&self, addresses: Vec<VirtualAddress>) {
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

    fn concerns(&self, interface: &str) -> bool {
        self.running.values().any(|running| running.instance.interface == interface)
            || self.trackers.interfaces().any(|(_, name)| name == interface)
    }
}

/// Whether two are one address on one interface, whatever else is said of it.
fn is_same(one: &VirtualAddress, other: &VirtualAddress) -> bool {
    (one.ip, one.prefix, &one.device) == (other.ip, other.prefix, &other.device)
}

/// Tells the kernel and the protocol thread how an instance sends and what it listens to.
fn set_route(
    slot: Slot,
    running: &Running,
    old: Option<(u32, Mac, IpAddr)>,
    fast: &mut Option<FastPath>,
    orders: &UnboundedSender<Order>,
) {
    let instance = &running.instance;
    if let (Some(fast), Some((before, _, _))) = (&mut *fast, old)
        && running.route.is_none_or(|(ifindex, _, _)| ifindex != before)
    {
        let key = abi::RouterKey::new(before, instance.family, instance.vrid.get());
        fast.remove_router(key, slot.0);
    }
    let Some((ifindex, mac, source)) = running.route else {
        let _ = orders.send(Order::Unroute(slot));
        return;
    };
    let route = match plan::route(instance, slot, ifindex, mac, source) {
        Ok(route) => route,
        Err(error) => {
            error!("({}) no advert can be built: {error}", instance.name);
            return;
        }
    };
    if let Some(fast) = fast {
        match fast.set_router(route.key, route.rule, &route.addresses) {
            Ok(()) => {}
            Err(UpdateError::Full) => info!(
                "({}) the kernel program has no room for it: its adverts are judged in the daemon \
                 until a restart",
                instance.name
            ),
            Err(error) => error!("({}) the kernel program was not told: {error}", instance.name),
        }
    }
    let _ = orders.send(Order::Route(slot, Box::new(route)));
}
