//! What people mistype, and the message they need.

use rstest::rstest;
use xvrrp::config::diag::{Code, Severity};
use xvrrp::config::model::{Auth, Command, Removed, UserSpec};
use xvrrp::config::{ScriptChecker, ScriptFault};

use crate::common::{addresses, config, faults, hints, instance, refused, run, snapshot, text};

/// The instance is not run, since it would be another than was written.
#[rstest]
#[case::misspelled("prioritty 150", "5:1 error unknown-word", "did you mean `priority`?")]
#[case::capital("Priority 150", "5:1 error unknown-word", "case-sensitive: `priority`")]
#[case::equals("priority=150", "5:1 error unknown-word", "without `=`: `priority 150`")]
#[case::equals_apart("priority = 150", "5:1 error bad-value", "without `=`: `priority 150`")]
#[case::equals_half("priority= 150", "5:1 error unknown-word", "without `=`: `priority 150`")]
#[case::colon("priority: 150", "5:1 error unknown-word", "without `:`: `priority 150`")]
#[case::source("mcast_src_ip=192.0.2.11", "5:1 error unknown-word", "`mcast_src_ip 192.0.2.11`")]
#[case::other_name("prio 150", "5:1 error unknown-word", "did you mean `priority`?")]
#[case::swapped("pirority 150", "5:1 error unknown-word", "did you mean `priority`?")]
#[case::semicolon("priority 150;", "5:10 error bad-value", "write `150`")]
#[case::zero("priority 0", "5:10 error bad-value", "1 to 254")]
#[case::above("priority 256", "5:10 error bad-value", "")]
#[case::words("priority high", "5:10 error bad-value", "from 1 to 255")]
#[case::vrid_zero("virtual_router_id 0", "5:19 error bad-value", "")]
#[case::vrid_above("virtual_router_id 256", "5:19 error bad-value", "")]
#[case::vrid_hex("virtual_router_id 0x33", "5:19 error bad-value", "decimal: write `51`")]
#[case::router_id("router_id 52", "5:1 error unknown-word", "`virtual_router_id`")]
#[case::block(
    "authentification {\nauth_type PASS\n}",
    "5:1 error unknown-word",
    "`authentication`"
)]
#[case::out_of_block("auth_pass 1111", "5:1 error wrong-place", "belongs in `authentication`")]
#[case::no_value("priority", "5:1 error no-value", "on the same line")]
#[case::comment("priority #150", "5:1 error no-value", "")]
#[case::alias("interface eth0:1", "5:11 error bad-value", "label eth0:1")]
#[case::long_name("interface enp0s31f6-uplink0", "5:11 error bad-value", "")]
#[case::version("version 4", "5:9 error bad-value", "`2` or `3`")]
#[case::dash("priority \u{2013}5", "5:10 error bad-value", "U+2013")]
#[case::curly("interface \u{201c}eth0\u{201d}", "5:11 error quote", "straight")]
#[case::open_quote("interface \"eth0", "5:11 error quote", "closing")]
#[case::braces("priority 100 {\n}", "5:1 error brace", "")]
#[case::no_type("authentication {\nauth_pass x\n}", "5:1 error missing", "auth_type PASS")]
#[case::no_pass("authentication {\nauth_type PASS\n}", "5:1 error missing", "auth_pass")]
#[case::small_pass(
    "authentication {\nauth_type pass\nauth_pass x\n}",
    "6:11 error bad-value",
    "`PASS`"
)]
#[case::empty("authentication {\nauth_type PASS\nauth_pass \"\"\n}", "7:11 error bad-value", "")]
#[case::script("track_script {\nchk_nginx\n}", "6:1 error unknown-name", "no `vrrp_script` at all")]
#[case::weight("track_interface {\neth1 weight -20%\n}", "6:13 error bad-value", "`-20`")]
#[case::weight_much("track_interface {\neth1 weight 254\n}", "6:13 error bad-value", "")]
#[case::weight_word("track_interface {\neth1 wieght 2\n}", "6:6 error bad-value", "`weight W`")]
#[case::reverse("track_interface {\neth1 reverse\n}", "6:6 error bad-value", "`weight W reverse`")]
#[case::peers("unicast_peers {\n192.0.2.1\n}", "5:1 error unknown-word", "`unicast_peer`")]
#[case::file("track_file {\nload\n}", "5:1 error not-served", "vrrp_script")]
#[case::routes("virtual_routes {\ndefault vai 192.0.2.1\n}", "6:9 error unknown-word", "`via`")]
#[case::source_v6("mcast_src_ip fe80::1", "5:1 error conflict", "")]
#[case::source_virtual("mcast_src_ip 192.0.2.250", "5:1 error conflict", "this host's alone")]
#[case::source_group("mcast_src_ip 224.0.0.18", "5:14 error bad-value", "")]
#[case::source_loopback("mcast_src_ip 127.0.0.1", "5:14 error bad-value", "")]
#[case::source_nobody("mcast_src_ip 0.0.0.0", "5:14 error bad-value", "")]
#[case::source_all("mcast_src_ip 255.255.255.255", "5:14 error bad-value", "")]
#[case::loopback("interface lo", "5:11 error bad-value", "dev lo")]
#[case::vip_loopback("virtual_ipaddress {\n127.8.0.1/8\n}", "6:1 error address", "")]
#[case::vip_group("virtual_ipaddress {\n239.1.1.1\n}", "6:1 error address", "")]
#[case::vip_nobody("virtual_ipaddress {\n0.0.0.0/0\n}", "6:1 error address", "")]
#[case::vip_all("virtual_ipaddress {\n255.255.255.255\n}", "6:1 error address", "")]
#[case::excluded_loopback("virtual_ipaddress_excluded {\n127.0.0.1\n}", "6:1 error address", "")]
fn costs_the_instance(#[case] lines: &str, #[case] fault: &str, #[case] hint: &str) {
    let loaded = instance(lines);
    assert_eq!(faults(&loaded), [fault], "{}", loaded.render(false));
    assert!(hints(&loaded).concat().contains(hint), "{:?}", hints(&loaded));
    assert_eq!(loaded.diags[0].consequence, "VI_1 is not run");
    let line = fault.split(':').next().unwrap();
    assert!(refused(&loaded, "VI_1").starts_with(&format!("line {line}: ")));
    assert_eq!(loaded.exit_code(), 4);
}

