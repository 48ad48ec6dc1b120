//! What `xvrrp status` shows: the values, and how they read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::text::some_of;

mod groups;
mod paths;
mod scripts;
mod senders;
#[cfg(test)]
mod tests;
mod troubles;

pub use groups::SyncGroup;
pub use paths::Path;
pub use scripts::Script;
pub use senders::{Differs, Sender};
pub use troubles::{Failing, OtherMaster};

/// Everything, as `status --json` prints it. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it runs.
    pub uptime_ms: u64,
    /// `router_id`.
    pub router_id: String,
    /// The configuration file in use.
    pub config: String,
    /// Why the kernel program is loaded but runs no Master_Down timers, so that the daemon's own are all
    /// there is; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_kernel_timers: Option<String>,
    /// How long the host's interfaces and addresses may be otherwise than is said here, since the kernel tells
    /// of more changes than can be read; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_behind_ms: Option<u64>,
    /// The virtual routers.
    pub instances: Vec<Instance>,
    /// Instances of the file that are not run, with the reason.
    pub refused_instances: Vec<Refused>,
    /// Instances that change their state together; mostly not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sync_groups: Vec<SyncGroup>,
    /// The interfaces that adverts come from.
    pub interfaces: Vec<Interface>,
    /// The scripts that are tracked.
    pub scripts: Vec<Script>,
    /// Virtual routers of others on these interfaces.
    pub strangers: Vec<Stranger>,
}

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name in the file.
    pub name: String,
    /// `INIT`, `BACKUP`, `MASTER` or `FAULT`.
    pub state: String,
    /// How long it has been in that state.
    pub since_ms_ago: u64,
    /// Why it went there.
    pub why: String,
    /// Its `vrrp_sync_group`; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_group: Option<String>,
    /// It would be MASTER, and waits until others of its group are to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_group: bool,
    /// Its interface; empty where none is written and none was found yet.
    pub interface: String,
    /// Why its adverts come through a socket where XDP checks those of others; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_socket: Option<String>,
    /// The virtual router.
    pub vrid: u8,
    /// The protocol version.
    pub version: u8,
    /// The configured priority.
    pub priority: u8,
    /// The priority after tracking.
    pub effective_priority: u8,
    /// The configured interval.
    pub advert_interval_ms: f64,
    /// How long a silent MASTER is waited for.
    pub master_down_ms: f64,
    /// The address adverts leave with.
    pub source: Option<String>,
    /// The MASTER it listens to.
    pub peer: Option<Peer>,
    /// Others that are MASTER too while it is, and don't hear it; mostly not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_masters: Vec<OtherMaster>,
    /// Adverts that could not be sent when that was last tried; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// The addresses it holds while MASTER, and where they are now.
    pub addresses: Vec<Address>,
    /// The routes and rules that it sets while MASTER; mostly not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Path>,
    /// Where the time of its last takeover went; not there before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Takeover>,
    /// How long the MASTER's adverts let it wait; not there before a second one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// Whom it heard, whatever their priority; those of them that were heard last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Sender>,
    /// What it heard and sent.
    pub counters: Counters,
    /// The last refused advert.
    pub last_refused: Option<LastRefused>,
}

/// One of a virtual router's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address with its prefix length.
    pub address: String,
    /// The interface it belongs on.
    pub device: String,
    /// Whether it is there, as the kernel says, with whatever prefix length.
    pub held: bool,
    /// Why the kernel did not take it, where it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It is there although the virtual router is not MASTER: two hosts may answer for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexpected: bool,
}

/// The MASTER that a BACKUP listens to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: String,
    /// Its priority.
    pub priority: u8,
    /// Its interval: learned in version 3.
    pub interval_ms: f64,
    /// How its adverts' checksums are computed.
    pub checksum: String,
    /// When its last advert arrived.
    pub heard_ms_ago: f64,
}

/// The gaps between adverts that only repeat themselves, by the kernel's stamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// How many there were.
    pub gaps: u64,
    /// Adverts that did not come in them.
    pub missed: u64,
    /// The shortest.
    pub min_ms: f64,
    /// The median, to a sixteenth of itself.
    pub p50_ms: f64,
    /// What 99 of 100 did not exceed, to a sixteenth of itself.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// For what a router had waited before it became MASTER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// The silence of the old MASTER.
    #[default]
    Silence,
    /// Nothing: it owns the addresses.
    Owner,
    /// Nothing: it was MASTER before the daemon was started anew, and went on.
    Resumed,
}

