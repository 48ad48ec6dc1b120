//! Hosts with a router on each of several networks, all of a host in one group, under a clock that jumps to
//! the next thing that happens.
//!
//! Whatever a test does, no host ever has a part of its group Active and the rest not, unless it allows it,
//! and no call of an engine changes a router's state twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::Instant;
use vrrp_common::check::Agreement;
use vrrp_proto::paths::{Network, Route};
use vrrp_proto::{
    Advert, Effect, Engine, Event, GroupId, Input, Link, Outcome, Paths, Settings, Slot, StateName,
    Transmit, VirtualAddress, Why,
};

use super::{ms, vip};

pub(crate) const GROUP: GroupId = GroupId(7);

/// One host: its engine, and what it did to the world.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) settings: Vec<Settings>,
    pub(crate) up: Vec<bool>,
    pub(crate) alive: bool,
    /// Which networks its group is of; none: it has no group.
    pub(crate) grouped: Vec<usize>,
    /// The kernel sends nothing on these networks.
    pub(crate) silenced: BTreeSet<usize>,
    /// Nobody says what became of adverts on these.
    pub(crate) untold: BTreeSet<usize>,
    /// Where the last advert did not leave.
    unsent: BTreeSet<usize>,
    pub(crate) held: BTreeSet<IpAddr>,
    /// The networks whose route is set.
    pub(crate) routed: BTreeSet<usize>,
    pub(crate) sent: Vec<(Instant, usize, u8)>,
    pub(crate) redirected: Vec<(Instant, usize, [u8; 6])>,
    pub(crate) events: Vec<(Instant, Event)>,
}

impl Node {
    pub(crate) fn state(&self, net: usize) -> StateName {
        self.engine.view(slot(net)).map_or(StateName::Initialize, |view| view.state)
    }

    pub(crate) fn states(&self) -> Vec<StateName> {
        (0..self.settings.len()).map(|net| self.state(net)).collect()
    }

    /// The states its group entered.
    pub(crate) fn group_states(&self) -> Vec<StateName> {
        let entered = self.events.iter().filter_map(|(_, event)| {
            let Event::Group { to, .. } = event else { return None };
            Some(*to)
        });
        entered.collect()
    }

    /// The states entered on a network, and why.
    pub(crate) fn entered(&self, net: usize) -> Vec<(Instant, StateName, Why)> {
        let entered = self.events.iter().filter_map(|(at, event)| {
            let Event::Transition { slot: of, to, why, .. } = event else { return None };
            (*of == slot(net)).then_some((*at, *to, *why))
        });
        entered.collect()
    }

    /// What it sent at this time: networks and priorities.
    pub(crate) fn sent_at(&self, when: Instant) -> Vec<(usize, u8)> {
        let sent = self.sent.iter().filter(|(at, ..)| *at == when);
        sent.map(|(_, net, priority)| (*net, *priority)).collect()
    }
}

pub(crate) const fn slot(net: usize) -> Slot {
    Slot(net as u32)
}

/// The address of a router on one network.
pub(crate) fn address(net: usize) -> VirtualAddress {
    let mut address = vip(250);
    address.ip = IpAddr::from([192, 0, 2 + net as u8, 250]);
    address
}

/// A network's settings, with an address and a route of its own.
pub(crate) fn member(net: usize, priority: u8) -> Settings {
    let route = Route::to(Network { ip: [10, net as u8, 0, 0].into(), length: 16 });
    let paths = Arc::new(Paths { routes: vec![route], rules: Vec::new() });
    Settings { addresses: vec![address(net)], paths, ..super::settings(priority) }
}

pub(crate) struct Nets {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Node>,
    pub(crate) latency: Duration,
    /// Network, from, to: what is not heard.
    pub(crate) cut: BTreeSet<(usize, usize, usize)>,
    /// A member may join an Active group, and need not be Active yet.
    pub(crate) joining: bool,
    wire: BTreeMap<(Instant, u64), (usize, usize, Advert)>,
    frames: u64,
}

impl Nets {
    /// One host for each list of priorities, which has one for each network; all with link.
    pub(crate) fn of(all: &[&[u8]]) -> Self {
        let settings = all.iter().map(|priorities| {
            priorities.iter().enumerate().map(|(net, priority)| member(net, *priority)).collect()
        });
        Self::with(settings)
    }

    pub(crate) fn with(all: impl IntoIterator<Item = Vec<Settings>>) -> Self {
        let mut nets = Self {
            now: Instant::from_nanos(0),
            hosts: Vec::new(),
            latency: Duration::from_micros(100),
            cut: BTreeSet::new(),
            joining: false,
            wire: BTreeMap::new(),
            frames: 0,
        };
        for settings in all {
            nets.hosts.push(Node {
                engine: Engine::new(),
                up: vec![true; settings.len()],
                grouped: (0..settings.len()).collect(),
                settings,
                alive: false,
                silenced: BTreeSet::new(),
                untold: BTreeSet::new(),
                unsent: BTreeSet::new(),
                held: BTreeSet::new(),
                routed: BTreeSet::new(),
                sent: Vec::new(),
                redirected: Vec::new(),
                events: Vec::new(),
            });
            nets.start(nets.hosts.len() - 1);
        }
        nets
    }

