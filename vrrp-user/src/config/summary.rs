//! What a configuration comes to: which instances will be run, and how.

use std::collections::BTreeMap;
use std::fmt::Write;

use vrrp_common::{Version, time, wire};
use vrrp_proto::settings::Delays;

use super::model::{AddressLink, Auth, Config, Destination, Instance, OwnLinkKind, Peer, Unicast};
use super::suggest::shown;
use super::value::said;
use super::{Loaded, Unstartable};
use crate::text::{some_of, span};

/// One line for each instance and one for its addresses on each interface.
pub(super) fn summary(loaded: &Loaded, here: &BTreeMap<String, String>) -> String {
    if let Err(Unstartable::Broken(errors)) = loaded.startable() {
        return format!("Nothing is run: the file can't be used, see {errors}\n");
    }
    let Some(Config { instances, refused, groups, .. }) = &loaded.config else {
        return String::new();
    };
    if instances.is_empty() && refused.is_empty() {
        return "Nothing is run: there is no instance\n".to_owned();
    }
    let mut out = String::new();
    for instance in instances {
        out += &describe(instance);
        if let Some(says) = here.get(&instance.name) {
            line(&mut out, &format!("    {says}"));
        }
    }
    for group in groups {
        let members: Vec<String> = group.members.iter().map(|name| shown(name)).collect();
        line(&mut out, &format!("sync group {}: {}", shown(&group.name), some_of(&members)));
    }
    for one in refused {
        line(&mut out, &format!("{}: not run: {}", shown(&one.name), one.reason));
    }
    out
}

/// What will be run of an instance: a line of how, lines for what is unusual, one for each interface with
/// addresses.
pub(super) fn describe(instance: &Instance) -> String {
    let mut out = String::new();
    line(&mut out, &format!("{}: {}", shown(&instance.name), work(instance)));
    for detail in details(instance) {
        line(&mut out, &format!("    {detail}"));
    }
    for (device, addresses) in by_device(instance) {
        let device = link(instance, device);
        line(&mut out, &format!("    on {device}: {}", some_of(&addresses)));
    }
    let routes: Vec<String> = instance.paths.routes.iter().map(ToString::to_string).collect();
    let rules: Vec<String> = instance.paths.rules.iter().map(ToString::to_string).collect();
    for (what, all) in [("routes", routes), ("rules", rules)] {
        if !all.is_empty() {
            line(&mut out, &format!("    {what}: {}", some_of(&all)));
        }
    }
    out
}

/// What an instance does, without its name: how it takes part in the election, in one line.
pub(crate) fn work(instance: &Instance) -> String {
    let Instance { version, vrid, priority, interval, .. } = instance;
    let becomes = if priority.is_owner() {
        "MASTER from the start: priority 255 owns the addresses".to_owned()
    } else {
        let down = time::master_down(*version, *priority, *interval, instance.down_timer_adverts);
        format!("a silent MASTER is replaced after {}", span(down))
    };
    format!(
        "VRRP version {version}, VRID {vrid} on {}, priority {priority}, one advert each {}; {becomes}",
        link(instance, &instance.interface),
        said(interval.get())
    )
}

/// The name of an interface; where none is written, whose it is.
fn link(instance: &Instance, name: &str) -> String {
    match instance.sought {
        Some(source) if name.is_empty() => match &instance.vrf {
            Some(vrf) => format!("the interface in VRF {} with {source}", shown(vrf)),
            None => format!("the interface with {source}"),
        },
        Some(_) | None => shown(name),
    }
}

