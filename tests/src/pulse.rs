//! Notes when the machine stands still, for tests that measure what a client sees.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::wait::{now, scheduled};

const BEAT: Duration = Duration::from_millis(5);
/// A shorter one is nothing.
const STALL: Duration = Duration::from_millis(25);

/// A thread on each CPU that wakes all the time, before everything else: a daemon that keeps a CPU to
/// itself does not make it late, but a machine that gets no time does.
#[derive(Debug)]
pub struct Pulse {
    end: Arc<AtomicBool>,
    stalls: Arc<Mutex<Vec<(Duration, Duration)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pulse {
    /// Begins to note.
    pub fn start() -> Self {
        let (end, stalls) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this).unwrap_or_default();
        let cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let beat = |cpu: usize| {
            let (end, stalls) = (Arc::clone(&end), Arc::clone(&stalls));
            std::thread::spawn(move || {
                scheduled("60");
                let mut one = CpuSet::new();
                // Without it the thread notes what it can on any CPU.
                let _ = one.set(cpu).and_then(|()| sched_setaffinity(this, &one));
                while !end.load(Ordering::Relaxed) {
                    let from = now();
                    std::thread::sleep(BEAT);
                    let to = now();
                    if to.saturating_sub(from) > BEAT + STALL {
                        let mut stalls = stalls.lock().unwrap_or_else(PoisonError::into_inner);
                        stalls.push((from + BEAT, to));
                    }
                }
            })
        };
        let threads = cpus.map(beat).collect();
        Self { end, stalls, threads }
    }

    /// From when to when the machine, or one CPU of it, stood still so far; in the clock of [`now`].
    pub fn stalls(&self) -> Vec<(Duration, Duration)> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much of the time between two moments that was.
    pub fn lost(&self, from: Duration, to: Duration) -> Duration {
        lost(self.stalls(), from, to)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lost(mut stalls: Vec<(Duration, Duration)>, from: Duration, to: Duration) -> Duration {
    stalls.sort_unstable();
    let (mut counted, mut lost) = (from, Duration::ZERO);
    for (begin, end) in stalls {
        let (begin, end) = (begin.max(counted), end.min(to));
        lost += end.saturating_sub(begin);
        counted = counted.max(end);
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_cpus_lost_together_counts_once() {
        let ms = Duration::from_millis;
        let stalls =
            vec![(ms(300), ms(500)), (ms(100), ms(400)), (ms(350), ms(380)), (ms(800), ms(900))];
        let lost = |from, to| lost(stalls.clone(), ms(from), ms(to)).as_millis();
        assert_eq!(lost(0, 1000), 500);
        assert_eq!(lost(450, 850), 100);
        assert_eq!(lost(150, 200), 50);
        assert_eq!(lost(500, 800), 0);
    }
}
