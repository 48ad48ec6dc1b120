//! A LAN of engines under a clock that jumps to the next thing that happens.
//!
//! Whatever a test does to the LAN, some rules hold at each step; breaking one panics: see [`rules`].
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub(crate) mod nets;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use self::rules::{Listener, Pairs};
use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Instant, Interval, Priority, Version, Vrid, time};
use vrrp_proto::settings::{Announce, Delays, Tracker};
use vrrp_proto::{
    Advert, Effect, Engine, Event, Health, Input, Link, Outcome, Settings, Slot, StateName,
    TrackerId, VirtualAddress, Why,
};

pub(crate) const SLOT: Slot = Slot(0);

/// The interval of [`settings`].
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

pub(crate) fn at(time: Duration) -> Instant {
    Instant::from_nanos(0) + time
}

pub(crate) fn vip(last: u8) -> VirtualAddress {
    VirtualAddress::new(IpAddr::from([192, 0, 2, last]), 24, "eth0")
}

/// VRRPv3, an advert a second, one address, preempting.
pub(crate) fn settings(priority: u8) -> Settings {
    Settings {
        version: Version::V3,
        family: Family::V4,
        vrid: Vrid::new(51).expect("not zero"),
        priority: Priority::new(priority),
        interval: every(INTERVAL),
        preempt: true,
        preempt_delay: Duration::ZERO,
        addresses: vec![vip(250)],
        elsewhere: Vec::new(),
        excluded: Vec::new(),
        announce: Announce::default(),
        trackers: Vec::new(),
        track_link: true,
        link_delays: Delays::default(),
        form: ChecksumForm::PseudoHeader,
        answer_lower: true,
        advert_on_yield: false,
        down_adverts: time::DOWN_ADVERTS,
        deaf_as_owner: false,
        late_peer: None,
        paths: std::sync::Arc::default(),
    }
}

pub(crate) fn tracker(id: u32, weight: i16) -> Tracker {
    Tracker { id: TrackerId(id), weight, reverse: false, delays: Delays::default() }
}

pub(crate) fn every(interval: Duration) -> Interval {
    Interval::new(interval).expect("an interval")
}

pub(crate) fn advert(from: u8, priority: u8, interval: Duration) -> Advert {
    Advert {
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, from)),
        priority: Priority::new(priority),
        interval: every(interval),
        form: ChecksumForm::PseudoHeader,
        agreement: Agreement::Exact,
        list: 0,
        mac: [2, 0, 0, 0, 0, from],
    }
}

/// One host: an engine, and what it did to the world.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) address: IpAddr,
    pub(crate) settings: Settings,
    pub(crate) alive: bool,
    /// Whether frames come and go.
    pub(crate) link: bool,
    /// What the watched things say, across restarts of the daemon.
    pub(crate) health: BTreeMap<TrackerId, Health>,
    listener: Listener,
    pub(crate) held: BTreeSet<IpAddr>,
    pub(crate) sent: Vec<(Instant, u8)>,
    /// The checksum form of the last advert.
    pub(crate) form: ChecksumForm,
    pub(crate) announced: Vec<(Instant, u32)>,
    pub(crate) redirected: Vec<(Instant, [u8; 6])>,
    pub(crate) events: Vec<(Instant, Event)>,
    /// The kernel refuses addresses.
    pub(crate) refuses: bool,
    /// The kernel sends no adverts.
    pub(crate) silenced: bool,
    /// The last advert did not leave, as far as is known.
    pub(crate) unsent: bool,
}

impl Host {
    pub(crate) fn state(&self) -> StateName {
        self.engine.view(SLOT).map_or(StateName::Initialize, |view| view.state)
    }

    fn states(&self) -> BTreeMap<Slot, StateName> {
        self.engine.views().map(|view| (view.slot, view.state)).collect()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.alive && self.state() == StateName::Active
    }

    /// What the validator leaves of the frames that arrive (RFC 9568 §7.1; RFC 3768 §7.1 for the
    /// interval).
    fn lets_in(&self, frame: &Frame) -> bool {
        let (ours, theirs) = (self.settings.interval, frame.advert.interval);
        let interval = self.settings.version == Version::V3 || ours == theirs;
        self.alive && self.link && self.settings.version == frame.version && interval
    }

