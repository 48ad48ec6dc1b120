//! From the configuration to what the engine, the kernel and the sender are given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use vrrp_common::abi::{self, RouterKey};
use vrrp_common::wire::{self, EmitError};
use vrrp_common::{Family, Priority, time};
use vrrp_proto::{Settings, Slot, TrackerId, VirtualAddress, settings::Tracker};

use super::protocol::Route;
use super::{room, sought};
use crate::config::model::{
    Auth, Destination, Instance, OwnLink, OwnLinkKind, Peer, Sharing, Tracked, Unicast,
};
use crate::net::{Interface, Possession, Snapshot};
use crate::slowpath::Realm;
use crate::transmit::{AdvertFrame, Around, Mac};

/// The settings for the engine. `tracker` numbers what is watched.
pub(crate) fn settings(
    instance: &Instance,
    mut tracker: impl FnMut(Watched<'_>) -> TrackerId,
) -> Settings {
    let mut trackers = Vec::new();
    let mut add = |tracked: &Tracked, id| {
        let (weight, reverse) = (tracked.weight.value, tracked.weight.reverse);
        trackers.push(Tracker { id, weight, reverse, delays: tracked.delays });
    };
    for tracked in &instance.track_scripts {
        add(tracked, tracker(Watched::Script(&tracked.name)));
    }
    for tracked in &instance.track_interfaces {
        add(tracked, tracker(Watched::Interface(&tracked.name)));
    }
    let own = |tracked: &&Tracked| tracked.name == instance.interface;
    let twice = |tracked: &&Tracked| {
        let same = |one: &Tracked| one.name == tracked.name && one.weight == tracked.weight;
        instance.track_interfaces.iter().any(same)
    };
    for tracked in instance.track_devices.iter().filter(|one| !own(one) && !twice(one)) {
        add(tracked, tracker(Watched::Interface(&tracked.name)));
    }
    Settings {
        version: instance.version,
        family: instance.family,
        vrid: instance.vrid,
        priority: instance.priority,
        interval: instance.interval,
        preempt: instance.preempt,
        preempt_delay: instance.preempt_delay,
        addresses: instance.addresses.clone(),
        elsewhere: elsewhere(instance),
        excluded: instance.excluded.clone(),
        paths: Arc::clone(&instance.paths),
        announce: instance.announce,
        trackers,
        track_link: !instance.dont_track_primary,
        link_delays: instance.link_delays,
        form: instance.form,
        answer_lower: !instance.lower_prio_no_advert,
        advert_on_yield: instance.higher_prio_send_advert,
        down_adverts: instance.down_timer_adverts,
        deaf_as_owner: instance.owner_ignore_adverts,
        late_peer: instance.timer_expired_backup,
    }
}

/// Those of the addresses in the adverts that are neither on the interface of these nor on one on top of it.
fn elsewhere(instance: &Instance) -> Vec<IpAddr> {
    let below = |device: &'_ str| instance.base_of(device).unwrap_or(device) == instance.interface;
    let there = instance.addresses.iter().filter(|address| !below(&address.device));
    there.map(|address| address.ip).collect()
}

/// The first address of an instance that is on an interface, or on one that the instance makes on that,
/// and can't be without.
pub(crate) fn held_on<'i>(instance: &'i Instance, interface: &str) -> Option<&'i VirtualAddress> {
    let mut held = instance.addresses.iter().chain(&instance.excluded);
    held.find(|address| {
        let below = instance.base_of(&address.device).unwrap_or(&address.device);
        address.tracked && below == interface
    })
}

/// Something an instance watches, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched<'a> {
    Script(&'a str),
    Interface(&'a str),
}

/// How adverts leave: out of which interface, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The interface's index.
    pub(crate) ifindex: u32,
    /// The MAC address they come from.
    pub(crate) mac: Mac,
    /// The address that adverts come from.
    pub(crate) source: IpAddr,
    /// Whether this host has it. Where it has not, nothing that comes from there is our own.
    pub(crate) is_own: bool,
    /// The unicast peers, but for this host itself.
    pub(crate) peers: Vec<Peer>,
    /// Those of them that no router is in front of.
    pub(crate) near: Vec<IpAddr>,
    /// How many addresses an advert has room for.
    pub(crate) room: usize,
    /// Adverts come by all interfaces of it and leave by any, as the host's routes say.
    pub(crate) realm: Option<Realm>,
}

