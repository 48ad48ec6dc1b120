//! The service thread: everything that may wait.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::warn;
use vrrp_common::{Instant, Reject};
use vrrp_proto::{Health, Input, Slot, TrackerId};

use super::apply::{Slots, host_work};
use super::groups::Groups;
use super::index::Index;
use super::lapses::Lapses;
use super::life::Life;
use super::paths::PathWatch;
use super::plan::Watched;
use super::ports::Ports;
use super::protocol::{self, Inspection, Notice, Order, Parts};
use super::reading::{Reading, read_config};
use super::repeats::{self, Repeats};
use super::running::Running;
use super::secondaries::Secondaries;
use super::served::Served;
use super::sought::Seeking;
use super::trackers::Trackers;
use super::unknown::{self, Unknown};
use super::{Options, RunError, elsewhere, lapses};
use crate::config::model::{Config, Datapath};
use crate::control::{self, Asked, Request};
use crate::fastpath::{FastPath, Messages};
use crate::guardian::channel::Keeper;
use crate::net::Snapshot;
use crate::net::executor::{Executor, Timing};
use crate::net::firewall::Firewall;
use crate::net::leftover::OwnAddress;
use crate::net::monitor::{Change, Monitor};
use crate::net::own_link::OwnLinks;
use crate::notify::Notifier;
use crate::sys::readiness::watch;
use crate::sys::{clock, memory};
use crate::track::{Policy, ScriptReport, Scripts};
use crate::transmit::Sender;

/// Slots that the kernel's maps have at least.
const LEAST_SLOTS: u32 = 64;
/// How soon an interface that could not be listened to is tried again.
const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Service {
    pub(super) life: Life,
    pub(super) options: Options,
    pub(super) config: Config,
    /// The interfaces that were found for it.
    pub(super) seeking: Seeking,
    pub(super) started: Instant,
    /// Boxed as whatever is large and many: a map's nodes are filled by half.
    pub(super) running: BTreeMap<Slot, Box<Running>>,
    /// The same by what they depend on.
    pub(super) index: Index,
    pub(super) host: Snapshot,
    pub(super) lapses: Lapses,
    pub(super) ports: Ports,
    /// The interfaces that instances make for themselves.
    pub(super) own_links: OwnLinks,
    pub(super) served: Served,
    pub(super) fast: Option<FastPath>,
    pub(super) scripts: Scripts,
    pub(super) trackers: Trackers,
    pub(super) notifier: Notifier,
    pub(super) groups: Groups,
    /// Refusals told lately, and how many the socket path gave.
    pub(super) refusals: Repeats,
    pub(super) seen: BTreeMap<(u32, Reject), u64>,
    /// Other lines told lately that may come with every packet.
    pub(super) chatter: Repeats,
    /// `log_unknown_vrids`.
    pub(super) unknown: Unknown,
    pub(super) orders: UnboundedSender<Order>,
    pub(super) executor: Arc<Executor>,
    pub(super) firewall: Firewall,
    pub(super) secondaries: Secondaries,
    pub(super) paths: PathWatch,
    /// The host's own addresses among the configured ones.
    pub(super) own: BTreeSet<OwnAddress>,
    /// What each watched interface was last said to be.
    pub(super) watched: BTreeMap<TrackerId, Health>,
    /// An interface could not be listened to as it should be: it is tried again.
    pub(super) deaf: bool,
    /// Those whose own interface could not be made: it is tried again.
    pub(super) unmade: BTreeSet<Slot>,
    /// An instance has ended: [`Service::reconcile`] is due once no more end with it.
    pub(super) stale: bool,
    pub(super) slots: Slots,
    /// Any instance wants announcements repeated elsewhere. Kept, since each turn of the loop asks.
    pub(super) announces_elsewhere: bool,
    /// Everything ends, in its own time.
    pub(super) stopping: bool,
}

