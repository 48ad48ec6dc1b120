//! The service thread: everything that may wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use vrrp_common::{Instant, Reject, abi, time};
use vrrp_proto::{Effect, Event, Health, Input, Link, Settings, Slot, StateName, TrackerId};

use super::plan::{self, Place, Watched};
use super::ports::Ports;
use super::protocol::{self, Inspection, Notice, Order, Parts};
use super::repeats::{Repeats, Say};
use super::{Options, RunError, clock, host, refusals, words};
use crate::config::model::{Config, Datapath, Instance};
use crate::config::{self, Loaded};
use crate::control::{self, Asked, Request};
use crate::fastpath::FastPath;
use crate::net::Snapshot;
use crate::net::executor::{self, Executor};
use crate::net::leftover::{self, Wanted};
use crate::net::monitor::{Change, Monitor};
use crate::net::routes;
use crate::notify::{Kind, Notifier, Word};
use crate::run_dir::RunDir;
use crate::track::script;
use crate::track::{Policy, ScriptReport, Scripts};
use crate::transmit::{Mac, Sender};

/// How long the protocol thread and the address work get at the end. With the notify commands' share
/// the daemon is gone within a second.
const STOP: Duration = Duration::from_millis(300);
const LAST_NOTIFY: Duration = Duration::from_millis(350);

/// One instance at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) instance: Instance,
    pub(super) settings: Settings,
    pub(super) state: StateName,
    pub(super) last_refused: Option<LastRefused>,
    /// What the protocol thread and the kernel were told.
    route: Option<(u32, Mac, IpAddr)>,
    link: Option<Link>,
}

/// The last refused advert of an instance.
#[derive(Clone, Debug)]
pub(super) struct LastRefused {
    pub(super) at: Instant,
    pub(super) reason: Reject,
    pub(super) source: IpAddr,
    pub(super) detail: String,
}

/// The numbers of what is watched.
#[derive(Debug, Default)]
pub(super) struct Trackers {
    names: Vec<(bool, String)>,
}

impl Trackers {
    fn id(&mut self, watched: Watched<'_>) -> TrackerId {
        let (script, name) = match watched {
            Watched::Script(name) => (true, name),
            Watched::Interface(name) => (false, name),
        };
        let known = self.names.iter().position(|(s, n)| *s == script && n == name);
        let at = known.unwrap_or_else(|| {
            self.names.push((script, name.to_owned()));
            self.names.len() - 1
        });
        TrackerId(at as u32)
    }

    pub(super) fn name(&self, id: TrackerId) -> String {
        match self.names.get(id.0 as usize) {
            Some((true, name)) => format!("script {name}"),
            Some((false, name)) => format!("interface {name}"),
            None => "something unknown".to_owned(),
        }
    }

    fn interfaces(&self) -> impl Iterator<Item = (TrackerId, &str)> {
        let all = self.names.iter().enumerate();
        all.filter(|(_, (script, _))| !script)
            .map(|(at, (_, name))| (TrackerId(at as u32), name.as_str()))
    }
}

pub(super) struct Service {
    pub(super) options: Options,
    pub(super) config: Config,
    pub(super) started: Instant,
    pub(super) running: BTreeMap<Slot, Running>,
    pub(super) host: Snapshot,
    pub(super) ports: Ports,
    pub(super) fast: Option<FastPath>,
    pub(super) scripts: Scripts,
    pub(super) trackers: Trackers,
    notifier: Notifier,
    repeats: Repeats,
    orders: UnboundedSender<Order>,
    /// What each watched interface was last said to be.
    watched: BTreeMap<TrackerId, Health>,
    next_slot: u32,
}

