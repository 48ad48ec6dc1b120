//! What an instance says for itself and `global_defs` for all, and accept mode.

use rstest::rstest;
use vrrp_common::Priority;

use super::super::super::model::Instance;
use super::with;

#[rstest]
#[case::skip("skip_check_adv_addr", |one: &Instance| one.skip_check_adv_addr)]
#[case::owner("owner_ignore_adverts", |one: &Instance| one.owner_ignore_adverts)]
#[case::answer("lower_prio_no_advert", |one: &Instance| one.lower_prio_no_advert)]
#[case::last_word("higher_prio_send_advert", |one: &Instance| one.higher_prio_send_advert)]
fn switches_have_a_default_in_global_defs(#[case] word: &str, #[case] on: fn(&Instance) -> bool) {
    let global = format!("vrrp_{word}");
    let tries = [
        ("", "", false),
        ("", word, true),
        ("", &format!("{word} off"), false),
        (&global, "", true),
        (&format!("{global} off"), "", false),
        (&global, &format!("{word} no"), false),
        (&format!("{global} false"), &format!("{word} yes"), true),
    ];
    for (globals, lines, expected) in tries {
        let read = with(globals, lines);
        assert_eq!(on(read.instance("VI_1")), expected, "{globals} / {lines}");
        assert_eq!(read.faults(), [] as [String; 0]);
    }
}

#[test]
fn mismatch_of_addresses() {
    let same = |globals, lines| with(globals, lines).instance("VI_1").same_addresses;
    assert!(!same("", "") && same("", "vip_mismatch drop") && same("vrrp_vip_mismatch drop", ""));
    assert!(!same("vrrp_vip_mismatch drop", "vip_mismatch accept"));
    let read = with("vrrp_vip_mismatch drop", "vip_mismatch dorp");
    assert_eq!(read.faults(), ["5:14 error bad-value"]);
    assert_eq!(
        read.said().next().and_then(|diag| diag.suggestion.clone()).as_deref(),
        Some("did you mean `drop`?")
    );
}

#[test]
fn no_announcement_at_all_is_one() {
    for word in ["garp_master_repeat", "garp_master_refresh_repeat"] {
        let read = with("", &format!("{word} 0"));
        let said: Vec<_> = read.said().map(|diag| diag.consequence.as_str()).collect();
        assert_eq!(said, ["it is taken for 1, as in keepalived"]);
        let announce = read.instance("VI_1").announce;
        assert_eq!([announce.repeat, announce.refresh_repeat].iter().min(), Some(&1));
    }
    // After an advert that loses there may be none.
    assert_eq!(with("vrrp_garp_lower_prio_repeat 0", "").faults(), [] as [String; 0]);
}

/// keepalived 2.2.7 takes any number of seconds between two refreshes, 4294 for the others.
#[test]
fn announcements_may_be_hours_apart() {
    for (globals, lines) in
        [("", "garp_master_refresh 14400"), ("vrrp_garp_master_refresh 14400", "")]
    {
        let read = with(globals, lines);
        assert_eq!(read.faults(), [] as [String; 0]);
        assert_eq!(read.instance("VI_1").announce.refresh.as_secs(), 14_400);
    }
    assert_eq!(with("", "garp_master_refresh 4294967296").faults(), ["5:21 error bad-value"]);
    assert_eq!(with("", "garp_master_delay 4295").faults(), ["5:19 error bad-value"]);
}

#[test]
fn missed_adverts() {
    let adverts = |globals, lines| with(globals, lines).instance("VI_1").down_timer_adverts;
    assert_eq!((adverts("", ""), adverts("", "down_timer_adverts 100")), (3, 100));
    assert_eq!(adverts("vrrp_down_timer_adverts 1", ""), 1);
    assert_eq!(adverts("vrrp_down_timer_adverts 9", "down_timer_adverts 2"), 2);
    for bad in ["0", "101", "x"] {
        let read = with("", &format!("down_timer_adverts {bad}"));
        assert_eq!(read.faults(), ["5:20 error bad-value"]);
        assert_eq!(read.refusals("VI_1").len(), 1);
        // Of `global_defs` it costs those that don't say it for themselves.
        let globals = format!("vrrp_down_timer_adverts {bad}");
        assert_eq!(with(&globals, "").refusals("VI_1").len(), 1);
        let own = with(&globals, "down_timer_adverts 3");
        assert_eq!((own.faults().len(), own.refusals("VI_1").len()), (1, 0));
    }
}

#[test]
fn late_wake_up() {
    let late = |lines: &str| with("", lines).instance("VI_1").timer_expired_backup;
    assert_eq!(late("nopreempt"), None);
    assert_eq!(late("nopreempt\ntimer_expired_backup"), Some(Priority::new(254)));
    assert_eq!(late("nopreempt\nthread_timer_expired 7"), Some(Priority::new(7)));
    let read = with("", "timer_expired_backup");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert_eq!(read.instance("VI_1").timer_expired_backup, None);
    let read = with("", "nopreempt\ntimer_expired_backup 255");
    assert_eq!(read.faults(), ["6:22 error bad-value"]);
}

#[test]
fn accept_mode() {
    let accept = |lines| with("", lines).instance("VI_1").accept;
    assert!(accept("") && accept("accept") && !accept("no_accept"));
    assert!(accept("no_accept\naccept") && !accept("accept\nno_accept"));
    let owner = with("", "priority 255\nno_accept");
    assert!(owner.instance("VI_1").accept);
    assert_eq!(owner.faults(), ["6:1 warning conflict"]);
}

#[test]
fn secondaries() {
    assert!(with("", "promote_secondaries").instance("VI_1").promote_secondaries);
    assert!(!with("", "").instance("VI_1").promote_secondaries);
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