/// A takeover's stages, each as its time behind the end of the wait for the old MASTER, or behind the
/// start where there was nothing to wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Takeover {
    /// When it was.
    pub ago_ms: u64,
    /// For what it had waited.
    #[serde(default)]
    pub after: After,
    /// From the last advert to the end of the wait; not there where none was ever heard or waited for.
    pub silence_ms: Option<f64>,
    /// The daemon knew of it.
    pub woke_ms: f64,
    /// The first advert had left.
    pub advert_ms: Option<f64>,
    /// The first address was there; not there where it was on before.
    pub address_ms: Option<f64>,
    /// The first address was on its interface before.
    #[serde(default)]
    pub address_was_on: bool,
    /// The first announcement had left; not there where no link of its addresses has any, as `lo`.
    pub announced_ms: Option<f64>,
    /// The first notify command ran.
    pub notify_ms: Option<f64>,
}

/// What a virtual router heard and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Good adverts.
    pub accepted: u64,
    /// Adverts sent.
    pub sent: u64,
    /// Of them, with priority 0.
    pub zero_sent: u64,
    /// Good adverts with priority 0.
    pub zero_received: u64,
    /// How often it became MASTER.
    pub became_master: u64,
    /// Adverts that took the slow path because the ring was full.
    pub ring_full: u64,
    /// Adverts that took the slow path for their shape, or since only the daemon can judge them: those with
    /// an authentication header, and with `skip_check_adv_addr` those with other addresses. Those with IPv6
    /// extension headers are not counted.
    pub complex: u64,
    /// Refused adverts by reason; reasons that never came are left out.
    pub refused: BTreeMap<String, u64>,
}

/// A refused advert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefused {
    /// The reason's name.
    pub reason: String,
    /// The sender.
    pub source: String,
    /// When.
    pub ago_ms: u64,
    /// What came and what was expected.
    pub detail: String,
}

/// An instance of the file that is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// An interface that adverts come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it can carry adverts.
    pub up: bool,
    /// `native`, `generic` or `socket`; `none` while it is not there.
    pub datapath: String,
    /// Why it is not native.
    pub why: Option<String>,
    /// Frames that found no room in the interface's socket.
    pub lost: u64,
}

/// A virtual router of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stranger {
    /// Where it was heard.
    pub interface: String,
    /// Its VRID.
    pub vrid: u8,
    /// Its sender.
    pub source: String,
    /// When it was heard last.
    pub heard_ms_ago: u64,
    /// How many packets came.
    pub packets: u64,
}

/// Writes a status for people.
pub fn render(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "xvrrp {} pid {} on {}, up {}, {}",
        status.version,
        status.pid,
        status.router_id,
        ago(status.uptime_ms),
        status.config
    );
    if let Some(why) = &status.no_kernel_timers {
        let _ = writeln!(out, "timers are the daemon's own: {why}");
    }
    if let Some(ms) = status.host_behind_ms {
        let _ = writeln!(
            out,
            "interfaces and addresses are those of {} ago: the kernel tells of more changes than can be read",
            ago(ms)
        );
    }
    for interface in &status.interfaces {
        let state = if interface.up { "up" } else { "down" };
        let _ = write!(out, "{}: {state}, data path {}", interface.name, interface.datapath);
        if let Some(why) = &interface.why {
            let _ = write!(out, " ({why})");
        }
        if interface.lost > 0 {
            let _ = write!(out, ", {} frames lost for want of room", interface.lost);
        }
        out.push('\n');
    }
    for instance in &status.instances {
        render_instance(&mut out, instance);
    }
    groups::render(&mut out, status);
    for refused in &status.refused_instances {
        let _ = writeln!(out, "\n{} is not run: {}", refused.name, refused.reason);
    }
    scripts::render(&mut out, &status.scripts);
    for stranger in &status.strangers {
        let _ = writeln!(
            out,
            "VRID {} on {} is used by {} ({} packets, last {} ago)",
            stranger.vrid,
            stranger.interface,
            stranger.source,
            stranger.packets,
            ago(stranger.heard_ms_ago)
        );
    }
    out
}

