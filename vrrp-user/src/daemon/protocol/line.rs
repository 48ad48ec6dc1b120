//! A router's route in use, and what was last heard of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use vrrp_common::abi::{self, Meaning};
use vrrp_common::arrivals::Arrivals;
use vrrp_common::{Instant, Interval};
use vrrp_proto::{Effect, Slot};

use super::Route;
use super::failing::Failing;
use super::senders::Senders;
use crate::ah;

/// Whether an effect would send others to the MAC address of a router that an advert came through, or to none
/// where IP has delivered it.
pub(super) fn is_astray(effect: &Effect, lines: &BTreeMap<Slot, Box<Line>>) -> bool {
    let Effect::Redirect { slot, from, mac, .. } = effect else { return false };
    let near = lines.get(slot).map(|line| &line.route.near);
    *mac == [0; 6] || !near.is_some_and(|near| near.as_ref().is_none_or(|near| near.contains(from)))
}

/// A route in use.
pub(super) struct Line {
    pub(super) route: Route,
    /// Its last adverts could not be sent.
    pub(super) failing: Option<Failing>,
    /// When the last advert before the one that is under way left.
    pub(super) left: Instant,
    /// What the last advert that was reported said, and when.
    last: Option<(Meaning, Instant)>,
    /// The gaps between such adverts that only repeat themselves; once there was one.
    arrivals: Option<Box<Arrivals>>,
    /// Who sent accepted ones.
    pub(super) senders: Senders,
    /// The last advert whose addresses differ from ours that was told: when, from whom, and its list.
    told_differing: Option<(Instant, [u8; 16], u32)>,
    /// The last advert from a sender that is no unicast peer.
    unlisted: Option<(Instant, [u8; 16])>,
    /// The number of the last authentication header.
    signed: u32,
    /// When its version became what it is: records of before may be of the other one.
    since: Instant,
}

impl Line {
    /// `signed`: the greatest sequence number that has left so far.
    pub(super) fn new(route: Route, signed: u32) -> Self {
        Self {
            route,
            failing: None,
            left: Instant::default(),
            last: None,
            arrivals: None,
            senders: Senders::default(),
            told_differing: None,
            unlisted: None,
            signed,
            since: Instant::default(),
        }
    }

    /// Goes on at `now` where the router's line before this one led to the same place.
    pub(super) fn follow(&mut self, before: Self, now: Instant) {
        let same = before.route.version == self.route.version;
        self.since = if same { before.since } else { now };
        // Whoever heard the last one waits for a greater one, wherever it comes from.
        self.signed = before.signed;
        if before.route.key == self.route.key {
            self.failing = before.failing;
            self.arrivals = before.arrivals;
            self.senders = before.senders;
        }
    }

    /// Whether a record is about the router that has its slot: it may have been another's when that was
    /// written.
    pub(super) fn is_about(&self, record: &abi::Event) -> bool {
        let is_it = |key: abi::RouterKey| {
            (key.family, key.vrid, key.ifindex) == (record.family, record.vrid, record.ifindex)
        };
        self.route.rules().any(|(key, _)| is_it(key))
    }

    /// The interval that an accepted advert names; `None` where it can't be said, since another version was
    /// spoken then.
    pub(super) fn interval(&self, record: &abi::Event) -> Option<Interval> {
        let anew = Instant::from_nanos(record.at) <= self.since;
        // The validator lets no interval through that is none.
        Interval::of_field(self.route.version, record.interval).filter(|_| !anew)
    }

    /// The number for the next advert's authentication header, where it has one; `heard`: the greatest of
    /// the others', since keepalived compares with those of all.
    pub(super) fn next_sequence(&mut self, heard: u32, now: SystemTime) -> Option<u32> {
        self.route.frames.first().filter(|frame| frame.is_sealed())?;
        self.signed = ah::next(self.signed.max(heard), now);
        Some(self.signed)
    }

