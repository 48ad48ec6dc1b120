//! The corners of the grammar.

use std::path::Path;

use rstest::rstest;
use xvrrp::config::diag::Code;
use xvrrp::config::{Unstartable, parse_str};

use crate::common::{addresses, bytes, config, faults, instance, run, script, snapshot, text};

const BODY: &str = "interface eth0\nvirtual_router_id 51\npriority 110\n";

#[rstest]
#[case::own_line("vrrp_instance A\n{\nBODYvirtual_ipaddress\n{\n192.0.2.1/24\n}\n}\n")]
#[case::blank_lines("vrrp_instance A\n\n\n{\nBODYvirtual_ipaddress\n\n{\n192.0.2.1/24\n}\n}\n")]
#[case::glued("vrrp_instance A{\nBODYvirtual_ipaddress{192.0.2.1/24}}")]
#[case::closed_behind_a_value("vrrp_instance A {\nvirtual_ipaddress { 192.0.2.1/24 }\nBODY}")]
#[case::comment_between(
    "vrrp_instance A # x {\n{ ! y }\nBODYvirtual_ipaddress {\n192.0.2.1/24 } }"
)]
fn braces_anywhere(#[case] file: &str) {
    let loaded = text(&file.replace("BODY", BODY));
    assert_eq!(loaded.diags, []);
    let a = run(&loaded, "A");
    assert_eq!((a.vrid.get(), a.priority.get()), (51, 110));
    assert_eq!(addresses(a), ["192.0.2.1/24"]);
}

#[test]
fn a_name_on_the_next_line() {
    let loaded = text(
        "vrrp_script\nchk_nginx {\n  script \"/bin/true\"\n}\nvrrp_instance\n\n  VI_1\n{\ninterface eth0\n\
         virtual_router_id 1\ntrack_script {\nchk_nginx\n}\nvirtual_ipaddress {\n192.0.2.1\n}\n}\n",
    );
    assert_eq!(faults(&loaded), ["2:1 notice name-below", "7:3 notice name-below"]);
    assert_eq!(script(&loaded, "chk_nginx").command.argv, ["/bin/true"]);
    assert_eq!(run(&loaded, "VI_1").track_scripts.len(), 1);
}

#[test]
fn whole_blocks_on_one_line() {
    let loaded = text(
        "vrrp_instance A { state BACKUP interface eth0 virtual_router_id 7 priority 90 nopreempt \
         authentication { auth_type PASS auth_pass 1111 } virtual_ipaddress { 192.0.2.1/24 } }",
    );
    let a = run(&loaded, "A");
    assert_eq!((a.vrid.get(), a.priority.get(), a.preempt), (7, 90, false));
    assert_eq!(a.password(), Some(*b"1111\0\0\0\0"));
    // keepalived reads one keyword a line: worth a word for whoever has one beside us.
    assert!(loaded.diags.iter().all(|diag| diag.code == Code::OneLine));
    assert_eq!(loaded.diags.len(), 6);
    assert_eq!(loaded.exit_code(), 0);
}

#[test]
fn several_names_and_addresses_on_one_line() {
    let loaded = text(
        "vrrp_script a {\nscript /bin/true\n}\nvrrp_script b {\nscript /bin/true\nweight 3\n}\n\
         vrrp_instance A {\ninterface eth0\nvirtual_router_id 7\n\
         track_script { a b weight -5 reverse }\ntrack_interface { eth1 eth2 weight 9 }\n\
         virtual_ipaddress { 192.0.2.1/24 dev eth1 192.0.2.2/24 }\n}\n",
    );
    let a = run(&loaded, "A");
    let tracked = |list: &[xvrrp::config::model::Tracked]| {
        list.iter()
            .map(|one| (one.name.clone(), one.weight.value, one.weight.reverse))
            .collect::<Vec<_>>()
    };
    assert_eq!(tracked(&a.track_scripts), [("a".to_owned(), 0, false), ("b".to_owned(), -5, true)]);
    assert_eq!(
        tracked(&a.track_interfaces),
        [("eth1".to_owned(), 0, false), ("eth2".to_owned(), 9, false)]
    );
    let devices: Vec<&str> = a.addresses.iter().map(|one| &*one.device).collect();
    assert_eq!(devices, ["eth1", "eth0"]);
    assert_eq!(
        faults(&loaded),
        ["11:18 warning one-line", "12:24 warning one-line", "13:43 warning one-line"]
    );
}

#[test]
fn byte_order_mark_and_foreign_comments() {
    let mut file = b"\xef\xbb\xbf".to_vec();
    file.extend(b"# caf\xe9 \xff\xfe, a comment in latin-1 ! {\n");
    file.extend(bytes("C42-minimal.conf"));
    let loaded = parse_str(Path::new("x"), &file);
    assert_eq!(loaded.diags, []);
    assert_eq!(run(&loaded, "a").vrid.get(), 133);
}

#[test]
fn foreign_bytes_in_a_password_are_refused() {
    let mut file = bytes("DUT-v2-pass.conf");
    let at = file.windows(4).position(|four| four == b"1111").expect("the password");
    file[at] = 0xe9;
    let loaded = parse_str(Path::new("x"), &file);
    assert_eq!(faults(&loaded), ["13:19 error not-text"]);
    assert_eq!(config(&loaded).instances, []);
}

