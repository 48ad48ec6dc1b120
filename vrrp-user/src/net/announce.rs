//! Which announcement goes out next, and when.
//!
//! Pure: time comes in as an argument, the frame is somebody else's business.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use vrrp_common::Family;
use vrrp_common::wire::family_of;
use vrrp_proto::input::Slot;
use vrrp_proto::settings::VirtualAddress;

use crate::transmit::Mac;

/// How long a lane rests after a queue of the kernel was full.
const BACK_OFF: Duration = Duration::from_millis(1);
/// Full queues in a row after which a lane's announcements are given up.
const MOST_REFUSALS: u32 = 100;

/// Announcements that wait, in one lane for each link and family.
#[derive(Debug)]
pub(super) struct Announcer {
    garp_interval: Duration,
    gna_interval: Duration,
    lanes: BTreeMap<(String, Family), Lane>,
}

/// One announcement whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) slot: Slot,
    pub(super) device: String,
    pub(super) ip: IpAddr,
    /// Another router's MAC address, where it is announced for that one.
    pub(super) mac: Option<Mac>,
}

type Key = (Slot, IpAddr);

/// What is still to go of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    count: u32,
    mac: Option<Mac>,
}

#[derive(Debug)]
struct Lane {
    interval: Duration,
    /// How many announcements of each address are still to go. An address that is in a queue but not
    /// here was withdrawn.
    left: BTreeMap<Key, Left>,
    /// Addresses not announced yet, before all repetitions: a client that hears one announcement is
    /// served, the repetitions are for those that lost it.
    fresh: VecDeque<Key>,
    again: VecDeque<Key>,
    /// Not before this.
    due: Instant,
    refusals: u32,
}

impl Announcer {
    /// With the least time between two gratuitous ARPs and two neighbour advertisements on one link.
    pub(super) fn new(garp_interval: Duration, gna_interval: Duration) -> Self {
        Self { garp_interval, gna_interval, lanes: BTreeMap::new() }
    }

    /// Changes the least times between two announcements, for lanes that wait too.
    pub(super) fn set_pace(&mut self, garp_interval: Duration, gna_interval: Duration) {
        (self.garp_interval, self.gna_interval) = (garp_interval, gna_interval);
        for ((_, family), lane) in &mut self.lanes {
            lane.interval = match family {
                Family::V4 => garp_interval,
                Family::V6 => gna_interval,
            };
        }
    }

    /// Adds `repeat` announcements of an address. Where some of it still wait, the larger number counts
    /// and not the sum, so that refreshing faster than the pace allows fills no memory.
    pub(super) fn push(&mut self, now: Instant, slot: Slot, address: &VirtualAddress, repeat: u32) {
        self.push_for(now, slot, address, repeat, None);
    }

    /// As [`Announcer::push`], for the router with this MAC address.
    pub(super) fn push_for(
        &mut self,
        now: Instant,
        slot: Slot,
        address: &VirtualAddress,
        repeat: u32,
        mac: Option<Mac>,
    ) {
        if repeat == 0 {
            return;
        }
        let family = family_of(address.ip);
        let interval = match family {
            Family::V4 => self.garp_interval,
            Family::V6 => self.gna_interval,
        };
        let lane = self
            .lanes
            .entry((address.device.clone(), family))
            .or_insert_with(|| Lane::new(now, interval));
        lane.push(now, (slot, address.ip), Left { count: repeat, mac });
    }

