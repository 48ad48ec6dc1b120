//! The configuration in force, as it was read: the guardian keeps it for the worker that replaces this one.
//!
//! Only a start and SIGHUP read the file. What stands there when a worker crashes may be half written,
//! refused, or meant for later. All that a configuration is read from belongs in here: at present one file.

use std::ffi::{CStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tracing::warn;

use crate::config::{self, Loaded, ReadError};
use crate::guardian::channel::Keeper;

/// The name under which it is kept.
const NAME: &str = "config";
/// What it is called in `/proc`.
const FILE: &CStr = c"xvrrp-config";

/// A configuration's file: where it is, and what stood there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Accepted {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        Ok(Self { path: path.to_owned(), bytes: config::read(path)? })
    }

    /// Takes what an earlier worker has had kept.
    pub(crate) fn take(keeper: &mut Keeper) -> Option<Self> {
        let kept = keeper.take(NAME)?;
        Self::unseal(&File::from(kept))
            .inspect_err(|error| {
                warn!("The configuration that was kept can't be read, so the file is: {error}");
            })
            .ok()
    }

    /// Has the guardian keep it.
    pub(super) fn keep(&self, keeper: &Keeper) {
        match self.seal() {
            Ok(sealed) => keeper.keep(&[(NAME, sealed.as_fd())]),
            Err(error) => {
                // Not the one before.
                keeper.drop(&[NAME]);
                warn!("No copy of the configuration, so a crash reads the file again: {error}");
            }
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub(super) fn load(&self) -> Loaded {
        config::parse_str(&self.path, &self.bytes)
    }

    /// Says where the file is another one by now.
    pub(super) fn compare(&self) {
        let path = self.path.display();
        match config::read(&self.path) {
            Ok(now) if now == self.bytes => {}
            Ok(_) => warn!("{path} has changed since it was read; SIGHUP reads it"),
            Err(error) => warn!("{error}: going on with what it said when it was read"),
        }
    }

    /// A file in memory that nobody else can open and nobody can change: there may be passwords in it.
    fn seal(&self) -> io::Result<OwnedFd> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        // Some hosts demand that nobody can execute it (`vm.memfd_noexec`); Linux before 6.3 has no such.
        let strict = flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
        let made = memfd_create(FILE, strict).or_else(|_| memfd_create(FILE, flags))?;
        let mut file = File::from(made);
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(self.path.as_os_str().as_bytes())?;
        file.write_all(&[0])?;
        file.write_all(&self.bytes)?;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
        Ok(file.into())
    }

    fn unseal(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let mut path = vec![0; length];
        // Whoever wrote it has left the descriptor's place at its end.
        file.read_exact_at(&mut path, 0)?;
        let end = path.iter().position(|byte| *byte == 0).ok_or(io::ErrorKind::InvalidData)?;
        let bytes = path.split_off(end + 1);
        path.truncate(end);
        Ok(Self { path: OsString::from_vec(path).into(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was_and_nobody_else_has_it() {
        let file = Accepted {
            path: OsString::from_vec(b"/etc/a b\n\xff.conf".to_vec()).into(),
            bytes: b"auth_pass \xe9\0\r\n# no end".to_vec(),
        };
        for accepted in [file, Accepted { path: "x".into(), bytes: Vec::new() }] {
            let sealed = File::from(accepted.seal().unwrap());
            assert_eq!(sealed.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(sealed.write_at(b"x", 0).is_err() && sealed.set_len(0).is_err());
            // As often as a worker is replaced.
            for _ in 0..2 {
                assert_eq!(Accepted::unseal(&sealed).unwrap(), accepted);
            }
        }
    }

    #[test]
    fn its_messages_name_the_places_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, "vrrp_instance VI_1 {\n  priority\n}\n").unwrap();
        let accepted = Accepted::read(&path).unwrap();
        let again = Accepted::unseal(&File::from(accepted.seal().unwrap())).unwrap();
        let lines = config::load(&path).unwrap().log_lines();
        assert!(!lines.is_empty());
        assert_eq!(again.load().log_lines(), lines);
    }
}
