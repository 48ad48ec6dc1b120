//! `vrrp_strict` and `strict_mode`: each thing that is forbidden, said where it stands.

use std::time::Duration;

use rstest::rstest;
use vrrp_common::Version;

use super::super::super::model::{Destination, Instance, OwnLinkKind};
use super::{Read, read, with};

/// Lines of a strict instance, by `vrrp_strict`.
fn strict(lines: &str) -> Read {
    with("vrrp_strict", lines)
}

#[rstest]
#[case::password("authentication {\nauth_type PASS\nauth_pass x\n}", "5:1", "authentication", |one: &Instance| {
    one.auth.is_none()
})]
#[case::ah("authentication {\nauth_type AH\nauth_pass x\n}", "5:1", "authentication", |one: &Instance| {
    one.auth.is_none()
})]
#[case::delay("preempt_delay 5", "5:1", "`preempt_delay`", |one: &Instance| one.preempt_delay.is_zero())]
#[case::repeat("garp_lower_prio_repeat 2", "5:1", "`garp_lower_prio_repeat`", |one: &Instance| {
    one.announce.lower_repeat == 0
})]
#[case::repeat_delay("garp_lower_prio_delay 2", "5:1", "`garp_lower_prio_delay`", |one: &Instance| {
    one.announce.lower_delay.is_zero()
})]
#[case::answer("lower_prio_no_advert off", "5:1", "does not answer", |one: &Instance| one.lower_prio_no_advert)]
#[case::last_word("higher_prio_send_advert", "5:1", "in silence", |one: &Instance| !one.higher_prio_send_advert)]
#[case::adverts("down_timer_adverts 5", "5:1", "waits for 3", |one: &Instance| one.down_timer_adverts == 3)]
#[case::mac("use_vmac 02:00:00:00:00:01", "5:1", "02:00:00:00:00:01", |one: &Instance| {
    let own = OwnLinkKind::Macvlan([0, 0, 0x5e, 0, 1, 51]);
    one.own_link.as_ref().is_some_and(|link| link.kind == own)
})]
#[case::base("use_vmac\nvmac_xmit_base", "6:1", "`vmac_xmit_base`", |one: &Instance| {
    one.own_link.as_ref().is_some_and(|link| !link.send_on_base)
})]
#[case::accept("accept", "5:1", "version 3 only", |one: &Instance| !one.accept)]
#[case::mismatch("vip_mismatch accept", "5:1", "same addresses", |one: &Instance| one.same_addresses)]
fn drops_one_by_one(
    #[case] lines: &str,
    #[case] place: &str,
    #[case] says: &str,
    #[case] holds: fn(&Instance) -> bool,
) {
    // Without strict mode nothing is dropped, and nothing said.
    let loose = with("", lines);
    assert!(!holds(loose.instance("VI_1")), "{lines}");
    assert_eq!(loose.faults(), [] as [String; 0]);
    let globally = strict(lines);
    let own = with("", &format!("{lines}\nstrict_mode"));
    for read in [globally, own] {
        let code = if says == "authentication" { "auth" } else { "conflict" };
        assert_eq!(read.faults(), [format!("{place} warning {code}")]);
        let diag = read.said().next().expect("a message");
        assert!(diag.message.contains(says), "{}", diag.message);
        assert!(!diag.consequence.is_empty() && diag.suggestion.is_some());
        assert!(holds(read.instance("VI_1")), "{lines}");
    }
    // The instance's own word counts.
    assert_eq!(
        with("vrrp_strict", &format!("{lines}\nstrict_mode off")).faults(),
        [] as [String; 0]
    );
}

