//! Frames of the running daemon as another decoder reads them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::daemon::signal;
use crate::netns::run;
use crate::{Lab, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// What tcpdump says.
const LOG: &str = "tcpdump.log";
/// The last frame of a recording: its type, and what is in it.
const FOR_EXPERIMENTS: [u8; 2] = [0x88, 0xb5];
const MARK: &[u8] = b"the last frame of a recording";

/// All that a host sends, in a file.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    tcpdump: Child,
}

impl Recording {
    /// Records at the switch's end of the host's cable from now on.
    ///
    /// # Errors
    /// No tcpdump.
    pub fn start(lab: &Lab, host: &str) -> Result<Self> {
        let file = lab.dir().join("frames.pcap");
        let port = format!("p-{host}");
        let mut command = lab.switch().command("tcpdump");
        command.args(["-i", &port, "-Q", "in", "-U", "--immediate-mode", "-Z", "root"]);
        // Without a bound of their length its buffer has room for a few frames, and not for a burst.
        command.args(["-s", "4096", "-B", "16384", "-w"]);
        let log = std::fs::File::create(lab.dir().join(LOG))?;
        let tcpdump = command.arg(&file).stderr(log).spawn().context("start tcpdump")?;
        let recording = Self { file, tcpdump };
        wait_until("tcpdump listens", LIMIT, || {
            // Written when it is ready: the file's own header.
            recording.file.metadata().is_ok_and(|file| file.len() >= 24)
        })?;
        Ok(recording)
    }

    /// Ends when everything that the host has sent is in the file, and says where that is.
    ///
    /// # Errors
    /// The kernel's, or a frame is missing.
    pub fn finish(mut self, lab: &Lab, host: &str) -> Result<PathBuf> {
        // At its end tcpdump drops what it has not read yet.
        let mut last = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0xfe], &FOR_EXPERIMENTS, MARK].concat();
        last.resize(60, 0);
        lab.inject(host, &last)?;
        wait_until("tcpdump has written all", LIMIT, || {
            std::fs::read(&self.file)
                .is_ok_and(|all| all.windows(MARK.len()).any(|part| part == MARK))
        })?;
        signal(self.tcpdump.id(), Signal::SIGTERM);
        self.tcpdump.wait()?;
        let told = std::fs::read_to_string(lab.dir().join(LOG))?;
        ensure!(told.lines().any(|line| line == "0 packets dropped by kernel"), "{told}");
        Ok(self.file.clone())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// A frame as tshark reads it; what there is none of is empty.
#[derive(Clone, Debug)]
pub struct Read {
    /// The VLANs whose tags it has, the outer one first: `7,100`.
    pub vlans: String,
    /// Of an advert: where from, by MAC address, and to, the version, the authentication type, and
    /// `sealed` where there is an authentication header.
    pub way: [String; 5],
    /// Of an advert.
    pub vrid: String,
    /// Of an advert.
    pub priority: String,
    /// Of IPv4, VRRP and `ICMPv6`; `1`: good.
    pub checksums: [String; 3],
    /// It is a gratuitous ARP.
    pub is_gratuitous: bool,
    /// It is a neighbour advertisement.
    pub is_neighbour_advertisement: bool,
    /// Of either of these: the address, and the MAC address that it is said to be at.
    pub says: [String; 2],
    /// What tshark finds wrong with it.
    pub complaint: String,
}

impl Read {
    /// Whether nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.complaint.is_empty() && self.checksums.iter().all(|sum| ["", "1"].contains(&&**sum))
    }
}

/// Has tshark read a file, with `VRRPv3`'s checksum over IPv4 in either form.
///
/// # Errors
/// No tshark, or no file.
pub fn read(file: &Path, as_v2: bool) -> Result<Vec<Read>> {
    const FIELDS: [&str; 20] = [
        "eth.src",
        "ip.dst",
        "ipv6.dst",
        "vrrp.version",
        "vrrp.auth_type",
        "ah.icv",
        "vrrp.virt_rtr_id",
        "vrrp.prio",
        "ip.checksum.status",
        "vrrp.checksum.status",
        "icmpv6.checksum.status",
        "arp.isgratuitous",
        "icmpv6.type",
        "_ws.expert.message",
        "ieee8021ad.id",
        "vlan.id",
        "arp.src.proto_ipv4",
        "icmpv6.nd.na.target_address",
        "arp.src.hw_mac",
        "icmpv6.opt.linkaddr",
    ];
    let (file, as_v2) = (file.to_string_lossy(), if as_v2 { "TRUE" } else { "FALSE" });
    let form = format!("vrrp.v3_checksum_as_in_v2:{as_v2}");
    let mut args = vec!["-n", "-r", &file, "-o", "ip.check_checksum:TRUE", "-o", &form];
    // That an address moves is no fault.
    args.extend(["-o", "arp.detect_duplicate_ips:FALSE"]);
    args.extend(["-T", "fields", "-E", "separator=|"]);
    args.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let lines = run("tshark", &args)?;
    let frame = |line: &str| {
        let mut all = line.split('|').map(str::to_owned).collect::<Vec<_>>();
        all.resize(FIELDS.len(), String::new());
        let text = |at: usize| all[at].clone();
        let sealed = if text(5).is_empty() { "" } else { "sealed" };
        let tags = [text(14), text(15)].into_iter().filter(|ids| !ids.is_empty());
        Read {
            vlans: tags.collect::<Vec<_>>().join(","),
            way: [text(0), text(1) + &text(2), text(3), text(4), sealed.to_owned()],
            vrid: text(6),
            priority: text(7),
            checksums: [text(8), text(9), text(10)],
            is_gratuitous: text(11) == "1",
            is_neighbour_advertisement: text(12) == "136",
            says: [text(16) + &text(17), text(18) + &text(19)],
            complaint: text(13),
        }
    };
    Ok(lines.lines().map(frame).collect())
}

/// A router's adverts, of priority 254 and at last 0, are as they should be.
///
/// # Errors
/// One is not, or is missing.
pub fn judge(frames: &[Read], vrid: u8, way: [&str; 5]) -> Result<()> {
    let adverts: Vec<&Read> =
        frames.iter().filter(|frame| frame.vrid == vrid.to_string()).collect();
    let priorities: BTreeSet<&str> = adverts.iter().map(|one| one.priority.as_str()).collect();
    ensure!(priorities == BTreeSet::from(["0", "254"]), "priorities {priorities:?}");
    let sums = if way[1].contains(':') { ["", "1", ""] } else { ["1", "1", ""] };
    for advert in adverts {
        ensure!(advert.way == way, "{:?}", advert.way);
        ensure!(advert.checksums == sums, "{:?}", advert.checksums);
        ensure!(advert.complaint.is_empty(), "{}", advert.complaint);
    }
    Ok(())
}
