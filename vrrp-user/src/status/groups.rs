//! The sync groups, as `status` shows them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Instance, Status, ago};
use crate::text::some_of;

/// Instances that change their state together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncGroup {
    /// Its name in the file.
    pub name: String,
    /// `INIT`, `BACKUP`, `MASTER` or `FAULT`.
    pub state: String,
    /// How long it has been in that state.
    pub since_ms_ago: u64,
    /// Its instances.
    pub members: Vec<String>,
}

/// The groups. Whom a group waits for is said, where it waits.
pub(super) fn render(out: &mut String, status: &Status) {
    let mut members: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in &status.instances {
        if let Some(group) = &instance.sync_group {
            members.entry(group).or_default().push(instance);
        }
    }
    for group in &status.sync_groups {
        let since = ago(group.since_ms_ago);
        // Writing to a string can't fail.
        let _ = write!(out, "\nsync group {}: {} for {since}", group.name, group.state);
        let _ = writeln!(out, ", {}", some_of(&group.members));
        let members = members.get(group.name.as_str()).map_or(&[][..], Vec::as_slice);
        if members.iter().any(|i| i.waits_for_group) {
            let others = members.iter().filter(|i| !i.waits_for_group && i.state != "MASTER");
            let others: Vec<String> = others.map(|i| i.name.clone()).collect();
            let _ = writeln!(out, "  not MASTER, since it waits for {}", some_of(&others));
        }
    }
}

/// What an instance's group means to it.
pub(super) fn render_member(out: &mut String, i: &Instance) {
    if let Some(group) = &i.sync_group {
        let waits = if i.waits_for_group { ", for which it waits to be MASTER" } else { "" };
        let _ = writeln!(out, "  in sync group {group}{waits}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn instance(name: &str, more: &str) -> String {
        format!(
            r#"{{"name": "{name}", "state": "BACKUP", "since_ms_ago": 1, "why": "", "interface": "eth0",
                "vrid": 51, "version": 2, "priority": 150, "effective_priority": 150,
                "advert_interval_ms": 1000.0, "master_down_ms": 3414.0, "source": null, "peer": null,
                "addresses": [], "last_refused": null, {more}
                "counters": {{"accepted": 0, "sent": 8, "zero_sent": 0, "zero_received": 0,
                    "became_master": 1, "ring_full": 0, "complex": 0, "refused": {{}}}}}}"#
        )
    }

    fn status(instances: &[String], groups: &str) -> String {
        let json = format!(
            r#"{{"version": "0", "pid": 1, "uptime_ms": 1, "router_id": "r", "config": "c",
                "instances": [{}], {groups} "refused_instances": [], "interfaces": [], "scripts": [],
                "strangers": []}}"#,
            instances.join(",")
        );
        render(&serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn a_group_says_whom_it_waits_for() {
        assert!(!status(&[instance("VI_1", "")], "").contains("sync group"));
        let group = r#""sync_groups": [{"name": "G", "state": "BACKUP", "since_ms_ago": 12000,
            "members": ["VI_1", "VI_2"]}],"#;
        let member = r#""sync_group": "G","#;
        let waits = r#""sync_group": "G", "waits_for_group": true,"#;
        let said = status(&[instance("VI_1", member), instance("VI_2", member)], group);
        assert!(said.contains("\nsync group G: BACKUP for 12 s, VI_1, VI_2\n"), "{said}");
        assert!(said.contains("  in sync group G\n") && !said.contains("waits"), "{said}");
        let said = status(&[instance("VI_1", waits), instance("VI_2", member)], group);
        assert!(said.contains("  not MASTER, since it waits for VI_2\n"), "{said}");
        assert!(said.contains("  in sync group G, for which it waits to be MASTER\n"), "{said}");
    }
}
