//! The guardian's own lines, in the form of the daemon's. It never waits for the reader: where standard
//! error takes no more, the line is lost.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::log::line;

/// A pipe that is writable takes so many bytes at once.
const ATOMIC: usize = 4096;

pub(super) fn info(text: &str) {
    say(" INFO", text);
}

pub(super) fn warn(text: &str) {
    say(" WARN", text);
}

pub(super) fn error(text: &str) {
    say("ERROR", text);
}

fn say(level: &str, text: &str) {
    let stderr = io::stderr();
    let mut line = line::line(line::wants_time(&stderr), level, text);
    let end = line.floor_char_boundary(ATOMIC - 1);
    line.truncate(end);
    line.push('\n');
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        // Nobody else could be told.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
