//! A configuration as the daemon uses it: every value checked, every default filled in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Interval, Priority, Version, Vrid};
use vrrp_proto::Paths;
use vrrp_proto::settings::{Announce, Delays, VirtualAddress};

mod notify;

pub use notify::{Notify, Removed};

/// Where something was written: byte offsets into the file.
pub type Span = Range<usize>;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `global_defs`.
    pub global: Global,
    /// The `vrrp_script` blocks by name.
    pub scripts: BTreeMap<String, Script>,
    /// The `vrrp_instance` blocks that can be run, in the order of the file.
    pub instances: Vec<Arc<Instance>>,
    /// The `vrrp_instance` blocks that can't, with the reason in one line.
    pub refused: Vec<Refused>,
    /// The `vrrp_sync_group` blocks, all of whose members can be run.
    pub groups: Vec<Arc<SyncGroup>>,
}

/// A `vrrp_sync_group` block. What it tracks, its members track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// Its name.
    pub name: String,
    /// The names of its members, each once; no instance is in two groups.
    pub members: Vec<String>,
    /// `notify` and its kin.
    pub notify: Notify,
    /// Where the block's name was written.
    pub span: Span,
}

/// An instance that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why, in one line.
    pub reason: String,
    /// Its addresses, excluded ones too, as far as they and their interface could be read: an
    /// earlier life may have left them on the host.
    pub addresses: Vec<VirtualAddress>,
    /// Its routes and rules, likewise.
    pub paths: Arc<Paths>,
}

/// `global_defs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// `router_id`; the host's name where it is not set.
    pub router_id: Option<String>,
    /// `vrrp_version`.
    pub version: Version,
    /// `script_user`.
    pub script_user: Option<UserSpec>,
    /// `enable_script_security`.
    pub script_security: bool,
    /// `vrrp_startup_delay`.
    pub startup_delay: Duration,
    /// `vrrp_garp_interval`: between two gratuitous ARPs on one link.
    pub garp_interval: Duration,
    /// `vrrp_gna_interval`: between two unsolicited neighbour advertisements on one link.
    pub gna_interval: Duration,
    /// `vrrp_datapath`, a keyword of ours.
    pub datapath: Option<Datapath>,
    /// `vrrp_address_lease`, a keyword of ours: how long addresses outlive the daemon.
    pub address_lease: Option<Duration>,
    /// `log_unknown_vrids`: virtual routers of others that are heard are logged.
    pub log_unknown: bool,
    /// `vmac_addr_prefix`: the beginning of the names of interfaces that `use_vmac_addr` makes.
    pub vmac_addr_prefix: String,
    /// `interface_up_down_delays` by interface.
    pub link_delays: BTreeMap<String, Delays>,
    /// How the threads that hear, send and move addresses are scheduled.
    pub scheduling: Scheduling,
}

/// How the threads that matter are scheduled, and what memory they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// `vrrp_rt_priority`: the priority under `SCHED_FIFO`, 1 to 99; `None`: ordinary scheduling.
    pub real_time: Option<u8>,
    /// `vrrp_priority`: the nice value, -20 to 19; `None`: as started.
    pub nice: Option<i8>,
    /// `vrrp_no_swap`: memory in use stays in memory.
    pub lock_memory: bool,
    /// `vrrp_cpu_affinity`: the CPUs to run on; empty: as started.
    pub cpus: Vec<usize>,
    /// `vrrp_rlimit_rttime`: how long a real-time thread may run without a pause before the kernel ends
    /// the process; `None`: as started.
    pub cpu_limit: Option<Duration>,
}

impl Scheduling {
    /// Above the kernel's threaded interrupts, which run at 50: below them a thread that waits for a
    /// packet waits for everything else the host receives.
    pub const REAL_TIME: u8 = 51;
    /// The highest that is used: the guardian runs one above.
    pub const MOST_REAL_TIME: u8 = 98;

    /// The priority under `SCHED_FIFO` that is used.
    pub fn level(&self) -> Option<u8> {
        self.real_time.map(|level| level.min(Self::MOST_REAL_TIME))
    }
}

impl Default for Scheduling {
    /// Real time and locked memory.
    fn default() -> Self {
        Self {
            real_time: Some(Self::REAL_TIME),
            nice: None,
            lock_memory: true,
            cpus: Vec::new(),
            cpu_limit: None,
        }
    }
}

/// Which way adverts take from the interface to the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datapath {
    /// Native XDP, else generic XDP, else a socket.
    #[default]
    Auto,
    /// Native XDP, else a socket.
    Xdp,
    /// Generic XDP, else a socket.
    Generic,
    /// A socket.
    Socket,
}