    /// Withdraws what waits for this address of this router.
    pub(super) fn withdraw(&mut self, slot: Slot, address: &VirtualAddress) {
        let lane = (address.device.clone(), family_of(address.ip));
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.left.remove(&(slot, address.ip));
            lane.tidy();
        }
    }

    /// When the next announcement is due; `None` where none waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.lanes.values().filter(|lane| !lane.left.is_empty());
        waiting.map(|lane| lane.due).min()
    }

    /// Takes an announcement that is due, from the lane that has waited longest.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Announcement> {
        let ((device, _), lane) = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| !lane.left.is_empty() && lane.due <= now)
            .min_by_key(|(_, lane)| lane.due)?;
        let ((slot, ip), mac) = lane.pop(now)?;
        Some(Announcement { slot, device: device.clone(), ip, mac })
    }

    /// Takes back an announcement that a full queue refused, to be tried again soon. `false`: this
    /// link's were refused so often that those that waited are given up.
    pub(super) fn retry(&mut self, now: Instant, refused: Announcement) -> bool {
        let key = (refused.device, family_of(refused.ip));
        let Some(lane) = self.lanes.get_mut(&key) else {
            return true;
        };
        lane.refusals += 1;
        lane.due = now + BACK_OFF.max(lane.interval);
        if lane.refusals >= MOST_REFUSALS {
            lane.left.clear();
            lane.refusals = 0;
            lane.tidy();
            return false;
        }
        let none = Left { count: 0, mac: refused.mac };
        lane.left.entry((refused.slot, refused.ip)).or_insert(none).count += 1;
        lane.fresh.push_front((refused.slot, refused.ip));
        true
    }

    /// Notes that an announcement left, so that earlier refusals no longer count.
    pub(super) fn sent(&mut self, announcement: &Announcement) {
        let key = (announcement.device.clone(), family_of(announcement.ip));
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.refusals = 0;
        }
    }
}

impl Lane {
    fn new(now: Instant, interval: Duration) -> Self {
        Self {
            interval,
            left: BTreeMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            due: now,
            refusals: 0,
        }
    }

