//! `unicast_peer` and its kin, and groups.

use rstest::rstest;

use super::super::super::model::{Destination, Sharing, Unicast};
use super::super::super::summary::describe;
use super::{Lowered, Read, read, with};

fn unicast(read: &Read) -> &Unicast {
    match &read.instance("VI_1").destination {
        Destination::Peers(unicast) => unicast,
        Destination::Group(group) => panic!("to {group}"),
    }
}

fn group(read: &Read) -> String {
    match &read.instance("VI_1").destination {
        Destination::Peers(unicast) => panic!("{unicast:?}"),
        Destination::Group(group) => group.to_string(),
    }
}

fn peers(read: &Read) -> Vec<String> {
    let one = |peer: &super::super::super::model::Peer| {
        format!("{} {}-{}", peer.address, peer.min_ttl, peer.max_ttl)
    };
    unicast(read).peers.iter().map(one).collect()
}

#[test]
fn peers_with_and_without_bounds() {
    let read = with("", "unicast_peer {\n192.0.2.12\n192.0.2.13 max_ttl 64\n}\nunicast_ttl 7");
    assert_eq!(read.faults(), [] as [String; 0]);
    assert_eq!(peers(&read), ["192.0.2.12 0-255", "192.0.2.13 0-64"]);
    assert_eq!((unicast(&read).ttl, unicast(&read).check_source), (7, true));
    let plain = with("", "unicast_peer {\n192.0.2.12\n}");
    assert_eq!((unicast(&plain).ttl, unicast(&plain).check_source), (255, false));
    assert!(unicast(&with("", "unicast_peer {\n192.0.2.12\n}\ncheck_unicast_src")).check_source);
    for bound in ["min_ttl 0", "max_ttl 255"] {
        let read = with("", &format!("unicast_peer {{\n192.0.2.12 {bound}\n192.0.2.13\n}}"));
        assert!(unicast(&read).check_source, "{bound}");
    }
    // The instance's own word counts, but bounds without a check of the source are none.
    let globally = |lines| with("vrrp_check_unicast_src", lines);
    assert!(unicast(&globally("unicast_peer {\n192.0.2.12\n}")).check_source);
    let off = "unicast_peer {\n192.0.2.12\n}\ncheck_unicast_src off";
    assert!(!unicast(&globally(off)).check_source);
    let off = "unicast_peer {\n192.0.2.12 min_ttl 1\n}\ncheck_unicast_src off";
    assert!(unicast(&globally(off)).check_source);
}

#[test]
fn one_line_and_several_blocks() {
    let read =
        with("", "unicast_peer { 192.0.2.12 min_ttl 2 192.0.2.13 }\nunicast_peer { 192.0.2.14 }");
    assert_eq!(read.faults(), ["5:37 warning one-line"]);
    assert_eq!(peers(&read), ["192.0.2.12 2-255", "192.0.2.13 0-255", "192.0.2.14 0-255"]);
    let read = with("", "unicast_peer {\n192.0.2.12 // the other\n}");
    assert_eq!(read.faults(), ["6:12 warning slash-comment"]);
    assert_eq!(peers(&read), ["192.0.2.12 0-255"]);
}

#[rstest]
#[case::name("peer.example.org", "6:1 error address")]
#[case::group("224.0.0.18", "6:1 error address")]
#[case::option("192.0.2.12 ttl 3", "6:12 error address")]
#[case::value("192.0.2.12 min_ttl", "6:12 error no-value")]
#[case::number("192.0.2.12 min_ttl 256", "6:20 error bad-value")]
#[case::bounds("192.0.2.12 min_ttl 9 max_ttl 8", "6:1 error conflict")]
#[case::family("2001:db8::12", "6:1 error conflict")]
#[case::twins("192.0.2.12\n192.0.2.12 min_ttl 3", "7:1 error twice")]
fn bad_peers_cost_the_instance(#[case] line: &str, #[case] fault: &str) {
    let read = with("", &format!("unicast_peer {{\n{line}\n}}"));
    assert_eq!(read.faults(), [fault]);
    assert!(!read.refusals("VI_1").is_empty());
}

#[test]
fn twins_count_once() {
    let read = with("", "unicast_peer {\n192.0.2.12\n192.0.2.12\n}");
    assert_eq!(read.faults(), ["7:1 warning twice"]);
    assert_eq!(peers(&read), ["192.0.2.12 0-255"]);
}

