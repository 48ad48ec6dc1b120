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

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

mod message;
mod rules;

use message::Batch;

/// The table's name, with the default run directory.
const NAME: &str = "xvrrp";
/// Room for a batch of some ten thousand addresses, and for its answers.
const BUFFER: usize = 4 << 20;
/// The kernel's answers to a batch come in datagrams of this size at most.
const DATAGRAM: usize = 64 * 1024;
const MESSAGE_ERROR: u16 = 2;

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

/// The table of a daemon.
#[derive(Debug)]
pub struct Firewall {
    note: PathBuf,
    name: String,
    /// What the kernel was told; `None`: not known, an earlier life may have left something.
    told: Option<BTreeSet<Refused>>,
}

impl Firewall {
    /// The table of the daemon with this run directory, as an earlier life may have left it.
    pub fn new(run_dir: &Path) -> Self {
        let note = note(run_dir);
        match std::fs::read_to_string(&note) {
            // The directory may have been named otherwise then.
            Ok(text) if text.starts_with(NAME) => {
                Self { note, name: text.trim_end().to_owned(), told: None }
            }
            Ok(_) => Self { note, name: name(run_dir), told: None },
            Err(_) => Self { note, name: name(run_dir), told: Some(BTreeSet::new()) },
        }
    }

    /// The table's name, in the families `ip` and `ip6`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Refuses what is sent to these addresses, and to no others: also where the table is as it was, since
    /// somebody may have loaded a new ruleset in its place.
    ///
    /// # Errors
    /// [`FirewallError`]; then all is as it was before.
    pub fn refuse(&mut self, addresses: BTreeSet<Refused>) -> Result<(), FirewallError> {
        if addresses.is_empty() && self.told.as_ref() == Some(&addresses) {
            return Ok(());
        }
        let noted = |error| FirewallError::Note { path: self.note.clone(), error };
        if addresses.is_empty() {
            carry_out(rules::table(&self.name, &addresses))?;
            std::fs::remove_file(&self.note).map_err(noted)?;
        } else {
            std::fs::write(&self.note, format!("{}\n", self.name)).map_err(noted)?;
            carry_out(rules::table(&self.name, &addresses))?;
        }
        self.told = Some(addresses);
        Ok(())
    }
}

/// Removes the table that a daemon with this run directory may have left. `true`: one may have been there.
///
/// # Errors
/// [`FirewallError`] where it stays.
pub fn clear(run_dir: &Path) -> Result<bool, FirewallError> {
    let mut left = Firewall::new(run_dir);
    if left.told.is_some() {
        return Ok(false);
    }
    left.refuse(BTreeSet::new()).map(|()| true)
}

/// Says whether a daemon with this run directory may have left its table.
pub fn may_be_left(run_dir: &Path) -> bool {
    note(run_dir).exists()
}

fn note(run_dir: &Path) -> PathBuf {
    run_dir.join("nftables")
}

/// Daemons of other run directories have tables of their own.
fn name(run_dir: &Path) -> String {
    if run_dir == Path::new(crate::run_dir::DEFAULT) {
        return NAME.to_owned();
    }
    // FNV-1a: the same in every life, which the library's own hash is not.
    let path = run_dir.as_os_str().as_encoded_bytes();
    let hash = path
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{NAME}-{hash:08x}")
}

/// Has the kernel carry out a batch, all of it or nothing.
fn carry_out(batch: Batch) -> Result<(), FirewallError> {
    let (bytes, mut missing) = batch.finish();
    let socket = open().map_err(from_system)?;
    socket.send(&bytes, 0).map_err(from_system)?;
    let mut buffer = Vec::with_capacity(DATAGRAM);
    // The answers are there when the batch is sent; the first refusal is the reason for all others.
    while missing > 0 {
        buffer.clear();
        socket.recv(&mut buffer, libc::MSG_DONTWAIT).map_err(from_system)?;
        for code in answers(&buffer) {
            if code != 0 {
                return Err(refused(Errno::from_raw(code.saturating_abs())));
            }
            missing -= 1;
        }
    }
    Ok(())
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
    socket.bind(&SocketAddr::new(0, 0))?;
    // An error's answer needs no copy of the request.
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// The error numbers in a datagram of answers; 0: done.
fn answers(datagram: &[u8]) -> impl Iterator<Item = i32> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let (message, after) = rest.split_at_checked(length.max(4))?;
        rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        Some(message)
    })
    .filter_map(|message| {
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        let code = i32::from_ne_bytes(*message.get(16..)?.first_chunk()?);
        (kind == MESSAGE_ERROR).then_some(code)
    })
}

fn refused(errno: Errno) -> FirewallError {
    if matches!(errno, Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) {
        FirewallError::Missing
    } else {
        FirewallError::Refused(errno)
    }
}

fn from_system(error: io::Error) -> FirewallError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => FirewallError::Missing,
        Some(_) | None => FirewallError::Netlink(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_two_daemons_are_two() {
        assert_eq!(name(Path::new(crate::run_dir::DEFAULT)), "xvrrp");
        let other = name(Path::new("/run/other"));
        assert_eq!(other, name(Path::new("/run/other")));
        assert_ne!(other, name(Path::new("/run/another")));
        assert!(other.starts_with("xvrrp-") && other.len() == 14, "{other}");
    }

    #[test]
    fn answers_are_read_one_by_one() {
        let answer = |code: i32| {
            let mut bytes = vec![0; 20];
            bytes[0] = 36;
            bytes[4] = 2;
            bytes[16..20].copy_from_slice(&code.to_ne_bytes());
            bytes.resize(36, 0);
            bytes
        };
        let datagram = [answer(0), answer(-2), answer(0)].concat();
        assert_eq!(answers(&datagram).collect::<Vec<_>>(), [0, -2, 0]);
        assert_eq!(answers(&datagram[..50]).collect::<Vec<_>>(), [0]);
        assert_eq!(answers(&[]).count(), 0);
    }

    #[test]
    fn nothing_is_left_without_a_note() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!clear(dir.path()).unwrap());
    }
}
