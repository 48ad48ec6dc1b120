//! Starts a process without copying the daemon's memory.
//!
//! `fork` would hold the lock on the address space while it copies the page tables, and the
//! protocol thread waits for that lock whenever it touches a page: on a busy host, a real-time
//! thread woke up to 6 ms late. So the child borrows the memory until it calls `exec`, as in
//! `posix_spawn`, which itself can't change the user.
#![expect(unsafe_code, reason = "clone, and what a child may call before exec, have no safe form")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::limits::{self, AtStart};

/// What a limit is of: another type in each C library.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = c_int;

/// The shell for files that have no `#!` line, as in execvp(3).
const SHELL: &CStr = c"/bin/sh";

/// Far more than the child's few calls need.
const STACK: usize = 64 * 1024;

/// Held while the memory is lent, since what is put right afterwards belongs to the process.
static LENDING: Mutex<()> = Mutex::new(());

// On these, the plain calls take 16-bit numbers.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod calls {
    pub(super) use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod calls {
    pub(super) use libc::{
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
}

/// What to run.
pub(super) struct Image {
    /// The file's path.
    pub(super) program: CString,
    /// The arguments after the name.
    pub(super) arguments: Vec<CString>,
    /// `NAME=VALUE`.
    pub(super) environment: Vec<CString>,
    /// Whom the child becomes; `None` where that is us.
    pub(super) identity: Option<Identity>,
}

/// A user and its groups, as the kernel wants them.
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// What the child reads: plain values and pointers, all made before it starts.
struct Order<'a> {
    program: *const c_char,
    argv: *const *const c_char,
    /// For the shell: its name, then `argv`.
    shell_argv: *const *const c_char,
    environment: *const *const c_char,
    identity: Option<&'a Identity>,
    null: RawFd,
    parent: libc::pid_t,
    limits: Option<[(Resource, libc::rlimit); 2]>,
    signals: *const libc::sigset_t,
    /// Why it could not become the program; 0 where it did.
    failed: AtomicI32,
}

