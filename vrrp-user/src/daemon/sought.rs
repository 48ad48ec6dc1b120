//! The interfaces of instances that are written without one: whichever has their source address, or, where
//! that is on one that leads nowhere, as the loopback interface, the one by which it reaches the first peer
//! that it reaches by one with a link. The others bring them adverts too ([`realm`]).
//!
//! The configuration in use is the written one with these names filled in. They are looked for anew with
//! every change on the host, and another answer is applied like a reload. Of routes nobody tells: they are
//! asked every two seconds, where one matters, and more often behind the loss of a link ([`asking`]).

mod asking;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};
use vrrp_common::Family;
use vrrp_proto::VirtualAddress;
use vrrp_proto::settings::Delays;

use self::asking::Asking;
use super::service::Service;
use super::{host, plan, room};
use crate::config::Doubt;
use crate::config::diag::Code;
use crate::config::model::{Config, Instance};
use crate::net::routes::Leaving;
use crate::net::{Interface, Possession, Snapshot, in_one_network};
use crate::slowpath::Realm;

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sought {
    /// There.
    On(Place),
    /// No interface has the address.
    Nowhere,
    /// Only that interface has it, and adverts don't travel by it: the loopback interface, a tunnel. No
    /// route leads from it to a peer by another one.
    Unfit(String),
    /// There another instance is the virtual router with this number.
    Taken {
        /// Where.
        place: Place,
        /// The other instance.
        by: String,
    },
}

/// An interface that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The interface.
    interface: String,
    /// The peer that the address reaches by it; `None`: it has the address, or had it last.
    towards: Option<IpAddr>,
}

impl Place {
    fn with_the_address(interface: &Interface) -> Self {
        Self { interface: interface.name.clone(), towards: None }
    }
}

/// What was found, by the instances' names.
type Found = BTreeMap<String, Sought>;

/// What is sought and what was found.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    /// The configuration as it is written, where an interface is to be found for it.
    written: Option<Config>,
    found: Found,
    asking: Asking,
}

impl Seeking {
    /// Why an instance has no address to send from, where its source says which its interface is.
    pub(super) fn why_not(&self, instance: &Instance, host: &Snapshot) -> Option<String> {
        why_not(instance, host, &self.found)
    }

    /// Whether it is its source that says where an instance is, and there it is not.
    pub(super) fn lacks_source(&self, instance: &Instance) -> bool {
        let is_by_route =
            |sought: &Sought| matches!(sought, Sought::On(place) if place.towards.is_some());
        instance.sought.is_some() && !self.found.get(&instance.name).is_some_and(is_by_route)
    }

    /// Whether the host's routes say where an instance is, or might.
    pub(super) fn asks_routes(&self) -> bool {
        self.found.values().any(|sought| match sought {
            Sought::On(place) | Sought::Taken { place, .. } => place.towards.is_some(),
            Sought::Unfit(_) => true,
            Sought::Nowhere => false,
        })
    }

    /// Waits until those are to be asked for again, because a link is lost.
    pub(super) async fn due(&mut self) {
        self.asking.due().await;
    }

    /// The instances whose routes lead by an interface without its link.
    fn cut_off(&self, host: &Snapshot) -> BTreeSet<String> {
        let is_cut_off = |sought: &Sought| match sought {
            Sought::On(Place { interface, towards: Some(_) }) => {
                !host.by_name(interface).is_some_and(host::is_up)
            }
            Sought::On(_) | Sought::Nowhere | Sought::Unfit(_) | Sought::Taken { .. } => false,
        };
        let cut_off = self.found.iter().filter(|(_, sought)| is_cut_off(sought));
        cut_off.map(|(name, _)| name.clone()).collect()
    }
}

/// What is a virtual router's alone: the interface, the family and the VRID.
type Key = (String, Family, u8);

fn key(instance: &Instance, interface: &str) -> Key {
    (interface.to_owned(), instance.family, instance.vrid.get())
}

/// By which interface, by its index, packets from an address leave for another one, in the VRF of an index.
type Routes<'a> = &'a mut dyn FnMut(IpAddr, IpAddr, Option<u32>) -> Option<u32>;

/// The same by this host's routes as they are.
fn routes() -> impl FnMut(IpAddr, IpAddr, Option<u32>) -> Option<u32> {
    let mut leaving = Leaving::default();
    move |from, to, vrf| {
        let by = leaving.by(from, to, vrf);
        by.inspect_err(|error| warn!("the route from {from} to {to} can't be asked for: {error}"))
            .unwrap_or_default()
    }
}