    /// Notes how long an advert that only repeats the one before it let us wait. Where the kernel program
    /// watches for those, it does this itself. Only who `listens` for the Active router waits: to others
    /// nobody need speak.
    pub(super) fn note_arrival(
        &mut self,
        now: Instant,
        record: &abi::Event,
        interval: Interval,
        listens: bool,
    ) {
        if !listens {
            self.forget_arrival();
            return;
        }
        let meaning = Meaning::of(record);
        if let Some((_, before)) = self.last.filter(|(last, _)| *last == meaning) {
            let [gap, interval] = [now.since(before), interval.get()].map(|t| t.as_nanos() as u64);
            self.arrivals.get_or_insert_default().note(gap, interval);
        }
        self.last = Some((meaning, now));
    }

    /// What the kernel program watches begins or ends, or the router's state is another: the next gap would
    /// be between adverts that have others between them, or a time in which none was due.
    pub(super) fn forget_arrival(&mut self) {
        self.last = None;
    }

    /// The length of its adverts, with the header of IP.
    pub(super) fn advert_len(&self) -> usize {
        self.route.frames.iter().map(|frame| frame.packet().len()).max().unwrap_or(0)
    }

    /// When the last advert came that its gap to the next one is noted of.
    pub(super) fn last_arrival(&self) -> Instant {
        self.last.map_or_else(Instant::default, |(_, at)| at)
    }

    pub(super) fn arrivals(&self) -> Option<&Arrivals> {
        self.arrivals.as_deref()
    }

    /// Says whether a record with other addresses is news: another sender, another list, or a minute
    /// later.
    pub(super) fn newly_differs(&mut self, now: Instant, record: &abi::Event) -> bool {
        let news = self.told_differing.is_none_or(|(at, source, list)| {
            (source, list) != (record.source, record.list) || now.since(at).as_secs() >= 60
        });
        if news {
            self.told_differing = Some((now, record.source, record.list));
        }
        news
    }

