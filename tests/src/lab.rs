//! Hosts on a bridge.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::capture::Capture;
use crate::daemon::{Daemon, Kind};
use crate::netns::{self, Netns};
use crate::packet;
use crate::probe::{Asker, Echo};
use crate::wait::urgent;
use crate::watch::Watch;

/// What all namespaces of the laboratory begin with.
const PREFIX: &str = "xvl";

/// The hosts and their last address bytes.
const HOSTS: [(&str, u8); 5] = [("r1", 11), ("r2", 12), ("r3", 13), ("client", 100), ("gen", 101)];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bridge with hosts on it: `r1`, `r2`, `r3` (192.0.2.11 to .13), `client` (.100), `gen` (.101),
/// each with `eth0`, in a namespace each.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: the hosts with their processes before the bridge.
    hosts: BTreeMap<String, Netns>,
    switch: Netns,
    dir: TempDir,
    name: String,
    is_for_a_test: bool,
}

impl Lab {
    /// Makes the hosts named, on one LAN. The calling thread is a real-time one from then on, behind the
    /// daemons': see [`urgent`].
    ///
    /// # Errors
    /// No root or no iproute2.
    pub fn new(hosts: &[&str]) -> Result<Self> {
        sweep_the_dead();
        urgent();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self::named(&format!("{PREFIX}{}-{number}-", std::process::id()), hosts)?;
        lab.is_for_a_test = true;
        Ok(lab)
    }

    /// The same with a name of the caller's, which its namespaces begin with. The next run does not
    /// sweep it away.
    ///
    /// # Errors
    /// No root, no iproute2, or the name is taken.
    pub fn named(name: &str, hosts: &[&str]) -> Result<Self> {
        let mut lab = Self::bare(name)?;
        for host in hosts {
            lab.add(host)?;
        }
        Ok(lab)
    }

    /// The same with a second LAN: `eth1` with 198.18.0.N.
    ///
    /// # Errors
    /// No root or no iproute2.
    pub fn with_two_lans(hosts: &[&str]) -> Result<Self> {
        let lab = Self::new(hosts)?;
        lab.add_lan(1)?;
        Ok(lab)
    }

    /// Wires all hosts to a further LAN: `eth1` with 198.18.0.N, `eth2` with 198.18.1.N, and so on; its
    /// bridge is `br1`, and so on.
    ///
    /// # Errors
    /// It is there already.
    pub fn add_lan(&self, lan: u8) -> Result<()> {
        let bridge = format!("br{lan}");
        self.switch
            .ip(&format!("link add {bridge} type bridge mcast_snooping 0 forward_delay 0"))?;
        self.switch.ip(&format!("link set {bridge} up"))?;
        self.hosts.keys().try_for_each(|host| self.wire(host, lan))
    }

    fn bare(name: &str) -> Result<Self> {
        let switch = Netns::new(&format!("{name}sw"))?;
        switch.ip("link add br0 type bridge mcast_snooping 0 forward_delay 0")?;
        switch.ip("link set br0 up")?;
        // A bridge that filters would drop what a test breaks on purpose. Absent without the module.
        let _ = switch.sysctl("net.bridge.bridge-nf-call-iptables", 0);
        let dir = tempfile::Builder::new().prefix(name).tempdir()?;
        // Scripts may run as another user.
        netns::run("chmod", &["755", &dir.path().display().to_string()])?;
        Ok(Self {
            hosts: BTreeMap::new(),
            switch,
            dir,
            name: name.to_owned(),
            is_for_a_test: false,
        })
    }

    fn add(&mut self, host: &str) -> Result<()> {
        let netns = Netns::new(&format!("{}{host}", self.name))?;
        self.hosts.insert(host.to_owned(), netns);
        self.wire(host, 0)
    }

