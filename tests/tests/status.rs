//! What the command line says: `check` on the handed configurations, `status`.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::{xvrrp, xvrrp_binary};
use vrrp_tests::{Daemon, Kind, Lab, cases, wait_until};

/// What `check` must say about a handed file: its exit code, the lines it must point to and no
/// others, and words that must be there.
struct Expected {
    file: &'static str,
    code: i32,
    lines: &'static [usize],
    words: &'static [&'static str],
}

const fn expect(
    file: &'static str,
    code: i32,
    lines: &'static [usize],
    words: &'static [&'static str],
) -> Expected {
    Expected { file, code, lines, words }
}

/// It can be run as it is written; what is told are warnings and notices.
const FINE: i32 = 0;
/// Something in it is not run.
const NOT_RUN: i32 = 4;
/// It is run otherwise than it is written.
const OTHERWISE: i32 = 5;

const EXPECTED: &[Expected] = &[
    expect("C01-plain-nginx", FINE, &[], &["VRID 51 on eth0, priority 110", "192.0.2.250/24"]),
    expect("C02-brace-glued", FINE, &[], &["VRID 52 on eth0, priority 120", "192.0.2.251/32"]),
    expect("C05-eof-without-brace", NOT_RUN, &[1], &["VI_1"]),
    expect(
        "C08-slash-comments",
        FINE,
        &[2, 5, 6, 7],
        &["`//`", "priority 100", "\n    on eth0: 192.0.2.249/32\n"],
    ),
    expect("C10-crlf", FINE, &[], &["VRID 62 on eth0, priority 140", "192.0.2.250/24"]),
    expect("C12-auth-pass-long", FINE, &[6], &["longer than 8 bytes", "first 8 bytes"]),
    expect("C14-script-quoting", FINE, &[9], &["outside the quotes", "run with them"]),
    expect(
        "C16-state-words",
        FINE,
        &[2, 11, 24, 31, 35, 36],
        &[
            "`SLAVE`",
            "`backup`",
            "`nopreempt` does not go with `state MASTER`",
            "`state` is written twice",
            "the first one counts",
        ],
    ),
    expect(
        "C18-advert-int-v2",
        OTHERWISE,
        &[7, 15, 23, 31, 47, 55, 63],
        &[
            "VI_1 advertises every 1 s",
            "VI_2 advertises every 1 s",
            "VI_3 advertises every 2 s",
            "VI_4 advertises every 1 s",
            "VRID 95 on eth0, priority 100, one advert each 255 s",
            "VI_6 advertises every 1 s",
            "VI_7 advertises every 1 s",
            "VI_8 advertises every 1 s",
        ],
    ),
    expect(
        "C20-v3-with-auth",
        FINE,
        &[9],
        &[
            "version 3 has no authentication",
            "VRRP version 3, VRID 78 on eth0, priority 100, one advert each 0.1 s",
            "VRRP version 2, VRID 79",
        ],
    ),
    expect(
        "C21-ipv6-good",
        FINE,
        &[],
        &["VRRP version 3, VRID 80", "fe80::5e00:250/64", "192.0.2.250/24 (not in the adverts)"],
    ),
    expect(
        "C23-vip-attributes",
        FINE,
        &[],
        &["on eth1: 198.51.100.1/24, 203.0.113.7/28 (not in the adverts)"],
    ),
    expect("C25-dual-master", FINE, &[], &["VRID 51", "VRID 52"]),
    expect(
        "C29-unicast",
        FINE,
        &[],
        &["adverts go to 192.0.2.12, 192.0.2.13 (theirs with TTL 254 to 255) from 192.0.2.11 \
             (a fault while no interface has it); those of others are refused"],
    ),
    expect(
        "C35-lvs-beside",
        FINE,
        &[5, 18],
        &[
            "`virtual_server_group` is about LVS",
            "`virtual_server` is about LVS",
            "VRID 128 on eth0, priority 100",
            "VRID 129 on eth0, priority 90",
        ],
    ),
    expect(
        "C36-packaged-default",
        FINE,
        &[16, 21],
        &[
            "`state MASTER` with priority 100, in strict mode",
            "strict mode has no authentication",
            "the addresses answer to nobody, ping included",
        ],
    ),
    expect("C40-vmac", FINE, &[], &["VRID 10 on eth0", "on eth0v10: 192.0.2.250/24"]),
    expect(
        "C42-minimal",
        FINE,
        &[],
        &["VRID 133 on eth0, priority 100, one advert each 1 s", "192.0.2.250/32"],
    ),
    expect("C45-garp-options", FINE, &[], &["DEFAULTS: VRRP", "OWN: VRRP"]),
    expect("C47-many-addresses", FINE, &[301], &["255 addresses", "virtual_ipaddress_excluded"]),
    expect(
        "C48-value-missing",
        NOT_RUN,
        &[4, 15],
        &["`priority` has no value", "`auth_pass` has no value"],
    ),
];

/// `check` on a host of the lab: what it says depends on the interfaces there.
fn check(lab: &Lab, file: &str) -> Result<(Output, String)> {
    let path = cases::conf_folder().join(format!("{file}.conf")).display().to_string();
    let binary = xvrrp_binary().display().to_string();
    let output = lab.ns("r1").command(&binary).args(["check", "-f", &path]).output()?;
    let words = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    Ok((output, words))
}

