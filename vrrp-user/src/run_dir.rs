//! The run directory: one daemon each, and the control socket.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tracing::warn;

use crate::procfs;

/// The run directory where none is named.
pub const DEFAULT: &str = "/run/xvrrp";
/// What a daemon with the default run directory calls what is its own on the host.
pub(crate) const NAME: &str = "xvrrp";
/// How long a lock is waited for: a killed process holds it for some 100 ms more, while the kernel
/// takes it apart.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a run directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The operator's mistake, or another process of ours.
    #[error("another {holder} uses {}; {} or give this one another --run-dir", path.display(), holder.remedy())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The system's: the directory can't be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The process that has a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A daemon's main process, or whoever else holds the lock.
    Main(u32),
    /// A worker whose main process is gone. It ends by itself, unless it hangs.
    Worker(u32),
    /// The kernel does not tell, and the file has no number.
    Unknown,
}

impl Holder {
    /// Who holds a lock that somebody holds. The file's word counts where it can't be looked up: the
    /// process that it names may be gone, and another one hold the lock.
    fn of(lock: &Path) -> Self {
        let named = fs::read_to_string(lock).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = named.filter(|pid| procfs::holds_lock(*pid, lock)) {
            return Self::Main(pid);
        }
        let holders = procfs::lock_holders(lock);
        let main = holders.iter().find(|pid| !procfs::is_worker(**pid)).copied();
        let worker = || holders.first().copied().map(Self::Worker);
        main.map(Self::Main).or_else(worker).or(named.map(Self::Main)).unwrap_or(Self::Unknown)
    }

    /// What ends it.
    pub(crate) fn remedy(self) -> String {
        match self {
            Self::Main(_) | Self::Unknown => "stop it".to_owned(),
            Self::Worker(pid) => format!("`kill -9 {pid}` if it stays"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main(pid) => write!(f, "xvrrp (pid {pid})"),
            Self::Worker(pid) => {
                write!(f, "xvrrp (worker {pid}; its main process is gone)")
            }
            Self::Unknown => f.write_str("xvrrp (pid unknown)"),
        }
    }
}

impl RunDirError {
    /// What helps who starts a daemon, behind the error itself.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            // Says so itself.
            Self::InUse { .. } => "",
            Self::Io { .. } => "; give a directory that can be written to by --run-dir",
        }
    }
}

/// A run directory that this process holds. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: Flock<File>,
}

/// The control socket in a run directory.
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// What the daemon of a run directory calls what is its own on the host, so that two daemons keep theirs
/// apart: [`NAME`], with eight digits of the directory's where it is another than the default.
///
/// The directory is the same one however it is written, by a link or with a slash behind it.
pub(crate) fn name(run_dir: &Path) -> String {
    let real = |path: &Path| {
        fs::canonicalize(path).unwrap_or_else(|_| path.components().collect::<PathBuf>())
    };
    let run_dir = real(run_dir);
    if run_dir == real(Path::new(DEFAULT)) {
        return NAME.to_owned();
    }
    // FNV-1a: the same in every life, which the library's own hash is not.
    let path = run_dir.as_os_str().as_encoded_bytes();
    let hash = path
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{NAME}-{hash:08x}")
}

impl RunDir {
    /// Makes the directory, readable for root only, and takes its lock; waits up to a second for a
    /// process that ends.
    ///
    /// # Errors
    /// [`RunDirError`] where another process has it and goes on, or the file system refuses.
    pub fn take(path: &Path) -> Result<Self, RunDirError> {
        Self::take_for(path, std::process::id(), None)
    }

    /// As [`take`](Self::take), in the name of another process, and perhaps by a lock that it has held
    /// all the time.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(crate) fn take_for(
        path: &Path,
        main: u32,
        held: Option<File>,
    ) -> Result<Self, RunDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| RunDirError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path))?;
        let name = lock_file(path);
        let lock = take_lock(&name, held).map_err(|refusal| match refusal {
            Refusal::Held(holder) => RunDirError::InUse { path: path.to_owned(), holder },
            Refusal::Io(error) => io(&name)(error),
        })?;
        if let Err(error) = write_pid(&lock, main) {
            // It only tells people who it is: what keeps others out is the lock.
            warn!("{} does not name this process: {error}", name.display());
        }
        // Left by an earlier life: a socket can't be bound where a file is.
        match fs::remove_file(socket(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io(&socket(path))(error));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock: whoever has a copy of this descriptor holds it too.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Where the control socket goes.
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn lock_file(run_dir: &Path) -> PathBuf {
    run_dir.join("xvrrp.pid")
}

/// Removes the files of a run directory; the lock last.
fn remove(run_dir: &Path) {
    // Nothing depends on their absence: the next start removes them too.
    let _ = fs::remove_file(socket(run_dir));
    let _ = fs::remove_file(lock_file(run_dir));
}

/// Removes what a process that is gone has left in its run directory, and perhaps its `ledger`. `lock`: the
/// one that it held; where that is no longer the directory's, another process may be there.
pub(crate) fn clear(run_dir: &Path, lock: BorrowedFd<'_>, ledger: Option<&Path>) {
    let held = lock.try_clone_to_owned().map(File::from);
    if !held.is_ok_and(|held| is_there(&held, &lock_file(run_dir)).unwrap_or(false)) {
        return;
    }
    if let Some(ledger) = ledger {
        // Where it stays, every router in it is marked.
        let _ = fs::remove_file(ledger);
    }
    remove(run_dir);
}

/// The process that has a run directory; `None`: nobody has it.
pub(crate) fn holder(run_dir: &Path) -> Option<Holder> {
    let name = lock_file(run_dir);
    let file = File::open(&name).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => Some(Holder::of(&name)),
        Ok(_) | Err(_) => None,
    }
}

