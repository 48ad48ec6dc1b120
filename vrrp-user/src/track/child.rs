//! The few calls between `fork` and `exec` that the standard library has no safe form for.
#![expect(unsafe_code, reason = "pre_exec, signal, close_range and pidfd_open have no safe form")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Pid, Uid, getpid, getppid, setgid, setgroups, setuid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Whom the child becomes.
pub(super) struct Identity {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

/// Has `command`'s child start in a known state: as `identity`, with every signal at its
/// default and none blocked, without real-time scheduling, with no descriptor but 0 to 2, and
/// ended by SIGTERM when the calling thread ends.
pub(super) fn start_clean(command: &mut Command, identity: Option<Identity>) {
    let parent = getpid();
    // SAFETY: the closure runs in the child of a process with threads, so it may only make
    // async-signal-safe calls and must not allocate: all it makes are plain system calls on
    // memory that was filled before the fork.
    unsafe { command.pre_exec(move || become_script(parent, identity.as_ref())) };
}

fn become_script(parent: Pid, identity: Option<&Identity>) -> io::Result<()> {
    // Ignored signals would be inherited, real-time ones too.
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: a disposition is set to its default, no handler is installed. Numbers that
        // can't be set (SIGKILL, SIGSTOP, the C library's own) are refused, harmlessly.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask()?;
    // SAFETY: both calls take the calling process and a parameter block that lives across them.
    // A process may always leave real-time scheduling; where it isn't in it, nothing is called.
    unsafe {
        if libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK != libc::SCHED_OTHER {
            let ordinary = libc::sched_param { sched_priority: 0 };
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        }
    }
    if let Some(identity) = identity {
        setgroups(&identity.groups)?;
        setgid(identity.gid)?;
        setuid(identity.uid)?;
    }
    // After setuid, which takes it back.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != parent {
        // The daemon ended before it was set.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: sets a flag on descriptors, none is closed before exec. Kernels before 5.11 don't
    // know the flag and refuse it: then only what was opened with O_CLOEXEC is closed.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// Opens a descriptor that becomes readable when the process ends (Linux 5.3).
///
/// # Errors
/// As the kernel gives them; `pid` must be a child that was not waited for.
pub(super) fn pidfd(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: takes two numbers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made it, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an OwnedFd is open and the same until it is dropped, which the AsyncFd does last.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