/// Where a word stands twice, what counts is what keepalived 2.2.7 lets count.
#[test]
fn which_of_two_counts() {
    let one = |lines: &str| {
        let loaded = instance(lines);
        let said: Vec<String> = loaded.diags.iter().map(|d| d.consequence.clone()).collect();
        (run(&loaded, "VI_1").clone(), said.concat())
    };
    let (read, said) = one("version 2\nversion 3");
    assert_eq!((read.version as u8, &*said), (2, "the first one counts, as in keepalived"));
    let (read, said) = one("use_vmac vm1\nuse_vmac vm2");
    assert_eq!(read.own_link.map(|link| link.name).as_deref(), Some("vm1"));
    assert_eq!(said, "the first one counts, as in keepalived");
    let (read, said) = one("priority 100\npriority 110");
    assert_eq!((read.priority.get(), &*said), (110, "the last one counts, as in keepalived"));
    let (read, said) = one("nopreempt\npreempt_delay 5");
    assert_eq!((read.preempt, read.preempt_delay.as_secs()), (false, 0));
    assert!(said.starts_with("it changes nothing, as in keepalived"), "{said}");
}

/// A priority that is written, although badly, is not said to be missing.
#[rstest]
#[case::too_much("priority 256", "6:10 error bad-value")]
#[case::nothing("priority", "6:1 error no-value")]
fn one_fault_of_a_priority_is_said_once(#[case] line: &str, #[case] fault: &str) {
    let loaded = instance(&format!("state MASTER\n{line}"));
    assert_eq!(faults(&loaded), [fault], "{}", loaded.render(false));
}

