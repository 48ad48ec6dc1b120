//! One script's task: when it runs, for how long, and what its results mean.

use std::ops::ControlFlow;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{error, info, warn};
use vrrp_proto::input::Health;

use super::process::{End, ProcessGroup};
use super::script::{Board, LastCheck, Outcome, ScriptReport, Spec};
use super::security::{self, Prepared};
use super::{Judge, ScriptProblem};
use crate::users::Origin;

/// From SIGTERM to SIGKILL, and from there until the process is taken to hang, as keepalived has it.
const GRACE: Duration = Duration::from_secs(2);

/// What a check is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Go on.
    Run,
    /// End, the running process too.
    End,
    /// End now.
    Kill,
}

type Preparing = JoinHandle<Result<Prepared, ScriptProblem>>;

pub(super) struct Checker {
    spec: Spec,
    judge: Judge,
    board: Board,
    reports: UnboundedSender<ScriptReport>,
    phase: watch::Receiver<Phase>,
    /// Kept from run to run: the accounts may come over the network. Dropped when a start fails.
    prepared: Option<Prepared>,
    /// A look-up that outlasted its check.
    preparing: Option<Preparing>,
    last: Outcome,
    skip_said: bool,
}

impl Checker {
    pub(super) fn new(
        spec: Spec,
        judge: Judge,
        board: Board,
        reports: UnboundedSender<ScriptReport>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            spec,
            judge,
            board,
            reports,
            phase,
            prepared: None,
            preparing: None,
            // As keepalived: a first success is no news.
            last: Outcome::Exited(0),
            skip_said: false,
        }
    }

    /// Checks until it is told to end.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = leaves(&mut self.phase, Phase::Run) => return,
                () = sleep_until(due) => {}
            }
            let started = Instant::now();
            due = started + self.spec.interval;
            if self.check(started, &mut due).await.is_break() {
                return;
            }
        }
    }

    /// One check; moves `due` on for each that it leaves no room for.
    async fn check(&mut self, started: Instant, due: &mut Instant) -> ControlFlow<()> {
        self.board.read().runs += 1;
        let deadline = started + self.spec.timeout;
        let group = match self.start(deadline).await? {
            Ok(group) => group,
            Err(reason) => {
                self.prepared = None;
                self.conclude(Outcome::NotRun(reason));
                return ControlFlow::Continue(());
            }
        };
        self.follow(group, deadline, due).await
    }

    async fn start(&mut self, deadline: Instant) -> ControlFlow<(), Result<ProcessGroup, String>> {
        if self.prepared.is_none() {
            let preparing = self.preparing.get_or_insert_with(|| {
                let (command, policy) = (self.spec.command.clone(), self.spec.policy.clone());
                tokio::task::spawn_blocking(move || security::prepare(&command, &policy))
            });
            let outcome = tokio::select! {
                biased;
                () = leaves(&mut self.phase, Phase::Run) => return ControlFlow::Break(()),
                outcome = timeout_at(deadline, preparing) => outcome,
            };
            let Ok(joined) = outcome else {
                let reason = "looking up its user and its file takes too long".to_owned();
                return ControlFlow::Continue(Err(reason));
            };
            self.preparing = None;
            match joined {
                Ok(Ok(prepared)) => self.accept(prepared),
                Ok(Err(problem)) => return ControlFlow::Continue(Err(problem.to_string())),
                Err(error) => return ControlFlow::Continue(Err(error.to_string())),
            }
        }
        // Here and not in another thread: the script ends with the thread that starts it.
        let group = self
            .prepared
            .as_ref()
            .map_or(Err(ScriptProblem::Empty), |prepared| prepared.start(Signal::SIGKILL));
        ControlFlow::Continue(group.map_err(|problem| problem.to_string()))
    }

    fn accept(&mut self, prepared: Prepared) {
        let name = &self.spec.name;
        // Once per start of the check, not once per repair.
        if self.board.read().user.is_none() {
            for risk in &prepared.risks {
                warn!(
                    "SECURITY VIOLATION - scripts are being executed but script_security not \
                     enabled. VRRP_Script({name}): {risk}"
                );
            }
            if prepared.origin == Origin::Daemon {
                warn!(
                    "VRRP_Script({name}) runs as {}, since there is neither `user`, nor \
                     `script_user`, nor a user `{}`",
                    prepared.user(),
                    crate::users::SCRIPT_ACCOUNT
                );
            }
        }
        self.board.read().user = Some(prepared.user().to_owned());
        self.prepared = Some(prepared);
    }

    async fn follow(
        &mut self,
        mut group: ProcessGroup,
        deadline: Instant,
        due: &mut Instant,
    ) -> ControlFlow<()> {
        let skipped_before = self.board.read().skipped;
        loop {
            tokio::select! {
                biased;
                () = leaves(&mut self.phase, Phase::Run) => break,
                () = group.ended() => {
                    // Said once for a script that is too slow, again once it was in time.
                    self.skip_said &= self.board.read().skipped != skipped_before;
                    self.conclude(outcome(&mut group));
                    return ControlFlow::Continue(());
                }
                () = sleep_until(deadline) => {
                    // Counted now, not when the last of its processes has gone.
                    self.conclude(Outcome::TimedOut(self.spec.timeout));
                    break;
                }
                () = sleep_until(*due) => {
                    self.skip();
                    *due += self.spec.interval;
                }
            }
        }
        self.terminate(group, due).await
    }

    /// Ends the process group. A check that becomes due meanwhile is late, not left out: with
    /// `timeout` as long as `interval`, every second one would be lost otherwise.
    async fn terminate(&mut self, mut group: ProcessGroup, due: &mut Instant) -> ControlFlow<()> {
        group.signal(Signal::SIGTERM);
        let mut patient_until = Instant::now() + GRACE;
        let mut killed = false;
        loop {
            let phase = *self.phase.borrow();
            if phase == Phase::Kill && !std::mem::replace(&mut killed, true) {
                group.signal(Signal::SIGKILL);
            }
            tokio::select! {
                biased;
                () = group.ended() => break,
                () = leaves(&mut self.phase, phase), if phase != Phase::Kill => {}
                () = sleep_until(patient_until), if !killed => {
                    killed = true;
                    group.signal(Signal::SIGKILL);
                    // Even that takes a moment, and its time-out has been counted.
                    patient_until = Instant::now() + GRACE;
                }
                () = sleep_until(patient_until), if killed && phase == Phase::Run => {
                    self.stuck(&group);
                    patient_until += self.spec.interval;
                    *due = patient_until;
                }
            }
        }
        // The rest of the group, while the dead leader still keeps its number.
        group.signal(Signal::SIGKILL);
        drop(group.reap());
        if *self.phase.borrow() == Phase::Run {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn skip(&mut self) {
        self.board.read().skipped += 1;
        if !std::mem::replace(&mut self.skip_said, true) {
            warn!("Track script {} is already running, expect idle - skipping run", self.spec.name);
        }
    }

    /// Nothing ends it, and no other is started beside it: one check fails each interval.
    fn stuck(&mut self, group: &ProcessGroup) {
        if self.last != Outcome::Stuck {
            let (name, pid) = (&self.spec.name, group.pid());
            error!("Script {name} child (PID {pid}) failed to terminate after kill");
        }
        self.conclude(Outcome::Stuck);
    }

    fn conclude(&mut self, outcome: Outcome) {
        let turned = self.judge.record(outcome.is_success());
        self.tell(&outcome, turned);
        if outcome != self.last {
            self.last = outcome.clone();
        }
        if let Some(health) = turned {
            let report =
                ScriptReport { name: self.spec.name.clone(), health, detail: outcome.to_string() };
            // Nobody listens any more: the daemon ends.
            drop(self.reports.send(report));
        }
        let mut board = self.board.read();
        board.health = self.judge.health();
        board.failures += u64::from(!outcome.is_success());
        board.timeouts += u64::from(matches!(outcome, Outcome::TimedOut(_)));
        board.last = Some(LastCheck { outcome, at: Instant::now().into_std() });
    }

    /// Logs a result that differs from the one before, and a verdict that turned.
    fn tell(&mut self, outcome: &Outcome, turned: Option<Health>) {
        let name = &self.spec.name;
        if *outcome != self.last {
            match outcome {
                Outcome::Exited(status) => info!("Script `{name}` now returning {status}"),
                Outcome::Signaled(_) | Outcome::TimedOut(_) | Outcome::Stuck => {
                    info!("Script `{name}` now failing: {outcome}");
                }
                Outcome::NotRun(reason) => {
                    error!("VRRP_Script({name}) can't be run: {reason}. It counts as failed.");
                }
            }
        }
        if turned.is_none() {
            return;
        }
        match outcome {
            Outcome::Exited(0) => info!("VRRP_Script({name}) succeeded"),
            Outcome::TimedOut(_) => info!("VRRP_Script({name}) timed_out"),
            Outcome::Exited(_) | Outcome::Signaled(_) | Outcome::NotRun(_) | Outcome::Stuck => {
                info!("VRRP_Script({name}) failed ({outcome})");
            }
        }
    }
}

fn outcome(group: &mut ProcessGroup) -> Outcome {
    match group.reap() {
        Ok(End::Exited(status)) => Outcome::Exited(status),
        Ok(End::Signaled(number)) => Outcome::Signaled(number),
        Err(error) => Outcome::NotRun(format!("its end was lost: {error}")),
    }
}

/// Returns once the phase is no longer `phase`.
async fn leaves(receiver: &mut watch::Receiver<Phase>, phase: Phase) {
    // The sender never goes without a last word, see `Handle`.
    drop(receiver.wait_for(|now| *now != phase).await);
}
