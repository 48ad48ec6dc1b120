//! `virtual_routes` and `virtual_rules`.

use rstest::rstest;
use vrrp_proto::Paths;
use vrrp_proto::paths::{Order, Quantity};

use super::super::super::diag::Severity;
use super::{Read, read, with};

fn routes(line: &str) -> Read {
    with("", &format!("virtual_routes {{\n{line}\n}}"))
}

fn rules(line: &str) -> Read {
    with("", &format!("virtual_rules {{\n{line}\n}}"))
}

fn paths(read: &Read) -> &Paths {
    &read.instance("VI_1").paths
}

/// How they show themselves.
fn shown(paths: &Paths) -> Vec<String> {
    let routes = paths.routes.iter().map(ToString::to_string);
    routes.chain(paths.rules.iter().map(ToString::to_string)).collect()
}

#[test]
fn c27_four_routes_and_two_rules() {
    let read = read(include_str!("../../../../tests/config/C27-routes-rules.conf"));
    assert_eq!(read.faults(), [] as [String; 0]);
    let gw = read.instance("GW");
    assert_eq!(
        shown(&gw.paths),
        [
            "default via 192.0.2.1 dev eth0 table 100",
            "198.51.100.0/24 via 192.0.2.1 dev eth0 src 192.0.2.250 metric 10",
            "203.0.113.0/25 via 192.0.2.1 dev eth0 src 192.0.2.250",
            "blackhole 203.0.113.128/25",
            "preference 1000: from 192.0.2.250 table 100",
            "preference 1001: from all to 203.0.113.0/24 table 100",
        ]
    );
    assert!(gw.paths.routes.iter().all(|route| route.tracked && route.protocol == 18));
}

/// The samples of keepalived's manual page, but for `vrf` and `encap`.
#[rstest]
#[case("192.168.2.0/24 via 192.168.1.100 dev eth0", "192.168.2.0/24 via 192.168.1.100 dev eth0")]
#[case(
    "192.168.100.0/24 table 6909 nexthop via 192.168.101.1 dev wlan0 onlink weight 1 nexthop via \
     192.168.101.2 dev wlan0 onlink weight 2",
    "192.168.100.0/24 table 6909 nexthop via 192.168.101.1 dev wlan0 onlink weight 1 nexthop via \
     192.168.101.2 dev wlan0 onlink weight 2"
)]
#[case(
    "192.168.200.0/24 dev p33p1.2 table 6909 tos 0x04 protocol bird scope link priority 12 mtu 1000 \
     hoplimit 100 advmss 101 rtt 102 rttvar 103 reordering 104 window 105 cwnd 106 ssthresh lock 107 \
     realms 9/0x14 rto_min 108 initcwnd 109 initrwnd 110 features ecn add no_track",
    "192.168.200.0/24 tos 0x04 dev p33p1.2 table 6909 proto 12 scope 253 metric 12 realms 9/20"
)]
#[case(
    "2001:470:69e9:1:2::4 dev p33p1.2 table 6909 priority 12 mtu 1000 append initrwnd 110 \
     fastopen_no_cookie 1",
    "2001:470:69e9:1:2::4 dev p33p1.2 table 6909 metric 12"
)]
#[case(
    "src 192.168.100.1 to 192.168.109.0/24 via 192.168.200.254 dev eth1",
    "192.168.109.0/24 via 192.168.200.254 dev eth1 src 192.168.100.1"
)]
#[case(
    "192.168.113.0/24 via 192.168.200.254 or 192.168.100.254 dev eth1",
    "192.168.113.0/24 nexthop via 192.168.200.254 dev eth1 weight 1 nexthop via 192.168.100.254 dev eth1 \
     weight 1"
)]
#[case("0.0.0.0/0 gw 192.168.0.1 table 100", "default via 192.168.0.1 table 100")]
#[case("default via inet6 fe80::1 dev eth0", "default via fe80::1 dev eth0")]
#[case("inet6 default dev eth0 from 2001:db8::/48", "::/0 from 2001:db8::/48 dev eth0")]
#[case("inet6 unreachable any metric 9", "unreachable ::/0 metric 9")]
#[case("to blackhole 192.168.114.0/24", "blackhole 192.168.114.0/24")]
#[case("192.0.2.77/26 oif eth0 table local", "192.0.2.64/26 dev eth0 table 255")]
fn routes_that_are_read(#[case] line: &str, #[case] right: &str) {
    let read = routes(line);
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0], "{:?}", read.diags);
    let [route] = &paths(&read).routes[..] else { panic!("one route") };
    assert_eq!(route.to_string(), right);
}

