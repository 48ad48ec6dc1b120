//! The run directory: one daemon each, and the control socket.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Why a run directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The operator's mistake, or another process of ours.
    #[error("another xvrrp (pid {pid}) uses {}; stop it or give this one another --run-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process.
        pid: String,
    },
    /// The system's.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A run directory that this process holds. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: Flock<File>,
}

/// The control socket in a run directory.
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

impl RunDir {
    /// Makes the directory, readable for root only, and takes its lock.
    ///
    /// # Errors
    /// [`RunDirError`] where another process has it, or the file system refuses.
    pub fn take(path: &Path) -> Result<Self, RunDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| RunDirError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path))?;
        let name = path.join("xvrrp.pid");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name)
            .map_err(io(&name))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                // Who it is helps, but is not needed.
                let _ = file.read_to_string(&mut pid);
                return Err(RunDirError::InUse {
                    path: path.to_owned(),
                    pid: pid.trim().to_owned(),
                });
            }
            Err((_, errno)) => return Err(io(&name)(errno.into())),
        };
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(io(&name))?;
        // Left by an earlier life: a socket can't be bound where a file is.
        match fs::remove_file(socket(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io(&socket(path))(error));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where the control socket goes.
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Nothing depends on their absence: the next start removes them too.
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_file(self.path.join("xvrrp.pid"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