/// What is other than usual, a line each.
fn details(instance: &Instance) -> Vec<String> {
    let accept = (!instance.accept).then(|| {
        "the addresses answer to nobody, ping included: they are there to route by".to_owned()
    });
    let delays = instance.link_delays;
    let settled = (delays != Delays::default()).then(|| {
        let (down, up) = (said(delays.down), said(delays.up));
        format!("{} counts as down after {down}, as up after {up}", shown(&instance.interface))
    });
    let header = matches!(instance.auth, Some(Auth::Ah(_)))
        .then(|| "adverts carry an authentication header (AH)".to_owned());
    // Version 2 discards it in silence (RFC 3768 §6.4.3).
    let unanswered = (instance.lower_prio_no_advert && instance.version == Version::V3)
        .then(|| "an advert that loses is not answered, against RFC 9568 §6.4.3".to_owned());
    let last = instance
        .higher_prio_send_advert
        .then(|| "one more advert is sent before it yields, which no RFC has".to_owned());
    let others = instance.address_links.iter().map(address_link);
    let lines = [way(instance), own_link(instance)].into_iter().flatten().chain(others);
    lines.chain([header, unanswered, last, accept, settled].into_iter().flatten()).collect()
}

/// Where adverts go and where they come from.
fn way(instance: &Instance) -> Option<String> {
    let source = instance.source.map(|source| {
        let fault = if instance.needed_source().is_some() {
            " (a fault while no interface has it)"
        } else {
            ""
        };
        format!(" from {source}{fault}")
    });
    let to = match &instance.destination {
        Destination::Group(group) if *group == wire::group(instance.family) => None,
        Destination::Group(group) => Some(group.to_string()),
        Destination::Peers(unicast) => Some(peers(unicast)),
    };
    let strangers = match &instance.destination {
        Destination::Peers(unicast) if unicast.check_source => "; those of others are refused",
        Destination::Peers(_) | Destination::Group(_) => "",
    };
    if to.is_none() && source.is_none() {
        return None;
    }
    let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
    Some(format!("adverts go{to}{}{strangers}", source.unwrap_or_default()))
}

fn peers(unicast: &Unicast) -> String {
    if unicast.peers.is_empty() {
        let fault = if unicast.fault_no_peer { ", which is a fault" } else { "" };
        return format!("nobody{fault}");
    }
    let one = |peer: &Peer| match (peer.min_ttl, peer.max_ttl) {
        (0, u8::MAX) => peer.address.to_string(),
        (least, most) => format!("{} (theirs with TTL {least} to {most})", peer.address),
    };
    let peers: Vec<String> = unicast.peers.iter().map(one).collect();
    let ttl =
        if unicast.ttl == wire::TTL { String::new() } else { format!(", TTL {}", unicast.ttl) };
    format!("{}{ttl}", some_of(&peers))
}

fn own_link(instance: &Instance) -> Option<String> {
    let link = instance.own_link.as_ref()?;
    let (name, base) = (shown(&link.name), shown(&instance.interface));
    let kind = match &link.kind {
        OwnLinkKind::Macvlan(mac) => macvlan(mac),
        OwnLinkKind::Ipvlan { source: Some((ip, prefix)), .. } => format!("ipvlan {ip}/{prefix}"),
        OwnLinkKind::Ipvlan { source: None, .. } => "ipvlan".to_owned(),
    };
    let by = if link.send_on_base { &base } else { &name };
    Some(format!("makes {name} ({kind}) on {base}; adverts leave by {by}"))
}

fn address_link(link: &AddressLink) -> String {
    let (name, kind) = (shown(&link.name), macvlan(&link.mac));
    format!("makes {name} ({kind}) on {} for addresses alone", shown(&link.base))
}

fn macvlan(mac: &[u8; 6]) -> String {
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("macvlan {}", mac.join(":"))
}

/// The addresses as they will be held, in the order of the file.
fn by_device(instance: &Instance) -> BTreeMap<&str, Vec<String>> {
    let mut devices: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let excluded = instance.excluded.iter().map(|address| (address, " (not in the adverts)"));
    for (address, note) in instance.addresses.iter().map(|address| (address, "")).chain(excluded) {
        let text = format!("{}/{}{note}", address.ip, address.prefix);
        devices.entry(&*address.device).or_default().push(text);
    }
    devices
}

fn line(out: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}
