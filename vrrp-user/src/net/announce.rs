//! Which announcement goes out next, and when.
//!
//! Pure: time comes in as an argument, the frame is somebody else's business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
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

/// Announcements that wait, in one lane for each link and family; by default back to back.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    garp_interval: Duration,
    gna_interval: Duration,
    /// The numbers of the lanes.
    numbers: BTreeMap<(String, Family), usize>,
    lanes: Vec<Lane>,
    /// Those with something to say by when that is due: a host may have thousands that haven't.
    due: BTreeSet<(Instant, usize)>,
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
    device: String,
    family: Family,
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
    /// Where it stands in the order of the lanes; nowhere while it is empty.
    stands: Option<Instant>,
    refusals: u32,
}

impl Announcer {
    /// With the least time between two gratuitous ARPs and two neighbour advertisements on one link.
    pub(super) fn new(garp_interval: Duration, gna_interval: Duration) -> Self {
        let (numbers, lanes, due) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { garp_interval, gna_interval, numbers, lanes, due }
    }

    /// Changes the least times between two announcements, for lanes that wait too.
    pub(super) fn set_pace(&mut self, garp_interval: Duration, gna_interval: Duration) {
        (self.garp_interval, self.gna_interval) = (garp_interval, gna_interval);
        for lane in &mut self.lanes {
            lane.interval = match lane.family {
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
        let number = *self.numbers.entry((address.device.clone(), family)).or_insert_with(|| {
            self.lanes.push(Lane::new(&address.device, family, now, interval));
            self.lanes.len() - 1
        });
        self.lanes[number].push(now, (slot, address.ip), Left { count: repeat, mac });
        self.place(number);
    }

    /// Withdraws what waits for this address of this router.
    pub(super) fn withdraw(&mut self, slot: Slot, address: &VirtualAddress) {
        if let Some((number, lane)) = self.lane(&address.device, address.ip) {
            lane.left.remove(&(slot, address.ip));
            lane.tidy();
            self.place(number);
        }
    }

    /// When the next announcement is due; `None` where none waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes an announcement that is due, from the lane that has waited longest.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Announcement> {
        let (_, number) = *self.due.first().filter(|(due, _)| *due <= now)?;
        let lane = &mut self.lanes[number];
        let popped = lane.pop(now);
        let device = lane.device.clone();
        self.place(number);
        let ((slot, ip), mac) = popped?;
        Some(Announcement { slot, device, ip, mac })
    }

    /// Withdraws what else waits for this one's router on this one's link, which has nobody to tell. What is
    /// behind it does not keep a distance to what never left.
    pub(super) fn give_up(&mut self, now: Instant, announcement: &Announcement) {
        if let Some((number, lane)) = self.lane(&announcement.device, announcement.ip) {
            for key in lane.of(announcement.slot).collect::<Vec<_>>() {
                lane.left.remove(&key);
            }
            lane.tidy();
            lane.due = now;
            self.place(number);
        }
    }

    /// Whether an announcement of a router's waits on any link.
    pub(super) fn waits(&self, slot: Slot) -> bool {
        self.lanes.iter().any(|lane| lane.of(slot).next().is_some())
    }

    /// Takes back an announcement that a full queue refused, to be tried again soon. `false`: this
    /// link's were refused so often that those that waited are given up.
    pub(super) fn retry(&mut self, now: Instant, refused: Announcement) -> bool {
        let Some((number, lane)) = self.lane(&refused.device, refused.ip) else {
            return true;
        };
        lane.refusals += 1;
        lane.due = now + BACK_OFF.max(lane.interval);
        let goes_on = lane.refusals < MOST_REFUSALS;
        if goes_on {
            let none = Left { count: 0, mac: refused.mac };
            lane.left.entry((refused.slot, refused.ip)).or_insert(none).count += 1;
            lane.fresh.push_front((refused.slot, refused.ip));
        } else {
            lane.left.clear();
            lane.refusals = 0;
            lane.tidy();
        }
        self.place(number);
        goes_on
    }

    /// Notes that an announcement left, so that earlier refusals no longer count.
    pub(super) fn sent(&mut self, announcement: &Announcement) {
        if let Some((_, lane)) = self.lane(&announcement.device, announcement.ip) {
            lane.refusals = 0;
        }
    }

    fn lane(&mut self, device: &str, ip: IpAddr) -> Option<(usize, &mut Lane)> {
        let number = *self.numbers.get(&(device.to_owned(), family_of(ip)))?;
        Some((number, &mut self.lanes[number]))
    }

    /// Has a lane stand where it belongs among the others.
    fn place(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        let now = (!lane.left.is_empty()).then_some(lane.due);
        if lane.stands == now {
            return;
        }
        if let Some(before) = std::mem::replace(&mut lane.stands, now) {
            self.due.remove(&(before, number));
        }
        self.due.extend(now.map(|due| (due, number)));
    }
}

impl Lane {
    fn new(device: &str, family: Family, now: Instant, interval: Duration) -> Self {
        Self {
            device: device.to_owned(),
            family,
            interval,
            left: BTreeMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            due: now,
            stands: None,
            refusals: 0,
        }
    }

    /// What waits for one router.
    fn of(&self, slot: Slot) -> impl Iterator<Item = Key> {
        let first = (slot, Ipv4Addr::UNSPECIFIED.into());
        self.left.range(first..).map(|(key, _)| *key).take_while(move |(of, _)| *of == slot)
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
    fn a_link_without_announcements_is_given_up_for_its_router_alone() {
        let now = Instant::now();
        let mut announcer = Announcer::new(GAP, Duration::ZERO);
        for (slot, device, last) in [(1, "lo", 1), (1, "lo", 2), (2, "lo", 3), (1, "a", 4)] {
            announcer.push(now, Slot(slot), &vip(device, last), 2);
        }
        let first = announcer.pop(now).expect("it is due");
        assert_eq!((first.slot, first.device.as_str()), (Slot(1), "lo"));
        announcer.give_up(now, &first);
        assert!(announcer.waits(Slot(1)) && announcer.waits(Slot(2)) && !announcer.waits(Slot(3)));
        assert_eq!(lasts(&mut announcer, now), [3, 4]);
        assert!(announcer.waits(Slot(1)) && announcer.waits(Slot(2)));
        assert_eq!(lasts(&mut announcer, now + GAP), [3, 4]);
        assert!(!announcer.waits(Slot(1)) && !announcer.waits(Slot(2)));
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
    fn lanes_take_turns_by_when_they_are_due() {
        let now = Instant::now();
        let mut announcer = Announcer::new(GAP, Duration::ZERO);
        for (after, device) in [(2, "b"), (0, "c"), (1, "a")] {
            announcer.push(now + after * GAP / 4, Slot(1), &vip(device, 1), 2);
        }
        let turns = |announcer: &mut Announcer, now| {
            due(announcer, now).into_iter().map(|(device, _)| device).collect::<Vec<_>>()
        };
        assert_eq!(announcer.next(), Some(now));
        assert_eq!(turns(&mut announcer, now + GAP / 2), ["c", "a", "b"]);
        assert_eq!(announcer.due.len(), 3);
        announcer.withdraw(Slot(1), &vip("a", 1));
        assert_eq!(turns(&mut announcer, now + 2 * GAP), ["b", "c"]);
        assert!(announcer.due.is_empty() && announcer.next().is_none());
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