/// The sources of adverts, each looked for once while many instances are gone through: an interface has
/// as many addresses as instances, or more.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// By interface, family, and the peers as they are written.
    chosen: BTreeMap<(u32, Family, Vec<IpAddr>), Option<IpAddr>>,
    /// What the host has of those that are written, and of peers.
    named: BTreeMap<IpAddr, Possession>,
}

impl Sources {
    /// The source of an instance's adverts on an interface. `others`: its peers but for this host itself;
    /// `not`: what is no source, the virtual addresses.
    fn of(
        &mut self,
        instance: &Instance,
        interface: &Interface,
        others: &[Peer],
        not: &BTreeSet<IpAddr>,
    ) -> Option<IpAddr> {
        let listed = peers(instance).iter().map(|peer| peer.address).collect();
        let key = (interface.ifindex, instance.family, listed);
        *self.chosen.entry(key).or_insert_with(|| source_to(instance, interface, others, not))
    }

    fn possession(&mut self, ip: IpAddr, host: &Snapshot) -> Possession {
        *self.named.entry(ip).or_insert_with(|| host.possession(ip))
    }
}

/// The way of an instance's adverts out of its interface; `None` while it has no address to send from,
/// or no MAC address. `sources`: what was found of the host as it is now; `not`: what is no source, the
/// virtual addresses.
pub(crate) fn way(
    instance: &Instance,
    interface: &Interface,
    host: &Snapshot,
    sources: &mut Sources,
    not: &BTreeSet<IpAddr>,
) -> Option<Way> {
    // One file for all routers lists each to itself, too.
    let others = peers(instance).iter();
    let others = others.filter(|peer| !sources.possession(peer.address, host).is_own());
    let peers: Vec<Peer> = others.copied().collect();
    let (source, is_own) = match instance.source {
        Some(source) => (source, is_own(sources.possession(source, host), not.contains(&source))?),
        None => {
            let chosen = || sources.of(instance, interface, &peers, not);
            (source_of_own(instance).or_else(chosen)?, true)
        }
    };
    if !is_own && instance.needed_source().is_some() {
        return None;
    }
    let mac = source_mac(instance, interface)?;
    let near = peers.iter().map(|peer| peer.address).filter(|peer| interface.is_next_to(*peer));
    let near = near.collect();
    let room = room::room(instance, interface.mtu);
    let realm = sought::realm(instance, interface);
    Some(Way { ifindex: interface.ifindex, mac, source, is_own, peers, near, room, realm })
}

/// Whether a written source is this host's own; `None` while the kernel does not know: until then it
/// answers nobody who asks where the address is, so that no advert of peers comes to it.
fn is_own(source: Possession, is_virtual: bool) -> Option<bool> {
    match source {
        Possession::Held => Some(true),
        // Who has put it on is Active, and would put it on and off for ever.
        Possession::Tried => is_virtual.then_some(true),
        Possession::Duplicate | Possession::Nothing => Some(false),
    }
}

/// The unicast peers as they are written.
pub(crate) fn peers(instance: &Instance) -> &[Peer] {
    match &instance.destination {
        Destination::Group(_) => &[],
        Destination::Peers(unicast) => &unicast.peers,
    }
}

/// The source of adverts where none is written. Unicast peers send to it as well: it is the address that
/// they list, where this instance lists it, too, and else one of the first peer's network.
fn source_to(
    instance: &Instance,
    interface: &Interface,
    others: &[Peer],
    not: &BTreeSet<IpAddr>,
) -> Option<IpAddr> {
    let listed = peers(instance).iter().map(|peer| peer.address);
    interface.first_of(listed, not).or_else(|| match (others.first(), instance.family) {
        (Some(peer), _) => interface.source_to(peer.address, not),
        (None, Family::V4) => interface.primary_v4(not).map(IpAddr::V4),
        (None, Family::V6) => interface.primary_v6(not).map(IpAddr::V6),
    })
}

