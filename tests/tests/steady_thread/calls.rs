//! What a thread asks of the kernel, and where it sleeps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use vrrp_tests::netns::Netns;

use crate::perf::Ring;

/// Where a kernel shows what it can be stopped at, once that is mounted.
pub(crate) const TRACING: &str = "/sys/kernel/tracing";

/// Between two looks at the ring.
const LOOK: Duration = Duration::from_millis(20);

/// The system calls of one thread.
pub(crate) struct Calls {
    ring: Ring,
    points: Points,
    place: Place,
}

/// Where the thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// It was not seen yet.
    Unknown,
    /// In no call: what sleeps there waits for a page.
    Program,
    Kernel(Call),
}

/// A system call, as far as it matters what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Waits for the sources.
    Wait,
    /// Asks which of them have something.
    Look,
    /// Waits for another thread, by a lock of the C library's own: the allocator's.
    WaitInLibrary,
    /// Waits for another thread, by a lock or otherwise.
    WaitForThread,
    /// Wakes another thread.
    Wake,
    /// Any other one, by its number.
    Other(i64),
}

/// What was seen in a while, and how often.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: BTreeMap<Call, u64>,
    /// Where it slept.
    pub(crate) slept: BTreeMap<Place, u64>,
}

impl Calls {
    /// From now on; `netns` is any.
    pub(crate) fn of(netns: &Netns, thread: u32) -> Result<Self> {
        let points = Points::read(netns)?;
        let ring = Ring::of(thread, &[points.enter, points.exit, points.switch])?;
        Ok(Self { ring, points, place: Place::Unknown })
    }

    /// What is seen while something is done.
    pub(crate) fn during(&mut self, work: impl FnOnce() -> Result<()>) -> Result<Seen> {
        self.read(&mut Seen::default())?;
        let mut seen = Seen::default();
        let done = AtomicBool::new(false);
        let (worked, read) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    self.read(&mut seen)?;
                    std::thread::sleep(LOOK);
                }
                self.read(&mut seen)
            });
            let worked = work();
            done.store(true, Ordering::Release);
            (worked, reader.join().unwrap_or_else(|_| Err(anyhow!("a panic"))))
        });
        read?;
        worked?;
        // What is seen of it at all: however it is, it waits.
        ensure!(
            seen.slept.remove(&Place::Kernel(Call::Wait)).is_some(),
            "nothing is seen: {seen:?}"
        );
        Ok(seen)
    }

    fn read(&mut self, seen: &mut Seen) -> Result<()> {
        let Self { ring, points, place } = self;
        ring.take(|record| match points.step(record) {
            Some(Step::Enters(call)) => {
                *seen.calls.entry(call).or_default() += 1;
                *place = Place::Kernel(call);
            }
            Some(Step::Returns) => *place = Place::Program,
            Some(Step::Sleeps) if *place != Place::Unknown => {
                *seen.slept.entry(*place).or_default() += 1;
            }
            Some(Step::Sleeps) | None => {}
        })
    }
}

/// What a record tells.
enum Step {
    Enters(Call),
    Returns,
    Sleeps,
}

/// The tracepoints that tell it.
struct Points {
    enter: u16,
    exit: u16,
    switch: u16,
    /// Where the last one has the state in which the thread leaves the CPU.
    state: usize,
}

impl Points {
    fn read(netns: &Netns) -> Result<Self> {
        let format = |name: &str| {
            // Mounted for this command alone: it has the mounts of `ip netns exec`.
            let mount = format!("mount -t tracefs tracefs {TRACING}");
            netns.sh(&format!("{mount} && cat {TRACING}/events/{name}/format"))
        };
        let [enter, exit] = ["raw_syscalls/sys_enter", "raw_syscalls/sys_exit"].map(format);
        let switch = format("sched/sched_switch")?;
        let [enter, exit] = [number(&enter?)?, number(&exit?)?];
        let state = between(&switch, "prev_state;\toffset:", ";").context("no state")?.parse()?;
        Ok(Self { enter, exit, switch: number(&switch)?, state })
    }

    /// The raw records are of the kernel's own layout: a header of eight bytes that begins with the
    /// tracepoint's number, then what its format says.
    fn step(&self, record: &[u8]) -> Option<Step> {
        /// Any state but that of a thread that was made to leave the CPU: `TASK_REPORT`.
        const ASLEEP: u64 = 0x7f;
        let point = u16::from_ne_bytes(*record.first_chunk()?);
        if point == self.enter {
            let words: Option<Vec<u64>> = (0..7).map(|nth| word(record, 8 + 8 * nth)).collect();
            return words.map(|words| Step::Enters(Call::of(words[0].cast_signed(), &words[1..])));
        }
        if point == self.exit {
            return Some(Step::Returns);
        }
        let asleep = word(record, self.state)? & ASLEEP != 0;
        (point == self.switch && asleep).then_some(Step::Sleeps)
    }
}

fn number(format: &str) -> Result<u16> {
    Ok(between(format, "\nID: ", "\n").context("no number")?.parse()?)
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(behind)?.0)
}

fn word(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

impl Call {
    /// A call by its number and what it was asked.
    fn of(number: i64, asked: &[u64]) -> Self {
        /// All but the operation itself: `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
        const HOW: u64 = 0x180;
        const WAKE: u64 = libc::FUTEX_WAKE as u64;
        const WAIT: u64 = libc::FUTEX_WAIT as u64;
        match number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait => Self::of(libc::SYS_epoll_pwait, asked),
            libc::SYS_epoll_pwait if asked[3] as i32 == 0 => Self::Look,
            libc::SYS_epoll_pwait => Self::Wait,
            libc::SYS_futex => match asked[1] & !HOW {
                WAKE => Self::Wake,
                // The standard library, and so all that is Rust, waits with `FUTEX_WAIT_BITSET`.
                WAIT => Self::WaitInLibrary,
                _ => Self::WaitForThread,
            },
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("epoll_wait"),
            Self::Look => f.write_str("epoll_wait without waiting"),
            Self::WaitInLibrary => f.write_str("futex: a lock of the C library"),
            Self::WaitForThread => f.write_str("futex: a wait for another thread"),
            Self::Wake => f.write_str("futex: a wake-up"),
            Self::Other(number) => match NAMES.iter().find(|(known, _)| known == number) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "system call {number}"),
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("somewhere"),
            Self::Program => f.write_str("the program itself, for a page"),
            Self::Kernel(call) => call.fmt(f),
        }
    }
}

/// Those that such a thread makes, or is most likely to make where it should not.
const NAMES: [(i64, &str); 26] = [
    (libc::SYS_brk, "brk"),
    (libc::SYS_clock_gettime, "clock_gettime"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_close, "close"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_getsockopt, "getsockopt"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_madvise, "madvise"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_read, "read"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmmsg, "recvmmsg"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_rt_sigreturn, "rt_sigreturn"),
    (libc::SYS_sched_yield, "sched_yield"),
    (libc::SYS_sendmmsg, "sendmmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_setsockopt, "setsockopt"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_timerfd_settime, "timerfd_settime"),
    (libc::SYS_write, "write"),
];
