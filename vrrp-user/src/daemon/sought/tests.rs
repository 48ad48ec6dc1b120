use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config;
use crate::net::fixtures;

fn config(text: &str) -> Config {
    let loaded = config::parse_str(Path::new("test.conf"), text);
    assert!(loaded.reloadable().is_ok(), "{:?}", loaded.log_lines());
    loaded.config.expect("a configuration")
}

fn instance(name: &str, link: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n{link}\nvirtual_router_id 51\n\
         virtual_ipaddress {{\n{} dev eth9\n}}\n}}\n",
        // Each its own address: what else they share is what the tests are about.
        if name == "A" { "198.51.100.1/24" } else { "198.51.100.2/24" }
    )
}

fn from(last: u8) -> String {
    format!("unicast_src_ip 192.0.2.{last}\nunicast_peer {{\n192.0.2.99\n}}")
}

/// Interfaces that are up, with an index, a name and the last bytes of their addresses; `lo` has no
/// MAC address.
fn host(interfaces: &[(u32, &str, &[u8])]) -> Snapshot {
    let one = |(ifindex, name, lasts): &(u32, &str, &[u8])| {
        let addresses = lasts.iter().map(|last| fixtures::address(&format!("192.0.2.{last}"), 24));
        let interface = fixtures::interface(*ifindex, name, addresses);
        Interface { mac: interface.mac.filter(|_| *name != "lo"), ..interface }
    };
    fixtures::host(interfaces.iter().map(one))
}

fn on(name: &str) -> Sought {
    Sought::On(Place { interface: name.to_owned(), towards: None })
}

/// On a host without routes.
fn find(written: &Config, host: &Snapshot, before: &Found) -> Found {
    super::find(written, host, before, &mut |_, _, _| None)
}

#[test]
fn where_the_address_is_was_and_is_not_yet() {
    let written = config(&instance("A", &from(11)));
    let look = |host: &Snapshot, before: &Found| find(&written, host, before)["A"].clone();
    let before = |sought: Sought| Found::from([("A".to_owned(), sought)]);
    let none = Found::new();
    assert_eq!(look(&host(&[(2, "eth0", &[12])]), &none), Sought::Nowhere);
    assert_eq!(look(&host(&[(2, "eth0", &[12]), (3, "eth1", &[11])]), &none), on("eth1"));
    // It is gone, and comes back to another one.
    assert_eq!(look(&host(&[(2, "eth0", &[12])]), &before(on("eth1"))), on("eth1"));
    assert_eq!(look(&host(&[(2, "eth0", &[11])]), &before(on("eth1"))), on("eth0"));
    // Two have it while it moves.
    let both = host(&[(2, "eth0", &[11]), (3, "eth1", &[11])]);
    assert_eq!(look(&both, &before(on("eth1"))), on("eth1"));
    assert_eq!(look(&both, &none), on("eth0"));
    let mut down = both;
    down.interfaces.insert(Interface { carrier: false, ..down.interfaces[&2].clone() });
    assert_eq!(look(&down, &before(on("eth0"))), on("eth1"));
    let loopback = look(&host(&[(1, "lo", &[11]), (2, "eth0", &[12])]), &none);
    assert_eq!(loopback, Sought::Unfit("lo".to_owned()));
}

