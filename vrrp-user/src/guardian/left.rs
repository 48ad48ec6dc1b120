//! What a worker leaves when it is gone, and how that is given up.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use vrrp_common::Instant;

use super::LOCK;
use super::channel::Kept;
use crate::ledger::release::{Released, release, undo};
use crate::ledger::{self, Entry, State, Table};
use crate::net::firewall;
use crate::run_dir;
use crate::sys::clock::now;
use crate::text::some_apart;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) table: Option<Table>,
    pub(super) run_dir: Option<PathBuf>,
    /// Something could not be given up: the ledger stays, so that somebody may know of it.
    failed: bool,
}

impl Left {
    /// Reads the ledger that a worker has had kept.
    pub(super) fn read(&mut self, ledger: &OwnedFd) {
        let table = ledger.try_clone().and_then(|fd| Table::attach(File::from(fd)));
        self.table = table.ok().and_then(Result::ok);
    }

    /// The routers that are Active by the ledger.
    pub(super) fn active(&self) -> Vec<Entry> {
        let entries = self.table.iter().flat_map(Table::entries);
        entries.filter(|entry| entry.state == State::Active).collect()
    }

    /// When one of the routers that the worker held, and that may have been released since, last became
    /// Active; zero: never.
    pub(super) fn rose(&self) -> Instant {
        let entries = self.table.iter().flat_map(Table::entries);
        let held = entries.filter(|entry| match entry.state {
            State::Active | State::Released | State::Stays => true,
            State::Empty | State::Initialize | State::Backup | State::Fault => false,
        });
        held.map(|entry| entry.rose).max().unwrap_or_default()
    }

    /// Releases some routers of a worker that is gone.
    pub(super) fn release(&mut self, entries: &[Entry], now: Instant) -> Vec<Released> {
        let Some(table) = &self.table else { return Vec::new() };
        let released = release(&self.by(), table, entries, now, now);
        self.failed |= released.iter().any(|one| !one.failed.is_empty());
        released
    }

    /// Releases everything that is left in the ledger, and says what, if it is anything.
    pub(super) fn release_all(&mut self) -> Option<String> {
        let entries: Vec<Entry> = self.table.iter().flat_map(Table::entries).collect();
        let mut released = self.release(&entries, now());
        released.retain(|one| one.spoke || !one.removed.is_empty() || !one.failed.is_empty());
        told(released)
    }

    /// Releases everything, and undoes what no worker comes back for.
    pub(super) fn give_up(&mut self) -> Vec<String> {
        let mut said: Vec<String> = self.release_all().into_iter().collect();
        if let Some(Err(error)) = self.table.as_ref().map(|table| undo(&self.by(), table)) {
            self.failed = true;
            said.push(format!("interfaces of ours stay: {error}"));
        }
        match self.run_dir.as_deref().map(firewall::clear) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => said.push("its nftables table removed".to_owned()),
            Some(Err(error)) => said.push(format!("its nftables table stays: {error}")),
        }
        said
    }

    /// Removes the files of a worker that did not do so itself.
    pub(super) fn clear(&self, kept: &Kept) {
        let Some((run_dir, lock)) = self.run_dir.as_deref().zip(kept.get(LOCK)) else { return };
        let ledger = (!self.failed).then(|| ledger::path(run_dir));
        run_dir::clear(run_dir, lock.as_fd(), ledger.as_deref());
    }

    /// What the worker calls what is its own on the host.
    fn by(&self) -> String {
        self.run_dir.as_deref().map(run_dir::name).unwrap_or_default()
    }
}

/// What was done for routers, if for any: the first of them, those before where something could not be
/// done, and how many more. It is one line, which is cut.
pub(super) fn told(mut released: Vec<Released>) -> Option<String> {
    released.sort_by_key(|one| one.failed.is_empty());
    let all: Vec<String> = released.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| some_apart(&all, "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_done_is_told_before_all_that_could() {
        assert_eq!(told(Vec::new()), None);
        let one = |n: usize, failed: &[&str]| Released {
            name: format!("V{n}"),
            spoke: true,
            removed: (0..20).map(|at| format!("192.0.2.{at}/32 on eth0")).collect(),
            failed: failed.iter().map(|why| (*why).to_owned()).collect(),
            ..Released::default()
        };
        let mut all: Vec<_> = (0..4079).map(|n| one(n, &[])).collect();
        all.push(one(4079, &["it stays"]));
        let told = told(all).unwrap();
        assert!(told.starts_with("(V4079) priority 0 sent, 192.0.2.0/32 on eth0, "), "{told}");
        assert!(told.contains(" and 12 more taken off; it stays; (V0) "), "{told}");
        assert!(told.ends_with(" and 4072 more"), "{told}");
        assert!(told.len() < 2500, "{}", told.len());
    }
}
