//! The handed configurations, each with its stated outcome. Those of the whole protocol are in
//! `src/config/lower/tests`, where the model is seen of what is not run yet.

use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Priority, Version};
use vrrp_proto::settings::{Announce, Broadcast};
use xvrrp::config::Unstartable;

use crate::common::{addresses, config, faults, handed, refused, run, script, snapshot};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn c01_plain_web_pair() {
    let loaded = handed("C01-plain-nginx.conf");
    assert_eq!(loaded.diags, []);
    assert_eq!(loaded.exit_code(), 0);
    let global = &config(&loaded).global;
    assert_eq!(global.router_id.as_deref(), Some("LB_A"));
    let check = script(&loaded, "chk_web");
    assert_eq!(check.command.argv, ["/bin/true"]);
    assert_eq!((check.interval, check.timeout), (2 * SECOND, 2 * SECOND));
    assert_eq!((check.fall, check.rise, check.weight.value), (3, 2, -20));
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!((vi_1.vrid.get(), vi_1.priority.get(), vi_1.interval.get()), (51, 110, SECOND));
    assert_eq!((vi_1.version, vi_1.family), (Version::V2, Family::V4));
    assert_eq!(vi_1.password(), Some(*b"1111\0\0\0\0"));
    assert_eq!(vi_1.interface, "eth0");
    assert_eq!(addresses(vi_1), ["192.0.2.250/24"]);
    assert_eq!(vi_1.addresses[0].device, "eth0");
    assert_eq!(vi_1.track_scripts[0].name, "chk_web");
    assert_eq!(vi_1.track_scripts[0].weight.value, -20);
}

#[test]
fn c02_brace_glued_to_the_word() {
    let loaded = handed("C02-brace-glued.conf");
    assert_eq!(loaded.diags, []);
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!((vi_1.vrid.get(), vi_1.priority.get()), (52, 120));
    assert_eq!(vi_1.password(), Some(*b"2222\0\0\0\0"));
    assert_eq!(vi_1.track_scripts[0].name, "chk_nginx");
    assert_eq!(vi_1.track_scripts[0].weight.value, 0);
    assert_eq!(addresses(vi_1), ["192.0.2.251/32"]);
    assert_eq!(config(&loaded).scripts.keys().collect::<Vec<_>>(), ["chk_nginx"]);
}

#[test]
fn c05_one_brace_short() {
    let loaded = handed("C05-eof-without-brace.conf");
    assert_eq!(faults(&loaded), ["1:1 error brace"]);
    assert!(loaded.diags[0].message.contains("vrrp_instance VI_1"));
    assert_eq!(loaded.exit_code(), 4);
    assert!(matches!(loaded.startable(), Err(Unstartable::Broken(_))));
    assert!(loaded.reloadable().is_err());
    snapshot("C05", &loaded);
}

#[test]
fn c08_slashes_are_no_comment() {
    let loaded = handed("C08-slash-comments.conf");
    assert_eq!(
        faults(&loaded),
        ["2:18", "5:18", "6:25", "7:21"].map(|at| format!("{at} warning slash-comment"))
    );
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!(vi_1.priority.get(), 100);
    assert_eq!(addresses(vi_1), ["192.0.2.249/32"]);
    snapshot("C08", &loaded);
}

#[test]
fn c10_crlf() {
    let loaded = handed("C10-crlf.conf");
    assert_eq!(loaded.diags, []);
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!((vi_1.vrid.get(), vi_1.priority.get()), (62, 140));
    assert_eq!(vi_1.password(), Some(*b"crlfpass"));
    assert_eq!(vi_1.track_scripts.len(), 1);
    assert_eq!(script(&loaded, "chk").command.argv, ["/bin/true"]);
}

#[test]
fn c12_long_password() {
    let loaded = handed("C12-auth-pass-long.conf");
    assert_eq!(faults(&loaded), ["6:19 warning changed"]);
    assert!(loaded.startable().is_ok());
    assert_eq!(run(&loaded, "VI_1").password(), Some(*b"Password"));
    assert_eq!(run(&loaded, "VI_2").password(), Some(*b"12345678"));
    assert_eq!(run(&loaded, "VI_3").password(), Some(*b"abc\0\0\0\0\0"));
    snapshot("C12", &loaded);
}