#[test]
fn what_tcp_is_told_of_the_way() {
    let read = routes(
        "192.168.200.0/24 dev eth0 mtu lock 1000 hoplimit 100 advmss 101 rtt 102 rttvar 103ms reordering \
         104 window 105 cwnd 106 ssthresh lock 107 rto_min 1s initcwnd 109 initrwnd 110 quickack 1 \
         fastopen_no_cookie 0 features ecn congctl lock cubic",
    );
    assert_eq!(read.faults(), [] as [String; 0]);
    let route = &paths(&read).routes[0];
    let of = |quantity| {
        let found = route.measures.iter().find(|measure| measure.quantity == quantity);
        found.map(|measure| (measure.value, measure.locked))
    };
    assert_eq!(of(Quantity::Mtu), Some((1000, true)));
    assert_eq!(of(Quantity::Rtt), Some((102, false)));
    assert_eq!(of(Quantity::RttVar), Some((412, false)));
    assert_eq!(of(Quantity::RtoMin), Some((1000, false)));
    assert_eq!(of(Quantity::SsThresh), Some((107, true)));
    assert_eq!(of(Quantity::QuickAck), Some((1, false)));
    assert_eq!(of(Quantity::FastOpenNoCookie), Some((0, false)));
    assert_eq!(of(Quantity::Features), Some((1, false)));
    assert_eq!(route.measures.len(), Quantity::ALL.len());
    assert_eq!(route.congestion, Some(("cubic".to_owned(), true)));
}

#[rstest]
#[case("prepend", Order::Prepend)]
#[case("append", Order::Append)]
#[case("add", Order::Add)]
fn places_among_routes_that_are_alike(#[case] word: &str, #[case] right: Order) {
    let read = routes(&format!("192.0.2.0/24 dev eth0 {word}"));
    assert_eq!(paths(&read).routes[0].order, right);
    assert_eq!(read.faults(), [] as [String; 0]);
}

#[test]
fn what_ends_by_itself_is_not_put_back() {
    let read = routes("2001:db8::/64 dev eth0 expires 60 pref high");
    let route = &paths(&read).routes[0];
    assert!(!route.tracked);
    assert_eq!((route.expires, route.preference), (Some(60), Some(1)));
}

