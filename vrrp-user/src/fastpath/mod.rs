//! The kernel program as the daemon sees it: loaded once, attached per interface, told about routers.
//!
//! Nothing here is pinned. Maps, program and attachments hang on file descriptors: of this process, and
//! of the guardian, which gives them to the next one ([`FastPath::adopt`]). So they go when both are
//! gone, however they end.

mod adopt;
mod attach;
mod btf;
mod counters;
mod error;
mod index;
mod link;
mod object;
mod rights;
mod ring;
mod routers;
mod sys;
mod veth;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use aya_log::EbpfLogger;
use tracing::debug;
use tracing_log::log::Log;
use vrrp_common::abi::{self, PerCounter, Router, RouterKey, Stranger, StrangerKey};
use vrrp_common::arrivals::{self, Arrivals};

pub(crate) use self::adopt::{PREFIX, is_link};
pub use self::attach::Lately;
pub use self::counters::Counters;
pub use self::error::{LoadError, UpdateError};
pub use self::ring::Ring;
pub(crate) use self::routers::{Positions, bounds, leading, positions};
pub use self::watch::{Repeats, Seen, Watcher};

use self::index::Index;
use self::routers::{Maps, Routers};
use self::watch::Slots;
use crate::config::model::Peer;
use crate::sys::clock;
use crate::sys::memory::forget_constant;

const PROGRAM: &str = "vrrp_xdp";
/// How many shelves there are, less one: in the program's constants.
const SHELVES_MASK: &str = "SHELVES_MASK";
/// The maps with an entry for each slot.
const PER_SLOT: [&str; 3] = ["COUNTERS", "REPORTS", "RUNTIME"];
/// A slot's share of the ring: all routers can have something to say at once.
const RING_PER_SLOT: u32 = 128;
/// The smallest ring: a burst of a thousand.
const LEAST_RING: u32 = 1 << 17;
/// Room for unicast peers, however few slots there are.
const LEAST_PEERS: u32 = 1024;
/// Room for addresses, whatever the number of slots: the hash's buckets cost 16 bytes each.
const MOST_ADDRESSES: u32 = 1 << 16;

/// How the adverts of an interface reach the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The program runs in the driver.
    Native,
    /// The program runs in the kernel's own receive path.
    Generic {
        /// Why not in the driver.
        why: String,
    },
    /// The program does not run; a socket gets everything.
    Socket {
        /// Why.
        why: String,
    },
}

/// The kernel program and its maps.
pub struct FastPath {
    program: Program,
    /// The program for the driver of a veth, where there is one.
    for_veth: Option<OwnedFd>,
    /// Copies of all maps' descriptors, for another process.
    handles: BTreeMap<&'static str, OwnedFd>,
    /// Attachments that were taken over and that nobody has asked for yet.
    found: BTreeMap<u32, (OwnedFd, sys::Mode)>,
    routers: Routers,
    counters: PerCpuArray<MapData, PerCounter>,
    reports: Array<MapData, PerCounter>,
    arrivals: Array<MapData, arrivals::Row>,
    /// How many slots the maps have.
    room: u32,
    /// What is watched; the watcher has it too.
    slots: Slots,
    watcher: Option<Watcher>,
    no_timers: Option<String>,
    strangers: HashMap<MapData, StrangerKey, Stranger>,
    ring: Option<Ring>,
    attached: BTreeMap<u32, (OwnedFd, Attached)>,
    /// Where another program is in the way, and its number.
    occupied: BTreeMap<u32, Option<u32>>,
    /// Where VLAN tags are hidden from the program, in which modes they are not, and why.
    blind: BTreeMap<u32, attach::Sight>,
    /// See [`FastPath::is_denied_on`].
    denied: BTreeSet<u32>,
    /// See [`FastPath::once`].
    once: Duration,
}

/// The program in the kernel.
enum Program {
    /// Loaded by this process.
    Loaded(Box<Ebpf>),
    /// Taken over from an earlier one.
    Adopted(OwnedFd),
}