#[test]
fn c14_script_quoting() {
    let loaded = handed("C14-script-quoting.conf");
    assert_eq!(faults(&loaded), ["9:26 warning command"]);
    assert_eq!(script(&loaded, "quoted_args").command.argv, ["/bin/sh", "-c", "test -d /tmp"]);
    assert_eq!(script(&loaded, "bare_path").command.argv, ["/bin/true"]);
    let bare_args = script(&loaded, "bare_args");
    assert_eq!(bare_args.command.argv, ["/usr/bin/test", "-d", "/tmp"]);
    assert_eq!(bare_args.interval, Duration::from_millis(1500));
    assert_eq!(bare_args.timeout, Duration::from_millis(500));
    // dash knows no /dev/tcp.
    let devtcp = script(&loaded, "devtcp");
    assert_eq!(devtcp.command.argv, ["/bin/bash", "-c", "</dev/tcp/127.0.0.1/80"]);
    assert_eq!(devtcp.weight.value, -10);
    let vi_1 = run(&loaded, "VI_1");
    let weights: Vec<i16> = vi_1.track_scripts.iter().map(|one| one.weight.value).collect();
    assert_eq!(weights, [0, 0, 0, -30]);
    let argv = |command: &Option<xvrrp::config::model::Command>| {
        command.as_ref().map(|command| command.argv.clone()).unwrap_or_default()
    };
    assert_eq!(argv(&vi_1.notify.master), ["/bin/echo", "now master", "on", "VI_1"]);
    assert_eq!(argv(&vi_1.notify.backup), ["/bin/true"]);
    assert_eq!(argv(&vi_1.notify.any), ["/bin/echo"]);
    assert_eq!(vi_1.notify.fault, None);
    snapshot("C14", &loaded);
}

#[test]
fn c16_words_for_the_state() {
    let loaded = handed("C16-state-words.conf");
    assert_eq!(
        faults(&loaded),
        [
            "2:11 warning bad-value",
            "11:11 warning bad-value",
            "24:5 warning conflict",
            "31:5 warning twice",
            "35:5 warning conflict",
            "36:5 warning conflict",
        ]
    );
    let vi_4 = run(&loaded, "VI_4");
    assert_eq!((vi_4.preempt, vi_4.preempt_delay), (true, Duration::ZERO));
    assert_eq!(vi_4.priority, Priority::new(90));
    assert!(run(&loaded, "VI_3").preempt);
    snapshot("C16", &loaded);
}

#[test]
fn c18_fractions_in_version_2() {
    let loaded = handed("C18-advert-int-v2.conf");
    assert_eq!(
        faults(&loaded),
        [
            "7:16 warning changed",
            "15:16 warning changed",
            "23:16 warning changed",
            "31:16 error bad-value",
            "47:16 error bad-value",
            "55:16 error bad-value",
            "63:16 error bad-value",
        ]
    );
    let intervals: Vec<u64> =
        config(&loaded).instances.iter().map(|one| one.interval.get().as_secs()).collect();
    assert_eq!(intervals, [1, 1, 2, 1, 255, 1, 1, 1]);
    assert_eq!(loaded.exit_code(), 5);
    assert!(loaded.startable().is_ok());
    assert!(loaded.reloadable().is_err());
    snapshot("C18", &loaded);
}

#[test]
fn c20_no_authentication_in_version_3() {
    let loaded = handed("C20-v3-with-auth.conf");
    assert_eq!(faults(&loaded), ["9:5 warning auth"]);
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!((vi_1.version, vi_1.password()), (Version::V3, None));
    assert_eq!(vi_1.interval, Duration::from_millis(100));
    let vi_2 = run(&loaded, "VI_2");
    assert_eq!((vi_2.version, vi_2.password()), (Version::V2, Some(*b"lab12345")));
    snapshot("C20", &loaded);
}

#[test]
fn c23_what_stands_behind_an_address() {
    let loaded = handed("C23-vip-attributes.conf");
    assert_eq!(loaded.diags, []);
    let vi_1 = run(&loaded, "VI_1");
    assert_eq!(
        addresses(vi_1),
        ["192.0.2.230/24", "192.0.2.231/32", "192.0.2.232/24", "192.0.2.233/24", "198.51.100.1/24"]
    );
    let [first, second, third, fourth, fifth] = &vi_1.addresses[..] else {
        panic!("five addresses");
    };
    assert_eq!(first.label.as_deref(), Some("eth0:1"));
    assert_eq!(first.broadcast, Broadcast::Address([192, 0, 2, 255].into()));
    assert_eq!((first.scope, first.tracked), (0, true));
    assert_eq!((&*second.device, second.broadcast), ("eth0", Broadcast::None));
    assert!(!third.tracked);
    assert!(fourth.no_prefix_route && !first.no_prefix_route);
    assert_eq!((&*fifth.device, fifth.scope), ("eth1", 253));
    assert_eq!(vi_1.excluded.len(), 2);
    assert_eq!(vi_1.excluded[1].broadcast, Broadcast::HostBitsSet);
    assert_eq!((&*vi_1.excluded[1].device, vi_1.excluded[1].prefix), ("eth1", 28));
}

