//! The thread itself: its loop, and what it does with an order, a record and the engine's answers.

mod inspect;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::unconstrained;
use vrrp_common::abi;
use vrrp_common::check::Agreement;
use vrrp_common::wire::{self, ChecksumForm};
use vrrp_common::{Family, Instant, Priority};
use vrrp_proto::{Advert, Engine, Event, Input, Slot, Transmit};

use super::chatter::Chatter;
use super::failing::{Failing, Fate, Mute};
use super::line::{Line, is_astray};
use super::outbox::Outbox;
use super::sockets::Sockets;
use super::sources::{BUDGET, Heard, Readable, note_rest, readable_ring};
use super::watching::Watching;
use super::{Notice, Order, Parts, Stall};
use crate::arrived::Arrived;
use crate::fastpath::Ring;
use crate::ledger::Pulse;
use crate::net::executor::Executor;
use crate::slowpath::{SlowPath, Table};
use crate::sys::clock::{self, Timer};

/// How long before a takeover the thread is woken: about the longest that takes on an idle machine. What
/// is left it waits out awake, and the effects thread with it; that is once for each takeover. Before adverts
/// it is woken earlier than due by this less the 2 % of their interval that they may be late: for those with
/// an interval of 10 or 20 ms.
pub(super) const EARLY: Duration = Duration::from_micros(500);
/// Most rounds of reading before the timers get their turn: more than the sources hold.
const ROUNDS: usize = 64;
/// Orders obeyed in one turn.
const ORDERS: usize = 64;

pub(super) struct Protocol {
    engine: Engine,
    orders: UnboundedReceiver<Order>,
    notices: UnboundedSender<Notice>,
    ring: Option<Readable<Ring>>,
    watching: Watching,
    slow: Sockets<SlowPath>,
    table: Table,
    outbox: Outbox,
    executor: Arc<Executor>,
    /// When the effects thread was last told that it has something to do soon.
    woke_executor: Instant,
    pulse: Pulse,
    timer: Timer,
    /// Boxed: a map's nodes are filled by half.
    routes: BTreeMap<Slot, Box<Line>>,
    /// Reused from turn to turn.
    records: Arrived,
    mute: Mute,
    chatter: Chatter,
    stop: Option<oneshot::Sender<()>>,
}