/// The ends of the channels that the loop listens to.
struct Ears {
    notices: UnboundedReceiver<Notice>,
    changes: UnboundedReceiver<Change>,
    reports: UnboundedReceiver<ScriptReport>,
    asked: UnboundedReceiver<Asked>,
    signals: Signals,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// What ends the loop.
enum End {
    Signal(&'static str),
    Broken(String),
}

/// Starts, runs and stops.
pub(super) async fn run(options: Options) -> Result<(), RunError> {
    let signals = Signals::take().map_err(RunError::from_io("signals"))?;
    let config = read_config(&options)?;
    let run_dir = RunDir::take(&options.run_dir)?;
    let (host, changes) =
        Monitor::start(Monitor::RECEIVE_BUFFER).map_err(RunError::from_io("netlink"))?;
    let (orders, orders_end) = unbounded_channel();
    let (notices_start, notices) = unbounded_channel();
    let (reports_start, reports) = unbounded_channel();
    let (asked_start, asked) = unbounded_channel();

    let outcomes = orders.clone();
    let pace = executor::Config {
        garp_interval: config.global.garp_interval,
        gna_interval: config.global.gna_interval,
    };
    let executor = Executor::spawn(pace, move |slot, outcome| {
        // At the very end nobody wants to know any more.
        let _ = outcomes.send(Order::Input(Input::Outcome { slot, outcome }));
    })
    .map_err(RunError::from_io("netlink and packet sockets"))?;
    let executor = Arc::new(executor);
    clear_leftovers(&config, &host, &executor);

    let want = options.datapath.or(config.global.datapath).unwrap_or_default();
    let mut fast = load_fast_path(want);
    let sender = Sender::open().map_err(RunError::from_io("packet socket"))?;
    let parts = Parts {
        orders: orders_end,
        notices: notices_start,
        ring: fast.as_mut().and_then(FastPath::ring),
        sender,
        executor: Arc::clone(&executor),
    };
    let thread = std::thread::Builder::new()
        .name("xvrrp-protocol".to_owned())
        .spawn(move || protocol::run(parts))
        .map_err(RunError::from_io("protocol thread"))?;

    control::serve(&run_dir.socket(), asked_start).map_err(RunError::from_io("control socket"))?;
    let policy = Policy::of(&config.global);
    let mut service = Service {
        started: clock::now(),
        running: BTreeMap::new(),
        host,
        ports: Ports::new(want, orders.clone()),
        fast,
        scripts: Scripts::new(reports_start),
        trackers: Trackers::default(),
        notifier: Notifier::new(policy),
        repeats: Repeats::default(),
        orders,
        watched: BTreeMap::new(),
        next_slot: 0,
        config: config.clone(),
        options,
    };
    service.apply(config, true);
    let mut ears = Ears { notices, changes, reports, asked, signals };
    let end = service.turn(&mut ears).await;
    service.stop(end, thread, &executor, &mut ears).await
}

/// Reads the file for a start; whatever is wrong with it is logged.
fn read_config(options: &Options) -> Result<Config, RunError> {
    let loaded =
        config::load(&options.config).map_err(|error| RunError::NoConfig(error.to_string()))?;
    log_diagnostics(&loaded);
    let config = loaded.startable().map_err(|refusal| RunError::Config(refusal.to_string()))?;
    for refused in &config.refused {
        error!("({}) is not run: {}", refused.name, refused.reason);
    }
    Ok(config.clone())
}

fn log_diagnostics(loaded: &Loaded) {
    for line in loaded.log_lines() {
        warn!("{line}");
    }
}

fn load_fast_path(want: Datapath) -> Option<FastPath> {
    if want == Datapath::Socket {
        return None;
    }
    FastPath::load(abi::MAX_SLOTS)
        .inspect_err(|error| warn!("no kernel program, adverts come through sockets: {error}"))
        .ok()
}

/// Takes addresses off that an earlier life left, and learns which are the host's own.
fn clear_leftovers(config: &Config, host: &Snapshot, executor: &Executor) {
    let wanted: Vec<Wanted<'_>> = config
        .instances
        .iter()
        .flat_map(|instance| {
            let at_once = instance.priority.is_owner();
            let held = instance.addresses.iter().chain(&instance.excluded);
            held.map(move |address| Wanted { address, at_once })
        })
        .collect();
    let found = leftover::judge(host, &wanted, || {
        let mut sources = routes::sources(host)
            .inspect_err(|error| warn!("The host's routes can't be read: {error}"))
            .unwrap_or_default();
        sources.extend(config.instances.iter().filter_map(|instance| instance.source));
        sources
    });
    executor.protect(leftover::own(&found));
    let removed: Arc<[_]> =
        found.iter().filter(|found| found.remove).map(leftover::Found::to_virtual).collect();
    for one in &found {
        warn!("{one}");
    }
    if !removed.is_empty() {
        // No slot has anything to announce yet.
        executor.send(Effect::RemoveAddresses { slot: Slot(0), addresses: removed });
    }
}

impl Service {
    async fn turn(&mut self, ears: &mut Ears) -> End {
        loop {
            tokio::select! {
                Some(notice) = ears.notices.recv() => {
                    if let Some(end) = self.noticed(notice).await {
                        return end;
                    }
                }
                Some(change) = ears.changes.recv() => self.host_changed(&change),
                Some(report) = ears.reports.recv() => self.script_reported(&report),
                Some(asked) = ears.asked.recv() => self.answer(asked).await,
                _ = ears.signals.hangup.recv() => self.reload(),
                _ = ears.signals.terminate.recv() => return End::Signal("SIGTERM"),
                _ = ears.signals.interrupt.recv() => return End::Signal("SIGINT"),
                _ = ears.signals.user1.recv() => info!("SIGUSR1: ask `xvrrp status` instead"),
                _ = ears.signals.user2.recv() => info!("SIGUSR2: ask `xvrrp status` instead"),
            }
        }
    }

