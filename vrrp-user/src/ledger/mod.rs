//! The ledger: what must be undone or continued when the process that did it is gone.
//!
//! A file `ledger` in the run directory. Its [`table`] of slots is mapped: state, priority and the time
//! of the last advert are stored there as they happen, without a system call. What changes seldom, a
//! router's identity, what it holds and its priority-0 frames ([`body`]), is written behind the table
//! and then published by one store, so that whoever reads after a crash finds the old body or the new
//! one, and never a half. The table's room is fixed and sparse; the file grows by what is configured.
//!
//! | who | writes |
//! | --- | --- |
//! | service thread ([`Ledger`]) | bodies, intervals, the phase |
//! | protocol thread ([`Pulse`]) | state, priority, last advert and its sequence number, "I shall be back before" |
//! | guardian, `xvrrp release`, a start ([`release`]) | "released", when the writer is gone |
//! | guardian | when the next worker is started |
//!
//! Everything is written before the act that it describes: an advert that was sent, an address that was
//! put on, is in the ledger.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Slot, StateName};

mod body;
mod foreign;
mod glance;
pub(crate) mod judge;
mod pool;
pub(crate) mod release;
mod table;

pub(crate) use body::{Body, Held, HeldPath};
pub(crate) use foreign::Foreign;
pub(crate) use glance::Glance;
pub(crate) use table::{Entry, Phase, State, Table};

use pool::Pool;

/// Where a run directory has its ledger.
pub(crate) fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("ledger")
}

/// The ledger as the service thread writes it.
#[derive(Debug)]
pub(crate) struct Ledger {
    table: Arc<Table>,
    pool: Pool,
    places: BTreeMap<u32, u64>,
    generation: u64,
}

impl Ledger {
    /// Opens the ledger in a run directory, whose lock the caller holds. One that can't be understood
    /// ([`Foreign`]) is replaced by an empty one, with a line where it may matter.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn open(run_dir: &Path) -> io::Result<Self> {
        let path = path(run_dir);
        if let Ok(file) = File::options().read(true).write(true).open(&path) {
            match Table::attach(file)? {
                Ok(table) => return Ok(Self::over(table)),
                Err(foreign) if foreign.may_matter() => {
                    warn!("{} is replaced. It was {foreign}", path.display());
                }
                Err(_) => {}
            }
        }
        // Made beside it and moved into place: nobody ever opens half a ledger.
        let new = path.with_extension("new");
        let _ = std::fs::remove_file(&new);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        let table = Table::create(file)?;
        std::fs::rename(&new, &path)?;
        Ok(Self::over(table))
    }

    /// Takes over the ledger that an earlier worker of the same guardian has written.
    ///
    /// # Errors
    /// `EINVAL` where it is none; else the file system's.
    pub(crate) fn adopt(file: File) -> io::Result<Self> {
        let table = Table::attach(file)?.map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self::over(table))
    }

    fn over(table: Table) -> Self {
        let mut pool = Pool::default();
        let mut places = BTreeMap::new();
        let mut generation = 0;
        for slot in 0..table.used() {
            let place = table.place(slot);
            if place != 0 {
                pool.take(body::place_of(place));
                places.insert(slot, place);
                generation = generation.max(body::generation_of(place));
            }
        }
        Self { table: Arc::new(table), pool, places, generation }
    }

    /// What is in it.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The handle for the protocol thread.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Some(Arc::clone(&self.table)))
    }

    /// Begins a router's record. `on`: it goes on as the Active one that it was in an earlier life, and
    /// what is known of that stays.
    pub(crate) fn begin(&self, slot: Slot, on: bool) {
        if !on {
            self.table.begin(slot.0);
        }
    }

    /// Notes what a router is and has, before the protocol thread hears of it. Addresses, routes and rules
    /// that it had before and that are not among the new ones stay in the record as dropped: they may still
    /// be there for a moment.
    ///
    /// # Errors
    /// The file system's; what was noted before then stays.
    pub(crate) fn note(
        &mut self,
        slot: Slot,
        mut body: Body,
        interval: Duration,
        adverts: u8,
        now: Instant,
    ) -> io::Result<()> {
        let before = self.table.body(slot.0).map(|before| (before.addresses, before.paths));
        let before = before.unwrap_or_default();
        body.keep_dropped(before, now);
        self.write(slot, &body, (interval, adverts))
    }

    /// Has addresses that a router going on had dropped in an earlier life, and that may still be there,
    /// linger from `now` on: nobody has taken them off meanwhile. `alive`: when that life was last known
    /// to live.
    ///
    /// # Errors
    /// The file system's; what was noted before then stays.
    pub(crate) fn linger_on(&mut self, slot: Slot, alive: Instant, now: Instant) -> io::Result<()> {
        let entry = self.table.entry(slot.0).zip(self.table.body(slot.0));
        let Some((entry, mut body)) = entry else { return Ok(()) };
        if !body.linger_on(alive, now) {
            return Ok(());
        }
        self.write(slot, &body, (entry.interval, entry.adverts))
    }

    fn write(
        &mut self,
        slot: Slot,
        body: &Body,
        (interval, adverts): (Duration, u8),
    ) -> io::Result<()> {
        let bytes = body.encode(slot.0);
        let (at, units) = self.pool.room(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.generation += 1;
        let place = body::place(at, units, self.generation);
        let written = self
            .table
            .prepare(slot.0)
            .and_then(|()| self.table.file().write_all_at(&bytes, body::offset(at)));
        if let Err(error) = written {
            self.pool.free(at);
            return Err(error);
        }
        self.table.publish(slot.0, place, interval, adverts);
        if let Some(old) = self.places.insert(slot.0, place) {
            self.pool.free(body::place_of(old).0);
        }
        Ok(())
    }

    /// Ends a router's record: it is no longer configured, and has released.
    pub(crate) fn end(&self, slot: Slot, now: Instant) {
        self.table.set_state(slot.0, State::Initialize, Priority::RELEASE, now);
    }

    /// Forgets a router of an earlier life, once nothing of it is left.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.table.reset(slot);
        self.table.unpublish(slot);
        if let Some(old) = self.places.remove(&slot) {
            self.pool.free(body::place_of(old).0);
        }
    }

    /// Says how far the process is.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.table.set_phase(phase);
    }
}

