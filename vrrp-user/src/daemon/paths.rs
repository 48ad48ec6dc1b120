//! Looking after the routes and rules of routers: what somebody else has taken away is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use vrrp_proto::{Effect, Event, Input, Paths, Slot};

use super::service::Service;
use crate::config::model::{Instance, Refused};
use crate::net::executor::LEFTOVERS;
use crate::net::monitor::Change;
use crate::net::paths::watch;
use crate::sys::clock;

/// Between two looks, however much happens.
const PAUSE: Duration = Duration::from_millis(100);

/// When they are looked after next.
#[derive(Debug, Default)]
pub(super) struct PathWatch {
    /// Tells of removals; `None` while nobody has any.
    removals: Option<Receiver<()>>,
    /// The next look.
    due: Option<Instant>,
    /// The last one.
    last: Option<Instant>,
    /// Addresses that an interface lost since then.
    gone: BTreeSet<IpAddr>,
    /// What could not be set and is not told yet.
    untold: BTreeMap<Slot, Untold>,
}

/// Refused routes and rules of an instance. What another one puts on in the same moment, as the next one of
/// its sync group does, may be what they need: they are told once a look has not helped.
#[derive(Debug, Default)]
struct Untold {
    paths: BTreeSet<String>,
    /// They have been looked after once.
    looked: bool,
}

impl PathWatch {
    /// Watches as long as somebody has some.
    fn set(&mut self, wanted: bool) {
        match (wanted, &self.removals) {
            (true, None) => {
                let started = watch::start();
                let warn = |error| {
                    warn!("Removed routes and rules stay so until something else changes: {error}");
                };
                self.removals = started.map_err(warn).ok();
            }
            (false, Some(_)) => self.removals = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Something may have cost some, or some may be possible now.
    pub(super) fn doubt(&mut self) {
        let now = Instant::now();
        let earliest = self.last.map_or(now, |last| now.max(last + PAUSE));
        self.due.get_or_insert(earliest);
    }

    /// Some could not be set: they are tried again before that is told. The same refusal again is no news.
    pub(super) fn put_off(&mut self, slot: Slot, failed: &[(String, String)]) {
        let paths = failed.iter().map(|(path, _)| path.clone());
        self.untold.entry(slot).or_default().paths.extend(paths);
        self.doubt();
    }

    /// Some are set; names those of which it was told that they could not be, or that they were missing.
    pub(super) fn set_again(&mut self, slot: Slot, paths: &[String]) -> Vec<String> {
        let untold = self.untold.get_mut(&slot);
        let unknown = |path: &&String| !untold.as_ref().is_some_and(|u| u.paths.contains(*path));
        let told = paths.iter().filter(unknown).cloned().collect();
        if let Some(untold) = untold {
            untold.paths.retain(|path| !paths.contains(path));
        }
        told
    }

    /// Takes out those that a look has not helped, and has the others looked after.
    fn outlasted(&mut self) -> Vec<(Slot, BTreeSet<String>)> {
        let mut outlasted = Vec::new();
        self.untold.retain(|slot, untold| {
            if untold.looked && !untold.paths.is_empty() {
                outlasted.push((*slot, mem::take(&mut untold.paths)));
            }
            untold.looked = true;
            !untold.paths.is_empty()
        });
        if !self.untold.is_empty() {
            self.doubt();
        }
        outlasted
    }

    /// Waits until they are to be looked after.
    pub(super) async fn due(&mut self) {
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
                (self.due, self.last) = (None, Some(due));
                return;
            }
            let Some(removals) = &mut self.removals else {
                return pending().await;
            };
            match removals.recv().await {
                Some(()) => self.doubt(),
                None => self.removals = None,
            }
        }
    }
}

impl Service {
    /// Watches over routes and rules where an instance has some.
    pub(super) fn watch_paths(&mut self) {
        let wanted = self.running.values().any(|running| !running.settings.paths.is_empty());
        self.paths.set(wanted);
    }

    /// Takes routes and rules off that an earlier life left, of instances that neither run nor go on, and that
    /// no other daemon serves.
    pub(super) fn clear_paths(&self, instances: &[Arc<Instance>], refused: &[Refused]) {
        let stays = |one: &&Arc<Instance>| self.life.resumes(one) || self.is_taken(one);
        let (kept, others): (Vec<_>, Vec<_>) = instances.iter().partition(stays);
        let mut left = Paths::default();
        for paths in others.iter().map(|one| &one.paths).chain(refused.iter().map(|one| &one.paths))
        {
            left.routes.extend(paths.routes.iter().cloned());
            left.rules.extend(paths.rules.iter().cloned());
        }
        let running = self.running.values().map(|running| &running.settings.paths);
        for paths in kept.iter().map(|one| &one.paths).chain(running) {
            left = left.without(paths);
        }
        if !left.is_empty() {
            let (slot, paths) = (LEFTOVERS, Arc::new(left));
            self.executor.send(Effect::RemovePaths { slot, paths });
        }
    }