/// The address that an ipvlan has for adverts.
fn source_of_own(instance: &Instance) -> Option<IpAddr> {
    match instance.own_link.as_ref()?.kind {
        OwnLinkKind::Ipvlan { source, .. } => source.map(|(ip, _)| ip),
        OwnLinkKind::Macvlan(_) => None,
    }
}

/// The MAC address that adverts come from: the virtual router's where it has an interface with that, so
/// that switches know where it is (RFC 9568 §7.2), unless they are to leave by the base.
fn source_mac(instance: &Instance, interface: &Interface) -> Option<Mac> {
    let own = interface.mac?;
    match &instance.own_link {
        Some(OwnLink { kind: OwnLinkKind::Macvlan(mac), send_on_base: false, .. }) => Some(*mac),
        Some(_) | None => Some(own),
    }
}

/// The addresses of which it matters to an instance whether this host has them.
pub(crate) fn named(instance: &Instance) -> impl Iterator<Item = IpAddr> {
    instance.source.into_iter().chain(peers(instance).iter().map(|peer| peer.address))
}

/// Why an instance does not send from the source that is written: it can't be without it, or has to wait.
pub(crate) fn lacks_source(instance: &Instance, host: &Snapshot) -> Option<String> {
    let tried = |source: &IpAddr| host.possession(*source) == Possession::Tried;
    let source = instance.needed_source().or_else(|| instance.source.filter(tried))?;
    Some(format!("{}, which its adverts are to come from", lack(source, host)?))
}

/// What this host lacks of an address.
pub(crate) fn lack(ip: IpAddr, host: &Snapshot) -> Option<String> {
    match host.possession(ip) {
        Possession::Held => None,
        Possession::Tried => Some(format!("the kernel still asks whether another host has {ip}")),
        Possession::Duplicate => Some(format!("another host also has {ip}")),
        Possession::Nothing => Some(format!("this host has no {ip}")),
    }
}

/// Whether the address that an instance's unicast peers have to know it by is a guess.
pub(crate) fn is_guess(
    instance: &Instance,
    interface: &Interface,
    host: &Snapshot,
    not: &BTreeSet<IpAddr>,
) -> bool {
    let mut listed = peers(instance).iter().map(|peer| peer.address);
    let other = listed.clone().find(|ip| !host.has(*ip));
    let written = instance.source.is_some() || source_of_own(instance).is_some();
    let own = |ip: IpAddr| interface.addresses.iter().any(|a| a.ip == ip);
    !written && !listed.any(own) && other.is_some_and(|peer| !interface.is_known_to(peer, not))
}

/// Whether an instance has nobody to send to and takes that for a fault.
pub(crate) fn lacks_peers(instance: &Instance, way: &Way) -> bool {
    match &instance.destination {
        Destination::Group(_) => false,
        Destination::Peers(unicast) => unicast.fault_no_peer && way.peers.is_empty(),
    }
}

/// Whether the address of this host that adverts come to alone is another one by now, or in another realm.
pub(crate) fn listens_elsewhere(
    instance: &Instance,
    before: Option<&Way>,
    now: Option<&Way>,
) -> bool {
    let is_alone = matches!(instance.destination, Destination::Peers(_));
    let place = |way: &Way| (way.source, way.realm);
    is_alone && before.map(place) != now.map(place)
}

/// Whether two readings of an instance send and hear alike, as far as the engine's settings don't say.
pub(crate) fn is_alike(one: &Instance, other: &Instance) -> bool {
    one.source == other.source
        && (&one.interface, one.sought) == (&other.interface, other.sought)
        && one.track_source == other.track_source
        && one.auth == other.auth
        && one.destination == other.destination
        && one.own_link == other.own_link
        && one.address_links == other.address_links
        && flags(one) == flags(other)
}