/// keepalived 2.2.7 says that it found none.
#[test]
fn a_script_below_who_tracks_it_is_tracked_and_told() {
    let script = "vrrp_script chk {\nscript /bin/true\n}\n";
    let one = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\n\
         virtual_ipaddress { 192.0.2.250/24 }\ntrack_script {\nchk\n}\n}\n";
    assert_eq!(faults(&text(&format!("{script}{one}"))), [""; 0]);
    let loaded = text(&format!("{one}{script}"));
    assert_eq!(faults(&loaded), ["6:1 warning wrong-place"], "{}", loaded.render(false));
    let said = "it is tracked; keepalived tracks the scripts above alone";
    assert_eq!(loaded.diags[0].consequence, said);
    assert_eq!(run(&loaded, "VI_1").track_scripts.len(), 1);
}

#[test]
fn blocks_of_authentication_are_read_as_one() {
    let auth = |blocks: &str| {
        let loaded = instance(&format!("version 2\n{blocks}"));
        (faults(&loaded), loaded.config.as_ref().and_then(|c| c.instances.first()?.auth))
    };
    let apart = "authentication {\nauth_type PASS\n}\nauthentication {\nauth_pass abc\n}";
    let pass = Some(Auth::Pass(*b"abc\0\0\0\0\0"));
    assert_eq!(auth(apart), (vec!["9:1 warning twice".to_owned()], pass));
    let (_, auth) = auth(
        "authentication {\nauth_type PASS\nauth_pass abc\n}\nauthentication {\nauth_type AH\n}",
    );
    assert_eq!(auth, Some(Auth::Ah(*b"abc\0\0\0\0\0")));
}

/// keepalived has no instance of that.
#[test]
fn a_second_name_is_not_said_to_be_keepalived_s_way() {
    let loaded = text(
        "vrrp_instance A B {\ninterface eth0\nvirtual_router_id 1\n\
         virtual_ipaddress {\n192.0.2.1\n}\n}\n",
    );
    assert_eq!(faults(&loaded), ["1:17 warning extra-words"]);
    assert_eq!(loaded.diags[0].consequence, "it is ignored; the name is `A`");
}

/// The instance is what was written, or as near as keepalived would take it.
#[rstest]
#[case::nowhere_near("colour blue", "5:1 error unknown-word", 5)]
#[case::garp("garp_master_dealy 5", "5:1 error unknown-word", 5)]
#[case::garp_value("garp_master_delay soon", "5:19 error bad-value", 5)]
#[case::global_word("vrrp_garp_master_delay 5", "5:1 error unknown-word", 5)]
#[case::mail("smtp_server 192.0.2.1", "5:1 error wrong-place", 5)]
#[case::twice("priority 100\npriority 150", "6:1 warning twice", 0)]
#[case::version_twice("version 3\nversion 2", "6:1 warning twice", 0)]
#[case::no_wait("nopreempt\npreempt_delay 5", "6:1 warning conflict", 0)]
#[case::no_wait_either("nopreempt\npreempt_delay 0", "", 0)]
#[case::extra("priority 100 200", "5:14 warning extra-words", 0)]
#[case::slashes("//nopreempt", "5:1 warning slash-comment", 0)]
#[case::owner("state MASTER", "5:1 warning missing", 0)]
#[case::owner_weight(
    "priority 255\ntrack_interface {\neth1 weight 5\n}",
    "7:1 warning conflict",
    0
)]
#[case::owner_preempt("priority 255\nnopreempt", "6:1 warning conflict", 0)]
#[case::label(
    "virtual_ipaddress_excluded {\n192.0.2.9 label sixteen-bytes-xx\n}",
    "6:17 error address",
    5
)]
#[case::scope("virtual_ipaddress_excluded {\n192.0.2.9 scope galaxy\n}", "6:17 error address", 5)]
#[case::network("virtual_ipaddress_excluded {\n192.0.2.0/24\n}", "6:1 warning address", 0)]
#[case::network_end("virtual_ipaddress_excluded {\n192.0.2.255/24\n}", "6:1 warning address", 0)]
#[case::on_loopback("virtual_ipaddress_excluded {\n192.0.2.9 dev lo\n}", "", 0)]
#[case::owner_source("priority 255\nmcast_src_ip 192.0.2.250", "", 0)]
#[case::twin("virtual_ipaddress_excluded {\n192.0.2.250/24\n}", "6:1 warning twice", 0)]
#[case::label_twin("virtual_ipaddress {\n192.0.2.250 label eth0:1\n}", "6:1 warning twice", 0)]
#[case::no_auth("authentication {\n}", "5:1 warning missing", 0)]
#[case::own_interface("track_interface {\neth0 weight 20\n}", "6:1 warning conflict", 0)]
#[case::source_length("mcast_src_ip 192.0.2.11/24", "5:14 warning address", 0)]
#[case::peer_length("unicast_peer {\n192.0.2.12/24\n}", "6:1 warning address", 0)]
#[case::no_routes("virtual_routes {\n}\nvirtual_rules { }\ntrack_file {\n}\ntrack_bfd { }", "", 0)]
#[case::notice("smtp_alert", "5:1 notice not-served", 0)]
#[case::sum("old_unicast_checksum", "5:1 notice not-served", 0)]
#[case::arguments("notify_master /etc/notify.sh MASTER", "5:30 warning command", 0)]
#[case::notify_twice("notify /a\nnotify /b", "6:1 warning twice", 0)]
#[case::deleted("notify_deleted", "", 0)]
#[case::deleted_command("notify_deleted \"/a b\" nobody nogroup", "", 0)]
#[case::deleted_twice("notify_deleted\nnotify_deleted /a", "6:1 warning twice", 0)]
#[case::deleted_empty("notify_deleted \"\"", "5:16 error command", 5)]
#[case::notify_empty("notify \"\"", "5:8 error command", 5)]
#[case::bool("lower_prio_no_advert maybe", "5:22 error bad-value", 5)]
fn leaves_the_instance(#[case] lines: &str, #[case] fault: &str, #[case] exit: u8) {
    let loaded = instance(lines);
    assert_eq!(faults(&loaded).concat(), fault, "{}", loaded.render(false));
    assert_eq!(addresses(run(&loaded, "VI_1")), ["192.0.2.250/24"]);
    assert_eq!(loaded.exit_code(), exit);
    assert_eq!(loaded.reloadable().is_ok(), exit == 0);
}