fn judge(lab: &Lab, expected: &Expected) -> Result<()> {
    let (output, words) = check(lab, expected.file)?;
    let code = output.status.code().context("ended by a signal")?;
    ensure!(code == expected.code, "exit {code}, not {}", expected.code);
    let told = lines(&words, expected.file);
    ensure!(told == expected.lines.iter().copied().collect(), "it points to {told:?}");
    // What is not told of a line must not be told at all.
    if expected.lines.is_empty() {
        let loud = ["Warning", "Error", "Notice"].into_iter().find(|word| words.contains(word));
        ensure!(loud.is_none(), "not silent");
    }
    for word in expected.words {
        ensure!(words.contains(word), "no word of {word}");
    }
    Ok(())
}

/// The lines that are pointed to, by `file.conf:LINE:COLUMN`.
fn lines(words: &str, file: &str) -> BTreeSet<usize> {
    let place = format!("{file}.conf:");
    words
        .split(&place)
        .skip(1)
        .filter_map(|rest| {
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
            let line = numbers.next()?.parse().ok()?;
            numbers.next()?.parse::<usize>().ok()?;
            Some(line)
        })
        .collect()
}

/// All handed configurations; every difference is reported, not the first alone.
#[test]
fn check_says_what_is_stated_of_each_handed_file() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1"])?;
    let mut failed = Vec::new();
    for expected in EXPECTED {
        if let Err(error) = judge(&lab, expected) {
            let words = check(&lab, expected.file)?.1;
            failed.push(format!("{}: {error:#}\n{words}", expected.file));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

/// The file may be for another host: that this one has no `eth1` is said, once, and no fault of the file.
#[test]
fn c23_check_says_that_an_interface_is_not_there() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    ensure!(lab.ns("r1").ip("link show eth1").is_err(), "it is there");
    let (output, words) = check(&lab, "C23-vip-attributes")?;
    ensure!(output.status.code() == Some(FINE), "exit {:?}", output.status.code());
    ensure!(lines(&words, "C23-vip-attributes") == BTreeSet::from([10]), "{words}");
    ensure!(words.contains("this host has no interface `eth1`"), "{words}");
    ensure!(words.contains("on eth1: 198.51.100.1/24"), "{words}");
    Ok(())
}

/// What comes later is refused or passed over by a clear word, and no file makes `check` crash.
#[test]
fn check_survives_every_handed_file() -> Result<()> {
    for entry in std::fs::read_dir(cases::conf_folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let output = xvrrp(&["check", "-f", &path.display().to_string()])?;
            let code = output.status.code();
            let words = String::from_utf8_lossy(&output.stderr);
            ensure!(
                matches!(code, Some(0 | 4 | 5 | 6)) && !words.contains("panicked"),
                "{}: exit {code:?}: {words}",
                path.display()
            );
        }
    }
    Ok(())
}

#[test]
fn check_of_no_file_is_a_clear_error() -> Result<()> {
    let output = xvrrp(&["check", "-f", "/no/such/file.conf"])?;
    ensure!(!output.status.success(), "it passes");
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(words.contains("/no/such/file.conf"), "unclear: {words}");
    Ok(())
}

#[test]
fn status_of_no_daemon_is_a_clear_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run_dir = dir.path().join("run").display().to_string();
    for more in [&["--json"][..], &[]] {
        let output = xvrrp(&[&["status", "--run-dir", &run_dir], more].concat())?;
        ensure!(!output.status.success(), "it ends well");
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(words.contains(&run_dir) || words.contains("not running"), "unclear: {words}");
        ensure!(!words.contains("panicked") && words.lines().count() < 5, "unclear: {words}");
    }
    Ok(())
}

/// A MASTER and its BACKUP describe themselves and each other.
#[test]
fn status_describes_both_sides() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let r1 = lab.run("r1", &Instance::new(150).every("0.5").alone(3))?;
    let r2 = lab.run("r2", &Instance::new(100).alone(3))?;
    let limit = Duration::from_secs(30);
    let counts = |daemon: &Daemon, counter: &str| {
        daemon.status().is_ok_and(|s| s.instance("VI_1").is_ok_and(|one| one.counter(counter) >= 4))
    };
    wait_until("r1 is MASTER", limit, || lab.holds("r1", "192.0.2.250"))?;
    wait_until("r1 has spoken", limit, || counts(&r1, "sent"))?;
    wait_until("r2 has heard it", limit, || counts(&r2, "accepted"))?;

    let status = r1.status()?;
    let instance = status.instance("VI_1")?;
    ensure!(instance.state() == "MASTER", "{}", instance.json());
    ensure!(!instance.why().is_empty(), "no reason: {}", instance.json());
    ensure!(instance.effective_priority() == 150, "{}", instance.json());
    let (path, _) = status.datapath("eth0")?;
    ensure!(path == "native", "{path} on a veth");

    let status = r2.status()?;
    let instance = status.instance("VI_1")?;
    ensure!(instance.state() == "BACKUP", "{}", instance.json());
    ensure!(instance.peer() == Some(("192.0.2.11", 500.0)), "{}", instance.json());
    ensure!(instance.counter("sent") == 0, "{}", instance.json());

    // For people: the same in words.
    let run_dir = r2.run_dir().display().to_string();
    let output = xvrrp(&["status", "--run-dir", &run_dir])?;
    let words = String::from_utf8_lossy(&output.stdout);
    for word in ["VI_1", "BACKUP", "192.0.2.11", "eth0", "native"] {
        ensure!(words.contains(word), "no {word} in:\n{words}");
    }
    Ok(())
}
