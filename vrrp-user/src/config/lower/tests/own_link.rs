//! `use_vmac`, `use_ipvlan` and their kin.

use rstest::rstest;

use super::super::super::model::{AddressLink, IpvlanMode, OwnLink, OwnLinkKind};
use super::{Read, read, with};

fn link(read: &Read) -> &OwnLink {
    read.instance("VI_1").own_link.as_ref().expect("an interface of its own")
}

const OURS: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

#[rstest]
#[case::bare("", "vrrp.51", OURS)]
#[case::name("vmac0", "vmac0", OURS)]
#[case::named("name vmac0", "vmac0", OURS)]
#[case::mac("02:00:00:00:00:01", "vrrp.51", [2, 0, 0, 0, 0, 1])]
#[case::five("vmac0 2:0:a:B:c", "vmac0", [2, 0, 10, 11, 12, 51])]
#[case::notify("vmac0 netlink_notify_msg", "vmac0", OURS)]
#[case::comment("vmac0 // comment", "vmac0", OURS)]
fn vmac(#[case] words: &str, #[case] name: &str, #[case] mac: [u8; 6]) {
    let read = with("", &format!("use_vmac {words}"));
    assert_eq!(read.refusals("VI_1").iter().filter(|why| !why.contains("served")).count(), 0);
    let kind = OwnLinkKind::Macvlan(mac);
    let (name, send_on_base) = (name.to_owned(), false);
    assert_eq!(read.instance("VI_1").interface, "eth0");
    assert_eq!(read.instance("VI_1").addresses[0].device, name);
    let right = OwnLink { kind, named: name != "vrrp.51", name, send_on_base, group: 0 };
    assert_eq!(*link(&read), right);
}

#[rstest]
#[case::own("use_vmac eth0", "below it")]
#[case::label("use_vmac eth0:1", "no MAC address")]
#[case::long("use_vmac a-name-of-16-chr", "15 bytes")]
#[case::group("use_vmac 01:00:5e:00:00:12", "of a group")]
#[case::nobody("use_vmac 00:00:00:00:00:00", "no MAC address")]
#[case::hex("use_vmac 02:00:00:00:00:0g", "no MAC address")]
#[case::sign("use_vmac 02:00:00:00:00:+1", "no MAC address")]
#[case::seven("use_vmac 02:00:00:00:00:01:02", "no MAC address")]
#[case::more("use_vmac vmac0 vmac1", "one word too many")]
#[case::both("use_vmac\nuse_ipvlan 192.0.2.11", "beside `use_vmac`")]
#[case::no_source("use_ipvlan ipv0", "has no address")]
#[case::family("use_ipvlan 2001:db8::1", "family")]
#[case::mode("use_ipvlan ipv0 192.0.2.11 bridged", "one word too many")]
fn bad_words_cost_the_instance(#[case] lines: &str, #[case] says: &str) {
    let read = with("", lines);
    let said = read.refusals("VI_1").iter().any(|why| why.contains(says));
    assert!(said, "{:?}", read.refusals("VI_1"));
}

#[test]
fn where_adverts_leave() {
    let read = with("", "use_vmac\nvmac_xmit_base");
    assert!(link(&read).send_on_base);
    // Unicast frames are routed: the virtual MAC address is not theirs.
    let read = with("", "use_vmac\nunicast_peer {\n192.0.2.12\n}");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert!(link(&read).send_on_base);
    let read = with("", "vmac_xmit_base");
    assert_eq!(read.faults(), ["5:1 warning conflict"]);
    assert_eq!(read.instance("VI_1").own_link, None);
}

