//! Whether a worker that stays away is kept from its CPU, as a new one would be too.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use vrrp_common::Instant;

/// Between two looks: some time slices of the kernel's.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// The thread whose word is waited for.
const THREAD: &str = "xvrrp-protocol";

/// A look at a worker that is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    at: Instant,
    /// The thread runs or wants to.
    runnable: bool,
    /// Its time on a CPU so far, in nanoseconds.
    ran: u64,
}

/// What was seen of a worker since it is overdue.
#[derive(Debug, Default)]
pub(super) struct Doubt(Option<Look>);

impl Doubt {
    /// It was heard of.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Looks at a worker that is overdue. Where the kernel tells nothing, it is taken for hung.
    pub(super) fn look(&mut self, worker: u32, now: Instant) -> Seen {
        let Some(look) = look(worker, now) else { return Seen::Hung };
        seen(self.0.replace(look), look)
    }
}

/// What a look at an overdue worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was the first: all may have been frozen, and the worker has not had its turn yet.
    TooEarly,
    /// It wants to run, and does not get to.
    Starved,
    /// It sleeps, is stopped, or runs without coming back to its loop.
    Hung,
}

fn seen(before: Option<Look>, now: Look) -> Seen {
    let Some(before) = before else { return Seen::TooEarly };
    let passed = now.at.since(before.at).as_nanos() as u64;
    let starved = now.runnable && now.ran.saturating_sub(before.ran) < passed / 2;
    if starved { Seen::Starved } else { Seen::Hung }
}

fn look(worker: u32, at: Instant) -> Option<Look> {
    let task = task(worker)?;
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    // Behind the name, which may hold anything.
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    let usage = fs::read_to_string(task.join("schedstat")).ok()?;
    let ran = usage.split_whitespace().next()?.parse().ok()?;
    Some(Look { at, runnable: state == 'R', ran })
}

fn task(worker: u32) -> Option<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{worker}/task")).ok()?;
    let named = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == THREAD)
    };
    tasks.filter_map(|task| Some(task.ok()?.path())).find(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64, runnable: bool, ran: u64) -> Look {
        let nanos = |millis: u64| millis * 1_000_000;
        Look { at: Instant::from_nanos(nanos(millis)), runnable, ran: nanos(ran) }
    }

    #[test]
    fn who_waits_for_a_cpu_is_starved_and_who_runs_or_sleeps_is_not() {
        let first = at(0, true, 5);
        assert_eq!(seen(None, first), Seen::TooEarly);
        assert_eq!(seen(Some(first), at(20, true, 6)), Seen::Starved);
        assert_eq!(seen(Some(first), at(20, true, 24)), Seen::Hung, "it spins");
        assert_eq!(seen(Some(first), at(20, false, 5)), Seen::Hung, "it sleeps or is stopped");
    }

    /// Of this very process, under the name of the thread that a worker has.
    #[test]
    fn the_kernel_tells_it() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        let thread = thread.spawn(move || stopped.recv().is_err()).expect("a thread");
        // It takes its name, and then waits, in its own time.
        let waits = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            look(std::process::id(), Instant::default()).is_some_and(|look| !look.runnable)
        });
        assert!(waits);
        drop(stop);
        assert!(thread.join().is_ok());
    }
}