/// A user, and perhaps a group, to run a script as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The user's name or number as written.
    pub user: String,
    /// The group's, where written.
    pub group: Option<String>,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; for a shell command `/bin/sh -c TEXT`.
    pub argv: Vec<String>,
    /// As the user wrote it, for messages.
    pub text: String,
    /// The user to run it as, where written beside it.
    pub user: Option<UserSpec>,
    /// Where it was written.
    pub span: Span,
}

/// A `vrrp_script` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// What to run.
    pub command: Command,
    /// How often, 1 ms at least.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// The weight where `track_script` gives none.
    pub weight: Weight,
    /// Successes in a row that make it good.
    pub rise: u32,
    /// Failures in a row that make it bad.
    pub fall: u32,
    /// Bad until `rise` successes (`init_fail`).
    pub init_fail: bool,
    /// Where the block's name was written.
    pub span: Span,
}

/// A weight, -253 to 253, perhaps reversed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// 0: failure is a fault.
    pub value: i16,
    /// Success is the failure where it is 0; else its sign is the other one, and it counts at the same
    /// times.
    pub reverse: bool,
}

/// Something tracked by an instance, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The script's or interface's name.
    pub name: String,
    /// Its weight for this instance.
    pub weight: Weight,
    /// An interface's `interface_up_down_delays`.
    pub delays: Delays,
    /// Where it was written.
    pub span: Span,
}

/// A `vrrp_instance` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// `interface`; empty: the one that has the address in `sought`, while it is not known which that is.
    /// Addresses without a `dev` have none then either.
    pub interface: String,
    /// Where no interface is written, for unicast alone: the source address, which says which it is.
    pub sought: Option<IpAddr>,
    /// `vrf`: the VRF whose interfaces are looked at for that address; `None`: all.
    pub vrf: Option<String>,
    /// The interface's `interface_up_down_delays`.
    pub link_delays: Delays,
    /// `virtual_router_id`.
    pub vrid: Vrid,
    /// Whether others on its interface have its VRID.
    pub sharing: Sharing,
    /// `priority`.
    pub priority: Priority,
    /// `advert_int`, as the version can say it.
    pub interval: Interval,
    /// `version`, `vrrp_version`, or 3 where the addresses are IPv6.
    pub version: Version,
    /// The family of the adverts.
    pub family: Family,
    /// Unset by `nopreempt`.
    pub preempt: bool,
    /// `preempt_delay`.
    pub preempt_delay: Duration,
    /// `authentication`, in VRRPv2.
    pub auth: Option<Auth>,
    /// `virtual_ipaddress`, 255 at most.
    pub addresses: Vec<VirtualAddress>,
    /// `virtual_ipaddress_excluded`, and what did not fit the advert.
    pub excluded: Vec<VirtualAddress>,
    /// `virtual_routes` and `virtual_rules`.
    pub paths: Arc<Paths>,
    /// `mcast_src_ip` or `unicast_src_ip`.
    pub source: Option<IpAddr>,
    /// `track_src_ip`: a fault while `source` is on no interface, as it is for unicast in any case.
    pub track_source: bool,
    /// Where its adverts go.
    pub destination: Destination,
    /// `use_vmac`, `use_ipvlan`: an interface of its own.
    pub own_link: Option<OwnLink>,
    /// `use_vmac_addr`, and `use_vmac` behind an address: interfaces for addresses alone.
    pub address_links: Vec<AddressLink>,
    /// The `garp_*` keywords.
    pub announce: Announce,
    /// `garp_extra_if`.
    pub announce_elsewhere: Option<Elsewhere>,
    /// `track_script`.
    pub track_scripts: Vec<Tracked>,
    /// `track_interface`.
    pub track_interfaces: Vec<Tracked>,
    /// The interfaces that its addresses and routes can't be without, each once; of those that an
    /// instance makes, the ones below. The instance's own may be among them, and is tracked by itself.
    pub track_devices: Vec<Tracked>,
    /// `dont_track_primary`.
    pub dont_track_primary: bool,
    /// The checksum to send in VRRPv3 over IPv4.
    pub form: ChecksumForm,
    /// `lower_prio_no_advert`.
    pub lower_prio_no_advert: bool,
    /// `higher_prio_send_advert`.
    pub higher_prio_send_advert: bool,
    /// `accept`: the addresses answer to others while it is not their owner; unset by `no_accept` and
    /// by strict mode.
    pub accept: bool,
    /// Any difference between the address lists refuses an advert: `vip_mismatch drop`, strict mode.
    pub same_addresses: bool,
    /// `skip_check_adv_addr`: the addresses of an advert are not looked at when the one before it came
    /// from the same sender.
    pub skip_check_adv_addr: bool,
    /// `owner_ignore_adverts`.
    pub owner_ignore_adverts: bool,
    /// `down_timer_adverts`: intervals without an advert until a Backup takes over, 1 to 100.
    pub down_timer_adverts: u8,
    /// `timer_expired_backup`: a `nopreempt` router that wakes late takes it that one of this priority
    /// has taken over.
    pub timer_expired_backup: Option<Priority>,
    /// `promote_secondaries`.
    pub promote_secondaries: bool,
    /// `notify` and its kin.
    pub notify: Notify,
    /// Where the block's name was written.
    pub span: Span,
}