    fn push(&mut self, now: Instant, key: Key, more: Left) {
        if self.left.is_empty() {
            // An idle lane owes nothing for the past, but keeps its distance to the last one sent.
            self.due = self.due.max(now);
        }
        match self.left.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut waiting) => {
                let left = waiting.get_mut();
                *left = Left { count: more.count.max(left.count), mac: more.mac };
            }
            std::collections::btree_map::Entry::Vacant(none) => {
                none.insert(more);
                self.fresh.push_back(key);
            }
        }
    }

    fn pop(&mut self, now: Instant) -> Option<(Key, Option<Mac>)> {
        while let Some(key) = self.fresh.pop_front().or_else(|| self.again.pop_front()) {
            let Some(left) = self.left.get_mut(&key) else {
                continue;
            };
            left.count -= 1;
            let mac = left.mac;
            if left.count == 0 {
                self.left.remove(&key);
                self.tidy();
            } else {
                self.again.push_back(key);
            }
            self.due = now + self.interval;
            return Some((key, mac));
        }
        None
    }

    /// Forgets queue entries that nothing stands behind any more.
    fn tidy(&mut self) {
        if self.left.is_empty() {
            self.fresh.clear();
            self.again.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(10);

    fn vip(device: &str, last: u8) -> VirtualAddress {
        VirtualAddress::new(IpAddr::from([192, 0, 2, last]), 24, device)
    }

    fn v6(device: &str) -> VirtualAddress {
        VirtualAddress { ip: "2001:db8::1".parse().unwrap(), prefix: 64, ..vip(device, 1) }
    }

    /// The last byte of all addresses that are due.
    fn due(announcer: &mut Announcer, now: Instant) -> Vec<(String, u8)> {
        std::iter::from_fn(|| announcer.pop(now))
            .map(|a| {
                let last = match a.ip {
                    IpAddr::V4(ip) => ip.octets()[3],
                    IpAddr::V6(ip) => ip.octets()[15],
                };
                (a.device, last)
            })
            .collect()
    }

    fn lasts(announcer: &mut Announcer, now: Instant) -> Vec<u8> {
        due(announcer, now).into_iter().map(|(_, n)| n).collect()
    }

    #[test]
    fn every_address_once_before_any_repetition() {
        let now = Instant::now();
        let mut announcer = Announcer::new(Duration::ZERO, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 3);
        announcer.push(now, Slot(1), &vip("a", 2), 2);
        assert_eq!(announcer.next(), Some(now));
        assert_eq!(lasts(&mut announcer, now), [1, 2, 1, 2, 1]);
        assert_eq!(announcer.next(), None);
    }

    #[test]
    fn a_newcomer_goes_before_repetitions() {
        let now = Instant::now();
        let mut announcer = Announcer::new(GAP, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 3);
        assert_eq!(lasts(&mut announcer, now), [1]);
        announcer.push(now, Slot(2), &vip("a", 9), 1);
        assert_eq!(lasts(&mut announcer, now + GAP), [9]);
        assert_eq!(lasts(&mut announcer, now + 2 * GAP), [1]);
    }

    #[test]
    fn the_pace_is_kept_for_each_link_and_family() {
        let now = Instant::now();
        let mut announcer = Announcer::new(GAP, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 2);
        announcer.push(now, Slot(1), &vip("b", 2), 2);
        announcer.push(now, Slot(1), &v6("a"), 2);
        let mut first = due(&mut announcer, now);
        first.sort();
        let first: Vec<_> = first.iter().map(|(d, n)| (d.as_str(), *n)).collect();
        assert_eq!(first, [("a", 1), ("a", 1), ("a", 1), ("b", 2)]);
        assert_eq!(announcer.next(), Some(now + GAP));
        assert_eq!(lasts(&mut announcer, now + GAP - Duration::from_nanos(1)), Vec::<u8>::new());
        assert_eq!(lasts(&mut announcer, now + GAP), [1, 2]);
        assert_eq!(announcer.next(), None);
    }

    #[test]
    fn an_idle_lane_keeps_its_distance_to_the_last_one() {
        let now = Instant::now();
        let mut announcer = Announcer::new(GAP, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 1);
        assert_eq!(lasts(&mut announcer, now), [1]);
        announcer.push(now, Slot(1), &vip("a", 1), 1);
        assert_eq!(announcer.next(), Some(now + GAP));
        let later = now + 100 * GAP;
        assert_eq!(lasts(&mut announcer, later), [1]);
        announcer.push(later + 100 * GAP, Slot(1), &vip("a", 1), 2);
        assert_eq!(lasts(&mut announcer, later + 100 * GAP), [1]);
    }

    #[test]
    fn repeated_wishes_do_not_add_up() {
        let now = Instant::now();
        let mut announcer = Announcer::new(Duration::ZERO, Duration::ZERO);
        for _ in 0..1000 {
            announcer.push(now, Slot(1), &vip("a", 1), 5);
        }
        assert_eq!(lasts(&mut announcer, now).len(), 5);
    }

    #[test]
    fn withdrawn_ones_do_not_go_out() {
        let now = Instant::now();
        let mut announcer = Announcer::new(Duration::ZERO, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 5);
        announcer.push(now, Slot(2), &vip("a", 1), 1);
        announcer.push(now, Slot(1), &vip("a", 2), 1);
        announcer.withdraw(Slot(1), &vip("a", 1));
        assert_eq!(lasts(&mut announcer, now), [1, 2]);
        announcer.withdraw(Slot(1), &vip("a", 2));
        assert_eq!(announcer.next(), None);
    }

    #[test]
    fn withdrawn_and_wanted_again_counts_anew() {
        let now = Instant::now();
        let mut announcer = Announcer::new(Duration::ZERO, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 5);
        announcer.push(now, Slot(1), &vip("a", 2), 1);
        announcer.withdraw(Slot(1), &vip("a", 1));
        announcer.push(now, Slot(1), &vip("a", 1), 2);
        let mut all = lasts(&mut announcer, now);
        all.sort_unstable();
        assert_eq!(all, [1, 1, 2]);
    }

    #[test]
    fn a_full_queue_delays_and_at_last_gives_up() {
        let mut now = Instant::now();
        let mut announcer = Announcer::new(Duration::ZERO, Duration::ZERO);
        announcer.push(now, Slot(1), &vip("a", 1), 2);
        for _ in 1..MOST_REFUSALS {
            let refused = announcer.pop(now).unwrap();
            assert!(announcer.retry(now, refused));
            assert_eq!(announcer.next(), Some(now + BACK_OFF));
            now += BACK_OFF;
        }
        let sent = announcer.pop(now).unwrap();
        announcer.sent(&sent);
        for _ in 1..MOST_REFUSALS {
            let refused = announcer.pop(now).unwrap();
            assert!(announcer.retry(now, refused));
            now += BACK_OFF;
        }
        let refused = announcer.pop(now).unwrap();
        assert!(!announcer.retry(now, refused));
        assert_eq!(announcer.next(), None);
    }
}
