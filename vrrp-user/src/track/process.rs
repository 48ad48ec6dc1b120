//! A script as a process group of its own.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;

use super::child::{self, Identity, Image};
use crate::users::Account;

/// What is taken out of a script's environment besides everything that begins with `LD_`: what
/// changes how a shell reads, and what belongs to the daemon's own talk with the init system.
const DROPPED: [&str; 9] = [
    "IFS",
    "ENV",
    "BASH_ENV",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A program that may be run, with all it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Its path; not searched for.
    pub(crate) program: PathBuf,
    /// Its arguments after the name.
    pub(crate) arguments: Vec<String>,
    /// Whom it runs as.
    pub(crate) account: Account,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// A running process and all it started that stayed in its group.
///
/// The group's leader is not waited for before [`ProcessGroup::reap`], so that its number can't
/// become another's while signals are sent to the group.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    pid: Pid,
    ended: AsyncFd<OwnedFd>,
    reaped: bool,
    on_drop: Signal,
}

impl ProcessGroup {
    /// Starts `launch`. Where the group is dropped before its end, it gets `on_drop`.
    ///
    /// Must be called on the service thread: the script ends with the thread that started it.
    ///
    /// # Errors
    /// As the kernel gives them: the program is missing, not executable, or its user may not be
    /// taken.
    pub(crate) fn start(launch: &Launch, on_drop: Signal) -> io::Result<Self> {
        let pid = child::spawn(&image(launch)?)?;
        match child::pidfd(pid) {
            Ok(ended) => Ok(Self { pid, ended, reaped: false, on_drop }),
            Err(error) => {
                // Out of descriptors: a process that can't be watched must not stay.
                killpg(pid, Signal::SIGKILL)?;
                waitpid(pid, None)?;
                Err(error)
            }
        }
    }

    /// The leader's process number, also the group's.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns once the leader has ended. May be dropped and called again.
    pub(crate) async fn ended(&self) {
        // An error here means that the runtime ends, and with it whoever asks.
        drop(self.ended.readable().await);
    }

    /// Sends `signal` to the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.reaped {
            // Fails only where all that is left belongs to somebody else (a set-uid program).
            let _ = killpg(self.pid, signal);
        }
    }

    /// Has the group get another signal where it is dropped before its end.
    pub(crate) fn on_drop(&mut self, signal: Signal) {
        self.on_drop = signal;
    }

    /// Takes the leader's status once [`ProcessGroup::ended`] has returned.
    ///
    /// # Errors
    /// If the leader has not ended, or somebody else waited for it.
    pub(crate) fn reap(&mut self) -> io::Result<End> {
        let status = child::try_wait(self.pid)?.ok_or(io::ErrorKind::WouldBlock)?;
        self.reaped = true;
        Ok(match (status.code(), status.signal()) {
            (Some(status), _) => End::Exited(status),
            (None, signal) => End::Signaled(signal.unwrap_or(0)),
        })
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(self.on_drop);
        if !self.reaped {
            // Not waited for: that could block. What is left is waited for by init.
            drop(self.reap());
        }
    }
}

fn image(launch: &Launch) -> io::Result<Image> {
    let environment = std::env::vars_os().filter(|(name, _)| !is_dropped(name));
    let account = &launch.account;
    Ok(Image {
        program: text(launch.program.as_os_str().as_bytes())?,
        arguments: launch
            .arguments
            .iter()
            .map(|it| text(it.as_bytes()))
            .collect::<Result<_, _>>()?,
        environment: environment
            .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect::<Result<_, _>>()?,
        identity: (!account.is_ours()).then(|| Identity {
            uid: account.uid.as_raw(),
            gid: account.gid.as_raw(),
            groups: account.groups.iter().map(|group| group.as_raw()).collect(),
        }),
    })
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn is_dropped(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"LD_") || DROPPED.iter().any(|dropped| name == *dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_turn_a_script_is_not_inherited() {
        for name in
            ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "IFS", "BASH_ENV", "NOTIFY_SOCKET"]
        {
            assert!(is_dropped(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "OLD_PRELOAD", "LDAP_HOST"] {
            assert!(!is_dropped(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn an_argument_with_nul_is_refused_and_not_cut() {
        assert_eq!(text(b"a\0b").unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