#[rstest]
#[case("native_ipv6\ndebug 4\naccept\nskip_check_adv_addr off\nlinkbeat_use_polling")]
#[case("smtp_alert off\nno_accept_\n#\nstrict_mode off")]
#[case("down_timer_adverts 3\nmcast_dst_ip 224.0.0.18\npromote_secondaries")]
fn says_nothing_about_what_changes_nothing(#[case] lines: &str) {
    let loaded = instance(&lines.replace("no_accept_", "accept"));
    assert_eq!(loaded.diags, []);
}

#[test]
fn what_is_missing_is_said() {
    let loaded = text("vrrp_instance A {\n}\nvrrp_instance {\n}\n");
    assert_eq!(
        faults(&loaded),
        [
            "1:15 error missing",
            "1:15 error missing",
            "1:15 warning missing",
            "3:1 error no-value",
            "3:1 error missing",
            "3:1 error missing",
            "3:1 warning missing"
        ]
    );
    assert!(refused(&loaded, "A").contains("`interface`, and 1 more"));
    refused(&loaded, "(unnamed)");
}

#[test]
fn two_of_a_kind() {
    let body = |vrid: u8, ip: &str| {
        format!("interface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{ {ip} }}\n}}\n")
    };
    let file = [
        format!("vrrp_instance A {{\n{}", body(1, "192.0.2.1")),
        format!("vrrp_instance A {{\n{}", body(2, "192.0.2.2")),
        format!("vrrp_instance B {{\n{}", body(1, "192.0.2.3")),
        format!("vrrp_instance C {{\n{}", body(4, "192.0.2.1")),
        format!("vrrp_instance D {{\n{}", body(5, "192.0.2.5")),
    ];
    let loaded = text(&file.concat());
    assert_eq!(faults(&loaded), ["6:15 error twice", "11:15 error twice", "19:21 error twice"]);
    let names: Vec<&str> = config(&loaded).instances.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["A", "D"]);
    assert_eq!(config(&loaded).refused.len(), 3);
    assert_eq!(loaded.exit_code(), 5);
    snapshot("two_of_a_kind", &loaded);
}

