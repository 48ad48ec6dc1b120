//! What guardian and worker tell each other, over a socket that is the worker's standard input.
//!
//! A message is a word and perhaps names, with one descriptor for each name where it is `keep`:
//! `keep NAME...`, `drop NAME...`, `directory PATH` (the run directory), `hello` (signals are caught),
//! `level PRIORITY`, `running MICROSECONDS`, `reloading`, `reloaded`, and from the guardian to a new worker
//! `keep`s of all that an earlier one has had kept, then `all SOFT HARD`, with the limits of descriptors that
//! the daemon was started with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{Signal, raise};
use nix::unistd::{dup2_stdin, getppid};

use super::WORKER;
use crate::sys::child::{DESCRIPTORS, Received, copy_at_least, receive, send};
use crate::sys::limits::{at_start, started_with};

/// Descriptors by name.
pub(crate) type Kept = BTreeMap<String, OwnedFd>;

/// How long a worker waits for what an earlier one has had kept. It was sent before the worker began.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a worker says.
#[derive(Debug)]
pub(super) enum Said {
    Hello,
    /// The run directory.
    Directory(PathBuf),
    /// With how much of the time until then was for what a later worker takes over.
    Running(Duration),
    Reloading,
    Reloaded,
    /// Descriptors, and the names of those that this process had no room for.
    Keep(Vec<(String, OwnedFd)>, Vec<String>),
    /// The real-time priority that it works with; 0: none.
    Level(u8),
    Drop(Vec<String>),
    /// Its end of the socket is closed.
    End,
}

/// Reads what the worker says next; `None`: nothing at present.
pub(super) fn hear(socket: BorrowedFd<'_>) -> io::Result<Option<Said>> {
    let Some(Received { text, descriptors, cut }) = receive(socket)? else { return Ok(None) };
    if let Some(path) = text.strip_prefix("directory ") {
        return Ok(Some(Said::Directory(path.into())));
    }
    let mut words = text.split_whitespace().map(str::to_owned);
    Ok(Some(match words.next().as_deref() {
        None => Said::End,
        Some("hello") => Said::Hello,
        Some("running") => {
            let micros = words.next().and_then(|micros| micros.parse().ok()).unwrap_or(0);
            Said::Running(Duration::from_micros(micros))
        }
        Some("reloading") => Said::Reloading,
        Some("reloaded") => Said::Reloaded,
        Some("level") => {
            Said::Level(words.next().and_then(|level| level.parse().ok()).unwrap_or(0))
        }
        Some("keep") => {
            let (kept, missing) = named(words.collect(), descriptors, cut);
            Said::Keep(kept, missing)
        }
        // Both ends are one program.
        Some(_) => Said::Drop(words.collect()),
    }))
}

/// Descriptors by name, and the names of those that did not come with the others.
fn named(
    mut names: Vec<String>,
    descriptors: Vec<OwnedFd>,
    cut: bool,
) -> (Vec<(String, OwnedFd)>, Vec<String>) {
    let missing = names.split_off(descriptors.len().min(names.len()));
    debug_assert!(cut || missing.is_empty());
    (names.into_iter().zip(descriptors).collect(), missing)
}

/// Hands all that is kept to a new worker.
pub(super) fn hand_over(socket: BorrowedFd<'_>, kept: &Kept) -> io::Result<()> {
    let all: Vec<(&str, BorrowedFd<'_>)> =
        kept.iter().map(|(name, fd)| (name.as_str(), fd.as_fd())).collect();
    for some in all.chunks(DESCRIPTORS) {
        keep(socket, some)?;
    }
    let limit = at_start().map(|limits| limits.descriptors);
    let limit = limit.map(|(soft, hard)| format!(" {soft} {hard}")).unwrap_or_default();
    send(socket, &format!("all{limit}"), &[])
}

fn keep(socket: BorrowedFd<'_>, some: &[(&str, BorrowedFd<'_>)]) -> io::Result<()> {
    let names: Vec<&str> = some.iter().map(|(name, _)| *name).collect();
    let descriptors: Vec<BorrowedFd<'_>> = some.iter().map(|(_, fd)| *fd).collect();
    send(socket, &format!("keep {}", names.join(" ")), &descriptors)
}

/// The worker's end: its guardian, who keeps what is to outlive it.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: OwnedFd,
    main: u32,
    kept: Kept,
}