    /// Makes a configuration the one in use: start and reload alike.
    fn apply(&mut self, config: Config, starting: bool) {
        let policy = Policy::of(&config.global);
        self.notifier.set_policy(policy.clone());
        let mut old: BTreeMap<Place, Slot> =
            self.running.iter().map(|(slot, r)| (Place::of(&r.instance), *slot)).collect();
        let hold = if starting { config.global.startup_delay } else { Duration::ZERO };
        for instance in &config.instances {
            match old.remove(&Place::of(instance)) {
                Some(slot) => self.change(slot, instance),
                None => self.add(instance, hold),
            }
        }
        for slot in old.into_values() {
            self.remove(slot);
        }
        self.scripts.apply(script::tracked(&config), &policy);
        self.config = config;
        self.reconcile();
    }

    fn add(&mut self, instance: &Instance, hold: Duration) {
        let slot = self.free_slot();
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        info!("{}", introduce(instance));
        let running = Running {
            instance: instance.clone(),
            settings: settings.clone(),
            state: StateName::Initialize,
            last_refused: None,
            route: None,
            link: None,
        };
        self.running.insert(slot, running);
        self.tell(Input::Add { slot, settings: Box::new(settings), hold });
    }

    fn change(&mut self, slot: Slot, instance: &Instance) {
        let settings = plan::settings(instance, |watched| self.trackers.id(watched));
        let Some(running) = self.running.get_mut(&slot) else { return };
        // Where it was written may have moved without a change of meaning.
        let same = running.settings == settings
            && (running.instance.source, running.instance.password)
                == (instance.source, instance.password);
        running.instance = instance.clone();
        if same {
            return;
        }
        info!("({}) changed by reload", instance.name);
        running.settings = settings.clone();
        running.route = None;
        self.repeats.forget(slot.0);
        self.tell(Input::Change { slot, settings: Box::new(settings) });
    }

    fn remove(&mut self, slot: Slot) {
        // The instance stays known until the engine has ended it: its last words need its name.
        self.tell(Input::Remove { slot });
    }

    fn free_slot(&mut self) -> Slot {
        loop {
            let slot = Slot(self.next_slot % abi::MAX_SLOTS);
            self.next_slot += 1;
            if !self.running.contains_key(&slot) {
                return slot;
            }
        }
    }