/// MASTER is who owns the addresses, and nobody else.
#[rstest]
#[case::master("state MASTER\npriority 100\nnopreempt", "`state MASTER` with priority 100", false)]
#[case::owner("state BACKUP\npriority 255", "`state BACKUP` with priority 255", true)]
fn drops_a_state(#[case] lines: &str, #[case] says: &str, #[case] preempts: bool) {
    let read = strict(lines);
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert!(read.said().next().is_some_and(|diag| diag.message.contains(says)));
    // `nopreempt` is not dropped with it, as it is beside a MASTER that stays one.
    assert_eq!(read.instance("VI_1").preempt, preempts);
    assert!(with("", lines).instance("VI_1").preempt);
}

#[test]
fn means_without_a_further_word() {
    let read = strict("nopreempt");
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("VI_1");
    assert!(one.same_addresses && one.lower_prio_no_advert && !one.accept && !one.preempt);
    assert_eq!((one.announce.lower_repeat, one.announce.lower_delay), (0, Duration::ZERO));
    // The owner's addresses answer: RFC 9568 §6.4.3.
    assert!(strict("priority 255").instance("VI_1").accept);
    assert!(strict("version 3\naccept").instance("VI_1").accept);
}

#[test]
fn what_global_defs_say_for_all_is_said_once_or_not_at_all() {
    let globals = "vrrp_strict\nvrrp_garp_lower_prio_repeat 3\nvrrp_lower_prio_no_advert off\n\
                   vrrp_higher_prio_send_advert on";
    let read = with(globals, "");
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("VI_1");
    assert!(one.lower_prio_no_advert && !one.higher_prio_send_advert);
    let read = with("vrrp_strict\nvrrp_down_timer_adverts 9", "");
    assert_eq!(read.faults(), ["9:1 warning conflict"]);
    assert_eq!(read.instance("VI_1").down_timer_adverts, 3);
}

/// keepalived 2.2.7 runs it in spite of its manual: a host that comes from there keeps its address.
#[test]
fn unicast_goes_on() {
    let read = strict("unicast_peer {\n192.0.2.12\n}");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert!(read.said().next().is_some_and(|diag| diag.message.contains("has no unicast")));
    let one = read.instance("VI_1");
    assert!(matches!(&one.destination, Destination::Peers(unicast) if unicast.peers.len() == 1));
    assert!(one.same_addresses && !one.accept);
    // Without a peer that is not what is wrong with it.
    assert_eq!(strict("unicast_fault_no_peer").faults(), ["5:1 warning missing"]);
    // By the interface below, as all unicast.
    let own = strict("use_vmac\nvmac_xmit_base\nunicast_peer {\n192.0.2.12\n}");
    assert_eq!(own.faults(), ["7:1 warning conflict"]);
    assert!(own.instance("VI_1").own_link.as_ref().is_some_and(|link| link.send_on_base));
}

/// As in keepalived, which runs both: in the version that IPv6 has, and with a first address that others may
/// refuse.
#[test]
fn ipv6_has_version_3_and_wants_a_link_local_address_first() {
    let v6 = |lines: &str, addresses: &str| {
        read(&format!(
            "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\n{lines}\n\
             virtual_ipaddress {{\n{addresses}\n}}\n}}\n"
        ))
    };
    assert_eq!(v6("strict_mode", "fe80::1/64\n2001:db8::1/64").faults(), [] as [String; 0]);
    // No less than without strict mode.
    for lines in ["strict_mode", "strict_mode off"] {
        let global = v6(lines, "2001:db8::1/64\nfe80::1/64");
        assert_eq!(global.faults(), ["6:1 warning address"], "{lines}");
        assert_eq!(global.instance("A").addresses.len(), 2);
    }
    let second = v6("strict_mode\nversion 2", "fe80::1/64");
    assert_eq!(second.faults(), ["5:1 warning conflict"]);
    assert_eq!(second.instance("A").version, Version::V3);
    // Without strict mode keepalived speaks version 2, which nobody else does over IPv6.
    let loose = v6("strict_mode off\nversion 2", "fe80::1/64");
    assert_eq!(loose.faults(), ["5:1 error conflict"]);
    assert_eq!(loose.refusals("A").len(), 1);
}
