//! What one virtual router is to do, in values that have been checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Interval, Priority, Version, Vrid};

use crate::paths::Paths;

/// The settings of one virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The protocol version.
    pub version: Version,
    /// The family that carries the adverts.
    pub family: Family,
    /// The virtual router.
    pub vrid: Vrid,
    /// The configured priority, before tracking.
    pub priority: Priority,
    /// Advertisement_Interval, as the version's field can say it.
    pub interval: Interval,
    /// Preempt_Mode (RFC 9568 §6.1).
    pub preempt: bool,
    /// How long a router of lower priority is left in place after it was first heard.
    pub preempt_delay: Duration,
    /// The addresses: in the adverts, and held while Active.
    pub addresses: Vec<VirtualAddress>,
    /// Those of `addresses` that are on other links than the adverts: there, a winner's MAC address is nobody's.
    pub elsewhere: Vec<IpAddr>,
    /// Held while Active, but not in the adverts.
    pub excluded: Vec<VirtualAddress>,
    /// What it routes by while Active.
    pub paths: Arc<Paths>,
    /// When and how often addresses are announced.
    pub announce: Announce,
    /// What moves the priority or puts the router into Fault.
    pub trackers: Vec<Tracker>,
    /// Whether the loss of the router's own link is a fault.
    pub track_link: bool,
    /// How long the router's own link must be down or up before that counts.
    pub link_delays: Delays,
    /// The checksum form to send before a peer has shown its own.
    pub form: ChecksumForm,
    /// Whether an advert that loses against ours is answered at once (RFC 9568 §6.4.3).
    pub answer_lower: bool,
    /// Whether one last advert goes out before the router yields to a higher one.
    pub advert_on_yield: bool,
    /// Intervals without an advert until a Backup takes over, 1 at least; 3 in the RFCs (§6.1). All
    /// routers of a virtual router need the same.
    pub down_adverts: u8,
    /// Whether the owner of the addresses discards the adverts of others (RFC 3768 §7.1, RFC 9568 §7.1
    /// before erratum 8298) instead of finding one winner with them.
    pub deaf_as_owner: bool,
    /// A router without Preempt_Mode that wakes so late as Active that a peer of this priority has taken
    /// over meanwhile leaves that one in place.
    pub late_peer: Option<Priority>,
}

/// An address that follows the Active router, and how it is put on its interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualAddress {
    /// The address.
    pub ip: IpAddr,
    /// The prefix length: 0 to 32 or 128. With a `peer`, of that one's network.
    pub prefix: u8,
    /// The address of the other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The interface's name.
    pub device: String,
    /// The broadcast address (IPv4).
    pub broadcast: Broadcast,
    /// The scope, as a number of `rt_scopes`: 0 global, 200 site, 253 link, 254 host.
    pub scope: u8,
    /// The label (IPv4), at most 15 bytes.
    pub label: Option<String>,
    /// No connected route for the prefix.
    pub no_prefix_route: bool,
    /// Put back when somebody else removes it; unset by `no_track`.
    pub tracked: bool,
    /// For how many seconds it may be chosen as a source; `None`: for ever. keepalived gives 0 to /128.
    /// Of an IPv4 address the kernel heeds 0 alone, unless the address itself ends.
    pub preferred: Option<u32>,
    /// Asked for on the link before it is used (IPv6, RFC 4862 §5.4); set by `-nodad`.
    pub detect_duplicates: bool,
    /// A mobile host's home address (IPv6, RFC 6275).
    pub home: bool,
    /// The kernel makes temporary addresses of its prefix (IPv6, RFC 8981).
    pub manage_temporary: bool,
}

impl VirtualAddress {
    /// An address about which nothing else was written.
    pub fn new(ip: IpAddr, prefix: u8, device: impl Into<String>) -> Self {
        Self {
            ip,
            prefix,
            peer: None,
            device: device.into(),
            broadcast: Broadcast::None,
            scope: 0,
            label: None,
            no_prefix_route: false,
            tracked: true,
            preferred: None,
            detect_duplicates: false,
            home: false,
            manage_temporary: false,
        }
    }
}

/// Where an address's broadcast address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broadcast {
    /// None.
    #[default]
    None,
    /// All host bits set (`brd +`).
    HostBitsSet,
    /// All host bits clear (`brd -`).
    HostBitsClear,
    /// This one.
    Address(std::net::Ipv4Addr),
}

/// When and how often a router announces its addresses: gratuitous ARP (RFC 9568 §6.4.2) and
/// unsolicited neighbour advertisements, in keepalived's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Announcements of each address at once when the router becomes Active, 1 at least.
    pub repeat: u32,
    /// After this time they are repeated once; zero: not.
    pub delay: Duration,
    /// They are repeated at this interval while Active; zero: not.
    pub refresh: Duration,
    /// Announcements per refresh.
    pub refresh_repeat: u32,
    /// As `repeat`, after an advert of lower priority; 0: none.
    pub lower_repeat: u32,
    /// As `delay`, after an advert of lower priority.
    pub lower_delay: Duration,
}

impl Default for Announce {
    /// keepalived's: five, and five more after 5 s.
    fn default() -> Self {
        Self {
            repeat: 5,
            delay: Duration::from_secs(5),
            refresh: Duration::ZERO,
            refresh_repeat: 1,
            lower_repeat: 5,
            lower_delay: Duration::from_secs(5),
        }
    }
}

/// Something that is watched for a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// Which.
    pub id: TrackerId,
    /// 0: its failure is a fault. Positive: added while it is good. Negative: added while it is bad.
    pub weight: i16,
    /// Of weight 0: good is the fault. Of another: what would be added is taken off, and the other way
    /// round, at the same times.
    pub reverse: bool,
    /// How long it must be bad or good before that counts.
    pub delays: Delays,
}

/// How long a change must last before it counts; zero: it counts at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// When it goes down or bad. Never longer than a Backup's wait for adverts but one interval: with
    /// `down_adverts` of 1, none.
    pub down: Duration,
    /// When it comes up or good.
    pub up: Duration,
}

impl Delays {
    /// A `down` that is as long as may be, whatever the intervals are or become.
    pub const AS_LONG_AS_PEERS_WAIT: Duration = Duration::MAX;
}

/// The number of something that is watched: a script or an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerId(pub u32);

impl Settings {
    /// The addresses in the adverts that are on the link of those.
    pub fn on_link(&self) -> impl Iterator<Item = &VirtualAddress> {
        self.addresses.iter().filter(|address| !self.elsewhere.contains(&address.ip))
    }

    /// All addresses the router holds while Active, those in the adverts first.
    pub fn held(&self) -> impl Iterator<Item = &VirtualAddress> {
        self.addresses.iter().chain(&self.excluded)
    }
}