    /// Notes them as they would be put on now, where an interface is another than before: whoever has to take
    /// them off knows them by its index.
    pub(super) fn note_paths(&mut self, changes: &[Change]) {
        let link = |change: &Change| {
            matches!(change, Change::Link(_) | Change::Gone { .. } | Change::Resync(_))
        };
        if self.paths.removals.is_none() || !changes.iter().any(link) {
            return;
        }
        for (slot, running) in &mut self.running {
            let kept = running.kept_paths(&self.host);
            if running.noted_paths != kept {
                running.noted_paths = kept;
                self.life.note(*slot, running, &self.host, &self.own);
            }
        }
    }

    /// Looks after them soon, where a change of the host may have cost some: the kernel takes routes off with
    /// their interface, their source or the network of their gateway, and tells nobody. Behind a virtual
    /// address its own router's are put on; those of another one may have waited for it.
    pub(super) fn doubt_paths(&mut self, changes: &[Change]) {
        if self.paths.removals.is_none() {
            return;
        }
        let waits = self.running.values().any(|running| !running.unset.is_empty());
        let may_cost = |change: &Change| match change {
            Change::Link(_)
            | Change::Gone { .. }
            | Change::AddressRemoved { .. }
            | Change::Resync(_) => true,
            Change::AddressAdded { address, .. } => waits || !self.index.is_virtual(address.ip),
            Change::Behind => false,
        };
        if changes.iter().any(may_cost) {
            self.paths.doubt();
            self.paths.gone.extend(changes.iter().filter_map(|change| match change {
                Change::AddressRemoved { address, .. } => Some(address.ip),
                Change::Link(_)
                | Change::Gone { .. }
                | Change::AddressAdded { .. }
                | Change::Behind
                | Change::Resync(_) => None,
            }));
        }
    }

    /// Has every Active router put back what is gone, and tells of what the look before has not helped.
    pub(super) fn look_after_paths(&mut self) {
        for (slot, paths) in self.paths.outlasted() {
            let Some(running) = self.running.get(&slot) else { continue };
            // It may not be Active any more, or the kernel may give another reason by now.
            let still = running.unset.iter().filter(|(path, _)| paths.contains(*path));
            let failed: Vec<_> = still.map(|(path, why)| (path.clone(), why.clone())).collect();
            if !failed.is_empty() {
                let cause = format!("{failed:?}");
                self.chat(clock::now(), &Event::PathsFailed { slot, failed }, cause, 1);
            }
        }
        let some = self.running.iter().filter(|(_, running)| !running.settings.paths.is_empty());
        let gone = Arc::new(mem::take(&mut self.paths.gone));
        for slot in some.map(|(slot, _)| *slot).collect::<Vec<Slot>>() {
            self.tell(Input::PathsDoubted { slot, gone: Arc::clone(&gone) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn at_once_and_then_not_too_often() {
        let mut paths = PathWatch::default();
        let begin = Instant::now();
        paths.doubt();
        let first = paths.due;
        assert!(first.is_some_and(|due| due <= Instant::now()));
        paths.doubt();
        assert_eq!(paths.due, first);
        paths.due().await;
        for looks in 1..=2 {
            paths.doubt();
            paths.due().await;
            assert!(begin.elapsed() >= looks * PAUSE);
        }
        assert_eq!(paths.due, None);
    }

    #[tokio::test]
    async fn a_refusal_is_told_when_a_look_has_not_helped() {
        let failed = |name: &str| [(name.to_owned(), "no way".to_owned())];
        let [one, other, slot] = [Slot(1), Slot(2), Slot(3)];
        let mut paths = PathWatch::default();
        paths.put_off(one, &failed("a"));
        paths.put_off(other, &failed("b"));
        paths.due().await;
        assert_eq!(paths.outlasted(), []);
        assert_eq!(paths.set_again(other, &["b".to_owned(), "c".to_owned()]), ["c"]);
        assert_eq!(paths.set_again(slot, &["d".to_owned()]), ["d"]);
        paths.due().await;
        assert_eq!(paths.outlasted(), [(one, BTreeSet::from(["a".to_owned()]))]);
        assert_eq!(paths.set_again(one, &["a".to_owned()]), ["a"]);
        assert!(paths.untold.is_empty() && paths.due.is_none());
    }

    #[tokio::test]
    async fn removals_are_heard_as_long_as_somebody_tells() {
        let (told, removals) = tokio::sync::mpsc::channel(1);
        let mut paths = PathWatch { removals: Some(removals), ..PathWatch::default() };
        let quiet = tokio::time::timeout(PAUSE, paths.due()).await;
        assert!(quiet.is_err());
        told.try_send(()).unwrap();
        paths.due().await;
        drop(told);
        assert!(tokio::time::timeout(PAUSE, paths.due()).await.is_err());
        assert!(paths.removals.is_none());
    }
}
