//! Scheduling and memory of the threads that matter.
#![expect(unsafe_code, reason = "no library wraps these calls safely")]

use std::fmt;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::config::model::Scheduling;

/// A thread that is scheduled in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It hears and sends adverts, and locks the process's memory.
    Protocol,
    /// It moves and announces addresses: one below, so that adverts never wait for it.
    Effects,
}

/// What the kernel did not permit.
#[derive(Debug, Default)]
pub(crate) struct Denied(Vec<(&'static str, Errno)>);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (what, error)) in self.0.iter().enumerate() {
            write!(f, "{}{what} ({})", if i == 0 { "" } else { ", " }, error.desc())?;
        }
        Ok(())
    }
}

/// Schedules the calling thread as the settings say; processes it starts don't inherit it. What the
/// settings leave open stays as it is.
///
/// # Errors
/// What was refused. All the rest is done.
pub(crate) fn apply(settings: &Scheduling, role: Role) -> Result<(), Denied> {
    let mut denied = Denied::default();
    let mut note = |what, result: Result<(), Errno>| {
        if let Err(error) = result {
            denied.0.push((what, error));
        }
    };
    if role == Role::Protocol {
        note("memory not locked", lock_memory(settings.lock_memory));
        if let Some(limit) = settings.cpu_limit {
            // Before the thread is a real-time one, which it is about.
            note("no limit of run time", limit_run_time(limit.as_micros() as u64));
        }
    }
    if !settings.cpus.is_empty() {
        note("CPUs not chosen", run_on(&settings.cpus));
    }
    if let Some(nice) = settings.nice {
        note("nice value unchanged", set_nice(nice));
    }
    let level = settings.level().map(|level| match role {
        Role::Protocol => level,
        Role::Effects => level.saturating_sub(1).max(1),
    });
    note("no real-time scheduling", set_policy(level));
    if denied.0.is_empty() { Ok(()) } else { Err(denied) }
}

/// First in first out at this level, or like everybody.
fn set_policy(level: Option<u8>) -> Result<(), Errno> {
    let (policy, level) = match level {
        Some(level) => (libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, level),
        None => (libc::SCHED_OTHER, 0),
    };
    let parameters = libc::sched_param { sched_priority: level.into() };
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) })
}

fn set_nice(nice: i8) -> Result<(), Errno> {
    // SAFETY: plain numbers; 0 is the calling thread, since the kernel's unit is the thread here.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) })
}

fn run_on(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

fn limit_run_time(microseconds: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_RTTIME)?;
    setrlimit(Resource::RLIMIT_RTTIME, microseconds.min(hard), hard)
}

/// Keeps the process's memory in memory: each page from the moment it is used, so that nothing grows.
fn lock_memory(lock: bool) -> Result<(), Errno> {
    if !lock {
        // SAFETY: changes no memory.
        return check(unsafe { libc::munlockall() });
    }
    // Under a limit on locked memory the call may work now and an allocation fail later. With a limit
    // of 0 it works for those only that no limit binds.
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let limited = soft != RLIM_INFINITY;
    if limited {
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, hard)?;
    }
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: changes no memory.
    let locked = check(unsafe { libc::mlockall(flags) });
    if limited {
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    }
    locked
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_stands_in_one_line() {
        let denied = Denied(vec![
            ("memory not locked", Errno::EPERM),
            ("no real-time scheduling", Errno::EPERM),
        ]);
        assert_eq!(
            denied.to_string(),
            "memory not locked (Operation not permitted), \
             no real-time scheduling (Operation not permitted)"
        );
    }
}
