//! Whatever the bytes: no panic, and every message points into the file.

use std::path::Path;

use proptest::prelude::*;
use vrrp_common::{Family, Version};
use xvrrp::config::model::Destination;
use xvrrp::config::{Loaded, parse_str};

use crate::common::folder;

/// Everything that holds for every file.
fn holds(loaded: &Loaded) {
    let text = &loaded.source.text;
    for diag in &loaded.diags {
        let spans = [Some(&diag.span), diag.also.as_ref().map(|(span, _)| span)];
        for span in spans.into_iter().flatten() {
            assert!(text.get(span.clone()).is_some(), "{span:?} of {} bytes: {diag:?}", text.len());
        }
        assert!(!diag.message.is_empty() && !diag.consequence.is_empty(), "{diag:?}");
        assert!(!diag.message.contains(['\n', '\x1b']), "{diag:?}");
    }
    assert_eq!(loaded.log_lines().len(), loaded.diags.len());
    assert!(loaded.log_lines().iter().all(|line| !line.contains('\n')));
    assert!([0, 4, 5].contains(&loaded.exit_code()));
    assert_eq!(loaded.startable().is_err(), loaded.exit_code() == 4);
    if let Ok(config) = loaded.startable() {
        for instance in &config.instances {
            let named = !instance.interface.is_empty();
            assert!(instance.interface.len() < 16 && (named || instance.source.is_some()));
            let least = usize::from(instance.version == Version::V3);
            assert!((least..=255).contains(&instance.addresses.len()), "{instance:?}");
            assert!(instance.priority.get() > 0);
            let v4 = instance.family == Family::V4;
            assert!(instance.addresses.iter().all(|one| one.ip.is_ipv4() == v4));
            assert!(instance.family == Family::V4 || instance.version == Version::V3);
            match &instance.destination {
                Destination::Group(ip) => {
                    assert!(ip.is_multicast() && ip.is_ipv4() == v4);
                }
                Destination::Peers(unicast) => {
                    for peer in &unicast.peers {
                        assert!(
                            peer.min_ttl <= peer.max_ttl && Some(peer.address) != instance.source
                        );
                        assert!(peer.address.is_ipv4() == v4);
                    }
                }
            }
            if let Some(link) = &instance.own_link {
                assert!(!link.name.is_empty() && link.name.len() < 16, "{link:?}");
                assert!(link.name != instance.interface);
            }
            assert!((1..=100).contains(&instance.down_timer_adverts));
            assert!(instance.password().is_none() || instance.version == Version::V2);
            let field = instance.interval.field(instance.version);
            assert!(field.is_some_and(|field| field > 0), "{:?}", instance.interval);
            for tracked in &instance.track_scripts {
                assert!(config.scripts.contains_key(&tracked.name));
            }
        }
        for script in config.scripts.values() {
            assert!(!script.command.argv.is_empty() && !script.interval.is_zero());
        }
    }
    let shown = loaded.render(false);
    assert!(!shown.contains('\x1b'));
}

fn check(bytes: &[u8]) {
    holds(&parse_str(Path::new("x.conf"), bytes));
}

/// The handed files, and one with the words that they don't have.
fn files() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    names.sort();
    assert!(names.len() > 20);
    names.push(folder().join("../../../fuzz/corpus/config/whole-protocol.conf"));
    names.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// Pieces that mean something to the grammar.
const PIECES: &[&str] = &[
    "{",
    "}",
    "\n",
    "\"",
    "'",
    "\\",
    "#",
    "!",
    "//",
    "=",
    "$",
    "${",
    "$A=1",
    "@a ",
    "~SEQ",
    "\r",
    "\t",
    "\u{a0}",
    "\u{2028}",
    "é",
    "\u{201c}",
    "\0",
    " ",
    "-1",
    "0",
    "255",
    "256",
    "1.5",
    "1e9",
    "9999999999999999999999",
    "include x",
    "vrrp_instance",
    "vrrp_script",
    "global_defs",
    "virtual_ipaddress",
    "authentication",
    "track_script",
    "weight",
    "reverse",
    "priority",
    "192.0.2.1/24",
    "2001:db8::1",
    "dev",
    "label",
    "PASS",
    "unicast_peer",
    "min_ttl",
    "unicast_src_ip 192.0.2.1",
    "use_vmac",
    "use_ipvlan",
    "use_vmac_addr",
    "vmac_xmit_base",
    "02:00:00:00:01",
    "strict_mode",
    "vrrp_strict",
    "no_accept",
    "mcast_dst_ip 224.0.0.19",
    "down_timer_adverts",
    "timer_expired_backup",
    "vip_mismatch",
    "track_src_ip",
    "AH",
    "virtual_server",
    "vrrp_sync_group",
    "group",
    "notify",
    "</dev/tcp/a/1",
    "\\0",
    "\\xff",
    "\\c!",
];

/// What happens to a file in an editor.
#[derive(Clone, Debug)]
enum Edit {
    Cut(usize, usize),
    Put(usize, usize),
    Byte(usize, u8),
    Double(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<usize>();
    let edit = prop_oneof![
        (at, 0..40_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        (at, 0..PIECES.len()).prop_map(|(at, piece)| Edit::Put(at, piece)),
        (at, any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (at, 0..200_usize).prop_map(|(at, length)| Edit::Double(at, length)),
    ];
    prop::collection::vec(edit, 1..8)
}

fn edited(mut file: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = file.len();
        let place = |at: usize| at % (length + 1);
        match *edit {
            Edit::Cut(at, count) => {
                file.drain(place(at)..length.min(place(at) + count));
            }
            Edit::Put(at, piece) => {
                file.splice(place(at)..place(at), PIECES[piece].bytes());
            }
            Edit::Byte(at, byte) => file.splice(place(at)..place(at), [byte]).for_each(drop),
            Edit::Double(at, count) => {
                let part = file[place(at)..length.min(place(at) + count)].to_vec();
                file.splice(place(at)..place(at), part);
            }
        }
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..120)) {
        let text: String =
            pieces.iter().flat_map(|&(piece, space)| [PIECES[piece], if space { " " } else { "" }]).collect();
        check(text.as_bytes());
    }

    #[test]
    fn edited_files(which in any::<prop::sample::Index>(), edits in edits()) {
        let files = files();
        check(&edited(which.get(&files).clone(), &edits));
    }
}

#[test]
fn every_beginning_of_every_file() {
    for file in files() {
        for end in (0..file.len()).step_by(19) {
            check(&file[..end]);
        }
    }
}

#[test]
fn large_files_take_no_time() {
    let start = std::time::Instant::now();
    let files = [
        "a\n".repeat(4_000),
        "{".repeat(100_000),
        "\"".repeat(100_001),
        "x".repeat(1_000_000),
        "vrrp_instance A {\n".repeat(5_000),
        format!("vrrp_instance A {{\nvirtual_ipaddress {{\n{}}}\n}}", "192.0.2.1\n".repeat(4_000)),
        format!("priority 1 {}", "priority 1 ".repeat(4_000)),
        format!("vrrp_instance A {{\n{}}}\n", "priority 1 ".repeat(4_000)),
        "$A=1 $B $C\n".repeat(5_000),
    ];
    for file in files {
        let loaded = parse_str(Path::new("x.conf"), &file);
        assert!(loaded.startable().is_err());
        let seconds = start.elapsed().as_secs();
        assert!(seconds < 30, "{seconds} s at {}", &file[..20]);
    }
}
