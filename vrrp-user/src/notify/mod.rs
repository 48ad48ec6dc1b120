//! The commands that are run when an instance changes its state.
//!
//! Each instance has a queue of its own: its commands run one at a time and in order, as long as each
//! ends. One that does not holds up no other instance, and its own for a few seconds only: the next
//! ones then run beside it. Runs on the service thread.

mod queue;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use vrrp_common::{Instant, Priority};

use crate::config::model::{Command, Notify, Removed};
use crate::track::Policy;
use queue::{Change, Ending, Hook, Queue};

/// What changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A `vrrp_instance`.
    Instance,
    /// A `vrrp_sync_group`.
    Group,
}

/// A state in the words that notify commands are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Active.
    Master,
    /// Backup, or not started.
    Backup,
    /// Something it needs is missing.
    Fault,
    /// The daemon ends.
    Stop,
    /// A reload has removed it. keepalived calls that FAULT, and runs `notify` alone.
    Removed,
    /// The same where `notify_deleted` is written.
    Deleted,
}

impl Word {
    /// What an instance with these commands reports when a reload has removed it.
    pub fn of_removed(notify: &Notify) -> Self {
        match notify.removed {
            Removed::Fault => Self::Removed,
            Removed::Deleted(_) => Self::Deleted,
        }
    }
}

/// The queues of notify commands. Must live on a thread that lives as long as they.
#[derive(Debug)]
pub struct Notifier {
    policy: Policy,
    queues: BTreeMap<(Kind, String), Queue>,
    ending: watch::Sender<Ending>,
    patience: Patience,
}

/// What becomes of a command that still runs.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The log says so after this time, and again each time while others wait for it.
    pub remind: Duration,
    /// What has waited this long for it is told beside it.
    pub beside: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { remind: Duration::from_secs(60), beside: Duration::from_secs(5) }
    }
}

/// How long processes get to end after SIGTERM at the end of [`Notifier::finish`].
const LAST_WORDS: Duration = Duration::from_millis(50);

impl Notifier {
    /// Makes a notifier with nothing to do.
    pub fn new(policy: Policy) -> Self {
        Self::waiting_for(policy, Patience::default())
    }

    /// As [`Notifier::new`], with another patience.
    pub fn waiting_for(policy: Policy, patience: Patience) -> Self {
        let ending = watch::Sender::new(Ending::No);
        Self { policy, queues: BTreeMap::new(), ending, patience }
    }

    /// Takes the policy of a new configuration, for changes from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Queues the commands for one change: the state's own first, then `notify` with four more
    /// arguments (`INSTANCE` or `GROUP`, the name, the state, the priority).
    ///
    /// Returns at once. Must be called inside a tokio runtime, on the thread where the commands
    /// are to run.
    pub fn push(
        &mut self,
        kind: Kind,
        name: &str,
        word: Word,
        priority: Priority,
        notify: &Notify,
    ) {
        let hooks = self.hooks(kind, name, word, priority, notify);
        if hooks.is_empty() {
            return;
        }
        let queue = self
            .queues
            .entry((kind, name.to_owned()))
            .or_insert_with(|| Queue::new(name, self.ending.subscribe(), self.patience));
        queue.push(Change { word, hooks, since: tokio::time::Instant::now() });
    }

    /// Returns how many changes of an instance wait or are being told.
    pub fn waiting(&self, kind: Kind, name: &str) -> usize {
        self.queues.get(&(kind, name.to_owned())).map_or(0, Queue::len)
    }

    /// When the commands of an instance's last change to `word` began to run, as `CLOCK_MONOTONIC`; `None`
    /// where none did.
    pub fn began(&self, kind: Kind, name: &str, word: Word) -> Option<Instant> {
        self.queues.get(&(kind, name.to_owned()))?.began(word)
    }

    /// Lets the commands of the last changes run, but returns within `limit` and a little.
    ///
    /// After half of `limit`, older changes give way to [`Word::Stop`]: their running command
    /// gets SIGTERM, the waiting ones are dropped; so do commands that nobody waits for. At `limit` what still runs gets SIGTERM, and
    /// SIGKILL a little later or with the end of the runtime. All of that is logged.
    pub async fn finish(&mut self, limit: Duration) {
        let half = limit / 2;
        for (ending, patience) in
            [(Ending::No, half), (Ending::OnlyStop, limit - half), (Ending::Now, LAST_WORDS)]
        {
            self.ending.send_replace(ending);
            let idle = join_all(self.queues.values_mut().map(Queue::idle));
            if tokio::time::timeout(patience, idle).await.is_ok() {
                break;
            }
        }
        self.ending.send_replace(Ending::Now);
        self.queues.clear();
    }

    fn hooks(
        &self,
        kind: Kind,
        name: &str,
        word: Word,
        priority: Priority,
        notify: &Notify,
    ) -> Vec<Hook> {
        let specific = match word {
            Word::Master => ("notify_master", notify.master.as_ref()),
            Word::Backup => ("notify_backup", notify.backup.as_ref()),
            Word::Fault => ("notify_fault", notify.fault.as_ref()),
            Word::Stop => ("notify_stop", notify.stop.as_ref()),
            Word::Removed | Word::Deleted => ("notify_deleted", notify.removed.command()),
        };
        let hook =
            |keyword, command: Command| Hook { keyword, command, policy: self.policy.clone() };
        let specific = specific.1.cloned().map(|command| hook(specific.0, command));
        let any = notify.any.clone().map(|mut command| {
            let told =
                [kind.to_string(), name.to_owned(), word.to_string(), priority.get().to_string()];
            command.argv.extend(told);
            hook("notify", command)
        });
        specific.into_iter().chain(any).collect()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.ending.send_replace(Ending::Now);
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Instance => "INSTANCE",
            Self::Group => "GROUP",
        })
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault | Self::Removed => "FAULT",
            Self::Stop => "STOP",
            Self::Deleted => "DELETED",
        })
    }
}
