//! What is not done yet is refused, each by its name, and nothing else is.

use super::super::pending::PENDING;
use super::{read, with};

/// Something that needs each line of the list: keywords, and what the line says.
const NEEDED: &[(&str, &str)] = &[
    ("unicast_peer { 192.0.2.12 }", "unicast"),
    ("mcast_dst_ip 224.0.0.19", "another multicast group"),
    ("authentication {\nauth_type AH\nauth_pass x\n}", "IPsec's authentication header"),
    ("no_accept", "refusing traffic to the addresses"),
    ("strict_mode", "refusing other addresses"),
    ("vip_mismatch drop", "refusing other addresses"),
    ("mcast_src_ip 192.0.2.11\ntrack_src_ip", "tracking the source address"),
];

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (lines, what) in NEEDED {
        let read = with("", lines);
        let word = lines.lines().last().and_then(|line| line.split(' ').next()).unwrap_or_default();
        let word = if *what == "IPsec's authentication header" { "auth_type AH" } else { word };
        let listed = PENDING.iter().any(|pending| pending.what == *what);
        let reason = |line| format!("line {line}: `{word}` is not served yet ({what})");
        let expected = if listed { vec![reason(4 + lines.lines().count())] } else { vec![] };
        let expected = if word == "auth_type AH" && listed { vec![reason(6)] } else { expected };
        assert_eq!(read.refusals("VI_1"), expected, "{lines}");
        assert_eq!(read.faults(), [] as [String; 0], "{lines}");
    }
}

#[test]
fn each_line_of_the_list_is_tried() {
    let tried = ["IPv6", "without `interface`"];
    for pending in PENDING {
        let needed = NEEDED.iter().any(|(_, what)| *what == pending.what);
        assert!(needed || tried.contains(&pending.what), "{}", pending.what);
    }
}

#[test]
fn words_that_say_what_is_done_anyway_cost_nothing() {
    let read = with(
        "vrrp_mcast_group4 224.0.0.18\nvrrp_mcast_group6 ff02::12\nvrrp_strict off",
        "mcast_dst_ip 224.0.0.18\naccept\nstrict_mode off\nvip_mismatch accept\nunicast_ttl 3\n\
         down_timer_adverts 5\nowner_ignore_adverts on\nskip_check_adv_addr\npromote_secondaries",
    );
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0]);
    // What is meant for unicast, where no peer is written: multicast, with a word.
    assert_eq!(read.faults(), ["9:1 warning missing"]);
}

#[test]
fn ipv6_is_refused_where_the_address_stands() {
    let file = include_str!("../../../../tests/config/C21-ipv6-good.conf");
    let read = read(file);
    let listed = PENDING.iter().any(|pending| pending.what == "IPv6");
    let expected = if listed { vec!["line 8: IPv6 is not served yet"] } else { vec![] };
    assert_eq!(read.refusals("V6"), expected);
}