    /// Brings what the kernel, the sockets and the engine know in line with the host as it is: the one
    /// route for start, reload, and an interface that comes, goes or changes.
    fn reconcile(&mut self) {
        let mut wanted: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
        let mut vips = BTreeSet::new();
        for running in self.running.values() {
            let instance = &running.instance;
            wanted.entry(instance.interface.clone()).or_default().insert(instance.vrid.get());
            vips.extend(running.settings.held().map(|address| address.ip));
        }
        self.ports.apply(&wanted, &self.host, &mut self.fast);
        let slots: Vec<Slot> = self.running.keys().copied().collect();
        for slot in slots {
            self.reconcile_one(slot, &vips);
        }
        self.watch_interfaces();
    }

    fn reconcile_one(&mut self, slot: Slot, vips: &BTreeSet<IpAddr>) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let interface = self.host.by_name(&running.instance.interface);
        let source = running
            .instance
            .source
            .or_else(|| interface.and_then(|interface| interface.primary_v4(vips)).map(IpAddr::V4));
        let link = match (interface, source) {
            (Some(interface), Some(source)) if host::is_up(interface) => Link::Up(source),
            (Some(interface), None) if host::is_up(interface) => Link::NoSource,
            (Some(_) | None, _) => Link::Down,
        };
        let route = match (interface, source) {
            (Some(interface), Some(source)) => {
                interface.mac.map(|mac| (interface.ifindex, mac, source))
            }
            (Some(_) | None, _) => None,
        };
        // While an interface is down its address may be gone for a moment; the old route does no harm.
        if route != running.route && (route.is_some() || interface.is_none()) {
            running.route = route;
            set_route(slot, running, &mut self.fast, &self.orders);
        }
        if running.link != Some(link) {
            running.link = Some(link);
            self.tell(Input::Link { slot, link });
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

    fn host_changed(&mut self, change: &Change) {
        if let Change::Link(interface) = change {
            let before = self.host.by_name(&interface.name).map(host::is_up);
            let now = host::is_up(interface);
            if before.is_some_and(|before| before != now) && self.concerns(&interface.name) {
                info!("Netlink reports {} {}", interface.name, if now { "up" } else { "down" });
            }
        }
        for (slot, running) in &self.running {
            for address in host::lost(change, running) {
                self.tell(Input::AddressLost { slot: *slot, address: address.clone() });
            }
        }
        self.host.follow(change);
        self.reconcile();
    }

    fn concerns(&self, interface: &str) -> bool {
        self.running.values().any(|running| running.instance.interface == interface)
            || self.trackers.interfaces().any(|(_, name)| name == interface)
    }

    fn script_reported(&mut self, report: &ScriptReport) {
        let id = self.trackers.id(Watched::Script(&report.name));
        self.tell(Input::Track { id, health: report.health });
    }

    async fn noticed(&mut self, notice: Notice) -> Option<End> {
        match notice {
            Notice::Event(now, event) => self.happened(now, &event),
            Notice::Record(record) => self.recorded(&record).await,
            Notice::SendFailed(slot, error) => {
                warn!("({}) advert can't be sent: {error}", self.name(slot));
            }
            Notice::SendWorks(slot) => info!("({}) adverts leave again", self.name(slot)),
            Notice::Broken(why) => return Some(End::Broken(why)),
        }
        None
    }

    fn happened(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Transition { slot, to, from, priority, .. } => {
                self.log(*slot, event);
                let Some(running) = self.running.get_mut(slot) else { return };
                running.state = *to;
                let word = match (from, to) {
                    (_, StateName::Active) => Word::Master,
                    (_, StateName::Backup) => Word::Backup,
                    (_, StateName::Fault) => Word::Fault,
                    (_, StateName::Initialize) => Word::Stop,
                };
                let instance = &running.instance;
                let notify = &instance.notify;
                self.notifier.push(Kind::Instance, &instance.name, word, *priority, notify);
            }
            Event::LowerAdvert { slot, from, theirs, .. } => {
                let cause = format!("lower {from} {theirs}");
                if self.repeats.note(now, slot.0, &cause, 1) != Say::Nothing {
                    self.log(*slot, event);
                }
            }
            Event::AddressRestored { slot, address } => {
                let cause = format!("restored {}", address.ip);
                if self.repeats.note(now, slot.0, &cause, 1) != Say::Nothing {
                    self.log(*slot, event);
                }
            }
            Event::PriorityChanged { slot, .. }
            | Event::Following { slot, .. }
            | Event::PriorityZero { slot, .. }
            | Event::PreemptDelayed { slot, .. }
            | Event::AddressFailed { slot, .. } => self.log(*slot, event),
            Event::Ended { slot } => self.ended(*slot),
        }
    }

