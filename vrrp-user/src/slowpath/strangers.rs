//! Virtual routers of others, as far as the slow path hears them.

use std::collections::HashMap;

use vrrp_common::abi::{MAX_STRANGERS, Stranger, StrangerKey};

/// As many as the kernel program remembers, the longest silent forgotten first.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashMap<StrangerKey, Stranger>);

impl Strangers {
    pub(super) fn note(&mut self, key: StrangerKey, at: u64) {
        if let Some(stranger) = self.0.get_mut(&key) {
            stranger.last = stranger.last.max(at);
            stranger.count += 1;
            return;
        }
        if self.0.len() >= MAX_STRANGERS as usize {
            self.make_room();
        }
        self.0.insert(key, Stranger { last: at, count: 1 });
    }

    pub(super) fn all(&self) -> Vec<(StrangerKey, Stranger)> {
        self.0.iter().map(|(key, stranger)| (*key, *stranger)).collect()
    }

    /// Forgets the older half: one pass for many newcomers, so that a flood of invented senders costs
    /// each little.
    fn make_room(&mut self) {
        let mut times: Vec<u64> = self.0.values().map(|stranger| stranger.last).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.0.retain(|_, stranger| stranger.last > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_common::Family;

    fn key(n: u32) -> StrangerKey {
        let mut source = [0; 16];
        source[..4].copy_from_slice(&n.to_be_bytes());
        StrangerKey { ifindex: 1, family: Family::V4 as u8, vrid: 9, reserved: [0; 2], source }
    }

    #[test]
    fn the_longest_silent_go_first() {
        let mut strangers = Strangers::default();
        for n in 0..3 * MAX_STRANGERS {
            strangers.note(key(n), u64::from(n));
            // One that keeps talking.
            strangers.note(key(0), u64::from(n));
        }
        let all: HashMap<_, _> = strangers.all().into_iter().collect();
        assert!(all.len() <= MAX_STRANGERS as usize);
        assert_eq!(all[&key(0)].count, 1 + u64::from(3 * MAX_STRANGERS));
        assert!(all.contains_key(&key(3 * MAX_STRANGERS - 1)));
        assert!(!all.contains_key(&key(1)));
    }
}
