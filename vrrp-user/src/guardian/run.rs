//! The guardian's loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use vrrp_common::Instant;

use super::channel::{self, Kept, Said};
use super::crash::{self, Patience, Word};
use super::crashes::{Again, Crashes, SILENT};
use super::left::{Left, told};
use super::notify::{self, Watchdog};
use super::starved::{self, Doubt, Seen};
use super::worker::{Ended, Why, Worker};
use super::{LEDGER, say};
use crate::ledger::{Entry, Phase, State, judge};
use crate::log::INTERNAL;
use crate::sys::child::real_time;
use crate::sys::clock::now;
use crate::sys::limits::raise_descriptors;
use crate::sys::memory::forget_start;
use crate::sys::signals::{self, keep_waiting};

/// Signals that the worker gets.
const PASSED: [Signal; 3] = [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT];
/// How often it is said at the most what a signal does not do.
const ASKED: Duration = Duration::from_secs(60);
/// How long a worker may take to end in order: three times what it allows itself.
const STOP: Duration = Duration::from_secs(3);
/// Above the worker: where that runs wild, this process must still come to its turn.
const PRIORITY: u8 = 60;
/// How often the worker's word is looked at, at the least.
const LOOK: Duration = Duration::from_secs(1);
/// How long one that has crashed may take for its last words, a log line or two.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long a worker in the place of another may take to be at work.
const START: Duration = Duration::from_secs(30);
/// Until a worker that could not be started is tried again.
const NO_PROCESS: Duration = Duration::from_secs(1);

mod ending;

/// A worker that has crashed and is not gone yet.
struct Dying {
    worker: Worker,
    /// What was done about it, for the log.
    done: String,
    /// Until then it may end by itself.
    until: Instant,
}

/// See the module's documentation.
pub(super) struct Guardian {
    signals: SignalFd,
    worker: Option<Worker>,
    /// A worker has been at work.
    ran: bool,
    /// Those before it, dead for all that user space can see, that the kernel is taking apart; with what
    /// was done about it.
    dying: Vec<Dying>,
    /// What outlives a worker.
    kept: Kept,
    left: Left,
    /// What was done when the worker died while all was ending, for the log.
    given_up: Option<Vec<String>>,
    crashes: Crashes,
    patience: Patience,
    doubt: Doubt,
    watchdog: Watchdog,
    /// How long the last start took, without what the next one need not do again.
    start: Duration,
    /// Routers left as they were by a crash that the new worker has not spoken for yet, or those of a
    /// worker that was killed: should even that not end it, they are released in time.
    waiting: Vec<Entry>,
    /// When a worker is started after a crash loop.
    again: Option<Instant>,
    /// Signals for a worker that does not catch them yet.
    held: Vec<Signal>,
    /// The end was asked for: when it is over with patience.
    stop: Option<Instant>,
    /// Until when the last wait was to last.
    planned: Instant,
    /// When it was last said that a signal does nothing.
    asked: Option<Instant>,
}

