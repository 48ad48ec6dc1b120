//! `vrrp_sync_group`.

use std::collections::BTreeMap;

use rstest::rstest;
use xvrrp::config::model::{Config, Instance};

use crate::common::{config, faults, hints, refused, run, text};

fn one(name: &str, vrid: u8, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\ninterface eth{vrid}\nvirtual_router_id {vrid}\n{lines}\n\
         virtual_ipaddress {{ 192.0.2.{vrid} }}\n}}\n"
    )
}

const SCRIPTS: &str =
    "vrrp_script s {\nscript /bin/true\n}\nvrrp_script t {\nscript /bin/true\n}\n";

/// A group with these lines, which start in line 2, and three instances: A, B and C.
fn group(lines: &str) -> String {
    let all = ["A", "B", "C"].into_iter().zip(1..).map(|(name, vrid)| one(name, vrid, ""));
    format!("vrrp_sync_group G {{\n{lines}\n}}\n{}", all.collect::<String>())
}

fn members(config: &Config) -> Vec<(&str, Vec<&str>)> {
    let all = config.groups.iter();
    all.map(|group| (group.name.as_str(), group.members.iter().map(String::as_str).collect()))
        .collect()
}

#[rstest]
#[case::lines("group {\nA\nB\n}")]
#[case::one_line("group { A B }")]
#[case::brace_below("group\n{\nA B\n}")]
fn members_are_those_of_the_group(#[case] lines: &str) {
    let loaded = text(&group(lines));
    assert_eq!(faults(&loaded), Vec::<String>::new());
    assert_eq!(members(config(&loaded)), [("G", vec!["A", "B"])]);
    assert!(loaded.summary(&BTreeMap::new()).contains("sync group G: A, B\n"));
    for name in ["A", "B", "C"] {
        run(&loaded, name);
    }
}

/// What keepalived reads with a word or none is read here with a warning.
#[rstest]
#[case::unknown("group {\nA\nB\nD\n}", &["5:1 warning unknown-name"], &["A", "B"])]
#[case::twice("group {\nA\nB\nA\n}", &["5:1 warning twice"], &["A", "B"])]
#[case::alone("group {\nA\n}", &["1:17 warning missing"], &["A"])]
#[case::old("A\nB\nnotify /bin/true", &["2:1 warning wrong-place", "3:1 warning wrong-place"], &["A", "B"])]
#[case::slashes("group {\nA\nB // C\n}", &["4:3 warning slash-comment"], &["A", "B"])]
#[case::old_word("group { A B }\nglobal_tracking", &["3:1 warning changed"], &["A", "B"])]
#[case::blocks("group { A }\ngroup { B }", &["3:1 warning twice"], &["A", "B"])]
#[case::mail("group { A B }\nsmtp_alert", &["3:1 notice not-served"], &["A", "B"])]
fn odd_ones_are_read(#[case] lines: &str, #[case] said: &[&str], #[case] right: &[&str]) {
    let loaded = text(&group(lines));
    assert_eq!(faults(&loaded), said);
    assert_eq!(members(config(&loaded)), [("G", right.to_vec())]);
}

#[test]
fn one_without_members_is_none() {
    assert_eq!(faults(&text(&group(""))), Vec::<String>::new());
    let loaded = text(&group("group {\nD\n}"));
    assert_eq!(faults(&loaded), ["1:17 warning missing", "3:1 warning unknown-name"]);
    assert!(config(&loaded).groups.is_empty());
}

#[test]
fn an_instance_is_in_one_group() {
    let loaded = text(&(group("group { A B }") + "vrrp_sync_group H {\ngroup { B C }\n}\n"));
    assert_eq!(faults(&loaded).len(), 2, "{:?}", loaded.log_lines());
    assert_eq!(members(config(&loaded)), [("G", vec!["A", "B"]), ("H", vec!["C"])]);
}

/// Moving alone what was to move together is worse than not moving.
#[rstest]
#[case::misspelled("gruop { A B }")]
#[case::block("group {\nA\nB {\n}\n}")]
#[case::file("group { A B }\ntrack_file {\nf\n}")]
#[case::script("group { A B }\ntrack_script {\nu\n}")]
fn members_are_not_run_where_the_group_is_not_whole(#[case] lines: &str) {
    let loaded = text(&group(lines));
    assert!(faults(&loaded)[0].contains(" error "), "{:?}", loaded.log_lines());
    run(&loaded, "C");
    refused(&loaded, "A");
    refused(&loaded, "B");
    assert!(config(&loaded).groups.is_empty());
}

/// keepalived skips it, and its members would move alone.
#[test]
fn members_are_not_run_where_the_group_has_no_name() {
    let loaded = text(&group("group { A B }").replace("vrrp_sync_group G", "vrrp_sync_group"));
    assert_eq!(faults(&loaded), ["1:1 error no-value"]);
    assert!(config(&loaded).groups.is_empty());
    for name in ["A", "B"] {
        refused(&loaded, name);
    }
    run(&loaded, "C");
}

#[test]
fn the_others_are_not_run_where_one_is_not() {
    let file = group("group { A B }").replace("virtual_router_id 2", "virtual_router_id 0");
    let loaded = text(&file);
    assert!(refused(&loaded, "A").contains("B, which is in sync group G too, is not run"));
    assert!(refused(&loaded, "B").contains("virtual_router_id"));
    run(&loaded, "C");
    assert!(config(&loaded).groups.is_empty());
}

