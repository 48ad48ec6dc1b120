//! Which router has which routes and rules. Pure, as `claims` is for addresses.

use std::collections::BTreeMap;

use rtnetlink::packet_core::Emitable;
use vrrp_proto::input::Slot;

use super::{Known, Path};

/// What each router has, as it was put on.
///
/// The kernel has a route once, however many routers ask for it: so it goes with the last of them.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    held: BTreeMap<(Slot, Path), Known>,
    /// How many have each.
    counts: BTreeMap<Vec<u8>, usize>,
}

impl Holdings {
    /// As what a router has it.
    pub(super) fn has(&self, slot: Slot, path: &Path) -> Option<&Known> {
        self.held.get(&(slot, path.clone()))
    }

    /// Says whether any router has it.
    pub(super) fn anybody(&self, known: &Known) -> bool {
        self.counts.contains_key(&key(known))
    }

    /// Notes that a router has it.
    pub(super) fn hold(&mut self, slot: Slot, path: Path, known: Known) {
        *self.counts.entry(key(&known)).or_default() += 1;
        if let Some(before) = self.held.insert((slot, path), known) {
            self.drop_one(&before);
        }
    }

    /// Ends that, and returns what is to be taken off; `None` where it had none, or another router has the
    /// same.
    pub(super) fn release(&mut self, slot: Slot, path: &Path) -> Option<Known> {
        let known = self.held.remove(&(slot, path.clone()))?;
        self.drop_one(&known).then_some(known)
    }

    /// Counts one less; says whether it was the last.
    fn drop_one(&mut self, known: &Known) -> bool {
        let key = key(known);
        let Some(count) = self.counts.get_mut(&key) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.counts.remove(&key);
        }
        last
    }
}

/// What makes two the same for the kernel: all of their message.
pub(super) fn key(known: &Known) -> Vec<u8> {
    let emit = |message: &dyn Emitable, kind: u8| {
        let mut bytes = vec![0; message.buffer_len() + 1];
        message.emit(&mut bytes[1..]);
        bytes[0] = kind;
        bytes
    };
    match known {
        Known::Route(route) => emit(route, 0),
        Known::Rule(rule) => emit(rule, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_common::Family;
    use vrrp_proto::paths::{Action, Hop, Network, Route, Rule};

    fn route(metric: u32) -> Path {
        let hop = Hop { device: Some("eth0".to_owned()), weight: 1, ..Hop::default() };
        let network = Network { ip: [198, 51, 100, 0].into(), length: 24 };
        Path::Route(Route { metric: Some(metric), hops: vec![hop], ..Route::to(network) })
    }

    fn rule(preference: u32) -> Path {
        Path::Rule(Rule::new(Network::all(Family::V4), preference, Action::Table(100)))
    }

    fn known(path: &Path, index: u32) -> Known {
        path.known(|_| Some(index)).unwrap().0
    }

    #[test]
    fn the_last_one_takes_it_along() {
        let mut holdings = Holdings::default();
        for (slot, path) in [(1, route(5)), (1, route(5)), (2, route(5)), (2, rule(7))] {
            let known = known(&path, 2);
            holdings.hold(Slot(slot), path, known);
        }
        assert!(holdings.anybody(&known(&route(5), 2)) && !holdings.anybody(&known(&route(5), 3)));
        assert_eq!(holdings.release(Slot(3), &route(5)), None);
        assert_eq!(holdings.release(Slot(1), &route(5)), None);
        assert_eq!(holdings.release(Slot(1), &route(5)), None);
        assert_eq!(holdings.release(Slot(2), &route(5)), Some(known(&route(5), 2)));
        assert_eq!(holdings.release(Slot(2), &rule(7)), Some(known(&rule(7), 2)));
        assert!(holdings.held.is_empty() && holdings.counts.is_empty());
    }

    #[test]
    fn what_is_put_on_by_another_index_is_another() {
        let mut holdings = Holdings::default();
        holdings.hold(Slot(1), route(5), known(&route(5), 2));
        holdings.hold(Slot(1), route(5), known(&route(5), 3));
        assert_eq!(holdings.has(Slot(1), &route(5)), Some(&known(&route(5), 3)));
        assert!(!holdings.anybody(&known(&route(5), 2)));
        assert_eq!(holdings.release(Slot(1), &route(5)), Some(known(&route(5), 3)));
        assert!(holdings.counts.is_empty());
    }
}