    /// The states entered, with their times and reasons.
    pub(crate) fn transitions(&self) -> Vec<(Instant, StateName, Why)> {
        self.events
            .iter()
            .filter_map(|(at, event)| {
                let Event::Transition { to, why, .. } = event else { return None };
                Some((*at, *to, *why))
            })
            .collect()
    }

    /// When and why the last state was entered.
    pub(crate) fn last(&self) -> (Instant, StateName, Why) {
        *self.transitions().last().expect("a transition")
    }
}

/// An advert on its way.
struct Frame {
    to: usize,
    version: Version,
    advert: Advert,
}

/// Hosts 192.0.2.11 and up on one wire.
pub(crate) struct Lan {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) latency: Duration,
    /// Pairs (from, to) that do not hear each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Decides which packet is lost, by its number.
    pub(crate) lose: Box<dyn FnMut(u64) -> bool>,
    wire: BTreeMap<(Instant, u64), Frame>,
    packets: u64,
    /// Since when each two are Active at once, and how long they may be.
    pub(crate) pairs: Pairs,
    /// How long two routers were Active at once, since it was last reset.
    pub(crate) overlap: Duration,
    overlap_since: Option<Instant>,
}

impl Lan {
    /// One host per settings, all with link, at time zero.
    pub(crate) fn of(all: impl IntoIterator<Item = Settings>) -> Self {
        let mut lan = Self {
            now: Instant::from_nanos(0),
            hosts: Vec::new(),
            latency: us(100),
            cut: BTreeSet::new(),
            lose: Box::new(|_| false),
            wire: BTreeMap::new(),
            packets: 0,
            pairs: Pairs::default(),
            overlap: Duration::ZERO,
            overlap_since: None,
        };
        for settings in all {
            lan.join(settings);
        }
        lan
    }

    /// One more host, with link; returns its number.
    pub(crate) fn join(&mut self, settings: Settings) -> usize {
        let n = self.hosts.len();
        self.hosts.push(Host {
            engine: Engine::new(),
            address: IpAddr::from([192, 0, 2, 11 + n as u8]),
            settings,
            alive: false,
            link: true,
            health: BTreeMap::new(),
            listener: Listener::default(),
            held: BTreeSet::new(),
            sent: Vec::new(),
            form: ChecksumForm::PseudoHeader,
            announced: Vec::new(),
            redirected: Vec::new(),
            events: Vec::new(),
            refuses: false,
            silenced: false,
            unsent: false,
        });
        self.start(n);
        n
    }

    /// Starts a host's daemon.
    pub(crate) fn start(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        host.engine = Engine::new();
        host.alive = true;
        host.listener = Listener::default();
        // What a start cleans up.
        host.held.clear();
        let settings = Box::new(host.settings.clone());
        let link = if host.link { Link::Up(host.address) } else { Link::Down(None) };
        for (id, health) in host.health.clone() {
            self.tell(n, Input::Track { id, health });
        }
        self.tell(n, Input::Add { slot: SLOT, settings, hold: Duration::ZERO });
        self.tell(n, Input::Link { slot: SLOT, link });
    }

    /// Kills a host: nothing more comes from it, and it answers nothing.
    pub(crate) fn crash(&mut self, n: usize) {
        self.hosts[n].alive = false;
        self.note_overlap();
    }

    /// Plugs a host in or out.
    pub(crate) fn plug(&mut self, n: usize, up: bool) {
        self.hosts[n].link = up;
        if self.hosts[n].alive {
            let link = if up { Link::Up(self.hosts[n].address) } else { Link::Down(None) };
            self.tell(n, Input::Link { slot: SLOT, link });
        }
    }

    /// Gives a host its settings anew.
    pub(crate) fn reload(&mut self, n: usize) {
        if self.hosts[n].alive {
            let settings = Box::new(self.hosts[n].settings.clone());
            self.tell(n, Input::Change { slot: SLOT, settings });
        }
    }

    pub(crate) fn tell(&mut self, n: usize, input: Input) {
        let now = self.now;
        self.tell_at(n, now, input);
    }