/// Looks for the interfaces of all instances that are written without one. `before`: where they were.
fn find(written: &Config, host: &Snapshot, before: &Found, routes: Routes<'_>) -> Found {
    let seeking: Vec<(&Instance, IpAddr)> =
        written.instances.iter().filter_map(|one| Some((&**one, one.sought?))).collect();
    if seeking.is_empty() {
        return Found::new();
    }
    let settled = written.instances.iter().filter(|one| one.sought.is_none());
    let mut taken: BTreeMap<Key, String> =
        settled.map(|one| (key(one, &one.interface), one.name.clone())).collect();
    let mut found = Found::new();
    let was_on = |instance: &Instance| match before.get(&instance.name) {
        Some(Sought::On(place)) => Some(place.clone()),
        Some(Sought::Nowhere | Sought::Unfit(_) | Sought::Taken { .. }) | None => None,
    };
    for (instance, source) in &seeking {
        let last = was_on(instance);
        let with: Vec<&Interface> =
            host.having(*source).filter(|one| is_in_vrf(instance, one, host)).collect();
        let fit = with.iter().filter(|interface| is_fit(interface));
        // One that is down carries nothing; else where it was, so that it does not move for nothing.
        let rank = |one: &&&Interface| {
            let moves = last.as_ref().is_none_or(|last| last.interface != one.name);
            (!host::is_up(one), moves, one.ifindex)
        };
        let sought = match (fit.min_by_key(rank), with.first()) {
            (Some(interface), _) => claim(&mut taken, instance, Place::with_the_address(interface)),
            // While no route leads there it stays where it was.
            (None, Some(inner)) => match by_route(instance, inner, host, routes).or(last) {
                Some(place) => claim(&mut taken, instance, place),
                None => Sought::Unfit(inner.name.clone()),
            },
            (None, None) => continue,
        };
        found.insert(instance.name.clone(), sought);
    }
    // Behind those whose address is there: one that is gone may come back to where it was.
    for (instance, _) in seeking {
        if !found.contains_key(&instance.name) {
            let claimed = was_on(instance).map(|last| claim(&mut taken, instance, last));
            let place = claimed.filter(|place| matches!(place, Sought::On(_)));
            found.insert(instance.name.clone(), place.unwrap_or(Sought::Nowhere));
        }
    }
    found
}

/// Whether adverts travel by an interface.
fn is_fit(interface: &Interface) -> bool {
    interface.mac.is_some() && !interface.is_inner
}

/// The interface by which an instance reaches a peer from an address that adverts don't come to on the
/// interface which has it: the first peer that it reaches by one with a link, if there is such a peer.
fn by_route(
    instance: &Instance,
    inner: &Interface,
    host: &Snapshot,
    routes: Routes<'_>,
) -> Option<Place> {
    let source = instance.sought?;
    let peers = plan::peers(instance).iter().map(|peer| peer.address);
    let mut without_link = None;
    for peer in peers.filter(|peer| !host.has(*peer)) {
        let index = routes(source, peer, inner.vrf);
        let by = index.and_then(|index| host.interfaces.get(&index)).filter(|by| is_fit(by));
        let Some(by) = by else { continue };
        let place = Place { interface: by.name.clone(), towards: Some(peer) };
        if host::is_up(by) {
            return Some(place);
        }
        without_link.get_or_insert(place);
    }
    without_link
}

/// Whether an interface is in the VRF that an instance is to be in.
fn is_in_vrf(instance: &Instance, interface: &Interface, host: &Snapshot) -> bool {
    let Some(vrf) = &instance.vrf else { return true };
    interface.vrf.is_some() && interface.vrf == host.by_name(vrf).map(|vrf| vrf.ifindex)
}

/// Where else adverts come to an instance than to the interface that was found for it: as with keepalived, to
/// any, since who sends to an address does not choose the interface that it comes in by.
pub(super) fn realm(instance: &Instance, interface: &Interface) -> Option<Realm> {
    instance.sought?;
    // Those mean nothing without their link.
    let local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if plan::peers(instance).iter().any(|peer| local(peer.address)) {
        return None;
    }
    let (family, sealed) = (instance.family, instance.seal().is_some());
    Some(Realm { vrf: interface.vrf, family, sealed })
}