impl Guardian {
    /// Starts the first worker.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn start() -> io::Result<Self> {
        let mask = keep_waiting(&PASSED)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // Without it this process comes late where the machine is busy; the worker says so for both.
        let _ = real_time(above(0));
        // Where it is refused, there is room for most; what there is none for is told.
        let _ = raise_descriptors();
        let mut guardian = Self {
            signals,
            worker: None,
            ran: false,
            dying: Vec::new(),
            kept: Kept::new(),
            left: Left::default(),
            given_up: None,
            crashes: Crashes::default(),
            patience: Patience::default(),
            doubt: Doubt::default(),
            watchdog: Watchdog::new(now()),
            start: Duration::ZERO,
            waiting: Vec::new(),
            again: None,
            held: Vec::new(),
            stop: None,
            planned: now(),
            asked: None,
        };
        guardian.worker = Some(Worker::start(&guardian.kept, now())?);
        Ok(guardian)
    }

    /// Watches until the daemon ends, and gives the code to end with.
    pub(super) fn watch(mut self) -> u8 {
        loop {
            let next = self.tend(now());
            self.planned = next.unwrap_or(Instant::from_nanos(u64::MAX));
            self.wait(next);
            self.take_signals();
            if self.stop.is_some() && self.worker.is_none() {
                // Whatever was held has been released, and nobody comes back for the rest.
                let left = self.end();
                if !left.is_empty() {
                    say::warn(&format!("ended without a worker: {}", left.join("; ")));
                }
                return 0;
            }
            self.listen();
            if let Some(code) = self.reap() {
                return code;
            }
            self.bury();
        }
    }

    /// Waits until something happens, or until that time.
    fn wait(&self, until: Option<Instant>) {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(worker) = &self.worker {
            if !worker.silent {
                fds.push(PollFd::new(worker.socket(), PollFlags::POLLIN));
            }
            fds.push(PollFd::new(worker.pidfd(), PollFlags::POLLIN));
        }
        let dying = self.dying.iter();
        fds.extend(dying.map(|one| PollFd::new(one.worker.pidfd(), PollFlags::POLLIN)));
        let wait = until.map(|until| TimeSpec::from_duration(until.since(now())));
        // Interrupted or not: everything is looked at.
        let _ = ppoll(&mut fds, wait, None);
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            // A small number.
            let number = info.ssi_signo as i32;
            if signals::asks(number) {
                self.asked(number);
                continue;
            }
            // As it was given to the mask. A child's end is seen elsewhere.
            let Some(signal) = PASSED.into_iter().find(|one| *one as i32 == number) else {
                continue;
            };
            let ends = matches!(signal, Signal::SIGTERM | Signal::SIGINT);
            if ends {
                self.stop.get_or_insert_with(|| now() + STOP);
                notify::stopping();
            }
            match &self.worker {
                Some(worker) if worker.listens || ends => worker.signal(signal),
                _ => self.held.push(signal),
            }
        }
    }

    /// Says that nothing is done at a signal: those who know keepalived ask by some.
    fn asked(&mut self, number: i32) {
        let now = now();
        if self.asked.is_none_or(|before| now.since(before) >= ASKED) {
            self.asked = Some(now);
            let name = signals::name(number);
            say::info(&format!("{name} changes nothing: ask `xvrrp status --json` instead"));
        }
    }

    /// Takes what the worker says, and its silence when it dies.
    fn listen(&mut self) {
        while let Some(worker) = self.worker.as_mut().filter(|worker| !worker.silent) {
            match worker.hear() {
                Ok(Some(Said::Hello)) => {
                    worker.listens = true;
                    for signal in self.held.drain(..) {
                        worker.signal(signal);
                    }
                }
                Ok(Some(Said::Running(once))) => {
                    worker.running = true;
                    self.ran = true;
                    self.start = now().since(worker.started).saturating_sub(once);
                    notify::ready();
                    // From here on there is little to do for long. If it fails, nothing is lost.
                    let _ = forget_start();
                }
                Ok(Some(Said::Directory(path))) => self.left.run_dir = Some(path),
                Ok(Some(Said::Reloading)) => notify::reloading(),
                Ok(Some(Said::Reloaded)) => notify::ready(),
                Ok(Some(Said::Level(level))) => {
                    // As at the start.
                    let _ = real_time(above(level));
                }
                Ok(Some(Said::Keep(some, missing))) => self.keep(some, &missing),
                Ok(Some(Said::Drop(names))) => {
                    for name in names {
                        self.kept.remove(&name);
                    }
                }
                Ok(Some(Said::End)) | Err(_) => {
                    // Its descriptors are closed, so none of its threads is left, though the kernel may
                    // take some time to take it apart. At work it ends like that by a crash only.
                    worker.silent = true;
                    if self.is_at_work() {
                        self.crashed();
                    }
                    return;
                }
                Ok(None) => return,
            }
        }
    }

    fn keep(&mut self, some: Vec<(String, OwnedFd)>, missing: &[String]) {
        if !missing.is_empty() {
            say::warn(&format!("{}: it goes when the worker does", channel::no_room(missing)));
        }
        for (name, fd) in some {
            if name == LEDGER {
                self.left.read(&fd);
                // What an earlier life left is waited for as after a crash, however long a start takes.
                if self.worker.as_ref().is_some_and(|worker| !worker.again) {
                    self.waiting = self.left.active();
                }
            }
            self.kept.insert(name, fd);
        }
    }

    /// Takes the ends of workers. With a code the whole ends.
    fn reap(&mut self) -> Option<u8> {
        self.dying.retain_mut(|one| match one.worker.ended() {
            Some(ended) => {
                tell(&one.worker, ended, &one.done);
                false
            }
            None => true,
        });
        let ended = self.worker.as_mut()?.ended()?;
        if self.stop.is_none() && ended.is_crash(self.ran) {
            self.crashed();
            // Known by now: told at once.
            return self.reap();
        }
        let worker = self.worker.take()?;
        let left = self.end();
        let (code, is_news) = match ended {
            Ended::Code(code) if !ended.is_crash(self.ran) => (code, !left.is_empty()),
            // By the signal that was passed on, before it was caught.
            Ended::Signal(Signal::SIGTERM | Signal::SIGINT) => (0, !left.is_empty()),
            Ended::Code(_) | Ended::Signal(_) => (INTERNAL, true),
        };
        if is_news {
            let why = worker.why().map(|why| why.to_string());
            let said: Vec<String> = why.into_iter().chain(left).collect();
            tell(&worker, ended, &said.join("; "));
        }
        Some(code)
    }

    /// The whole ends: gives up what is left, and says what.
    fn end(&mut self) -> Vec<String> {
        let said = self.given_up.take().unwrap_or_else(|| self.left.give_up());
        self.left.clear(&self.kept);
        said
    }

    /// The worker is dead: decides what becomes of its routers, and starts the next one.
    fn crashed(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let now = now();
        if self.stop.is_some() {
            // It is reaped where it is, and the end follows.
            self.given_up.get_or_insert_with(|| self.left.give_up());
            self.worker = Some(worker);
            return;
        }
        let mut done = match self.crashes.crashed(now, worker.started, self.left.rose()) {
            Again::AtOnce => {
                let released = self.settle(now);
                let on = self.left.table.is_some().then_some(self.waiting.len());
                self.again = Some(now);
                self.start_due(now);
                let what = match (&self.worker, on) {
                    (Some(_), Some(on)) => format!("a new one goes on for {on} instance(s)"),
                    (Some(_), None) => "a new one is started".to_owned(),
                    (None, _) => "no new one can be started yet".to_owned(),
                };
                std::iter::once(what).chain(released).collect::<Vec<_>>().join("; ")
            }
            Again::After(wait) => {
                let released = self.left.release_all();
                self.waiting.clear();
                self.again = Some(now + wait);
                if let Some(table) = &self.left.table {
                    table.set_silent(SILENT);
                }
                let what = format!(
                    "it crashes again and again, so all is released and the next start is in {} s",
                    wait.as_secs()
                );
                std::iter::once(what).chain(released).collect::<Vec<_>>().join("; ")
            }
        };
        if let Some(why) = worker.why() {
            done = format!("{why}; {done}");
        }
        self.dying.push(Dying { worker, done, until: now + LAST_WORDS });
    }

    /// Leaves alone what the next worker can continue, releases the rest, and says what.
    fn settle(&mut self, now: Instant) -> Option<String> {
        let table = self.left.table.as_ref()?;
        table.set_silent(Duration::ZERO);
        let fates = crash::judge(table.entries(), now, self.start);
        let released = self.left.release(&fates.released, now);
        self.waiting = fates.waiting;
        told(released)
    }

    /// Does what is due, and says when something is next.
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        self.start_due(now);
        let confirmed = self.tend_waiting(now);
        let word = self.tend_worker(now);
        let stop = self.tend_stop(now);
        let killed = self.tend_killed(now);
        let dying = self.tend_dying(now);
        let watchdog = self.watchdog.tend(now);
        [self.again, confirmed, word, stop, killed, dying, watchdog].into_iter().flatten().min()
    }

    /// Starts a worker, where one is due, and tells `xvrrp status` where there is none.
    fn start_due(&mut self, now: Instant) {
        if self.worker.is_none() && self.again.is_some_and(|again| again <= now) {
            match Worker::start(&self.kept, now) {
                Ok(mut worker) => {
                    worker.again = true;
                    self.again = None;
                    self.worker = Some(worker);
                }
                Err(error) => {
                    self.again = Some(now + NO_PROCESS);
                    let why = format!("no worker can be started, trying again: {error}");
                    let said = std::iter::once(why).chain(self.left.release_all());
                    self.waiting.clear();
                    say::error(&said.collect::<Vec<_>>().join("; "));
                }
            }
        }
        if let Some(table) = &self.left.table {
            table.set_next_start(self.again);
        }
    }

    /// Releases routers for which the worker did not speak in time, and says when to look again.
    fn tend_waiting(&mut self, now: Instant) -> Option<Instant> {
        let table = self.left.table.as_ref()?;
        let mut late = Vec::new();
        self.waiting.retain(|before| match table.entry(before.slot) {
            Some(entry) if entry.state == State::Active && entry.sent == before.sent => {
                let over = now >= judge::peers_wait(&entry);
                if over {
                    late.push(entry);
                }
                !over
            }
            // It has spoken, or has been released by whoever came after.
            Some(_) | None => false,
        });
        let why = match self.worker.as_ref().filter(|worker| worker.killed.is_some()) {
            Some(killed) => format!("{} and is not gone yet", killed.was_killed()),
            None => "the new worker was not there in time".to_owned(),
        };
        for one in self.left.release(&late, now) {
            say::warn(&format!("{why}: {one}"));
        }
        self.waiting.iter().map(judge::peers_wait).min()
    }

    /// Ends a worker that hangs, and says when to look again.
    fn tend_worker(&mut self, now: Instant) -> Option<Instant> {
        let at_work = self.is_at_work();
        if let Some(worker) = self.worker.as_mut()
            && worker.again
            && !worker.running
            && worker.killed.is_none()
        {
            // The first may take its time; whoever started it sees that.
            let limit = worker.started + START;
            if now < limit {
                return Some(limit);
            }
            worker.end(Why::Slow, now);
            return Some(now);
        }
        let (worker, table) = (self.worker.as_mut()?, self.left.table.as_ref()?);
        if !at_work || worker.killed.is_some() {
            return None;
        }
        let grace = crash::grace(table.entries());
        let Some(back) = table.back() else { return Some(now + LOOK) };
        match self.patience.judge(now, self.planned, back, grace) {
            // Its next word may be for an earlier time than this one.
            Word::Good(due) => {
                self.doubt.forget();
                Some(due.min(now + LOOK))
            }
            Word::Broken => {
                let first = crash::peers_take_over(table.entries());
                let why = match self.doubt.look(worker.pid(), now) {
                    Seen::TooEarly => return Some(now + starved::LOOK),
                    // A new one would be too. Once the peers take over, they have it by right.
                    Seen::Starved if first.is_none_or(|first| now < first) => {
                        return Some(now + starved::LOOK);
                    }
                    Seen::Starved => Why::Starved,
                    Seen::Hung => Why::Silent,
                };
                worker.end(why, now);
                self.waiting = self.left.active();
                Some(now)
            }
        }
    }

    /// Whether the worker does its work, by its own word: neither starting nor ending.
    fn is_at_work(&self) -> bool {
        let Some((worker, table)) = self.worker.as_ref().zip(self.left.table.as_ref()) else {
            return false;
        };
        worker.running && table.worker() == worker.pid() && table.phase() == Phase::Running
    }
}

/// The priority of this process above a worker that has that one.
fn above(level: u8) -> i32 {
    PRIORITY.max(level.saturating_add(1)).into()
}

fn tell(worker: &Worker, ended: Ended, done: &str) {
    let colon = if done.is_empty() { "" } else { ": " };
    say::error(&format!("the worker (process {}) {ended}{colon}{done}", worker.pid()));
}
