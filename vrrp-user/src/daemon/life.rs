//! This process's life among others: its guardian, its ledger, and what an earlier life left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tracing::{debug, info, warn};
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Settings, Slot, VirtualAddress};

use super::accepted::Accepted;
use super::host;
use super::place::Place;
use super::plan;
use super::running::Running;
use super::served::{self, Heirs, Served};
use crate::config::model::{Config, Instance, Scheduling};
use crate::fastpath::{self, FastPath};
use crate::guardian::channel::{Keeper, Kept};
use crate::guardian::{LEDGER, LOCK};
use crate::ledger::release::{self, release};
use crate::ledger::{Body, Entry, Held, HeldPath, Ledger, Phase, Pulse, judge};
use crate::net::Snapshot;
use crate::net::leftover::OwnAddress;
use crate::net::paths;
use crate::net::traces::Traces;
use crate::run_dir::{self, RunDir, RunDirError};
use crate::slowpath::Realm;
use crate::sys::clock;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Life {
    keeper: Option<Keeper>,
    /// What the daemon of this run directory calls what is its own on the host.
    by: String,
    ledger: Option<Ledger>,
    /// The slots that routers had in an earlier life, and that they keep.
    earlier: BTreeMap<Place, Slot>,
    /// The same without whose they are.
    reserved: BTreeSet<Slot>,
    /// Those among them that were Active and go on as such.
    resumed: BTreeSet<Slot>,
    /// The descriptors of the kernel program, and of what is served, that the guardian keeps.
    kept: BTreeSet<String>,
    /// What an earlier life put on interfaces, and is not the host's own whatever it looks like.
    put_on: BTreeSet<(String, IpAddr)>,
    /// What an earlier life made and changed.
    traces: Traces,
    /// Routers of an earlier life that left such, and that nobody has cleaned up behind yet.
    traced: BTreeSet<Slot>,
    /// When the earlier life was last known to live.
    alive: Instant,
    /// An earlier worker of the same guardian was here, and the start is its replacement.
    replaces: bool,
    /// The ledger could not be written; said once.
    failing: bool,
    /// The highest real-time priority that the guardian was told.
    level: u8,
}

impl Life {
    /// Begins; without a guardian, what this process does ends with it.
    pub(super) fn new(keeper: Option<Keeper>) -> Self {
        if let Some(keeper) = &keeper {
            keeper.say("hello");
        }
        Self { keeper, ..Self::default() }
    }

    /// The daemon's main process.
    pub(super) fn main(&self) -> u32 {
        self.keeper.as_ref().map_or_else(std::process::id, Keeper::main)
    }