/// Starts `image` as the leader of a new process group, in a known state: as its user, with every
/// signal at its default and none blocked, with the limits that the daemon was started with, without real-time scheduling, with `/dev/null` as its
/// descriptors 0 to 2 and no other, and ended by SIGTERM when the calling thread ends.
///
/// Returns when the program runs. The child must be waited for.
///
/// # Errors
/// As the kernel gives them, those of `exec` too; then there is no child.
pub(super) fn spawn(image: &Image) -> io::Result<Pid> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/null")?;
    let program = image.program.as_ptr();
    let words = || image.arguments.iter().map(|word| word.as_ptr());
    let end = || std::iter::once(ptr::null());
    let argv: Vec<_> = std::iter::once(program).chain(words()).chain(end()).collect();
    let shell_argv: Vec<_> =
        [SHELL.as_ptr(), program].into_iter().chain(words()).chain(end()).collect();
    let environment: Vec<_> =
        image.environment.iter().map(|pair| pair.as_ptr()).chain(end()).collect();
    let signals = SigSet::empty();
    let order = Order {
        program,
        argv: argv.as_ptr(),
        shell_argv: shell_argv.as_ptr(),
        environment: environment.as_ptr(),
        identity: image.identity.as_ref(),
        null: null.as_raw_fd(),
        parent: getpid().as_raw(),
        limits: limits::at_start().map(of_start),
        signals: signals.as_ref(),
        failed: AtomicI32::new(0),
    };
    let pid = lend(&order)?;
    match order.failed.into_inner() {
        0 => Ok(pid),
        errno => {
            waitpid(pid, None)?;
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// The limits that a child gets back.
fn of_start(limits: AtStart) -> [(Resource, libc::rlimit); 2] {
    let limit = |(rlim_cur, rlim_max)| libc::rlimit { rlim_cur, rlim_max };
    [
        (libc::RLIMIT_NOFILE, limit(limits.descriptors)),
        (libc::RLIMIT_RTTIME, limit(limits.run_time)),
    ]
}

/// Runs [`become_script`] as a child in our memory, on a stack of its own; this thread stands
/// still until the child has called `exec` or ended.
fn lend(order: &Order<'_>) -> io::Result<Pid> {
    keep_children()?;
    let _alone = LENDING.lock().unwrap_or_else(PoisonError::into_inner);
    // A change of user makes the memory undumpable, ours while it is shared: core dumps would be
    // lost. For as long as it is shared that is as it should be: no other process may look in.
    let dumpable = order.identity.is_some().then(prctl::get_dumpable).transpose()?;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    // A handler of ours must not run in the child.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is ours, aligned, ends where the pointer says and grows down; it, the
    // order and all it points to outlive the child's use of them, since CLONE_VFORK holds this
    // thread until then. The child makes only system calls and allocates nothing.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(become_script, top.cast(), flags, ptr::from_ref(order).cast_mut().cast())
    };
    let result = Errno::result(pid);
    before.thread_set_mask()?;
    if let Some(dumpable) = dumpable {
        prctl::set_dumpable(dumpable)?;
    }
    Ok(result.map(Pid::from_raw)?)
}

/// A daemon that was started with SIGCHLD ignored would never learn how its children end.
fn keep_children() -> io::Result<()> {
    // SAFETY: both structures are valid when zeroed and live across the calls; a handler that
    // somebody installed is left alone.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        Errno::result(libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut action))?;
        if action.sa_sigaction == libc::SIG_IGN {
            action.sa_sigaction = libc::SIG_DFL;
            Errno::result(libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// The child: system calls only. It may not return, allocate, lock or panic.
extern "C" fn become_script(order: *mut c_void) -> c_int {
    // SAFETY: `lend` passes an `Order`, and stands still while it is used.
    let order = unsafe { &*order.cast::<Order<'_>>() };
    let errno = match start_clean(order) {
        Ok(()) => exec(order),
        Err(errno) => errno,
    };
    order.failed.store(errno, Ordering::Relaxed);
    // SAFETY: ends the child alone, without the handlers of exit(3).
    unsafe { libc::_exit(127) }
}

fn start_clean(order: &Order<'_>) -> Result<(), c_int> {
    // SAFETY: plain system calls, on numbers and on memory that `spawn` filled. What the C
    // library's calls for users would do, telling all threads, is just what must not happen here:
    // the raw calls change the child alone.
    unsafe {
        // Ignored signals would be inherited. Numbers that can't be set are refused, harmlessly.
        for number in 1..=libc::SIGRTMAX() {
            libc::signal(number, libc::SIG_DFL);
        }
        check(libc::setpgid(0, 0).into())?;
        for number in 0..3 {
            check(libc::dup2(order.null, number).into())?;
            check(libc::fcntl(number, libc::F_SETFD, 0).into())?;
        }
        // A process may always leave real-time scheduling.
        if libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK != libc::SCHED_OTHER {
            let ordinary = libc::sched_param { sched_priority: 0 };
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        }
        if let Some(Identity { uid, gid, groups }) = order.identity {
            check(libc::syscall(calls::SETGROUPS, groups.len(), groups.as_ptr()))?;
            check(libc::syscall(calls::SETRESGID, *gid, *gid, *gid))?;
            check(libc::syscall(calls::SETRESUID, *uid, *uid, *uid))?;
        }
        // After the change of user, which takes it back.
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0).into())?;
        if libc::getppid() != order.parent {
            // The daemon ended before that.
            return Err(libc::ESRCH);
        }
        // Kernels before 5.11 don't know the flag: then only what was opened with O_CLOEXEC goes.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        for (resource, limit) in order.limits.iter().flatten() {
            check(libc::setrlimit(*resource, limit).into())?;
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, order.signals, ptr::null_mut()).into())
    }
}

/// Returns only if it fails.
fn exec(order: &Order<'_>) -> c_int {
    // SAFETY: strings and lists end with NUL and null, and live in memory that `spawn` filled.
    unsafe {
        libc::execve(order.program, order.argv, order.environment);
        if Errno::last_raw() == libc::ENOEXEC {
            libc::execve(SHELL.as_ptr(), order.shell_argv, order.environment);
        }
    }
    Errno::last_raw()
}

fn check(result: c_long) -> Result<(), c_int> {
    if result < 0 { Err(Errno::last_raw()) } else { Ok(()) }
}

/// Takes the status of a child if it has ended.
///
/// # Errors
/// If it is no child of ours, or was waited for.
pub(super) fn try_wait(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    // SAFETY: writes one number, which outlives the call.
    match Errno::result(unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::WNOHANG) })? {
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
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
