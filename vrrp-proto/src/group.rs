//! Sync groups: routers that become Active together, and leave it together.
//!
//! A member tells its group one word, [`Standing`], and only where it is another one than before: adverts
//! that change nothing cost a member no more than others. Whatever follows happens within the same call
//! of the engine, so that the adverts of all leave together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vrrp_common::Instant;

use crate::engine::Engine;
use crate::input::{GroupId, Slot};
use crate::output::{Event, StateName};
use crate::router::{Standing, Terms};

/// A group that yields again and again waits for up to this many intervals longer, less one, as a power of
/// two.
const MOST_CONTESTS: u32 = 3;

/// Releases that are no further apart than an interval's 8th part are of one group.
const AT_ONCE: u32 = 8;

/// A sync group as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its state: Active or Fault where all members are so, else Backup or Initialize. A member that
    /// came to an Active group may still listen.
    pub state: StateName,
    /// When it entered the state.
    pub since: Instant,
}

#[derive(Debug)]
pub(crate) struct Group {
    members: BTreeMap<Slot, Standing>,
    /// How many members have which standing.
    counts: [usize; Standing::COUNT],
    /// What the members were told.
    terms: Terms,
    /// Members that were told nothing yet.
    fresh: bool,
    active: bool,
    /// The first member that left Active by itself, until the others have followed.
    fallen: Option<Slot>,
    /// It has begun to listen.
    started: bool,
    /// When it became Active last.
    served: Instant,
    /// How often in a row it yielded as soon as it was Active.
    contests: u32,
    /// When the Active router of a member released last.
    released: Option<Instant>,
    /// No takeover before this.
    not_before: Option<Instant>,
    view: GroupView,
}

impl Group {
    fn new(now: Instant) -> Self {
        Self {
            members: BTreeMap::new(),
            counts: [0; Standing::COUNT],
            terms: Terms::default(),
            fresh: false,
            active: false,
            fallen: None,
            started: false,
            served: now,
            contests: 0,
            released: None,
            not_before: None,
            view: GroupView { state: StateName::Initialize, since: now },
        }
    }

    /// Notes a member, or what it says now.
    fn note(&mut self, now: Instant, slot: Slot, standing: Standing) {
        let before = self.members.insert(slot, standing);
        if let Some(before) = before {
            self.counts[before as usize] -= 1;
        }
        self.counts[standing as usize] += 1;
        if standing == Standing::Active && !self.active {
            (self.active, self.served) = (true, now);
        }
        if before == Some(Standing::Active) && standing != Standing::Active && self.active {
            self.fallen.get_or_insert(slot);
        }
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(before) = self.members.remove(&slot) {
            self.counts[before as usize] -= 1;
        }
        self.fallen.take_if(|fallen| *fallen == slot);
    }

    fn count(&self, standing: Standing) -> usize {
        self.counts[standing as usize]
    }

    fn slots(&self) -> Vec<Slot> {
        self.members.keys().copied().collect()
    }

    fn those(&self, standing: Standing) -> Vec<Slot> {
        let these = self.members.iter().filter(|(_, its)| **its == standing);
        these.map(|(slot, _)| *slot).collect()
    }

    /// The member whose fault is everybody's: the same one for as long as it has it.
    fn faulty(&self) -> Option<Slot> {
        let known = self.terms.faulty;
        if known.is_some_and(|slot| self.members.get(&slot) == Some(&Standing::Faulty)) {
            return known;
        }
        if self.count(Standing::Faulty) == 0 {
            return None;
        }
        // Faults of many, as of those on one link, end in the order of their slots: the last one is not
        // followed by another one, of which each has to be told.
        let mut all = self.members.iter().rev();
        all.find(|(_, standing)| **standing == Standing::Faulty).map(|(slot, _)| *slot)
    }

    /// What the members are to be told, where that is news to one of them.
    fn news(&mut self) -> Option<Terms> {
        let whole = self.count(Standing::Unknown) == 0;
        self.started |= whole && self.count(Standing::Waiting) < self.members.len();
        let terms = Terms { whole, faulty: self.faulty(), active: self.active };
        let before = std::mem::replace(&mut self.terms, terms);
        (std::mem::take(&mut self.fresh) || before != terms).then_some(terms)
    }

