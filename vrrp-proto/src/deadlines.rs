//! Every router's deadline, the soonest at hand.

use vrrp_common::Instant;

use crate::input::Slot;

/// A binary heap in which each router stands at most once.
///
/// Moving a deadline, which each advert does, allocates nothing: memory is taken when a router comes.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Instant, Slot)>,
    /// Where in the heap a router stands, by its slot's number; `None` while it has no deadline. Slots are
    /// numbered from 0 without wide gaps, so that a list is no larger than a map, and each move of a heap
    /// entry, of which a deadline that is put off takes many, is a store.
    places: Vec<Option<u32>>,
}

impl Deadlines {
    /// Sets a router's deadline, or that it has none.
    pub(crate) fn set(&mut self, slot: Slot, deadline: Option<Instant>) {
        let number = slot.0 as usize;
        if number >= self.places.len() {
            self.places.resize(number + 1, None);
            self.heap.reserve(self.places.len() - self.heap.len());
        }
        match (self.place(slot), deadline) {
            (Some(place), Some(at)) if self.heap[place].0 == at => {}
            (Some(place), Some(at)) => {
                self.heap[place].0 = at;
                self.settle(place);
            }
            (Some(place), None) => self.take(slot, place),
            (None, Some(at)) => {
                self.heap.push((at, slot));
                self.note(self.heap.len() - 1);
                self.settle(self.heap.len() - 1);
            }
            (None, None) => {}
        }
    }

    /// Forgets a router.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.set(slot, None);
    }

    /// The soonest deadline. Of those alike, the lowest slot's.
    pub(crate) fn first(&self) -> Option<(Instant, Slot)> {
        self.heap.first().copied()
    }

    /// Those that are no later than `until`, in no order.
    pub(crate) fn upto(&self, until: Instant) -> impl Iterator<Item = (Instant, Slot)> {
        // Whoever stands below a later one is later too.
        let mut next = Some(0);
        std::iter::from_fn(move || {
            while let Some(place) = next {
                let found = self.heap.get(place).filter(|(at, _)| *at <= until).copied();
                next = match found {
                    Some(_) if 2 * place + 1 < self.heap.len() => Some(2 * place + 1),
                    Some(_) | None => after(place),
                };
                if found.is_some() {
                    return found;
                }
            }
            None
        })
    }

    fn take(&mut self, slot: Slot, place: usize) {
        self.heap.swap_remove(place);
        self.places[slot.0 as usize] = None;
        if place < self.heap.len() {
            self.note(place);
            self.settle(place);
        }
    }

    /// Moves an entry up or down to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let below = (2 * place + 1..self.heap.len().min(2 * place + 3))
                .min_by_key(|child| self.heap[*child]);
            match below {
                Some(child) if self.heap[child] < self.heap[place] => {
                    self.swap(place, child);
                    place = child;
                }
                Some(_) | None => return,
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, place: usize) {
        let Slot(number) = self.heap[place].1;
        // No more routers than there are numbers.
        self.places[number as usize] = Some(place as u32);
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let place = *self.places.get(slot.0 as usize)?;
        place.map(|place| place as usize)
    }
}

/// The next place of a walk through the heap that leaves out what is below `place`.
fn after(mut place: usize) -> Option<usize> {
    // A left child has an odd place, and its sibling the next.
    while place != 0 && place.is_multiple_of(2) {
        place = (place - 1) / 2;
    }
    (place != 0).then_some(place + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(
            moves in proptest::collection::vec((0u32..40, proptest::option::of(0u64..50)), 0..300),
            until in 0u64..60,
        ) {
            let mut heap = Deadlines::default();
            let mut set: BTreeMap<Slot, Instant> = BTreeMap::new();
            for (slot, at) in moves {
                let (slot, at) = (Slot(slot), at.map(Instant::from_nanos));
                heap.set(slot, at);
                match at {
                    Some(at) => set.insert(slot, at),
                    None => set.remove(&slot),
                };
                let sorted: BTreeSet<_> = set.iter().map(|(slot, at)| (*at, *slot)).collect();
                prop_assert_eq!(heap.first(), sorted.first().copied());
                let until = Instant::from_nanos(until);
                let right: BTreeSet<_> = sorted.into_iter().filter(|(at, _)| *at <= until).collect();
                let found: Vec<_> = heap.upto(until).collect();
                prop_assert_eq!(found.len(), right.len());
                prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), right);
            }
            for slot in 0..40 {
                heap.remove(Slot(slot));
            }
            prop_assert!(heap.first().is_none() && heap.places.iter().all(Option::is_none));
        }
    }
}
