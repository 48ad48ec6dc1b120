//! What a line begins with: the log's and the guardian's are alike.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Whether lines to here need a time of their own: journald, which says in `JOURNAL_STREAM` where its socket
/// is, stamps each one itself.
pub(crate) fn wants_time(to: impl AsFd) -> bool {
    !is_journal(std::env::var_os("JOURNAL_STREAM").as_deref(), to)
}

/// Whether this is the socket of `DEVICE:INODE`. The variable alone says nothing: whoever is started from a
/// unit and writes elsewhere has it too (systemd.exec(5)).
fn is_journal(named: Option<&OsStr>, to: impl AsFd) -> bool {
    let numbers = named.and_then(OsStr::to_str).and_then(|text| text.split_once(':'));
    let Some((device, inode)) = numbers else { return false };
    fstat(to)
        .is_ok_and(|here| device.parse() == Ok(here.st_dev) && inode.parse() == Ok(here.st_ino))
}

/// One line in the form of all others; `level` is five characters wide.
pub(crate) fn line(time: bool, level: &str, text: &str) -> String {
    let mut line = String::new();
    // Without its time a line is still one.
    if time && SystemTime.format_time(&mut Writer::new(&mut line)).is_ok() {
        line.push(' ');
    }
    line + level + " " + text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_journal_is_known_by_its_numbers() {
        let file = tempfile::tempfile().unwrap();
        let here = file.metadata().unwrap();
        let (device, inode) = (here.dev(), here.ino());
        let is_journal = |text: &str| is_journal(Some(OsStr::new(text)), &file);
        assert!(is_journal(&format!("{device}:{inode}")));
        for other in [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1)] {
            assert!(!is_journal(&other), "{other}");
        }
        for other in ["", "1", ":", "a:b", &format!("{device}:{inode}:")] {
            assert!(!is_journal(other), "{other}");
        }
        assert!(!super::is_journal(None, &file));
    }
}