impl Keeper {
    /// Takes the socket from standard input, makes this process end in order when the guardian ends, and
    /// receives what an earlier worker has had kept.
    ///
    /// # Errors
    /// Standard input is no such socket, or the guardian is gone.
    pub(crate) fn meet() -> io::Result<Self> {
        // For `ps` and `top`: by what was executed it would be `exe`.
        set_name(WORKER)?;
        let low = io::stdin().as_fd().try_clone_to_owned()?;
        let null = File::open("/dev/null")?;
        dup2_stdin(&null)?;
        // The kernel closes a process's descriptors from the highest down, and each packet socket takes
        // it some milliseconds: with a high number the guardian knows at once.
        let socket = copy_at_least(low.as_fd(), HIGH).unwrap_or(low);
        set_pdeathsig(Signal::SIGTERM)?;
        // It may have ended before that was set.
        let main = getppid();
        let (kept, missing) = take_over(socket.as_fd()).inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                // What pdeathsig would have done.
                raise(Signal::SIGTERM).ok();
            }
        })?;
        let keeper = Self { socket, main: u32::try_from(main.as_raw()).unwrap_or(0), kept };
        if !missing.is_empty() {
            // A program that is on an interface and that nobody can read would take its adverts.
            let names: Vec<&str> = missing.iter().map(String::as_str).collect();
            keeper.drop(&names);
            tracing::warn!("{}, so it is made anew", no_room(&names));
        }
        Ok(keeper)
    }

    /// The guardian's process.
    pub(crate) fn main(&self) -> u32 {
        self.main
    }

    /// Whether that process has ended: this one is another's child by now.
    pub(crate) fn is_gone(&self) -> bool {
        u32::try_from(getppid().as_raw()) != Ok(self.main)
    }

    /// What an earlier worker has had kept under this name, once. The guardian keeps it on.
    pub(crate) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.kept.remove(name)
    }

    /// All that an earlier worker has had kept under names that begin so, once.
    pub(crate) fn take_all(&mut self, prefix: &str) -> Kept {
        self.kept.extract_if(.., |name, _| name.starts_with(prefix)).collect()
    }

    /// Has the guardian keep descriptors; one of a name it has takes the place of that.
    pub(crate) fn keep(&self, some: &[(&str, BorrowedFd<'_>)]) {
        for some in some.chunks(DESCRIPTORS) {
            tell(keep(self.socket.as_fd(), some));
        }
    }

    /// Has the guardian close descriptors.
    pub(crate) fn drop(&self, names: &[&str]) {
        // As many as a message holds with their descriptors.
        for some in names.chunks(DESCRIPTORS) {
            self.say(&format!("drop {}", some.join(" ")));
        }
    }

    /// Tells how far this process is.
    pub(crate) fn say(&self, text: &str) {
        tell(send(self.socket.as_fd(), text, &[]));
    }
}

/// Says which descriptors a process could not take.
pub(super) fn no_room(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let first = names.first().copied().unwrap_or_default();
    format!(
        "there is no room for {} descriptor(s), {first} and behind, within the limit of open files (RLIMIT_NOFILE)",
        names.len()
    )
}

/// A descriptor that few processes reach: the table of descriptors is as long as the highest one.
const HIGH: i32 = 1000;

fn tell(result: io::Result<()>) {
    if let Err(error) = result {
        // Without it this process goes on; when it dies, the next one begins from less.
        tracing::warn!("the guardian was not told: {error}");
    }
}

/// Receives what an earlier worker has had kept, and the names of what this process had no room for.
///
/// # Errors
/// `BrokenPipe`: the guardian is gone.
fn take_over(socket: BorrowedFd<'_>) -> io::Result<(Kept, Vec<String>)> {
    let (mut kept, mut missing) = (Kept::new(), Vec::new());
    loop {
        let mut ready = [PollFd::new(socket, PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        poll(&mut ready, limit)?;
        let Some(Received { text, descriptors, cut }) = receive(socket)? else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        let mut words = text.split_whitespace();
        match words.next() {
            Some("keep") => {
                let (some, not) = named(words.map(str::to_owned).collect(), descriptors, cut);
                kept.extend(some);
                missing.extend(not);
            }
            Some(_) if !is_closed(socket)? => {
                let limit: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
                if let [soft, hard] = limit[..] {
                    started_with((soft, hard))?;
                }
                return Ok((kept, missing));
            }
            Some(_) | None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Says whether the other end is gone, even where something is left to read.
fn is_closed(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut state = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut state, PollTimeout::ZERO)?;
    Ok(state[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::child::channel;

    #[test]
    fn a_worker_has_all_that_was_kept() {
        let (guardian, worker) = channel().unwrap();
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        // More than one message holds.
        let all: Kept = (0..DESCRIPTORS + 3).map(|n| (format!("map{n}"), null())).collect();
        hand_over(guardian.as_fd(), &all).unwrap();
        let (kept, missing) = take_over(worker.as_fd()).unwrap();
        assert!(kept.keys().eq(all.keys()) && missing.is_empty(), "{missing:?}");
    }

    /// Also where it has said all before.
    #[test]
    fn a_guardian_that_is_gone_is_known() {
        let gone = |told: bool| {
            let (guardian, worker) = channel().unwrap();
            if told {
                hand_over(guardian.as_fd(), &Kept::new()).unwrap();
            }
            drop(guardian);
            take_over(worker.as_fd()).unwrap_err().kind()
        };
        assert_eq!([true, false].map(gone), [io::ErrorKind::BrokenPipe; 2]);
    }
}
