//! What is said of links: `interface_up_down_delays`, `garp_extra_if`.

use std::time::Duration;

use rstest::rstest;
use vrrp_proto::settings::Delays;

use super::super::super::model::Elsewhere;
use super::super::super::model::Weight;
use super::{Read, read, with};

/// A block of delays, and an instance on eth0 that tracks eth1 and eth2.
fn delayed(block: &str) -> Read {
    read(&format!(
        "{block}\nvrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 51\n\
         track_interface {{\neth1\neth2 weight 3\n}}\nvirtual_ipaddress {{ 192.0.2.250/24 }}\n}}\n"
    ))
}

fn delays(down: u64, up: u64) -> Delays {
    Delays { down: Duration::from_millis(down), up: Duration::from_millis(up) }
}

#[test]
fn delays_are_those_of_each_interface() {
    let read = delayed("interface_up_down_delays {\neth0 0.5\neth2 0.001 2\neth9 1\n}");
    assert_eq!(read.faults(), [] as [String; 0]);
    let one = read.instance("VI_1");
    assert_eq!(one.link_delays, delays(500, 500));
    let tracked: Vec<Delays> = one.track_interfaces.iter().map(|one| one.delays).collect();
    assert_eq!(tracked, [Delays::default(), delays(1, 2000)]);
    assert_eq!(delayed("").instance("VI_1").link_delays, Delays::default());
}

#[rstest]
#[case::alone("eth0", "2:1 error no-value")]
#[case::long("eth0 255.1", "2:6 error bad-value")]
#[case::unit("eth0 1 500ms", "2:8 error bad-value")]
#[case::name("eth0:1 1", "2:1 error bad-value")]
fn bad_delays_delay_nothing(#[case] line: &str, #[case] fault: &str) {
    let read = delayed(&format!("interface_up_down_delays {{\n{line}\n}}"));
    assert_eq!(read.faults(), [fault]);
    assert_eq!(read.refusals("VI_1"), [] as [&str; 0]);
    assert_eq!(read.instance("VI_1").link_delays, Delays::default());
}

#[test]
fn what_else_stands_there_is_said() {
    let read = delayed("interface_up_down_delays {\neth0 1 2 3\neth0 4 // slow\n}");
    let faults = ["2:10 warning extra-words", "3:1 warning twice", "3:8 warning slash-comment"];
    assert_eq!(read.faults(), faults);
    assert_eq!(read.instance("VI_1").link_delays, delays(4000, 4000));
}

/// What an instance on eth0 with these addresses tracks beside its interface, and what is said.
fn devices(addresses: &str, lines: &str) -> (Vec<String>, Vec<String>) {
    let read = read(&format!(
        "interface_up_down_delays {{\neth1 2\n}}\nvrrp_instance VI_1 {{\ninterface eth0\n\
         virtual_router_id 51\nvirtual_ipaddress {{\n{addresses}\n}}\n{lines}\n}}\n"
    ));
    let one = read.instance("VI_1");
    assert!(one.track_devices.iter().all(|device| device.weight == Weight::default()));
    let late = one.track_devices.iter().filter(|device| device.name == "eth1");
    assert!(late.clone().all(|device| device.delays == delays(2000, 2000)));
    (one.track_devices.iter().map(|device| device.name.clone()).collect(), read.faults())
}

#[rstest]
#[case::own("192.0.2.1/24", "", &["eth0"])]
#[case::others("192.0.2.1/24 dev eth1\n192.0.2.2 dev eth2\n192.0.2.3 dev eth1", "", &["eth1", "eth2"])]
#[case::excluded("192.0.2.1/24", "virtual_ipaddress_excluded {\n192.0.2.2 dev eth1\n}", &["eth0", "eth1"])]
#[case::not("192.0.2.1/24 dev eth1 no_track\n192.0.2.2 dev eth2", "", &["eth2"])]
#[case::one_not("192.0.2.1/24 dev eth1 no_track\n192.0.2.2 dev eth1", "", &["eth1"])]
#[case::below("192.0.2.1/24\n192.0.2.2 dev eth1", "use_vmac\nuse_vmac_addr", &["eth0", "eth1"])]
fn interfaces_of_addresses_are_tracked(
    #[case] addresses: &str,
    #[case] lines: &str,
    #[case] tracked: &[&str],
) {
    let (devices, faults) = devices(addresses, lines);
    assert_eq!((devices, faults), (tracked.iter().map(|n| (*n).to_owned()).collect(), vec![]));
}

/// Where the interface is still to be found, an address that names none needs none yet.
#[test]
fn an_interface_that_is_not_known_is_not_tracked() {
    let read = read(
        "vrrp_instance VI_1 {\nunicast_src_ip 192.0.2.11\nunicast_peer {\n192.0.2.12\n}\n\
         virtual_router_id 51\nvirtual_ipaddress {\n192.0.2.1/24\n192.0.2.2/24 dev eth1\n}\n}\n",
    );
    let tracked = &read.instance("VI_1").track_devices;
    assert_eq!(tracked.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["eth1"]);
}

/// As in keepalived: what an address needs has no weight.
#[test]
fn the_weight_of_an_addresss_interface_is_dropped() {
    let track = "track_interface {\neth1 weight 20\neth2 weight 10\n}";
    let (tracked, faults) = devices("192.0.2.1/24 dev eth1", track);
    assert_eq!(
        (tracked, faults),
        (vec!["eth1".to_owned()], vec!["11:1 warning conflict".to_owned()])
    );
    let (_, faults) = devices("192.0.2.1/24 dev eth1 no_track", track);
    assert_eq!(faults, [] as [String; 0]);
}

#[test]
fn announcements_elsewhere() {
    let every = |globals: &str, lines: &str| {
        let read = with(globals, lines);
        assert_eq!(read.faults(), [] as [String; 0]);
        read.instance("VI_1").announce_elsewhere
    };
    let seconds = |seconds, all| Some(Elsewhere { every: Duration::from_secs(seconds), all });
    assert_eq!(every("", ""), None);
    assert_eq!(every("", "garp_extra_if 100"), seconds(100, false));
    assert_eq!(every("", "vmac_garp_intvl all 86400"), seconds(86_400, true));
    assert_eq!(every("vrrp_garp_extra_if all 30", ""), seconds(30, true));
    assert_eq!(every("vrrp_garp_extra_if all 30", "garp_extra_if 5"), seconds(5, false));
    assert_eq!(every("vrrp_garp_extra_if all 30", "garp_extra_if 0"), None);
    for bad in ["86401", "all", "100 all", "none"] {
        let read = with("", &format!("garp_extra_if {bad}"));
        assert_eq!(read.faults().len(), 1, "{bad}");
        assert!(read.faults()[0].ends_with("error bad-value"), "{bad}: {:?}", read.faults());
        assert_eq!(read.instance("VI_1").announce_elsewhere, None);
    }
}
