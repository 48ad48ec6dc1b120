//! Which interfaces of a file a host has not, as far as it should have them.

use xvrrp::config::Loaded;
use xvrrp::config::diag::Severity;

use crate::common::{faults, text};

const HOST: [&str; 3] = ["lo", "eth0", "eth1"];

fn on_host(file: &str) -> Loaded {
    let mut loaded = text(file);
    assert!(loaded.diags.iter().all(|diag| diag.severity != Severity::Error), "{file}");
    loaded.warn_of_links(&HOST);
    loaded
}

/// An instance on `interface` with these lines; the interface stands in its second line, the others
/// from the third.
fn one(name: &str, interface: &str, vrid: u8, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n interface {interface}\n{lines}\n virtual_router_id {vrid}\n\
         virtual_ipaddress {{\n 198.51.100.{vrid}/24\n}}\n}}\n"
    )
}

#[test]
fn what_the_host_has_is_not_spoken_of() {
    let lines = "virtual_ipaddress_excluded {\n192.0.2.1/24 dev eth1\n192.0.2.2/32 dev lo\n}\n\
                 track_interface {\neth1\n}";
    assert_eq!(faults(&on_host(&one("A", "eth0", 1, lines))), [] as [&str; 0]);
}

#[test]
fn an_instance_on_an_interface_that_is_not_there() {
    let loaded = on_host(&one("A", "ehh0", 1, ""));
    assert_eq!(faults(&loaded), ["2:2 warning unknown-name"]);
    let said = &loaded.diags[0];
    assert_eq!(said.message, "this host has no interface `ehh0`");
    assert_eq!(said.consequence, "A is in FAULT until it is there");
    assert_eq!(said.suggestion.as_deref(), Some("did you mean `eth0`?"));
    // It may be checked on another host than it is for.
    assert_eq!(loaded.exit_code(), 0);
    assert!(loaded.reloadable().is_ok());
}

#[test]
fn interfaces_of_addresses_and_tracked_ones() {
    let lines = "virtual_ipaddress_excluded {\n192.0.2.1/24 label x dev wan7 brd +\n\
                 192.0.2.2/24 dev wan7\n}\ntrack_interface {\nlan7 weight 5\n}";
    let loaded = on_host(&one("A", "eth0", 1, lines));
    assert_eq!(faults(&loaded), ["4:26 warning unknown-name", "8:1 warning unknown-name"]);
    let [address, tracked] = &loaded.diags[..] else { unreachable!("there are two") };
    assert_eq!(address.consequence, "A is in FAULT until it is there");
    assert_eq!(tracked.consequence, "it counts as down for A until it is there");
}

/// The kernel takes a rule without its interface, and a route that is not tracked is no fault.
#[test]
fn interfaces_of_routes_and_rules() {
    let lines = "virtual_routes {\n192.0.2.0/25 dev wan7\n192.0.2.128/25 dev wan8 no_track\n}\n\
                 virtual_rules {\niif wan9 table 7 preference 5\noif wan0 table 7 preference 6 no_track\n}";
    let loaded = on_host(&one("A", "eth0", 1, lines));
    let said: Vec<(String, String)> = faults(&loaded)
        .into_iter()
        .zip(loaded.diags.iter().map(|one| one.consequence.clone()))
        .collect();
    let said: Vec<(&str, &str)> =
        said.iter().map(|(at, now)| (at.as_str(), now.as_str())).collect();
    let fault = "A is in FAULT until it is there";
    assert_eq!(
        said,
        [
            ("4:18 warning unknown-name", fault),
            ("5:20 warning unknown-name", "a route of A is not set until it is there"),
            ("8:5 warning unknown-name", fault),
        ]
    );
}

/// One message for each interface, however many need it.
#[test]
fn one_interface_of_many() {
    let tracks = "track_interface {\nwan7\n}";
    let file = [one("A", "wan7", 1, ""), one("B", "wan7", 2, ""), one("C", "eth0", 3, tracks)];
    let loaded = on_host(&file.concat());
    assert_eq!(faults(&loaded), ["2:2 warning unknown-name"]);
    assert_eq!(
        loaded.diags[0].consequence,
        "A, B are in FAULT until it is there; it counts as down for C until it is there"
    );
}

/// What an instance makes for itself is not to be there before; what it makes that on is.
#[test]
fn interfaces_that_are_made() {
    let vmac = "use_vmac vmac0\nuse_vmac_addr\nvirtual_ipaddress_excluded {\n192.0.2.1/24 dev wan7\n\
                192.0.2.2/24 dev vmac0\n}";
    let tracks = "track_interface {\nvmac0\nvrrp.1\n}";
    let file = [one("A", "eth0", 1, vmac), one("B", "eth0", 2, tracks)].concat();
    assert_eq!(faults(&on_host(&file)), ["6:18 warning unknown-name"]);
}

/// A VRF is an interface as well; beside an interface it is not looked for.
#[test]
fn a_vrf_that_is_not_there() {
    let file = |link: &str| {
        format!(
            "vrrp_instance A {{\n{link}\nvrf red\nvirtual_router_id 1\nunicast_src_ip 192.0.2.1\n\
             unicast_peer {{\n192.0.2.2\n}}\nvirtual_ipaddress {{\n198.51.100.1 dev eth1\n}}\n}}\n"
        )
    };
    assert_eq!(faults(&on_host(&file(""))), ["3:1 warning unknown-name"]);
    assert_eq!(faults(&on_host(&file("interface eth0"))), ["3:1 warning conflict"]);
}

#[test]
fn interfaces_may_come_later() {
    for word in ["dynamic_interfaces", "dynamic_interfaces allow_if_changes"] {
        let file = format!("global_defs {{\n{word}\n}}\n{}", one("A", "wan7", 1, ""));
        assert_eq!(faults(&on_host(&file)), [] as [&str; 0]);
    }
}

/// One that is not run misses nothing.
#[test]
fn an_instance_that_is_not_run() {
    let mut loaded = text(&one("A", "wan7", 1, "prioritty 5"));
    loaded.warn_of_links(&HOST);
    assert_eq!(faults(&loaded), ["3:1 error unknown-word"]);
}
