//! What a keepalived makes of the same file: where it reads something else, its adverts and ours differ.

use rstest::rstest;
use xvrrp::config::model::Destination;

use crate::common::{addresses, faults, hints, instance, run};

/// As in keepalived's own `keepalived.conf.vrrp`.
#[test]
fn an_address_that_is_written_twice_is_held_once() {
    let loaded = instance("virtual_ipaddress {\n192.0.2.250 label eth0:1\n192.0.2.251\n}");
    assert_eq!(addresses(run(&loaded, "VI_1")), ["192.0.2.250/24", "192.0.2.251/32"]);
    assert!(loaded.diags[0].consequence.contains("keepalived counts both"));
    // What is not in the adverts is not counted.
    let loaded = instance("virtual_ipaddress_excluded {\n192.0.2.250\n}");
    assert_eq!(loaded.diags[0].consequence, "the first one is held");
    assert!(run(&loaded, "VI_1").excluded.is_empty());
}

/// keepalived ignores it, whatever else is said of it.
#[test]
fn its_own_interface_is_not_tracked_beside() {
    let track = "track_interface {\neth0 weight 20\neth1 weight 10\n}";
    for lines in [track.to_owned(), format!("{track}\ndont_track_primary")] {
        let loaded = instance(&lines);
        let tracked = &run(&loaded, "VI_1").track_interfaces;
        assert_eq!(tracked.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["eth1"]);
        let alone = loaded.diags[0].consequence.contains("`dont_track_primary`");
        assert_eq!(alone, lines.ends_with("primary"));
    }
}

#[test]
fn hosts_have_no_prefix_length() {
    let loaded = instance("unicast_src_ip 192.0.2.11/24\nunicast_peer {\n192.0.2.12/24\n}");
    assert_eq!(faults(&loaded), ["5:16 warning address", "7:1 warning address"]);
    assert_eq!(hints(&loaded), ["write `192.0.2.11`", "write `192.0.2.12`"]);
    let one = run(&loaded, "VI_1");
    assert_eq!(one.source, "192.0.2.11".parse().ok());
    let Destination::Peers(unicast) = &one.destination else { panic!("unicast") };
    assert_eq!(Some(unicast.peers[0].address), "192.0.2.12".parse().ok());
    for bad in ["192.0.2.11/33", "192.0.2.11/", "192.0.2.11/24;"] {
        assert_eq!(faults(&instance(&format!("mcast_src_ip {bad}"))), ["5:14 error bad-value"]);
    }
}

/// Where a keepalived with the same file reads less, its adverts and ours differ.
#[rstest]
#[case("authentication { auth_type PASS auth_pass 1111 }", "5:33 warning one-line", true)]
#[case("virtual_ipaddress { 192.0.2.251 192.0.2.252 }", "5:33 warning one-line", true)]
#[case("virtual_ipaddress_excluded { 192.0.2.251 192.0.2.252 }", "5:42 warning one-line", false)]
#[case("unicast_peer { 192.0.2.11 192.0.2.12 }", "5:27 warning one-line", false)]
fn a_line_that_keepalived_reads_half(
    #[case] lines: &str,
    #[case] fault: &str,
    #[case] refuses: bool,
) {
    let loaded = instance(lines);
    assert_eq!(faults(&loaded), [fault]);
    assert_eq!(loaded.diags[0].consequence.contains("refuses the adverts"), refuses);
}

/// keepalived reads other words of a line by the same rules, but nobody's adverts hang on those.
#[rstest]
#[case(r#""p@$$\w0""#, r"p@$$\w0", "")]
#[case(r"a\\b", r"a\\b", "")]
#[case("a'b'c", "a'b'c", "")]
#[case("'a b'", "'a", "7:11 warning quote")]
#[case("'ab", "'ab", "7:11 warning quote")]
#[case("\"ab\"cd", "ab", "7:11 warning quote")]
#[case(r"a\#b", "a", "7:11 warning cut-by-comment")]
#[case(r#""\0""#, r"\0", "")]
fn a_password_is_what_keepalived_reads(
    #[case] written: &str,
    #[case] read: &str,
    #[case] fault: &str,
) {
    let loaded = instance(&format!("authentication {{\nauth_type PASS\nauth_pass {written}\n}}"));
    assert_eq!(faults(&loaded).concat(), fault);
    let mut padded = [0; 8];
    padded[..read.len()].copy_from_slice(read.as_bytes());
    assert_eq!(run(&loaded, "VI_1").password(), Some(padded));
}