#[test]
fn two_groups_of_one_name_are_not_run() {
    let loaded = text(&(group("group { A }") + "vrrp_sync_group G {\ngroup { B C }\n}\n"));
    refused(&loaded, "B");
    refused(&loaded, "C");
    run(&loaded, "A");
}

fn tracked(instance: &Instance) -> Vec<(&str, i16)> {
    let all = instance.track_scripts.iter().chain(&instance.track_interfaces);
    all.map(|one| (one.name.as_str(), one.weight.value)).collect()
}

#[test]
fn what_the_group_tracks_all_track() {
    let lines = "group { A B }\ntrack_script {\ns weight -20\n}\ntrack_interface {\neth1\neth9\n}";
    let loaded = text(&(SCRIPTS.to_owned() + &group(lines)));
    assert_eq!(faults(&loaded), Vec::<String>::new());
    // eth1 is the interface of A, whose loss is a fault anyway.
    assert_eq!(tracked(run(&loaded, "A")), [("s", -20), ("eth9", 0)]);
    assert_eq!(tracked(run(&loaded, "B")), [("s", -20), ("eth1", 0), ("eth9", 0)]);
    assert_eq!(tracked(run(&loaded, "C")), []);
}

/// As keepalived: weights of one alone would move its priority alone.
#[test]
fn weights_of_one_are_dropped_unless_they_are_wanted() {
    let with = |lines: &str| {
        let own = "track_script {\ns weight -20\nt\n}\ntrack_interface {\neth8 weight 3\n}";
        let file = group(lines).replacen(
            "virtual_router_id 1\n",
            &format!("virtual_router_id 1\n{own}\n"),
            1,
        );
        text(&(SCRIPTS.to_owned() + &file))
    };
    let loaded = with("group { A B }");
    assert_eq!(tracked(run(&loaded, "A")), [("t", 0)]);
    let said = faults(&loaded);
    assert!(said.len() == 2 && said.iter().all(|it| it.ends_with("warning conflict")), "{said:?}");
    let loaded = with("group { A B }\nsync_group_tracking_weight");
    assert_eq!(faults(&loaded), Vec::<String>::new());
    assert_eq!(tracked(run(&loaded, "A")), [("s", -20), ("t", 0), ("eth8", 3)]);
    // What both track, the group's way.
    let loaded = with("group { A B }\ntrack_script {\nt weight 5\n}\nsync_group_tracking_weight");
    assert_eq!(tracked(run(&loaded, "A")), [("s", -20), ("t", 5), ("eth8", 3)]);
    assert_eq!(faults(&loaded).len(), 1);
    assert!(hints(&loaded)[0].contains("one of the two"));
}

/// As in keepalived: the group's way of tracking an interface counts, but where its loss is a fault of one.
#[test]
fn an_interface_that_one_tracks_and_its_group_too() {
    let with = |own: &str| {
        let lines =
            "group { A B }\ntrack_interface {\neth8 weight 5\n}\nsync_group_tracking_weight";
        let own = format!("virtual_router_id 1\ntrack_interface {{\n{own}\n}}\n");
        text(&group(lines).replacen("virtual_router_id 1\n", &own, 1))
    };
    let loaded = with("eth8 weight 3");
    assert_eq!(tracked(run(&loaded, "A")), [("eth8", 5)]);
    assert_eq!(faults(&loaded), ["12:1 warning twice"]);
    let loaded = with("eth8");
    assert_eq!(tracked(run(&loaded, "A")), [("eth8", 0)]);
    assert_eq!(tracked(run(&loaded, "B")), [("eth8", 5)]);
    assert_eq!(faults(&loaded), Vec::<String>::new());
}

#[test]
fn owners_and_others_are_told_apart() {
    let with = |owners: &[u8]| {
        let own = |file: String, vrid: &u8| {
            let line = format!("virtual_router_id {vrid}\n");
            file.replacen(&line, &format!("{line}priority 255\n"), 1)
        };
        let loaded = text(&owners.iter().fold(group("group { A B }"), own));
        assert_eq!(members(config(&loaded)).len(), 1);
        faults(&loaded)
    };
    assert_eq!(with(&[2]), ["1:17 warning conflict"]);
    assert_eq!(with(&[1, 2]), Vec::<String>::new());
}

#[test]
fn a_group_is_told_of_by_commands_of_its_own() {
    let lines = "group { A B }\nnotify \"/bin/echo a b\"\nnotify_master /bin/m\nnotify_stop /bin/s";
    let loaded = text(&group(lines));
    assert_eq!(faults(&loaded), Vec::<String>::new());
    let notify = &config(&loaded).groups[0].notify;
    let argv = |keyword: &str| {
        let mut all = notify.commands().filter(|(it, _)| *it == keyword);
        all.next().map(|(_, command)| command.argv.join(" "))
    };
    assert_eq!(argv("notify").as_deref(), Some("/bin/echo a b"));
    assert_eq!(argv("notify_master").as_deref(), Some("/bin/m"));
    assert_eq!(argv("notify_stop").as_deref(), Some("/bin/s"));
    assert_eq!(argv("notify_fault"), None);
}