    /// Whether the time of all has come.
    fn is_ready(&self) -> bool {
        self.terms.whole && self.risen() == self.members.len()
    }

    /// How many would be Active by themselves.
    fn risen(&self) -> usize {
        self.count(Standing::Willing) + self.count(Standing::Unproven)
    }

    fn state(&self) -> StateName {
        match self.terms.faulty {
            _ if self.active => StateName::Active,
            Some(_) => StateName::Fault,
            None if self.started => StateName::Backup,
            None => StateName::Initialize,
        }
    }

    /// Notes that it yielded. Where each of two groups wins against the other one on some link, both yield
    /// at once, and would be Active again at once, for ever: who yields although it has just become Active
    /// waits for longer than the other one, by chance. `mark`: by which chance; `patience` and `interval`:
    /// of its slowest member.
    fn yielded(&mut self, now: Instant, patience: Duration, interval: Duration, mark: u64) {
        self.not_before = None;
        if now.since(self.served) >= patience {
            self.contests = 0;
            return;
        }
        self.contests = self.contests.saturating_add(1);
        let spread = 1u64 << self.contests.min(MOST_CONTESTS);
        let longer = mix(mark.wrapping_add(u64::from(self.contests))) % spread;
        // The remainder is less than 8.
        let longer = interval * longer as u32;
        self.not_before = (!longer.is_zero()).then(|| now + patience + longer);
    }
}