    /// Says whether a record of a sender that is no unicast peer is news: another sender, or a minute
    /// later.
    pub(super) fn newly_unlisted(&mut self, now: Instant, record: &abi::Event) -> bool {
        let news = self
            .unlisted
            .is_none_or(|(at, source)| source != record.source || now.since(at).as_secs() >= 60);
        if news {
            self.unlisted = Some((now, record.source));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use bytemuck::Zeroable;
    use vrrp_common::abi::RouterKey;
    use vrrp_common::{Family, Version};

    use super::*;
    use crate::slowpath::Realm;

    fn line(version: Version) -> Line {
        let route = Route {
            key: RouterKey::new(2, Family::V4, 51),
            realm: None,
            version,
            rule: abi::Router::zeroed(),
            addresses: Vec::new(),
            peers: Vec::new(),
            near: None,
            down: (Duration::from_secs(3), 3),
            frames: Vec::new(),
        };
        Line::new(route, 0)
    }

    /// Adverts at these seconds, each by its sender and with whether the router listened; gives how many
    /// gaps there were, how many adverts were missed, and the longest gap in seconds.
    fn gaps(adverts: &[(u64, u8, bool)]) -> (u64, u64, u64) {
        let mut line = line(Version::V3);
        for (second, sender, listens) in adverts {
            let source = [*sender; 16];
            let record = abi::Event { source, priority: 100, ..abi::Event::zeroed() };
            let now = Instant::from_nanos(second * 1_000_000_000);
            line.note_arrival(now, &record, Interval::DEFAULT, *listens);
        }
        let Some(all) = line.arrivals() else { return (0, 0, 0) };
        (all.count(), all.missed, all.max().unwrap_or_default().as_secs())
    }

    #[test]
    fn only_who_listens_misses_something() {
        assert_eq!(gaps(&[(1, 12, true), (2, 12, true), (5, 12, true)]), (2, 2, 3));
        // MASTER or in FAULT, and a BACKUP again.
        let since = [(1, 12, true), (5, 12, false), (9, 12, false), (13, 12, true), (14, 12, true)];
        assert_eq!(gaps(&since), (1, 0, 1));
        assert_eq!(gaps(&[(1, 12, false), (5, 12, false), (9, 12, false)]), (0, 0, 0));
    }

    #[test]
    fn no_gap_spans_another_ones_adverts() {
        assert_eq!(gaps(&[(1, 12, true), (2, 13, true), (9, 12, true), (10, 12, true)]), (1, 0, 1));
    }

    /// Peers take no number a second time, wherever it comes from.
    #[test]
    fn numbers_go_on_through_a_reload_that_moves_the_router() {
        let before = Line { signed: 7, ..line(Version::V2) };
        let mut after = line(Version::V2);
        after.route.key = RouterKey::new(3, Family::V4, 51);
        after.follow(before, Instant::default());
        assert_eq!(after.signed, 7);
    }

    fn record(at: u64) -> abi::Event {
        abi::Event { at, interval: 1, ..abi::Event::zeroed() }
    }

    /// A second of version 2 is no centisecond of version 3.
    #[test]
    fn what_came_in_another_version_names_no_interval() {
        let [start, changed, again] = [5, 10, 20].map(Instant::from_nanos);
        let mut second = line(Version::V2);
        second.follow(line(Version::V2), start);
        assert_eq!(second.interval(&record(1)), Interval::new(Duration::from_secs(1)));
        let mut third = line(Version::V3);
        third.follow(second, changed);
        assert_eq!([1, 10].map(|at| third.interval(&record(at))), [None, None]);
        let mut same = line(Version::V3);
        same.follow(third, again);
        assert_eq!(same.interval(&record(10)), None);
        assert_eq!(same.interval(&record(11)), Interval::new(Duration::from_millis(10)));
    }

    /// Of a long list the record has the beginning alone.
    #[test]
    fn another_list_is_news() {
        let mut line = line(Version::V3);
        let mut is_news = |(second, sender, list): (u64, u8, u32)| {
            let record = abi::Event { source: [sender; 16], list, ..abi::Event::zeroed() };
            line.newly_differs(Instant::from_nanos(second * 1_000_000_000), &record)
        };
        let adverts = [(1, 12, 7), (2, 12, 7), (3, 12, 8), (4, 13, 8), (63, 13, 8), (64, 13, 8)];
        let news = [true, false, true, true, false, true];
        assert_eq!(adverts.map(&mut is_news), news);
    }

    /// The MAC address that came with an advert through a router is the router's.
    #[test]
    fn nobody_is_sent_to_a_router_between() {
        let (slot, addresses) = (Slot(3), Vec::new().into());
        let [near, far] = [11, 12].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut lines = BTreeMap::from([(slot, Box::new(line(Version::V3)))]);
        let mut to = |from: IpAddr, of: Option<Vec<IpAddr>>, mac: [u8; 6]| {
            lines.get_mut(&slot).unwrap().route.near = of;
            let addresses = Arc::clone(&addresses);
            is_astray(&Effect::Redirect { slot, addresses, from, mac }, &lines)
        };
        assert_eq!([near, far].map(|from| to(from, None, [2; 6])), [false, false]);
        assert_eq!([near, far].map(|from| to(from, Some(vec![near]), [2; 6])), [false, true]);
        // Nor to the MAC address of one that came by another interface, which nobody knows.
        assert!(to(near, Some(vec![near]), [0; 6]));
    }

    /// Of one that hears a realm a record names that, or its own interface.
    #[test]
    fn a_record_of_the_realm_is_about_its_router() {
        let mut line = line(Version::V3);
        let realm = Realm { vrf: None, family: Family::V4, sealed: false };
        let record = |ifindex| abi::Event { ifindex, family: 4, vrid: 51, ..abi::Event::zeroed() };
        let about = |line: &Line| [2, 3, realm.index()].map(|on| line.is_about(&record(on)));
        assert_eq!(about(&line), [true, false, false]);
        line.route.realm = Some(realm);
        assert_eq!(about(&line), [true, false, true]);
    }
}