impl Protocol {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let watching = Watching::new(parts.watcher);
        Ok(Self {
            engine: Engine::waking_in(EARLY),
            orders: parts.orders,
            notices: parts.notices,
            ring: parts.ring.map(Readable::new).transpose()?,
            slow: Sockets::new()?,
            table: watching.table(),
            watching,
            outbox: Outbox::new(parts.sender),
            executor: parts.executor,
            woke_executor: Instant::default(),
            pulse: parts.pulse,
            timer: Timer::new()?,
            routes: BTreeMap::new(),
            records: Arrived::with_capacity(2 * BUDGET),
            mute: Mute::default(),
            chatter: Chatter::default(),
            stop: None,
        })
    }

    pub(super) async fn turn_until_stopped(mut self) -> io::Result<()> {
        let mut more = false;
        let mut awake = clock::now();
        loop {
            let due = self.engine.poll_timeout();
            self.timer.arm(self.engine.poll_wake())?;
            self.pulse.heartbeat(clock::now(), due);
            let order = tokio::select! {
                biased;
                // 0. what was left over: the others still get their turn, by the budget
                () = std::future::ready(()), if more => None,
                // 1. what the kernel heard
                ready = readable_ring(self.ring.as_ref()) => { ready?; None }
                // 2. what came up the slow path
                ready = self.slow.readable() => { ready?; None }
                // 3. the deadline
                ready = self.timer.expired() => { ready?; None }
                // 4. the service thread
                order = self.orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return Ok(()),
                },
            };
            awake = self.note_stall(awake);
            if let Some(order) = order {
                self.obey_all(order);
            }
            // Whatever woke us: listen before a timer is believed.
            more = self.listen_until(clock::now());
            if more && let Some(order) = self.next_order() {
                self.obey_all(order);
            }
            self.flush(clock::now());
            if let Some(at) = self.awaited() {
                // Not asleep, with whom it takes awake as well.
                while clock::now() < at {
                    std::hint::spin_loop();
                }
                more = self.listen_until(clock::now());
                self.flush(clock::now());
            }
            let now = clock::now();
            if self.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.watching.refresh_due(now, &mut self.engine);
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

    /// Tells where the thread should have done something long before now, since it was last awake. Gives
    /// the time.
    fn note_stall(&self, awake: Instant) -> Instant {
        let now = clock::now();
        if let Some(late) = self.engine.stood_still(now, awake) {
            self.tell(Notice::StoodStill(Stall { until: now, late, most: now.since(awake) }));
        }
        now
    }

    /// Until when to stay awake for what is due within a moment and may not be late by a waking: a Backup becomes
    /// Active whose Active router has been silent so far, or adverts leave at short intervals.
    fn awaited(&mut self) -> Option<Instant> {
        let now = clock::now();
        let near = now + EARLY;
        let is_woken = |engine: &Engine| engine.poll_wake().is_some_and(|at| at <= now);
        if !is_woken(&self.engine) {
            return None;
        }
        self.watching.refresh_due(near, &mut self.engine);
        if !is_woken(&self.engine) {
            return None;
        }
        if self.engine.takes_over_by(near) {
            self.wake_executor();
        }
        self.engine.poll_timeout().filter(|at| *at > now)
    }

    /// Wakes the effects thread, unless it was told a moment ago.
    fn wake_executor(&mut self) {
        let now = clock::now();
        if now.since(self.woke_executor) >= EARLY {
            self.woke_executor = now;
            self.executor.soon();
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
            note_rest(&mut upto, taken, records.records());
        }
        // Before what came to the sockets is judged: that asks who came last.
        for record in records.records() {
            self.note_sender(record);
        }
        self.slow.each_ready(clock::now(), |slow, empty| {
            if let Some(at) = empty {
                slow.was_empty_at(at);
            }
            // An interface that went away fails here until the service thread takes it out.
            let before = records.records().len();
            let taken = slow.drain(BUDGET, &mut self.table, |record| records.push(record));
            note_rest(&mut upto, taken.unwrap_or(0), &records.records()[before..]);
        });
        // Two sources, one order: by arrival.
        records.take(|record| self.heard(record));
        self.records = records;
        upto.map_or(Heard::All, Heard::UpTo)
    }

    /// Notes whose advert the kernel program has accepted.
    fn note_sender(&mut self, record: &abi::Event) {
        if record.kind == abi::Event::ADVERT
            && self.routes.get(&Slot(record.slot)).is_some_and(|line| line.is_about(record))
        {
            self.table.heard(record.slot, Instant::from_nanos(record.at), record.source);
        }
    }

    fn heard(&mut self, record: &abi::Event) {
        let slot = Slot(record.slot);
        if record.kind == abi::Event::EXPIRED {
            // The timers' turn, behind this, does what is due.
            self.watching.refresh(slot, &mut self.engine);
            return;
        }
        let Some(line) = self.routes.get_mut(&slot) else { return };
        if !line.is_about(record) {
            return;
        }
        if record.kind == abi::Event::REFUSED {
            self.tell_record(record);
            return;
        }
        let family = if record.family == Family::V6 as u8 { Family::V6 } else { Family::V4 };
        let now = Instant::from_nanos(record.at);
        let agreement = Agreement::from_index(record.agreement);
        let differs = agreement == Agreement::Overlap && line.newly_differs(now, record);
        let unlisted = record.unlisted != 0 && line.newly_unlisted(now, record);
        // Only once: from then on its numbers grow again.
        let anew = record.reason != 0;
        let Some(interval) = line.interval(record) else { return };
        let advert = Advert {
            source: wire::address(family, record.source),
            priority: Priority::new(record.priority),
            interval,
            form: ChecksumForm::from_index(record.form),
            agreement,
            list: record.list,
            mac: record.mac,
        };
        if self.watching.note(slot, now, &advert, line.last_arrival()) {
            line.forget_arrival();
        }
        line.note_arrival(now, record, interval, self.engine.is_backup(slot));
        line.senders.note(&advert, record);
        if differs || unlisted || anew {
            self.tell_record(record);
        }
        self.watching.refresh_before(slot, now, &mut self.engine);
        self.engine.handle(now, Input::Advert { slot, advert });
        self.flush(now);
    }

    fn obey_all(&mut self, first: Order) {
        self.obey(first);
        for _ in 1..ORDERS {
            match self.next_order() {
                Some(order) => self.obey(order),
                None => break,
            }
        }
    }

    /// The next order, where there is one.
    ///
    /// Not by `try_recv`, which waits for a sender that has begun to send: whoever has that one's CPU has it for
    /// longer than a takeover may take. Nor by tokio's budget, which begins anew only where the loop sleeps.
    fn next_order(&mut self) -> Option<Order> {
        unconstrained(self.orders.recv()).now_or_never().flatten()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Input(input) => {
                let now = clock::now();
                self.watching.refresh_for(&input, &mut self.engine);
                self.engine.handle(now, input);
                // At once: an order behind it may change the frame that says priority 0.
                self.flush(now);
            }
            Order::Route(slot, route) => {
                for (key, rule) in route.rules() {
                    self.table.set(key, rule, &route.addresses, &route.peers);
                }
                let (down, adverts) = route.down;
                self.table.wait(slot.0, down, adverts);
                let mut line = Box::new(Line::new(*route, self.pulse.signed()));
                if let Some(old) = self.routes.remove(&slot) {
                    let stays = |key| line.route.rules().any(|(now, _)| now == key);
                    for (key, _) in old.route.rules().filter(|(key, _)| !stays(*key)) {
                        self.table.remove(key, slot.0);
                    }
                    line.follow(*old, clock::now());
                }
                self.routes.insert(slot, line);
                self.watching.ask_again(slot, &mut self.table, &mut self.engine);
            }
            Order::Unroute(slot) => {
                if let Some(old) = self.routes.remove(&slot) {
                    old.route.rules().for_each(|(key, _)| self.table.remove(key, slot.0));
                    self.table.reset(slot.0);
                }
            }
            Order::Listen(slow) => {
                let ifindex = slow.ifindex();
                if let Err(error) = self.hear_by(*slow) {
                    self.deaf(ifindex, &error);
                }
            }
            Order::Filter(ifindex, filter) => {
                let coarse = self.slow.on(ifindex).map(|slow| slow.set_filter(&filter));
                match coarse.collect::<io::Result<Vec<bool>>>() {
                    Ok(coarse) if coarse.contains(&true) => self.tell(Notice::Coarse(ifindex)),
                    Ok(_) => {}
                    Err(error) => self.deaf(ifindex, &error),
                }
            }
            Order::Unlisten(ifindex) => self.unlisten(ifindex),
            Order::Inspect(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.inspect());
            }
            Order::Strangers(answer) => {
                // As above.
                let _ = answer.send(self.table.strangers());
            }
            Order::Stop(stopped) => {
                self.watching.refresh_all(&mut self.engine);
                self.engine.handle(clock::now(), Input::Shutdown);
                self.stop = Some(stopped);
            }
        }
    }

    /// Takes a socket in, in place of the one before.
    fn hear_by(&mut self, mut slow: SlowPath) -> io::Result<()> {
        self.listen_until(clock::now());
        let (ifindex, family) = (slow.ifindex(), slow.family());
        if let Some(mut before) = self.slow.take(ifindex, family)? {
            slow.follow(&mut before)?;
            self.tell(Notice::Close(vec![before]));
        }
        self.slow.insert(ifindex, family, slow)
    }

    /// Gives up an interface whose sockets can't be used.
    fn deaf(&mut self, ifindex: u32, error: &io::Error) {
        self.unlisten(ifindex);
        self.tell(Notice::Deaf(ifindex, error.to_string()));
    }

    fn unlisten(&mut self, ifindex: u32) {
        let sockets = self.slow.remove(ifindex);
        self.tell(Notice::Close(sockets));
    }

    /// Does what the engine asks: adverts first, then addresses, then words. An advert that came in
    /// between, while the kernel was still watching, makes it ask again, and so does one that could not be
    /// sent.
    fn flush(&mut self, now: Instant) {
        loop {
            self.gather();
            let mut effect = self.engine.poll_effect();
            if effect.is_some() && !self.outbox.is_empty() {
                // It works while the adverts leave, and announces nothing before they have.
                self.executor.turn().adverts();
            }
            while let Some(next) = effect {
                if !is_astray(&next, &self.routes) {
                    self.executor.send(next);
                }
                effect = self.engine.poll_effect();
            }
            let left = self.transmit();
            self.executor.turn().announcements();
            while let Some(event) = self.engine.poll_event() {
                if let Event::Transition { slot, to, priority, .. } = event {
                    self.routes.get_mut(&slot).into_iter().for_each(|line| line.forget_arrival());
                    self.pulse.state(slot, to, priority, now);
                }
                // Its own advert, and not only one that was to leave with it.
                let spoke = |slot| left.filter(|_| !self.mute.is_silent(slot));
                let notice = self.chatter.of_event(now, event, spoke);
                self.tell(notice);
            }
            if let Some(watch) = self.engine.poll_watch() {
                self.watching.obey(watch, &mut self.routes, &mut self.table, &mut self.engine);
            } else if self.mute.has_no_news() {
                break;
            }
            for sent in self.mute.news() {
                self.engine.handle(clock::now(), sent);
            }
        }
    }

    /// Puts the adverts that are to leave together.
    fn gather(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            let Some(line) = self.routes.get_mut(&transmit.slot) else {
                self.mute.note(&transmit, false);
                continue;
            };
            let Transmit { slot, priority, form, .. } = transmit;
            line.left = self.pulse.sending(slot, priority, form, clock::now());
            let heard = self.table.greatest_sequence(transmit.slot.0);
            let sequence = line.next_sequence(heard, SystemTime::now());
            if let Some(sequence) = sequence {
                self.pulse.signing(sequence);
            }
            self.outbox.put(transmit, line, sequence);
        }
    }

    /// Sends them; says when that was done, where any left. Tells where that begins to fail or to work
    /// again.
    fn transmit(&mut self) -> Option<Instant> {
        let (routes, notices) = (&mut self.routes, &self.notices);
        let (mute, pulse) = (&mut self.mute, &self.pulse);
        let mut sent_any = false;
        self.outbox.send(|transmit, Fate { left, error }| {
            let slot = transmit.slot;
            sent_any |= left;
            mute.note(&transmit, left);
            let Some(line) = routes.get_mut(&slot) else { return };
            if error.is_none() && line.failing.is_none() {
                return;
            }
            if !left {
                pulse.unsent(slot, line.left);
            }
            let notice = match error {
                Some(error) => {
                    let now = clock::now();
                    let failing = line.failing.get_or_insert(Failing::from(now));
                    let told = failing.note(now, &error).then_some(*failing);
                    told.map(|failing| Notice::SendFailed(slot, failing, line.advert_len()))
                }
                None => {
                    line.failing = None;
                    Some(Notice::SendWorks(slot))
                }
            };
            // As in `tell`.
            if let Some(notice) = notice {
                let _ = notices.send(notice);
            }
        });
        sent_any.then(clock::now)
    }

    fn tell_record(&mut self, record: &abi::Event) {
        let notice = self.chatter.of_record(record);
        self.tell(notice);
    }

    fn tell(&self, notice: impl Into<Option<Notice>>) {
        // The service thread outlives this one except at the very end, when nobody listens.
        if let Some(notice) = notice.into() {
            let _ = self.notices.send(notice);
        }
    }
}