    /// As [`Lan::tell`], with the stamp of an advert that arrived earlier.
    pub(crate) fn tell_at(&mut self, n: usize, stamp: Instant, input: Input) {
        let host = &mut self.hosts[n];
        let due = host.engine.poll_timeout().is_some_and(|at| at < stamp);
        let before = host.states();
        let view = host.engine.view(SLOT);
        if let Input::Advert { slot: SLOT, advert } = &input {
            host.listener.hears(stamp, advert, view.as_ref(), &host.settings);
        } else if let Input::Add { slot: SLOT, settings, .. }
        | Input::Change { slot: SLOT, settings } = &input
        {
            host.listener.reads(stamp, settings);
            host.settings.clone_from(settings);
        } else if let Input::Track { id, health } = &input {
            host.health.insert(*id, *health);
        } else if let Input::Link { link: Link::NoDevice, .. } = &input {
            // What was known of its socket goes with the interface.
            host.unsent = false;
        }
        host.engine.handle(stamp, input);
        let next = host.engine.poll_timeout();
        assert!(due || next.is_none_or(|at| at >= stamp), "host {n} wants to wake at {next:?}");
        self.drain(n, &before);
        self.catch_up(n);
    }

    pub(crate) fn hear(&mut self, n: usize, advert: Advert) {
        self.tell(n, Input::Advert { slot: SLOT, advert });
    }

    pub(crate) fn track(&mut self, n: usize, id: u32, health: Health) {
        let id = TrackerId(id);
        if self.hosts[n].alive {
            self.tell(n, Input::Track { id, health });
        } else {
            self.hosts[n].health.insert(id, health);
        }
    }

    /// Cuts hosts into two camps that do not hear each other.
    pub(crate) fn partition(&mut self, camp: &[usize]) {
        let all = 0..self.hosts.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        self.cut = pairs.filter(|(a, b)| camp.contains(a) != camp.contains(b)).collect();
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub(crate) fn run_until(&mut self, end: Instant) {
        loop {
            let packet = self.wire.first_key_value().map(|((at, _), _)| *at);
            let timers = self.hosts.iter().filter(|host| host.alive);
            let timer = timers.filter_map(|host| host.engine.poll_timeout()).min();
            let Some(next) = packet.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            // Listening comes before a timer is believed.
            if packet == Some(next) {
                let ((at, _), frame) = self.wire.pop_first().expect("a packet");
                if self.hosts[frame.to].lets_in(&frame) {
                    let advert = frame.advert;
                    self.tell_at(frame.to, at, Input::Advert { slot: SLOT, advert });
                }
            } else {
                for n in 0..self.hosts.len() {
                    self.catch_up(n);
                }
            }
        }
        self.now = end;
        self.note_overlap();
    }

    /// The hosts that are Active.
    pub(crate) fn active(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|n| self.hosts[*n].is_active()).collect()
    }

    /// The hosts that hold an address.
    pub(crate) fn holders(&self, address: &VirtualAddress) -> Vec<usize> {
        let holds = |n: &usize| self.hosts[*n].alive && self.hosts[*n].held.contains(&address.ip);
        (0..self.hosts.len()).filter(holds).collect()
    }