/// Routers have addresses where no link's loss takes them.
#[test]
fn an_address_that_no_link_has_is_reached_by_a_route() {
    let both = instance("A", &from(11)) + &instance("B", "interface eth0");
    let (one, both) = (config(&instance("A", &from(11))), config(&both));
    let mut host = host(&[(2, "eth0", &[12]), (3, "eth1", &[13]), (5, "dummy0", &[11])]);
    host.interfaces.insert(Interface { is_inner: true, ..host.interfaces[&5].clone() });
    let look = |written: &Config, before: &Found, route: Option<u32>| {
        super::find(written, &host, before, &mut |from, to, vrf| {
            assert_eq!(
                (from.to_string(), to.to_string()),
                ("192.0.2.11".into(), "192.0.2.99".into())
            );
            assert_eq!(vrf, None);
            route
        })
    };
    let place = |name: &str| Place {
        interface: name.to_owned(),
        towards: Some("192.0.2.99".parse().expect("an address")),
    };
    let none = Found::new();
    let found = look(&one, &none, Some(3));
    assert_eq!(found["A"], Sought::On(place("eth1")));
    // While there is no route it stays, and another route has it move.
    assert_eq!(look(&one, &found, None)["A"], Sought::On(place("eth1")));
    assert_eq!(look(&one, &found, Some(2))["A"], Sought::On(place("eth0")));
    // The peer's network is on the dummy, or nowhere.
    for route in [Some(5), Some(9), None] {
        assert_eq!(look(&one, &none, route)["A"], Sought::Unfit("dummy0".to_owned()));
    }
    let found = look(&both, &none, Some(2));
    assert_eq!(
        why_not(&both.instances[0], &host, &found).as_deref(),
        Some("192.0.2.11 reaches 192.0.2.99 by eth0, where B is virtual router 51 already")
    );
}

/// Of two uplinks one leads to a peer as well as the other.
#[test]
fn a_link_that_is_lost_leads_to_nobody() {
    let text = instance("A", &from(11)).replace("192.0.2.99\n", "192.0.2.99\n192.0.2.98\n");
    let written = config(&text);
    let up = host(&[(1, "lo", &[11]), (2, "eth0", &[12]), (3, "eth1", &[13])]);
    let down = |host: &Snapshot, index| {
        let mut host = host.clone();
        host.interfaces.insert(Interface { carrier: false, ..host.interfaces[&index].clone() });
        host
    };
    let look = |host: &Snapshot, by: [Option<u32>; 2]| {
        let found = super::find(&written, host, &Found::new(), &mut |_, to, _| {
            by[usize::from(to.to_string() == "192.0.2.98")]
        });
        let Sought::On(Place { interface, towards: Some(to) }) = &found["A"] else {
            panic!("{found:?}")
        };
        let seeking = Seeking { found: found.clone(), ..Seeking::default() };
        (interface.clone(), to.to_string(), seeking.cut_off(host).contains("A"))
    };
    let place = |name: &str, to: &str, cut_off| (name.to_owned(), to.to_owned(), cut_off);
    let (first, second) = ("192.0.2.99", "192.0.2.98");
    let (without_one, without_both) = (down(&up, 2), down(&down(&up, 2), 3));
    let both = [Some(2), Some(3)];
    assert_eq!(look(&up, both), place("eth0", first, false));
    assert_eq!(look(&without_one, both), place("eth1", second, false));
    assert_eq!(look(&without_both, both), place("eth0", first, true));
    assert_eq!(look(&without_one, [Some(2); 2]), place("eth0", first, true));
    assert_eq!(look(&up, [None, Some(3)]), place("eth1", second, false));
}

/// By the next interface a route may lead in a moment; an address is on its own.
#[test]
fn the_loss_of_a_link_is_waited_for_where_a_route_leads_by_it() {
    let written = Delays { down: Duration::from_secs(2), up: Duration::from_secs(3) };
    let place = |towards| Place { interface: "eth1".to_owned(), towards };
    assert_eq!(link_delays(&place(None), written), written);
    let by_route = link_delays(&place("192.0.2.99".parse().ok()), written);
    assert_eq!(by_route, Delays { down: Delays::AS_LONG_AS_PEERS_WAIT, ..written });
}

/// What has the address is the VRF's own interface: packets go by the VRF's routes.
#[test]
fn an_address_of_the_vrf_itself() {
    let written = config(&instance("A", &format!("{}\nvrf red", from(11))));
    let mut host = host(&[(3, "eth1", &[13]), (4, "red", &[11])]);
    let red = host.interfaces[&4].clone();
    host.interfaces.insert(Interface { is_inner: true, vrf: Some(4), ..red });
    let found = super::find(&written, &host, &Found::new(), &mut |_, _, vrf| {
        assert_eq!(vrf, Some(4));
        Some(3)
    });
    let Sought::On(place) = &found["A"] else { panic!("{found:?}") };
    assert_eq!(place.interface, "eth1");
    assert_eq!(super::on(place), "eth1, by which its source reaches 192.0.2.99");
}

