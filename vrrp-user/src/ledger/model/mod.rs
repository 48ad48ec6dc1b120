//! The ledger against a host: killed between any two acts, and the next start too, the last start
//! leaves the addresses and routes of those that go on, and the host's own.
//!
//! The acts are in the order in which the service, protocol and effects threads do them; each has a
//! queue, and who is next is drawn. What a start judges and releases, its own functions judge here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Slot, StateName};

use super::*;
use crate::net::paths::Kept;

mod kills;

const PRIORITY: Priority = Priority::new(100);
/// The address that is the host's own, whoever is configured with it.
const OWN: u8 = 1;
/// From here on numbers are routes, below they are addresses.
const ROUTES: u8 = 6;

/// VRIDs with their addresses and routes.
type Config = BTreeMap<u8, BTreeSet<u8>>;

/// What one of the threads does next.
#[derive(Clone, Debug)]
enum Step {
    /// The service thread reads a new configuration.
    Reload(Config),
    /// It hears that an instance has ended.
    Hear,
    /// The protocol thread obeys an order.
    Obey,
    /// A timer or an advert makes the nth router Active, or keeps it.
    Active(usize),
    /// The nth router is Backup, or in Fault.
    Yield(usize, bool),
    /// The effects thread moves an address or a route.
    Effect,
    /// So many milliseconds pass; many, and all queues are empty by then.
    Pass(u64),
}

/// A process from its start until it is killed, so many acts later.
#[derive(Clone, Debug)]
struct Life {
    /// How many milliseconds after the last one's end, where an interval is a second.
    after: u64,
    config: Config,
    steps: Vec<Step>,
    acts: usize,
}

enum Order {
    Add(Slot, BTreeSet<u8>),
    Change(Slot, BTreeSet<u8>),
    Resume(Slot),
    Remove(Slot),
}

enum Effect {
    Add(Slot, u8),
    Remove(Slot, u8),
    Leftover(u8),
}

#[derive(Debug)]
struct Killed;

struct Running {
    vrid: u8,
    addresses: BTreeSet<u8>,
    ending: bool,
}

struct Router {
    addresses: BTreeSet<u8>,
    active: bool,
}

/// One life's memory.
#[derive(Default)]
struct Process {
    running: BTreeMap<Slot, Running>,
    routers: BTreeMap<Slot, Router>,
    orders: VecDeque<Order>,
    effects: VecDeque<Effect>,
    ended: VecDeque<Slot>,
    claims: BTreeSet<(u8, Slot)>,
    earlier: BTreeMap<u8, Slot>,
    next_slot: u32,
}

/// What outlives a process, and what is known of it without the ledger.
struct World {
    dir: tempfile::TempDir,
    interval: Duration,
    now: Instant,
    /// The addresses on the interface, and its routes.
    host: BTreeSet<u8>,
    /// When the routers that are Active said so last.
    said: BTreeMap<Slot, (u8, Instant)>,
    /// Acts until it is killed.
    acts: usize,
    ledger: Ledger,
    process: Process,
}

impl World {
    fn new(interval: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        Self {
            dir,
            interval,
            now: Instant::from_nanos(1_000_000_000_000),
            host: BTreeSet::from([OWN]),
            said: BTreeMap::new(),
            acts: 0,
            ledger,
            process: Process::default(),
        }
    }

    /// The time from the last life's end to this one's start.
    fn between(&self, life: &Life) -> Duration {
        Duration::from_millis(life.after) * self.interval.as_secs() as u32
    }

    /// Before each act.
    fn act(&mut self) -> Result<(), Killed> {
        self.acts = self.acts.checked_sub(1).ok_or(Killed)?;
        Ok(())
    }

    fn live(&mut self, life: &Life) -> Result<(), Killed> {
        self.acts = life.acts;
        self.start(life)?;
        life.steps.iter().try_for_each(|step| self.step(step))
    }