/// RFC 9568 §5.1.2.1, §7.2: to the group, adverts come from a link-local address.
#[test]
fn a_source_of_another_scope() {
    let from = |source: &str, more: &str| {
        let lines = "virtual_ipaddress { fe80::1/64 }";
        let text = format!(
            "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n{source}\n{more}\n{lines}\n}}\n"
        );
        read(&text).faults()
    };
    assert_eq!(from("mcast_src_ip 2001:db8::9", ""), ["4:1 warning address"]);
    assert_eq!(from("mcast_src_ip fe80::9", ""), [] as [String; 0]);
    let peers = "unicast_peer {\n2001:db8::8\n}";
    assert_eq!(from("unicast_src_ip 2001:db8::9", peers), [] as [String; 0]);
}

#[test]
fn without_peers() {
    let read = with("", "unicast_src_ip 192.0.2.11");
    assert_eq!(read.faults(), ["5:1 warning missing"]);
    assert_eq!(group(&read), "224.0.0.18");
    assert_eq!(group(&with("", "unicast_peer {\n}")), "224.0.0.18");
    let read = with("", "unicast_src_ip 192.0.2.11\nunicast_fault_no_peer");
    assert_eq!(read.faults(), ["5:1 warning missing"]);
    assert!(unicast(&read).peers.is_empty() && unicast(&read).fault_no_peer);
    // This host alone: nobody is sent to, and least of all a group that was never written.
    let read = with("", "unicast_src_ip 192.0.2.11\nunicast_peer {\n192.0.2.11\n}");
    assert_eq!(read.faults(), ["6:1 warning missing", "7:1 notice twice"]);
    assert!(unicast(&read).peers.is_empty() && !unicast(&read).fault_no_peer);
}

#[test]
fn the_source_is_said_once() {
    let read = with("", "mcast_src_ip 192.0.2.10\nunicast_src_ip 192.0.2.11");
    assert_eq!(read.instance("VI_1").source, "192.0.2.11".parse().ok());
    assert!(read.faults().contains(&"6:1 warning twice".to_owned()));
    let read = with("", "unicast_src_ip 192.0.2.250\nunicast_peer {\n192.0.2.12\n}");
    assert_eq!(read.faults(), ["5:1 error conflict"]);
    assert!(read.refusals("VI_1")[0].contains("`unicast_src_ip 192.0.2.250`"));
    let read = with("", "mcast_src_ip 2001:db8::1");
    assert!(read.refusals("VI_1")[0].contains("`mcast_src_ip 2001:db8::1`"));
    let read = with("", "track_src_ip");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert!(!read.instance("VI_1").track_source);
}

#[test]
fn groups() {
    assert_eq!(group(&with("", "mcast_dst_ip 224.0.0.19")), "224.0.0.19");
    assert_eq!(group(&with("vrrp_mcast_group4 239.1.2.3", "")), "239.1.2.3");
    assert_eq!(
        group(&with("vrrp_mcast_group4 239.1.2.3", "mcast_dst_ip 224.0.0.18")),
        "224.0.0.18"
    );
    let v6 = read(
        "global_defs {\nvrrp_mcast_group6 ff12::42\n}\nvrrp_instance VI_1 {\ninterface eth0\n\
         virtual_router_id 1\nvirtual_ipaddress { fe80::1/64 }\n}\n",
    );
    assert_eq!((v6.faults(), group(&v6)), (vec![], "ff12::42".to_owned()));
    let read = with("", "mcast_dst_ip 224.0.0.19\nunicast_peer {\n192.0.2.12\n}");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert_eq!(peers(&read).len(), 1);
}

#[rstest]
#[case::host("", "mcast_dst_ip 192.0.2.1", "not a multicast address")]
#[case::family("", "mcast_dst_ip ff02::12", "family")]
#[case::scope("", "mcast_dst_ip ff05::12", "not link-local")]
#[case::name("", "mcast_dst_ip all-routers", "not an IP address")]
#[case::other("vrrp_mcast_group4 ff02::12", "", "other family")]
#[case::globally("vrrp_mcast_group6 ff0e::1", "", "not link-local")]
fn bad_groups_cost_the_instance(#[case] globals: &str, #[case] lines: &str, #[case] says: &str) {
    let read = with(globals, lines);
    assert!(read.refusals("VI_1")[0].contains(says), "{:?}", read.refusals("VI_1"));
    assert_eq!(read.faults().len(), 1, "{:?}", read.faults());
}

