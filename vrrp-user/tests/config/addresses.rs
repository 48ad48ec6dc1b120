//! Mistakes in the lines of `virtual_ipaddress`.

use rstest::rstest;

use crate::common::{addresses, faults, hints, instance, refused, run};

#[rstest]
#[case::above("192.0.2.256", "more than 255")]
#[case::zeros("192.168.001.010", "`192.168.1.10`")]
#[case::short("192.0.2", "four numbers, this has 3")]
#[case::semicolon("192.0.2.1;", "write `192.0.2.1`")]
#[case::prefix_semicolon("192.0.2.1/24;", "write `192.0.2.1/24`")]
#[case::mask("192.0.2.1/255.255.255.0", "`192.0.2.1/24`")]
#[case::prefix("192.0.2.1/33", "")]
#[case::no_prefix("192.0.2.1/", "from 0 to 32")]
#[case::range("192.0.2.1-5", "own line")]
#[case::name("www.example.org", "names are not looked up")]
#[case::multicast("224.0.0.18", "")]
#[case::nobody("0.0.0.0", "")]
#[case::everybody("255.255.255.255", "")]
#[case::option_first("dev eth0 192.0.2.1", "comes first")]
#[case::device("192.0.2.1/24 eth0", "`dev eth0`")]
#[case::option("192.0.2.1/24 lable eth0:1", "`label`")]
#[case::far_option("192.0.2.1/24 qqqqqqq", "noprefixroute, preferred_lft, peer, track_group, home")]
#[case::no_option_value("192.0.2.1/24 dev", "")]
#[case::bad_device("192.0.2.1/24 dev eth0:1", "label eth0:1")]
#[case::peer_prefix("192.0.2.1/24 peer 192.0.2.2", "`peer ADDRESS/24`")]
#[case::peer_family("192.0.2.1 peer 2001:db8::2", "")]
#[case::no_peer("192.0.2.1 peer eth0", "")]
#[case::wide("192\u{ff0e}0.2.1", "U+FF0E")]
#[case::differently("192.0.2.250/24 dev eth1", "leave one of the two out")]
fn bad_addresses_cost_the_instance(#[case] line: &str, #[case] hint: &str) {
    let loaded = instance(&format!("virtual_ipaddress {{\n  {line}\n}}"));
    assert_eq!(loaded.diags.len(), 1, "{}", loaded.render(false));
    assert!(faults(&loaded)[0].starts_with("6:"), "{:?}", faults(&loaded));
    assert!(hints(&loaded).concat().contains(hint), "{:?}", hints(&loaded));
    assert!(refused(&loaded, "VI_1").starts_with("line 6: "));
}

#[test]
fn each_name_of_a_scope_is_in_the_hint() {
    let hint = |scope: &str| {
        let loaded = instance(&format!("virtual_ipaddress {{\n192.0.2.9 scope {scope}\n}}"));
        hints(&loaded).concat()
    };
    for name in ["global", "site", "link", "host", "nowhere"] {
        assert_eq!(hint(name), "");
        assert!(hint("here").contains(name), "{name}");
    }
}

#[test]
fn an_advert_has_one_family_and_the_rest_is_held_without() {
    let loaded = instance("virtual_ipaddress {\n2001:db8::1/64\n192.0.2.251\n2001:db8::2/64\n}");
    assert_eq!(faults(&loaded), ["6:1 warning conflict"], "{}", loaded.render(false));
    let held =
        "the IPv6 addresses are held like `virtual_ipaddress_excluded`; keepalived leaves them out";
    assert_eq!(loaded.diags[0].consequence, held);
    let one = run(&loaded, "VI_1");
    assert_eq!(addresses(one), ["192.0.2.250/24", "192.0.2.251/32"]);
    let excluded: Vec<String> = one.excluded.iter().map(|one| one.ip.to_string()).collect();
    assert_eq!(excluded, ["2001:db8::1", "2001:db8::2"]);
    // Among the excluded they may.
    let loaded = instance("virtual_ipaddress_excluded {\n2001:db8::1\n}");
    assert_eq!(loaded.diags, []);
    assert_eq!(run(&loaded, "VI_1").excluded[0].preferred, Some(0));
}

#[test]
fn options_of_addresses() {
    let loaded = instance(
        "virtual_ipaddress_excluded {\n2001:db8::1/64 -nodad home mngtmpaddr preferred_lft 60\n\
         2001:db8::2 peer 2001:db8::3/64\n192.0.2.9 peer 192.0.2.10/30 preferred_lft 0\n}",
    );
    assert_eq!(loaded.diags, []);
    let [first, second, third] = &run(&loaded, "VI_1").excluded[..] else {
        panic!("{:?}", run(&loaded, "VI_1").excluded)
    };
    assert!(first.detect_duplicates && first.home && first.manage_temporary);
    assert_eq!((first.preferred, first.peer), (Some(60), None));
    assert_eq!((second.prefix, second.peer), (64, "2001:db8::3".parse().ok()));
    assert_eq!((second.preferred, second.detect_duplicates), (None, false));
    assert_eq!((third.prefix, third.preferred), (30, Some(0)));
    assert_eq!(third.peer, "192.0.2.10".parse().ok());
}

#[rstest]
#[case::no_detection("192.0.2.9 -nodad", "6:11 warning address")]
#[case::home("192.0.2.9 home", "6:11 warning address")]
#[case::autojoin("2001:db8::9 autojoin", "6:13 warning address")]
#[case::lifetime("192.0.2.9 preferred_lft long", "6:25 error address")]
fn options_that_an_address_does_without(#[case] line: &str, #[case] fault: &str) {
    let loaded = instance(&format!("virtual_ipaddress_excluded {{\n{line}\n}}"));
    assert_eq!(faults(&loaded), [fault]);
    assert_eq!(run(&loaded, "VI_1").excluded.len(), 1);
}