/// Addresses go on the instance's own interface, unless another is written; with `use_vmac_addr` those
/// go on one of their own there.
#[test]
fn where_addresses_go() {
    let addresses = "virtual_ipaddress_excluded {\n192.0.2.251/24\n192.0.2.252/24 dev eth0\n\
                     192.0.2.253/24 dev eth1\n192.0.2.254/24 dev eth1\n2001:db8::1/64 dev eth2\n}";
    let devices = |lines: &str| {
        let read = with("vmac_addr_prefix addr", &format!("{lines}\n{addresses}"));
        assert_eq!(read.refusals("VI_1"), [] as [&str; 0], "{lines}");
        let excluded = &read.instance("VI_1").excluded;
        excluded.iter().map(|address| address.device.clone()).collect::<Vec<_>>()
    };
    assert_eq!(devices(""), ["eth0", "eth0", "eth1", "eth1", "eth2"]);
    assert_eq!(devices("use_vmac"), ["vrrp.51", "vrrp.51", "eth1", "eth1", "eth2"]);
    let all = ["vrrp.51", "vrrp.51", "addr.51", "addr.51", "addr1.51"];
    assert_eq!(devices("use_vmac\nuse_vmac_addr"), all);
    assert_eq!(devices("use_vmac_addr"), ["eth0", "eth0", "addr.51", "addr.51", "addr1.51"]);
    assert_eq!(devices("use_ipvlan 192.0.2.11")[0], "vrrp.51");
}

/// What an instance makes for addresses alone, as `BASE NAME MAC`, and where its excluded ones go.
fn for_addresses(lines: &str, addresses: &str) -> (Vec<String>, Vec<String>) {
    let read = with("", &format!("{lines}\nvirtual_ipaddress_excluded {{\n{addresses}\n}}"));
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0], "{lines}");
    let instance = read.instance("VI_1");
    let one = |link: &AddressLink| {
        let mac = link.mac.map(|byte| format!("{byte:02x}")).join(":");
        format!("{} {} {mac}", link.base, link.name)
    };
    let devices = instance.excluded.iter().map(|address| address.device.clone());
    (instance.address_links.iter().map(one).collect(), devices.collect())
}

/// `use_vmac` behind an address: on its interface, of its family, and one for all that are alike.
#[test]
fn addresses_on_macvlans_of_their_own() {
    let addresses = "192.0.2.1/24 use_vmac\n192.0.2.2/24 dev eth0 use_vmac\n\
                     198.51.100.1/24 use_vmac dev eth1\n2001:db8::1/64 use_vmac\n192.0.2.3/24";
    let made = [
        "eth0 vrrp.51 00:00:5e:00:01:33",
        "eth1 vrrp1.51 00:00:5e:00:01:33",
        "eth0 vrrp2.51 00:00:5e:00:02:33",
    ];
    let devices = ["vrrp.51", "vrrp.51", "vrrp1.51", "vrrp2.51", "eth0"];
    let (links, on) = for_addresses("", addresses);
    assert_eq!((links, on), (made.map(String::from).to_vec(), devices.map(String::from).to_vec()));
    // Beside the instance's own, which two of them can be on.
    let (links, on) = for_addresses("use_vmac 02:00:00:00:00:01", addresses);
    let made = ["eth1 vrrp1.51 02:00:00:00:00:01", "eth0 vrrp2.51 00:00:5e:00:02:33"];
    assert_eq!(links, made);
    assert_eq!(on, ["vrrp.51", "vrrp.51", "vrrp1.51", "vrrp2.51", "vrrp.51"]);
    // An ipvlan has its base's MAC address.
    let (links, on) = for_addresses("use_ipvlan 192.0.2.11", addresses);
    assert_eq!(links[0], "eth0 vrrp1.51 00:00:5e:00:01:33");
    assert_eq!(on, ["vrrp1.51", "vrrp1.51", "vrrp2.51", "vrrp3.51", "vrrp.51"]);
}

