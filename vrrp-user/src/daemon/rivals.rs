//! Other daemons for VRRP in this network namespace, keepalived above all.
//!
//! Two daemons on one host that serve one virtual router would both be MASTER, from one source address:
//! neither hears its own host. xvrrp knows another xvrrp by what [`super::served`] holds; any other one by
//! its raw socket for protocol 112, and which virtual routers it serves by its file, where it is
//! keepalived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use vrrp_common::Family;

use crate::config;
use crate::config::model::Instance;

/// The sockets of all protocols over IPv4 and IPv6, of the calling thread's network namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/raw", "/proc/thread-self/net/raw6"];
/// IP protocols: VRRP, and the authentication header around it.
const PROTOCOLS: [u16; 2] = [112, 51];
/// What the processes of an xvrrp are called.
const OURS: &str = "xvrrp";
/// What those are called whose file we can read.
const KEEPALIVED: &str = "keepalived";
/// Where keepalived has its file where nothing else is said.
const USUAL_FILE: &str = "/etc/keepalived/keepalived.conf";

/// As long as nobody who starts has an address: that takes three intervals of silence.
const FRESH: Duration = Duration::from_millis(300);

/// A virtual router as a file names it: interface, family and VRID.
pub(super) type Place = (String, Family, u8);

/// Another daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rival {
    /// Its main process; `None`: it can't be seen from here, in a container, say.
    pid: Option<u32>,
    /// What that is called.
    name: String,
    /// What it serves, where that is known.
    serves: Option<BTreeSet<Place>>,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (process {pid})", self.name),
            None => f.write_str("a process that can't be seen from here"),
        }
    }
}

/// The other daemons that were there when somebody looked last.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    /// Their sockets, with those of ours.
    sockets: BTreeSet<u64>,
    all: Vec<Rival>,
    looked: Option<Instant>,
}

impl Rivals {
    /// Looks again, and tells of each that is new.
    pub(super) fn look(&mut self) {
        self.looked = Some(Instant::now());
        let tables = TABLES.iter().filter_map(|path| fs::read_to_string(path).ok());
        let sockets: BTreeSet<u64> =
            tables.flat_map(|table| raw_sockets(&table).collect::<Vec<_>>()).collect();
        if sockets == self.sockets {
            return;
        }
        let now = if sockets.is_empty() { Vec::new() } else { owners(&sockets) };
        self.sockets = sockets;
        for new in now.iter().filter(|new| !self.all.iter().any(|old| old.pid == new.pid)) {
            new.tell();
        }
        for gone in self.all.iter().filter(|old| !now.iter().any(|new| old.pid == new.pid)) {
            info!("{gone} does VRRP on this host no more");
        }
        self.all = now;
    }

    /// Any of them, for a line that names it. A takeover asks for each of its addresses.
    pub(super) fn any(&mut self) -> Option<String> {
        if self.looked.is_none_or(|at| at.elapsed() >= FRESH) {
            self.look();
        }
        self.all.first().map(Rival::to_string)
    }

    /// Who serves a virtual router, by its file.
    pub(super) fn known(&self, place: &Place) -> Option<String> {
        let serves = |r: &&Rival| r.serves.as_ref().is_some_and(|all| all.contains(place));
        self.all.iter().find(serves).map(Rival::to_string)
    }

    /// Who serves an instance's virtual router, or did so `before` and lives. Of one whose file can't be
    /// read that is assumed where the host `has_its_address` and none of ours has put it there.
    pub(super) fn serving(
        &self,
        instance: &Instance,
        before: Option<&str>,
        has_its_address: impl FnOnce() -> bool,
    ) -> Option<String> {
        let all = || self.all.iter();
        let same = all().map(Rival::to_string).find(|rival| Some(rival.as_str()) == before);
        let place = (instance.interface.clone(), instance.family, instance.vrid.get());
        let mut unknown = all().filter(|rival| rival.serves.is_none());
        let assumed = || unknown.next().filter(|_| has_its_address()).map(Rival::to_string);
        same.or_else(|| self.known(&place)).or_else(assumed)
    }
}

impl Rival {
    fn tell(&self) {
        let remedy = match (&self.pid, self.name.as_str()) {
            (Some(_), KEEPALIVED) => "`systemctl disable --now keepalived`".to_owned(),
            (Some(pid), _) => format!("end process {pid} as it was started"),
            (None, _) => "look for it in containers that use the host's network".to_owned(),
        };
        let which = if self.serves.is_some() { "" } else { "; which virtual routers is not known" };
        warn!(
            "{self} does VRRP on this host too{which}. One that both serve is in FAULT here until that \
             ends: {remedy}"
        );
    }
}

/// The inodes of raw sockets for VRRP in one of the kernel's tables.
fn raw_sockets(table: &str) -> impl Iterator<Item = u64> {
    table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        // The protocol stands where other tables have the port.
        let (_, protocol) = words.nth(1)?.rsplit_once(':')?;
        let protocol = u16::from_str_radix(protocol, 16).ok()?;
        // Behind: remote address, state, queues, timer, retransmits, user, timeout.
        let inode = words.nth(7)?.parse().ok()?;
        PROTOCOLS.contains(&protocol).then_some(inode)
    })
}

