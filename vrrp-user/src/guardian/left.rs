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
        self.table = table.ok().flatten();
    }

    /// The routers that are Active by the ledger.
    pub(super) fn active(&self) -> Vec<Entry> {
        let entries = self.table.iter().flat_map(Table::entries);
        entries.filter(|entry| entry.state == State::Active).collect()
    }

    /// Releases some routers of a worker that is gone.
    pub(super) fn release(&mut self, entries: &[Entry], now: Instant) -> Vec<Released> {
        let Some(table) = &self.table else { return Vec::new() };
        let released = release(&self.by(), table, entries, now, now);
        self.failed |= released.iter().any(|one| !one.failed.is_empty());
        released
    }

    /// Releases everything that is left in the ledger, and says what.
    pub(super) fn release_all(&mut self) -> Vec<String> {
        let entries: Vec<Entry> = self.table.iter().flat_map(Table::entries).collect();
        let released = self.release(&entries, now()).into_iter();
        released
            .filter(|one| one.spoke || !one.removed.is_empty() || !one.failed.is_empty())
            .map(|one| one.to_string())
            .collect()
    }

    /// Releases everything, and undoes what no worker comes back for.
    pub(super) fn give_up(&mut self) -> Vec<String> {
        let mut said = self.release_all();
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