#[test]
fn a_bad_script_costs_those_who_track_it() {
    let file = |script: &str| {
        format!(
            "vrrp_script chk {{\n{script}\n}}\nvrrp_instance A {{\ninterface eth0\n\
             virtual_router_id 1\ntrack_script {{\nchk\n}}\nvirtual_ipaddress {{ 192.0.2.1 }}\n}}\n"
        )
    };
    let cases = [
        ("interval 2", "1:13 error missing"),
        ("script \"/bin/true\"\nweigth -20", "3:1 error unknown-word"),
        ("script \"/bin/true\"\nweight -300", "3:8 error bad-value"),
        ("scripts \"/bin/true\"", "2:1 error unknown-word"),
        ("script \"/bin/sh -c 'x\"", "2:8 error quote"),
        ("script \"/bin/true", "2:8 error quote"),
    ];
    for (script, fault) in cases {
        let loaded = text(&file(script));
        assert_eq!(faults(&loaded), [fault], "{script}");
        refused(&loaded, "A");
        assert!(config(&loaded).scripts.is_empty());
    }
    // What only says how often is not worth a service.
    for script in ["interval 0", "interval 2s", "timeout -1", "rise 0", "fall many", "intervall 3"]
    {
        let loaded = text(&file(&format!("script \"/bin/true\"\n{script}")));
        assert_eq!(loaded.diags.len(), 1, "{script}");
        assert_eq!(loaded.diags[0].severity, Severity::Error);
        run(&loaded, "A");
    }
}

#[test]
fn a_misspelled_script_name_is_found() {
    let loaded = text(
        "vrrp_script chk_nginx {\nscript \"/bin/true\"\n}\nvrrp_script other {\nscript \"/bin/true\"\n}\n\
         vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\ntrack_script {\n  chk_ngnix\n}\n\
         virtual_ipaddress { 192.0.2.1 }\n}\n",
    );
    assert_eq!(faults(&loaded), ["11:3 error unknown-name"]);
    assert_eq!(hints(&loaded), ["did you mean `chk_nginx`?"]);
}

#[test]
fn globals_that_cost_everybody() {
    let file = |global: &str, own: &str| {
        format!(
            "global_defs {{\n{global}\n}}\nvrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\n\
             {own}\nvirtual_ipaddress {{ 192.0.2.1 }}\n}}\n"
        )
    };
    let cases = [
        ("vrrp_versoin 3", "version 3", true),
        ("vrrp_version 4", "version 3", false),
        ("vrrp_version", "version 3", false),
        ("net_namespace x", "accept", true),
        ("priority 150", "priority 100", true),
    ];
    for (global, own, always) in cases {
        let loaded = text(&file(global, ""));
        assert_eq!(loaded.diags.len(), 1, "{global}");
        assert!(refused(&loaded, "A").starts_with("line 2: "), "{global}");
        let loaded = text(&file(global, own));
        assert_eq!(config(&loaded).instances.is_empty(), always, "{global} {own}");
    }
    for harmless in [
        "vrrp_strict off",
        "vrrp_mcast_group4 224.0.0.18",
        "router_id x",
        "vrrp_iptables",
        "vrrp_down_timer_adverts 4",
        "vrrp_owner_ignore_adverts",
    ] {
        assert_eq!(text(&file(harmless, "")).diags, [], "{harmless}");
    }
}

#[test]
fn a_misspelled_block_is_a_lost_instance() {
    let loaded = text("vrrp_instace VI_1 {\ninterface eth0\n}\n");
    assert_eq!(faults(&loaded), ["1:1 error unknown-word"]);
    assert!(refused(&loaded, "VI_1").contains("vrrp_instace"));
    let loaded = text(
        "global_def {\nvrrp_version 3\n}\nvrrp_instance A {\ninterface eth0\n\
        virtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 }\n}\n",
    );
    assert!(refused(&loaded, "A").contains("global_def"));
}