    /// What a SIGTERM comes from, as the log says it: the kernel sends one when the main process is gone.
    pub(super) fn terminated(&self) -> &'static str {
        let gone = self.keeper.as_ref().is_some_and(Keeper::is_gone);
        if gone { "The main process is gone" } else { "SIGTERM" }
    }

    /// Takes the run directory, by the lock that an earlier worker held where there was one.
    pub(super) fn take_run_dir(&mut self, path: &Path) -> Result<RunDir, RunDirError> {
        let held = self.keeper.as_mut().and_then(|keeper| keeper.take(LOCK)).map(File::from);
        let run_dir = RunDir::take_for(path, self.main(), held)?;
        self.by = run_dir::name(run_dir.path());
        if let Some(keeper) = &self.keeper {
            keeper.say(&format!("directory {}", run_dir.path().display()));
            keeper.keep(&[(LOCK, run_dir.lock())]);
        }
        Ok(run_dir)
    }

    /// Opens the ledger, and settles what is in it: routers that can go on as Active do, everything else
    /// is released. `config`: what is to run now; nothing, where it can't be started.
    pub(super) fn open_ledger(&mut self, run_dir: &RunDir, config: Option<&Config>) {
        let kept = self.keeper.as_mut().and_then(|keeper| keeper.take(LEDGER));
        self.replaces = kept.is_some();
        let opened = match kept {
            Some(fd) => Ledger::adopt(fd.into()),
            None => Ledger::open(run_dir.path()),
        };
        let mut ledger = match opened {
            Ok(ledger) => ledger,
            Err(error) => {
                warn!("There is no ledger, so nobody can clean up after a crash: {error}");
                return;
            }
        };
        self.settle(&mut ledger, config);
        ledger.table().start(std::process::id(), clock::now());
        if let Some(keeper) = &self.keeper {
            keeper.keep(&[(LEDGER, std::os::fd::AsFd::as_fd(&ledger))]);
        }
        self.ledger = Some(ledger);
    }

    fn settle(&mut self, ledger: &mut Ledger, config: Option<&Config>) {
        let now = clock::now();
        self.alive = ledger.table().alive();
        let instances = config.map_or(&[][..], |config| &config.instances);
        let places: BTreeSet<Place> = instances.iter().map(|one| Place::of(one)).collect();
        let there = |body: &Body| if_nametoindex(body.interface.as_str()) == Ok(body.ifindex);
        let place = |body: &Body| Place::of_body(body, instances, &places);
        let found = release::found(ledger.table(), now, place, there);
        self.reserved = found.earlier.values().copied().collect();
        self.earlier = found.earlier;
        for (slot, body) in found.on {
            // Before this process counts as the one that lives.
            if let Err(error) = ledger.linger_on(slot, self.alive, now) {
                warn!("The ledger can't be written: {error}");
            }
            let ours = body.addresses.into_iter().filter(|held| !held.own);
            self.put_on.extend(ours.map(|held| (held.device, held.ip)));
            self.resumed.insert(slot);
        }
        let (nobodys, lines) = if self.replaces {
            // What is held is our own guardian's.
            (found.ended.clone(), Vec::new())
        } else {
            Heirs::default().without(ledger.table(), found.ended.clone())
        };
        for line in lines {
            info!("From an earlier life: {line}");
        }
        for released in release(&self.by, ledger.table(), &nobodys, self.alive, now) {
            info!("From an earlier life: {released}");
        }
        self.traces = release::traces(ledger.table());
        for entry in found.ended {
            if ledger.table().body(entry.slot).is_some_and(|body| !body.traces.is_empty()) {
                self.traced.insert(Slot(entry.slot));
            } else {
                ledger.forget(entry.slot);
            }
        }
    }

    /// The slot of an instance in an earlier life, which it keeps: what the kernel has for it is there.
    pub(super) fn slot(&self, instance: &Instance) -> Option<Slot> {
        self.earlier.get(&Place::of(instance)).copied()
    }

    /// What the own interfaces of routers that are still to be started were called in an earlier life.
    pub(super) fn named(&self) -> impl Iterator<Item = (Place, String)> {
        let table = self.ledger.as_ref().map(Ledger::table);
        self.earlier.iter().filter_map(move |(place, slot)| {
            let links = table?.body(slot.0)?.traces.links;
            Some((place.clone(), links.into_iter().next()?))
        })
    }

    /// Whether an instance goes on as the Active one it was.
    pub(super) fn resumes(&self, instance: &Instance) -> bool {
        self.slot(instance).is_some_and(|slot| self.resumed.contains(&slot))
    }

    /// Whether a slot waits for the instance that had it.
    pub(super) fn is_reserved(&self, slot: Slot) -> bool {
        self.reserved.contains(&slot)
    }

    /// How many slots wait.
    pub(super) fn reserved(&self) -> u32 {
        self.earlier.len() as u32
    }

    /// The first slot behind all that wait.
    pub(super) fn reserved_up_to(&self) -> u32 {
        self.reserved.last().map_or(0, |slot| slot.0 + 1)
    }

    /// The kernel program of an earlier worker, where one is wanted and it can be taken over. Otherwise
    /// nothing of it is left.
    pub(super) fn adopt_fast_path(&mut self, wanted: bool) -> Option<FastPath> {
        let keeper = self.keeper.as_mut()?;
        let kept = keeper.take_all(fastpath::PREFIX);
        if kept.is_empty() {
            return None;
        }
        let names: BTreeSet<String> = kept.keys().cloned().collect();
        if wanted {
            match FastPath::adopt(kept) {
                Ok(fast) => {
                    self.kept.extend(names);
                    return Some(fast);
                }
                Err(error) => warn!("The kernel program is loaded anew: {error}"),
            }
        } else {
            FastPath::discard(kept);
        }
        keeper.drop(&names.iter().map(String::as_str).collect::<Vec<_>>());
        None
    }

    /// What an earlier worker held of what is served.
    pub(super) fn take_served(&mut self) -> Kept {
        let kept =
            self.keeper.as_mut().map(|keeper| keeper.take_all(served::PREFIX)).unwrap_or_default();
        self.kept.extend(kept.keys().cloned());
        kept
    }

    /// Has the guardian keep the configuration that is in force.
    pub(super) fn keep_config(&self, accepted: &Accepted) {
        if let Some(keeper) = &self.keeper {
            accepted.keep(keeper);
        }
    }

    /// Has the guardian keep the kernel program, and what is served, as they are now. `attached`: so it is
    /// on an interface by another attachment, with the same name.
    pub(super) fn keep(&mut self, fast: Option<&FastPath>, served: &Served, attached: bool) {
        let Some(keeper) = &self.keeper else { return };
        let mut now = fast.map(FastPath::exports).unwrap_or_default();
        now.extend(served.exports());
        let new: Vec<_> = now
            .iter()
            .filter(|(name, _)| attached && fastpath::is_link(name) || !self.kept.contains(*name))
            .map(|(name, fd)| (name.as_str(), *fd))
            .collect();
        keeper.keep(&new);
        let gone: Vec<&str> =
            self.kept.iter().map(String::as_str).filter(|name| !now.contains_key(*name)).collect();
        keeper.drop(&gone);
        self.kept = now.into_keys().collect();
    }

    /// The host as it is, with the mark on what an earlier life put there: a kernel may not keep it.
    pub(super) fn marked(&self, host: &Snapshot) -> Snapshot {
        let mut marked = host.clone();
        if !self.put_on.is_empty() {
            let ours = |name: &str, ip| self.put_on.contains(&(name.to_owned(), ip));
            marked.interfaces.mark(crate::net::addr::PROTOCOL, ours);
        }
        marked
    }

    /// Whether the host has an address of an instance that no earlier life of ours put on its interface.
    /// An owner's may be the host's own.
    pub(super) fn has_anothers(&self, host: &Snapshot, instance: &Instance) -> bool {
        let mut held = instance.addresses.iter().chain(&instance.excluded);
        let ours =
            |address: &VirtualAddress| self.put_on.contains(&(address.device.clone(), address.ip));
        let is_anothers = |address| host::has(host, address) && !ours(address);
        !instance.priority.is_owner() && held.any(is_anothers)
    }

    /// All that an earlier life put on is somebody's by now or off: what is found later is not its.
    pub(super) fn settled(&mut self) {
        self.put_on.clear();
    }

    /// What an earlier life made and changed, and has not undone.
    pub(super) const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Nothing is left of that.
    pub(super) fn forget_earlier(&mut self) {
        for slot in std::mem::take(&mut self.traced) {
            if let Some(ledger) = &mut self.ledger {
                ledger.forget(slot.0);
            }
        }
    }

    /// How long a start stays silent: for as long as is `configured`, where it replaces another worker for
    /// what is left of that; after a crash loop, until it is clear that it is none any more.
    pub(super) fn silent(&self, configured: Duration) -> Duration {
        let Some(table) = self.ledger.as_ref().map(Ledger::table) else {
            return if self.replaces { Duration::ZERO } else { configured };
        };
        let now = clock::now();
        if !self.replaces {
            table.set_held_until(now + configured);
            // Another guardian's loop ended with it.
            table.set_silent(Duration::ZERO);
        }
        table.silent().max(table.held_until().since(now))
    }

    /// The ledger for the protocol thread.
    pub(super) fn pulse(&self) -> Pulse {
        self.ledger.as_ref().map(Ledger::pulse).unwrap_or_default()
    }

    /// Begins an instance's record, and gives the one of the earlier life where the instance goes on as
    /// the Active one it was: as it is now, since the guardian may have released it meanwhile. Where it is
    /// too late for that, it is released.
    pub(super) fn begin(&mut self, slot: Slot, instance: &Instance) -> Option<(Entry, Body)> {
        let had = self.earlier.remove(&Place::of(instance));
        if let Some(had) = had {
            self.reserved.remove(&had);
        }
        let resumes = had == Some(slot) && self.resumed.remove(&slot);
        self.traced.remove(&slot);
        let ledger = self.ledger.as_ref()?;
        let now = clock::now();
        let entry = ledger.table().entry(slot.0).filter(|_| resumes);
        let (on, over): (Vec<_>, Vec<_>) =
            entry.into_iter().partition(|entry| judge::goes_on(entry, now));
        let on = on.first().copied().zip(ledger.table().body(slot.0));
        for released in release(&self.by, ledger.table(), &over, self.alive, now) {
            info!("Too late to go on: {released}");
        }
        ledger.begin(slot, on.is_some());
        on
    }

    /// The addresses that an instance may have on interfaces since an earlier life.
    pub(super) fn left(&self, body: &Body) -> impl Iterator<Item = VirtualAddress> {
        release::left(body, self.alive).flat_map(release::places)
    }

    /// The routes and rules that an instance may have since an earlier life, but for those that it has now.
    pub(super) fn paths_left(&self, body: &Body, now: &[paths::Kept]) -> Vec<paths::Kept> {
        let gone = |held: &&paths::Kept| now.iter().all(|kept| kept.request != held.request);
        release::paths_left(body, self.alive).filter(gone).cloned().collect()
    }

    /// Notes what an instance is and has, before the protocol thread is told.
    pub(super) fn note(
        &mut self,
        slot: Slot,
        running: &Running,
        host: &Snapshot,
        own: &BTreeSet<OwnAddress>,
    ) {
        let Some(ledger) = &mut self.ledger else { return };
        let body = body(slot, running, host, own);
        let Settings { interval, down_adverts, .. } = running.settings;
        match ledger.note(slot, body, interval.get(), down_adverts, clock::now()) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                warn!("The ledger can't be written: {error}");
            }
            Err(error) => debug!("The ledger can't be written: {error}"),
        }
    }

    /// Ends an instance's record.
    pub(super) fn end(&mut self, slot: Slot, now: Instant) {
        if let Some(ledger) = &self.ledger {
            ledger.end(slot, now);
        }
    }

    /// Says with which real-time priority this process works, so that the guardian's is above it. The
    /// protocol thread keeps that of the start.
    pub(super) fn tell_level(&mut self, scheduling: &Scheduling) {
        let level = scheduling.level().unwrap_or(0);
        if level > self.level {
            self.level = level;
            self.say(&format!("level {level}"));
        }
    }

    /// Says that all is started, and how much of the time was for what a later life takes over.
    pub(super) fn running(&self, once: Duration) {
        self.set_phase(Phase::Running);
        self.say(&format!("running {}", once.as_micros()));
    }

    /// Says that from here on all is being given up.
    pub(super) fn stopping(&self) {
        self.set_phase(Phase::Stopping);
    }

    /// Says that nothing is left.
    pub(super) fn over(&self, run_dir: &RunDir) {
        // Where it stays, the next start finds nothing to do in it.
        let _ = std::fs::remove_file(crate::ledger::path(run_dir.path()));
    }

    /// Tells the guardian something.
    pub(super) fn say(&self, text: &str) {
        if let Some(keeper) = &self.keeper {
            keeper.say(text);
        }
    }

    fn set_phase(&self, phase: Phase) {
        if let Some(ledger) = &self.ledger {
            ledger.set_phase(phase);
        }
    }
}