/// Each costs the instance: it would route otherwise than was written.
#[rstest]
#[case::no_way("192.0.2.0/24", "6:1 error missing")]
#[case::no_destination("via 192.0.2.1 dev eth0", "6:1 error missing")]
#[case::two_destinations("192.0.2.0/24 198.51.100.0/24 dev eth0", "6:14 error twice")]
#[case::two_gateways("192.0.2.0/24 via 192.0.2.1 via 192.0.2.2", "6:28 error twice")]
#[case::slip("192.0.2.0/24 vai 192.0.2.1", "6:14 error unknown-word")]
#[case::no_value("192.0.2.0/24 via", "6:14 error no-value")]
#[case::no_number("192.0.2.0/24 dev eth0 metric ten", "6:30 error bad-value")]
#[case::no_network("192.0.2.0/33 dev eth0", "6:1 error address")]
#[case::no_mask("192.0.2.0/255.255.255.0 dev eth0", "6:1 error address")]
#[case::no_gateway("192.0.2.0/24 via 192.0.2.1/24", "6:18 error address")]
#[case::nobody("192.0.2.0/24 via 0.0.0.0", "6:18 error address")]
#[case::two_families("192.0.2.0/24 via fe80::1 dev eth0", "6:18 error conflict")]
#[case::said_otherwise("inet6 192.0.2.0/24 dev eth0", "6:7 error conflict")]
#[case::v6_by_v4("2001:db8::/32 via inet 192.0.2.1", "6:1 error conflict")]
#[case::source_of_the_other("2001:db8::/32 dev eth0 src 192.0.2.1", "6:28 error conflict")]
#[case::realms_over_v6("2001:db8::/32 dev eth0 realms 1", "6:24 error conflict")]
#[case::preference_over_v4("192.0.2.0/24 dev eth0 pref low", "6:23 error conflict")]
#[case::hole_with_a_way("blackhole 192.0.2.0/24 via 192.0.2.1", "6:1 error conflict")]
#[case::both_ways("192.0.2.0/24 dev eth0 nexthop via 192.0.2.1", "6:23 error conflict")]
#[case::hop_to_nowhere("192.0.2.0/24 nexthop weight 1", "6:14 error missing")]
#[case::no_share("192.0.2.0/24 nexthop via 192.0.2.1 weight 0", "6:36 error bad-value")]
#[case::share("192.0.2.0/24 nexthop via 192.0.2.1 weight 257", "6:43 error bad-value")]
#[case::behind_hops("192.0.2.0/24 nexthop via 192.0.2.1 metric 5", "6:36 error unknown-word")]
#[case::or_what("192.0.2.0/24 or 192.0.2.1", "6:17 error missing")]
#[case::hops("192.0.2.0/24 dev eth0 hoplimit 256", "6:32 error bad-value")]
#[case::quick("192.0.2.0/24 dev eth0 quickack 2", "6:32 error bad-value")]
#[case::feature("192.0.2.0/24 dev eth0 features sack", "6:32 error bad-value")]
#[case::twice_mtu("192.0.2.0/24 dev eth0 mtu 1 mtu 2", "6:29 error twice")]
#[case::table("192.0.2.0/24 dev eth0 table no_such_table", "6:29 error bad-value")]
#[case::device("192.0.2.0/24 dev a_name_that_is_too_long", "6:18 error address")]
#[case::block("192.0.2.0/24 dev eth0 {\n}", "6:1 error brace")]
#[case::group("192.0.2.0/24 dev eth0 track_group G", "6:23 error wrong-place")]
fn routes_that_are_none(#[case] line: &str, #[case] right: &str) {
    let read = routes(line);
    assert_eq!(read.faults(), [right]);
    assert_eq!(read.refusals("VI_1").len(), 1);
    assert!(paths(&read).routes.is_empty());
}

#[rstest]
#[case("192.0.2.0/24 dev eth0 vrf red", "6:23")]
#[case("192.0.2.0/24 dev eth0 encap ip id 7 dst 192.0.2.1", "6:23")]
#[case("192.0.2.0/24 dev eth0 ttl-propagate enabled", "6:23")]
fn what_is_not_served_costs_the_instance(#[case] line: &str, #[case] place: &str) {
    let read = routes(line);
    let not_served = |diag: &&super::Diag| diag.code == super::Code::NotServed;
    let said: Vec<_> = read.diags.iter().filter(not_served).collect();
    let [diag] = said[..] else { panic!("{:?}", read.diags) };
    let (line, column) = super::Lines::new(&read.text).position(&read.text, diag.span.start);
    assert_eq!(format!("{line}:{column}"), place);
    assert_eq!(diag.severity, Severity::Error);
    assert_eq!(read.refusals("VI_1").len(), 1);
}

