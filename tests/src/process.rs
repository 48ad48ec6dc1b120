//! What processes and the machine use, from the kernel's own accounts.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What processes have used since they were started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, in nanoseconds and not in ticks: ten milliseconds would be more than there is
    /// to see.
    pub cpu: Duration,
    /// How often a thread went to sleep by itself, that is how often one was woken.
    pub wakeups: u64,
}

impl Usage {
    /// Of all threads of these processes that live.
    pub fn of(pids: &[u32]) -> Self {
        let mut all = Self::default();
        for task in pids.iter().flat_map(|pid| tasks(*pid)) {
            all.cpu += read_words(&task.join("schedstat"))
                .and_then(|words| words.first().copied())
                .map_or(Duration::ZERO, Duration::from_nanos);
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            all.wakeups += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        all
    }

    /// What was used since an earlier look at the same processes.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wakeups: self.wakeups.saturating_sub(earlier.wakeups),
        }
    }
}

/// The memory of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The resident sets added up, in KiB: what two processes share counts twice.
    pub resident: u64,
    /// The same with shared pages divided among those that share them, in KiB.
    pub proportional: u64,
}

impl Memory {
    /// Of these processes.
    pub fn of(pids: &[u32]) -> Self {
        let mut all = Self::default();
        for pid in pids {
            let process = Path::new("/proc").join(pid.to_string());
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            all.resident += field(&status, "VmRSS:").unwrap_or(0);
            let maps = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
            all.proportional += field(&maps, "Pss:").unwrap_or(0);
        }
        all
    }
}

/// A look at the whole machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    at: Instant,
    cpus: u32,
    idle: Duration,
    busy: Duration,
}

impl Machine {
    /// The machine now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (cpus, idle, busy) = read_stat(&stat);
        Self { at: Instant::now(), cpus, idle, busy }
    }

    /// How many CPUs were busy on average since an earlier look.
    ///
    /// From the time that none of them was idle: idle time is measured, while ticks miss what runs
    /// between them.
    pub fn busy_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.duration_since(earlier.at).as_secs_f64();
        let idle = self.idle.saturating_sub(earlier.idle).as_secs_f64();
        if elapsed > 0.0 { (f64::from(self.cpus) - idle / elapsed).max(0.0) } else { 0.0 }
    }

    /// How many CPUs ticks found at work on average since an earlier look, as `top` shows it: what begins
    /// and ends between two ticks is missed, and the waking from idle is not in it.
    pub fn ticked_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.duration_since(earlier.at).as_secs_f64();
        let busy = self.busy.saturating_sub(earlier.busy).as_secs_f64();
        if elapsed > 0.0 { busy / elapsed } else { 0.0 }
    }
}

/// How many CPUs there are, how long all together were not ours: idle, waiting for a disk, or with another
/// guest; and how many ticks found them at work.
fn read_stat(stat: &str) -> (u32, Duration, Duration) {
    let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    let all = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = all.split_whitespace().skip(1).filter_map(|w| w.parse().ok()).collect();
    let sum = |which: &[usize]| which.iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
    // The kernel's unit for user space, whatever its own ticks are.
    let time = |ticks: u64| Duration::from_millis(10 * ticks);
    (cpus.count() as u32, time(sum(&[3, 4, 7])), time(sum(&[0, 1, 2, 5, 6])))
}

/// What the counters of an interface of the namespace that the thread is in say of what it sent.
pub fn sent_packets(device: &str) -> Option<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let row = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))?;
    row.split_whitespace().nth(9)?.parse().ok()
}

fn tasks(pid: u32) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    all.into_iter().flatten().flatten().map(|task| task.path()).collect()
}

fn read_words(path: &Path) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// The first number behind a word that begins a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_sleep_are_seen_in_nanoseconds() {
        let own = [std::process::id()];
        let (before, machine) = (Usage::of(&own), Machine::now());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(begin);
        }
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let used = Usage::of(&own).since(before);
        assert!(used.cpu > Duration::from_millis(5), "{used:?}");
        assert!(used.wakeups >= 20, "{used:?}");
        assert!(Machine::now().busy_since(&machine) > 0.0);
        let memory = Memory::of(&own);
        assert!(memory.resident >= memory.proportional && memory.proportional > 100, "{memory:?}");
    }

    #[test]
    fn idle_waiting_and_stolen_time_are_not_ours() {
        let stat = "cpu  10 1 20 300 5 3 9 40 0 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 12\n";
        let millis = Duration::from_millis;
        assert_eq!(read_stat(stat), (2, millis(3450), millis(430)));
        assert!(sent_packets("lo").is_some());
        assert_eq!(sent_packets("nothing0"), None);
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing() {
        assert_eq!(Usage::of(&[0]), Usage::default());
        assert_eq!(Memory::of(&[0]), Memory::default());
    }
}