/// An instance as the ledger has it.
fn body(slot: Slot, running: &Running, host: &Snapshot, own: &BTreeSet<OwnAddress>) -> Body {
    let instance = &running.instance;
    let index = |name: &str| host.by_name(name).map_or(0, |interface| interface.ifindex);
    let route = running.way.as_ref().and_then(|way| plan::route(instance, slot, way).ok());
    let frames = route.map_or_else(Default::default, |mut route| {
        [ChecksumForm::Message, ChecksumForm::PseudoHeader].map(|form| {
            let frames = route.frames.iter_mut();
            frames.map(|frame| frame.patch(Priority::RELEASE, form).to_vec()).collect()
        })
    });
    let addresses = running.settings.held().map(|address| Held {
        ip: address.ip,
        prefix: address.prefix,
        peer: address.peer,
        device: address.device.clone(),
        ifindex: index(&address.device),
        own: own.contains(&OwnAddress::of(address)),
        dropped: None,
    });
    let paths = running.kept_paths(host).into_iter();
    let paths = paths.map(|kept| HeldPath { kept, dropped: None });
    Body {
        name: instance.name.clone(),
        interface: instance.interface.clone(),
        ifindex: running.way.as_ref().map_or_else(|| index(&instance.interface), |way| way.ifindex),
        family: instance.family as u8,
        vrid: instance.vrid.get(),
        frames,
        by_routes: running.way.as_ref().and_then(|way| way.realm).map(Realm::routes),
        key: instance.seal().unwrap_or_default(),
        addresses: addresses.collect(),
        paths: paths.collect(),
        traces: running.traces.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker dies while the first start is still silent.
    #[test]
    fn what_is_left_of_the_startup_delay_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let delay = Duration::from_secs(3600);
        let life = |replaces| Life {
            ledger: Some(Ledger::open(dir.path()).unwrap()),
            replaces,
            ..Life::default()
        };
        assert_eq!(life(true).silent(delay), Duration::ZERO, "nobody was silent before");
        let first = life(false).silent(delay);
        std::thread::sleep(Duration::from_millis(2));
        let rest = life(true).silent(delay);
        assert!(rest < first && rest > delay / 2, "{rest:?} of {first:?}");
        // Another one that crashed again and again.
        life(true).ledger.unwrap().table().set_silent(2 * delay);
        assert_eq!(life(true).silent(delay), 2 * delay);
        // A second start has its own, and no part in a loop that ended long ago.
        let again = life(false).silent(delay);
        assert!(again > rest && again <= delay, "{again:?}");
        assert_eq!(life(false).silent(Duration::ZERO), Duration::ZERO);
    }
}
