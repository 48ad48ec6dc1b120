//! The mapped part: a head and 64 bytes for each slot, all of it atomic words.
//!
//! | word of the head | |
//! | --- | --- |
//! | 0, 1 | magic, version |
//! | 2, 3 | which start of the host |
//! | 4 | which network namespace |
//! | 5, 6 | the worker's process and when it started |
//! | 7, 8 | heartbeat: when it went to wait, and when it will be back; all ones: nothing is due |
//! | 9 | phase |
//! | 10 | slots in use: one more than the highest |
//! | 11 | how long a start is to stay silent (ns), after a crash loop |
//! | 12 | until when the silence of the first start lasts, `vrrp_startup_delay` |
//! | 13 | the greatest sequence number of authentication headers, of all routers |
//! | 14 | when the next worker is started, where there is none; 0: there is one |
//!
//! Words 0 to 4 have the same meaning in every version.
//!
//! | word of a slot | |
//! | --- | --- |
//! | 0 | where its body is; 0: nowhere |
//! | 1 | interval (ns) in 7 bytes, then for how many intervals its peers wait; 0: three |
//! | 2 | state, priority, checksum form: one byte each |
//! | 3 | when the last advert left |
//! | 4 | when it last ceased to be Active; 0: never was |
//! | 5 | when it last became Active; 0: never |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use vrrp_common::abi::MAX_SLOTS;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority, time};

use super::Foreign;
use super::body::{self, Body, UNIT};
use super::foreign::{boot_id, namespace};
use crate::sys::mapped::Mapped;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"xvrrpldg");
pub(super) const VERSION: u64 = 5;
const HEAD_BYTES: usize = 4096;
const SLOT_WORDS: usize = 8;
const SLOT_BYTES: usize = SLOT_WORDS * size_of::<u64>();
/// Bytes of the mapped part, which the bodies follow.
pub(super) const TABLE_BYTES: usize = HEAD_BYTES + MAX_SLOTS as usize * SLOT_BYTES;
/// Nothing is due.
const NEVER: u64 = u64::MAX;

const WORD_MAGIC: usize = 0;
const WORD_VERSION: usize = 1;
const WORD_BOOT: usize = 2;
pub(super) const WORD_NAMESPACE: usize = 4;
pub(super) const WORD_PID: usize = 5;
const WORD_STARTED: usize = 6;
const WORD_WAITING: usize = 7;
const WORD_BACK: usize = 8;
pub(super) const WORD_PHASE: usize = 9;
const WORD_USED: usize = 10;
const WORD_SILENT: usize = 11;
const WORD_HELD: usize = 12;
const WORD_SIGNED: usize = 13;
pub(super) const WORD_NEXT: usize = 14;

const SLOT_PLACE: usize = 0;
const SLOT_INTERVAL: usize = 1;
const SLOT_STATUS: usize = 2;
const SLOT_SENT: usize = 3;
const SLOT_LEFT: usize = 4;
const SLOT_ROSE: usize = 5;

/// How far the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not yet as far as to promise anything.
    Starting,
    /// At work.
    Running,
    /// Releasing, or done with it.
    Stopping,
}

/// A router's state as the ledger keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No router.
    Empty,
    /// Not started, or ended.
    Initialize,
    /// Listening.
    Backup,
    /// Holding the addresses.
    Active,
    /// Something it needs is missing.
    Fault,
    /// Was Active when its process ended, and has been released since.
    Released,
    /// The same, but for addresses that could not be taken off: it neither goes on, nor is it done with.
    Stays,
}

/// A slot's words at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) state: State,
    pub(crate) priority: u8,
    /// The checksum form of its last advert.
    pub(crate) form: ChecksumForm,
    pub(crate) interval: Duration,
    /// For how many intervals its peers wait for an advert.
    pub(crate) adverts: u8,
    /// When its last advert left.
    pub(crate) sent: Instant,
    /// When it last ceased to be Active; zero: never.
    pub(crate) left: Instant,
    /// When it last became Active; zero: never. Who goes on for another worker has not become so.
    pub(crate) rose: Instant,
}