/// The virtual MAC address of one family is not the other's.
#[test]
fn use_vmac_addr_is_for_the_other_family_too() {
    let addresses = "192.0.2.1/24\n2001:db8::1/64";
    let (links, on) = for_addresses("use_vmac_addr", addresses);
    assert_eq!(links, ["eth0 vrrp.51 00:00:5e:00:02:33"]);
    assert_eq!(on, ["eth0", "vrrp.51"]);
    let (links, on) = for_addresses("use_vmac\nuse_vmac_addr", addresses);
    assert_eq!(links, ["eth0 vrrp1.51 00:00:5e:00:02:33"]);
    assert_eq!(on, ["vrrp.51", "vrrp1.51"]);
    assert_eq!(for_addresses("use_vmac", addresses).1, ["vrrp.51", "vrrp.51"]);
}

/// To say which interface it is anyway changes nothing, as in keepalived.
#[test]
fn the_interface_behind_an_address_changes_nothing() {
    let addresses = "192.0.2.1/24 dev eth0\n192.0.2.2/24\n192.0.2.3/24 dev eth1\n\
                     192.0.2.4/24 dev vrrp.51\n2001:db8::1/64 dev eth0";
    let on = ["vrrp.51", "vrrp.51", "eth1", "vrrp.51", "eth0"].map(String::from).to_vec();
    assert_eq!(for_addresses("use_vmac", addresses), (vec![], on.clone()));
    assert_eq!(for_addresses("use_ipvlan 192.0.2.11", addresses), (vec![], on));
}

#[test]
fn a_macvlan_needs_an_interface_below_it() {
    let file = |address: &str| {
        read(&format!(
            "vrrp_instance VI_1 {{\nvirtual_router_id 51\nunicast_src_ip 192.0.2.11\n\
             unicast_peer {{\n192.0.2.12\n}}\nvirtual_ipaddress {{\n{address}\n}}\n}}\n"
        ))
    };
    assert_eq!(file("192.0.2.1/24 use_vmac").faults(), ["8:1 error missing"]);
    assert_eq!(file("192.0.2.1/24 use_vmac dev eth1").faults(), [] as [String; 0]);
}

#[test]
fn groups_of_interfaces() {
    let group = |words: &str| link(&with("", &format!("use_vmac {words}"))).group;
    assert_eq!(group("vmac0 group 7"), 7);
    assert_eq!(group("group 4294967295 vmac0"), u32::MAX);
    assert_eq!(group("group default"), 0);
    let bad = with("", "use_vmac group lan 02:00:00:00:00:01");
    assert_eq!((link(&bad).group, bad.faults()), (0, vec!["5:10 warning bad-value".to_owned()]));
}

#[test]
fn ipvlan() {
    let read = with("", "use_ipvlan ipv0 192.0.2.11/24 private\nvmac_xmit_base");
    assert_eq!(read.faults(), ["6:1 warning conflict"]);
    let source = Some(("192.0.2.11".parse().expect("an address"), 24));
    let kind = OwnLinkKind::Ipvlan { source, mode: IpvlanMode::Private };
    assert_eq!((&link(&read).kind, &*link(&read).name), (&kind, "ipv0"));
    assert!(!link(&read).send_on_base);
    let modes =
        [("bridge", IpvlanMode::Bridge), ("vepa", IpvlanMode::Vepa), ("", IpvlanMode::Bridge)];
    for (word, mode) in modes {
        let read = with("", &format!("use_ipvlan 192.0.2.11 {word}"));
        let kind = &link(&read).kind;
        assert!(matches!(kind, OwnLinkKind::Ipvlan { mode: got, .. } if *got == mode), "{kind:?}");
        assert_eq!(link(&read).name, "vrrp.51");
    }
}

