use super::*;
use rtnetlink::packet_route::address::AddressHeaderFlags;

fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = flags;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(1500),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
    ];
    message
}

fn address(index: u32, last: u8, secondary: bool) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = 24;
    if secondary {
        message.header.flags = AddressHeaderFlags::Secondary;
    }
    let ip = IpAddr::from([192, 0, 2, last]);
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

fn up() -> LinkFlags {
    LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running
}

fn with(messages: impl IntoIterator<Item = RouteNetlinkMessage>) -> (Snapshot, Vec<Change>) {
    let (mut table, mut changes) = (Snapshot::default(), Vec::new());
    for message in messages {
        table.apply(message, &mut changes);
    }
    // Whoever follows the changes knows what the monitor knows.
    let mut copy = Snapshot::default();
    changes.iter().for_each(|change| copy.follow(change));
    assert_eq!(copy, table);
    (table, changes)
}

fn lasts(interface: &Interface) -> Vec<u8> {
    let last = |a: &HostAddress| match a.ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    };
    interface.addresses.iter().map(last).collect()
}

use RouteNetlinkMessage::{DelAddress, DelLink, NewAddress, NewLink};

#[test]
fn what_changes_nothing_is_not_told() {
    let (_, changes) = with([
        NewLink(link(2, "eth0", up())),
        NewLink(link(2, "eth0", up())),
        NewAddress(address(2, 1, false)),
        NewAddress(address(2, 1, false)),
        DelAddress(address(2, 9, false)),
        DelLink(link(3, "eth1", up())),
    ]);
    assert_eq!(changes.len(), 2, "{changes:?}");
}

#[test]
fn carrier_needs_more_than_the_wish() {
    for (flags, admin_up, carrier) in [
        (LinkFlags::empty(), false, false),
        (LinkFlags::Up, true, false),
        (LinkFlags::Up | LinkFlags::LowerUp, true, false),
        (LinkFlags::Up | LinkFlags::Running, true, false),
        (up(), true, true),
    ] {
        let (table, _) = with([NewLink(link(2, "eth0", flags))]);
        let interface = &table.interfaces[&2];
        assert_eq!((interface.admin_up, interface.carrier), (admin_up, carrier), "{flags:?}");
    }
}

#[test]
fn a_port_that_leaves_its_bridge_is_still_there() {
    let mut left = link(2, "eth0", up());
    left.header.interface_family = AddressFamily::Bridge;
    let (table, changes) = with([NewLink(link(2, "eth0", up())), DelLink(left)]);
    assert!(table.by_name("eth0").is_some());
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_new_name_ends_the_old_one_and_keeps_the_addresses() {
    let (table, changes) = with([
        NewLink(link(2, "eth0", up())),
        NewAddress(address(2, 1, false)),
        NewLink(link(2, "lan0", up())),
    ]);
    assert_eq!(changes[2], Change::Gone { ifindex: 2, name: "eth0".to_owned() });
    let renamed = table.by_name("lan0").unwrap();
    assert_eq!(changes[3], Change::Link(renamed.clone()));
    assert_eq!(lasts(renamed), [1]);
    assert!(table.by_name("eth0").is_none());
}

#[test]
fn addresses_stand_in_the_kernel_s_order() {
    let (table, _) = with([
        NewLink(link(2, "eth0", up())),
        NewAddress(address(2, 1, false)),
        NewAddress(address(2, 2, true)),
        NewAddress(address(2, 3, false)),
        NewAddress(address(2, 4, true)),
        NewAddress(address(2, 5, true)),
        DelAddress(address(2, 4, true)),
        NewAddress(address(2, 5, false)),
    ]);
    assert_eq!(lasts(&table.interfaces[&2]), [1, 3, 5, 2]);
}

#[test]
fn the_source_is_no_virtual_address() {
    let (table, _) = with([
        NewLink(link(2, "eth0", up())),
        NewAddress(address(2, 250, false)),
        NewAddress(address(2, 1, true)),
        NewAddress(address(2, 2, true)),
    ]);
    let interface = &table.interfaces[&2];
    let of = |not: &[u8]| {
        let not = not.iter().map(|n| IpAddr::from([192, 0, 2, *n])).collect();
        interface.primary_v4(&not).map(|ip| ip.octets()[3])
    };
    assert_eq!(of(&[]), Some(250));
    assert_eq!(of(&[250]), Some(1));
    assert_eq!(of(&[250, 1]), Some(2));
    assert_eq!(of(&[250, 1, 2]), None);
}

fn v6_on(index: u32, ip: &str, flags: AddressFlags) -> RouteNetlinkMessage {
    let NewAddress(mut message) = v6(ip, flags, 0) else { unreachable!() };
    message.header.index = index;
    NewAddress(message)
}

fn v6(ip: &str, flags: AddressFlags, proto: u8) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.index = 2;
    message.header.prefix_len = 64;
    message.attributes = vec![
        AddressAttribute::Address(ip.parse().unwrap()),
        AddressAttribute::Flags(flags),
        AddressAttribute::Protocol(proto.into()),
    ];
    NewAddress(message)
}

