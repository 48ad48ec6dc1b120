//! Bringing what the kernel, the sockets and the engine know in line with the host as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};
use vrrp_common::abi;
use vrrp_proto::{Health, Input, Link, Slot, StateName, TrackerId};

use super::plan::{self, Sources, Way};
use super::ports::Wanted;
use super::protocol::Order;
use super::running::Running;
use super::served::{Key, Whose};
use super::service::Service;
use super::{host, room};
use crate::config::model::{Instance, Sharing};
use crate::fastpath::{FastPath, UpdateError};
use crate::net::monitor::Change;
use crate::net::{Interface, Snapshot};
use crate::sys::clock;

/// What changes on the host concern.
#[derive(Debug, Default)]
struct Touched {
    /// Interfaces that came, went or changed.
    links: BTreeSet<String>,
    /// Those with another address of the host's own.
    addresses: BTreeSet<String>,
    /// Those that take longer or shorter frames.
    resized: BTreeSet<String>,
    /// Instances that name an address which came or went, on whichever interface.
    named: BTreeSet<Slot>,
    /// Everything may have changed.
    all: bool,
    /// A link is new.
    new_link: bool,
    /// A link is gone.
    gone: bool,
}

impl Service {
    /// Looks at everything: the one route for start, reload, and whatever may concern all instances.
    pub(super) fn reconcile(&mut self) {
        self.stale = false;
        self.open_ports();
        let slots: Vec<Slot> = self.running.keys().copied().collect();
        // First: who starts tells its priority.
        self.watch_interfaces();
        self.reconcile_all(slots);
        self.promote_secondaries();
        self.tidy_own_links();
    }

    /// Has exactly the interfaces listened to that instances use.
    fn open_ports(&mut self) {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        for running in self.running.values() {
            let wanted = wanted.entry(running.instance.interface.clone()).or_default();
            wanted.add(&running.instance, running.way.as_ref());
        }
        for base in self.running.values().flat_map(|running| running.instance.bases()) {
            if let Some(wanted) = wanted.get_mut(base) {
                wanted.lies_below();
            }
        }
        self.serve(&[]);
        self.ports.apply(&wanted, &self.host, &mut self.fast);
        self.life.keep(self.fast.as_ref(), &self.served, false);
        let there = |name: &&String| self.host.by_name(name).is_some();
        let mut there = wanted.keys().filter(there);
        self.deaf = self.served.waits()
            || self.ports.lacks_something()
            || there.any(|name| !self.ports.hears(name));
    }

    /// Has the kernel program where it is to be, on interfaces with these names or on all, whatever others did
    /// to it.
    /// `gone`: a link is gone.
    pub(super) fn look_at_data_paths(&mut self, names: Option<&BTreeSet<String>>, gone: bool) {
        if self.ports.look(names, gone, &mut self.fast) {
            self.life.keep(self.fast.as_ref(), &self.served, true);
        }
    }

    /// Has every other daemon know what is served here: what runs, and `more`.
    pub(super) fn serve(&mut self, more: &[Arc<Instance>]) {
        let running = self.running.values().map(|running| &running.instance);
        let wanted: BTreeMap<Key, Arc<Instance>> = running
            .chain(more)
            .filter_map(|instance| Some((self.key(instance)?, Arc::clone(instance))))
            .collect();
        let mut rivals = std::mem::take(&mut self.served.rivals);
        let (host, life) = (&self.host, &self.life);
        let mut looked = false;
        let rival = |key: Key, before: Option<&str>| {
            if !std::mem::replace(&mut looked, true) {
                rivals.look();
            }
            let instance = wanted.get(&key)?;
            rivals.serving(instance, before, || life.has_anothers(host, instance))
        };
        let names = wanted.iter().map(|(key, instance)| {
            (*key, Whose { instance: &instance.name, interface: &instance.interface })
        });
        self.served.apply(&names.collect(), clock::now(), rival);
        self.served.rivals = rivals;
    }

    /// Who serves an instance's virtual router instead of this daemon, where that is known.
    pub(super) fn served_by(&self, instance: &Instance) -> Option<String> {
        self.served.by(self.key(instance)?)
    }

