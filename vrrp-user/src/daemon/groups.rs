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
    /// By name.
    all: BTreeMap<String, Group>,
    /// How many numbers were given.
    numbers: u32,
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    group: Arc<SyncGroup>,
    /// Its members as the engine was told.
    members: BTreeSet<Slot>,
    state: StateName,
    since: Instant,
}

impl Groups {
    /// Takes the groups of a configuration with the slots that their members have; returns what the engine
    /// is to be told: groups that are no more first, since a member may have gone to another one.
    fn apply(
        &mut self,
        now: Instant,
        groups: &[Arc<SyncGroup>],
        slots: &BTreeMap<&str, Slot>,
    ) -> Vec<(GroupId, BTreeSet<Slot>)> {
        let wanted: BTreeSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let gone = self.all.extract_if(.., |name, _| !wanted.contains(name.as_str()));
        let mut told: Vec<_> = gone.map(|(_, group)| (group.id, BTreeSet::new())).collect();
        for group in groups {
            let there = group.members.iter().filter_map(|name| slots.get(name.as_str()));
            let members: BTreeSet<Slot> = there.copied().collect();
            let numbers = &mut self.numbers;
            let known = self.all.entry(group.name.clone()).or_insert_with(|| {
                *numbers += 1;
                Group {
                    id: GroupId(*numbers),
                    group: Arc::clone(group),
                    members: BTreeSet::new(),
                    state: StateName::Initialize,
                    since: now,
                }
            });
            known.group = Arc::clone(group);
            if known.members != members {
                known.members.clone_from(&members);
                told.push((known.id, members));
            }
        }
        told
    }

    /// The name of an instance's group.
    pub(super) fn of(&self, slot: Slot) -> Option<&str> {
        let mut all = self.all.iter();
        all.find(|(_, group)| group.members.contains(&slot)).map(|(name, _)| name.as_str())
    }

    /// For `status`.
    pub(super) fn status(&self, now: Instant) -> Vec<status::SyncGroup> {
        let one = |(name, group): (&String, &Group)| status::SyncGroup {
            name: name.clone(),
            state: words::state(group.state).to_owned(),
            since_ms_ago: now.since(group.since).as_millis() as u64,
            members: group.group.members.clone(),
        };
        self.all.iter().map(one).collect()
    }
}

impl Service {
    /// Has the engine know which instances are in which group: behind their `Input::Add`, and before they
    /// are told of their links.
    pub(super) fn regroup(&mut self) {
        let running = self.running.iter().filter(|(_, running)| !running.ending);
        let slots: BTreeMap<&str, Slot> =
            running.map(|(slot, running)| (running.instance.name.as_str(), *slot)).collect();
        let told = self.groups.apply(clock::now(), &self.config.groups, &slots);
        for (group, members) in told {
            self.tell(Input::Group { group, members: members.into_iter().collect() });
        }
    }

    /// A group changed its state.
    pub(super) fn group_changed(&mut self, now: Instant, id: GroupId, state: StateName) {
        let Some((name, group)) = self.groups.all.iter_mut().find(|(_, group)| group.id == id)
        else {
            return;
        };
        (group.state, group.since) = (state, now);
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
        for (name, group) in &self.groups.all {
            let notify = &group.group.notify;
            self.notifier.push(Kind::Group, name, Word::Stop, NO_PRIORITY, notify);
        }
    }
}

/// What stands for the priority of a group, as in keepalived.
const NO_PRIORITY: Priority = Priority::RELEASE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Notify;

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
        let set = |slots: &[u32]| slots.iter().map(|slot| Slot(*slot)).collect::<BTreeSet<_>>();
        let two = [group("G", &["A", "B"]), group("H", &["C"])];
        let told = groups.apply(now, &two, &slots);
        assert_eq!(told, [(GroupId(1), set(&[1, 2])), (GroupId(2), set(&[3]))]);
        assert_eq!(groups.apply(now, &two, &slots), []);
        assert_eq!((groups.of(Slot(2)), groups.of(Slot(4))), (Some("G"), None));
        // H is dissolved before its member is named elsewhere.
        let one = [group("G", &["A", "B", "C"])];
        let told = groups.apply(now, &one, &slots);
        assert_eq!(told, [(GroupId(2), set(&[])), (GroupId(1), set(&[1, 2, 3]))]);
        // A new one has a number of its own.
        assert_eq!(groups.apply(now, &two, &slots)[1], (GroupId(3), set(&[3])));
    }
}