/// Has the file name a process, unless it does already.
fn write_pid(file: &File, pid: u32) -> io::Result<()> {
    let line = format!("{pid}\n");
    let mut there = [0; 16];
    let len = file.read_at(&mut there, 0)?;
    if there[..len] == *line.as_bytes() {
        return Ok(());
    }
    // In this order, so that no one else's number stays where there is no room for ours.
    file.set_len(0)?;
    file.write_all_at(line.as_bytes(), 0)
}

/// Why a lock can't be had.
enum Refusal {
    /// By that process.
    Held(Holder),
    Io(io::Error),
}

/// Locks a file, made where it is missing; waits for a process that is about to end.
fn take_lock(name: &Path, held: Option<File>) -> Result<Flock<File>, Refusal> {
    let give_up = Instant::now() + PATIENCE;
    if let Some(held) = held
        && is_there(&held, name).map_err(Refusal::Io)?
    {
        // Whoever has the descriptor has the lock already.
        return Flock::lock(held, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Refusal::Io(errno.into()));
    }
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(name)
            .map_err(Refusal::Io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) if is_there(&lock, name).map_err(Refusal::Io)? => return Ok(lock),
            // Its last holder removed it between our opening and its end: this lock would keep
            // nobody out.
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(Refusal::Io(errno.into())),
        }
        if Instant::now() >= give_up {
            // Who it is helps, but is not needed.
            return Err(Refusal::Held(Holder::of(name)));
        }
        thread::sleep(PAUSE);
    }
}

/// Says whether the name still is this file's.
fn is_there(file: &File, name: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(name) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_daemons_are_two() {
        assert_eq!(name(Path::new(DEFAULT)), "xvrrp");
        let other = name(Path::new("/run/other"));
        assert_eq!(other, name(Path::new("/run/other")));
        assert_ne!(other, name(Path::new("/run/another")));
        assert!(other.starts_with("xvrrp-") && other.len() == 14, "{other}");
    }

    #[test]
    fn a_directory_has_one_name_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        fs::create_dir(&path).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let slash = PathBuf::from(format!("{}/", path.display()));
        assert_eq!(name(&slash), name(&path));
        assert_eq!(name(&link), name(&path));
        assert_eq!(name(Path::new("/run/xvrrp/")), NAME);
        // One that is not there yet.
        let none = dir.path().join("none");
        assert_eq!(name(&PathBuf::from(format!("{}/", none.display()))), name(&none));
    }

    #[test]
    fn one_process_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let held = RunDir::take(&path).unwrap();
        let refused = RunDir::take(&path).unwrap_err();
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        RunDir::take(&path).unwrap();
    }

    #[test]
    fn the_holder_is_told_and_its_files_are_removed_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        assert_eq!(holder(&path), None);
        let held = RunDir::take(&path).unwrap();
        assert_eq!(holder(&path), Some(Holder::Main(std::process::id())));
        let kept = held.lock().try_clone_to_owned().unwrap();
        let ledger = path.join("ledger");
        let left = || {
            fs::write(socket(&path), "").unwrap();
            fs::write(&ledger, "").unwrap();
        };
        left();
        clear(&path, kept.as_fd(), None);
        assert_eq!((socket(&path).exists(), ledger.exists()), (false, true));
        assert_eq!((holder(&path), path.join("xvrrp.pid").exists()), (None, false));
        // Another one is there by now.
        let other = RunDir::take(&path).unwrap();
        left();
        clear(&path, kept.as_fd(), Some(&ledger));
        assert!(socket(&path).exists() && ledger.exists() && holder(&path).is_some());
        clear(&path, other.lock(), Some(&ledger));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    /// The guardian's number is in the file, and its worker has the lock too.
    #[test]
    fn the_holder_is_who_holds_it_and_not_who_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        // No process has such a number.
        let _held = RunDir::take_for(&path, 1 << 22, None).unwrap();
        assert_eq!(holder(&path), Some(Holder::Main(std::process::id())));
        let refused = RunDir::take(&path).unwrap_err().to_string();
        let us = format!("another xvrrp (pid {}) uses", std::process::id());
        assert!(refused.starts_with(&us), "{refused}");
        let left = RunDirError::InUse { path, holder: Holder::Worker(7) }.to_string();
        assert!(left.starts_with("another xvrrp (worker 7; its main process is gone)"), "{left}");
        assert!(left.contains("; `kill -9 7` if it stays or give this one another"), "{left}");
    }

    #[test]
    fn the_number_is_written_once_and_over_another_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xvrrp.pid");
        fs::write(&path, "1234567\nmore\n").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        write_pid(&file, 42).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42\n");
        // It could not be written again by this.
        let file = File::open(&path).unwrap();
        write_pid(&file, 42).unwrap();
        write_pid(&file, 43).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42\n");
    }

    #[test]
    fn a_process_that_ends_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let held = RunDir::take(&path).unwrap();
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        let begin = Instant::now();
        let next = RunDir::take(&path).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(200));
        ending.join().unwrap();
        // What it holds is the directory's file and not the one removed at the other's end.
        assert_eq!(
            fs::read_to_string(path.join("xvrrp.pid")).unwrap().trim(),
            std::process::id().to_string()
        );
        let refused = RunDir::take(&path).unwrap_err();
        assert!(matches!(refused, RunDirError::InUse { .. }), "{refused}");
        drop(next);
    }

    #[test]
    fn a_lock_on_a_removed_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("xvrrp.pid");
        let file = File::create(&name).unwrap();
        assert!(is_there(&file, &name).unwrap());
        fs::remove_file(&name).unwrap();
        assert!(!is_there(&file, &name).unwrap());
        let _other = File::create(&name).unwrap();
        assert!(!is_there(&file, &name).unwrap());
    }
}