    /// As `Life::open_ledger`, `Service::apply` and `Service::reconcile`.
    fn start(&mut self, life: &Life) -> Result<(), Killed> {
        self.now = self.now + self.between(life);
        self.process = Process::default();
        self.ledger = Ledger::open(self.dir.path()).unwrap();
        let alive = self.ledger.table().alive();
        let place = |body: &Body| Some(body.vrid).filter(|vrid| life.config.contains_key(vrid));
        let found = release::found(self.ledger.table(), self.now, place, |_| true);
        let stays = staying(&found.on, &life.config);
        self.release(&found.ended, alive, &stays)?;
        for entry in &found.ended {
            self.act()?;
            self.ledger.forget(entry.slot);
            self.said.remove(&Slot(entry.slot));
        }
        for (slot, _) in &found.on {
            self.act()?;
            self.ledger.linger_on(*slot, alive, self.now).unwrap();
        }
        self.act()?;
        self.ledger.table().start(1, self.now);
        self.process.earlier = found.earlier;
        let on: BTreeMap<Slot, Body> = found.on.into_iter().collect();
        let mut left = BTreeSet::new();
        for (vrid, addresses) in &life.config {
            left.extend(self.add(*vrid, addresses, &on, alive)?);
        }
        self.process.effects.extend(left.into_iter().map(Effect::Leftover));
        for slot in on.into_keys() {
            self.note(slot)?;
            self.process.orders.push_back(Order::Resume(slot));
        }
        Ok(())
    }

    /// As `release::release`. `stays`: what is not to go even for a moment.
    fn release(
        &mut self,
        ended: &[Entry],
        alive: Instant,
        stays: &BTreeSet<u8>,
    ) -> Result<(), Killed> {
        let holding: Vec<_> = release::holding(self.ledger.table(), ended, alive).collect();
        let among = holding.iter().map(|(entry, _)| entry.slot).collect();
        let kept = release::held_by_others(self.ledger.table(), &among);
        let kept_paths = release::paths_of_others(self.ledger.table(), &among);
        for (_, body) in &holding {
            for kept in release::paths_not_kept(body, &kept_paths, alive) {
                self.act()?;
                let number = kept.request[0];
                assert!(!stays.contains(&number), "{kept:?} goes though its router goes on");
                self.take_off(number);
            }
            for held in release::not_kept(body, &kept, alive) {
                self.act()?;
                assert!(!stays.contains(&number(held)), "{held:?} goes though its router goes on");
                self.take_off(number(held));
            }
        }
        for (entry, _) in &holding {
            self.act()?;
            self.ledger.table().set_released(entry, true);
            self.said.remove(&Slot(entry.slot));
        }
        Ok(())
    }

    /// As `Service::add`; gives what is to be taken off.
    fn add(
        &mut self,
        vrid: u8,
        addresses: &BTreeSet<u8>,
        on: &BTreeMap<Slot, Body>,
        alive: Instant,
    ) -> Result<Vec<u8>, Killed> {
        let known = self.process.earlier.remove(&vrid);
        let slot = known.unwrap_or_else(|| self.free_slot());
        let body = on.get(&slot);
        let running = Running { vrid, addresses: addresses.clone(), ending: false };
        self.act()?;
        self.ledger.begin(slot, body.is_some());
        self.process.running.insert(slot, running);
        let mut left = Vec::new();
        if let Some(body) = body {
            let ours = body.addresses.iter().filter(|held| !held.own && held.dropped.is_none());
            let claimed = ours.map(number).filter(|number| addresses.contains(number));
            self.process.claims.extend(claimed.map(|number| (number, slot)));
            // Of routes all are claimed, as `Service::add` does.
            let routes = addresses.range(ROUTES..);
            self.process.claims.extend(routes.map(|number| (*number, slot)));
            let routes = release::paths_left(body, alive).map(|kept| kept.request[0]);
            let all = release::left(body, alive).map(number).chain(routes);
            left.extend(all.filter(|number| !addresses.contains(number)));
        } else {
            self.note(slot)?;
        }
        self.process.orders.push_back(Order::Add(slot, addresses.clone()));
        Ok(left)
    }

    fn free_slot(&mut self) -> Slot {
        // The kernel's maps have room for so many.
        let taken = self.process.running.len() + self.process.earlier.len();
        let upto = if taken < 5 { 5 } else { 64 };
        loop {
            let slot = Slot(self.process.next_slot % upto);
            self.process.next_slot += 1;
            let reserved = self.process.earlier.values().any(|earlier| *earlier == slot);
            if !reserved && !self.process.running.contains_key(&slot) {
                return slot;
            }
        }
    }