fn claim(taken: &mut BTreeMap<Key, String>, instance: &Instance, place: Place) -> Sought {
    let key = key(instance, &place.interface);
    match taken.get(&key) {
        Some(by) => Sought::Taken { place, by: by.clone() },
        None => {
            taken.insert(key, instance.name.clone());
            Sought::On(place)
        }
    }
}

/// The configuration with the interfaces that were found.
fn fill(written: &Config, found: &Found) -> Config {
    let mut config = written.clone();
    for instance in config.instances.iter_mut().filter(|one| one.sought.is_some()) {
        let Some(Sought::On(place)) = found.get(&instance.name) else { continue };
        let (instance, name) = (Arc::make_mut(instance), &place.interface);
        instance.interface.clone_from(name);
        let written = config.global.link_delays.get(name).copied().unwrap_or_default();
        instance.link_delays = link_delays(place, written);
        let all = instance.addresses.iter_mut().chain(&mut instance.excluded);
        for address in all.filter(|address| address.device.is_empty()) {
            address.device.clone_from(name);
        }
    }
    config
}

/// How long an interface's link must be lost or back. What a route leads by is of the moment: another one may
/// lead by the next interface as soon as a routing daemon has seen the loss. So it is waited for until peers
/// are about to take over, whatever is written.
fn link_delays(place: &Place, written: Delays) -> Delays {
    match place.towards {
        Some(_) => Delays { down: Delays::AS_LONG_AS_PEERS_WAIT, ..written },
        None => written,
    }
}

/// Why an instance has no address to send from, where its source says which its interface is.
fn why_not(instance: &Instance, host: &Snapshot, found: &Found) -> Option<String> {
    let source = instance.sought?;
    Some(match found.get(&instance.name) {
        Some(Sought::Unfit(name)) => format!(
            "{source} is on {name}, where no adverts come, and has no route to a peer by another \
             interface: write `interface`"
        ),
        Some(Sought::Taken { place: Place { interface, towards }, by }) => {
            let vrid = instance.vrid;
            let there = match towards {
                Some(peer) => format!("{source} reaches {peer} by {interface}"),
                None => format!("{source} is on {interface}"),
            };
            format!("{there}, where {by} is virtual router {vrid} already")
        }
        // It is there, but not used yet, or another host's.
        Some(Sought::On(_)) if host.possession(source) != Possession::Nothing => return None,
        Some(Sought::On(_) | Sought::Nowhere) | None => match &instance.vrf {
            Some(vrf) => format!("no interface in VRF {vrf} has {source}"),
            None => format!("no interface has {source}"),
        },
    })
}

/// What a configuration comes to on this host, for `xvrrp check`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Here {
    /// Where instances are, by their names.
    pub(crate) says: BTreeMap<String, String>,
    /// What is doubtful about them here.
    pub(crate) doubts: Vec<Doubt>,
}

/// Looks at a configuration on a host.
pub(crate) fn here(config: &Config, host: &Snapshot) -> Here {
    let found = find(config, host, &Found::new(), &mut routes());
    let faulty = |why: String| format!("in FAULT on this host as it is now: {why}");
    let says = config.instances.iter().filter_map(|one| {
        let says = match found.get(&one.name) {
            Some(Sought::On(place)) => plan::lacks_source(one, host)
                .map_or_else(|| format!("on this host that is {}", on(place)), faulty),
            Some(Sought::Nowhere | Sought::Unfit(_) | Sought::Taken { .. }) => {
                faulty(why_not(one, host, &found)?)
            }
            None => faulty(plan::lacks_source(one, host)?),
        };
        Some((one.name.clone(), says))
    });
    // An owner's are its host's own.
    let others = config.instances.iter().filter(|one| !one.priority.is_owner());
    let held = others.flat_map(|one| one.addresses.iter().chain(&one.excluded));
    let not: BTreeSet<IpAddr> = held.map(|address| address.ip).collect();
    let guesses = config.instances.iter().filter_map(|one| guess(one, host, &not));
    let absent = config.instances.iter().filter_map(|one| absent(one, host));
    let barred = config.instances.iter().filter_map(|one| barred(one, host));
    let long = config.instances.iter().filter_map(|one| room::doubt(one, host));
    let doubts = guesses.chain(absent).chain(barred).chain(long).collect();
    Here { says: says.collect(), doubts }
}

/// An interface that was found, and what it depends on.
fn on(Place { interface, towards }: &Place) -> String {
    match towards {
        None => interface.clone(),
        Some(peer) => format!("{interface}, by which its source reaches {peer}"),
    }
}

