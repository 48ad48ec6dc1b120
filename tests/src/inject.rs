//! Faults that the kernel has no switch for.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::wait::pause;

/// The threads of a process: their ids and names.
pub fn threads(process: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, name.trim_end().to_owned()))
    };
    tasks.into_iter().flatten().flatten().filter_map(of).collect()
}

/// A thread that does not end when it is killed, as one that hangs in the kernel, until this is dropped, by
/// the thread that made it.
#[derive(Debug)]
pub struct Undying(Pid);

impl Undying {
    /// Makes a thread one.
    ///
    /// # Errors
    /// It is gone, or another process traces it.
    pub fn new(thread: u32) -> Result<Self> {
        let thread = Pid::from_raw(i32::try_from(thread)?);
        ptrace::seize(thread, Options::PTRACE_O_TRACEEXIT).context("trace a thread")?;
        Ok(Self(thread))
    }

    /// Has it do nothing any more, while others of its process go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&self) -> Result<()> {
        ptrace::interrupt(self.0)?;
        waitpid(self.0, Some(WaitPidFlag::__WALL)).context("stop a thread").map(drop)
    }
}

impl Drop for Undying {
    fn drop(&mut self) {
        // Possible where it stands still; between two such places it is for a moment. One that runs is
        // let go with the thread that made this.
        for _ in 0..50 {
            if ptrace::detach(self.0, None) != Err(Errno::ESRCH) {
                return;
            }
            pause(2);
        }
    }
}

/// The id of the one thread of a process that has this name.
///
/// # Errors
/// There is none, or there are more.
pub fn thread(process: u32, name: &str) -> Result<u32> {
    let all = threads(process);
    let mut of_name = all.iter().filter(|(_, of)| of == name);
    match (of_name.next(), of_name.next()) {
        (Some((id, _)), None) => Ok(*id),
        _ => bail!("not one thread called {name} in process {process}: {all:?}"),
    }
}

/// Lets the `epoll_wait` that a thread waits in fail, as it would with a descriptor that is none.
///
/// # Errors
/// There is no such thread, it may not be traced, or it does not wait.
pub fn fail_wait(thread: u32) -> Result<()> {
    let thread = Pid::from_raw(i32::try_from(thread)?);
    for _ in 0..50 {
        ptrace::seize(thread, Options::empty()).context("trace the thread")?;
        ptrace::interrupt(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        let done = set_result(thread, Errno::EBADF)?;
        ptrace::detach(thread, None)?;
        if done {
            return Ok(());
        }
        pause(7);
    }
    bail!("thread {thread} is never seen waiting")
}

/// Gives the call that the interruption ended this result; `false` where there was none.
#[cfg(target_arch = "x86_64")]
fn set_result(thread: Pid, error: Errno) -> Result<bool> {
    let mut registers = ptrace::getregs(thread)?;
    let interrupted = u64::from_ne_bytes((-i64::from(Errno::EINTR as i32)).to_ne_bytes());
    if registers.rax != interrupted {
        return Ok(false);
    }
    registers.rax = u64::from_ne_bytes((-i64::from(error as i32)).to_ne_bytes());
    ptrace::setregs(thread, registers)?;
    Ok(true)
}

/// The same where results are in the first argument's register.
#[cfg(target_arch = "aarch64")]
fn set_result(thread: Pid, error: Errno) -> Result<bool> {
    let mut registers = ptrace::getregs(thread)?;
    let interrupted = u64::from_ne_bytes((-i64::from(Errno::EINTR as i32)).to_ne_bytes());
    if registers.regs[0] != interrupted {
        return Ok(false);
    }
    registers.regs[0] = u64::from_ne_bytes((-i64::from(error as i32)).to_ne_bytes());
    ptrace::setregs(thread, registers)?;
    Ok(true)
}