#[test]
fn the_source_over_ipv6_is_a_link_local_address_in_use() {
    let (done, tentative) = (AddressFlags::Permanent, AddressFlags::Tentative);
    let duplicate = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let (table, changes) = with([
        NewLink(link(2, "eth0", up())),
        v6("2001:db8::1", done, 0),
        v6("fe80::8", done, 0),
        v6("fe80::9", tentative, KERNEL_LINK_LOCAL),
        v6("fe80::2", duplicate, 0),
        v6("fe80::3", tentative, 0),
        v6("fe80::9", done, KERNEL_LINK_LOCAL),
        v6("fe80::7", done, 0),
    ]);
    assert_eq!(changes.len(), 8, "the end of detection is told: {changes:?}");
    let interface = &table.interfaces[&2];
    let of = |not: &[&str]| {
        let not = not.iter().map(|ip| ip.parse().unwrap()).collect();
        interface.primary_v6(&not).map(|ip| ip.to_string())
    };
    assert_eq!(of(&[]).as_deref(), Some("fe80::9"));
    assert_eq!(of(&["fe80::9"]).as_deref(), Some("fe80::7"));
    assert_eq!(of(&["fe80::9", "fe80::7"]).as_deref(), Some("fe80::8"));
    assert_eq!(of(&["fe80::9", "fe80::7", "fe80::8"]), None);
    let duplicates = interface.addresses.iter().filter(|a| a.is_duplicate());
    assert_eq!(duplicates.count(), 1);
}

/// On several interfaces, or with several prefix lengths: one that is in use is enough.
#[test]
fn what_the_host_has_of_an_address() {
    let (done, tentative) = (AddressFlags::Permanent, AddressFlags::Tentative);
    let (table, _) = with([
        NewLink(link(2, "eth0", up())),
        v6("fe80::1", done, 0),
        v6("fe80::2", tentative, 0),
        v6("fe80::3", tentative | AddressFlags::Dadfailed, 0),
        NewAddress(address(2, 1, false)),
        NewLink(link(3, "eth1", up())),
        v6_on(3, "fe80::2", done),
        v6_on(3, "fe80::4", tentative),
    ]);
    let of = |ip: &str| {
        let ip = ip.parse().unwrap();
        (table.possession(ip), table.has(ip))
    };
    assert_eq!(of("fe80::1"), (Possession::Held, true));
    assert_eq!(of("fe80::2"), (Possession::Held, true));
    assert_eq!(of("fe80::3"), (Possession::Duplicate, false));
    assert_eq!(of("fe80::4"), (Possession::Tried, true));
    assert_eq!(of("fe80::5"), (Possession::Nothing, false));
    assert_eq!(of("192.0.2.1"), (Possession::Held, true));
}

#[test]
fn a_change_of_an_address_moves_it_nowhere() {
    let (table, _) = with([
        NewLink(link(2, "eth0", up())),
        v6("fe80::1", AddressFlags::Tentative, 0),
        v6("fe80::2", AddressFlags::Permanent, 0),
        v6("fe80::1", AddressFlags::Permanent, 0),
    ]);
    let order: Vec<_> = table.interfaces[&2].addresses.iter().map(|a| a.ip).collect();
    assert_eq!(order, ["fe80::1", "fe80::2"].map(|ip| ip.parse::<IpAddr>().unwrap()));
}

#[test]
fn the_vrf_and_the_mode_of_a_macvlan_are_read() {
    let macvlan = |kind| {
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Source)]);
        let mut message = link(2, "vrrp.51", up());
        message.attributes.push(LinkAttribute::Controller(9));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Data(data), LinkInfo::PortKind(kind)]));
        let read = read_link(&message);
        (read.vrf, read.mode)
    };
    assert_eq!(macvlan(InfoPortKind::Vrf), (Some(9), Some(MacVlanMode::Source)));
    assert_eq!(macvlan(InfoPortKind::Bridge).0, None, "another master");
    let plain = read_link(&link(2, "eth0", up()));
    assert_eq!((plain.vrf, plain.mode), (None, None));
}

