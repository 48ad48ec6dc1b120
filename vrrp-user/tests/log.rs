//! The log of the program itself: the end neither waits for a reader nor loses a line to one.

use std::fs::File;
use std::io::{Write, pipe};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

/// A start that fails at once: no root is needed.
fn fails() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xvrrp"));
    command.args(["run", "-f", "/no/such/file.conf"]);
    command
}

/// The logger's own end would wait for more than a second; each time, while a busy machine is slow now and
/// then.
#[test]
fn the_end_does_not_wait_for_a_reader() {
    let unread = || {
        let (_reader, mut full) = pipe().unwrap();
        let size = fcntl(&full, FcntlArg::F_GETPIPE_SZ).unwrap();
        full.write_all(&vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
        let start = Instant::now();
        let mut child = fails().stderr(full).spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("it waits for its reader");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(6));
        start.elapsed()
    };
    let in_time = (0..20).any(|_| unread() < Duration::from_secs(1));
    assert!(in_time, "a second at least");
}

#[test]
fn the_last_line_is_written() {
    for _ in 0..20 {
        let output = fails().output().unwrap();
        assert_eq!(output.status.code(), Some(6));
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("/no/such/file.conf"), "{words}");
    }
}

#[test]
fn a_word_that_is_no_level_is_said_and_takes_no_line_away() {
    let said = |level: &str| {
        let output = fails().env("XVRRP_LOG", level).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(
            words.contains("ERROR") && words.contains("/no/such/file.conf"),
            "{level}: {words}"
        );
        words
    };
    for level in ["", "error", "warn", "info", "debug", "trace", "warning", "err", "WARN"] {
        let words = said(level);
        assert!(!words.contains("XVRRP_LOG"), "{level}: {words}");
    }
    for level in ["notice", "verbose", "off", "info,xvrrp=debug", "3"] {
        let words = said(level);
        let line = format!(
            " WARN XVRRP_LOG: `{level}` is no level, so it is info; there are error, warn, info, debug, trace"
        );
        assert_eq!(words.matches(&line).count(), 1, "{words}");
    }
}

/// The variable is there in all that a unit starts; only its own socket has the time already.
#[test]
fn a_line_has_its_time_wherever_it_does_not_go_to_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let file = File::create(&path).unwrap();
    let here = file.metadata().unwrap();
    let lines = |journal: String| -> Vec<String> {
        file.set_len(0).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        fails().env("JOURNAL_STREAM", journal).stderr(file).status().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("ERROR /no/such/file.conf"), "{text}");
        text.lines().map(str::to_owned).collect()
    };
    let has_time = |line: &String| line.starts_with('2') && line.contains("Z ");
    let elsewhere = lines(format!("{}:{}", here.dev(), here.ino() + 1));
    assert!(elsewhere.iter().all(has_time), "{elsewhere:?}");
    let there = lines(format!("{}:{}", here.dev(), here.ino()));
    assert!(!there.iter().any(has_time), "{there:?}");
}