impl FastPath {
    /// Loads the program with room for that many slots, at most [`abi::MAX_SLOTS`].
    ///
    /// Where the kernel does not take it with frames of several buffers (Linux 5.18), it is loaded without:
    /// drivers then refuse it on interfaces with a large MTU, and a large MTU with it. Nor with timers (Linux
    /// 5.15), without them too: [`FastPath::no_timers`] then says why. Each slot takes 3 KiB and 256 bytes
    /// more per CPU.
    ///
    /// # Errors
    /// [`LoadError`] says whether the build, the permissions or the kernel stand in the way.
    pub fn load(slots: u32) -> Result<Self, LoadError> {
        let begin = clock::now();
        let loaded = Self::load_best(slots);
        // What the kernel has is not needed here, and would be locked in memory from now on.
        for object in [object::EMBEDDED, object::WITHOUT_FRAGS, object::WITHOUT_TIMERS] {
            // If it fails, it is memory that is lost.
            let _ = forget_constant(object);
        }
        let mut fast = loaded?;
        fast.once = clock::now().since(begin);
        Ok(fast)
    }

    fn load_best(slots: u32) -> Result<Self, LoadError> {
        match Self::load_object(object::EMBEDDED, slots, None) {
            Err(LoadError::Kernel(why)) => debug!("no frames of several buffers: {why}"),
            result => return result,
        }
        match Self::load_without_frags(slots) {
            Err(LoadError::Kernel(why)) => {
                debug!("no kernel timers: {why}");
                let plain = Self::load_without_timers(slots, &why);
                // Refused without them too, they were not the reason.
                plain.map_err(|error| match error {
                    LoadError::Kernel(_) => LoadError::Kernel(why),
                    LoadError::NoObject
                    | LoadError::Abi { .. }
                    | LoadError::Malformed(_)
                    | LoadError::Lacks(_)
                    | LoadError::NotPermitted { .. } => error,
                })
            }
            result => result,
        }
    }

    /// Loads the program as for a kernel that gives it no frames of several buffers.
    ///
    /// # Errors
    /// As [`FastPath::load`].
    pub fn load_without_frags(slots: u32) -> Result<Self, LoadError> {
        Self::load_object(object::WITHOUT_FRAGS, slots, None)
    }

    /// Loads the program as for a kernel that has no timers for it, `why` it has none.
    ///
    /// # Errors
    /// As [`FastPath::load`].
    pub fn load_without_timers(slots: u32, why: &str) -> Result<Self, LoadError> {
        Self::load_object(object::WITHOUT_TIMERS, slots, Some(why.to_owned()))
    }