    /// Starts a host's daemon.
    pub(crate) fn start(&mut self, n: usize) {
        self.begin(n, &BTreeMap::new());
    }

    /// Starts it in the place of a dead one, which was Active on these networks, until then.
    pub(crate) fn begin(&mut self, n: usize, resumes: &BTreeMap<usize, Instant>) {
        let host = &mut self.hosts[n];
        host.engine = Engine::new();
        host.alive = true;
        if resumes.is_empty() {
            host.held.clear();
        }
        // What others had was taken off.
        host.routed.retain(|net| resumes.contains_key(net));
        for (net, settings) in self.hosts[n].settings.clone().into_iter().enumerate() {
            let (priority, form) = (settings.priority, settings.form);
            self.tell(n, Input::Add { slot: slot(net), settings: Box::new(settings), hold: ms(0) });
            if let Some(until) = resumes.get(&net).copied() {
                self.tell(n, Input::Resume { slot: slot(net), until, priority, form });
            }
        }
        self.regroup(n);
        for net in 0..self.hosts[n].settings.len() {
            self.tell_link(n, net);
        }
    }

    pub(crate) fn crash(&mut self, n: usize) {
        self.hosts[n].alive = false;
    }

    /// Has the group of a host be what [`Node::grouped`] says.
    pub(crate) fn regroup(&mut self, n: usize) {
        let members = self.hosts[n].grouped.iter().map(|net| slot(*net)).collect();
        self.tell(n, Input::Groups { groups: vec![(GROUP, members)] });
    }

    /// One more network for a host, of its group; its link is not told yet.
    pub(crate) fn add(&mut self, n: usize, priority: u8) -> usize {
        let net = self.hosts[n].settings.len();
        let settings = member(net, priority);
        let host = &mut self.hosts[n];
        host.settings.push(settings.clone());
        host.up.push(true);
        host.grouped.push(net);
        if host.alive {
            self.tell(n, Input::Add { slot: slot(net), settings: Box::new(settings), hold: ms(0) });
            self.regroup(n);
        }
        net
    }

    pub(crate) fn plug(&mut self, n: usize, net: usize, up: bool) {
        self.hosts[n].up[net] = up;
        if self.hosts[n].alive {
            self.tell_link(n, net);
        }
    }

    pub(crate) fn tell_link(&mut self, n: usize, net: usize) {
        let link = if self.hosts[n].up[net] { Link::Up(source(n, net)) } else { Link::Down(None) };
        self.tell(n, Input::Link { slot: slot(net), link });
    }

    /// Gives a host's router on a network its settings anew.
    pub(crate) fn reload(&mut self, n: usize, net: usize) {
        if self.hosts[n].alive {
            let settings = Box::new(self.hosts[n].settings[net].clone());
            self.tell(n, Input::Change { slot: slot(net), settings });
        }
    }

    /// Cuts a network between two hosts, both ways.
    pub(crate) fn cut(&mut self, net: usize, a: usize, b: usize) {
        self.cut.extend([(net, a, b), (net, b, a)]);
    }

    /// The hosts that are Active on a network.
    pub(crate) fn active(&self, net: usize) -> Vec<usize> {
        let is_active =
            |n: &usize| self.hosts[*n].alive && self.hosts[*n].state(net) == StateName::Active;
        (0..self.hosts.len()).filter(is_active).collect()
    }

