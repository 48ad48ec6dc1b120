//! The guardian's own lines, in the form of the daemon's. It never waits for the reader: where standard
//! error takes no more, the line is lost.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// A pipe that is writable takes so many bytes at once.
const ATOMIC: usize = 4096;

pub(super) fn warn(text: &str) {
    line(" WARN", text);
}

pub(super) fn error(text: &str) {
    line("ERROR", text);
}

fn line(level: &str, text: &str) {
    let mut line = String::new();
    // journald stamps each line itself.
    if std::env::var_os("JOURNAL_STREAM").is_none() {
        // Into a string nothing fails; without a stamp the line is still one.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        line.push(' ');
    }
    line.push_str(level);
    line.push(' ');
    line.push_str(text);
    let end = line.floor_char_boundary(ATOMIC - 1);
    line.truncate(end);
    line.push('\n');
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        // Nobody else could be told.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
