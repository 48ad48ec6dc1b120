//! The log of the program itself: the end neither waits for a reader nor loses a line to one.

use std::io::{Write, pipe};
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