/// The interface is the one that has the source address, wherever that is.
#[test]
fn without_an_interface() {
    let file = |lines: &str| {
        read(&format!(
            "vrrp_instance VI_1 {{\nvirtual_router_id 1\n{lines}\n\
             virtual_ipaddress {{\n192.0.2.1/24\n192.0.2.2/24 dev eth1\n}}\n}}\n"
        ))
    };
    let peers = "unicast_peer {\n192.0.2.12\n}";
    let read = file(&format!("unicast_src_ip 192.0.2.11\n{peers}"));
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("VI_1");
    let devices: Vec<&str> = one.addresses.iter().map(|one| &*one.device).collect();
    assert_eq!((&*one.interface, &devices[..]), ("", &["", "eth1"][..]));
    let says = describe(one);
    assert!(says.contains("VRID 1 on the interface with 192.0.2.11,"), "{says}");
    assert!(says.contains("on the interface with 192.0.2.11: 192.0.2.1/24"), "{says}");
    assert!(
        file(&format!("unicast_src_ip 192.0.2.11\n{peers}\nuse_vmac")).refusals("VI_1")[0]
            .contains("without `interface`")
    );
    // Multicast needs a link, and so does a peer without a source.
    assert_eq!(file("mcast_src_ip 192.0.2.11").faults(), ["1:15 error missing"]);
    assert_eq!(file(peers).faults(), ["1:15 error missing"]);
    // A misspelled one was to be there.
    let misspelled = file(&format!("unicast_src_ip 192.0.2.11\n{peers}\ninterfce eth0"));
    assert_eq!(misspelled.faults(), ["7:1 error unknown-word"]);
    let v6 = super::read(
        "vrrp_instance VI_1 {\nvirtual_router_id 1\nunicast_src_ip fe80::5\n\
         unicast_peer {\nfe80::6\n}\nvirtual_ipaddress {\nfe80::1/64\n}\n}\n",
    );
    assert_eq!(v6.faults(), ["1:15 error missing"]);
}

#[test]
fn one_virtual_router_on_one_link() {
    let one = |name: &str, link: &str, lines: &str, last: u8| {
        format!(
            "vrrp_instance {name} {{\n{link}\nvirtual_router_id 1\n{lines}\n\
             virtual_ipaddress {{ 192.0.2.{last} }}\n}}\n"
        )
    };
    let eth0 = "interface eth0";
    let same = read(&(one("A", eth0, "", 1) + &one("B", eth0, "", 2)));
    assert_eq!(same.faults(), ["7:15 error twice"]);
    // Told apart by their groups, of those that are run.
    let group = |last: u8| format!("mcast_dst_ip 224.0.0.{last}");
    let three = |first: &str, second: &str| {
        let all = [("A", first), ("B", second), ("C", &group(20)), ("D", "dont_track_primary")];
        let lines =
            |(at, (name, lines)): (usize, &(&str, &str))| one(name, eth0, lines, 1 + at as u8);
        let read = read(&all.iter().enumerate().map(lines).collect::<String>());
        let run = read.lowered.iter().filter(|one| one.refusals.is_empty());
        run.map(|one| (one.name.clone(), read.instance(&one.name).sharing)).collect::<Vec<_>>()
    };
    use Sharing::{Beside, First};
    let named = |all: &[(&str, Sharing)]| -> Vec<(String, Sharing)> {
        all.iter().map(|(name, sharing)| ((*name).to_owned(), *sharing)).collect()
    };
    // D is A once more.
    let run = three("", &group(19));
    assert_eq!(run, named(&[("A", First), ("B", Beside), ("C", Beside)]));
    // Both would have one MAC address; and A is not run.
    assert_eq!(three("use_vmac", &group(19)), named(&[("A", Sharing::Alone)]));
    let unknown = three("priority 999", &group(19));
    assert_eq!(unknown, named(&[("B", First), ("C", Beside)]));
    let unicast = |last: u8| format!("unicast_src_ip 192.0.2.{last}\nunicast_peer {{ 192.0.2.9 }}");
    let apart = read(&(one("A", "", &unicast(11), 1) + &one("B", "", &unicast(12), 2)));
    assert_eq!(apart.faults(), [] as [String; 0]);
    let apart = read(&(one("A", "", &unicast(11), 1) + &one("B", "", &unicast(11), 2)));
    assert_eq!(apart.faults().len(), 1);
}