#[rstest]
#[case::stray_close("}\n", "1:1 error brace")]
#[case::no_open("vrrp_instance B\n  priority 3\n}\n", "1:1 error brace")]
#[case::stray_open("vrrp_instance B {\n{\n}\n}\n", "2:1 error brace")]
#[case::list("vrrp_instance B {\nvirtual_ipaddress 192.0.2.1/24\n}\n", "2:1 error brace")]
#[case::next("vrrp_instance B {\nvirtual_ipaddress {\n}\nglobal_defs {\n}\n", "1:1 error brace")]
fn braces_that_do_not_fit_spoil_the_file(#[case] broken: &str, #[case] fault: &str) {
    let good = "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\n\
                virtual_ipaddress { 192.0.2.1 }\n}\n";
    let loaded = text(&format!("{broken}{good}"));
    let braces: Vec<String> =
        faults(&loaded).into_iter().filter(|fault| fault.ends_with("brace")).collect();
    assert_eq!(braces, [fault]);
    // The rest is read and spoken of all the same, but not run.
    run(&loaded, "A");
    assert_eq!(loaded.exit_code(), 4);
    assert!(loaded.startable().is_err());
}

#[test]
fn scripts_are_looked_at_by_whoever_can() {
    struct Checker;
    impl ScriptChecker for Checker {
        fn check(
            &self,
            command: &Command,
            user: Option<&UserSpec>,
            strict: bool,
        ) -> Vec<ScriptFault> {
            assert_eq!((user.map(|user| user.user.as_str()), strict), (Some("nobody"), true));
            let fault = |security, message: &str| ScriptFault {
                security,
                message: message.to_owned(),
                is_run: false,
                suggestion: None,
            };
            match command.argv[0].as_str() {
                "/missing" => vec![fault(false, "no such file")],
                "/unsafe" => vec![fault(true, "others can write it")],
                _ => vec![],
            }
        }
    }
    let file = |script: &str, notify: &str| {
        format!(
            "global_defs {{\nscript_user nobody\nenable_script_security\n}}\nvrrp_script a {{\n\
             script \"{script}\"\n}}\nvrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\n\
             track_script {{ a }}\nnotify \"{notify}\"\nvirtual_ipaddress {{ 192.0.2.1 }}\n}}\n"
        )
    };
    let check = |script: &str, notify: &str| {
        let mut loaded = text(&file(script, notify));
        loaded.check_scripts(&Checker);
        (faults(&loaded), loaded.exit_code())
    };
    assert_eq!(check("/good", "/good"), (vec![], 0));
    assert_eq!(check("/unsafe", "/good"), (vec!["6:8 error script-security".to_owned()], 6));
    assert_eq!(check("/good", "/missing"), (vec!["12:8 error script-unusable".to_owned()], 5));
    assert_eq!(check("/unsafe", "/missing").1, 5);
    let mut deleted =
        text(&file("/good", "/missing").replace("\nnotify \"", "\nnotify_deleted \""));
    deleted.check_scripts(&Checker);
    assert_eq!(faults(&deleted), ["12:16 error script-unusable"]);
    // Only a check can fail.
    let now = |script: &str, notify: &str| {
        let mut loaded = text(&file(script, notify));
        loaded.check_scripts(&Checker);
        loaded.diags[0].consequence.clone()
    };
    assert_eq!(now("/unsafe", "/good"), "it is not run; a check that is not run counts as failed");
    assert_eq!(now("/good", "/unsafe"), "it is not run");
    // What would not be run keeps a running daemon from taking the file, but for what nobody needs.
    for (script, notify) in [("/unsafe", "/good"), ("/missing", "/good"), ("/good", "/missing")] {
        let mut loaded = text(&file(script, notify));
        assert!(loaded.reloadable().is_ok());
        loaded.check_scripts(&Checker);
        assert!(loaded.startable().is_ok() && loaded.reloadable().is_err(), "{script} {notify}");
    }
    let mut unneeded = text(&file("/missing", "/good").replace("track_script { a }\n", ""));
    unneeded.check_scripts(&Checker);
    assert_eq!(faults(&unneeded), ["6:8 warning script-unusable"]);
    assert!(unneeded.diags[0].consequence.starts_with("no instance that is run tracks it"));
    assert!(unneeded.reloadable().is_ok());
}