    fn wire(&self, host: &str, lan: u8) -> Result<()> {
        let (netns, number) = (self.ns(host), number(host));
        let (port, net) = match lan {
            0 => (format!("p-{host}"), "192.0.2".to_owned()),
            1 => (format!("q-{host}"), "198.18.0".to_owned()),
            _ => (format!("p{lan}-{host}"), format!("198.18.{}", lan - 1)),
        };
        netns.ip(&format!(
            "link add eth{lan} address 02:00:00:00:{lan:02x}:{number:02x} type veth \
             peer name {port} netns {}",
            self.switch.name()
        ))?;
        self.switch.ip(&format!("link set {port} master br{lan} up"))?;
        netns.ip(&format!("addr add {net}.{number}/24 brd + dev eth{lan}"))?;
        netns.ip(&format!("link set eth{lan} up"))?;
        self.switch.wait_up(&port)?;
        netns.wait_up(&format!("eth{lan}"))
    }

    /// Has the tags of VLANs stay in the frames on the first LAN, as on a cable, and the hosts' ends say so.
    /// Otherwise the bridge hands them over beside the frame, where generic XDP can't see them.
    ///
    /// # Errors
    /// No ethtool.
    pub fn tags_in_frames(&self) -> Result<()> {
        for (host, netns) in &self.hosts {
            self.switch
                .sh(&format!("ethtool -K p-{host} txvlan off tx-vlan-stag-hw-insert off"))?;
            netns.sh("ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off")?;
        }
        Ok(())
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// There is no such host.
    pub fn ns(&self, host: &str) -> &Netns {
        self.hosts.get(host).unwrap_or_else(|| panic!("no host {host} in this laboratory"))
    }

    /// The namespace with the bridge.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// A directory for what belongs to this laboratory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the names of its namespaces begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the harness shows what is printed only where a test failed.
    pub(crate) fn is_for_a_test(&self) -> bool {
        self.is_for_a_test
    }

    /// Writes a file into the laboratory's directory, runnable if it is a script.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir().join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// Starts a daemon on a host and waits until it says its first state, or ends: a busy machine takes its
    /// time until then.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, kind: Kind, host: &str, conf: &str) -> Result<Daemon> {
        let mut daemon = Daemon::start(self, kind, host, conf, &[])?;
        daemon.settle();
        Ok(daemon)
    }