    fn ended(&mut self, slot: Slot) {
        if let Some(running) = self.running.remove(&slot) {
            if let (Some(fast), Some((ifindex, _, _))) = (&mut self.fast, running.route) {
                let instance = &running.instance;
                let key = abi::RouterKey::new(ifindex, instance.family, instance.vrid.get());
                fast.remove_router(key);
            }
            self.repeats.forget(slot.0);
            let _ = self.orders.send(Order::Unroute(slot));
            self.reconcile();
        }
    }

    fn log(&self, slot: Slot, event: &Event) {
        let name = self.name(slot);
        for line in words::lines(&name, event, |id| self.trackers.name(id)) {
            info!("{line}");
        }
    }

    fn name(&self, slot: Slot) -> String {
        let running = self.running.get(&slot);
        running.map_or_else(|| format!("#{}", slot.0), |r| r.instance.name.clone())
    }

    /// A refused advert, or one with other addresses than ours.
    async fn recorded(&mut self, record: &abi::Event) {
        let slot = Slot(record.slot);
        let now = Instant::from_nanos(record.at);
        let Some(running) = self.running.get_mut(&slot) else { return };
        let name = running.instance.name.clone();
        let reason = Reject::from_index(record.reason);
        let Some(reason) = reason.filter(|_| record.kind == abi::Event::REFUSED) else {
            let source = vrrp_common::wire::address(running.instance.family, record.source);
            let detail = refusals::difference(record, &running.instance);
            let line = format!("advert from {source} accepted, but {detail}");
            self.say(now, slot, &format!("({name}) {line}"), &line);
            return;
        };
        let explained = refusals::explain(record, reason, &running.instance);
        let refusals::Explained { source, detail } = explained;
        let last = LastRefused { at: now, reason, source, detail: detail.clone() };
        running.last_refused = Some(last);
        let cause = format!("{reason} {source} {detail}");
        let mut line = format!("({name}) refused advert from {source} ({reason}): {detail}");
        if reason == Reject::ForeignCluster {
            let (interface, vrid) = (running.instance.interface.clone(), running.instance.vrid);
            let free = self.free_vrids(record.ifindex).await;
            line.push_str(&format!(
                "; another cluster uses VRID {vrid} on {interface}, free there: {free}"
            ));
        }
        self.say(now, slot, &line, &cause);
    }

    fn say(&mut self, now: Instant, slot: Slot, line: &str, cause: &str) {
        match self.repeats.note(now, slot.0, cause, 1) {
            Say::Line(0) => warn!("{line}"),
            Say::Line(more) => warn!("{line} ({more} more in the last minute)"),
            Say::TooMany => warn!(
                "({}) more causes of refusal are left out for a minute; see `xvrrp status`",
                self.name(slot)
            ),
            Say::Nothing => {}
        }
    }

    /// VRIDs nobody was heard using on an interface, ours and other clusters' left out.
    async fn free_vrids(&self, ifindex: u32) -> String {
        let inspection = self.inspect().await;
        let mut used: BTreeSet<u8> = self
            .running
            .values()
            .filter(|running| running.route.is_some_and(|(index, _, _)| index == ifindex))
            .map(|running| running.instance.vrid.get())
            .collect();
        let fast = self.fast.iter().flat_map(FastPath::strangers);
        let slow = inspection.into_iter().flat_map(|inspection| inspection.strangers);
        used.extend(
            fast.chain(slow).filter(|(key, _)| key.ifindex == ifindex).map(|(key, _)| key.vrid),
        );
        refusals::free_vrids(&used)
    }