    fn catch_up(&mut self, n: usize) {
        while self.hosts[n].alive
            && self.hosts[n].engine.poll_timeout().is_some_and(|at| at <= self.now)
        {
            let before = self.hosts[n].states();
            self.hosts[n].engine.handle_timeout(self.now);
            let next = self.hosts[n].engine.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "host {n} would wake for ever");
            self.drain(n, &before);
        }
    }

    /// Does what the engine asks for, after a call that found its routers in these states.
    fn drain(&mut self, n: usize, before: &BTreeMap<Slot, StateName>) {
        let host = &mut self.hosts[n];
        let view = host.engine.view(SLOT);
        if let Some(view) = &view {
            host.check_priority(view);
        }
        host.listener.follow(self.now, view.as_ref());
        while let Some(transmit) = self.hosts[n].engine.poll_transmit() {
            let host = &mut self.hosts[n];
            host.check_transmit(self.now, before, transmit);
            if host.silenced || host.unsent || transmit.trial {
                host.unsent = host.silenced;
                let (slot, priority, left) = (transmit.slot, transmit.priority, !host.silenced);
                let before = host.states();
                host.engine.handle(self.now, Input::Sent { slot, priority, left });
                if left {
                    self.broadcast(n, priority, transmit.form);
                }
                self.drain(n, &before);
                continue;
            }
            host.sent.push((self.now, transmit.priority.get()));
            host.form = transmit.form;
            self.broadcast(n, transmit.priority, transmit.form);
        }
        while let Some(effect) = self.hosts[n].engine.poll_effect() {
            let before = self.hosts[n].states();
            let answered = self.perform(n, effect);
            if answered {
                self.drain(n, &before);
            }
        }
        let known = self.hosts[n].events.len();
        while let Some(event) = self.hosts[n].engine.poll_event() {
            self.hosts[n].events.push((self.now, event));
        }
        rules::check_takeovers(&self.hosts[n].events[known..]);
        self.note_overlap();
    }

    fn broadcast(&mut self, from: usize, priority: Priority, form: ChecksumForm) {
        for to in 0..self.hosts.len() {
            self.packets += 1;
            let lost = (self.lose)(self.packets) || !self.hosts[from].link;
            if to == from || self.cut.contains(&(from, to)) || lost {
                continue;
            }
            let (sender, hearer) = (&self.hosts[from].settings, &self.hosts[to].settings);
            let same = sender.addresses == hearer.addresses;
            let agreement = if same { Agreement::Exact } else { Agreement::Overlap };
            let advert = Advert {
                source: self.hosts[from].address,
                priority,
                interval: sender.interval,
                form,
                agreement,
                list: agreement.list(|| sender.addresses.len() as u32),
                mac: [2, 0, 0, 0, 0, 11 + from as u8],
            };
            let frame = Frame { to, version: sender.version, advert };
            self.wire.insert((self.now + self.latency, self.packets), frame);
        }
    }

    /// Says whether the engine was told how it went.
    fn perform(&mut self, n: usize, effect: Effect) -> bool {
        let host = &mut self.hosts[n];
        match effect {
            Effect::AddAddresses { slot, addresses } => {
                let outcome = if host.refuses {
                    let error = "no such device".to_owned();
                    Outcome::Failed { address: addresses[0].clone(), error }
                } else {
                    host.held.extend(addresses.iter().map(|address| address.ip));
                    Outcome::Done
                };
                self.hosts[n].engine.handle(self.now, Input::Outcome { slot, outcome });
                return true;
            }
            Effect::AddPaths { .. } | Effect::RemovePaths { .. } => {
                assert!(host.refuses || !host.held.is_empty(), "without their addresses");
            }
            Effect::RemoveAddresses { addresses, .. } => {
                for address in addresses.iter() {
                    host.held.remove(&address.ip);
                }
            }
            Effect::Announce { addresses, repeat, .. } => {
                for address in addresses.iter() {
                    assert!(
                        host.refuses || host.held.contains(&address.ip),
                        "announced before it was there: {address:?}"
                    );
                }
                host.announced.push((self.now, repeat));
            }
            Effect::Redirect { addresses, mac, .. } => {
                for address in addresses.iter() {
                    assert!(!host.held.contains(&address.ip), "still held: {address:?}");
                }
                host.redirected.push((self.now, mac));
            }
        }
        false
    }

    fn note_overlap(&mut self) {
        self.pairs.note(self.now, self.latency, &self.hosts);
        let two = self.active().len() > 1;
        match (two, self.overlap_since) {
            (true, None) => self.overlap_since = Some(self.now),
            (true, Some(since)) => self.overlap = self.overlap.max(self.now.since(since)),
            (false, Some(since)) => {
                self.overlap = self.overlap.max(self.now.since(since));
                self.overlap_since = None;
            }
            (false, None) => {}
        }
    }

    /// Forgets how long two were Active at once; an overlap that lasts counts from now.
    pub(crate) fn reset_overlap(&mut self) {
        self.overlap = Duration::ZERO;
        self.overlap_since = self.overlap_since.map(|_| self.now);
    }
}
