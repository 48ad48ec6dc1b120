//! Processes that are to end, or have.

use std::time::Duration;

use vrrp_common::Instant;

use super::super::say;
use super::super::worker::Why;
use super::Guardian;
use crate::sys::child::{ended_child, forget_child};

/// How long after its kill a worker is taken to be stuck.
const LINGERS: Duration = Duration::from_secs(1);

impl Guardian {
    /// Ends a worker that does not end.
    pub(super) fn tend_stop(&mut self, now: Instant) -> Option<Instant> {
        let (stop, worker) = (self.stop?, self.worker.as_mut()?);
        if now < stop {
            return Some(stop);
        }
        if worker.killed.is_none() {
            worker.end(Why::Stays, now);
            self.waiting = self.left.active();
        }
        None
    }

    /// Says of a worker that was killed and does not end that it does not. Where the whole ends, what it
    /// holds does not wait for that.
    pub(super) fn tend_killed(&mut self, now: Instant) -> Option<Instant> {
        let worker = self.worker.as_mut()?;
        let due = worker.killed? + LINGERS;
        if now < due {
            return Some(due);
        }
        let is_news = !std::mem::replace(&mut worker.lingers, true);
        let given_up = (self.stop.is_some() && self.given_up.is_none()).then(|| {
            self.given_up = Some(Vec::new());
            self.left.give_up()
        });
        if is_news || given_up.is_some() {
            let what = format!("{} and does not end: it hangs in the kernel", worker.was_killed());
            say::error(&[vec![what], given_up.unwrap_or_default()].concat().join("; "));
        }
        None
    }

    /// Ends those that crashed and don't come to an end: another one does their work by now.
    pub(super) fn tend_dying(&mut self, now: Instant) -> Option<Instant> {
        for one in
            self.dying.iter_mut().filter(|one| one.until <= now && one.worker.killed.is_none())
        {
            one.worker.kill(now);
        }
        self.dying.iter().filter(|one| one.until > now).map(|one| one.until).min()
    }

    /// Takes the ends of children that are no workers: those of scripts whose parents are gone, where this
    /// is the first process of a container.
    pub(super) fn bury(&self) {
        while let Some(child) = ended_child() {
            let dying = self.dying.iter().map(|one| &one.worker);
            let pid = child.as_raw().unsigned_abs();
            if self.worker.iter().chain(dying).any(|worker| worker.pid() == pid) {
                // It is seen to at the next turn.
                return;
            }
            forget_child(child);
        }
    }
}
