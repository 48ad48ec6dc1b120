//! What `xvrrp check` says of an instance at the end, also of what is not run yet.

use super::super::super::summary::describe;
use super::{Read, read, with};

fn lines(read: &Read) -> Vec<String> {
    describe(read.instance("VI_1")).lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_is_usual_is_not_said() {
    assert_eq!(lines(&with("", "")), ["on eth0: 192.0.2.250/24"]);
}

#[test]
fn the_way_of_adverts() {
    let first = |lines_of: &str| lines(&with("", lines_of))[0].clone();
    assert_eq!(first("mcast_src_ip 192.0.2.5"), "adverts go from 192.0.2.5");
    assert_eq!(first("mcast_dst_ip 224.0.0.19"), "adverts go to 224.0.0.19");
    assert_eq!(
        first(
            "unicast_src_ip 192.0.2.5\ntrack_src_ip\nunicast_peer {\n192.0.2.6\n192.0.2.7 min_ttl 254\n}\nunicast_ttl 9"
        ),
        "adverts go to 192.0.2.6, 192.0.2.7 (theirs with TTL 254 to 255), TTL 9 from 192.0.2.5 \
         (a fault while no interface has it); those of others are refused"
    );
    assert_eq!(first("unicast_peer {\n192.0.2.6\n}"), "adverts go to 192.0.2.6");
    assert_eq!(first("unicast_fault_no_peer"), "adverts go to nobody, which is a fault");
}

#[test]
fn what_the_rfcs_have_otherwise() {
    let silent = "an advert that loses is not answered, against RFC 9568 §6.4.3";
    let more = "one more advert is sent before it yields, which no RFC has";
    let held = "on eth0: 192.0.2.250/24";
    let both = "lower_prio_no_advert\nhigher_prio_send_advert";
    assert_eq!(lines(&with("", &format!("version 3\n{both}"))), [silent, more, held]);
    // RFC 3768 has no answer.
    assert_eq!(lines(&with("", both)), [more, held]);
    assert_eq!(lines(&with("vrrp_lower_prio_no_advert", "version 3")), [silent, held]);
}

#[test]
fn interfaces_and_the_rest() {
    let all = lines(&with(
        "",
        "use_vmac\nvmac_xmit_base\nvirtual_ipaddress_excluded { 198.51.100.1 dev eth1 }",
    ));
    assert_eq!(
        all,
        [
            "makes vrrp.51 (macvlan 00:00:5e:00:01:33) on eth0; adverts leave by eth0",
            "on eth1: 198.51.100.1/32 (not in the adverts)",
            "on vrrp.51: 192.0.2.250/24",
        ]
    );
    let elsewhere = "use_vmac_addr\nvirtual_ipaddress_excluded { 198.51.100.1 dev eth1 }";
    assert_eq!(
        lines(&with("", elsewhere)),
        [
            "makes vrrp.51 (macvlan 00:00:5e:00:01:33) on eth1 for addresses alone",
            "on eth0: 192.0.2.250/24",
            "on vrrp.51: 198.51.100.1/32 (not in the adverts)",
        ]
    );
    let ipvlan = lines(&with("", "use_ipvlan ipv0 192.0.2.11"));
    assert_eq!(ipvlan[0], "makes ipv0 (ipvlan 192.0.2.11/32) on eth0; adverts leave by ipv0");
    let said = lines(&with("", "no_accept\nauthentication {\nauth_type AH\nauth_pass sEcReT\n}"));
    assert_eq!(said.len(), 3);
    assert!(said[0].contains("(AH)") && said[1].contains("ping included"), "{said:?}");
    assert!(!said.concat().contains("sEcReT"));
    let delayed = read(
        "interface_up_down_delays {\neth0 0.5 2\n}\nvrrp_instance VI_1 {\ninterface eth0\n\
         virtual_router_id 1\nvirtual_ipaddress { 192.0.2.1/24 }\n}\n",
    );
    assert_eq!(lines(&delayed)[0], "eth0 counts as down after 0.5 s, as up after 2 s");
}