    pub(crate) fn tell(&mut self, n: usize, input: Input) {
        let now = self.now;
        self.hosts[n].engine.handle(now, input);
        self.drain(n);
        self.catch_up(n);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let frame = self.wire.first_key_value().map(|((at, _), _)| *at);
            let alive = self.hosts.iter().filter(|host| host.alive);
            let timer = alive.filter_map(|host| host.engine.poll_timeout()).min();
            let Some(next) = frame.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            // Listening comes before a timer is believed.
            if frame == Some(next) {
                let (_, (to, net, advert)) = self.wire.pop_first().expect("a frame");
                if self.hosts[to].alive && self.hosts[to].up.get(net) == Some(&true) {
                    self.tell(to, Input::Advert { slot: slot(net), advert });
                }
            } else {
                for n in 0..self.hosts.len() {
                    self.catch_up(n);
                }
            }
        }
        self.now = end;
    }

    /// How many changes of state there were, on all hosts.
    pub(crate) fn changes(&self) -> usize {
        let is_change = |event: &&(Instant, Event)| matches!(event.1, Event::Transition { .. });
        self.hosts.iter().map(|host| host.events.iter().filter(is_change).count()).sum()
    }

    fn catch_up(&mut self, n: usize) {
        let due = |host: &Node, now| host.engine.poll_timeout().is_some_and(|at| at <= now);
        while self.hosts[n].alive && due(&self.hosts[n], self.now) {
            self.hosts[n].engine.handle_timeout(self.now);
            let next = self.hosts[n].engine.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "host {n} would wake for ever");
            self.drain(n);
        }
    }

    /// Does what the engine asks for, and looks whether its group is whole.
    fn drain(&mut self, n: usize) {
        self.check(n);
        let mut news = Vec::new();
        while let Some(transmit) = self.hosts[n].engine.poll_transmit() {
            news.extend(self.send(n, transmit));
        }
        while let Some(effect) = self.hosts[n].engine.poll_effect() {
            news.extend(self.perform(n, effect));
        }
        let mut changed = BTreeSet::new();
        while let Some(event) = self.hosts[n].engine.poll_event() {
            if let Event::Transition { slot, .. } = event {
                assert!(changed.insert(slot), "host {n}, {slot:?}: two changes in one call");
            }
            if let Event::TookOver { due, .. } = event {
                // The clock is never late, and the time of a group is that of its last member.
                assert!(self.joining || due == self.now, "due at {due:?} and now {:?}", self.now);
            }
            self.hosts[n].events.push((self.now, event));
        }
        while self.hosts[n].engine.poll_watch().is_some() {}
        for input in news {
            self.hosts[n].engine.handle(self.now, input);
            self.drain(n);
        }
        let host = &self.hosts[n];
        for net in 0..host.settings.len() {
            let (state, routed) = (host.state(net), host.routed.contains(&net));
            // One that begins may have what an earlier life left.
            let right = state == StateName::Initialize || routed == (state == StateName::Active);
            assert!(right, "host {n}: {state:?} on {net}, routes of {:?}", host.routed);
        }
    }

    fn check(&self, n: usize) {
        let host = &self.hosts[n];
        let states: Vec<StateName> = host.grouped.iter().map(|net| host.state(*net)).collect();
        let active = states.iter().filter(|state| **state == StateName::Active).count();
        let fault = states.iter().filter(|state| **state == StateName::Fault).count();
        let whole = |count: usize| count == 0 || count == states.len();
        assert!(self.joining || whole(active), "host {n} at {:?}: {states:?}", self.now);
        // A group of which nothing was told yet has no fault to share.
        let known = states.iter().all(|state| *state != StateName::Initialize);
        assert!(self.joining || !known || whole(fault), "host {n} at {:?}: {states:?}", self.now);
    }

    fn send(&mut self, from: usize, transmit: Transmit) -> Option<Input> {
        let Transmit { slot: Slot(number), priority, form, trial } = transmit;
        let net = number as usize;
        let host = &mut self.hosts[from];
        if host.silenced.contains(&net) {
            host.unsent.insert(net);
            return Some(Input::Sent { slot: transmit.slot, priority, left: false });
        }
        let news = host.unsent.remove(&net) || trial;
        host.sent.push((self.now, net, priority.get()));
        let interval = host.settings[net].interval;
        let up = host.up[net];
        for to in 0..self.hosts.len() {
            self.frames += 1;
            if to == from || !up || self.cut.contains(&(net, from, to)) {
                continue;
            }
            let advert = Advert {
                source: source(from, net),
                priority,
                interval,
                form,
                agreement: Agreement::Exact,
                list: 0,
                mac: mac(from, net),
            };
            self.wire.insert((self.now + self.latency, self.frames), (to, net, advert));
        }
        (news && !self.hosts[from].untold.contains(&net)).then_some(Input::Sent {
            slot: transmit.slot,
            priority,
            left: true,
        })
    }

    fn perform(&mut self, n: usize, effect: Effect) -> Option<Input> {
        let now = self.now;
        let host = &mut self.hosts[n];
        match effect {
            Effect::AddAddresses { slot, addresses } => {
                host.held.extend(addresses.iter().map(|address| address.ip));
                return Some(Input::Outcome { slot, outcome: Outcome::Done });
            }
            Effect::RemoveAddresses { addresses, .. } => {
                addresses.iter().for_each(|address| {
                    host.held.remove(&address.ip);
                });
            }
            // Behind the addresses, and off before them.
            Effect::AddPaths { slot: Slot(number), paths } => {
                let net = number as usize;
                assert!(host.held.contains(&address(net).ip) && paths == host.settings[net].paths);
                host.routed.insert(net);
            }
            Effect::RemovePaths { slot: Slot(number), .. } => {
                let net = number as usize;
                assert!(host.held.contains(&address(net).ip));
                host.routed.remove(&net);
            }
            Effect::Announce { slot: Slot(number), addresses, .. } => {
                assert!(addresses.iter().all(|address| host.held.contains(&address.ip)));
                assert!(host.routed.contains(&(number as usize)), "announced before its route");
            }
            Effect::Redirect { slot: Slot(net), addresses, mac, .. } => {
                assert!(addresses.iter().all(|address| !host.held.contains(&address.ip)));
                host.redirected.push((now, net as usize, mac));
            }
        }
        None
    }
}

pub(crate) fn source(n: usize, net: usize) -> IpAddr {
    IpAddr::from([192, 0, 2 + net as u8, 11 + n as u8])
}

pub(crate) fn mac(n: usize, net: usize) -> [u8; 6] {
    [2, 0, 0, 0, net as u8, 11 + n as u8]
}
