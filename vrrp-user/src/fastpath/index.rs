//! The `SHELVES` map: which row of `ROUTERS` each key leads to.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use vrrp_common::abi::RouterKey;
use vrrp_common::abi::index::{
    self, REACH, ROW_WORDS, SHELVES_PER_SLOT, Shelf, Shelves, VRIDS_PER_SHELF, place, row_in, tag,
    with_row,
};

const WORDS: usize = size_of::<Shelf>() / 8;

/// No shelf within reach is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The map's memory, which the kernel program reads meanwhile. This is its only writer.
pub(super) struct Index<M>(M);

/// How many shelves a program with so many slots has.
pub(super) const fn shelves(slots: u32) -> u32 {
    (slots * SHELVES_PER_SLOT).next_power_of_two()
}

/// How many words they have.
pub(super) const fn words(slots: u32) -> usize {
    shelves(slots) as usize * WORDS
}

impl<M: Deref<Target = [AtomicU64]>> Index<M> {
    pub(super) const fn new(memory: M) -> Self {
        Self(memory)
    }

    /// The row to which a key leads.
    pub(super) fn row(&self, key: &RouterKey) -> Option<u32> {
        index::find(self, key)
    }

    /// Has a key lead to a row.
    pub(super) fn lead(&self, key: &RouterKey, row: u32) -> Result<(), Full> {
        let wanted = tag(key);
        let free = || self.within_reach(wanted).find(|shelf| self.is_bare(*shelf));
        let shelf = self.shelf_of(wanted).or_else(free).ok_or(Full)?;
        // Before the row, which belongs to it.
        self.store(shelf, 0, wanted);
        self.put(shelf, key.vrid, Some(row));
        Ok(())
    }

    /// Has a key lead nowhere. `false`: it did not lead anywhere.
    pub(super) fn end(&self, key: &RouterKey) -> bool {
        let Some(shelf) = self.shelf_of(tag(key)) else { return false };
        if self.row(key).is_none() {
            return false;
        }
        self.put(shelf, key.vrid, None);
        self.sweep(shelf);
        true
    }

    /// All keys with their rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RouterKey, u32)> + '_ {
        (0..=self.mask()).flat_map(move |shelf| {
            let tag = self.load(shelf, 0);
            (0..VRIDS_PER_SHELF).filter_map(move |at| {
                let (word, shift) = place(at);
                let row = row_in(self.load(shelf, word), shift)?;
                Some((index::key(tag, at), row))
            })
        })
    }

    fn shelf_of(&self, wanted: u64) -> Option<u32> {
        self.within_reach(wanted).find(|shelf| self.load(*shelf, 0) == wanted)
    }

    fn within_reach(&self, tag: u64) -> impl Iterator<Item = u32> + use<M> {
        let (home, mask) = (index::home(tag), self.mask());
        (0..REACH).map(move |away| home.wrapping_add(away) & mask)
    }

    /// Whether a shelf has no row, so that another tag may have it.
    fn is_bare(&self, shelf: u32) -> bool {
        (1..=ROW_WORDS).all(|word| self.load(shelf, word) == 0)
    }

    fn put(&self, shelf: u32, vrid: u8, row: Option<u32>) {
        let (word, shift) = place(vrid);
        self.store(shelf, word, with_row(self.load(shelf, word), shift, row));
    }

    /// Takes the tags of bare shelves away where no search goes on behind them: else interfaces that come and go
    /// would make all searches long.
    fn sweep(&self, shelf: u32) {
        let mask = self.mask();
        let mut shelf = shelf;
        for _ in 0..=mask {
            let next = shelf.wrapping_add(1) & mask;
            if self.load(shelf, 0) == 0 || self.load(next, 0) != 0 || !self.is_bare(shelf) {
                return;
            }
            self.store(shelf, 0, 0);
            shelf = shelf.wrapping_sub(1) & mask;
        }
    }

    fn load(&self, shelf: u32, word: usize) -> u64 {
        self.0.get(shelf as usize * WORDS + word).map_or(0, |word| word.load(SeqCst))
    }

    fn store(&self, shelf: u32, word: usize, value: u64) {
        if let Some(word) = self.0.get(shelf as usize * WORDS + word) {
            word.store(value, SeqCst);
        }
    }
}