/// The ends of the channels that the loop listens to.
pub(super) struct Ears {
    pub(super) notices: UnboundedReceiver<Notice>,
    changes: UnboundedReceiver<Change>,
    timings: UnboundedReceiver<Timing>,
    reports: UnboundedReceiver<ScriptReport>,
    asked: UnboundedReceiver<Asked>,
    signals: Signals,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// What ends the loop.
pub(super) enum End {
    Signal(&'static str),
    Broken(String),
}

/// Starts, runs and stops.
pub(super) async fn run(mut options: Options, keeper: Option<Keeper>) -> Result<(), RunError> {
    let signals = Signals::take().map_err(RunError::from_io("signals"))?;
    let mut life = Life::new(keeper);
    let config = read_config(&mut options, &mut life)?;
    let run_dir = life.take_run_dir(&options.run_dir)?;
    // Before all else: until they are gone, two hosts may answer for addresses of an earlier life.
    life.open_ledger(&run_dir, Some(&config));
    let (host, changes) = start_monitor()?;
    let (orders, orders_end) = unbounded_channel();
    let (notices_start, notices) = unbounded_channel();
    let (reports_start, reports) = unbounded_channel();
    let (asked_start, asked) = unbounded_channel();
    let (timings_start, timings) = unbounded_channel();
    let want = options.datapath.or(config.global.datapath).unwrap_or_default();
    let mut service = Service {
        own_links: OwnLinks::new(run_dir.path(), life.traces().clone()),
        secondaries: Secondaries::after(life.traces()),
        served: Served::over(life.take_served()),
        life,
        started: clock::now(),
        running: BTreeMap::new(),
        index: Index::default(),
        host,
        lapses: Lapses::default(),
        ports: Ports::new(want, orders.clone()),
        fast: None,
        scripts: Scripts::new(reports_start),
        trackers: Trackers::default(),
        notifier: Notifier::new(Policy::of(&config.global)),
        groups: Groups::default(),
        refusals: Repeats::default(),
        seen: BTreeMap::new(),
        chatter: Repeats::default(),
        unknown: Unknown::default(),
        executor: start_executor(&config, orders.clone(), timings_start)?,
        orders,
        firewall: Firewall::new(run_dir.path()),
        paths: PathWatch::default(),
        own: BTreeSet::new(),
        watched: BTreeMap::new(),
        deaf: false,
        unmade: BTreeSet::new(),
        stale: false,
        slots: Slots::default(),
        announces_elsewhere: false,
        stopping: false,
        config: config.clone(),
        seeking: Seeking::default(),
        options,
    };
    let config = service.filled(service.keep_names(config));
    service.clear_leftovers(&config);
    service.take_fast_path(want);
    let thread = service.start_protocol(orders_end, notices_start)?;
    control::serve(&run_dir.socket(), asked_start).map_err(RunError::from_io("control socket"))?;
    service.apply_first(config);
    let mut ears = Ears { notices, changes, timings, reports, asked, signals };
    service.wait_for_protocol(&mut ears.notices).await?;
    let end = service.turn(&mut ears).await;
    service.stop(end, thread, &mut ears, &run_dir).await
}

fn start_monitor() -> Result<(Snapshot, UnboundedReceiver<Change>), RunError> {
    Monitor::start(Monitor::RECEIVE_BUFFER).map_err(RunError::from_io("netlink"))
}

/// Starts the thread for addresses, which tells the engine how its effects ended.
fn start_executor(
    config: &Config,
    outcomes: UnboundedSender<Order>,
    timings: UnboundedSender<Timing>,
) -> Result<Arc<Executor>, RunError> {
    let report = move |slot, outcome| {
        // At the very end nobody wants to know any more.
        let _ = outcomes.send(Order::Input(Input::Outcome { slot, outcome }));
    };
    let timed = move |timing| {
        // As above.
        let _ = timings.send(timing);
    };
    Executor::spawn(host_work(config), report, timed)
        .map(Arc::new)
        .map_err(RunError::from_io("netlink and packet sockets"))
}

async fn forward(mut messages: Messages) {
    let Ok(ready) = watch(messages.as_fd()) else { return };
    while let Ok(mut guard) = ready.readable().await {
        guard.clear_ready();
        messages.flush();
    }
}

/// Loads the kernel program, or says why adverts come without it.
fn load_fast_path(want: Datapath, slots: u32) -> Result<FastPath, String> {
    if want == Datapath::Socket {
        return Err("as configured".to_owned());
    }
    FastPath::load(slots)
        .inspect_err(|error| warn!("no kernel program, adverts come through sockets: {error}"))
        .map_err(|error| error.to_string())
}

impl Service {
    /// Takes the kernel program over from an earlier worker, or loads it, and passes on what it says,
    /// where it was built to say something.
    fn take_fast_path(&mut self, want: Datapath) {
        self.fast = self.life.adopt_fast_path(want != Datapath::Socket);
        if self.fast.is_none() {
            self.load_fast_path(want);
        }
        if let Some(messages) = self.fast.as_mut().and_then(FastPath::messages) {
            tokio::spawn(forward(messages));
        }
    }

    fn load_fast_path(&mut self, want: Datapath) {
        // Twice as many as there are, for reloads: the maps can't grow.
        let wanted = 2 * self.config.instances.len() as u32;
        let slots = wanted.max(self.life.reserved_up_to()).next_power_of_two().max(LEAST_SLOTS);
        match load_fast_path(want, slots) {
            Ok(fast) => self.fast = Some(fast),
            Err(why) => self.ports.without_program(why),
        }
    }

    fn start_protocol(
        &mut self,
        orders: UnboundedReceiver<Order>,
        notices: UnboundedSender<Notice>,
    ) -> Result<JoinHandle<()>, RunError> {
        // Before the thread locks what there is.
        memory::give_back();
        // If it fails, nothing is lost.
        let _ = memory::forget_libraries();
        // Before the thread has it.
        self.life.tell_level(&self.config.global.scheduling);
        let parts = Parts {
            orders,
            notices,
            ring: self.fast.as_mut().and_then(FastPath::ring),
            watcher: self.fast.as_mut().and_then(FastPath::watcher),
            sender: Sender::open().map_err(RunError::from_io("packet socket"))?,
            executor: Arc::clone(&self.executor),
            pulse: self.life.pulse(),
            scheduling: self.config.global.scheduling.clone(),
        };
        std::thread::Builder::new()
            .name("xvrrp-protocol".to_owned())
            .spawn(move || protocol::run(parts))
            .map_err(RunError::from_io("protocol thread"))
    }

