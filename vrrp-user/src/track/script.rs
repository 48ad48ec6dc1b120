//! The `vrrp_script` blocks at work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;
use vrrp_proto::input::Health;

use super::checker::{Checker, Phase};
use super::{Judge, Policy};
use crate::config::model::{Command, Script};

/// A script's verdict changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptReport {
    /// The script's name.
    pub name: String,
    /// The verdict now; never [`Health::Unknown`].
    pub health: Health,
    /// The result that turned it, in words.
    pub detail: String,
}

/// How one check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended with this status; 0 is success.
    Exited(i32),
    /// A signal ended it that we did not send.
    Signaled(i32),
    /// It did not end in time and was killed.
    TimedOut(Duration),
    /// It could not be run, for this reason.
    NotRun(String),
    /// An earlier run was killed, but has not ended yet (it hangs in the kernel).
    Stuck,
}

/// One script as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStatus {
    /// The verdict.
    pub health: Health,
    /// The last result; `None` before the first.
    pub last: Option<LastCheck>,
    /// The user it runs as; `None` before that is known.
    pub user: Option<String>,
    /// Checks begun.
    pub runs: u64,
    /// Checks that failed, those that could not be run among them.
    pub failures: u64,
    /// Checks that timed out.
    pub timeouts: u64,
    /// Checks left out because the one before was still busy.
    pub skipped: u64,
}

/// A result with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// How it went.
    pub outcome: Outcome,
    /// When the result came.
    pub at: Instant,
}

/// The running checks. Must live on a thread that lives as long as they.
#[derive(Debug)]
pub struct Scripts {
    reports: UnboundedSender<ScriptReport>,
    running: BTreeMap<String, Running>,
    /// Checks that are no longer wanted and whose last process is being ended.
    leaving: Vec<Handle>,
}

/// What makes a check another one: not its weight, nor where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) command: Command,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) init_fail: bool,
    pub(super) policy: Policy,
}

/// A check's numbers, written by its task and read by `status`.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Mutex<ScriptStatus>>);

#[derive(Debug)]
struct Running {
    spec: Spec,
    board: Board,
    handle: Handle,
}

#[derive(Debug)]
struct Handle {
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Scripts {
    /// Makes an empty set that sends changes of verdict to `reports`.
    pub fn new(reports: UnboundedSender<ScriptReport>) -> Self {
        Self { reports, running: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Makes `wanted` the checks that run, at start and at every reload.
    ///
    /// One that did not change goes on untouched. A changed one is started anew, and its old
    /// verdict stands until the first new result. One that is gone is ended, its process too.
    /// Must be called inside a tokio runtime, on the thread where the checks are to run.
    pub fn apply<'a>(&mut self, wanted: impl IntoIterator<Item = &'a Script>, policy: &Policy) {
        let wanted: BTreeMap<String, Spec> = wanted
            .into_iter()
            .map(|script| (script.name.clone(), Spec::new(script, policy)))
            .collect();
        self.leaving.retain(|handle| !handle.task.is_finished());
        let gone: Vec<Running> = self
            .running
            .extract_if(.., |name, _| !wanted.contains_key(name))
            .map(|(_, it)| it)
            .collect();
        for running in gone {
            info!("VRRP_Script({}) is no longer tracked", running.spec.name);
            self.end(running);
        }
        for (name, spec) in wanted {
            match self.running.remove(&name) {
                Some(running) if running.spec.is_same(&spec) => {
                    self.running.insert(name, running);
                }
                Some(running) => {
                    info!("VRRP_Script({name}) changed, it starts anew");
                    let before = running.board.read().health;
                    self.end(running);
                    self.start(spec, before);
                }
                None => self.start(spec, Health::Unknown),
            }
        }
    }

    /// Returns every check's numbers, by name.
    pub fn status(&self) -> BTreeMap<String, ScriptStatus> {
        self.running.iter().map(|(name, it)| (name.clone(), it.board.read().clone())).collect()
    }

    /// Ends every check: SIGTERM to its process group, SIGKILL after `limit`.
    pub async fn shutdown(&mut self, limit: Duration) {
        for (_, running) in std::mem::take(&mut self.running) {
            self.end(running);
        }
        let all = join_all(self.leaving.iter_mut().map(|handle| &mut handle.task));
        if tokio::time::timeout(limit, all).await.is_err() {
            self.leaving.retain(|handle| !handle.task.is_finished());
            for handle in &self.leaving {
                handle.phase.send_replace(Phase::Kill);
            }
            // A killed process ends at once, or hangs in the kernel and can't be waited for.
            let rest = join_all(self.leaving.iter_mut().map(|handle| &mut handle.task));
            drop(tokio::time::timeout(KILLED_LIMIT, rest).await);
        }
        self.leaving.clear();
    }

    fn start(&mut self, spec: Spec, before: Health) {
        let judge = Judge::replacing(before, spec.rise, spec.fall, spec.init_fail);
        let board = Board::new(&judge);
        let (phase, receiver) = watch::channel(Phase::Run);
        if before == Health::Unknown && judge.health() == Health::Bad {
            let detail = format!("init_fail, until it succeeded {} times", spec.rise.max(1));
            let report = ScriptReport { name: spec.name.clone(), health: Health::Bad, detail };
            // Nobody listens any more: the daemon ends.
            drop(self.reports.send(report));
        }
        let checker =
            Checker::new(spec.clone(), judge, board.clone(), self.reports.clone(), receiver);
        let task = tokio::spawn(checker.run());
        let name = spec.name.clone();
        self.running.insert(name, Running { spec, board, handle: Handle { phase, task } });
    }

    fn end(&mut self, running: Running) {
        running.handle.phase.send_replace(Phase::End);
        self.leaving.push(running.handle);
    }
}

/// How long the end of a killed process is waited for at shutdown.
const KILLED_LIMIT: Duration = Duration::from_millis(100);

impl Drop for Handle {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Kill);
    }
}

impl Spec {
    fn new(script: &Script, policy: &Policy) -> Self {
        let mut policy = policy.clone();
        if script.command.user.is_some() {
            policy.user = None;
        }
        Self {
            name: script.name.clone(),
            command: script.command.clone(),
            interval: script.interval,
            timeout: script.timeout,
            rise: script.rise,
            fall: script.fall,
            init_fail: script.init_fail,
            policy,
        }
    }

    /// Equality, without where it was written and how it was quoted.
    fn is_same(&self, other: &Self) -> bool {
        let Command { argv, user, text: _, span: _ } = &other.command;
        self.command.argv == *argv
            && self.command.user == *user
            && (self.interval, self.timeout) == (other.interval, other.timeout)
            && (self.rise, self.fall) == (other.rise, other.fall)
            && self.init_fail == other.init_fail
            && self.policy == other.policy
    }
}

impl Board {
    fn new(judge: &Judge) -> Self {
        Self(Arc::new(Mutex::new(ScriptStatus {
            health: judge.health(),
            last: None,
            user: None,
            runs: 0,
            failures: 0,
            timeouts: 0,
            skipped: 0,
        })))
    }

    pub(super) fn read(&self) -> MutexGuard<'_, ScriptStatus> {
        // Numbers only: a panic elsewhere can't have left them half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Whether the check succeeded.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("succeeded"),
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signaled(number) => write!(f, "due to signal {number}"),
            Self::TimedOut(limit) => write!(f, "timed out after {limit:?}"),
            Self::NotRun(reason) => write!(f, "could not be run: {reason}"),
            Self::Stuck => f.write_str("still there after it was killed"),
        }
    }
}