#[test]
fn c25_dual_master() {
    let loaded = handed("C25-dual-master.conf");
    assert_eq!(loaded.diags, []);
    let one = |name| {
        let instance = run(&loaded, name);
        (instance.priority.get(), instance.track_scripts[0].weight.value, instance.vrid.get())
    };
    assert_eq!(one("VI_1"), (101, 2, 51));
    assert_eq!(one("VI_2"), (100, 2, 52));
}

#[test]
fn c31_and_c33_what_is_not_read_is_said() {
    let loaded = handed("C31-conditional.conf");
    assert_eq!(faults(&loaded)[0], "1:1 error not-read");
    assert!(faults(&loaded).contains(&"10:5 error not-read".to_owned()));
    assert!(matches!(loaded.startable(), Err(Unstartable::Broken(_))));
    let loaded = handed("C33-include.conf");
    assert_eq!(faults(&loaded), ["4:1", "5:1", "13:5"].map(|at| format!("{at} error not-read")));
    assert!(matches!(loaded.startable(), Err(Unstartable::Broken(_))));
    snapshot("C33", &loaded);
}

#[test]
fn c35_lvs_beside() {
    let loaded = handed("C35-lvs-beside.conf");
    assert_eq!(faults(&loaded), ["5:1 notice lvs", "18:1 notice lvs"]);
    let one = |name| {
        let instance = run(&loaded, name);
        (instance.vrid.get(), instance.priority.get(), addresses(instance))
    };
    assert_eq!(one("VI_1"), (128, 100, vec!["192.0.2.250/24".to_owned()]));
    assert_eq!(one("VI_2"), (129, 90, vec!["192.0.2.251/24".to_owned()]));
    assert_eq!(loaded.exit_code(), 0);
    snapshot("C35", &loaded);
}

#[test]
fn c42_as_little_as_possible() {
    let loaded = handed("C42-minimal.conf");
    assert_eq!(loaded.diags, []);
    let a = run(&loaded, "a");
    assert_eq!((a.priority, a.interval.get()), (Priority::DEFAULT, SECOND));
    assert_eq!((a.version, a.password(), a.vrid.get()), (Version::V2, None, 133));
    assert_eq!(addresses(a), ["192.0.2.250/32"]);
    assert_eq!(a.announce, Announce::default());
    assert_eq!((a.preempt, a.form), (true, ChecksumForm::PseudoHeader));
}

#[test]
fn c45_garp_options() {
    let loaded = handed("C45-garp-options.conf");
    assert_eq!(loaded.diags, []);
    let global = &config(&loaded).global;
    assert_eq!(global.garp_interval, Duration::from_millis(1));
    assert_eq!(global.gna_interval, Duration::from_micros(1));
    let defaults = Announce {
        repeat: 1,
        delay: 10 * SECOND,
        refresh: 60 * SECOND,
        refresh_repeat: 2,
        lower_repeat: 0,
        lower_delay: 10 * SECOND,
    };
    assert_eq!(run(&loaded, "DEFAULTS").announce, defaults);
    let own = run(&loaded, "OWN");
    let expected = Announce {
        repeat: 3,
        delay: Duration::ZERO,
        lower_repeat: 2,
        lower_delay: SECOND,
        ..defaults
    };
    assert_eq!(own.announce, expected);
    assert!(own.higher_prio_send_advert && own.dont_track_primary && !own.lower_prio_no_advert);
}

#[test]
fn c47_many_addresses() {
    let loaded = handed("C47-many-addresses.conf");
    assert_eq!(faults(&loaded), ["301:9 warning too-many"]);
    assert_eq!(run(&loaded, "N30").addresses.len(), 30);
    let n256 = run(&loaded, "N256");
    assert_eq!((n256.addresses.len(), n256.excluded.len()), (255, 1));
    assert_eq!(n256.excluded[0].ip.to_string(), "203.0.113.255");
    snapshot("C47", &loaded);
}

#[test]
fn c48_keyword_without_its_value() {
    let loaded = handed("C48-value-missing.conf");
    assert_eq!(faults(&loaded), ["4:5 error no-value", "15:9 error no-value"]);
    assert_eq!(refused(&loaded, "VI_1"), "line 4: `priority` has no value");
    assert_eq!(refused(&loaded, "VI_2"), "line 15: `auth_pass` has no value");
    assert!(loaded.startable().is_err() && loaded.reloadable().is_err());
    assert_eq!(loaded.exit_code(), 4);
    snapshot("C48", &loaded);
}