    fn key(&self, instance: &Instance) -> Option<Key> {
        let ifindex = self.host.by_name(&instance.interface)?.ifindex;
        Some(Key { ifindex, family: instance.family, vrid: instance.vrid.get() })
    }

    /// Whether another daemon serves an instance's virtual router.
    pub(super) fn is_taken(&self, instance: &Instance) -> bool {
        self.key(instance).is_some_and(|key| self.served.is_taken(key))
    }

    pub(super) fn reconcile_all(&mut self, slots: impl IntoIterator<Item = Slot>) {
        let (mut moved, mut sources) = (false, Sources::default());
        let mut freed = BTreeSet::new();
        let is_taken = |running: &Running| running.link == Some(Link::Taken);
        for slot in slots {
            let was_taken = self.running.get(&slot).is_some_and(|running| is_taken(running));
            moved |= self.reconcile_one(slot, &mut sources);
            if was_taken && !self.running.get(&slot).is_some_and(|running| is_taken(running)) {
                freed.insert(slot);
            }
        }
        if !freed.is_empty() {
            self.judge_freed(&freed);
        }
        if moved {
            self.open_ports();
        }
    }

    /// Brings one instance in line. Says whether its adverts come to another address of the host from now
    /// on, so that it has to be listened to there. `sources`: what was found of the host as it is now.
    fn reconcile_one(&mut self, slot: Slot, sources: &mut Sources) -> bool {
        let taken = self.running.get(&slot).is_some_and(|running| self.is_taken(&running.instance));
        let complete = self.make_own_links(slot, true);
        let Some(running) = self.running.get_mut(&slot) else { return false };
        let interface = self.host.by_name(&running.instance.interface);
        // Where another one serves it, its adverts are not to be taken away from that.
        let way = interface.filter(|_| !taken).and_then(|interface| {
            let not = self.index.virtual_ones();
            plan::way(&running.instance, interface, &self.host, sources, not)
        });
        if interface.is_some() && !complete {
            self.unmade.insert(slot);
        } else {
            self.unmade.remove(&slot);
        }
        let missing =
            !complete || running.settings.held().any(|a| self.host.by_name(&a.device).is_none());
        let link = match (interface, &way) {
            (Some(interface), way) if !host::is_up(interface) => {
                Link::Down(way.as_ref().map(|way| way.source))
            }
            (None, _) if self.seeking.lacks_source(&running.instance) => Link::NoSource,
            (None, _) => Link::Down(None),
            (Some(_), _) if taken => Link::Taken,
            (Some(interface), _) if !self.ports.hears(&interface.name) => Link::Deaf,
            (Some(_), _) if missing => Link::NoDevice,
            (Some(_), Some(way)) if plan::lacks_peers(&running.instance, way) => Link::NoPeer,
            (Some(_), Some(way)) => Link::Up(way.source),
            (Some(_), None) => Link::NoSource,
        };
        let (mut moved, mut way) = (false, way);
        running.keep_room(&mut way);
        let news = way != running.way || running.reroute;
        // While an interface is down its address may be gone for a moment; the old route does no harm.
        if news && (way.is_some() || interface.is_none() || taken) {
            let again = std::mem::take(&mut running.reroute);
            let old = std::mem::replace(&mut running.way, way);
            let room = old.as_ref().map(|old| old.room);
            if let Some(way) = running.way.as_ref().filter(|way| again || room != Some(way.room)) {
                room::say(&running.instance, way);
            }
            moved = plan::listens_elsewhere(&running.instance, old.as_ref(), running.way.as_ref());
            self.life.note(slot, running, &self.host, &self.own);
            set_route(slot, running, old.as_ref(), &self.host, &mut self.fast, &self.orders);
        }
        if running.link != Some(link) {
            running.link = Some(link);
            // A peer that asked for it in vain while it was away asks once a second only: its adverts may
            // come too late for who waits for less.
            if let (Link::Up(source), Some(way)) = (link, &running.way)
                && way.is_own
                && !way.peers.is_empty()
            {
                self.executor.present(running.instance.interface.clone(), source);
            }
            self.tell(Input::Link { slot, link });
        }
        moved
    }

