//! One instance's changes, told one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, timeout};
use tracing::{debug, error, warn};

use super::Word;
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
}

#[derive(Debug)]
pub(super) struct Queue {
    worker: Worker,
    task: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Worker {
    name: Arc<str>,
    waiting: Arc<Mutex<Waiting>>,
    ending: watch::Receiver<Ending>,
    remind: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Change>,
    /// A task takes changes out.
    busy: bool,
    /// That task has one in hand.
    telling: bool,
    /// When the commands of the last change to each state began to run.
    began: BTreeMap<Word, vrrp_common::Instant>,
}

impl Queue {
    pub(super) fn new(name: &str, ending: watch::Receiver<Ending>, remind: Duration) -> Self {
        let waiting = Arc::default();
        Self { worker: Worker { name: name.into(), waiting, ending, remind }, task: None }
    }

    pub(super) fn push(&mut self, change: Change) {
        let mut waiting = self.worker.lock();
        if waiting.changes.len() >= MOST_WAITING {
            let (name, dropped) = (&self.worker.name, waiting.changes.len());
            waiting.changes.clear();
            warn!("({name}) {dropped} changes waited for notify commands: only the last is told");
        }
        waiting.changes.push_back(change);
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
            for hook in change.hooks {
                if self.gives_way(change.word) {
                    warn!(
                        "({}) {} for {} is not run any more",
                        self.name, hook.keyword, change.word
                    );
                    continue;
                }
                self.tell(&hook, change.word).await;
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

    async fn tell(&mut self, hook: &Hook, word: Word) {
        let label = format!("({}) {} `{}` for {word}", self.name, hook.keyword, hook.command.text);
        match self.start(hook, &label).await {
            Ok(Some(group)) => {
                self.lock().began.entry(word).or_insert_with(clock::now);
                self.follow(group, &label, word).await;
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

    async fn follow(&mut self, mut group: ProcessGroup, label: &str, word: Word) {
        let started = Instant::now();
        let mut reminder = interval_at(started + self.remind, self.remind);
        loop {
            let seen = *self.ending.borrow();
            if self.gives_way(word) {
                self.cut_short(group, label).await;
                return;
            }
            tokio::select! {
                biased;
                () = group.ended() => break,
                () = leaves(&mut self.ending, seen) => {}
                _ = reminder.tick() => {
                    let (waiting, took) = (self.lock().changes.len(), started.elapsed());
                    warn!(
                        "{label} (PID {}) still runs after {} s, {waiting} changes wait for it",
                        group.pid(),
                        took.as_secs()
                    );
                }
            }
        }
        match group.reap() {
            Ok(End::Exited(0)) => debug!("{label} succeeded"),
            Ok(End::Exited(status)) => warn!("{label} failed (exited with status {status})"),
            Ok(End::Signaled(number)) => warn!("{label} failed (due to signal {number})"),
            Err(error) => warn!("{label}: its end was lost: {error}"),
        }
    }

    async fn cut_short(&mut self, mut group: ProcessGroup, label: &str) {
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

/// Returns once the ending is no longer `seen`.
async fn leaves(ending: &mut watch::Receiver<Ending>, seen: Ending) {
    // The sender never goes without a last word, see `Notifier`.
    drop(ending.wait_for(|now| *now != seen).await);
}

async fn no_more(ending: &mut watch::Receiver<Ending>) {
    drop(ending.wait_for(|now| *now == Ending::Now).await);
}