/// An address that the kernel will refuse: all IPv4 addresses of one network on an interface have the
/// same scope.
fn barred(one: &Instance, host: &Snapshot) -> Option<Doubt> {
    // Where it is, which network that is of, and its scope.
    type Place = (IpAddr, IpAddr, u8, u8);
    let is_barred = |new: &Place, old: &Place| {
        let alike = new.2 == old.2 && in_one_network(new.1, old.1, new.2);
        alike && new.0.is_ipv4() && new.0 != old.0 && new.3 != old.3
    };
    let held: Vec<_> = one.addresses.iter().chain(&one.excluded).collect();
    let virtual_one =
        |a: &VirtualAddress| -> Place { (a.ip, a.peer.unwrap_or(a.ip), a.prefix, a.scope) };
    let own = |device: &str| -> Vec<Place> {
        let on_it = host.by_name(device).into_iter().flat_map(|interface| &interface.addresses);
        let others = on_it.filter(|a| held.iter().all(|virtual_one| virtual_one.ip != a.ip));
        others.map(|a| (a.ip, a.peer.unwrap_or(a.ip), a.prefix, a.scope)).collect()
    };
    held.iter().enumerate().find_map(|(n, address)| {
        let before = held[..n].iter().filter(|other| other.device == address.device);
        let before = before.map(|other| virtual_one(other)).chain(own(&address.device));
        let new = virtual_one(address);
        let (old, ..) = before.into_iter().find(|old| is_barred(&new, old))?;
        let VirtualAddress { ip, prefix, device, .. } = address;
        Some(Doubt {
            code: Code::Conflict,
            span: one.span.clone(),
            message: format!(
                "{ip}/{prefix} has another scope than {old}/{prefix}, which is in its network on {device}"
            ),
            now: "the kernel refuses it",
            hint: "leave `scope` out",
        })
    })
}

/// A source that peers may know by another address.
fn guess(one: &Instance, host: &Snapshot, not: &BTreeSet<IpAddr>) -> Option<Doubt> {
    let interface = host.by_name(&one.interface)?;
    plan::is_guess(one, interface, host, not).then(|| Doubt {
        code: Code::Missing,
        span: one.span.clone(),
        message: format!(
            "by which address the peers know {} can't be told from the addresses of {}",
            one.name, interface.name
        ),
        now: "it hears adverts at the one that its own come from, see `xvrrp status`",
        hint: "write `unicast_src_ip`",
    })
}

/// A source that is not this host's, where the interface is written: another file than this host's, perhaps.
fn absent(one: &Instance, host: &Snapshot) -> Option<Doubt> {
    let source = one.source.filter(|source| one.sought.is_none() && !host.has(*source))?;
    let lack = plan::lack(source, host)?;
    Some(Doubt {
        code: Code::Missing,
        span: one.span.clone(),
        message: format!("{lack}, which adverts of {} are to come from", one.name),
        now: match one.needed_source() {
            Some(_) => "it is in FAULT until an interface has it",
            None => "they carry it all the same, as keepalived's",
        },
        hint: "write an address of this host: each router's file has its own",
    })
}

impl Service {
    /// Looks for interfaces anew, and applies another answer.
    pub(super) fn seek(&mut self) {
        let news = |written: &mut Config| {
            let found = &self.seeking.found;
            find(written, &self.host, found, &mut routes()) != *found
        };
        if let Some(written) = self.seeking.written.take_if(news) {
            let config = self.filled(written);
            self.apply(config, false);
        }
        self.seeking.asking.note(self.seeking.cut_off(&self.host));
    }

    /// The configuration with the interfaces that the host has for it now.
    pub(super) fn filled(&mut self, written: Config) -> Config {
        let before = std::mem::take(&mut self.seeking.found);
        self.seeking.found = find(&written, &self.host, &before, &mut routes());
        if self.seeking.found.is_empty() {
            self.seeking.written = None;
            return written;
        }
        for (name, place) in &self.seeking.found {
            if let Sought::On(Place { interface, towards }) = place
                && before.get(name) != Some(place)
            {
                let why = towards.map_or_else(
                    || "which has its source address".to_owned(),
                    |peer| format!("by which its source address reaches {peer}"),
                );
                info!("({name}) its interface is {interface}, {why}");
            }
        }
        let config = fill(&written, &self.seeking.found);
        self.seeking.written = Some(written);
        config
    }
}

#[cfg(test)]
mod tests;