#[test]
fn nul_bytes_and_utf16_are_no_text() {
    let mut file = bytes("C42-minimal.conf");
    file.extend([0; 64]);
    let loaded = parse_str(Path::new("x"), &file);
    assert_eq!(loaded.config, None);
    assert_eq!((loaded.exit_code(), loaded.diags.len()), (4, 1));
    assert_eq!(loaded.diags[0].code, Code::NotText);
    let wide: Vec<u8> = b"global_defs {\n}\n".iter().flat_map(|&byte| [byte, 0]).collect();
    let loaded = parse_str(Path::new("x"), wide);
    assert!(loaded.diags[0].message.contains("UTF-16"));
    assert!(!loaded.render(true).is_empty());
}

#[rstest]
#[case("", "nothing-to-run")]
#[case("# only a comment", "nothing-to-run")]
#[case("global_defs {\n}\n", "nothing-to-run")]
fn nothing_to_run(#[case] file: &str, #[case] code: &str) {
    let loaded = text(file);
    assert_eq!(faults(&loaded), [format!("1:1 error {code}")]);
    assert_eq!(loaded.exit_code(), 4);
}

#[test]
fn quotes_join_and_keep_signs() {
    let loaded = text(
        "global_defs {\nrouter_id \"a\"'b c'd\n}\nvrrp_instance \"VI 1\" {\ninterface 'eth0'\n\
         virtual_router_id \"51\"\nauthentication {\nauth_type PASS\nauth_pass \"a#b!{}\"\n}\n\
         virtual_ipaddress {\n\"192.0.2.1/24\"\n}\n}\n",
    );
    assert_eq!(loaded.diags, []);
    assert_eq!(config(&loaded).global.router_id.as_deref(), Some("ab cd"));
    assert_eq!(run(&loaded, "VI 1").password(), Some(*b"a#b!{}\0\0"));
}

#[test]
fn a_comment_inside_a_password_is_worth_a_word() {
    let loaded = instance("authentication {\nauth_type PASS\nauth_pass p@ss!word\n}");
    assert_eq!(faults(&loaded), ["7:11 warning cut-by-comment"]);
    assert_eq!(run(&loaded, "VI_1").password(), Some(*b"p@ss\0\0\0\0"));
    let loaded =
        instance("authentication {\nauth_type PASS\nauth_pass 1111 # in every tutorial\n}");
    assert_eq!(loaded.diags, []);
}

#[test]
fn passwords_are_not_in_the_log() {
    let lines = [
        "auth_pass = sEcReT",
        "auth_pass a sEcReT",
        "auth_pass sEcReT x",
        "auth_pas sEcReT",
        "auth_pass=sEcReT",
        "auth_pass:sEcReT",
        "sEcReT=x",
        "auth_pass\nsEcReT",
        "auth_pass \"sEcReT",
        "auth_pass sEcReT-and-long#x",
    ];
    for line in lines {
        let loaded = instance(&format!("authentication {{\nauth_type PASS\n{line}\n}}"));
        assert!(!loaded.diags.is_empty(), "{line}");
        let log = loaded.log_lines().join("\n");
        assert!(!log.contains("sEcReT"), "{log}");
    }
}

#[test]
fn spaces_from_a_web_page_are_spaces() {
    let loaded = instance(
        "priority\u{a0}150\nauthentication\u{3000}{\nauth_type PASS\nauth_pass x\u{200b}\n}",
    );
    assert_eq!(
        faults(&loaded),
        ["5:9 warning odd-space", "6:15 warning odd-space", "8:12 warning odd-space"]
    );
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!((vi_1.priority.get(), vi_1.password()), (150, Some(*b"x\0\0\0\0\0\0\0")));
}

#[rstest]
#[case::include("include /etc/x.conf")]
#[case::condition("@r1 priority 150")]
#[case::but("@^r1 priority 150")]
#[case::definition("$PRIO=150")]
#[case::variable("priority ${_RANDOM 1 254}")]
#[case::sequence("~SEQ(A, 1, 2) garp_master_delay $A")]
#[case::list("~LST(A, 1, 2) garp_master_delay $A")]
fn what_keepalived_expands_is_not_guessed_at(#[case] line: &str) {
    let loaded = instance(line);
    assert_eq!(faults(&loaded), ["5:1 error not-read"]);
    assert_eq!(loaded.exit_code(), 4);
    assert!(matches!(loaded.startable(), Err(Unstartable::Broken(_))));
}

#[test]
fn a_dollar_alone_is_a_character() {
    let loaded =
        instance("authentication {\nauth_type PASS\nauth_pass a$b$\n}\nnotify \"/a '$HOME'\"");
    assert_eq!(loaded.diags, []);
    assert_eq!(run(&loaded, "VI_1").password(), Some(*b"a$b$\0\0\0\0"));
}

#[test]
fn a_log_line_has_it_all() {
    let loaded = instance("prioritty 150");
    let line = "test.conf:5:1: `prioritty` is not a keyword of `vrrp_instance`; VI_1 is not run \
                (did you mean `priority`?)";
    assert_eq!(loaded.log_lines(), [line]);
}

#[test]
fn columns_count_characters_and_tabs_as_one() {
    let loaded = instance("\t\tpriority \"ü\" x");
    assert_eq!(
        faults(&loaded),
        ["5:16 warning extra-words", "5:12 error bad-value"]
            .map(str::to_owned)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
}

#[test]
fn rendered_text_can_not_drive_a_terminal() {
    let loaded = instance("prio\x1b[31mrity 1\u{202e}50\nrouter\u{2028}_id\x0b3");
    let shown = loaded.render(false);
    assert!(!shown.contains(['\x1b', '\u{202e}', '\u{2028}', '\x0b']), "{shown}");
    snapshot("terminal", &loaded);
}
