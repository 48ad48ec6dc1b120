//! The handed configurations of what the whole protocol needs.

use std::net::IpAddr;

use vrrp_common::{Family, Version};
use vrrp_proto::settings::VirtualAddress;

use super::super::super::model::{Destination, OwnLink, OwnLinkKind, Peer, Unicast};
use super::read;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn list(addresses: &[VirtualAddress]) -> Vec<String> {
    let one = |a: &VirtualAddress| {
        format!("{}/{}{}", a.ip, a.prefix, if a.preferred == Some(0) { " deprecated" } else { "" })
    };
    addresses.iter().map(one).collect()
}

macro_rules! handed {
    ($name:literal) => {
        read(include_str!(concat!("../../../../tests/config/", $name, ".conf")))
    };
}

#[test]
fn c21_ipv6_with_ipv4_among_the_excluded() {
    let read = handed!("C21-ipv6-good");
    assert_eq!(read.faults(), [] as [String; 0]);
    let v6 = read.instance("V6");
    assert_eq!((v6.version, v6.family), (Version::V3, Family::V6));
    assert_eq!(v6.destination, Destination::Group(ip("ff02::12")));
    assert_eq!(
        list(&v6.addresses),
        ["fe80::5e00:250/64", "2001:db8::250/64", "2001:db8::251/128 deprecated"]
    );
    assert_eq!(list(&v6.excluded), ["192.0.2.250/24"]);
}

#[test]
fn c29_unicast_peers_with_bounds() {
    let read = handed!("C29-unicast");
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("VI_U");
    assert_eq!(one.source, Some(ip("192.0.2.11")));
    assert_eq!(one.password(), Some(*b"unicast1"));
    let peer = |address, min_ttl| Peer { address: ip(address), min_ttl, max_ttl: 255 };
    let peers = vec![peer("192.0.2.12", 0), peer("192.0.2.13", 254)];
    let unicast = Unicast { peers, ttl: 255, check_source: true, fault_no_peer: false };
    assert_eq!(one.destination, Destination::Peers(unicast));
}

/// B61: a list that is the same on all hosts names this one too.
#[test]
fn c29_with_this_host_in_the_list() {
    let file = include_str!("../../../../tests/config/C29-unicast.conf");
    let read = read(&file.replace("unicast_peer {", "unicast_peer {\n192.0.2.11\n"));
    assert_eq!(read.faults(), ["13:1 notice twice"]);
    let Destination::Peers(unicast) = &read.instance("VI_U").destination else { panic!("unicast") };
    let peers: Vec<String> = unicast.peers.iter().map(|peer| peer.address.to_string()).collect();
    assert_eq!(peers, ["192.0.2.12", "192.0.2.13"]);
}

#[test]
fn c36_the_packaged_file_in_strict_mode() {
    let read = handed!("C36-packaged-default");
    // Nothing about the intervals of 0; `state MASTER` and the password are dropped by name.
    assert_eq!(read.faults(), ["16:5 warning conflict", "21:5 warning auth"]);
    let one = read.instance("VI_1");
    assert!(!one.accept && one.same_addresses && one.lower_prio_no_advert);
    assert_eq!((one.auth, one.announce.lower_repeat), (None, 0));
    assert!(one.skip_check_adv_addr);
    assert_eq!(one.addresses.len(), 3);
}

#[test]
fn c40_virtual_mac_with_a_name() {
    let read = handed!("C40-vmac");
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("lan-10");
    let link = OwnLink {
        kind: OwnLinkKind::Macvlan([0, 0, 0x5e, 0, 1, 0x0a]),
        name: "eth0v10".to_owned(),
        named: true,
        send_on_base: true,
        group: 0,
    };
    assert_eq!(one.own_link, Some(link));
    assert_eq!(one.addresses[0].device, "eth0v10");
    assert_eq!(one.interface, "eth0");
}

#[test]
fn c47_more_addresses_than_an_advert_counts() {
    let read = handed!("C47-many-addresses");
    assert_eq!(read.faults(), ["301:9 warning too-many"]);
    assert_eq!(read.instance("N30").addresses.len(), 30);
    let many = read.instance("N256");
    assert_eq!((many.addresses.len(), many.excluded.len()), (255, 1));
}

/// 90 IPv6 addresses and the headers are 1488 bytes.
#[test]
fn more_ipv6_addresses_than_a_packet_holds() {
    let addresses: String = (2..=91).map(|n| format!("2001:db8::{n:x}/64\n")).collect();
    let many = read(&format!(
        "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n\
         fe80::1/64\n{addresses}}}\n}}\n"
    ));
    assert_eq!(many.faults(), ["95:1 warning too-many"]);
    let one = many.instance("A");
    assert_eq!(
        (one.addresses.len(), list(&one.excluded)),
        (90, vec!["2001:db8::5b/64".to_owned()])
    );
}

/// One process has room for so many; `check` and `status` say which are left out, and the first one why.
#[test]
fn instances_beyond_the_most_are_refused() {
    let one = |n: usize| {
        let (link, vrid) = (n / 255, n % 255 + 1);
        format!(
            "vrrp_instance I{n} {{\ninterface eth{link}\nvirtual_router_id {vrid}\n\
             virtual_ipaddress {{ 10.{link}.{vrid}.1/24 }}\n}}\n"
        )
    };
    let read = read(&(0..4098).map(one).collect::<String>());
    assert_eq!(read.faults(), ["20481:15 error too-many"]);
    assert_eq!(read.lowered.iter().filter(|one| !one.refusals.is_empty()).count(), 2);
    let why = "line 20481: 4096 instances are the most, and here are 2 more";
    assert_eq!((read.refusals("I4096"), read.refusals("I4097")), (vec![why], vec![why]));
    assert_eq!(read.refusals("I4095"), [""; 0]);
}