    pub(super) async fn inspect(&self) -> Option<Inspection> {
        let (answer, receive) = oneshot::channel();
        self.orders.send(Order::Inspect(answer)).ok()?;
        receive.await.ok()
    }

    async fn answer(&mut self, asked: Asked) {
        let text = match asked.request {
            Request::Status => {
                let status = self.status().await;
                serde_json::to_string(&status).unwrap_or_else(|error| error.to_string())
            }
        };
        // Whoever asked may have gone.
        let _ = asked.answer.send(text);
    }

    fn reload(&mut self) {
        info!("Reloading {}", self.options.config.display());
        let loaded = match config::load(&self.options.config) {
            Ok(loaded) => loaded,
            Err(error) => {
                error!("Reload refused, the running configuration stays: {error}");
                return;
            }
        };
        log_diagnostics(&loaded);
        match loaded.reloadable() {
            Ok(config) => {
                let config = config.clone();
                self.apply(config, false);
                info!("Reload done");
            }
            Err(refusal) => {
                error!("Reload refused, the running configuration stays: {refusal}");
            }
        }
    }

    async fn stop(
        mut self,
        end: End,
        thread: JoinHandle<()>,
        executor: &Executor,
        ears: &mut Ears,
    ) -> Result<(), RunError> {
        let broken = match end {
            End::Signal(name) => {
                info!("{name}: stopping");
                None
            }
            End::Broken(why) => {
                error!("The protocol thread ended: {why}");
                Some(why)
            }
        };
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).is_ok() {
            // Late or not, what follows is done.
            let _ = tokio::time::timeout(STOP, stopped).await;
        }
        let (fast, orders) = (self.fast.take(), self.orders.clone());
        while let Ok(notice) = ears.notices.try_recv() {
            self.noticed(notice).await;
        }
        let (scripts, notifier) = (&mut self.scripts, &mut self.notifier);
        tokio::join!(scripts.shutdown(LAST_NOTIFY), notifier.finish(LAST_NOTIFY));
        if !executor.flush(STOP) {
            warn!("Not all addresses could be taken off in time");
        }
        drop((fast, orders));
        if thread.is_finished() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
        info!("Stopped");
        broken.map_or(Ok(()), |why| Err(RunError::Internal(why)))
    }

    fn tell(&self, input: Input) {
        // Without the protocol thread there is a `Notice::Broken` on its way.
        let _ = self.orders.send(Order::Input(input));
    }
}

/// Tells the kernel and the protocol thread how an instance sends and what it listens to.
fn set_route(
    slot: Slot,
    running: &Running,
    fast: &mut Option<FastPath>,
    orders: &UnboundedSender<Order>,
) {
    let Some((ifindex, mac, source)) = running.route else {
        let _ = orders.send(Order::Unroute(slot));
        return;
    };
    let route = match plan::route(&running.instance, slot, ifindex, mac, source) {
        Ok(route) => route,
        Err(error) => {
            error!("({}) no advert can be built: {error}", running.instance.name);
            return;
        }
    };
    if let Some(fast) = fast
        && let Err(error) = fast.set_router(route.key, route.rule, &route.addresses)
    {
        error!("({}) the kernel program was not told: {error}", running.instance.name);
    }
    let _ = orders.send(Order::Route(slot, Box::new(route)));
}

/// What an instance will do, in one line.
fn introduce(instance: &Instance) -> String {
    let down = time::master_down(instance.version, instance.priority, instance.interval);
    format!(
        "({}) VRRP version {}, VRID {} on {}, priority {}, one advert each {}; a silent MASTER is replaced after {}",
        instance.name,
        instance.version,
        instance.vrid,
        instance.interface,
        instance.priority,
        words::span(instance.interval),
        words::span(down)
    )
}
