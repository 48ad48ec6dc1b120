//! What a file comes to: what is run, what is left over, and what is said in one line.

use std::collections::BTreeMap;
use std::path::Path;

use xvrrp::config::{Unstartable, parse_str};

use crate::common::{addresses, faults, handed, instance, left, run, text};

const TWO: &str = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\npriority 110\n\
                   virtual_ipaddress {\n192.0.2.250/24\n198.51.100.1/28 dev eth1\n192.0.2.251\n}\n\
                   virtual_ipaddress_excluded { 203.0.113.1/32 }\n}\n\
                   vrrp_instance VI_2 {\ninterface eth0\nvirtual_router_id 52\nprioritty 5\n\
                   virtual_ipaddress { 192.0.2.252/24 }\n\
                   virtual_ipaddress_excluded { 203.0.113.2/32 dev eth1 }\n}\n";

#[test]
fn the_summary_says_what_will_run() {
    assert_eq!(
        text(TWO).summary(&BTreeMap::new()),
        "VI_1: VRRP version 2, VRID 51 on eth0, priority 110, one advert each 1 s; \
         a silent MASTER is replaced after 3.570 s\n    \
         on eth0: 192.0.2.250/24, 192.0.2.251/32, 203.0.113.1/32 (not in the adverts)\n    \
         on eth1: 198.51.100.1/28\n\
         VI_2: not run: line 15: `prioritty` is not a keyword of `vrrp_instance`\n"
    );
    // Version 3 at 10 ms, and the owner, who waits for nobody.
    let fast = TWO.replace("priority 110", "priority 200\nversion 3\nadvert_int 0.01");
    assert!(text(&fast).summary(&BTreeMap::new()).starts_with(
        "VI_1: VRRP version 3, VRID 51 on eth0, priority 200, one advert each 0.01 s; \
         a silent MASTER is replaced after 32.2 ms\n"
    ));
    let owner = TWO.replace("priority 110", "priority 255");
    assert!(text(&owner).summary(&BTreeMap::new()).contains("MASTER from the start"));
}

#[test]
fn the_summary_of_what_can_not_be_started() {
    let broken = handed("C05-eof-without-brace.conf").summary(&BTreeMap::new());
    assert_eq!(
        broken,
        "Nothing is run: the file can't be used, see C05-eof-without-brace.conf:1:1\n"
    );
    assert_eq!(text("").summary(&BTreeMap::new()), "Nothing is run: there is no instance\n");
    let refused = handed("C48-value-missing.conf").summary(&BTreeMap::new());
    assert_eq!(
        refused,
        "VI_1: not run: line 4: `priority` has no value\n\
         VI_2: not run: line 15: `auth_pass` has no value\n"
    );
}

/// The log has had the messages: what stops a start or a reload only points at the first.
#[test]
fn a_refusal_names_the_place_and_repeats_no_message() {
    let broken = text(&format!("}}\n{TWO}"));
    let refusal = broken.startable().unwrap_err();
    assert!(matches!(refusal, Unstartable::Broken(_)));
    let words = "not started: the file can't be used, see test.conf:1:1 (and one more error)";
    assert_eq!(refusal.to_string(), words);
    assert!(broken.log_lines()[0].starts_with("test.conf:1:1: "));
    let words = "see test.conf:1:1 (and one more error)";
    assert_eq!(broken.reloadable().unwrap_err().to_string(), words);
    // The brace counts, though another error stands before it.
    let later = text(&format!("{TWO}}}\n"));
    assert!(later.startable().unwrap_err().to_string().contains("see test.conf:19:1 (and one"));
    let refused = text(TWO);
    assert_eq!(refused.reloadable().unwrap_err().to_string(), "see test.conf:15:1");
    let nothing = handed("C48-value-missing.conf");
    assert_eq!(
        nothing.startable().unwrap_err().to_string(),
        "not started: no instance can be run, see C48-value-missing.conf:4:5 (and one more error)"
    );
}

/// What an earlier life may have left on the host is known, whatever keeps an instance from running.
#[test]
fn addresses_of_what_is_not_run_are_known() {
    assert_eq!(left(&text(TWO), "VI_2"), ["192.0.2.252/24 eth0", "203.0.113.2/32 eth1"]);
    // Without a VRID, under a misspelled keyword, with an address that is none among them.
    let one = |keyword: &str, lines: &str| {
        let block = format!(
            "{keyword} A {{\n{lines}\nvirtual_ipaddress {{\n192.0.2.1\n192.0.2\n192.0.2.2 dev eth1\n}}\n}}\n"
        );
        left(&text(&block), "A")
    };
    let both = ["192.0.2.1/32 eth0", "192.0.2.2/32 eth1"];
    assert_eq!(one("vrrp_instance", "interface eth0"), both);
    assert_eq!(one("vrrp_instace", "interface eth0\nvirtual_router_id 1"), both);
    // Where nobody knows the interface there is nothing to look for.
    assert_eq!(one("vrrp_instance", "virtual_router_id 1"), ["192.0.2.2/32 eth1"]);
    assert_eq!(one("vrrp_instance", "interface lo\nvirtual_router_id 1"), ["192.0.2.2/32 eth1"]);
    // For what another part of the file costs.
    let loaded = text(&format!("global_def {{\nvrrp_version 3\n}}\n{TWO}"));
    assert_eq!(left(&loaded, "VI_1").len(), 4);
}

#[test]
fn addresses_in_a_broken_file_are_known() {
    let files = [
        format!("}}\n{TWO}"),
        format!("{TWO}vrrp_instance VI_3 {{\n"),
        format!("{TWO}include other.conf\n"),
        format!("{TWO}\0"),
        TWO.trim_end_matches(['}', '\n', ' ']).to_owned(),
    ];
    for file in files {
        let loaded = parse_str(Path::new("test.conf"), &file);
        assert!(matches!(loaded.startable(), Err(Unstartable::Broken(_))), "{file}");
        let vi_1 = run(&loaded, "VI_1");
        assert_eq!(addresses(vi_1), ["192.0.2.250/24", "198.51.100.1/28", "192.0.2.251/32"]);
        assert_eq!(left(&loaded, "VI_2").len(), 2, "{file}");
    }
}

/// keepalived 2.2.7 cuts it, too, and does not fall back to a second.
#[test]
fn an_interval_too_long_for_version_3_is_cut() {
    for written in ["41", "40.96", "40.955", "255"] {
        let loaded = instance(&format!("version 3\nadvert_int {written}"));
        assert_eq!(faults(&loaded), ["6:12 warning changed"], "{written}");
        assert_eq!(run(&loaded, "VI_1").interval.get().as_millis(), 40_950, "{written}");
    }
    assert_eq!(faults(&instance("version 3\nadvert_int 40.95")), [] as [String; 0]);
    assert_eq!(faults(&instance("version 3\nadvert_int 256")), ["6:12 error bad-value"]);
}

/// Never 0 on the wire (erratum 8301).
#[test]
fn an_interval_too_short_for_version_3_is_a_second() {
    for written in ["0", "0.0", "0.001", "0.0099", "-1"] {
        let loaded = instance(&format!("version 3\nadvert_int {written}"));
        assert_eq!(faults(&loaded), ["6:12 error bad-value"], "{written}");
        assert_eq!(run(&loaded, "VI_1").interval.get().as_millis(), 1000, "{written}");
    }
    let loaded = instance("version 3\nadvert_int 0.01");
    assert_eq!(run(&loaded, "VI_1").interval.get().as_millis(), 10);
}