    fn load_object(bytes: &[u8], slots: u32, no_timers: Option<String>) -> Result<Self, LoadError> {
        object::check(bytes)?;
        let slots = slots.clamp(1, abi::MAX_SLOTS);
        let addresses = slots.saturating_mul(abi::ADDRESSES_PER_SLOT).min(MOST_ADDRESSES);
        let places = veth::Places::find();
        let mut loader = EbpfLoader::new();
        if let Ok(places) = &places {
            places.tell(&mut loader);
        }
        let peers = slots.saturating_mul(abi::PEERS_PER_SLOT).max(LEAST_PEERS);
        loader.map_max_entries("ADDRESSES", addresses).map_max_entries("ADDRESSES6", addresses);
        loader.map_max_entries("PEERS", peers);
        loader.verifier_log_level(VerifierLogLevel::STATS);
        let ring = slots.saturating_mul(RING_PER_SLOT).next_power_of_two();
        loader.map_max_entries("EVENTS", ring.clamp(LEAST_RING, abi::RING_BYTES));
        for map in PER_SLOT {
            loader.map_max_entries(map, slots);
        }
        loader.map_max_entries("ARRIVALS", arrivals::rows(slots));
        loader.map_max_entries("ROUTERS", slots * abi::ROWS_PER_SLOT);
        let shelves = index::shelves(slots);
        loader.map_max_entries(adopt::SHELVES, shelves);
        let mask = shelves - 1;
        loader.override_global(SHELVES_MASK, &mask, true);
        // Not in the program without.
        loader.map_max_entries(adopt::TIMERS, slots.div_ceil(abi::SLOTS_PER_TIMER));
        let mut ebpf = loader.load(bytes)?;
        let program = named(&mut ebpf, PROGRAM)?;
        error::verified(|| program.load())?;
        if let Ok(info) = program.info() {
            let verified = info.verified_instruction_count();
            debug!(?verified, "kernel program loaded with id {}", info.id());
        }
        let for_veth = match places {
            Ok(_) => veth::load(&mut ebpf).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let for_veth = for_veth.inspect_err(|why| debug!("tags beside frames are not seen: {why}"));
        let (mut maps, mut handles) = (BTreeMap::new(), BTreeMap::new());
        for name in adopt::MAPS {
            let Some(map) = ebpf.map(name) else { continue };
            let copy = data(map).ok_or(LoadError::Lacks(name))?.fd().as_fd().try_clone_to_owned();
            handles.insert(name, copy.map_err(|error| LoadError::Kernel(error.to_string()))?);
            if !adopt::KEPT.contains(&name) {
                maps.extend(ebpf.take_map(name).map(|map| (name, map)));
            }
        }
        let program = Program::Loaded(Box::new(ebpf));
        let mut fast = Self::over(program, maps, handles, slots, no_timers)?;
        fast.for_veth = for_veth.ok();
        Ok(fast)
    }

    /// Builds the rest around program and maps.
    fn over(
        program: Program,
        mut maps: BTreeMap<&'static str, Map>,
        handles: BTreeMap<&'static str, OwnedFd>,
        slots: u32,
        no_timers: Option<String>,
    ) -> Result<Self, LoadError> {
        let runtime = handles.get("RUNTIME").ok_or(LoadError::Lacks("RUNTIME"))?;
        let mapping = sys::Mapping::new(runtime.as_fd(), Slots::words(slots))
            .map_err(|error| LoadError::Kernel(format!("a map can't be mapped: {error}")))?;
        let shelves = handles.get(adopt::SHELVES).ok_or(LoadError::Lacks(adopt::SHELVES))?;
        let shelves = sys::Mapping::new(shelves.as_fd(), index::words(slots))
            .map_err(|error| LoadError::Kernel(format!("a map can't be mapped: {error}")))?;
        let room = slots;
        let slots = Slots::new(mapping);
        Ok(Self {
            room,
            routers: Routers::new(Maps {
                index: Index::new(shelves),
                rows: take(&mut maps, "ROUTERS")?,
                addresses: take(&mut maps, "ADDRESSES")?,
                addresses6: take(&mut maps, "ADDRESSES6")?,
                peers: take(&mut maps, "PEERS")?,
            }),
            counters: take(&mut maps, "COUNTERS")?,
            reports: take(&mut maps, "REPORTS")?,
            arrivals: take(&mut maps, "ARRIVALS")?,
            watcher: Some(Watcher::new(slots.clone(), no_timers.is_none(), clock::now())),
            slots,
            no_timers,
            strangers: take(&mut maps, "STRANGERS")?,
            ring: Some(Ring::new(take::<RingBuf<MapData>>(&mut maps, "EVENTS")?)),
            attached: BTreeMap::new(),
            occupied: BTreeMap::new(),
            blind: BTreeMap::new(),
            denied: BTreeSet::new(),
            found: BTreeMap::new(),
            once: Duration::ZERO,
            program,
            for_veth: None,
            handles,
        })
    }

    /// How long it took to load the program and to attach it where it is, which a process that takes it
    /// over need not do. Some NICs take seconds to be attached to.
    pub const fn once(&self) -> Duration {
        self.once
    }

    /// Has the program check adverts for `key` by `router`, `addresses` and, with
    /// [`Router::UNICAST`], `peers` from now on.
    ///
    /// Addresses and peers are there before the settings that need them, and those no longer wanted go
    /// after. How many there are is counted here, whatever `router` says.
    ///
    /// # Errors
    /// [`UpdateError::Full`] for a slot that the maps don't have: its adverts go up the slow path.
    /// Another [`UpdateError`]; the old settings may then be gone in part, and the adverts go up the slow path
    /// or are judged by what is there.
    pub fn set_router(
        &mut self,
        key: RouterKey,
        router: Router,
        addresses: &[IpAddr],
        peers: &[Peer],
    ) -> Result<(), UpdateError> {
        if router.slot >= self.room {
            return Err(UpdateError::Full);
        }
        self.routers.set(key, router, addresses, peers)
    }

    /// Has the program leave adverts for `key` alone, unless they are another slot's by now.
    pub fn remove_router(&mut self, key: RouterKey, slot: u32) {
        self.routers.remove(key, slot);
    }

    /// How many slots the maps have room for, from 0 on.
    pub const fn room(&self) -> u32 {
        self.room
    }

    /// What the program has counted for a slot, on all CPUs together; nothing for a slot that the maps
    /// don't have.
    pub fn counters(&self, slot: u32) -> Counters {
        let values = self.counters.get(&slot, 0);
        let counted: Counters = values.map_or_else(|_| Counters::default(), |v| v.iter().sum());
        counted.with_repeated(self.slots.repeated(slot))
    }

    /// The gaps between a slot's watched adverts; none for a slot that the maps don't have.
    pub fn arrivals(&self, slot: u32) -> Arrivals {
        let mut gaps = self.slots.gaps(slot);
        if self.slots.repeated(slot) > 0 {
            for row in 0..arrivals::ROWS {
                let values = self.arrivals.get(&arrivals::row_at(slot, row), 0);
                gaps.set_row(row, &values.unwrap_or_default());
            }
        }
        gaps
    }

    /// Ends a slot's watch and sets its counters to zero, for the next router that gets it.
    ///
    /// # Errors
    /// [`UpdateError`] where the maps have no such slot.
    pub fn reset(&mut self, slot: u32) -> Result<(), UpdateError> {
        self.slots.stop(slot);
        let zero: PerCounter = [0; abi::COUNTERS_PER_SLOT as usize];
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| UpdateError::Kernel(error))?;
        let zeros = PerCpuValues::try_from(vec![zero; cpus]).map_err(UpdateError::Kernel)?;
        self.counters.set(slot, zeros, 0)?;
        self.reports.set(slot, zero, 0)?;
        // With nothing repeated there is nothing in the rows.
        if self.slots.repeated(slot) > 0 {
            for row in 0..arrivals::ROWS {
                self.arrivals.set(arrivals::row_at(slot, row), arrivals::Row::default(), 0)?;
            }
        }
        self.slots.begin(slot);
        Ok(())
    }