#[test]
fn one_virtual_router_on_one_interface() {
    let taken = |by: &str| {
        let place = Place { interface: "eth0".to_owned(), towards: None };
        Sought::Taken { place, by: by.to_owned() }
    };
    let host_now = host(&[(2, "eth0", &[11, 12])]);
    let two = config(&(instance("A", &from(11)) + &instance("B", &from(12))));
    let found = find(&two, &host_now, &Found::new());
    assert_eq!((&found["A"], &found["B"]), (&on("eth0"), &taken("A")));
    // One that is written there was there first, wherever it stands in the file.
    let two = config(&(instance("A", &from(11)) + &instance("B", "interface eth0")));
    let found = find(&two, &host_now, &Found::new());
    assert_eq!((&found["A"], found.len()), (&taken("B"), 1));
    let says = why_not(&two.instances[0], &host_now, &found).expect("a reason");
    assert_eq!(says, "192.0.2.11 is on eth0, where B is virtual router 51 already");
    // Where an address was counts less than where another one's is.
    let two = config(&(instance("A", &from(11)) + &instance("B", &from(12))));
    let before = Found::from([("A".to_owned(), on("eth0")), ("B".to_owned(), on("eth1"))]);
    let moved = find(&two, &host(&[(2, "eth0", &[12]), (3, "eth1", &[])]), &before);
    assert_eq!((&moved["A"], &moved["B"]), (&Sought::Nowhere, &on("eth0")));
}

/// Who has an interface of its own hears that alone, as with keepalived.
#[test]
fn one_without_an_interface_hears_all_of_its_vrf() {
    let host = host(&[(3, "eth1", &[11])]);
    let of = |link: &str, vrf| {
        let interface = Interface { vrf, ..host.interfaces[&3].clone() };
        realm(&config(&instance("A", link)).instances[0], &interface)
    };
    let all = |vrf| Some(Realm { vrf, family: Family::V4, sealed: false });
    assert_eq!([None, Some(4)].map(|vrf| of(&from(11), vrf)), [None, Some(4)].map(all));
    assert_eq!(of(&format!("interface eth1\n{}", from(11)), None), None);
}

#[test]
fn what_is_filled_in() {
    let text = "interface_up_down_delays {\neth1 2 3\n}\nvrrp_instance A {\n\
                unicast_src_ip 192.0.2.11\nunicast_peer {\n192.0.2.12\n}\n\
                virtual_router_id 51\nvirtual_ipaddress {\n192.0.2.1/24\n192.0.2.2/24 dev eth0\n}\n\
                virtual_ipaddress_excluded {\n198.51.100.1/24\n}\n}\n";
    let written = config(text);
    let found = find(&written, &host(&[(3, "eth1", &[11])]), &Found::new());
    let filled = &fill(&written, &found).instances[0];
    assert_eq!((filled.interface.as_str(), filled.link_delays.down.as_secs()), ("eth1", 2));
    let devices: Vec<&str> =
        filled.addresses.iter().chain(&filled.excluded).map(|a| a.device.as_str()).collect();
    assert_eq!(devices, ["eth1", "eth0", "eth1"]);
    let nowhere = find(&written, &host(&[]), &Found::new());
    assert_eq!(fill(&written, &nowhere), written);
    let here = here(&written, &host(&[]));
    assert_eq!(here.says["A"], "in FAULT on this host as it is now: no interface has 192.0.2.11");
}

