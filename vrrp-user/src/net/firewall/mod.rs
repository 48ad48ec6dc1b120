//! Accept_Mode False (RFC 9568 §6.1): what is sent to the addresses of a router that does not own them is
//! dropped, by a table of our own in nf_tables.
//!
//! Asked for by netlink, so that no program need be installed. The table names the addresses for as long
//! as they are configured, whoever is Active: so it is there before an address is put on and after it was
//! taken off, and a takeover has no work with it. What is not on the host reaches neither of its hooks.
//!
//! Nothing in the kernel removes it when the daemon is gone. So a file in the run directory says that it
//! may be there, written before it is made, and whoever cleans up (an orderly end, a start, the guardian,
//! `xvrrp release`) looks for that.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use tokio::task::JoinHandle;

use crate::run_dir;

mod kernel;
mod message;
mod rules;
mod watch;

/// An address that answers nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The address.
    pub ip: IpAddr,
    /// The interface it is meant on, where the same address may be another's elsewhere: link-local.
    pub link: Option<String>,
}

/// Why traffic is not refused as asked.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The host's kernel can't.
    #[error("the kernel has no nf_tables")]
    Missing,
    /// The kernel refused a request.
    #[error("nf_tables: {}", .0.desc())]
    Refused(Errno),
    /// The kernel could not be asked.
    #[error("netlink: {0}")]
    Netlink(io::Error),
    /// The note of it could not be written or removed.
    #[error("{}: {error}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl FirewallError {
    /// Whether it may do to try again. A kernel does not come to have nf_tables while it runs.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Refused(_) | Self::Netlink(_) | Self::Note { .. } => true,
        }
    }
}

/// The table of a daemon. In a tokio runtime it is put back where somebody else removes or changes it, as
/// a new ruleset for the whole host does, or a saved one with an old copy of it.
#[derive(Debug)]
pub struct Firewall {
    note: PathBuf,
    state: Arc<Mutex<State>>,
    watch: Option<JoinHandle<()>>,
    open: bool,
}

#[derive(Debug)]
struct State {
    name: String,
    /// What the kernel was told; `None`: not known, an earlier life may have left something.
    told: Option<BTreeSet<Refused>>,
    requests: kernel::Requests,
}

impl Firewall {
    /// The table of the daemon with this run directory, as an earlier life may have left it.
    pub fn new(run_dir: &Path) -> Self {
        let note = note(run_dir);
        let ours = || run_dir::name(run_dir);
        let (name, told) = match std::fs::read_to_string(&note) {
            // The directory may have been named otherwise then.
            Ok(text) if text.starts_with(run_dir::NAME) => (text.trim_end().to_owned(), None),
            Ok(_) => (ours(), None),
            Err(_) => (ours(), Some(BTreeSet::new())),
        };
        let state = State { name, told, requests: kernel::Requests::default() };
        Self { note, state: Arc::new(Mutex::new(state)), watch: None, open: false }
    }

    /// The table's name, in the families `ip` and `ip6`.
    pub fn name(&self) -> String {
        locked(&self.state).name.clone()
    }

    /// Whether what was to be refused is not, and may be when it is tried again.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Refuses what is sent to these addresses, and to no others.
    ///
    /// # Errors
    /// [`FirewallError`]; then all is as it was before.
    pub fn refuse(&mut self, addresses: BTreeSet<Refused>) -> Result<(), FirewallError> {
        let done = self.try_refuse(addresses);
        self.open = done.as_ref().is_err_and(FirewallError::may_pass);
        done
    }

    fn try_refuse(&mut self, addresses: BTreeSet<Refused>) -> Result<(), FirewallError> {
        let mut state = locked(&self.state);
        if state.told.as_ref() == Some(&addresses) {
            return Ok(());
        }
        let noted = |error| FirewallError::Note { path: self.note.clone(), error };
        if addresses.is_empty() {
            let table = rules::table(&state.name, &addresses);
            match state.requests.carry_out(table) {
                // Then there is none.
                Ok(()) | Err(FirewallError::Missing) => {}
                Err(error) => return Err(error),
            }
            std::fs::remove_file(&self.note).map_err(noted)?;
        } else {
            std::fs::write(&self.note, format!("{}\n", state.name)).map_err(noted)?;
            let before = state.told.take();
            let table = rules::table(&state.name, &addresses);
            if let Err(error) = state.requests.carry_out(table) {
                // What the kernel refuses changes nothing, and goes on being watched. Otherwise nobody
                // knows what is there.
                state.told = before.filter(|_| matches!(error, FirewallError::Refused(_)));
                return Err(error);
            }
        }
        state.told = Some(addresses);
        drop(state);
        if self.watch.is_none() {
            self.watch = watch::start(&self.state);
        }
        Ok(())
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// Nobody panics while holding it; if so, what it says is as true as before.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the table that a daemon with this run directory may have left. `true`: one may have been there.
///
/// # Errors
/// [`FirewallError`] where it stays.
pub fn clear(run_dir: &Path) -> Result<bool, FirewallError> {
    if !may_be_left(run_dir) {
        return Ok(false);
    }
    let mut left = Firewall::new(run_dir);
    left.refuse(BTreeSet::new()).map(|()| true)
}

/// Says whether a daemon with this run directory may have left its table.
pub fn may_be_left(run_dir: &Path) -> bool {
    note(run_dir).exists()
}

fn note(run_dir: &Path) -> PathBuf {
    run_dir.join("nftables")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_refused_is_known_to_be_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut firewall = Firewall::new(&dir.path().join("gone"));
        assert!(!firewall.is_open());
        let refused = Refused { ip: [192, 0, 2, 250].into(), link: None };
        let done = firewall.refuse(BTreeSet::from([refused]));
        assert!(matches!(done, Err(FirewallError::Note { .. })), "{done:?}");
        assert!(firewall.is_open());
        firewall.refuse(BTreeSet::new()).unwrap();
        assert!(!firewall.is_open());
    }

    #[test]
    fn what_will_never_do_is_not_tried_again() {
        assert!(!FirewallError::Missing.may_pass());
        assert!(FirewallError::Refused(Errno::ENOBUFS).may_pass());
    }

    #[test]
    fn nothing_is_left_without_a_note() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!clear(dir.path()).unwrap());
    }
}
