//! The manual page has every word that is followed: also those that stand behind a keyword.

use rstest::rstest;

use super::super::address::OPTIONS;
use super::{read, with};

fn page() -> Vec<String> {
    let page = include_str!("../../../../../docs/xvrrp.8").replace("\\-", "-");
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.map(str::to_owned).collect()
}

#[track_caller]
fn is_there(word: &str) {
    assert!(page().iter().any(|there| there == word), "{word}");
}

#[test]
fn options_of_an_address() {
    OPTIONS.into_iter().map(|word| word.trim_start_matches('-')).for_each(is_there);
}

/// Each is followed, without a complaint.
#[rstest]
#[case::state("priority 9\nstate MASTER\nstate BACKUP", &["MASTER", "BACKUP"])]
#[case::peers("unicast_peer {\n192.0.2.9 min_ttl 254 max_ttl 255\n}", &["min_ttl", "max_ttl"])]
#[case::interfaces(
    "track_interface {\neth1 weight 5 reverse\neth2 weight 5 noreverse\n}",
    &["weight", "reverse", "noreverse"]
)]
#[case::vmac("use_vmac name vmac0 netlink_notify_msg group 5", &["name", "netlink_notify_msg", "group"])]
#[case::bridge("use_ipvlan 192.0.2.9 bridge", &["bridge"])]
#[case::private("use_ipvlan 192.0.2.9 private", &["private"])]
#[case::vepa("use_ipvlan 192.0.2.9 vepa", &["vepa"])]
#[case::everywhere("garp_extra_if all 60", &["all"])]
#[case::lifetime("virtual_ipaddress_excluded { 192.0.2.9 preferred_lft forever }", &["forever"])]
#[case::scope("virtual_ipaddress_excluded { 192.0.2.9 scope nowhere }", &["nowhere"])]
#[case::password("authentication {\nauth_type PASS\nauth_pass x\n}", &["PASS"])]
#[case::header("authentication {\nauth_type AH\nauth_pass x\n}", &["AH"])]
#[case::mismatch("vip_mismatch drop\nvip_mismatch accept", &["drop", "accept"])]
fn words_behind_keywords(#[case] lines: &str, #[case] words: &[&str]) {
    let read = with("", lines);
    let bad = |fault: &String| !fault.ends_with("warning twice");
    assert!(!read.faults().iter().any(bad), "{:?}", read.faults());
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0]);
    words.iter().copied().for_each(is_there);
}

#[rstest]
#[case::paths("vrrp_datapath auto", &["auto", "xdp", "generic", "socket"])]
#[case::dynamic("dynamic_interfaces allow_if_changes", &["allow_if_changes"])]
fn words_behind_global_keywords(#[case] line: &str, #[case] words: &[&str]) {
    let read = read(&format!("global_defs {{\n{line}\n}}\n"));
    assert_eq!(read.faults(), [] as [String; 0]);
    words.iter().copied().for_each(is_there);
}