/// Spreads a number over all numbers (splitmix64).
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Engine {
    /// A sync group as it is now.
    pub fn group(&self, group: GroupId) -> Option<GroupView> {
        self.groups.get(&group).map(|group| group.view)
    }

    /// Has each group consist of these routers.
    pub(crate) fn regroup_all(&mut self, now: Instant, groups: &[(GroupId, Vec<Slot>)]) {
        let mut left = Vec::new();
        for (id, members) in groups {
            let members: BTreeSet<&Slot> = members.iter().collect();
            let Some(group) = self.groups.get(id) else { continue };
            let gone = group.members.keys().filter(|slot| !members.contains(slot));
            left.extend(gone.copied());
        }
        for slot in &left {
            self.expel(*slot);
        }
        for (id, members) in groups {
            self.regroup(now, *id, members);
        }
        for slot in left {
            self.with(now, slot, |router, lanes| router.secede(now, lanes));
        }
    }

    /// Has a group take these in that are not in it yet.
    fn regroup(&mut self, now: Instant, id: GroupId, members: &[Slot]) {
        let there = members.iter().filter(|slot| self.routers.contains_key(slot));
        let members: BTreeSet<Slot> = there.copied().collect();
        if members.is_empty() {
            return;
        }
        let is_in =
            |slot: &Slot| self.routers.get(slot).and_then(|router| router.group()) == Some(id);
        let new: Vec<Slot> = members.iter().filter(|slot| !is_in(slot)).copied().collect();
        for slot in &new {
            self.expel(*slot);
        }
        let group = self.groups.entry(id).or_insert_with(|| Group::new(now));
        let is_active = |slot: &Slot| {
            self.routers.get(slot).is_some_and(|r| r.state_name() == StateName::Active)
        };
        group.fresh = true;
        let active = group.active;
        let other = members.iter().find(|slot| !is_active(slot)).copied();
        for slot in new {
            // One that is Active alone follows the others.
            if let Some(other) = other.filter(|_| !active) {
                self.with(now, slot, |router, lanes| router.step_down(now, other, lanes));
            }
            let router = self.routers.get_mut(&slot);
            let standing = router.map(|router| router.enroll(now, id, active));
            if let (Some(group), Some(standing)) = (self.groups.get_mut(&id), standing) {
                group.note(now, slot, standing);
            }
            // Its deadline may be another one now.
            self.with(now, slot, |_, _| {});
        }
        self.unsettled.entry(id).or_default();
    }

    /// Takes a router out of its group, which stays as it is.
    pub(crate) fn expel(&mut self, slot: Slot) {
        let Some(router) = self.routers.get_mut(&slot) else { return };
        let Some(id) = router.group() else { return };
        router.dismiss();
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.forget(slot);
        if group.members.is_empty() {
            self.groups.remove(&id);
        } else {
            self.unsettled.entry(id).or_default();
        }
    }

    /// Notes what a member says, where that is news.
    pub(crate) fn hear_member(
        &mut self,
        now: Instant,
        slot: Slot,
        (id, standing): (GroupId, Standing),
    ) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.note(now, slot, standing);
            self.unsettled.entry(id).or_default().push(slot);
        }
    }

    /// Notes that the Active router of a member releases. Of many that do at once the first is enough.
    pub(crate) fn hear_release(&mut self, now: Instant, slot: Slot) {
        let Some(router) = self.routers.get(&slot) else { return };
        let (id, interval) = (router.group(), router.interval());
        let Some(group) = id.and_then(|id| self.groups.get_mut(&id)) else { return };
        if group.released.is_some_and(|at| now.since(at) < interval / AT_ONCE) {
            return;
        }
        group.released = Some(now);
        for other in group.slots().into_iter().filter(|other| *other != slot) {
            self.with(now, other, |router, _| router.be_forsaken(now));
        }
    }

    /// Has all members of each group do what has become due by what was told of some.
    pub(crate) fn settle_groups(&mut self, now: Instant) {
        while let Some((id, changed)) = self.unsettled.pop_first() {
            self.release_group(now, id);
            self.tell_members(now, id);
            self.raise_group(now, id);
            for slot in changed {
                // Those that need not listen, and were not needed yet.
                self.with(now, slot, |router, lanes| router.wait_as_backup(now, lanes));
            }
            self.tell_of_group(now, id);
        }
    }

    /// Has the others leave Active with the first that did.
    fn release_group(&mut self, now: Instant, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id).filter(|group| group.active) else { return };
        if group.faulty().is_some() {
            // The others go into Fault with it.
            (group.active, group.fallen) = (false, None);
            return;
        }
        let Some(first) = group.fallen.take() else { return };
        group.active = false;
        let slots = group.slots();
        let members = || slots.iter().filter_map(|slot| self.routers.get(slot));
        let patience = members().map(|router| router.patience()).max().unwrap_or_default();
        let interval = members().map(|router| router.interval()).max().unwrap_or_default();
        let mark = members().fold(0, |all: u64, router| mix(all ^ router.mark()));
        if let Some(group) = self.groups.get_mut(&id) {
            group.yielded(now, patience, interval, mark);
        }
        for slot in slots {
            self.with(now, slot, |router, lanes| router.step_down(now, first, lanes));
        }
    }

    /// Tells the members what there is to do, where that is news.
    fn tell_members(&mut self, now: Instant, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(terms) = group.news() else { return };
        for slot in group.slots() {
            self.with(now, slot, |router, lanes| router.obey(now, terms, lanes));
        }
    }

    /// Has the members become Active whose time has come: all, or those that join an Active group.
    fn raise_group(&mut self, now: Instant, id: GroupId) {
        let Some(group) = self.groups.get(&id).filter(|group| group.terms.faulty.is_none()) else {
            return;
        };
        if group.risen() == 0 || (!group.active && !group.is_ready()) {
            return;
        }
        let (unproven, willing) = (group.those(Standing::Unproven), group.those(Standing::Willing));
        if let Some(until) = group.not_before.filter(|at| now < *at && !group.active) {
            // One is enough: the others wait for it.
            for slot in unproven.into_iter().chain(willing).take(1) {
                self.with(now, slot, |router, lanes| router.hold_off(now, until, lanes));
            }
            return;
        }
        let active = group.active;
        for slot in &unproven {
            self.with(now, *slot, |router, lanes| router.prove(now, lanes));
        }
        if !active && !unproven.is_empty() {
            return;
        }
        let wished = |slot: &Slot| self.routers.get(slot).and_then(|router| router.wished());
        let due = willing.iter().filter_map(wished).max().unwrap_or(now);
        for slot in willing {
            self.with(now, slot, |router, lanes| router.grant(now, due, lanes));
        }
    }

    fn tell_of_group(&mut self, now: Instant, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (from, to) = (group.view.state, group.state());
        if from != to {
            group.view = GroupView { state: to, since: now };
            self.lanes.events.push_back(Event::Group { group: id, from, to });
        }
    }
}
