//! Ledgers that mean nothing here.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::table::{MAGIC, VERSION};

/// Why a ledger means nothing here. What says so stands at the same place in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The file is no ledger.
    NoLedger,
    /// Of an earlier start of the host: nothing that was done then is left.
    Boot,
    /// Of another network namespace, by its number: interfaces may have the same indexes there.
    Namespace(u64),
    /// Of another version of the daemon.
    Version(u64),
}

impl Foreign {
    /// Judges the first words of a file; `None`: it is a ledger of this place.
    ///
    /// # Errors
    /// The file system's, where it is not known which place this is.
    pub(super) fn of(head: &[u64; 5]) -> io::Result<Option<Self>> {
        let [magic, version, boot, more, namespace] = *head;
        Ok(if magic != MAGIC {
            Some(Self::NoLedger)
        } else if [boot, more] != boot_id()? {
            Some(Self::Boot)
        } else if namespace != self::namespace()? {
            Some(Self::Namespace(namespace))
        } else {
            (version != VERSION).then_some(Self::Version(version))
        })
    }

    /// Whether what it tells of may be there, somewhere else or in another form.
    pub(crate) fn may_matter(self) -> bool {
        self != Self::Boot
    }
}

impl fmt::Display for Foreign {
    /// What the file is, and what to do for what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLedger => f.write_str("no ledger: what a daemon left is not known"),
            Self::Boot => f.write_str("the ledger of an earlier start of the host"),
            Self::Namespace(number) => write!(
                f,
                "the ledger of another network namespace (net:[{number}]): \
                 what is left there is given up by `xvrrp release` there"
            ),
            Self::Version(version) => write!(
                f,
                "the ledger of another version of xvrrp ({version}, this one writes {VERSION}): \
                 what is left is given up by that one's `xvrrp release`"
            ),
        }
    }
}

/// Which start of the host this is: its clock began anew with it.
pub(super) fn boot_id() -> io::Result<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok([(number >> 64) as u64, number as u64])
}

/// The network namespace: interfaces of another one may have the same indexes.
pub(super) fn namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
}