/// Names that nobody wrote: each its own, and the same as long as the instances before stay.
#[test]
fn names_are_found() {
    let file = |globals: &str| {
        let one = |name: &str, interface: &str, word: &str, address: &str| {
            format!(
                "vrrp_instance {name} {{\ninterface {interface}\nvirtual_router_id 7\n{word}\n\
                 virtual_ipaddress {{ {address} }}\n}}\n"
            )
        };
        [
            globals.to_owned(),
            one("A", "eth0", "use_vmac", "192.0.2.1"),
            one("B", "eth1", "use_vmac", "192.0.2.2"),
            one("C", "eth0", "use_vmac", "fe80::1"),
            one("D", "eth2", "use_vmac vrrp2.7", "192.0.2.3"),
            one("E", "eth3", "use_vmac", "192.0.2.4"),
            one("F", "eth1", "use_vmac", "fe80::2"),
        ]
        .concat()
    };
    let names = |read: &Read| {
        let one = |one: &super::super::instance::Lowered| {
            let instance = one.instance.as_ref().expect("an instance");
            instance.own_link.as_ref().expect("its link").name.clone()
        };
        read.lowered.iter().map(one).collect::<Vec<_>>()
    };
    let expected = ["vrrp.7", "vrrp1.7", "vrrp6.7", "vrrp2.7", "vrrp3.7", "vrrp4.7"];
    assert_eq!(names(&read(&file(""))), expected);
    let long = read(&file("global_defs {\nvmac_prefix a-long-prefix\n}\n"));
    let expected = [
        "a-long-prefix.7",
        "a-long-prefi1.7",
        "a-long-prefi6.7",
        "vrrp2.7",
        "a-long-prefi2.7",
        "a-long-prefi3.7",
    ];
    assert_eq!(names(&long), expected);
    assert_eq!(long.faults(), [] as [String; 0]);
}

/// 6 stands for IPv6.
#[test]
fn names_leave_out_a_six() {
    let one = |n: u8| {
        format!(
            "vrrp_instance I{n} {{\ninterface eth{n}\nvirtual_router_id 7\nuse_vmac\n\
             virtual_ipaddress {{ 192.0.2.{n} }}\n}}\n"
        )
    };
    let file: String = (1..=8).map(one).collect();
    let read = read(&file);
    let last = |n: u8| read.instance(&format!("I{n}")).own_link.as_ref().map(|link| &*link.name);
    assert_eq!((last(6), last(7), last(8)), (Some("vrrp5.7"), Some("vrrp7.7"), Some("vrrp8.7")));
}

#[test]
fn two_instances_do_not_share_one() {
    let one = |name: &str, vrid: u8| {
        format!(
            "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nuse_vmac vmac0\n\
             virtual_ipaddress {{ 192.0.2.{vrid} }}\n}}\n"
        )
    };
    let read = read(&(one("A", 1) + &one("B", 2)));
    assert_eq!(read.faults(), ["7:15 error twice"]);
    assert!(read.refusals("B").iter().any(|why| why.contains("`vmac0` already")));
}

/// Those for addresses alone count as well.
#[test]
fn two_instances_do_not_share_a_mac_address_for_addresses() {
    let one = |name: &str, base: &str, last: u8| {
        format!(
            "vrrp_instance {name} {{\ninterface {base}\nvirtual_router_id 7\nuse_vmac_addr\n\
             virtual_ipaddress {{\n192.0.2.{last} dev eth9\n}}\n}}\n"
        )
    };
    let read = read(&(one("A", "eth0", 1) + &one("B", "eth1", 2)));
    assert_eq!(read.faults(), ["9:15 error twice"]);
    assert!(read.refusals("B").iter().any(|why| why.contains("MAC address on eth9")));
}

/// Of two interfaces with one MAC address on one base the kernel lets one be up.
#[test]
fn two_instances_do_not_share_a_mac_address_on_one_link() {
    let one = |name: &str, vrid: u8, base: &str| {
        format!(
            "vrrp_instance {name} {{\ninterface {base}\nvirtual_router_id {vrid}\n\
             use_vmac 02:00:00:00:00:01\nvirtual_ipaddress {{ 192.0.2.{vrid} }}\n}}\n"
        )
    };
    let read = read(&(one("A", 1, "eth0") + &one("B", 2, "eth0") + &one("C", 3, "eth1")));
    assert_eq!(read.faults(), ["7:15 error twice"]);
    assert!(read.refusals("B").iter().any(|why| why.contains("MAC address on eth0")));
}