    /// Has adverts leave and be judged by an instance's settings as they are now, on the way there is.
    pub(super) fn reroute(&mut self, slot: Slot) {
        if let Some(running) = self.running.get(&slot).filter(|running| running.way.is_some()) {
            let (old, fast) = (running.way.as_ref(), &mut self.fast);
            set_route(slot, running, old, &self.host, fast, &self.orders);
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
        let mut touched = Touched::default();
        let (mut lost, mut readdressed) = (Vec::new(), BTreeSet::new());
        let behind: BTreeSet<_> =
            changes.iter().filter_map(|one| self.may_be_behind(one)).collect();
        for change in changes {
            readdressed.extend(self.readdressed(change).map(str::to_owned));
            self.note_touched(change, &mut touched);
            lost.extend(self.lost(change));
            for detected in host::detected(&self.host, change) {
                self.executor.detected(detected);
            }
            self.host.follow(change);
            self.lapses.note(change);
            self.look_at_added(change);
            for found in links(change).filter_map(|interface| self.own_links.saw(interface)) {
                self.executor.found(found);
            }
        }
        self.note_paths(changes);
        if changes.iter().any(|change| self.may_move(change)) {
            self.seek();
        }
        self.resize_cut(&touched.resized);
        // First what became of the interfaces: a router that is in Fault by it loses nothing more.
        if touched.all {
            self.reconcile();
        } else {
            self.reconcile_touched(&touched);
        }
        self.send_again(&touched.resized);
        self.tell_lost(lost);
        if touched.all {
            self.look_for_strays(self.running.keys().copied().collect::<Vec<_>>(), true);
            self.put_all_behind();
        } else {
            self.put_behind(behind);
        }
        for device in readdressed {
            self.announce_again(&device);
        }
        if self.own_links.waits() {
            self.tidy_own_links();
        }
        self.doubt_paths(changes);
        let names = Some(&touched.links).filter(|_| !touched.all);
        self.look_at_data_paths(names, touched.gone);
        if touched.new_link {
            self.promote_secondaries();
        }
        self.ports.recheck(names.filter(|_| !touched.new_link), &mut self.fast);
    }

    /// Notes what a change concerns, before the host is known as it is after it.
    fn note_touched(&self, change: &Change, touched: &mut Touched) {
        match change {
            Change::Link(interface) => {
                let before = self.host.by_name(&interface.name).map(host::is_up);
                let now = host::is_up(interface);
                if before.is_some_and(|before| before != now) && self.concerns(&interface.name) {
                    info!("Netlink reports {} {}", interface.name, if now { "up" } else { "down" });
                }
                let before = self.host.interfaces.get(&interface.ifindex);
                touched.new_link |= before.is_none();
                if before.is_some_and(|before| before.mtu != interface.mtu) {
                    touched.resized.insert(interface.name.clone());
                }
                touched.links.insert(interface.name.clone());
            }
            Change::Gone { name, .. } => {
                touched.gone = true;
                touched.links.insert(name.clone());
            }
            Change::AddressAdded { name, address, .. }
            | Change::AddressRemoved { name, address, .. } => {
                // A virtual address is no source: where it is matters to nobody's route.
                if !self.index.is_virtual(address.ip) {
                    touched.addresses.insert(name.clone());
                }
                touched.named.extend(self.index.naming(address.ip));
            }
            Change::Resync(now) => {
                touched.all = true;
                let before = |one: &&Interface| self.host.interfaces.get(&one.ifindex);
                let resized = |one: &&Interface| before(one).is_some_and(|it| it.mtu != one.mtu);
                let resized = now.interfaces.values().filter(resized);
                touched.resized.extend(resized.map(|interface| interface.name.clone()));
            }
            Change::Behind => {}
        }
    }

    /// As [`Service::reconcile`] for what is concerned.
    fn reconcile_touched(&mut self, touched: &Touched) {
        if touched.links.iter().any(|name| self.index.uses(name)) {
            self.open_ports();
        }
        let names = touched.links.union(&touched.addresses);
        let mut slots: BTreeSet<Slot> = names.flat_map(|name| self.index.on(name)).collect();
        slots.extend(&touched.named);
        self.reconcile_all(slots);
        if !touched.links.is_empty() {
            self.watch_interfaces();
        }
    }

    /// Whether a change may say that the interface of an instance which is written without one is another.
    fn may_move(&self, change: &Change) -> bool {
        match change {
            Change::AddressAdded { address, .. } | Change::AddressRemoved { address, .. } => {
                // Its network's route comes and goes with it.
                let is_way = self.seeking.asks_routes() && !self.index.is_virtual(address.ip);
                is_way || self.index.naming(address.ip).next().is_some()
            }
            Change::Link(_) | Change::Gone { .. } | Change::Resync(_) => true,
            Change::Behind => false,
        }
    }

    /// The interfaces that a change gives another MAC address.
    fn readdressed<'a>(&self, change: &'a Change) -> impl Iterator<Item = &'a str> {
        links(change).filter_map(|now| {
            let before = self.host.interfaces.get(&now.ifindex)?;
            (before.name == now.name && before.mac != now.mac).then_some(now.name.as_str())
        })
    }

    /// Says where addresses on an interface are by now, those that are held: others would send to the MAC
    /// address that it had.
    fn announce_again(&self, device: &str) {
        for slot in self.index.with_addresses_on(device) {
            let Some(running) = self.running.get(&slot) else { continue };
            if running.state == StateName::Active {
                let name = &running.instance.name;
                info!("({name}) {device} has another MAC address: announcing addresses again");
            }
            let on_it = running.settings.held().filter(|address| address.device == device);
            self.executor.refresh(slot, on_it.cloned().collect());
        }
    }

    fn concerns(&self, interface: &str) -> bool {
        self.index.uses(interface) || self.trackers.knows_interface(interface)
    }
}