/// The mapped part of a ledger.
#[derive(Debug)]
pub(crate) struct Table {
    mapped: Mapped,
    file: File,
}

impl Table {
    /// Maps a ledger, where what is in it means something here.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn attach(file: File) -> io::Result<Result<Self, Foreign>> {
        let mut head = [[0; size_of::<u64>()]; WORD_NAMESPACE + 1];
        let length = read_up_to(&file, head.as_flattened_mut(), 0)?;
        if length < size_of_val(&head) || file.metadata()?.len() < TABLE_BYTES as u64 {
            return Ok(Err(Foreign::NoLedger));
        }
        if let Some(foreign) = Foreign::of(&head.map(u64::from_ne_bytes))? {
            return Ok(Err(foreign));
        }
        let mapped = Mapped::new(&file, TABLE_BYTES / size_of::<u64>())?;
        Ok(Ok(Self { mapped, file }))
    }

    /// Makes an empty file a ledger.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn create(file: File) -> io::Result<Self> {
        file.set_len(TABLE_BYTES as u64)?;
        reserve(&file, 0, HEAD_BYTES)?;
        let mapped = Mapped::new(&file, TABLE_BYTES / size_of::<u64>())?;
        let table = Self { mapped, file };
        let [boot, more] = boot_id()?;
        let head = [
            (WORD_BOOT, boot),
            (WORD_BOOT + 1, more),
            (WORD_NAMESPACE, namespace()?),
            (WORD_BACK, NEVER),
            (WORD_VERSION, VERSION),
            (WORD_MAGIC, MAGIC),
        ];
        for (word, value) in head {
            table.words()[word].store(value, Ordering::Release);
        }
        Ok(table)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Begins a worker's life in it.
    pub(crate) fn start(&self, pid: u32, now: Instant) {
        self.set_phase(Phase::Starting);
        self.store(WORD_BACK, NEVER);
        self.store(WORD_PID, pid.into());
        self.store(WORD_STARTED, now.as_nanos());
    }

    /// The worker that writes, or wrote.
    pub(crate) fn worker(&self) -> u32 {
        // A process number is 22 bits.
        self.load(WORD_PID) as u32
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.store(WORD_PHASE, phase as u64);
    }

    pub(crate) fn phase(&self) -> Phase {
        phase_of(self.load(WORD_PHASE))
    }

    /// How long the next worker is to stay silent.
    pub(crate) fn silent(&self) -> Duration {
        Duration::from_nanos(self.load(WORD_SILENT))
    }

    pub(crate) fn set_silent(&self, silent: Duration) {
        self.store(WORD_SILENT, u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Until when the first start of a guardian's workers is silent.
    pub(crate) fn held_until(&self) -> Instant {
        Instant::from_nanos(self.load(WORD_HELD))
    }

    pub(crate) fn set_held_until(&self, until: Instant) {
        self.store(WORD_HELD, until.as_nanos());
    }

    /// No authentication header had a greater sequence number.
    pub(crate) fn signed(&self) -> u32 {
        // No greater one is stored.
        self.load(WORD_SIGNED) as u32
    }

    pub(crate) fn set_signed(&self, sequence: u32) {
        self.words()[WORD_SIGNED].fetch_max(sequence.into(), Ordering::AcqRel);
    }

    pub(crate) fn set_next_start(&self, next: Option<Instant>) {
        self.store(WORD_NEXT, next.map_or(0, Instant::as_nanos));
    }

    pub(super) fn set_heartbeat(&self, now: Instant, back: Option<Instant>) {
        self.store(WORD_WAITING, now.as_nanos());
        self.store(WORD_BACK, back.map_or(NEVER, Instant::as_nanos));
    }

    /// When the protocol thread will be back at the latest; `None`: nothing is due.
    pub(crate) fn back(&self) -> Option<Instant> {
        let back = self.load(WORD_BACK);
        (back != NEVER).then(|| Instant::from_nanos(back))
    }

    /// When the protocol thread was last known to live.
    pub(crate) fn alive(&self) -> Instant {
        Instant::from_nanos(self.load(WORD_WAITING).max(self.load(WORD_STARTED)))
    }

    /// One more than the highest slot in use.
    pub(crate) fn used(&self) -> u32 {
        self.load(WORD_USED).min(MAX_SLOTS.into()) as u32
    }

    /// The slots in use.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.used()).filter_map(|slot| self.entry(slot))
    }

    /// A slot's words; `None` where it has no router.
    pub(crate) fn entry(&self, slot: u32) -> Option<Entry> {
        let words = self.slot(slot)?;
        if read(&words[SLOT_PLACE]) == 0 {
            return None;
        }
        let [state, priority, form, ..] = read(&words[SLOT_STATUS]).to_le_bytes();
        let (interval, adverts) = rhythm_of(read(&words[SLOT_INTERVAL]));
        Some(Entry {
            slot,
            state: state_of(state),
            priority,
            form: ChecksumForm::from_index(form),
            interval,
            adverts,
            sent: Instant::from_nanos(read(&words[SLOT_SENT])),
            left: Instant::from_nanos(read(&words[SLOT_LEFT])),
            rose: Instant::from_nanos(read(&words[SLOT_ROSE])),
        })
    }

    /// A slot's body; `None` where there is none, or it can't be read.
    pub(crate) fn body(&self, slot: u32) -> Option<Body> {
        // A writer that lives may put another one in its place meanwhile: then that one is read.
        for _ in 0..8 {
            let place = self.place(slot);
            let (at, units) = body::place_of(place);
            if units == 0 {
                return None;
            }
            let mut bytes = vec![0; units as usize * UNIT];
            let length = read_up_to(&self.file, &mut bytes, body::offset(at)).ok()?;
            if self.place(slot) == place {
                return Body::decode(slot, &bytes[..length]);
            }
        }
        None
    }

    /// Marks a slot as released, unless something happened to it since the entry was read. `all`: nothing
    /// that it held is left.
    pub(crate) fn set_released(&self, entry: &Entry, all: bool) {
        let Some(words) = self.slot(entry.slot) else { return };
        let before = status(entry.state, entry.priority, entry.form);
        let now = if all { State::Released } else { State::Stays };
        let after = status(now, 0, entry.form);
        // Where it fails, a worker goes on with it.
        let _ =
            words[SLOT_STATUS].compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn place(&self, slot: u32) -> u64 {
        self.slot(slot).map_or(0, |words| read(&words[SLOT_PLACE]))
    }

    /// Sees to it that a slot's words can be stored to.
    pub(super) fn prepare(&self, slot: u32) -> io::Result<()> {
        if slot >= MAX_SLOTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if slot >= self.used() {
            reserve(&self.file, HEAD_BYTES + slot as usize * SLOT_BYTES, SLOT_BYTES)?;
        }
        Ok(())
    }

    pub(super) fn publish(&self, slot: u32, place: u64, interval: Duration, adverts: u8) {
        let used = self.used();
        if let Some(words) = self.slot_anyway(slot) {
            words[SLOT_INTERVAL].store(rhythm(interval, adverts), Ordering::Release);
            words[SLOT_PLACE].store(place, Ordering::Release);
        }
        self.store(WORD_USED, used.max(slot.saturating_add(1)).into());
    }

    pub(super) fn unpublish(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            words[SLOT_PLACE].store(0, Ordering::Release);
        }
    }

    /// Makes a slot one that no router has had.
    pub(super) fn reset(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            for word in [SLOT_STATUS, SLOT_SENT, SLOT_LEFT, SLOT_ROSE] {
                words[word].store(0, Ordering::Release);
            }
        }
    }

    /// Makes a slot one of a router that begins. When its last router ceased to be Active stays known:
    /// its addresses may still be on their interface for a moment.
    pub(super) fn begin(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            let begun = status(State::Initialize, 0, ChecksumForm::Message);
            words[SLOT_STATUS].store(begun, Ordering::Release);
            words[SLOT_SENT].store(0, Ordering::Release);
        }
    }

    /// Gives when the advert before was sent.
    pub(super) fn set_sent(
        &self,
        slot: u32,
        priority: Priority,
        form: ChecksumForm,
        now: Instant,
    ) -> Instant {
        let Some(words) = self.slot(slot) else { return Instant::default() };
        let before = read(&words[SLOT_SENT]);
        let state = if priority == Priority::RELEASE {
            words[SLOT_LEFT].store(now.as_nanos(), Ordering::Release);
            State::Initialize
        } else {
            rise(words, now);
            words[SLOT_SENT].store(now.as_nanos(), Ordering::Release);
            State::Active
        };
        words[SLOT_STATUS].store(status(state, priority.get(), form), Ordering::Release);
        Instant::from_nanos(before)
    }

    pub(super) fn set_unsent(&self, slot: u32, before: Instant) {
        if let Some(words) = self.slot(slot) {
            words[SLOT_SENT].store(before.as_nanos(), Ordering::Release);
        }
    }

    pub(super) fn set_state(&self, slot: u32, state: State, priority: Priority, now: Instant) {
        let Some(words) = self.slot(slot) else { return };
        let [was, _, form, ..] = read(&words[SLOT_STATUS]).to_le_bytes();
        if state == State::Active {
            rise(words, now);
        } else if state_of(was) == State::Active {
            words[SLOT_LEFT].store(now.as_nanos(), Ordering::Release);
        }
        let form = ChecksumForm::from_index(form);
        words[SLOT_STATUS].store(status(state, priority.get(), form), Ordering::Release);
    }

    fn words(&self) -> &[AtomicU64] {
        self.mapped.words()
    }

    /// The words of a slot that has been in use: others may have no room in the file.
    fn slot(&self, slot: u32) -> Option<&[AtomicU64; SLOT_WORDS]> {
        if slot < self.used() { self.slot_anyway(slot) } else { None }
    }

    fn slot_anyway(&self, slot: u32) -> Option<&[AtomicU64; SLOT_WORDS]> {
        let at = HEAD_BYTES / size_of::<u64>() + slot as usize * SLOT_WORDS;
        self.words().get(at..)?.first_chunk()
    }

    fn load(&self, word: usize) -> u64 {
        read(&self.words()[word])
    }

    fn store(&self, word: usize, value: u64) {
        self.words()[word].store(value, Ordering::Release);
    }
}