#[test]
fn users_of_commands() {
    let loaded = instance(
        "notify_master \"/bin/a b\" nobody:nogroup\nnotify_backup /bin/a nobody nogroup\n\
         notify_fault /bin/a nobody\nnotify_stop \"/bin/a\" --now",
    );
    assert_eq!(faults(&loaded), ["8:22 warning command"]);
    let notify = &run(&loaded, "VI_1").notify;
    let user =
        |command: &Option<Command>| command.as_ref().and_then(|command| command.user.clone());
    let nobody = |group: Option<&str>| {
        Some(UserSpec { user: "nobody".to_owned(), group: group.map(str::to_owned) })
    };
    assert_eq!(user(&notify.master), nobody(Some("nogroup")));
    assert_eq!(user(&notify.backup), nobody(Some("nogroup")));
    assert_eq!(user(&notify.fault), nobody(None));
    assert_eq!(user(&notify.stop), None);
    assert_eq!(notify.stop.as_ref().unwrap().argv, ["/bin/a", "--now"]);
    assert_eq!(notify.removed, Removed::Fault);
    let removed = |line: &str| run(&instance(line), "VI_1").notify.removed.clone();
    assert_eq!(removed("notify_deleted"), Removed::Deleted(None));
    assert_eq!(removed("notify_deleted\nnotify_deleted /bin/a"), Removed::Deleted(None));
    let written = removed("notify_deleted \"/bin/a b\" nobody");
    assert_eq!(written.command().unwrap().argv, ["/bin/a", "b"]);
    assert_eq!(user(&written.command().cloned()), nobody(None));
}

#[test]
fn a_night_of_typing() {
    let loaded = text(
        "global_defs {\n\trouter_id LB_A;\n\tvrrp_datapath xpd\n}\n\nvrrp_script chk_nginx {\n\t\
         script \"/usr/bin/pgrep nginx\"\n\tweight: -20\n}\n\nvrrp_instance VI_1 {\n\tstate master\n\t\
         interface eth0:0\n\tvirtual_router_id = 51\n\tprioritty 150\n\tadvert_int 0,5\n\t\
         authentification {\n\t\tauth_type PASS\n\t\tauth_pass 1111\n\t}\n\ttrack_script {\n\t\t\
         chk_nginx weight -20 # both\n\t\tchk_ngin\n\t}\n\tvirtual_ipaddress {\n\t\t\
         192.0.2.250/255.255.255.0 dev eth0\n\t\t192.0.2.251 label\n\t}\n}\n",
    );
    assert!(loaded.diags.iter().all(|diag| diag.code != Code::Brace));
    snapshot("a_night_of_typing", &loaded);
}

/// Many files whose scripts move an address at a provider name none; keepalived runs them with version 2, and
/// says that an address would be sensible.
#[rstest]
#[case::none("", "1:15 warning missing", true)]
#[case::empty("virtual_ipaddress {\n}", "2:1 warning missing", true)]
#[case::excluded("virtual_ipaddress_excluded {\n192.0.2.9\n}", "1:15 warning missing", true)]
#[case::meant("no_virtual_ipaddress", "", true)]
#[case::version_3("version 3", "1:15 error missing", false)]
#[case::meant_with_version_3("version 3\nno_virtual_ipaddress", "1:15 error missing", false)]
#[case::strict("strict_mode", "1:15 error missing", false)]
#[case::by_its_source(
    "unicast_src_ip 2001:db8::1\nunicast_peer {\n2001:db8::2\n}",
    "1:15 error missing",
    false
)]
#[case::misspelt("virtual_ipadress {\n192.0.2.9\n}", "2:1 error unknown-word", false)]
#[case::faulty("virtual_ipaddress {\n192.0.2.900\n}", "3:1 error address", false)]
fn version_2_needs_no_address(#[case] lines: &str, #[case] fault: &str, #[case] runs: bool) {
    let rest = "interface eth0\nvirtual_router_id 7\npriority 100\n}\n";
    let loaded = text(&format!("vrrp_instance A {{\n{lines}\n{rest}"));
    assert_eq!(faults(&loaded).concat(), fault, "{}", loaded.render(false));
    if runs {
        assert_eq!(addresses(run(&loaded, "A")), [""; 0]);
    } else {
        refused(&loaded, "A");
    }
}