impl Instance {
    /// The password of simple text authentication.
    pub fn password(&self) -> Option<[u8; 8]> {
        match self.auth {
            Some(Auth::Pass(password)) => Some(password),
            Some(Auth::Ah(_)) | None => None,
        }
    }

    /// The source address that it can't be without: unicast peers send to it, and `track_src_ip` says so
    /// of any.
    pub fn needed_source(&self) -> Option<IpAddr> {
        let needed = self.track_source || matches!(self.destination, Destination::Peers(_));
        self.source.filter(|_| needed)
    }

    /// What the interfaces are on that the instance makes for itself.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        let own = self.own_link.iter().map(|_| &*self.interface);
        own.chain(self.address_links.iter().map(|link| &*link.base))
    }

    /// What an interface is on that the instance makes for itself; `None` where it makes none of that name.
    pub fn base_of(&self, name: &str) -> Option<&str> {
        let own = self.own_link.as_ref().filter(|link| link.name == name);
        let other = || self.address_links.iter().find(|link| link.name == name);
        own.map(|_| &*self.interface).or_else(|| other().map(|link| &*link.base))
    }

    /// The key of an authentication header.
    pub fn seal(&self) -> Option<[u8; 8]> {
        match self.auth {
            Some(Auth::Ah(key)) => Some(key),
            Some(Auth::Pass(_)) | None => None,
        }
    }
}

/// How VRRPv2 adverts show that they come from one of us (RFC 2338 §5.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `auth_type PASS`: `auth_pass` in the advert, padded with zeros.
    Pass([u8; 8]),
    /// `auth_type AH`: `auth_pass`, padded with zeros, as the key of an IPsec authentication header.
    Ah([u8; 8]),
}

/// Whether several instances have one VRID on one interface; their groups tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// None.
    #[default]
    Alone,
    /// Several, and this is the one that XDP knows.
    First,
    /// Several, and this is one of the others.
    Beside,
}

/// Where adverts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a multicast group: VRRP's own, `mcast_dst_ip`, or `vrrp_mcast_group4` and `6`.
    Group(IpAddr),
    /// To each peer: `unicast_peer`.
    Peers(Unicast),
}

/// Adverts to single hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unicast {
    /// `unicast_peer`: the others, none of them twice.
    pub peers: Vec<Peer>,
    /// `unicast_ttl`: TTL or hop limit, 0 to 255.
    pub ttl: u8,
    /// `check_unicast_src`, or a peer with TTL bounds: adverts of others than the peers are refused.
    pub check_source: bool,
    /// `unicast_fault_no_peer`: a fault while there is no peer. Without it the instance takes the
    /// addresses and sends nothing.
    pub fault_no_peer: bool,
}

/// One of `unicast_peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The least TTL or hop limit of its adverts.
    pub min_ttl: u8,
    /// The greatest.
    pub max_ttl: u8,
}

/// An interface that an instance makes for itself on top of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLink {
    /// Its kind.
    pub kind: OwnLinkKind,
    /// Its name: as written, else `vrrp.VRID` or `vrrp6.VRID` after `vmac_prefix`.
    pub name: String,
    /// The name was written.
    pub named: bool,
    /// `vmac_xmit_base`: adverts leave by the instance's interface and not by this one.
    pub send_on_base: bool,
    /// `group`: the group of interfaces that it is in.
    pub group: u32,
}

/// A macvlan that an instance makes for addresses alone. No adverts leave by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressLink {
    /// The interface below it.
    pub base: String,
    /// The family of its addresses.
    pub family: Family,
    /// Its name: `vrrp.VRID` after `vmac_addr_prefix`, with a number where that is taken.
    pub name: String,
    /// Its MAC address: the virtual router's for the family, unless another is written.
    pub mac: [u8; 6],
}

/// Announcements that are repeated while MASTER on interfaces that adverts don't leave by: switches
/// would forget the MAC address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// How often.
    pub every: Duration,
    /// On each interface with an address of the instance (`all`), and not only on those it has made.
    pub all: bool,
}

/// Which kind of interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnLinkKind {
    /// `use_vmac`: a macvlan in private mode with this MAC address, the virtual router's unless another
    /// is written.
    Macvlan([u8; 6]),
    /// `use_ipvlan`: an ipvlan in layer 2, with an address to send from (needed over IPv4).
    Ipvlan {
        /// The address and its prefix length.
        source: Option<(IpAddr, u8)>,
        /// The mode.
        mode: IpvlanMode,
    },
}

/// How ipvlans on one interface reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpvlanMode {
    /// Directly.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// By the switch.
    Vepa,
}

/// A file with the place it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path, as the user gave it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}
