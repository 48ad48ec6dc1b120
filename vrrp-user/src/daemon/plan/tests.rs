use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config;
use crate::daemon::trackers::Trackers;
use crate::net::fixtures;

/// How an instance with these lines sends on a host whose `eth0` has 192.0.2.11.
fn sends(lines: &str) -> (Arc<Instance>, Snapshot, Option<Way>) {
    let text = format!(
        "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n{lines}\n\
         virtual_ipaddress {{\n192.0.2.250/24\n}}\n}}\n"
    );
    let config = config::parse_str(Path::new("test.conf"), text).config;
    let instance = config.expect("a configuration").instances.remove(0);
    let addresses = [fixtures::address("192.0.2.11", 24)];
    let host = fixtures::host([fixtures::interface(2, "eth0", addresses)]);
    let (interface, mut sources) = (host.by_name("eth0").unwrap(), Sources::default());
    let way = way(&instance, interface, &host, &mut sources, &BTreeSet::new());
    (instance, host, way)
}

/// A file that was copied from the other router: what that one sends is heard.
#[test]
fn a_source_of_another_host_is_not_our_own() {
    let heard_as_own = |lines: &str| {
        let (instance, _, way) = sends(lines);
        let way = way.unwrap();
        let own = route(&instance, Slot(1), &way).unwrap().rule.source;
        (way.source.to_string(), wire::address(Family::V4, own).to_string())
    };
    let both = |source: &str, own: &str| (source.to_owned(), own.to_owned());
    assert_eq!(heard_as_own(""), both("192.0.2.11", "192.0.2.11"));
    assert_eq!(heard_as_own("mcast_src_ip 192.0.2.11"), both("192.0.2.11", "192.0.2.11"));
    assert_eq!(heard_as_own("mcast_src_ip 192.0.2.12"), both("192.0.2.12", "0.0.0.0"));
}

/// Its own virtual address is tried only because it is Active.
#[test]
fn a_source_that_is_tried_is_waited_for() {
    for (source, is_virtual, own) in [
        (Possession::Held, false, Some(true)),
        (Possession::Tried, false, None),
        (Possession::Tried, true, Some(true)),
        (Possession::Duplicate, false, Some(false)),
        (Possession::Nothing, false, Some(false)),
    ] {
        assert_eq!(is_own(source, is_virtual), own, "{source:?}");
    }
}

#[test]
fn some_can_t_do_without_their_source() {
    let peer = "unicast_peer {\n192.0.2.13\n}";
    for (lines, there) in [
        ("mcast_src_ip 192.0.2.12".to_owned(), true),
        ("mcast_src_ip 192.0.2.12\ntrack_src_ip".to_owned(), false),
        (format!("unicast_src_ip 192.0.2.12\n{peer}"), false),
        ("unicast_src_ip 192.0.2.12\nunicast_peer {\n192.0.2.12\n}".to_owned(), false),
        (format!("unicast_src_ip 192.0.2.11\n{peer}"), true),
    ] {
        let (instance, host, way) = sends(&lines);
        assert_eq!(way.is_some(), there, "{lines}");
        let says = lacks_source(&instance, &host);
        let why = "this host has no 192.0.2.12, which its adverts are to come from";
        assert_eq!(says.as_deref(), (!there).then_some(why), "{lines}");
    }
    // Where it matters, a change of it must lead to the instance.
    let named_by = |lines: &str| named(&sends(lines).0).next().map(|ip| ip.to_string());
    assert_eq!(named_by("mcast_src_ip 192.0.2.12").as_deref(), Some("192.0.2.12"));
}

/// What an instance on eth0 with these lines tracks: names and weights, in order, and whether it waits
/// before it believes that one is down.
fn tracked(lines: &str) -> Vec<(String, i32, bool)> {
    let text = format!(
        "interface_up_down_delays {{\neth1 2\n}}\nvrrp_instance A {{\ninterface eth0\n\
         virtual_router_id 51\n{lines}\n}}\n"
    );
    let config = config::parse_str(Path::new("test.conf"), text).config.expect("a configuration");
    let mut numbers = Trackers::default();
    let settings = settings(&config.instances[0], |watched| numbers.id(watched));
    let one = |tracker: &Tracker| {
        let name = numbers.interface(tracker.id).expect("an interface").to_owned();
        (name, i32::from(tracker.weight), tracker.delays.down > Duration::ZERO)
    };
    settings.trackers.iter().map(one).collect()
}

/// Its own interface is no tracker, which `dont_track_primary` would not get rid of.
#[test]
fn the_interfaces_of_addresses_are_tracked_once_and_its_own_is_not() {
    let on = "virtual_ipaddress {\n192.0.2.1/24\n192.0.2.2/24 dev eth1\n}";
    let eth1 = || ("eth1".to_owned(), 0, true);
    assert_eq!(tracked(on), [eth1()]);
    let own = "dont_track_primary\nvirtual_ipaddress {\n192.0.2.1/24\n}";
    assert_eq!(tracked(own), []);
    let twice = format!("track_interface {{\neth1\neth2 weight -5\n}}\n{on}");
    assert_eq!(tracked(&twice), [eth1(), ("eth2".to_owned(), -5, false)]);
}