impl AsFd for Ledger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.table.file().as_fd()
    }
}

/// The ledger as the protocol thread writes it: some stores to memory, no system call, no allocation.
///
/// Without a ledger it does nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Option<Arc<Table>>);

impl Pulse {
    /// Says, before the thread waits, until when it will be back at the latest; `None`: nothing is due.
    /// A thread that is not back is taken for hung.
    pub(crate) fn heartbeat(&self, now: Instant, back: Option<Instant>) {
        if let Some(table) = &self.0 {
            table.set_heartbeat(now, back);
        }
    }

    /// Notes an advert, before it is sent. One with a priority makes its router Active in the ledger,
    /// one of priority 0 ends that. Gives when the last one before it left.
    pub(crate) fn sending(
        &self,
        slot: Slot,
        priority: Priority,
        form: ChecksumForm,
        now: Instant,
    ) -> Instant {
        let table = self.0.as_ref();
        table.map_or_else(Instant::default, |table| table.set_sent(slot.0, priority, form, now))
    }

    /// Takes an advert back that could not be sent, with what [`Pulse::sending`] gave: nobody waits for the
    /// next one because of it.
    pub(crate) fn unsent(&self, slot: Slot, before: Instant) {
        if let Some(table) = &self.0 {
            table.set_unsent(slot.0, before);
        }
    }

    /// The greatest sequence number of an authentication header so far, of an earlier life too.
    pub(crate) fn signed(&self) -> u32 {
        self.0.as_ref().map_or(0, |table| table.signed())
    }

    /// Notes that number, before the advert with it is sent.
    pub(crate) fn signing(&self, sequence: u32) {
        if let Some(table) = &self.0 {
            table.set_signed(sequence);
        }
    }

    /// Notes a router's state, as the engine's events tell it.
    pub(crate) fn state(&self, slot: Slot, state: StateName, priority: Priority, now: Instant) {
        if let Some(table) = &self.0 {
            let state = match state {
                StateName::Initialize => State::Initialize,
                StateName::Backup => State::Backup,
                StateName::Active => State::Active,
                StateName::Fault => State::Fault,
            };
            table.set_state(slot.0, state, priority, now);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