    /// The virtual routers of others that the program has heard, in no order.
    pub fn strangers(&self) -> Vec<(StrangerKey, Stranger)> {
        // An entry that is displaced while the map is walked is one that is missing.
        self.strangers.iter().filter_map(Result::ok).collect()
    }

    /// The ring with the program's records, once: it has one reader.
    pub fn ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// What tells the program which adverts to watch, once: it has one owner.
    pub fn watcher(&mut self) -> Option<Watcher> {
        self.watcher.take()
    }

    /// Whether the kernel runs timers for watched adverts.
    pub const fn has_timers(&self) -> bool {
        self.no_timers.is_none()
    }

    /// Why the kernel runs no timers for watched adverts; nothing where it does.
    pub fn no_timers(&self) -> Option<&str> {
        self.no_timers.as_deref()
    }

    /// The program's messages, once, where it was built with them.
    pub fn messages(&mut self) -> Option<Messages> {
        match &mut self.program {
            Program::Loaded(ebpf) => EbpfLogger::init(ebpf).ok().map(Messages),
            Program::Adopted(_) => None,
        }
    }

    /// The program itself, for test runs.
    ///
    /// # Errors
    /// [`LoadError::Lacks`] where it was taken over: then it is not this process's.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        match &mut self.program {
            Program::Loaded(ebpf) => named(ebpf, PROGRAM),
            Program::Adopted(_) => Err(LoadError::Lacks(PROGRAM)),
        }
    }

    /// Whether the program in a veth's driver sees VLAN tags that come beside the frame.
    pub const fn sees_tags_on_veth(&self) -> bool {
        self.for_veth.is_some()
    }
}

impl fmt::Debug for FastPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastPath").field("attached", &self.attached).finish_non_exhaustive()
    }
}

/// Messages from a program that was built with them, for the log.
pub struct Messages(EbpfLogger<&'static dyn Log>);

impl Messages {
    /// Passes on what has come.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Messages").field(&self.as_raw_fd()).finish()
    }
}

impl AsFd for Messages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Messages {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn named<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Lacks(name))?;
    Ok(program.try_into()?)
}

/// What all kinds of maps that the program has are made of.
fn data(map: &Map) -> Option<&MapData> {
    if let Map::Array(data)
    | Map::PerCpuArray(data)
    | Map::HashMap(data)
    | Map::LruHashMap(data)
    | Map::ProgramArray(data)
    | Map::RingBuf(data) = map
    {
        Some(data)
    } else {
        None
    }
}

fn take<M>(maps: &mut BTreeMap<&'static str, Map>, name: &'static str) -> Result<M, LoadError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = maps.remove(name).ok_or(LoadError::Lacks(name))?;
    Ok(M::try_from(map)?)
}
