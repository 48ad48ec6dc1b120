//! Sync groups: what the engine is told of them, and who is told of their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{info, warn};
use vrrp_common::{Instant, Priority};
use vrrp_proto::{GroupId, Input, Slot, StateName};

use super::service::Service;
use super::words;
use crate::config::model::SyncGroup;
use crate::notify::{Kind, Word};
use crate::status;
use crate::sys::clock;

/// The sync groups that run.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<GroupId, Group>,
    /// Which number has which name.
    ids: BTreeMap<String, GroupId>,
    /// Who is in which.
    of: BTreeMap<Slot, GroupId>,
    /// How many numbers were given.
    numbers: u32,
}

#[derive(Debug)]
struct Group {
    group: Arc<SyncGroup>,
    /// Its members as the engine was told.
    members: Vec<Slot>,
    state: StateName,
    since: Instant,
}

impl Groups {
    /// Takes the groups of a configuration with the slots that their members have; returns what the engine
    /// is to be told.
    fn apply(
        &mut self,
        now: Instant,
        groups: &[Arc<SyncGroup>],
        slots: &BTreeMap<&str, Slot>,
    ) -> Vec<(GroupId, Vec<Slot>)> {
        let wanted: BTreeSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let gone = self.ids.extract_if(.., |name, _| !wanted.contains(name.as_str()));
        let mut told: Vec<_> = gone.map(|(_, id)| (id, Vec::new())).collect();
        for (id, _) in &told {
            self.all.remove(id);
        }
        for group in groups {
            let there = group.members.iter().filter_map(|name| slots.get(name.as_str()));
            let mut members: Vec<Slot> = there.copied().collect();
            members.sort_unstable();
            let numbers = &mut self.numbers;
            let id = *self.ids.entry(group.name.clone()).or_insert_with(|| {
                *numbers += 1;
                GroupId(*numbers)
            });
            let known = self.all.entry(id).or_insert_with(|| Group {
                group: Arc::clone(group),
                members: Vec::new(),
                state: StateName::Initialize,
                since: now,
            });
            known.group = Arc::clone(group);
            if known.members != members {
                known.members.clone_from(&members);
                told.push((id, members));
            }
        }
        if !told.is_empty() {
            let members = |(id, group): (&GroupId, &Group)| {
                let id = *id;
                group.members.iter().map(move |slot| (*slot, id)).collect::<Vec<_>>()
            };
            self.of = self.all.iter().flat_map(members).collect();
        }
        told
    }

    /// The name of an instance's group.
    pub(super) fn of(&self, slot: Slot) -> Option<&str> {
        let group = self.all.get(self.of.get(&slot)?)?;
        Some(&group.group.name)
    }

    /// For `status`.
    pub(super) fn status(&self, now: Instant) -> Vec<status::SyncGroup> {
        let one = |group: &Group| status::SyncGroup {
            name: group.group.name.clone(),
            state: words::state(group.state).to_owned(),
            since_ms_ago: now.since(group.since).as_millis() as u64,
            members: group.group.members.clone(),
        };
        self.ids.values().filter_map(|id| self.all.get(id)).map(one).collect()
    }
}

impl Service {
    /// Has the engine know which instances are in which group: behind their `Input::Add`, and before they
    /// are told of their links.
    pub(super) fn regroup(&mut self) {
        if self.config.groups.is_empty() && self.groups.all.is_empty() {
            return;
        }
        let running = self.running.iter().filter(|(_, running)| !running.ending);
        let slots: BTreeMap<&str, Slot> =
            running.map(|(slot, running)| (running.instance.name.as_str(), *slot)).collect();
        let groups = self.groups.apply(clock::now(), &self.config.groups, &slots);
        if !groups.is_empty() {
            self.tell(Input::Groups { groups });
        }
    }

    /// A group changed its state.
    pub(super) fn group_changed(&mut self, now: Instant, id: GroupId, state: StateName) {
        // One that a reload has taken away has nobody to tell.
        let Some(group) = self.groups.all.get_mut(&id) else { return };
        (group.state, group.since) = (state, now);
        let name = &group.group.name;
        let line = format!("VRRP_Group({name}) Syncing instances to {} state", words::state(state));
        let word = match state {
            StateName::Active => Word::Master,
            StateName::Backup => Word::Backup,
            StateName::Fault => Word::Fault,
            StateName::Initialize => return,
        };
        match state {
            StateName::Fault => warn!("{line}"),
            StateName::Active | StateName::Backup | StateName::Initialize => info!("{line}"),
        }
        self.notifier.push(Kind::Group, name, word, NO_PRIORITY, &group.group.notify);
    }

    /// Everything ends.
    pub(super) fn stop_groups(&mut self) {
        for id in self.groups.ids.values() {
            let Some(Group { group, .. }) = self.groups.all.get(id) else { continue };
            self.notifier.push(Kind::Group, &group.name, Word::Stop, NO_PRIORITY, &group.notify);
        }
    }
}

/// What stands for the priority of a group, as in keepalived.
const NO_PRIORITY: Priority = Priority::RELEASE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Notify, Removed};

    fn group(name: &str, members: &[&str]) -> Arc<SyncGroup> {
        let members = members.iter().map(|name| (*name).to_owned()).collect();
        Arc::new(SyncGroup {
            name: name.to_owned(),
            members,
            notify: Notify::default(),
            span: 0..0,
        })
    }

    #[test]
    fn the_engine_is_told_what_is_new() {
        let slots: BTreeMap<&str, Slot> =
            ["A", "B", "C"].into_iter().zip([Slot(1), Slot(2), Slot(3)]).collect();
        let now = Instant::from_nanos(0);
        let mut groups = Groups::default();
        let set = |slots: &[u32]| slots.iter().map(|slot| Slot(*slot)).collect::<Vec<_>>();
        let two = [group("G", &["B", "A"]), group("H", &["C"])];
        let told = groups.apply(now, &two, &slots);
        assert_eq!(told, [(GroupId(1), set(&[1, 2])), (GroupId(2), set(&[3]))]);
        assert_eq!(groups.apply(now, &two, &slots), []);
        assert_eq!((groups.of(Slot(2)), groups.of(Slot(4))), (Some("G"), None));
        let one = [group("G", &["A", "B", "C"])];
        let told = groups.apply(now, &one, &slots);
        assert_eq!(told, [(GroupId(2), set(&[])), (GroupId(1), set(&[1, 2, 3]))]);
        assert_eq!(groups.of(Slot(3)), Some("G"));
        // A new one has a number of its own, and who has left a group has none.
        assert_eq!(groups.apply(now, &two, &slots)[1], (GroupId(3), set(&[3])));
        groups.apply(now, &two[..1], &slots);
        assert_eq!((groups.of(Slot(1)), groups.of(Slot(3))), (Some("G"), None));
        // Who is told of its changes concerns nobody else.
        let told = Notify { removed: Removed::Deleted(None), ..Notify::default() };
        let other = Arc::new(SyncGroup { notify: told.clone(), ..(*two[0]).clone() });
        assert_eq!(groups.apply(now, &[other], &slots), []);
        assert_eq!(groups.all[&GroupId(1)].group.notify, told);
        let names: Vec<String> = groups.status(now).into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["G"]);
    }
}