/// How an instance's adverts leave an interface and what it listens to there.
///
/// # Errors
/// [`EmitError`] where the addresses don't fit an advert; the configuration has checked that they do.
pub(crate) fn route(instance: &Instance, slot: Slot, way: &Way) -> Result<Route, EmitError> {
    let (carried, _) = room::split(instance, way.room);
    let addresses: Vec<IpAddr> = carried.iter().map(|a| a.ip).collect();
    let interval = instance.interval.field(instance.version).unwrap_or(1);
    let advert = wire::Advert {
        version: instance.version,
        vrid: instance.vrid,
        priority: Priority::RELEASE,
        interval,
        addresses: &addresses,
        password: instance.password(),
        form: instance.form,
        source: way.source,
        destination: wire::group(instance.family),
    };
    let frames = frames(instance, way, &advert)?;
    let (auth_type, password) = match instance.auth {
        None => (wire::AUTH_NONE, [0; 8]),
        Some(Auth::Pass(password)) => (wire::AUTH_PASS, password),
        Some(Auth::Ah(key)) => (wire::AUTH_AH, key),
    };
    let rule = abi::Router {
        slot: slot.0,
        interval,
        version: instance.version as u8,
        auth_type,
        password,
        // Nobody sends from none.
        source: if way.is_own { wire::octets(way.source) } else { [0; 16] },
        destination: wire::octets(match instance.destination {
            Destination::Group(group) => group,
            Destination::Peers(_) => way.source,
        }),
        addresses: addresses.len().min(255) as u8,
        flags: flags(instance),
        reserved: [0; 2],
        first: [0; 16],
    };
    let key = RouterKey::new(way.ifindex, instance.family, instance.vrid.get());
    let peers = peers(instance).to_vec();
    let Instance { version, priority, interval, down_timer_adverts: adverts, .. } = *instance;
    let down = (time::master_down(version, priority, interval, adverts), adverts);
    let near = match instance.destination {
        Destination::Group(_) => None,
        Destination::Peers(_) => Some(way.near.clone()),
    };
    let realm = way.realm;
    Ok(Route { key, realm, version, rule, addresses, peers, near, down, frames })
}

/// The advert to the group, or to each peer.
fn frames(
    instance: &Instance,
    way: &Way,
    advert: &wire::Advert<'_>,
) -> Result<Vec<AdvertFrame>, EmitError> {
    let around = Around { key: instance.seal(), ..Around::plain(way.mac) };
    match &instance.destination {
        Destination::Group(group) => {
            let advert = wire::Advert { destination: *group, ..*advert };
            Ok(vec![AdvertFrame::new(around, &advert)?])
        }
        Destination::Peers(Unicast { ttl, .. }) => {
            let around = Around { ttl: *ttl, ..around };
            let to = |peer: &Peer| {
                let advert = wire::Advert { destination: peer.address, ..*advert };
                AdvertFrame::new(around, &advert)
            };
            way.peers.iter().map(to).collect()
        }
    }
}

/// What else adverts must agree with.
fn flags(instance: &Instance) -> u8 {
    let (unicast, check_source) = match &instance.destination {
        Destination::Group(_) => (false, false),
        Destination::Peers(unicast) => (true, unicast.check_source),
    };
    // Who keeps the rule demands it. A list that does not begin with a link-local address, which
    // keepalived takes with a warning, must be heard by routers that have the same.
    let link_local_first = instance.addresses.first().is_some_and(|address| match address.ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    });
    let flags = [
        (instance.same_addresses, abi::Router::SAME_ADDRESSES),
        (unicast, abi::Router::UNICAST),
        (check_source, abi::Router::CHECK_SOURCE),
        (instance.skip_check_adv_addr, abi::Router::SKIP_ADDRESSES),
        (link_local_first, abi::Router::LINK_LOCAL_FIRST),
        (instance.sharing == Sharing::First, abi::Router::SHARED),
        (instance.sharing == Sharing::Beside, abi::Router::BESIDE),
    ];
    flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests;
