//! One instance's changes, told one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tracing::{debug, error, warn};

use super::{Patience, Word};
use crate::config::model::Command;
use crate::sys::clock;
use crate::track::process::{End, ProcessGroup};
use crate::track::security;
use crate::track::{Policy, ScriptProblem};
use crate::users::{Origin, SCRIPT_ACCOUNT};

/// More changes than this don't wait: whoever reads them is not reading.
const MOST_WAITING: usize = 100;

/// From SIGTERM to SIGKILL where a command gives way to `notify_stop`, and at most where the daemon ends.
const GRACE: Duration = Duration::from_millis(100);

/// More commands of an instance than this don't run beside each other: the next ones wait.
const MOST_BESIDE: usize = 16;

/// What is still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// Everything.
    No,
    /// Where a STOP waits, only that.
    OnlyStop,
    /// Nothing.
    Now,
}

#[derive(Debug)]
pub(super) struct Hook {
    /// The keyword it was written with.
    pub(super) keyword: &'static str,
    pub(super) command: Command,
    pub(super) policy: Policy,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) word: Word,
    pub(super) hooks: Vec<Hook>,
    /// Since when it waits.
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Queue {
    worker: Worker,
    task: Option<JoinHandle<()>>,
    /// What [`Queue::idle`] still waits for beside `task`.
    beside: Vec<JoinHandle<()>>,
}

/// A command that runs.
#[derive(Debug)]
struct Told {
    group: ProcessGroup,
    label: String,
    word: Word,
    started: Instant,
}

#[derive(Clone, Debug)]
struct Worker {
    name: Arc<str>,
    waiting: Arc<Mutex<Waiting>>,
    pushed: Arc<Notify>,
    ending: watch::Receiver<Ending>,
    patience: Patience,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Change>,
    /// A task takes changes out.
    busy: bool,
    /// That task has one in hand.
    telling: bool,
    /// Commands that later ones did not wait for: most of them still run.
    beside: Vec<JoinHandle<()>>,
    /// When the commands of the last change to each state began to run.
    began: BTreeMap<Word, vrrp_common::Instant>,
}

impl Queue {
    pub(super) fn new(name: &str, ending: watch::Receiver<Ending>, patience: Patience) -> Self {
        let (waiting, pushed) = Default::default();
        let worker = Worker { name: name.into(), waiting, pushed, ending, patience };
        Self { worker, task: None, beside: Vec::new() }
    }

    pub(super) fn push(&mut self, mut change: Change) {
        let mut waiting = self.worker.lock();
        if waiting.changes.len() >= MOST_WAITING {
            let (name, dropped) = (&self.worker.name, waiting.changes.len());
            change.since = waiting.changes.drain(..).next().map_or(change.since, |it| it.since);
            warn!("({name}) {dropped} changes waited for notify commands: only the last is told");
        }
        waiting.changes.push_back(change);
        self.worker.pushed.notify_one();
        if !std::mem::replace(&mut waiting.busy, true) {
            self.task = Some(tokio::spawn(self.worker.clone().run()));
        }
    }

    /// Changes that wait or are being told.
    pub(super) fn len(&self) -> usize {
        let waiting = self.worker.lock();
        waiting.changes.len() + usize::from(waiting.telling)
    }

    pub(super) fn began(&self, word: Word) -> Option<vrrp_common::Instant> {
        self.worker.lock().began.get(&word).copied()
    }