    /// Makes a start's configuration the one in use, and leaves nothing that an earlier worker had beside
    /// it.
    fn apply_first(&mut self, config: Config) {
        self.apply(config, true);
        self.fast.iter_mut().for_each(FastPath::drop_unused);
        self.put_all_behind();
    }

    /// Waits until the protocol thread is at work, and tells the guardian, or until it has failed to be.
    async fn wait_for_protocol(
        &mut self,
        notices: &mut UnboundedReceiver<Notice>,
    ) -> Result<(), RunError> {
        if self.inspect().await.is_some() {
            self.life.running(self.fast.as_ref().map(FastPath::once).unwrap_or_default());
            return Ok(());
        }
        while let Some(notice) = notices.recv().await {
            if let Some(End::Broken(why)) = self.noticed(notice).await {
                let error = std::io::Error::other(why);
                return Err(RunError::System { what: "protocol thread", error });
            }
        }
        Err(RunError::Internal("the protocol thread is gone".to_owned()))
    }

    async fn turn(&mut self, ears: &mut Ears) -> End {
        // Beside the loop: what else happens must not put it off.
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut elsewhere = tokio::time::interval(elsewhere::LOOK);
        elsewhere.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut strangers = tokio::time::interval(unknown::LOOK);
        strangers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading = Reading::default();
        loop {
            tokio::select! {
                notice = ears.notices.recv() => {
                    let Some(notice) = notice else {
                        return End::Broken("the protocol thread is gone".to_owned());
                    };
                    if let Some(end) = self.noticed(notice).await {
                        return end;
                    }
                    if self.stale && ears.notices.is_empty() {
                        self.reconcile();
                    }
                }
                _ = retry.tick(), if self.lacks_something() => {
                    self.look_at_data_paths(Some(&BTreeSet::new()), false);
                    if self.firewall.is_open() {
                        self.refuse_traffic(&self.config.clone());
                    }
                    if self.seeking.asks_routes() {
                        self.seek();
                    }
                    if self.deaf || !self.unmade.is_empty() {
                        self.ports.retry();
                        self.reconcile();
                    }
                }
                change = ears.changes.recv() => {
                    let Some(change) = change else {
                        return End::Broken("nobody tells of the host's interfaces".to_owned());
                    };
                    let mut changes = vec![change];
                    changes.extend(std::iter::from_fn(|| ears.changes.try_recv().ok()));
                    if changes.iter().any(lapses::may_lose) {
                        self.settle().await;
                        changes.extend(std::iter::from_fn(|| ears.changes.try_recv().ok()));
                    }
                    self.host_changed(&changes);
                }
                () = self.paths.due() => self.look_after_paths(),
                () = self.seeking.due() => self.seek(),
                _ = elsewhere.tick(), if self.announces_elsewhere => self.announce_elsewhere(),
                _ = strangers.tick(), if self.config.global.log_unknown => self.tell_unknown().await,
                Some(timing) = ears.timings.recv() => self.timed(timing),
                Some(report) = ears.reports.recv() => self.script_reported(&report),
                Some(asked) = ears.asked.recv() => self.answer(asked).await,
                _ = ears.signals.hangup.recv() => self.reload(&mut reading),
                read = reading.done() => self.take(read),
                _ = ears.signals.terminate.recv() => return End::Signal(self.life.terminated()),
                _ = ears.signals.interrupt.recv() => return End::Signal("SIGINT"),
            }
        }
    }

    /// Whether something could not be had that is tried again by time.
    fn lacks_something(&self) -> bool {
        let is_denied = self.fast.as_ref().is_some_and(FastPath::is_denied);
        let is_unsure = !self.unmade.is_empty() || self.seeking.asks_routes();
        self.deaf || is_denied || self.firewall.is_open() || is_unsure
    }

    fn script_reported(&mut self, report: &ScriptReport) {
        let id = self.trackers.id(Watched::Script(&report.name));
        self.tell(Input::Track { id, health: report.health });
    }

    pub(super) async fn inspect(&self) -> Option<Inspection> {
        let (answer, receive) = oneshot::channel();
        self.orders.send(Order::Inspect(answer)).ok()?;
        receive.await.ok()
    }

    async fn answer(&mut self, asked: Asked) {
        let text = match asked.request {
            Request::Status => {
                self.look_at_data_paths(None, false);
                let status = self.status().await;
                serde_json::to_string(&status).unwrap_or_else(|error| error.to_string())
            }
        };
        // Whoever asked may have gone.
        let _ = asked.answer.send(text);
    }

    /// Forgets what was told of a router: its causes are news again.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.refusals.forget(slot.0);
        self.chatter.forget(slot.0);
        repeats::forget(&mut self.seen, slot.0, Reject::ALL[0]);
    }

    pub(super) fn tell(&self, input: Input) {
        // Without the protocol thread there is a `Notice::Broken` on its way.
        let _ = self.orders.send(Order::Input(input));
    }
}