fn read(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// Notes when a router becomes Active, before its state says so.
fn rise(words: &[AtomicU64; SLOT_WORDS], now: Instant) {
    let [was, ..] = read(&words[SLOT_STATUS]).to_le_bytes();
    if state_of(was) != State::Active {
        words[SLOT_ROSE].store(now.as_nanos(), Ordering::Release);
    }
}

pub(super) fn phase_of(word: u64) -> Phase {
    match word {
        0 => Phase::Starting,
        1 => Phase::Running,
        _ => Phase::Stopping,
    }
}

fn status(state: State, priority: u8, form: ChecksumForm) -> u64 {
    u64::from_le_bytes([state as u8, priority, form as u8, 0, 0, 0, 0, 0])
}

/// An interval, 255 s at most, and a count in one word: they change together.
fn rhythm(interval: Duration, adverts: u8) -> u64 {
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    nanos.min(u64::MAX >> 8) | u64::from(adverts) << 56
}

fn rhythm_of(word: u64) -> (Duration, u8) {
    let adverts = match (word >> 56) as u8 {
        // Of a worker before there was a choice.
        0 => time::DOWN_ADVERTS,
        adverts => adverts,
    };
    (Duration::from_nanos(word & (u64::MAX >> 8)), adverts)
}

fn state_of(byte: u8) -> State {
    match byte {
        1 => State::Initialize,
        2 => State::Backup,
        3 => State::Active,
        4 => State::Fault,
        5 => State::Released,
        6 => State::Stays,
        _ => State::Empty,
    }
}

/// Has the file system set room aside: a store to a page that it has no room for ends the process.
fn reserve(file: &File, from: usize, bytes: usize) -> io::Result<()> {
    // Far below what an offset can hold.
    match fallocate(file, FallocateFlags::empty(), from as i64, bytes as i64) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP) => file.write_all_at(&vec![0; bytes], from as u64),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads to the file's end or the buffer's.
fn read_up_to(file: &File, bytes: &mut [u8], from: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], from + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}
