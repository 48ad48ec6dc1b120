//! What the command line says: `check` on the handed configurations, `status`.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::xvrrp;
use vrrp_tests::{Kind, Lab, cases, wait_until};

/// What `check` must say about a handed file: whether it passes, where it must point to, and words
/// that must be there. Exit 4 and 5 are both a failure; which one is not part of the cases.
struct Expected {
    file: &'static str,
    passes: Passes,
    lines: &'static [usize],
    words: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Passes {
    Silently,
    Yes,
    No,
    Either,
}

const fn expect(
    file: &'static str,
    passes: Passes,
    lines: &'static [usize],
    words: &'static [&'static str],
) -> Expected {
    Expected { file, passes, lines, words }
}

use Passes::{Either, No, Silently, Yes};

const EXPECTED: &[Expected] = &[
    expect("C01-plain-nginx", Silently, &[], &[]),
    expect("C02-brace-glued", Yes, &[], &[]),
    expect("C05-eof-without-brace", No, &[1], &["VI_1"]),
    expect("C08-slash-comments", Either, &[6, 7], &["//"]),
    expect("C10-crlf", Yes, &[], &[]),
    expect("C12-auth-pass-long", Either, &[], &["Password"]),
    expect("C14-script-quoting", Either, &[], &[]),
    expect("C16-state-words", Either, &[], &["SLAVE"]),
    expect("C18-advert-int-v2", Either, &[], &["advert_int"]),
    expect("C20-v3-with-auth", Either, &[], &["authentication"]),
    expect("C25-dual-master", Yes, &[], &[]),
    expect("C35-lvs-beside", Either, &[], &["virtual_server"]),
    expect("C36-packaged-default", Either, &[], &["vrrp_strict"]),
    expect("C40-vmac", Either, &[], &["use_vmac"]),
    expect("C42-minimal", Yes, &[], &[]),
    expect("C45-garp-options", Either, &[], &[]),
    expect("C47-many-addresses", Either, &[301], &["255"]),
    expect("C48-value-missing", No, &[4, 15], &[]),
];

fn check(file: &str) -> Result<(Output, String)> {
    let path = cases::conf_folder().join(format!("{file}.conf"));
    let output = xvrrp(&["check", "-f", &path.display().to_string()])?;
    let words = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    Ok((output, words))
}

fn judge(expected: &Expected) -> Result<()> {
    let (output, words) = check(expected.file)?;
    let code = output.status.code().context("ended by a signal")?;
    match expected.passes {
        Silently => ensure!(
            code == 0 && !words.to_lowercase().contains("warning"),
            "exit {code}, not silent"
        ),
        Yes => ensure!(code == 0, "exit {code}"),
        No => ensure!([4, 5].contains(&code), "exit {code}, not 4 or 5"),
        Either => ensure!([0, 4, 5, 6].contains(&code), "exit {code}"),
    }
    for line in expected.lines {
        // file.conf:LINE:COLUMN
        let at = format!("{}.conf:{line}:", expected.file);
        let column = words.split(&at).nth(1).and_then(|rest| rest.chars().next());
        ensure!(column.is_some_and(|c| c.is_ascii_digit()), "nothing about line {line} and column");
    }
    for word in expected.words {
        ensure!(words.contains(word), "no word of {word}");
    }
    // A fault is told with its place.
    if code == 4 || code == 5 {
        ensure!(words.contains(&format!("{}.conf:", expected.file)), "no place");
    }
    Ok(())
}

/// All handed configurations; every difference is reported, not the first alone.
#[test]
fn check_says_what_is_stated_of_each_handed_file() -> Result<()> {
    let mut failed = Vec::new();
    for expected in EXPECTED {
        if let Err(error) = judge(expected) {
            let words = check(expected.file)?.1;
            failed.push(format!("{}: {error:#}\n{words}", expected.file));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
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
    let r1 = lab.run("r1", &Instance::new(150).every("0.2").alone(3))?;
    let r2 = lab.run("r2", &Instance::new(100).every("0.5").alone(3))?;
    let limit = Duration::from_secs(8);
    wait_until("r1 is MASTER", limit, || lab.holds("r1", "192.0.2.250"))?;
    std::thread::sleep(Duration::from_secs(1));

    let status = r1.status()?;
    let instance = status.instance("VI_1")?;
    ensure!(instance.state() == "MASTER", "{}", instance.json());
    ensure!(!instance.why().is_empty(), "no reason: {}", instance.json());
    ensure!(instance.counter("sent") >= 4, "{}", instance.json());
    ensure!(instance.effective_priority() == 150, "{}", instance.json());
    let (path, _) = status.datapath("eth0")?;
    ensure!(path == "native", "{path} on a veth");

    let status = r2.status()?;
    let instance = status.instance("VI_1")?;
    ensure!(instance.state() == "BACKUP", "{}", instance.json());
    ensure!(instance.peer() == Some(("192.0.2.11", 200.0)), "{}", instance.json());
    ensure!(instance.counter("accepted") >= 4, "{}", instance.json());
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
