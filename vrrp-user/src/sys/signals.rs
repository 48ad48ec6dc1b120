//! Signals beyond those that a daemon lives by.
#![expect(unsafe_code, reason = "no library has the signals of real time in its sets")]

use std::io;
use std::ptr;

use libc::c_int;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Signals by which keepalived is asked for something, and others that end a process which does not know
/// them: nothing is done but to say where to ask.
fn asking() -> impl Iterator<Item = c_int> {
    let named =
        [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO];
    named.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// Whether a signal, by its number, is one by which somebody asks for something.
pub(crate) fn asks(number: c_int) -> bool {
    asking().any(|one| one == number)
}

/// What a signal is called.
pub(crate) fn name(number: c_int) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => match number - libc::SIGRTMIN() {
            0 => "SIGRTMIN".to_owned(),
            more => format!("SIGRTMIN+{more}"),
        },
    }
}

/// Has these signals, those by which somebody asks and those of children wait for whoever reads them, and
/// processes that are started from here ignore those by which somebody asks. Gives the set of them all.
///
/// # Errors
/// None that a kernel gives.
pub(crate) fn keep_waiting(more: &[Signal]) -> io::Result<SigSet> {
    let mut set = SigSet::empty();
    set.extend(more.iter().copied());
    // How children ended is kept: whoever started this process may have had it ignored.
    set.add(Signal::SIGCHLD);
    // SAFETY: no handler is installed, and none is taken away that this process has.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let mut raw = *set.as_ref();
    for number in asking() {
        // SAFETY: the set lives beyond the call and was made by the library; the number is one of a signal.
        Errno::result(unsafe { libc::sigaddset(&raw mut raw, number) })?;
    }
    // SAFETY: a set that the library's own calls have made.
    let set = unsafe { SigSet::from_sigset_t_unchecked(raw) };
    // First: what is blocked waits even where it is ignored.
    set.thread_block()?;
    for number in asking() {
        // SAFETY: the structure is valid when zeroed and lives beyond the call; no handler is installed.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_IGN;
            Errno::result(libc::sigaction(number, &raw const action, ptr::null_mut()))?;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keepalived_knows_asks_and_what_ends_us_does_not() {
        // As `keepalived --signum` says them: DATA, STATS, STATS_CLEAR, JSON.
        for number in [10, 12, libc::SIGRTMAX() - 1, libc::SIGRTMIN() + 2] {
            assert!(asks(number), "{number}");
        }
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGCHLD] {
            assert!(!asks(number), "{number}");
        }
        let names = [libc::SIGUSR1, libc::SIGRTMIN(), libc::SIGRTMIN() + 2].map(name);
        assert_eq!(names, ["SIGUSR1", "SIGRTMIN", "SIGRTMIN+2"]);
    }
}