    /// The same with the daemon under test.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run(&self, host: &str, conf: &str) -> Result<Daemon> {
        self.start(Kind::under_test(), host, conf)
    }

    /// The IPv4 addresses of a host, `a.b.c.d/n`, in the kernel's order.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn addresses(&self, host: &str) -> Result<Vec<String>> {
        let lines = self.ns(host).ip("-o -4 addr show")?;
        let of = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        Ok(lines.lines().filter_map(of).filter(|a| !a.starts_with("127.")).collect())
    }

    /// Whether a host has an address, written without its length.
    pub fn holds(&self, host: &str, address: &str) -> bool {
        let begin = format!("{address}/");
        self.addresses(host).is_ok_and(|all| all.iter().any(|a| a.starts_with(&begin)))
    }

    /// Who of these hosts has the address.
    pub fn holders(&self, hosts: &[&str], address: &str) -> Vec<String> {
        let held = |host: &&&str| self.holds(host, address);
        hosts.iter().filter(held).map(|host| (*host).to_owned()).collect()
    }

    /// Takes a host's port out of the bridge; its carrier stays.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.switch.ip(&format!("link set p-{host} nomaster")).map(drop)
    }

    /// Puts a host's port back into the bridge.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn mend(&self, host: &str) -> Result<()> {
        self.switch.ip(&format!("link set p-{host} master br0")).map(drop)
    }

    /// Pulls the cable of a host's `eth0`, or plugs it in again.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn carrier(&self, host: &str, there: bool) -> Result<()> {
        let state = if there { "up" } else { "down" };
        self.switch.ip(&format!("link set p-{host} {state}")).map(drop)
    }

    /// The same for `eth1`.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn second_carrier(&self, host: &str, there: bool) -> Result<()> {
        let state = if there { "up" } else { "down" };
        self.switch.ip(&format!("link set q-{host} {state}")).map(drop)
    }

    /// Captures at a host's `eth0` from now on.
    ///
    /// # Errors
    /// No packet socket.
    pub fn capture(&self, host: &str) -> Result<Capture> {
        Capture::start(self.ns(host), "eth0")
    }

    /// Captures at the switch's end of a host's cable: what the host sends even while it is cut
    /// off.
    ///
    /// # Errors
    /// No packet socket.
    pub fn capture_port(&self, host: &str) -> Result<Capture> {
        Capture::start(&self.switch, &format!("p-{host}"))
    }

    /// Watches a host's addresses from now on.
    ///
    /// # Errors
    /// No netlink socket.
    pub fn watch(&self, host: &str) -> Result<Watch> {
        Watch::start(self.ns(host))
    }

    /// Sends a frame as it is out of a host's `eth0`.
    ///
    /// # Errors
    /// No packet socket, or the link is down.
    pub fn inject(&self, host: &str, frame: &[u8]) -> Result<()> {
        let socket = self.ns(host).enter(|| packet::open("eth0"))?;
        packet::send(&socket, frame)
    }

    /// Lets a host answer the client's questions with its number.
    ///
    /// # Errors
    /// No socket.
    pub fn echo(&self, host: &str) -> Result<Echo> {
        Echo::start(self.ns(host), number(host))
    }

    /// Lets the client ask an address so many times a second from now on.
    ///
    /// # Errors
    /// No socket.
    pub fn ask(&self, address: Ipv4Addr, per_second: u32) -> Result<Asker> {
        Asker::start(self.ns("client"), address, per_second)
    }

    /// Leaves everything standing when dropped.
    pub fn keep(self) {
        let Self { hosts, switch, dir, .. } = self;
        let _ = dir.keep();
        std::mem::forget(hosts);
        std::mem::forget(switch);
    }
}

/// A host's last address byte.
///
/// # Panics
/// There is no such host.
pub fn number(host: &str) -> u8 {
    number_of(host).unwrap_or_else(|| panic!("no host is called {host}"))
}

/// The same, where the name came from outside.
pub fn number_of(host: &str) -> Option<u8> {
    let (_, number) = HOSTS.iter().find(|(name, _)| *name == host)?;
    Some(*number)
}

/// The host with this last address byte.
pub fn host_of(number: u8) -> &'static str {
    let found = HOSTS.iter().find(|(_, of)| *of == number);
    found.map_or("nobody", |(name, _)| name)
}

/// Removes all laboratories whose names begin so, with their processes and files: for a Ctrl-C,
/// where nothing is dropped, and for one that was left standing. Says how many namespaces it were.
pub fn remove_all(prefix: &str) -> usize {
    let names = netns::list(prefix);
    for name in &names {
        netns::remove(name);
    }
    let files = std::fs::read_dir(std::env::temp_dir());
    for file in files.into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().starts_with(prefix) {
            let _ = std::fs::remove_dir_all(file.path());
        }
    }
    names.len()
}

/// Has a Ctrl-C, or a polite end by signal, remove the laboratories whose names begin so before it
/// ends the process.
///
/// # Errors
/// The kernel's.
pub fn remove_on_interrupt(prefix: &str) -> Result<()> {
    // Handlers and no blocked signals: those would be inherited by every daemon that is started.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    let prefix = prefix.to_owned();
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        });
        // From now on nobody makes another.
        let _gate = netns::GATE.lock();
        eprintln!("\ninterrupted: removing the laboratory");
        remove_all(&prefix);
        std::process::exit(128 + number);
    });
    Ok(())
}

/// Removes what processes left that were killed before they could.
pub fn sweep_the_dead() {
    for name in netns::list(PREFIX) {
        let digits: String =
            name[PREFIX.len()..].chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() && !Path::new("/proc").join(&digits).exists() {
            remove_all(&format!("{PREFIX}{digits}-"));
        }
    }
}