fn render_instance(out: &mut String, i: &Instance) {
    let _ = writeln!(out, "\n{}: {} for {} ({})", i.name, i.state, ago(i.since_ms_ago), i.why);
    let priority = if i.priority == i.effective_priority {
        i.priority.to_string()
    } else {
        format!("{} (configured {})", i.effective_priority, i.priority)
    };
    let _ = writeln!(
        out,
        "  VRID {} on {}, version {}, priority {priority}, advert each {} ms, source {}",
        i.vrid,
        or_none(&i.interface),
        i.version,
        i.advert_interval_ms,
        i.source.as_deref().unwrap_or("none")
    );
    if let Some(why) = &i.by_socket {
        let _ = writeln!(out, "  adverts come through a socket ({why})");
    }
    if let Some(peer) = &i.peer {
        let _ = writeln!(
            out,
            "  MASTER is {} with priority {}, advert each {} ms, last {:.0} ms ago; silence is noticed after {:.3} ms",
            peer.address, peer.priority, peer.interval_ms, peer.heard_ms_ago, i.master_down_ms
        );
    }
    groups::render_member(out, i);
    troubles::render(out, i);
    senders::render(out, i);
    render_addresses(out, i);
    paths::render(out, i);
    let c = &i.counters;
    let _ = writeln!(
        out,
        "  adverts: {} accepted, {} sent; MASTER {} times",
        c.accepted, c.sent, c.became_master
    );
    render_times(out, i);
    if !c.refused.is_empty() {
        let list: Vec<String> = c.refused.iter().map(|(k, v)| format!("{k} {v}")).collect();
        let _ = writeln!(out, "  refused: {}", list.join(", "));
    }
    if let Some(last) = &i.last_refused {
        let _ = writeln!(
            out,
            "  last refused: {} ago from {}, {}: {}",
            ago(last.ago_ms),
            last.source,
            last.reason,
            last.detail
        );
    }
}

fn render_addresses(out: &mut String, i: &Instance) {
    let although = format!("on the host although {}", i.state);
    let place = |address: &Address| match (address.unexpected, address.held) {
        (true, _) => although.as_str(),
        (false, true) => "held",
        (false, false) => "not held",
    };
    for word in ["held", &although, "not held"] {
        let those = i.addresses.iter().filter(|address| place(address) == word);
        let list: Vec<String> = those
            .map(|a| {
                let why = a.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
                format!("{} on {}{why}", a.address, or_none(&a.device))
            })
            .collect();
        if !list.is_empty() {
            let _ = writeln!(out, "  {word}: {}", some_of(&list));
        }
    }
}

fn render_times(out: &mut String, i: &Instance) {
    if let Some(a) = &i.arrivals {
        let _ = writeln!(
            out,
            "  gaps between adverts: shortest {:.2}, median {:.2}, 99% within {:.2}, longest {:.2} ms; {} of {} missed",
            a.min_ms,
            a.p50_ms,
            a.p99_ms,
            a.max_ms,
            a.missed,
            a.gaps + a.missed
        );
    }
    if let Some(t) = &i.takeover {
        let _ = writeln!(out, "  last takeover: {} ago, {}", ago(t.ago_ms), stages(t));
    }
}

/// A takeover's stages in a row.
fn stages(t: &Takeover) -> String {
    let stage = |name, ms: Option<f64>| ms.map(|ms| format!("{name} +{ms:.2} ms"));
    let first = match t.after {
        After::Silence => t.silence_ms.map(|ms| format!("silence {ms:.2} ms")),
        After::Owner => Some("owner".to_owned()),
        After::Resumed => Some("went on after a restart".to_owned()),
    };
    let on = t.address_was_on.then(|| "address on before".to_owned());
    let rest = [
        stage("advert", t.advert_ms),
        on.or_else(|| stage("address", t.address_ms)),
        stage("announced", t.announced_ms),
        stage("notify", t.notify_ms),
    ];
    std::iter::once(first).chain(rest).flatten().collect::<Vec<_>>().join(", ")
}

/// An interface that may not be known yet.
const fn or_none(interface: &str) -> &str {
    if interface.is_empty() { "no interface" } else { interface }
}

/// A time as people read it.
fn ago(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        7200..=172_799 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}