/// The interfaces of which a change says how they are now.
fn links(change: &Change) -> impl Iterator<Item = &Interface> {
    let (one, all) = match change {
        Change::Link(interface) => (Some(interface), None),
        Change::Resync(now) => (None, Some(now.interfaces.values())),
        Change::Gone { .. }
        | Change::AddressAdded { .. }
        | Change::AddressRemoved { .. }
        | Change::Behind => (None, None),
    };
    one.into_iter().chain(all.into_iter().flatten())
}

/// Tells the kernel and the protocol thread how an instance sends and what it listens to.
fn set_route(
    slot: Slot,
    running: &Running,
    old: Option<&Way>,
    host: &Snapshot,
    fast: &mut Option<FastPath>,
    orders: &UnboundedSender<Order>,
) {
    let instance = &running.instance;
    if let (Some(fast), Some(old)) = (&mut *fast, old)
        && running.way.as_ref().is_none_or(|way| way.ifindex != old.ifindex)
    {
        let key = abi::RouterKey::new(old.ifindex, instance.family, instance.vrid.get());
        fast.remove_router(key, slot.0);
    }
    let Some(way) = &running.way else {
        let _ = orders.send(Order::Unroute(slot));
        return;
    };
    let known = |old: &Way| (old.source, old.is_own) == (way.source, false);
    if !way.is_own
        && !old.is_some_and(known)
        && let Some(lack) = plan::lack(way.source, host)
    {
        warn!("({}) {lack}, which its adverts come from", instance.name);
    }
    let route = match plan::route(instance, slot, way) {
        Ok(route) => route,
        Err(error) => {
            error!("({}) no advert can be built: {error}", instance.name);
            return;
        }
    };
    if let Some(fast) = fast.as_mut().filter(|_| instance.sharing == Sharing::Beside) {
        // The key is another's, unless this was the first before.
        fast.remove_router(route.key, slot.0);
    } else if let Some(fast) = fast {
        match fast.set_router(route.key, route.rule, &route.addresses, &route.peers) {
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
