//! How many keys lead to a slot of the table.

use std::collections::BTreeMap;

/// How many keys lead to each slot: without it, each removal would have to look at all keys.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<u32, u32>);

impl Uses {
    /// One more leads to a slot.
    pub(super) fn add(&mut self, slot: u32) {
        *self.0.entry(slot).or_default() += 1;
    }

    /// One less does; says whether it was the last.
    pub(super) fn drop(&mut self, slot: u32) -> bool {
        let Some(count) = self.0.get_mut(&slot) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.0.remove(&slot);
        }
        last
    }
}
