//! The interfaces of instances that are written without one: whichever has their source address.
//!
//! The configuration in use is the written one with these names filled in. They are looked for anew with
//! every change on the host, and another answer is applied like a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tracing::info;
use vrrp_common::Family;
use vrrp_proto::VirtualAddress;

use super::service::Service;
use super::{plan, room};
use crate::config::Doubt;
use crate::config::diag::Code;
use crate::config::model::{Config, Instance};
use crate::net::{Interface, Snapshot, in_one_network};

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sought {
    /// On the interface that has the address, or had it last.
    On(String),
    /// No interface has the address.
    Nowhere,
    /// Only that interface has it, and adverts don't travel by it: the loopback interface, a tunnel.
    Unfit(String),
    /// On that interface another instance is the virtual router with this number.
    Taken {
        /// The interface.
        interface: String,
        /// The other instance.
        by: String,
    },
}

/// What was found, by the instances' names.
type Found = BTreeMap<String, Sought>;

/// What is sought and what was found.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    /// The configuration as it is written, where an interface is to be found for it.
    written: Option<Config>,
    found: Found,
}

impl Seeking {
    /// Why an instance has no address to send from, where its source says which its interface is.
    pub(super) fn why_not(&self, instance: &Instance) -> Option<String> {
        why_not(instance, &self.found)
    }
}

/// What is a virtual router's alone: the interface, the family and the VRID.
type Key = (String, Family, u8);

fn key(instance: &Instance, interface: &str) -> Key {
    (interface.to_owned(), instance.family, instance.vrid.get())
}

/// Looks for the interfaces of all instances that are written without one. `before`: where they were.
fn find(written: &Config, host: &Snapshot, before: &Found) -> Found {
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
        Some(Sought::On(name)) => Some(name.clone()),
        Some(Sought::Nowhere | Sought::Unfit(_) | Sought::Taken { .. }) | None => None,
    };
    for (instance, source) in &seeking {
        let last = was_on(instance);
        let with: Vec<&Interface> =
            host.having(*source).filter(|one| is_in_vrf(instance, one, host)).collect();
        let fit = with.iter().filter(|interface| interface.mac.is_some());
        // One that is down carries nothing; else where it was, so that it does not move for nothing.
        let rank = |one: &&&Interface| {
            (!super::host::is_up(one), last.as_ref() != Some(&one.name), one.ifindex)
        };
        let place = match (fit.min_by_key(rank), with.first()) {
            (Some(interface), _) => claim(&mut taken, instance, &interface.name),
            (None, Some(unfit)) => Sought::Unfit(unfit.name.clone()),
            (None, None) => continue,
        };
        found.insert(instance.name.clone(), place);
    }
    // Behind those whose address is there: one that is gone may come back to where it was.
    for (instance, _) in seeking {
        if !found.contains_key(&instance.name) {
            let claimed = was_on(instance).map(|last| claim(&mut taken, instance, &last));
            let place = claimed.filter(|place| matches!(place, Sought::On(_)));
            found.insert(instance.name.clone(), place.unwrap_or(Sought::Nowhere));
        }
    }
    found
}

/// Whether an interface is in the VRF that an instance is to be in.
fn is_in_vrf(instance: &Instance, interface: &Interface, host: &Snapshot) -> bool {
    let Some(vrf) = &instance.vrf else { return true };
    interface.vrf.is_some() && interface.vrf == host.by_name(vrf).map(|vrf| vrf.ifindex)
}

fn claim(taken: &mut BTreeMap<Key, String>, instance: &Instance, interface: &str) -> Sought {
    let key = key(instance, interface);
    match taken.get(&key) {
        Some(by) => Sought::Taken { interface: interface.to_owned(), by: by.clone() },
        None => {
            taken.insert(key, instance.name.clone());
            Sought::On(interface.to_owned())
        }
    }
}

/// The configuration with the interfaces that were found.
fn fill(written: &Config, found: &Found) -> Config {
    let mut config = written.clone();
    for instance in config.instances.iter_mut().filter(|one| one.sought.is_some()) {
        let Some(Sought::On(name)) = found.get(&instance.name) else { continue };
        let instance = Arc::make_mut(instance);
        instance.interface.clone_from(name);
        instance.link_delays = config.global.link_delays.get(name).copied().unwrap_or_default();
        let all = instance.addresses.iter_mut().chain(&mut instance.excluded);
        for address in all.filter(|address| address.device.is_empty()) {
            address.device.clone_from(name);
        }
    }
    config
}

/// Why an instance has no address to send from, where its source says which its interface is.
fn why_not(instance: &Instance, found: &Found) -> Option<String> {
    let source = instance.sought?;
    Some(match found.get(&instance.name) {
        Some(Sought::Unfit(name)) => {
            format!("{source} is on {name}, where no adverts come: write `interface`")
        }
        Some(Sought::Taken { interface, by }) => format!(
            "{source} is on {interface}, where {by} is virtual router {} already",
            instance.vrid
        ),
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
    let found = find(config, host, &Found::new());
    let faulty = |why: String| format!("in FAULT on this host as it is now: {why}");
    let says = config.instances.iter().filter_map(|one| {
        let says = match found.get(&one.name) {
            Some(Sought::On(name)) => format!("on this host that is {name}"),
            Some(Sought::Nowhere | Sought::Unfit(_) | Sought::Taken { .. }) => {
                faulty(why_not(one, &found)?)
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
            find(written, &self.host, &self.seeking.found) != self.seeking.found
        };
        if let Some(written) = self.seeking.written.take_if(news) {
            let config = self.filled(written);
            self.apply(config, false);
        }
    }

    /// The configuration with the interfaces that the host has for it now.
    pub(super) fn filled(&mut self, written: Config) -> Config {
        let before = std::mem::take(&mut self.seeking.found);
        self.seeking.found = find(&written, &self.host, &before);
        if self.seeking.found.is_empty() {
            self.seeking.written = None;
            return written;
        }
        for (name, place) in &self.seeking.found {
            if let Sought::On(interface) = place
                && before.get(name) != Some(place)
            {
                info!("({name}) its interface is {interface}, which has its source address");
            }
        }
        let config = fill(&written, &self.seeking.found);
        self.seeking.written = Some(written);
        config
    }
}

#[cfg(test)]
mod tests;