    /// Returns once nothing is left to do. May be dropped and called again.
    pub(super) async fn idle(&mut self) {
        if let Some(task) = &mut self.task {
            // A panic in the task was reported where it happened.
            drop(task.await);
            self.task = None;
        }
        self.beside.append(&mut self.worker.lock().beside);
        while let Some(task) = self.beside.last_mut() {
            drop(task.await);
            self.beside.pop();
        }
    }
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and a queue can't be half written.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(mut self) {
        while let Some(change) = self.next() {
            self.lock().began.remove(&change.word);
            let mut hooks = change.hooks.into_iter().peekable();
            while let Some(hook) = hooks.next() {
                if self.gives_way(change.word) {
                    warn!(
                        "({}) {} for {} is not run any more",
                        self.name, hook.keyword, change.word
                    );
                    continue;
                }
                self.tell(&hook, change.word, hooks.peek().is_some()).await;
            }
        }
    }

    fn next(&self) -> Option<Change> {
        let mut waiting = self.lock();
        let next = waiting.changes.pop_front();
        waiting.busy = next.is_some();
        waiting.telling = next.is_some();
        next
    }

    /// Whether a change to `word` must not be told (any longer).
    fn gives_way(&self, word: Word) -> bool {
        match *self.ending.borrow() {
            Ending::No => false,
            Ending::OnlyStop => {
                word != Word::Stop && self.lock().changes.iter().any(|it| it.word == Word::Stop)
            }
            Ending::Now => true,
        }
    }

    /// `more`: another command of the same change comes behind it.
    async fn tell(&mut self, hook: &Hook, word: Word, more: bool) {
        let label = format!("({}) {} `{}` for {word}", self.name, hook.keyword, hook.command.text);
        match self.start(hook, &label).await {
            Ok(Some(group)) => {
                self.lock().began.entry(word).or_insert_with(clock::now);
                let told = Told { group, label, word, started: Instant::now() };
                self.wait_for(told, more).await;
            }
            Ok(None) => warn!("{label} is not run any more"),
            Err(problem) => error!("{label} can't be run: {problem}"),
        }
    }

    /// Returns `None` where the daemon ends before the look-ups do.
    async fn start(
        &mut self,
        hook: &Hook,
        label: &str,
    ) -> Result<Option<ProcessGroup>, ScriptProblem> {
        let (command, policy) = (hook.command.clone(), hook.policy.clone());
        let preparing = tokio::task::spawn_blocking(move || security::prepare(&command, &policy));
        let prepared = tokio::select! {
            biased;
            joined = preparing => joined,
            () = no_more(&mut self.ending) => return Ok(None),
        };
        // The task only fails where the runtime ends.
        let Ok(prepared) = prepared else { return Ok(None) };
        let prepared = prepared?;
        for risk in &prepared.risks {
            warn!(
                "SECURITY VIOLATION - scripts are being executed but script_security not enabled. \
                 {label}: {risk}"
            );
        }
        if prepared.origin == Origin::Daemon {
            debug!("{label} runs as {}: no `script_user`, no `{SCRIPT_ACCOUNT}`", prepared.user());
        }
        // Here and not in another thread: the command ends with the thread that starts it.
        prepared.start(Signal::SIGTERM).map(Some)
    }

    /// Waits until a command has ended, or others have waited for it too long.
    async fn wait_for(&mut self, told: Told, more: bool) {
        let remind = self.patience.remind;
        let mut reminder = interval_at(told.started + remind, remind);
        let mut reminded = false;
        loop {
            let seen = *self.ending.borrow();
            if self.gives_way(told.word) {
                return told.cut_short().await;
            }
            let beside = self.beside_at(told.started, more);
            tokio::select! {
                biased;
                () = told.group.ended() => return told.reap(),
                () = leaves(&mut self.ending, seen) => {}
                () = self.pushed.notified() => {}
                () = reached(beside) => return self.go_on_beside(told),
                _ = reminder.tick() => {
                    let waiting = self.lock().changes.len();
                    if waiting > 0 || !std::mem::replace(&mut reminded, true) {
                        warn!("{}, {waiting} changes wait for it", told.still_runs());
                    }
                }
            }
        }
    }

    /// When what waits for a command that was started then is no longer to wait.
    fn beside_at(&self, started: Instant, more: bool) -> Option<Instant> {
        let mut waiting = self.lock();
        waiting.beside.retain(|task| !task.is_finished());
        let waits = waiting.changes.front().map(|change| change.since.max(started));
        let since = if more { Some(started) } else { waits };
        since.filter(|_| waiting.beside.len() < MOST_BESIDE).map(|it| it + self.patience.beside)
    }

    fn go_on_beside(&self, told: Told) {
        warn!("{}: what has to be told since is told beside it", told.still_runs());
        let task = tokio::spawn(told.run_on(self.ending.clone()));
        self.lock().beside.push(task);
    }
}

impl Told {
    fn still_runs(&self) -> String {
        let (pid, took) = (self.group.pid(), self.started.elapsed().as_secs());
        format!("{} (PID {pid}) still runs after {took} s", self.label)
    }

    /// Nobody waits for it, and so nobody does when the daemon ends.
    async fn run_on(self, mut ending: watch::Receiver<Ending>) {
        tokio::select! {
            biased;
            () = self.group.ended() => self.reap(),
            () = leaves(&mut ending, Ending::No) => self.cut_short().await,
        }
    }

    fn reap(mut self) {
        let label = &self.label;
        match self.group.reap() {
            Ok(End::Exited(0)) => debug!("{label} succeeded"),
            Ok(End::Exited(status)) => warn!("{label} failed (exited with status {status})"),
            Ok(End::Signaled(number)) => warn!("{label} failed (due to signal {number})"),
            Err(error) => warn!("{label}: its end was lost: {error}"),
        }
    }

    async fn cut_short(mut self) {
        let Self { group, label, .. } = &mut self;
        warn!("{label} (PID {}) is ended, since the daemon ends", group.pid());
        group.signal(Signal::SIGTERM);
        // At the very end nobody waits for this task any more.
        group.on_drop(Signal::SIGKILL);
        if timeout(GRACE, group.ended()).await.is_err() {
            group.signal(Signal::SIGKILL);
            group.ended().await;
        }
        // The rest of the group, while the dead leader still keeps its number.
        group.signal(Signal::SIGKILL);
        drop(group.reap());
    }
}

/// Returns then, or never.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Returns once the ending is no longer `seen`.
async fn leaves(ending: &mut watch::Receiver<Ending>, seen: Ending) {
    // The sender never goes without a last word, see `Notifier`.
    drop(ending.wait_for(|now| *now != seen).await);
}

async fn no_more(ending: &mut watch::Receiver<Ending>) {
    drop(ending.wait_for(|now| *now == Ending::Now).await);
}