const PEERS: &str = "interface eth0\nunicast_peer { 192.0.2.9 }";
const PEERS6: &str = "interface eth0\nunicast_peer { fe80::9 }";
const OTHER_PEERS: &str = "interface eth0\nunicast_peer { 192.0.2.8 }";
const GROUP: &str = "interface eth0\nmcast_dst_ip 224.0.0.19";
const OWN_LINK: &str = "interface eth0\nmcast_dst_ip 224.0.0.20\nuse_vmac";

/// What each of some with one VRID is to the others, and nothing of those that are not run.
#[rstest]
#[case::families(&[("interface eth0", "192.0.2.1"), ("interface eth0", "fe80::1")], "alone alone")]
#[case::families_of_peers(&[(PEERS, "192.0.2.1"), (PEERS6, "fe80::1")], "alone alone")]
#[case::families_with_own_links(&[(OWN_LINK, "192.0.2.1"), ("interface eth0\nuse_vmac", "fe80::1")], "alone alone")]
#[case::links(&[("interface eth0", "192.0.2.1"), ("interface eth1", "192.0.2.2")], "alone alone")]
#[case::groups(&[("interface eth0", "192.0.2.1"), (GROUP, "192.0.2.2")], "first beside")]
#[case::own_link_second(&[(GROUP, "192.0.2.1"), (OWN_LINK, "192.0.2.2")], "alone -")]
#[case::own_link_first(&[(OWN_LINK, "192.0.2.1"), (GROUP, "192.0.2.2")], "alone -")]
#[case::twin_of_the_second(
    &[("interface eth0", "192.0.2.1"), (GROUP, "192.0.2.2"), (GROUP, "192.0.2.3")],
    "first beside -"
)]
#[case::peers_beside_a_group(&[("interface eth0", "192.0.2.1"), (PEERS, "192.0.2.2")], "alone -")]
#[case::a_group_beside_peers(&[(PEERS, "192.0.2.1"), (GROUP, "192.0.2.2")], "alone -")]
#[case::other_peers(&[(PEERS, "192.0.2.1"), (OTHER_PEERS, "192.0.2.2")], "alone -")]
fn which_have_one_vrid_on_one_link(#[case] all: &[(&str, &str)], #[case] right: &str) {
    let block = |(lines, ip): &(&str, &str)| {
        format!(
            "vrrp_instance {} {{\nversion 3\nvirtual_router_id 1\n{lines}\nvirtual_ipaddress {{ {ip} }}\n}}\n",
            ip.replace([':', '.'], "_")
        )
    };
    let read = read(&all.iter().map(block).collect::<String>());
    let sharing = |one: &Lowered| match one.instance.as_ref().map(|instance| instance.sharing) {
        Some(sharing) if one.refusals.is_empty() => format!("{sharing:?}").to_lowercase(),
        Some(_) | None => "-".to_owned(),
    };
    assert_eq!(read.lowered.iter().map(sharing).collect::<Vec<_>>().join(" "), right);
}

/// The source says which link that is, in its own VRF.
#[test]
fn one_source_in_two_vrfs_is_on_two_links() {
    let one = |name: &str, vrf: &str, last: u8| {
        format!(
            "vrrp_instance {name} {{\n{vrf}\nvirtual_router_id 1\nunicast_src_ip 192.0.2.11\n\
             unicast_peer {{ 192.0.2.9 }}\nvirtual_ipaddress {{ 192.0.2.{last} }}\n}}\n"
        )
    };
    let file = one("A", "vrf red", 1) + &one("B", "vrf blue", 2) + &one("C", "vrf red", 3);
    let read = read(&file);
    assert_eq!(read.faults(), ["15:15 error twice"]);
    assert!(read.refusals("C")[0].contains("is A already"), "{:?}", read.refusals("C"));
}
