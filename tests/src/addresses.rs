//! Addresses as they come and go on a host.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::wait::pause;

/// An address that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was told.
    pub at: Instant,
    /// Whether it came.
    pub came: bool,
    /// The interface.
    pub device: String,
    /// The address, without its length.
    pub address: String,
}

/// Listens to what the kernel tells of a host's IPv4 addresses.
#[derive(Debug)]
pub struct AddressWatch {
    monitor: Child,
    reader: Option<JoinHandle<()>>,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl AddressWatch {
    /// Listens from now on.
    ///
    /// # Errors
    /// `ip monitor` can't be started.
    pub fn start(netns: &Netns) -> Result<Self> {
        let mut monitor = netns
            .command("ip")
            .args(["-o", "-4", "monitor", "address"])
            .stdout(Stdio::piped())
            .spawn()
            .context("start ip monitor")?;
        let out = monitor.stdout.take().context("no output")?;
        let changes = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let changes = Arc::clone(&changes);
            move || read_all(out, &changes)
        });
        // Until it has subscribed.
        pause(150);
        Ok(Self { monitor, reader: Some(reader), changes })
    }

    /// What happened to an address, in order.
    pub fn of(&self, address: &str) -> Vec<Change> {
        // What the kernel told before the call is read by then.
        pause(50);
        let all = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|change| change.address == address).cloned().collect()
    }

    /// How often an address went off an interface.
    pub fn removals(&self, address: &str, device: &str) -> usize {
        let gone = |change: &&Change| !change.came && change.device == device;
        self.of(address).iter().filter(gone).count()
    }

    /// The longest time that the host was without an address that it had at the beginning; without an
    /// end where it still is.
    pub fn longest_gap(&self, address: &str) -> Duration {
        let mut held = 1;
        let (mut gone, mut longest) = (None, Duration::ZERO);
        for change in self.of(address) {
            held += if change.came { 1 } else { -1 };
            if held <= 0 {
                gone = Some(change.at);
            } else if let Some(gone) = gone.take() {
                longest = longest.max(change.at - gone);
            }
        }
        gone.map_or(longest, |_| Duration::MAX)
    }
}

impl Drop for AddressWatch {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_all(out: ChildStdout, changes: &Mutex<Vec<Change>>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if let Some(change) = read(&line, Instant::now()) {
            changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        }
    }
}

fn read(line: &str, at: Instant) -> Option<Change> {
    let (came, rest) = line.strip_prefix("Deleted ").map_or((true, line), |rest| (false, rest));
    let mut words = rest.split_whitespace();
    let device = words.nth(1)?.to_owned();
    let address = words.nth(1)?.split('/').next()?.to_owned();
    Some(Change { at, came, device, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ip_prints() {
        let at = Instant::now();
        let line = "Deleted 2: eth0    inet 192.0.2.250/24 scope global secondary eth0\\ valid_lft";
        let change = |came| Change {
            at,
            came,
            device: "eth0".to_owned(),
            address: "192.0.2.250".to_owned(),
        };
        assert_eq!(read(line, at), Some(change(false)));
        assert_eq!(read(&line["Deleted ".len()..], at), Some(change(true)));
    }
}