impl<M: Deref<Target = [AtomicU64]>> Shelves for Index<M> {
    type Shelf = u32;

    fn mask(&self) -> u32 {
        (self.0.len() / WORDS) as u32 - 1
    }

    fn shelf(&self, number: u32) -> Option<u32> {
        Some(number)
    }

    fn word(&self, shelf: u32, word: usize, _: u64) -> u64 {
        self.load(shelf, word)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use vrrp_common::Family;
    use vrrp_common::abi::{MAX_SLOTS, ROWS_PER_SLOT};

    use super::*;

    fn empty(slots: u32) -> Index<Vec<AtomicU64>> {
        Index::new((0..words(slots)).map(|_| AtomicU64::new(0)).collect())
    }

    fn v4(ifindex: u32, vrid: u8) -> RouterKey {
        RouterKey::new(ifindex, Family::V4, vrid)
    }

    /// However the instances are spread, as many as there are slots find room: many on few interfaces, one on each
    /// of many, and with the numbers of those far apart.
    #[test]
    fn as_many_as_there_are_slots_find_room() {
        for slots in [64, 256, 4096] {
            for (per_interface, step) in [(255, 1), (16, 7), (1, 1), (1, 2), (1, 16), (1, 4096)] {
                let index = empty(slots);
                for slot in 0..slots {
                    let key = v4(1 + slot / per_interface * step, (slot % per_interface + 1) as u8);
                    index.lead(&key, slot * ROWS_PER_SLOT).unwrap();
                    assert_eq!(index.row(&key), Some(slot * ROWS_PER_SLOT));
                }
                assert_eq!(index.iter().count(), slots as usize);
            }
        }
    }

    /// Interfaces that come and go leave nothing.
    #[test]
    fn what_ends_leaves_nothing() {
        let index = empty(64);
        for ifindex in 1..10_000 {
            for vrid in [1, 16, 255] {
                index.lead(&v4(ifindex, vrid), u32::from(vrid)).unwrap();
            }
            if ifindex > 20 {
                for vrid in [1, 16, 255] {
                    assert!(index.end(&v4(ifindex - 20, vrid)));
                }
            }
        }
        for ifindex in 9_980..10_000 {
            for vrid in [1, 16, 255] {
                assert!(index.end(&v4(ifindex, vrid)), "{ifindex} {vrid}");
                assert!(!index.end(&v4(ifindex, vrid)));
            }
        }
        let left = index.0.iter().filter(|word| word.load(SeqCst) != 0).count();
        assert!(left < 3 * REACH as usize, "{left} tags are left");
    }

    #[test]
    fn a_key_without_room_is_refused() {
        let index = Index::new((0..WORDS * 4).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        for ifindex in 1..5 {
            index.lead(&v4(ifindex, 1), 0).unwrap();
        }
        assert_eq!(index.lead(&v4(5, 1), 0), Err(Full));
        index.lead(&v4(4, 15), 1).unwrap();
        assert!(index.end(&v4(2, 1)));
        index.lead(&v4(5, 1), 7).unwrap();
        assert_eq!((index.row(&v4(5, 1)), index.row(&v4(2, 1))), (Some(7), None));
    }

    proptest! {
        /// Against a map, with keys so near each other and so many for the room that all meet.
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec(
                (1u32..40, any::<bool>(), any::<u8>(), prop::option::of(0..MAX_SLOTS * ROWS_PER_SLOT)),
                0..400,
            ),
        ) {
            let index = empty(16);
            let mut model = BTreeMap::new();
            let order = |key: RouterKey| (key.ifindex, key.family, key.vrid);
            for (ifindex, six, vrid, row) in steps {
                let key = RouterKey::new(ifindex, if six { Family::V6 } else { Family::V4 }, vrid);
                match row {
                    Some(row) if index.lead(&key, row).is_ok() => {
                        model.insert(order(key), row);
                    }
                    // Without room all stays as it was.
                    Some(_) => prop_assert_eq!(index.row(&key), None),
                    None => prop_assert_eq!(index.end(&key), model.remove(&order(key)).is_some()),
                }
                prop_assert_eq!(index.row(&key), model.get(&order(key)).copied());
            }
            let there: BTreeMap<_, _> = index.iter().map(|(key, row)| (order(key), row)).collect();
            prop_assert_eq!(there, model);
        }
    }
}