#[test]
fn some_interfaces_lead_nowhere() {
    let read = |kind: Option<InfoKind>, more: LinkFlags| {
        let mut message = link(2, "a", up() | more);
        let info = kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        message.attributes.extend(info);
        let read = read_link(&message);
        (read.is_inner, read.vrf)
    };
    let none = LinkFlags::empty();
    assert_eq!(read(None, none), (false, None));
    assert_eq!(read(Some(InfoKind::Bridge), none), (false, None));
    assert_eq!(read(None, LinkFlags::Loopback), (true, None));
    assert_eq!(read(Some(InfoKind::Dummy), none), (true, None));
    assert_eq!(read(Some(InfoKind::Vrf), none), (true, Some(2)), "it is in itself");
}

/// RFC 6724 §5: the peer's scope, its network, and no address that goes by itself.
#[test]
fn the_source_to_a_peer_over_ipv6() {
    let (done, tentative) = (AddressFlags::Permanent, AddressFlags::Tentative);
    let temporary = AddressFlags::Secondary;
    let duplicate = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let source = |addresses: &[(&str, AddressFlags)], to: &str, not: &[&str]| {
        let addresses = addresses.iter().map(|(ip, flags)| v6(ip, *flags, 0));
        let (table, _) = with([NewLink(link(2, "eth0", up()))].into_iter().chain(addresses));
        let not = not.iter().map(|ip| ip.parse().unwrap()).collect();
        let source = table.interfaces[&2].source_to(to.parse().unwrap(), &not);
        source.map(|ip| ip.to_string()).unwrap_or_default()
    };
    let all = [
        ("fe80::9", done),
        ("2001:db8:1::2", temporary),
        ("2001:db8:1::11", done),
        ("2001:db8:1::12", done),
        ("2001:db8::7", done),
    ];
    assert_eq!(source(&all, "2001:db8:1::99", &[]), "2001:db8:1::11");
    assert_eq!(source(&all, "2001:db8:1::99", &["2001:db8:1::11"]), "2001:db8:1::12");
    let virtual_ones = ["2001:db8:1::11", "2001:db8:1::12"];
    assert_eq!(source(&all, "2001:db8:1::99", &virtual_ones), "2001:db8:1::2");
    assert_eq!(source(&all, "fe80::1", &[]), "fe80::9");
    assert_eq!(source(&all, "2001:db8:9::1", &[]), "2001:db8::7", "by a route");
    // It is waited for, unless it will never be usable.
    assert_eq!(source(&[("fe80::9", done), ("2001:db8::7", tentative)], "2001:db8::1", &[]), "");
    let lost = [("fe80::9", done), ("2001:db8::7", duplicate)];
    assert_eq!(source(&lost, "2001:db8::1", &[]), "fe80::9");
    assert_eq!(source(&all[..1], "2001:db8::1", &[]), "fe80::9");
}

#[test]
fn the_source_to_a_peer_over_ipv4_is_of_its_network() {
    let mut other = address(2, 1, false);
    let ip = IpAddr::from([198, 51, 100, 5]);
    other.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    let first = NewAddress(address(2, 11, false));
    let second = NewAddress(address(2, 12, true));
    let (table, _) = with([NewLink(link(2, "eth0", up())), first, second, NewAddress(other)]);
    let source = |to: [u8; 4]| table.interfaces[&2].source_to(to.into(), &BTreeSet::new());
    assert_eq!(source([198, 51, 100, 9]), Some(ip));
    assert_eq!(source([192, 0, 2, 99]), Some(IpAddr::from([192, 0, 2, 11])));
    assert_eq!(source([203, 0, 113, 1]), Some(IpAddr::from([192, 0, 2, 11])));
    let next_to = |to: [u8; 4]| table.interfaces[&2].is_next_to(to.into());
    assert!(next_to([192, 0, 2, 99]) && !next_to([203, 0, 113, 1]));
}

/// A reading that changes happened under may have missed what is there.
#[test]
fn a_reading_is_filled_from_the_one_before() {
    let (mut now, _) = with([
        NewLink(link(2, "eth0", up())),
        NewLink(link(7, "eth1", up())),
        NewAddress(address(2, 1, false)),
        NewAddress(address(2, 4, true)),
    ]);
    let (before, _) = with([
        NewLink(link(2, "eth0", LinkFlags::empty())),
        NewLink(link(3, "eth1", up())),
        NewLink(link(4, "eth2", up())),
        NewAddress(address(2, 2, true)),
        NewAddress(address(2, 4, false)),
    ]);
    now.fill(&before);
    // Made anew, one name has another index; all else is as the later reading has it.
    let names: Vec<_> = now.interfaces.values().map(|i| (i.ifindex, i.name.as_str())).collect();
    assert_eq!(names, [(2, "eth0"), (4, "eth2"), (7, "eth1")]);
    let eth0 = &now.interfaces[&2];
    assert!(eth0.carrier && eth0.addresses.iter().any(|a| a.secondary));
    assert_eq!(lasts(eth0), [1, 4, 2]);
}
