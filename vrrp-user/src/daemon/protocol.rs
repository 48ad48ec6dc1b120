//! The protocol thread: adverts in, adverts out, one deadline.
//!
//! It does no file I/O, waits for no netlink answer and writes no log. What it has to tell goes to the
//! service thread over a channel that never blocks it.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Poll;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use vrrp_common::abi::{self, RouterKey};
use vrrp_common::check::Agreement;
use vrrp_common::wire::{self, ChecksumForm};
use vrrp_common::{Family, Instant, Interval, Priority, Version};
use vrrp_proto::{Advert, Engine, Event, Input, Slot, View};

use super::clock::{self, Timer};
use crate::fastpath::{Counters, Ring};
use crate::net::executor::Executor;
use crate::slowpath::{Filter, SlowPath, Table};
use crate::sys::readiness::watch;
use crate::sys::schedule;
use crate::transmit::{AdvertFrame, Sender};

/// Records taken from one source before the others get their turn.
const BUDGET: usize = 256;
/// Most rounds of reading before the timers get their turn: more than the sources hold.
const ROUNDS: usize = 64;
/// Orders obeyed in one turn.
const ORDERS: usize = 64;

/// What the service thread asks of the protocol thread.
pub(crate) enum Order {
    /// Something for the engine.
    Input(Input),
    /// How a router's adverts leave, and which it listens to.
    Route(Slot, Box<Route>),
    /// A router has no interface at present.
    Unroute(Slot),
    /// Adverts of an interface that come up the slow path.
    Listen(u32, Box<SlowPath>),
    /// What of an interface comes up the slow path.
    Filter(u32, Filter),
    /// The interface is gone.
    Unlisten(u32),
    /// Tell how everything is.
    Inspect(oneshot::Sender<Inspection>),
    /// Release everything, tell when it is done, and end.
    Stop(oneshot::Sender<()>),
}

/// How a router's adverts leave and what it listens to.
pub(crate) struct Route {
    pub(crate) key: RouterKey,
    pub(crate) version: Version,
    pub(crate) rule: abi::Router,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) frame: AdvertFrame,
}

/// What the protocol thread tells the service thread.
#[derive(Debug)]
pub(crate) enum Notice {
    /// From the engine, with the time it happened.
    Event(Instant, Event),
    /// A refused advert, or an accepted one whose addresses differ from ours.
    Record(abi::Event),
    /// An advert could not be sent; told once until one could.
    SendFailed(Slot, String),
    /// Adverts leave again.
    SendWorks(Slot),
    /// The socket of an interface can't be waited for.
    Deaf(u32, String),
    /// The thread runs like any other.
    NotRealTime(String),
    /// The thread can't go on.
    Broken(String),
}

/// How everything is, for `status`.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) now: Instant,
    pub(crate) views: Vec<View>,
    /// Counters of the slow path by slot.
    pub(crate) counters: BTreeMap<Slot, Counters>,
    /// Virtual routers of others that the slow path heard.
    pub(crate) strangers: Vec<(abi::StrangerKey, abi::Stranger)>,
    /// Frames that found no room in the socket of an interface.
    pub(crate) lost: BTreeMap<u32, u64>,
}

/// What the protocol thread needs to run.
pub(crate) struct Parts {
    pub(crate) orders: UnboundedReceiver<Order>,
    pub(crate) notices: UnboundedSender<Notice>,
    pub(crate) ring: Option<Ring>,
    pub(crate) sender: Sender,
    pub(crate) executor: Arc<Executor>,
}