#[rstest]
#[case::old_word("192.0.2.0/24 gw 192.0.2.1", "6:14 notice changed")]
#[case::host_bits("192.0.2.1/24 dev eth0", "6:1 warning address")]
#[case::protocol("192.0.2.0/24 dev eth0 protocol static", "6:23 warning conflict")]
#[case::scope_over_v6("2001:db8::/32 dev eth0 scope link", "6:24 warning conflict")]
#[case::tos_over_v6("2001:db8::/32 dev eth0 tos 4", "6:24 warning conflict")]
#[case::comment("192.0.2.0/24 dev eth0 // mine", "6:23 warning slash-comment")]
#[case::twins("192.0.2.0/24 dev eth0\n192.0.2.0/24 dev eth0", "7:1 warning twice")]
fn routes_that_are_read_with_a_word(#[case] line: &str, #[case] right: &str) {
    let read = routes(line);
    assert_eq!(read.faults(), [right]);
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0]);
    let [route] = &paths(&read).routes[..] else { panic!("one route") };
    assert_eq!((route.protocol, route.scope, route.tos), (18, None, 0));
}

#[test]
fn a_protocol_of_its_own_where_nobody_puts_it_back() {
    let read = routes("192.0.2.0/24 dev eth0 protocol static no_track");
    assert_eq!(read.faults(), [] as [String; 0]);
    let route = &paths(&read).routes[0];
    assert_eq!((route.protocol, route.tracked), (4, false));
}

/// As its addresses' interfaces: without one, the instance is in FAULT.
#[test]
fn the_interfaces_of_routes_are_tracked() {
    let read = routes(
        "192.0.2.0/24 dev eth1\n198.51.100.0/24 dev eth2 no_track\ndefault nexthop dev eth3 nexthop dev \
         eth0",
    );
    let tracked = read.instance("VI_1").track_devices.iter();
    assert_eq!(tracked.map(|one| one.name.as_str()).collect::<Vec<_>>(), ["eth0", "eth1", "eth3"]);
}

/// Packets that come by one that is down come nowhere: keepalived tracks these, too.
#[test]
fn the_interfaces_of_rules_are_tracked() {
    let read = rules(
        "iif eth1 table 7 preference 5\nfrom 192.0.2.1 iif lo oif eth2 table 7 preference 6\n\
         iif eth3 table 7 preference 7 no_track",
    );
    assert_eq!(read.faults(), [] as [String; 0]);
    let tracked = read.instance("VI_1").track_devices.iter();
    assert_eq!(
        tracked.map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["eth0", "eth1", "lo", "eth2"]
    );
}

#[test]
fn no_more_than_a_thousand() {
    let lines = |count: u32| {
        let line = |n| format!("10.{}.{}.0/24 dev eth0", n / 256, n % 256);
        (0..count).map(line).collect::<Vec<_>>().join("\n")
    };
    let read = routes(&lines(1000));
    assert_eq!(read.faults(), [] as [String; 0]);
    assert_eq!(paths(&read).routes.len(), 1000);
    let read = routes(&lines(1001));
    assert_eq!(read.faults(), ["1006:1 error too-many"]);
    assert_eq!(read.refusals("VI_1").len(), 1);
}

