//! The maps, private, behind one function for each thing that is done with them.
//!
//! The sizes here are upper bounds: the loader makes the maps as large as the configuration needs.
#![expect(unsafe_code, reason = "map values are reached by pointer")]

use core::ptr;

use aya_ebpf::bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use vrrp_common::abi::index::{self, SHELVES_PER_SLOT, Shelf, Shelves};
use vrrp_common::abi::{
    ADDRESSES_PER_SLOT, Address6Key, AddressKey, Event, MAX_SLOTS, MAX_STRANGERS, PEERS_PER_SLOT,
    PeerKey, PerCounter, RING_BYTES, ROWS_PER_SLOT, Router, RouterKey, Stranger, StrangerKey,
    TtlBounds,
};

use crate::atomic::{behind, load};

const SLOTS: usize = MAX_SLOTS as usize;
const ADDRESS_ENTRIES: usize = (MAX_SLOTS * ADDRESSES_PER_SLOT) as usize;
const PEER_ENTRIES: usize = (MAX_SLOTS * PEERS_PER_SLOT) as usize;
/// Memory only for entries that are there.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SHELVES: Array<Shelf, { SLOTS * SHELVES_PER_SLOT as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();
/// How many shelves there are, less one. The loader sets it, and the verifier takes it for a constant.
#[unsafe(no_mangle)]
static SHELVES_MASK: u32 = 0;
#[btf_map]
static ROUTERS: Array<Router, { SLOTS * ROWS_PER_SLOT as usize }> = Array::new();
#[btf_map]
static ADDRESSES: HashMap<AddressKey, u32, ADDRESS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static ADDRESSES6: HashMap<Address6Key, u32, ADDRESS_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static PEERS: HashMap<PeerKey, TtlBounds, PEER_ENTRIES, ON_DEMAND> = HashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<PerCounter, SLOTS> = PerCpuArray::new();
#[btf_map]
static REPORTS: Array<PerCounter, SLOTS> = Array::new();
#[btf_map]
static STRANGERS: LruHashMap<StrangerKey, Stranger, { MAX_STRANGERS as usize }> = LruHashMap::new();
#[btf_map]
static EVENTS: RingBuf<Event, { RING_BYTES as usize }> = RingBuf::new();
/// The program that judges, for the one that looks at tags before.
#[btf_map]
static JUDGE: ProgramArray<1> = ProgramArray::new();

/// The instance that an advert is for.
#[inline(always)]
pub(crate) fn router(key: &RouterKey) -> Option<&'static Router> {
    // User space does not write to a row before it has taken all keys from it, and has had to do so with the
    // slot's other row before that.
    ROUTERS.get(index::find(&InMap, key)?)
}

/// The shelves in the map.
struct InMap;

impl Shelves for InMap {
    type Shelf = *const u64;

    #[inline(always)]
    fn mask(&self) -> u32 {
        // SAFETY: a constant. Volatile, or the compiler would take what it is here for what it is.
        unsafe { ptr::read_volatile(&raw const SHELVES_MASK) }
    }

    #[inline(always)]
    fn shelf(&self, number: u32) -> Option<*const u64> {
        SHELVES.get_ptr(number).map(<*const Shelf>::cast)
    }

    #[inline(always)]
    fn word(&self, shelf: *const u64, word: usize, before: u64) -> u64 {
        // SAFETY: `find` asks for words that a shelf has; the array's memory stays, and all words of it are aligned.
        unsafe { load(behind(before, shelf.add(word))) }
    }
}

/// The position of an IPv4 address in an instance's list.
#[inline(always)]
pub(crate) fn address_v4(key: &AddressKey) -> Option<u32> {
    // SAFETY: the program never removes an entry, and the kernel frees one that user space replaces only
    // after the program has ended, or hands its memory to another entry of this map; the value is copied at once.
    unsafe { ADDRESSES.get(key) }.copied()
}

/// The position of an IPv6 address in an instance's list.
#[inline(always)]
pub(crate) fn address_v6(key: &Address6Key) -> Option<u32> {
    // SAFETY: as for `address_v4`.
    unsafe { ADDRESSES6.get(key) }.copied()
}

/// Which TTLs a unicast peer's adverts may have.
#[inline(always)]
pub(crate) fn peer(key: &PeerKey) -> Option<TtlBounds> {
    // SAFETY: as for `address_v4`.
    unsafe { PEERS.get(key) }.copied()
}

/// Adds one to a counter of a slot, on this CPU.
#[inline(always)]
pub(crate) fn count(slot: u32, counter: u32) {
    let Some(counters) = COUNTERS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: the value belongs to this CPU, and the program is not entered twice on one.
    if let Some(value) = unsafe { (*counters).get_mut(counter as usize) } {
        *value += 1;
    }
}

/// Says whether a refused advert is to be reported at `now`, and if so notes that it was.
///
/// Two CPUs that ask at the same time may both be told yes: one record more.
#[inline(always)]
pub(crate) fn report_due(slot: u32, reason: u32, now: u64, every: u64) -> bool {
    let Some(reports) = REPORTS.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: the array's memory stays; the number is one aligned word, written whole.
    let Some(last) = (unsafe { (*reports).get_mut(reason as usize) }) else {
        return false;
    };
    if *last != 0 && now.wrapping_sub(*last) < every {
        return false;
    }
    *last = now;
    true
}

/// Notes an advert for a virtual router that is not ours.
#[inline(always)]
pub(crate) fn note_stranger(key: &StrangerKey, now: u64) {
    if let Some(stranger) = STRANGERS.get_ptr_mut(key) {
        // SAFETY: the entry may be handed to another stranger meanwhile, whose count is then one too
        // high; its memory stays. Both words are aligned.
        unsafe {
            (*stranger).last = now;
            (*stranger).count += 1;
        }
        return;
    }
    let first = Stranger { last: now, count: 1 };
    // A full map makes room by itself; there is nothing to do about another failure.
    let _ = STRANGERS.insert(key, first, BPF_ANY.into());
}

/// Puts a record into the ring, `fill` adding to it in place; `false` where there is no room.
#[inline(always)]
pub(crate) fn emit(event: Event, fill: impl FnOnce(&mut Event)) -> bool {
    let Some(mut entry) = EVENTS.reserve(0) else {
        return false;
    };
    fill(entry.write(event));
    entry.submit(0);
    true
}

/// Goes on with the program that judges, and comes back only where that is not there.
#[inline(always)]
pub(crate) fn judge(ctx: &XdpContext) {
    // SAFETY: what is left here needs no end: nothing is held.
    unsafe { JUDGE.tail_call(ctx, 0) };
}