/// The same address may be in several.
#[test]
fn in_a_vrf() {
    let red = format!("{}\nvrf red", from(11));
    let written = config(&(instance("A", &red) + &instance("B", &from(11))));
    let mut host = host(&[(2, "eth0", &[11]), (3, "eth1", &[11]), (4, "red", &[])]);
    let place = |host: &Snapshot, name: &str| find(&written, host, &Found::new())[name].clone();
    assert_eq!((place(&host, "A"), place(&host, "B")), (Sought::Nowhere, on("eth0")));
    assert_eq!(
        here(&written, &host).says["A"].rsplit_once(": ").map(|(_, why)| why),
        Some("no interface in VRF red has 192.0.2.11")
    );
    host.interfaces.insert(Interface { vrf: Some(4), ..host.interfaces[&3].clone() });
    assert_eq!((place(&host, "A"), place(&host, "B")), (on("eth1"), on("eth0")));
    host.interfaces.remove(&4);
    assert_eq!(place(&host, "A"), Sought::Nowhere);
}

#[test]
fn a_source_that_the_host_has_not() {
    let look = |lines: &str| {
        let written = config(&instance("A", &format!("interface eth0\n{lines}")));
        let Here { says, doubts } = here(&written, &host(&[(2, "eth0", &[11])]));
        let doubts = doubts.into_iter().map(|doubt| (doubt.message, doubt.now));
        (says.get("A").cloned(), doubts.collect::<Vec<_>>())
    };
    assert_eq!(look(&from(11)), (None, vec![]));
    assert_eq!(look("mcast_src_ip 192.0.2.11"), (None, vec![]));
    let message = "this host has no 192.0.2.12, which adverts of A are to come from".to_owned();
    let carried = "they carry it all the same, as keepalived's";
    assert_eq!(look("mcast_src_ip 192.0.2.12"), (None, vec![(message.clone(), carried)]));
    let fault = "it is in FAULT until an interface has it";
    let (says, doubts) = look(&from(12));
    assert_eq!(doubts, [(message, fault)]);
    assert_eq!(
        says.as_deref(),
        Some(
            "in FAULT on this host as it is now: this host has no 192.0.2.12, which its adverts are \
             to come from"
        )
    );
}

/// `Invalid scope value`, says the kernel.
#[test]
fn one_scope_in_one_network() {
    let barred = |addresses: &str| {
        let text = format!(
            "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n\
             virtual_ipaddress {{\n{addresses}\n}}\n}}\n"
        );
        let here = here(&config(&text), &host(&[(2, "eth0", &[11])]));
        here.doubts.into_iter().map(|doubt| doubt.message).collect::<Vec<_>>()
    };
    let says = |new: &str, old: &str| {
        vec![format!("{new} has another scope than {old}, which is in its network on eth0")]
    };
    assert_eq!(barred("192.0.2.1/24 scope host"), says("192.0.2.1/24", "192.0.2.11/24"));
    assert_eq!(
        barred("198.51.100.1/24\n198.51.100.2/24 scope link"),
        says("198.51.100.2/24", "198.51.100.1/24")
    );
    for well in [
        "192.0.2.1/24 scope global",
        "192.0.2.1/32 scope host",
        "198.51.100.1/24 scope host\n198.51.100.2/24 scope host",
        "198.51.100.1/24\n198.51.100.2/24 scope link dev eth1",
        "fe80::1/64\n2001:db8::1/64 scope host\n2001:db8::2/64",
    ] {
        assert_eq!(barred(well), [] as [String; 0], "{well}");
    }
}

#[test]
fn by_which_address_peers_know_it() {
    let unsure = |peers: &str, lasts: &[u8]| {
        let lines = format!("interface eth0\nunicast_peer {{\n{peers}\n}}");
        let written = config(&instance("A", &lines));
        here(&written, &host(&[(2, "eth0", lasts)])).doubts.len()
    };
    assert_eq!(unsure("192.0.2.99", &[11]), 0);
    assert_eq!(unsure("192.0.2.99", &[11, 12]), 1);
    assert_eq!(unsure("192.0.2.99\n192.0.2.12", &[11, 12]), 0, "this host is in the list");
    assert_eq!(unsure("203.0.113.9", &[11]), 1, "by a route");
    assert_eq!(unsure("203.0.113.9\n192.0.2.11", &[11]), 0);
}