    fn note(&mut self, slot: Slot) -> Result<(), Killed> {
        self.act()?;
        let running = &self.process.running[&slot];
        let body = body(running.vrid, &running.addresses);
        self.ledger.note(slot, body, self.interval, 3, self.now).unwrap();
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Killed> {
        self.ledger.pulse().heartbeat(self.now, None);
        match step {
            Step::Reload(config) => self.reload(config),
            Step::Hear => self.hear(),
            Step::Obey => self.obey(),
            Step::Active(nth) => self.nth(*nth, true).map_or(Ok(()), |slot| self.activate(slot)),
            Step::Yield(nth, fault) => {
                let state = if *fault { StateName::Fault } else { StateName::Backup };
                self.nth(*nth, false).map_or(Ok(()), |slot| self.give_up(slot, state))
            }
            Step::Effect => self.effect(),
            Step::Pass(millis) => {
                if *millis >= 1000 {
                    self.settle()?;
                }
                self.now = self.now + Duration::from_millis(*millis);
                Ok(())
            }
        }
    }

    fn settle(&mut self) -> Result<(), Killed> {
        while !self.process.orders.is_empty() {
            self.obey()?;
        }
        while !self.process.effects.is_empty() {
            self.effect()?;
        }
        while !self.process.ended.is_empty() {
            self.hear()?;
        }
        Ok(())
    }

    /// As `Service::apply`.
    fn reload(&mut self, config: &Config) -> Result<(), Killed> {
        let staying = self.process.running.iter().filter(|(_, running)| !running.ending);
        let mut old: BTreeMap<u8, Slot> = staying.map(|(slot, r)| (r.vrid, *slot)).collect();
        for (vrid, addresses) in config {
            let Some(slot) = old.remove(vrid) else {
                self.add(*vrid, addresses, &BTreeMap::new(), self.now)?;
                continue;
            };
            let running = self.process.running.get_mut(&slot).unwrap();
            if running.addresses != *addresses {
                running.addresses.clone_from(addresses);
                self.note(slot)?;
                self.process.orders.push_back(Order::Change(slot, addresses.clone()));
            }
        }
        for slot in old.into_values() {
            self.process.running.get_mut(&slot).unwrap().ending = true;
            self.process.orders.push_back(Order::Remove(slot));
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<(), Killed> {
        let Some(slot) = self.process.ended.pop_front() else { return Ok(()) };
        self.process.running.remove(&slot);
        self.act()?;
        self.ledger.end(slot, self.now);
        Ok(())
    }

    /// The nth router that listens, or is Active too.
    fn nth(&self, nth: usize, any: bool) -> Option<Slot> {
        let routers = self.process.routers.iter().filter(|(_, router)| any || router.active);
        let slots: Vec<Slot> = routers.map(|(slot, _)| *slot).collect();
        slots.get(nth % slots.len().max(1)).copied()
    }

    fn obey(&mut self) -> Result<(), Killed> {
        match self.process.orders.pop_front() {
            None => Ok(()),
            Some(Order::Add(slot, addresses)) => {
                self.process.routers.insert(slot, Router { addresses, active: false });
                Ok(())
            }
            Some(Order::Change(slot, addresses)) => self.change(slot, addresses),
            Some(Order::Resume(slot)) => self.activate(slot),
            Some(Order::Remove(slot)) => {
                if self.process.routers[&slot].active {
                    self.say(slot, Priority::RELEASE)?;
                    self.give_up(slot, StateName::Initialize)?;
                }
                self.process.routers.remove(&slot);
                self.process.ended.push_back(slot);
                Ok(())
            }
        }
    }

    fn change(&mut self, slot: Slot, new: BTreeSet<u8>) -> Result<(), Killed> {
        let router = self.process.routers.get_mut(&slot).unwrap();
        let old = std::mem::replace(&mut router.addresses, new.clone());
        if router.active {
            self.say(slot, PRIORITY)?;
            let (gone, more) = (old.difference(&new), new.difference(&old));
            self.process.effects.extend(gone.map(|number| Effect::Remove(slot, *number)));
            self.process.effects.extend(more.map(|number| Effect::Add(slot, *number)));
        }
        Ok(())
    }

    /// As `Protocol::gather`, with what is in the ledger before anything is sent.
    fn say(&mut self, slot: Slot, priority: Priority) -> Result<(), Killed> {
        self.act()?;
        self.ledger.pulse().sending(slot, priority, ChecksumForm::Message, self.now);
        let vrid = self.ledger.table().body(slot.0).unwrap().vrid;
        if priority == Priority::RELEASE {
            self.said.remove(&slot);
        } else {
            self.said.insert(slot, (vrid, self.now));
        }
        Ok(())
    }

    fn activate(&mut self, slot: Slot) -> Result<(), Killed> {
        self.say(slot, PRIORITY)?;
        let router = self.process.routers.get_mut(&slot).unwrap();
        if !std::mem::replace(&mut router.active, true) {
            let all = router.addresses.iter().map(|number| Effect::Add(slot, *number));
            self.process.effects.extend(all);
            self.state(slot, StateName::Active)?;
        }
        Ok(())
    }

    fn give_up(&mut self, slot: Slot, state: StateName) -> Result<(), Killed> {
        let router = self.process.routers.get_mut(&slot).unwrap();
        router.active = false;
        let all = router.addresses.iter().map(|number| Effect::Remove(slot, *number));
        self.process.effects.extend(all);
        self.state(slot, state)
    }

    fn state(&mut self, slot: Slot, state: StateName) -> Result<(), Killed> {
        self.act()?;
        self.ledger.pulse().state(slot, state, PRIORITY, self.now);
        if state != StateName::Active {
            self.said.remove(&slot);
        }
        Ok(())
    }

    /// As the effects thread moves addresses, by claims.
    fn effect(&mut self) -> Result<(), Killed> {
        let Some(effect) = self.process.effects.pop_front() else { return Ok(()) };
        self.act()?;
        let claims = &mut self.process.claims;
        let off = match effect {
            Effect::Add(slot, number) => {
                claims.insert((number, slot));
                self.host.insert(number);
                return Ok(());
            }
            Effect::Remove(slot, number) => claims.remove(&(number, slot)).then_some(number),
            Effect::Leftover(number) => Some(number),
        };
        let held = |number| claims.iter().any(|(held, _)| *held == number);
        // The effects thread is told which are the host's own.
        if let Some(number) = off.filter(|number| *number != OWN && !held(*number)) {
            self.take_off(number);
        }
        Ok(())
    }

    fn take_off(&mut self, number: u8) {
        assert_ne!(number, OWN, "the host's own");
        self.host.remove(&number);
    }

    /// What a start with this configuration is to leave there.
    fn right(&self, last: &Life) -> BTreeSet<u8> {
        let now = self.now + self.between(last);
        let on = self.said.values().filter(|(_, at)| now < *at + 3 * self.interval);
        let held = on.filter_map(|(vrid, _)| last.config.get(vrid)).flatten();
        held.copied().chain([OWN]).collect()
    }
}

fn body(vrid: u8, addresses: &BTreeSet<u8>) -> Body {
    let held = |number: &u8| Held {
        ip: IpAddr::from([192, 0, 2, *number]),
        prefix: 24,
        peer: None,
        device: "eth0".to_owned(),
        ifindex: 0,
        own: *number == OWN,
        dropped: None,
    };
    Body {
        name: format!("VI_{vrid}"),
        interface: "eth0".to_owned(),
        ifindex: 2,
        family: 4,
        vrid,
        frames: [vec![vec![1; 50]], vec![vec![2; 50]]],
        key: [0; 8],
        addresses: addresses.range(..ROUTES).map(held).collect(),
        paths: addresses.range(ROUTES..).map(|number| route(*number)).collect(),
        ..Body::default()
    }
}

fn route(number: u8) -> HeldPath {
    let kept = Kept { request: vec![number], text: format!("route {number}") };
    HeldPath { kept, dropped: None }
}

/// What routers hold that go on, and are to hold.
fn staying(on: &[(Slot, Body)], config: &Config) -> BTreeSet<u8> {
    let held = on.iter().flat_map(|(_, body)| {
        let held = body.addresses.iter().filter(|held| held.dropped.is_none()).map(number);
        let routes = body.paths.iter().filter(|held| held.dropped.is_none());
        held.chain(routes.map(|held| held.kept.request[0]))
            .filter(|number| config.get(&body.vrid).is_some_and(|all| all.contains(number)))
    });
    held.collect()
}

fn number(held: &Held) -> u8 {
    match held.ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("none is made here"),
    }
}