#[rstest]
#[case(
    "from 192.168.28.0/24 to 192.168.29.0/26 table 9 iif p33p1 oif wlan0 tos 22 fwmark 24/12 preference \
     39 realms 30/20",
    "preference 39: from 192.168.28.0/24 to 192.168.29.0/26 tos 0x16 fwmark 0x18/0xc iif p33p1 oif wlan0 \
     table 9 realms 30/20"
)]
#[case(
    "to 1:2:3:4:5:6:7:0/112 from 7:6:5:4:3:2::/96 table 6908 uidrange 10000-19999 order 5",
    "preference 5: from 7:6:5:4:3:2::/96 to 1:2:3:4:5:6:7:0/112 uidrange 10000-19999 table 6908"
)]
#[case(
    "to 2001:db8::/32 l3mdev ip_proto UDP sport 10-20 dport 20-30 priority 5 suppress_prefixlength 0",
    "preference 5: from all to 2001:db8::/32 ipproto 17 sport 10-20 dport 20-30 l3mdev \
     suppress_prefixlength 0"
)]
#[case("inet6 from all lookup main preference 7", "preference 7: from all table 254")]
#[case(
    "not from 192.0.2.1 type prohibit preference 7",
    "preference 7: not from 192.0.2.1 prohibit"
)]
#[case("from 0.0.0.0/0 goto 9 preference 7 sport 53", "preference 7: from all sport 53 goto 9")]
#[case(
    "fwmark 0x10 tunnel-id 18446744073709551615 sup_group 0 table 5 preference 7 protocol bird no_track",
    "preference 7: from all fwmark 0x10 tunnel-id 18446744073709551615 table 5 suppress_ifgroup 0 \
     protocol 12"
)]
fn rules_that_are_read(#[case] line: &str, #[case] right: &str) {
    let read = rules(line);
    assert_eq!(read.faults(), [] as [String; 0], "{:?}", read.diags);
    assert_eq!(shown(paths(&read)), [right]);
}

/// As keepalived: from 16384 downwards, by family, over the whole file.
#[test]
fn preferences_that_are_not_written() {
    let block = |name: &str, vrid: u8, rules: &str| {
        format!(
            "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{\n\
             192.0.2.{vrid}/24\n}}\nvirtual_rules {{\n{rules}\n}}\n}}\n"
        )
    };
    let first = block("A", 1, "from 192.0.2.1 table 5\ninet6 nop\nfrom 192.0.2.2 table 5");
    let read =
        read(&(first + &block("B", 2, "from 192.0.2.3 table 5\nfrom 192.0.2.4 nop order 1")));
    let warning = ["8:1", "9:1", "10:1", "20:1"].map(|place| format!("{place} warning missing"));
    assert_eq!(read.faults(), warning);
    let of = |name: &str| {
        read.instance(name).paths.rules.iter().map(|rule| rule.preference).collect::<Vec<_>>()
    };
    assert_eq!((of("A"), of("B")), (vec![16384, 16384, 16383], vec![16382, 1]));
}

#[rstest]
#[case::nothing("from 192.0.2.1 preference 7", "6:1 error missing")]
#[case::two_things("from 192.0.2.1 table 5 nop preference 7", "6:24 error conflict")]
#[case::table_0("from 192.0.2.1 table 0 preference 7", "6:22 error bad-value")]
#[case::backwards("goto 7 preference 7", "6:1 error conflict")]
#[case::goto_from_where("goto 7", "6:1 error missing")]
#[case::no_table("nop realms 5 preference 7", "6:5 error conflict")]
#[case::suppressed("nop sup_pl 5 preference 7", "6:5 error conflict")]
#[case::families("from 192.0.2.1 to 2001:db8::1 nop", "6:19 error conflict")]
#[case::realms("to 2001:db8::1 table 5 realms 1", "6:24 error conflict")]
#[case::range("table 5 uidrange 7", "6:18 error bad-value")]
#[case::ports("table 5 sport 9-1", "6:15 error bad-value")]
#[case::port("table 5 dport 65536", "6:15 error bad-value")]
#[case::mark("table 5 fwmark -1", "6:16 error bad-value")]
#[case::protocol("table 5 ipproto nothing_such", "6:17 error bad-value")]
#[case::slip("form 192.0.2.1 table 5", "6:1 error unknown-word")]
#[case::garbage("to 192.168.200./24 table 2", "6:4 error address")]
#[case::group("table 5 track_group G", "6:9 error wrong-place")]
#[case::twice("table 5 iif eth0 dev eth1", "6:18 error twice")]
fn rules_that_are_none(#[case] line: &str, #[case] right: &str) {
    let read = rules(line);
    assert_eq!(read.faults(), [right]);
    assert_eq!(read.refusals("VI_1").len(), 1);
    assert!(paths(&read).rules.is_empty());
}