/// Runs until [`Order::Stop`], or until the service thread is gone.
pub(crate) fn run(parts: Parts) {
    let notices = parts.notices.clone();
    if let Err(error) = schedule::real_time() {
        // As below.
        let _ = notices.send(Notice::NotRealTime(error.to_string()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let result = runtime.and_then(|runtime| {
        runtime.block_on(async { Protocol::new(parts)?.turn_until_stopped().await })
    });
    if let Err(error) = result {
        // The service thread hears it, or has ended itself.
        let _ = notices.send(Notice::Broken(error.to_string()));
    }
}

struct Protocol {
    engine: Engine,
    orders: UnboundedReceiver<Order>,
    notices: UnboundedSender<Notice>,
    ring: Option<Watched<Ring>>,
    slow: BTreeMap<u32, Watched<SlowPath>>,
    table: Table,
    sender: Sender,
    executor: Arc<Executor>,
    timer: Timer,
    routes: BTreeMap<Slot, Line>,
    /// Reused from turn to turn.
    records: Vec<abi::Event>,
    stop: Option<oneshot::Sender<()>>,
}

/// How far the sources were read.
enum Heard {
    /// To their ends.
    All,
    /// At least one has more, and all were read to records of this time.
    UpTo(Instant),
}

/// Notes how far a source was read that gave as many records as it was asked for.
fn note_rest(upto: &mut Option<Instant>, taken: usize, records: &[abi::Event]) {
    if taken == BUDGET {
        // Without a record among those taken nothing is known: as if from the beginning of time.
        let last = Instant::from_nanos(records.last().map_or(0, |record| record.at));
        *upto = Some(upto.map_or(last, |at| at.min(last)));
    }
}

/// A source of records, and what says that it has some.
struct Watched<T> {
    source: T,
    ready: AsyncFd<OwnedFd>,
}

impl<T: AsFd> Watched<T> {
    fn new(source: T) -> io::Result<Self> {
        let ready = watch(source.as_fd())?;
        Ok(Self { source, ready })
    }
}

/// A route in use.
struct Line {
    route: Route,
    failing: bool,
    /// The last advert whose addresses differ from ours: when, from whom, and how it began.
    differing: Option<(Instant, [u8; 16], [u8; abi::Event::HEAD])>,
}

impl Protocol {
    fn new(parts: Parts) -> io::Result<Self> {
        Ok(Self {
            engine: Engine::new(),
            orders: parts.orders,
            notices: parts.notices,
            ring: parts.ring.map(Watched::new).transpose()?,
            slow: BTreeMap::new(),
            table: Table::default(),
            sender: parts.sender,
            executor: parts.executor,
            timer: Timer::new()?,
            routes: BTreeMap::new(),
            records: Vec::with_capacity(2 * BUDGET),
            stop: None,
        })
    }

    async fn turn_until_stopped(mut self) -> io::Result<()> {
        let mut more = false;
        loop {
            self.timer.arm(self.engine.poll_timeout())?;
            tokio::select! {
                biased;
                // 0. what was left over: the others still get their turn, by the budget
                () = std::future::ready(()), if more => {}
                // 1. what the kernel heard
                ready = readable_ring(self.ring.as_ref()) => ready?,
                // 2. what came up the slow path
                ready = readable_any(&self.slow) => ready?,
                // 3. the deadline
                ready = self.timer.expired() => ready?,
                // 4. the service thread
                order = self.orders.recv() => match order {
                    Some(order) => self.obey_all(order),
                    None => return Ok(()),
                },
            }
            // Whatever woke us: listen before a timer is believed.
            more = self.listen_until(clock::now());
            if more && let Ok(order) = self.orders.try_recv() {
                self.obey_all(order);
            }
            self.flush(clock::now());
            let now = clock::now();
            if self.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
                self.flush(now);
            }
            if let Some(stopped) = self.stop.take() {
                // Nobody waits for the answer any more if the service thread gave up.
                let _ = stopped.send(());
                return Ok(());
            }
        }
    }

    /// Takes all that arrived before `woke`, and of what came later no more than the budget: after a
    /// freeze every advert that waits is heard before a timer is believed, and a flood does not hold the
    /// timers up. Says whether there is more.
    fn listen_until(&mut self, woke: Instant) -> bool {
        for _ in 0..ROUNDS {
            match self.listen() {
                Heard::All => return false,
                Heard::UpTo(at) if at >= woke => return true,
                Heard::UpTo(_) => {}
            }
        }
        true
    }

    /// Takes what has arrived, up to the budget.
    fn listen(&mut self) -> Heard {
        let mut upto = None;
        let mut records = std::mem::take(&mut self.records);
        if let Some(ring) = &mut self.ring {
            let taken = ring.source.drain(BUDGET, |record| records.push(record));
            note_rest(&mut upto, taken, &records);
        }
        for slow in self.slow.values_mut() {
            // An interface that went away fails here until the service thread takes it out.
            let taken = slow.source.drain(BUDGET, &mut self.table, |record| records.push(record));
            note_rest(&mut upto, taken.unwrap_or(0), &records);
        }
        // Two sources, one order: by arrival.
        records.sort_by_key(|record| record.at);
        for record in records.drain(..) {
            self.heard(&record);
        }
        self.records = records;
        upto.map_or(Heard::All, Heard::UpTo)
    }

    fn heard(&mut self, record: &abi::Event) {
        let slot = Slot(record.slot);
        let Some(line) = self.routes.get_mut(&slot) else { return };
        // The slot may have been another router's when the record was written.
        let key = line.route.key;
        if (key.vrid, key.ifindex) != (record.vrid, record.ifindex) {
            return;
        }
        if record.kind == abi::Event::REFUSED {
            self.tell(Notice::Record(*record));
            return;
        }
        let family = if record.family == Family::V6 as u8 { Family::V6 } else { Family::V4 };
        let now = Instant::from_nanos(record.at);
        let agreement = Agreement::from_index(record.agreement);
        let differs = agreement == Agreement::Overlap && line.newly_differs(now, record);
        // The validator lets no interval through that is none.
        let Some(interval) = Interval::of_field(line.route.version, record.interval) else {
            return;
        };
        let advert = Advert {
            source: wire::address(family, record.source),
            priority: Priority::new(record.priority),
            interval,
            form: ChecksumForm::from_index(record.form),
            agreement,
            mac: record.mac,
        };
        if differs {
            self.tell(Notice::Record(*record));
        }
        self.engine.handle(now, Input::Advert { slot, advert });
        self.flush(now);
    }

    fn obey_all(&mut self, first: Order) {
        self.obey(first);
        for _ in 1..ORDERS {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(_) => break,
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Input(input) => {
                let now = clock::now();
                self.engine.handle(now, input);
                // At once: an order behind it may change the frame that says priority 0.
                self.flush(now);
            }
            Order::Route(slot, route) => {
                self.table.set(route.key, route.rule, &route.addresses);
                let line = Line { route: *route, failing: false, differing: None };
                if let Some(old) = self.routes.insert(slot, line) {
                    let key = self.routes[&slot].route.key;
                    if old.route.key != key {
                        self.table.remove(old.route.key, slot.0);
                    }
                }
            }
            Order::Unroute(slot) => {
                if let Some(old) = self.routes.remove(&slot) {
                    self.table.remove(old.route.key, slot.0);
                    self.table.reset(slot.0);
                }
            }
            Order::Listen(ifindex, slow) => match Watched::new(*slow) {
                Ok(watched) => {
                    self.slow.insert(ifindex, watched);
                }
                Err(error) => {
                    self.slow.remove(&ifindex);
                    self.tell(Notice::Deaf(ifindex, error.to_string()));
                }
            },
            Order::Filter(ifindex, filter) => {
                let slow = self.slow.get(&ifindex);
                let set = slow.map_or(Ok(()), |slow| slow.source.set_filter(&filter));
                if let Err(error) = set {
                    self.slow.remove(&ifindex);
                    self.tell(Notice::Deaf(ifindex, error.to_string()));
                }
            }
            Order::Unlisten(ifindex) => {
                self.slow.remove(&ifindex);
            }
            Order::Inspect(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.inspect());
            }
            Order::Stop(stopped) => {
                self.engine.handle(clock::now(), Input::Shutdown);
                self.stop = Some(stopped);
            }
        }
    }

    /// Does what the engine asks: adverts first, then addresses, then words.
    fn flush(&mut self, now: Instant) {
        while let Some(transmit) = self.engine.poll_transmit() {
            let Some(line) = self.routes.get_mut(&transmit.slot) else { continue };
            let frame = line.route.frame.patch(transmit.priority, transmit.form);
            let sent = self.sender.send(line.route.key.ifindex, frame);
            match sent {
                Ok(()) if line.failing => {
                    line.failing = false;
                    let _ = self.notices.send(Notice::SendWorks(transmit.slot));
                }
                Ok(()) => {}
                Err(error) if !line.failing => {
                    line.failing = true;
                    let notice = Notice::SendFailed(transmit.slot, error.to_string());
                    let _ = self.notices.send(notice);
                }
                Err(_) => {}
            }
        }
        while let Some(effect) = self.engine.poll_effect() {
            self.executor.send(effect);
        }
        while let Some(event) = self.engine.poll_event() {
            self.tell(Notice::Event(now, event));
        }
    }

    fn inspect(&mut self) -> Inspection {
        // A socket whose interface went away has nothing more to say.
        let lost =
            self.slow.iter_mut().map(|(ifindex, slow)| (*ifindex, slow.source.lost().unwrap_or(0)));
        let lost = lost.collect();
        Inspection {
            now: clock::now(),
            views: self.engine.views().collect(),
            counters: self.table.counters().map(|(slot, c)| (Slot(slot), c)).collect(),
            strangers: self.table.strangers(),
            lost,
        }
    }

    fn tell(&self, notice: Notice) {
        // The service thread outlives this one except at the very end, when nobody listens.
        let _ = self.notices.send(notice);
    }
}

impl Line {
    /// Says whether a record with other addresses is news: another sender, another list, or a minute
    /// later.
    fn newly_differs(&mut self, now: Instant, record: &abi::Event) -> bool {
        let news = self.differing.is_none_or(|(at, source, head)| {
            source != record.source
                || head[wire::HEADER..] != record.head[wire::HEADER..]
                || now.since(at).as_secs() >= 60
        });
        if news {
            self.differing = Some((now, record.source, record.head));
        }
        news
    }
}

async fn readable_ring(ring: Option<&Watched<Ring>>) -> io::Result<()> {
    match ring {
        Some(ring) => {
            ring.ready.readable().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}

/// Waits until one of the sockets has something.
async fn readable_any(sockets: &BTreeMap<u32, Watched<SlowPath>>) -> io::Result<()> {
    std::future::poll_fn(|context| {
        for socket in sockets.values() {
            if let Poll::Ready(guard) = socket.ready.poll_read_ready(context) {
                guard?.clear_ready();
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    })
    .await
}
