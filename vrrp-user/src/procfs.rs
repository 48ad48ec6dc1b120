//! What `/proc` tells of processes of ours: who they are, and whether they end.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::guardian::WORKER;

/// The main process of a daemon with this worker; the process itself where it is none, or its main process
/// is gone.
pub(crate) fn main_of(process: u32) -> u32 {
    let parent = is_worker(process).then(|| parent(process)).flatten();
    parent.filter(|parent| program(*parent) == program(process)).unwrap_or(process)
}

/// Whether a process has a worker's name.
pub(crate) fn is_worker(process: u32) -> bool {
    // It tells one of ours from another one of ours: nobody else is asked for.
    fs::read(format!("/proc/{process}/comm"))
        .is_ok_and(|name| name.trim_ascii_end() == WORKER.to_bytes())
}

/// The processes that hold the lock of a file, as far as this one may know.
pub(crate) fn lock_holders(file: &Path) -> Vec<u32> {
    let numbers =
        entries(Path::new("/proc")).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|process| holds_lock(*process, file)).collect()
}

/// Whether a process holds the lock of a file.
pub(crate) fn holds_lock(process: u32, file: &Path) -> bool {
    let Ok(wanted) = fs::metadata(file) else { return false };
    let is_locked = |task: &Path, fd: &DirEntry| {
        // By its name first: to look at any file of any process might take for ever.
        let named = fs::read_link(fd.path()).is_ok_and(|it| it.file_name() == file.file_name());
        let same = |it: Metadata| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino());
        named && fs::metadata(fd.path()).is_ok_and(same) && has_lock(task, fd)
    };
    let main = PathBuf::from(format!("/proc/{process}"));
    let open = |task: &Path| entries(&task.join("fd")).collect::<Vec<_>>();
    // All threads have the same, but for those that have ended, as the first one of a process may.
    let others = || entries(&main.join("task")).map(|task| task.path());
    let all = std::iter::once(main.clone()).chain(others());
    let first = all.map(|task| (open(&task), task)).find(|(open, _)| !open.is_empty());
    first.is_some_and(|(open, task)| open.iter().any(|fd| is_locked(&task, fd)))
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

/// By what the kernel says of a thread's descriptor.
fn has_lock(task: &Path, fd: &DirEntry) -> bool {
    let info = fs::read_to_string(task.join("fdinfo").join(fd.file_name()));
    info.is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:")))
}

fn parent(process: u32) -> Option<u32> {
    // Behind the name, which may hold anything, and the state.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn program(process: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/exe")).ok()
}

/// What keeps a process from its work, as far as the kernel tells.
pub(crate) fn trouble(process: u32) -> Option<&'static str> {
    if fs::metadata(format!("/proc/{process}")).is_err() {
        return Some("is gone");
    }
    if is_dying(process) {
        return Some(UNDEAD);
    }
    let stopped = matches!(state(process)?, 'T' | 't');
    stopped.then_some("is stopped, by SIGSTOP or a debugger")
}

/// What is said of a process that [`is_dying`] for long.
pub(crate) const UNDEAD: &str = "was killed and does not end: it hangs in the kernel";

fn state(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether a process has been killed or is ending, and has not got that far: on a busy host that takes its
/// time, and nobody here has the blame for it.
pub(crate) fn is_dying(process: u32) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}"));
    // Without either it is gone.
    let Some((status, stat)) = read("status").ok().zip(read("stat").ok()) else { return true };
    is_killed(&status) || is_ending(&stat)
}

/// By what `/proc/PID/status` says: SIGKILL waits for it, as for each thread where one ends them all.
fn is_killed(status: &str) -> bool {
    const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);
    let pending = status.lines().filter_map(|line| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    pending.fold(0, |all, set| all | set) & SIGKILL != 0
}

/// By what `/proc/PID/stat` says: its state, and the kernel's flags of it.
fn is_ending(stat: &str) -> bool {
    /// `PF_EXITING` and `PF_DUMPCORE` of the kernel's `sched.h`.
    const FLAGS: u64 = 0x4 | 0x200;
    let Some((_, behind)) = stat.rsplit_once(')') else { return false };
    let mut words = behind.split_whitespace();
    let state = words.next();
    // The ninth of all words, the seventh behind the name.
    let flags: Option<u64> = words.nth(5).and_then(|flags| flags.parse().ok());
    matches!(state, Some("Z" | "X")) || flags.is_some_and(|flags| flags & FLAGS != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_no_worker_is_its_own_main_process() {
        let us = std::process::id();
        assert_eq!((main_of(us), is_worker(us)), (us, false));
        assert_eq!(parent(us), Some(std::os::unix::process::parent_id()));
    }

    #[test]
    fn who_has_a_file_open_does_not_hold_its_lock_yet() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let file = File::create(&path).expect("a file");
        let us = std::process::id();
        assert!(!holds_lock(us, &path) && lock_holders(&path).is_empty());
        file.lock().expect("its lock");
        assert!(holds_lock(us, &path));
        // A process that another test is just starting has it for a moment, too.
        assert!(lock_holders(&path).contains(&us));
        // Of another file of that name it is not.
        fs::remove_file(&path).expect("it is there");
        let _other = File::create(&path).expect("a file");
        assert!(!holds_lock(us, &path));
    }

    #[test]
    fn one_that_was_killed_is_dying() {
        assert!(is_killed("State:\tR (running)\nSigPnd:\t0000000000000100\nShdPnd:\t0\n"));
        assert!(is_killed("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"));
        // SIGHUP and SIGTERM wait.
        assert!(!is_killed("SigPnd:\t0000000000000001\nShdPnd:\t0000000000004000\n"));
        assert!(!is_ending("7 (a) b) S 1 7 7 0 -1 4194560 5"));
        assert!(is_ending("7 (a) b) R 1 7 7 0 -1 4194564 5"));
        assert!(is_ending("7 (a) b) D 1 7 7 0 -1 4195072 5"));
        assert!(is_ending("7 (a) Z 1 7 7 0 -1 0 5"));
    }

    fn comes_true(what: impl Fn() -> bool) -> bool {
        (0..1000).any(|_| {
            let is_so = what();
            if !is_so {
                std::thread::sleep(Duration::from_millis(10));
            }
            is_so
        })
    }

    /// Of processes as the kernel has them.
    #[test]
    fn the_kernel_tells_that_too() {
        assert!(!is_dying(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        assert!(!is_dying(child.id()));
        assert_eq!(trouble(child.id()), None);
        let number = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGSTOP).expect("it lives");
        let stopped = Some("is stopped, by SIGSTOP or a debugger");
        assert!(comes_true(|| trouble(child.id()) == stopped), "{:?}", trouble(child.id()));
        child.kill().expect("it lives");
        // From the kill on, whichever way it has gone by now.
        assert!(is_dying(child.id()));
        let undead = || trouble(child.id()) == Some(UNDEAD);
        assert!(comes_true(undead), "nobody has waited for it: {:?}", trouble(child.id()));
        assert!(is_dying(child.id()));
        child.wait().expect("its end");
        assert_eq!(trouble(child.id()), Some("is gone"));
        assert!(is_dying(child.id()));
        // By itself, with no signal on its way; nobody has waited for it.
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let ended = comes_true(|| is_dying(child.id()));
        child.wait().expect("its end");
        assert!(ended);
    }
}