/// Who has these sockets, but for ours.
fn owners(sockets: &BTreeSet<u64>) -> Vec<Rival> {
    let mut left = sockets.clone();
    let mut found: BTreeMap<u32, String> = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let held: Vec<u64> = sockets_of(pid).filter(|inode| sockets.contains(inode)).collect();
        if held.is_empty() {
            continue;
        }
        for inode in &held {
            left.remove(inode);
        }
        let name = name_of(pid);
        if pid != std::process::id() && !name.starts_with(OURS) {
            // The main process is the one to end.
            let main = parent_of(pid).filter(|parent| kind(&name_of(*parent)) == kind(&name));
            found.insert(main.unwrap_or(pid), kind(&name).to_owned());
        }
    }
    let seen = found.into_iter().map(|(pid, name)| {
        let serves = if name == KEEPALIVED { read_file(pid) } else { None };
        Rival { pid: Some(pid), name, serves }
    });
    let unseen = (!left.is_empty()).then(|| Rival { pid: None, name: String::new(), serves: None });
    seen.chain(unseen).collect()
}

/// The part of a process's name that its children have too: `keepalived` of `keepalived_vrrp`.
fn kind(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

fn sockets_of(pid: u32) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// What keepalived serves, by its file as that is now; `None`: it can't be read as a whole.
fn read_file(pid: u32) -> Option<BTreeSet<Place>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let path = file_of(&words);
    let inside = format!("/proc/{pid}/root{}", path.display());
    let loaded = config::load(Path::new(&inside)).ok()?;
    let config = loaded.startable().ok().filter(|config| config.refused.is_empty())?;
    let places = config
        .instances
        .iter()
        .map(|instance| (instance.interface.clone(), instance.family, instance.vrid.get()));
    Some(places.collect())
}

/// The file that keepalived's command line names.
fn file_of(words: &[String]) -> PathBuf {
    let mut named = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if matches!(word, "-f" | "--use-file") {
            named = words.next().or(named);
        } else if let Some(name) = word.strip_prefix("--use-file=") {
            named = Some(name);
        } else if let Some(name) = word.strip_prefix("-f") {
            named = Some(name);
        }
    }
    let named = Path::new(named.unwrap_or(USUAL_FILE));
    // Its working directory is the root's.
    Path::new("/").join(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_vrrp_are_found_among_others() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0000000000000000 0
  112: 00000000:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9001 2 0000000000000000 0
   51: 0B0200C0:0033 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9002 2 0000000000000000 7
";
        assert_eq!(raw_sockets(table).collect::<Vec<_>>(), [9001, 9002]);
        let six = "  112: 00000000000000000000000000000000:0070 00000000000000000000000000000000:0000 \
                   07 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 0";
        assert_eq!(raw_sockets(six).collect::<Vec<_>>(), [42]);
    }

    #[test]
    fn keepalived_s_file_is_the_one_it_was_told() {
        let of = |line: &str| file_of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("keepalived -n"), Path::new(USUAL_FILE));
        assert_eq!(of("keepalived -n -f /a/b.conf"), Path::new("/a/b.conf"));
        assert_eq!(of("keepalived -f/a/c.conf -P"), Path::new("/a/c.conf"));
        assert_eq!(of("keepalived --use-file=d.conf"), Path::new("/d.conf"));
        assert_eq!(of("keepalived --use-file /a/e.conf"), Path::new("/a/e.conf"));
    }

    #[test]
    fn whom_one_serves_is_said_by_its_file_and_else_by_the_address() {
        let text = "vrrp_instance A {\n interface eth0\n virtual_router_id 51\n \
                    virtual_ipaddress {\n 192.0.2.250\n }\n}\n";
        let loaded = config::parse_str(Path::new("test.conf"), text);
        let instance = loaded.config.unwrap().instances.remove(0);
        let rival = |serves| Rival { pid: Some(7), name: "keepalived".to_owned(), serves };
        let rivals = |serves| Rivals { all: vec![rival(serves)], ..Rivals::default() };
        let place = |vrid| BTreeSet::from([("eth0".to_owned(), Family::V4, vrid)]);
        let who = Some("keepalived (process 7)");
        let serving = |rivals: Rivals, before, has| rivals.serving(&instance, before, || has);
        assert_eq!(serving(rivals(Some(place(51))), None, false).as_deref(), who);
        // Its file says otherwise: the address is of somebody who is gone.
        assert_eq!(serving(rivals(Some(place(52))), None, true), None);
        assert_eq!(serving(rivals(None), None, true).as_deref(), who);
        assert_eq!(serving(rivals(None), None, false), None);
        // It is a Backup by now, and may have another file.
        assert_eq!(serving(rivals(Some(place(52))), who, false).as_deref(), who);
        assert_eq!(serving(Rivals::default(), who, true), None);
    }
}
