//! One worker process, from its start to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use vrrp_common::Instant;

use super::MARK;
use super::channel::{self, Kept, Said};
use crate::procfs;
use crate::sys::child::{self, pidfd, send_signal};

/// This program's file.
const SELF: &str = "/proc/self/exe";

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    pub(super) started: Instant,
    /// It catches signals: before that they would end it.
    pub(super) listens: bool,
    /// Its end of the socket is closed: it is as good as dead.
    pub(super) silent: bool,
    /// It is at work.
    pub(super) running: bool,
    /// When it was killed from here.
    pub(super) killed: Option<Instant>,
    /// It was said that it does not end for all that.
    pub(super) lingers: bool,
    /// Why, where it lived.
    why: Option<Why>,
    /// There was another one before it.
    pub(super) again: bool,
    /// How it ended, once that is known.
    ended: Option<Ended>,
}

impl Worker {
    /// Starts this program once more, with the same arguments and the mark, and hands it what is kept.
    ///
    /// # Errors
    /// The kernel's, where there is no room for a process.
    pub(super) fn start(kept: &Kept, now: Instant) -> io::Result<Self> {
        let (ours, theirs) = child::channel()?;
        channel::hand_over(ours.as_fd(), kept)?;
        let mut words = std::env::args_os();
        // The same file, even where the one of that name is a newer one by now.
        let mut command = Command::new(SELF);
        command.arg0(words.next().unwrap_or_default());
        command.args(words.next()).arg(MARK).args(words);
        command.stdin(Stdio::from(theirs));
        for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(ours);
        }
        // It is waited for by its descriptor.
        let child = command.spawn().map_err(without_proc)?;
        // Process numbers are far below that.
        let pid = Pid::from_raw(child.id() as i32);
        // The child's end of the socket is closed here, so that its end is seen.
        drop(command);
        let pidfd = pidfd(pid).inspect_err(|_| {
            let _ = kill(pid, Signal::SIGKILL);
        })?;
        Ok(Self {
            pid,
            pidfd,
            socket: ours,
            started: now,
            listens: false,
            silent: false,
            running: false,
            killed: None,
            lingers: false,
            why: None,
            again: false,
            ended: None,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Readable when it has said something, or its end of the socket is closed.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Readable when it has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// What it says next, if anything.
    pub(super) fn hear(&self) -> io::Result<Option<Said>> {
        channel::hear(self.socket())
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended, which is seen elsewhere.
        let _ = send_signal(self.pidfd(), signal);
    }

    /// Ends it, since it does not do its work.
    pub(super) fn end(&mut self, why: Why, now: Instant) {
        // Killed by somebody else, it may not have had the time to die.
        self.why = (!procfs::is_dying(self.pid())).then_some(why);
        self.kill(now);
    }

    /// Ends it, now that its work is another one's.
    pub(super) fn kill(&mut self, now: Instant) {
        self.killed = Some(now);
        self.signal(Signal::SIGKILL);
    }

    /// Why it was ended from here, where that is what it died of.
    pub(super) fn why(&self) -> Option<Why> {
        self.why
    }

    /// Says of one that was killed from here that it was, and why.
    pub(super) fn was_killed(&self) -> String {
        let why = self.why.map(|why| format!(", since {why},")).unwrap_or_default();
        format!("the worker (process {}) was killed{why}", self.pid())
    }

    /// How it ended; `None`: it has not.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            self.ended = self.wait();
        }
        self.ended
    }

    fn wait(&self) -> Option<Ended> {
        // The kernel keeps what is left of it until it is dropped.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::PIDFd(self.pidfd()), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(Ended::Code(u8::try_from(code).unwrap_or(1))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended::Signal(signal)),
            Ok(_) => None,
            // Somebody has children taken away from us; what it ended with is not known.
            Err(_) => Some(Ended::Code(1)),
        }
    }
}

/// An error of a start, which needs `/proc`.
fn without_proc(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound || Path::new(SELF).exists() {
        return error;
    }
    io::Error::new(error.kind(), format!("{SELF}: {error}; /proc must be mounted"))
}

impl Drop for Worker {
    /// Lets the kernel clear away what is left of it. There it turns in circles until the last of the
    /// worker's threads has let go of its entries under /proc. Those are real-time threads; with a
    /// higher priority than theirs we would keep the CPU from them, and on a host with no other CPU to
    /// spare for ever.
    fn drop(&mut self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        // One that has not ended, since we end before it, is the kernel's business.
        let _ = child::like_everybody(|| waitid(Id::PIDFd(self.pidfd()), flags));
    }
}

/// Why a worker is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It does not keep its word.
    Silent,
    /// Nor does it, and not by its own fault; its peers have taken over.
    Starved,
    /// It takes too long to begin.
    Slow,
    /// It takes too long to end.
    Stays,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "it had not been heard of for too long",
            Self::Starved => "it got no CPU until its peers' wait was over",
            Self::Slow => "it took too long to start",
            Self::Stays => "it did not end when asked to",
        })
    }
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

/// Codes that are believed of a worker in the place of another, too: it was asked to end, or rights are
/// missing. The configuration is the one that the other had.
const FINAL: [u8; 2] = [0, 4];

impl Ended {
    /// Whether it is to be replaced, and not believed. `ran`: this worker or one before it was at work. A
    /// daemon that never was says at once why, and does not try again unseen.
    pub(super) fn is_crash(self, ran: bool) -> bool {
        match self {
            Self::Code(code) => ran && !FINAL.contains(&code),
            Self::Signal(_) => true,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with status {code}"),
            Self::Signal(signal) => write!(f, "was ended by {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_believed_at_the_first_start_and_later_where_it_is_final() {
        for code in [0, 1, 2, 4, 6, 70, 101] {
            assert!(!Ended::Code(code).is_crash(false), "{code}");
            assert_eq!(Ended::Code(code).is_crash(true), ![0, 4].contains(&code), "{code}");
        }
        for ran in [false, true] {
            assert!(Ended::Signal(Signal::SIGKILL).is_crash(ran));
        }
    }
}
