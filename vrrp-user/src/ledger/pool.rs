//! The room behind the table, where the bodies are: who has what of it.

use std::collections::BTreeMap;

use super::body::{MOST_UNITS, UNIT};

/// Room in units, each body in one piece. First behind what was given out last, then from the front.
#[derive(Debug, Default)]
pub(super) struct Pool {
    taken: BTreeMap<u32, u32>,
    /// The units of all that is taken.
    live: u32,
    from: u32,
}

/// So many units the room has at most: where an offset ends that a place can hold.
const END: u32 = 1 << 24;

impl Pool {
    /// Marks what is in use.
    pub(super) fn take(&mut self, (at, units): (u32, u32)) {
        self.occupy(at, units);
        self.from = self.from.max(at + units);
    }

    /// Gives out room for that many bytes: its first unit and their number. `None`: there is none.
    pub(super) fn room(&mut self, bytes: usize) -> Option<(u32, u32)> {
        let units =
            u32::try_from(bytes.div_ceil(UNIT)).ok().filter(|units| *units <= MOST_UNITS)?;
        // Behind the last one only while the room is not much larger than what is in it.
        let limit = self.live.saturating_mul(2).saturating_add(MOST_UNITS).min(END);
        let at = self.gap(self.from, units, limit).or_else(|| self.gap(0, units, END))?;
        self.occupy(at, units);
        self.from = at + units;
        Some((at, units))
    }

    /// Takes room back.
    pub(super) fn free(&mut self, at: u32) {
        self.live -= self.taken.remove(&at).unwrap_or(0);
    }

    fn occupy(&mut self, at: u32, units: u32) {
        self.live += units;
        self.live -= self.taken.insert(at, units).unwrap_or(0);
    }

    /// The first gap of that size at `from` or behind it that ends at `limit` or before.
    fn gap(&self, from: u32, units: u32, limit: u32) -> Option<u32> {
        let before = self.taken.range(..from).next_back();
        let mut at = before.map_or(from, |(start, len)| from.max(start + len));
        for (start, len) in self.taken.range(from..) {
            if at + units <= *start {
                break;
            }
            at = start + len;
        }
        (at + units <= limit).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_long_a_body_has_no_room() {
        assert_eq!(Pool::default().room(MOST_UNITS as usize * UNIT + 1), None);
    }

    proptest! {
        /// No two bodies have a unit in common, and the room stays in proportion to what is in it.
        #[test]
        fn bodies_do_not_overlap(steps in proptest::collection::vec((1_usize..9000, any::<u8>()), 1..200)) {
            let mut pool = Pool::default();
            let mut held: Vec<(u32, u32)> = Vec::new();
            let mut most = 0;
            for (bytes, which) in steps {
                if which > 128 && !held.is_empty() {
                    let gone = held.swap_remove(usize::from(which) % held.len());
                    pool.free(gone.0);
                    continue;
                }
                let (at, units) = pool.room(bytes).unwrap();
                prop_assert!(units as usize * UNIT >= bytes);
                for (other, len) in &held {
                    prop_assert!(at + units <= *other || *other + len <= at);
                }
                held.push((at, units));
                most = most.max(held.iter().map(|(_, len)| len).sum::<u32>());
                prop_assert!(at + units <= 4 * most + 2 * MOST_UNITS);
                prop_assert_eq!(pool.live, held.iter().map(|(_, len)| len).sum::<u32>());
            }
        }
    }
}
