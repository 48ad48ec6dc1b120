//! Names of interfaces that instances make for themselves, where none is written.
//!
//! Of several with one VRID they go by the order of the file. A reload with another order must not move
//! what is held: whoever has a name keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plan::Place;
use super::service::Service;
use crate::config::model::{Config, Instance, OwnLink};

/// The names that an instance has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// Of its own interface.
    own: Option<String>,
    /// Of those elsewhere, by what they are on.
    others: BTreeMap<String, String>,
}

impl Names {
    fn of(link: &OwnLink) -> Self {
        let own = (!link.named).then(|| link.name.clone());
        Self { own, others: link.others.clone() }
    }

    /// The one by what it is on; nothing: its own.
    fn on(&self, base: Option<&str>) -> Option<&String> {
        base.map_or(self.own.as_ref(), |base| self.others.get(base))
    }
}

/// An interface whose name is not written.
struct Unnamed {
    instance: usize,
    base: Option<String>,
    name: String,
}

impl Service {
    /// Has the instances of a configuration keep the names that they have now, or had when an earlier
    /// life ended.
    pub(super) fn keep_names(&self, mut config: Config) -> Config {
        let mut before: BTreeMap<Place, Names> = self
            .life
            .named()
            .map(|(place, name)| (place, Names { own: Some(name), ..Names::default() }))
            .collect();
        let staying = self.running.values().filter(|running| !running.ending);
        for instance in staying.map(|running| &running.instance) {
            if let Some(link) = &instance.own_link {
                before.insert(Place::of(instance), Names::of(link));
            }
        }
        keep(&mut config.instances, &before);
        config
    }
}

fn keep(instances: &mut [Arc<Instance>], before: &BTreeMap<Place, Names>) {
    let unnamed: Vec<Unnamed> = unnamed(instances).collect();
    let mut taken: BTreeSet<String> = written(instances);
    let mut free: BTreeSet<&str> = unnamed.iter().map(|one| one.name.as_str()).collect();
    let mut news: BTreeMap<usize, String> = BTreeMap::new();
    for (at, one) in unnamed.iter().enumerate() {
        let had = before.get(&Place::of(&instances[one.instance]));
        let had = had.and_then(|names| names.on(one.base.as_deref()));
        let had = had.filter(|had| is_alike(had, &one.name));
        if let Some(had) = had.filter(|had| taken.insert((*had).clone())) {
            free.remove(had.as_str());
            news.insert(at, had.clone());
        }
    }
    for (at, one) in unnamed.iter().enumerate() {
        if news.contains_key(&at) {
            continue;
        }
        // Whoever has its name by now has left one of the same kind.
        let mut alike = free.iter().filter(|name| is_alike(name, &one.name));
        let own = free.get(one.name.as_str());
        if let Some(name) = own.or_else(|| alike.next()).copied() {
            free.remove(name);
            news.insert(at, name.to_owned());
        }
    }
    let renamed: Vec<(&Unnamed, String)> = unnamed
        .iter()
        .enumerate()
        .filter_map(|(at, one)| Some((one, news.remove(&at)?)))
        .filter(|(one, name)| *name != one.name)
        .collect();
    for (at, instance) in instances.iter_mut().enumerate() {
        let of = |(one, name): &(&Unnamed, String)| {
            (one.instance == at).then(|| (one.name.clone(), name.clone()))
        };
        let changes: BTreeMap<String, String> = renamed.iter().filter_map(of).collect();
        if !changes.is_empty() {
            rename(Arc::make_mut(instance), &changes);
        }
    }
}

fn unnamed(instances: &[Arc<Instance>]) -> impl Iterator<Item = Unnamed> {
    let links = instances.iter().enumerate();
    links.filter_map(|(at, one)| Some((at, one.own_link.as_ref()?))).flat_map(|(instance, link)| {
        let own = (!link.named).then(|| (None, link.name.clone()));
        let others = link.others.iter().map(|(base, name)| (Some(base.clone()), name.clone()));
        own.into_iter().chain(others).map(move |(base, name)| Unnamed { instance, base, name })
    })
}

/// The names that are in use whatever is kept.
fn written(instances: &[Arc<Instance>]) -> BTreeSet<String> {
    let own = instances.iter().filter_map(|one| one.own_link.as_ref());
    let own = own.filter(|link| link.named).map(|link| link.name.clone());
    own.chain(instances.iter().map(|one| one.interface.clone())).collect()
}

/// Whether two names differ in their number alone: one beginning, one VRID.
fn is_alike(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        let (stem, vrid) = name.rsplit_once('.').unwrap_or((name, ""));
        (stem.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), vrid.to_owned())
    };
    parts(one) == parts(other)
}

fn rename(instance: &mut Instance, changes: &BTreeMap<String, String>) {
    let change = |name: &mut String| {
        if let Some(new) = changes.get(name) {
            name.clone_from(new);
        }
    };
    if let Some(link) = &mut instance.own_link {
        change(&mut link.name);
        link.others.values_mut().for_each(change);
    }
    let held = instance.addresses.iter_mut().chain(&mut instance.excluded);
    held.for_each(|address| change(&mut address.device));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    /// Instances with `use_vmac` and VRID 51 on these interfaces, in this order; `!`: with that name.
    fn read(prefix: &str, interfaces: &[&str]) -> Vec<Arc<Instance>> {
        let instance = |(number, interface): (usize, &&str)| {
            let (interface, name) = interface.split_once('!').unwrap_or((interface, ""));
            format!(
                "vrrp_instance V{number} {{\n interface {interface}\n virtual_router_id 51\n \
                 use_vmac {name}\n virtual_ipaddress {{\n 192.0.2.{number}/24\n }}\n}}\n"
            )
        };
        let all: String = interfaces.iter().enumerate().map(instance).collect();
        let text = format!("global_defs {{\n vmac_prefix {prefix}\n}}\n{all}");
        config::parse_str(Path::new("test.conf"), text).config.expect("a configuration").instances
    }

    fn names(instances: &[Arc<Instance>]) -> BTreeMap<String, String> {
        let name = |one: &Arc<Instance>| {
            let name = one.own_link.as_ref().expect("one of its own").name.clone();
            assert_eq!(one.addresses[0].device, name);
            (one.interface.clone(), name)
        };
        instances.iter().map(name).collect()
    }

    /// What is in use, and what becomes of it.
    fn reload(before: &[Arc<Instance>], mut after: Vec<Arc<Instance>>) -> BTreeMap<String, String> {
        let names_of = |one: &Arc<Instance>| one.own_link.as_ref().map(Names::of);
        let before = before.iter().filter_map(|one| Some((Place::of(one), names_of(one)?)));
        keep(&mut after, &before.collect());
        names(&after)
    }

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(base, name)| ((*base).to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn another_order_changes_no_name() {
        let before = read("vrrp", &["eth0", "eth1", "eth2"]);
        let had = pairs(&[("eth0", "vrrp.51"), ("eth1", "vrrp1.51"), ("eth2", "vrrp2.51")]);
        assert_eq!(names(&before), had);
        assert_eq!(reload(&before, read("vrrp", &["eth2", "eth0", "eth1"])), had);
        let fewer = pairs(&[("eth1", "vrrp1.51"), ("eth3", "vrrp.51")]);
        assert_eq!(reload(&before, read("vrrp", &["eth3", "eth1"])), fewer);
        let only = pairs(&[("eth2", "vrrp2.51")]);
        assert_eq!(reload(&before, read("vrrp", &["eth2"])), only);
    }

    #[test]
    fn what_is_written_comes_first() {
        let before = read("vrrp", &["eth0", "eth1"]);
        let now = pairs(&[("eth0", "vrrp1.51"), ("eth1", "vrrp.51")]);
        assert_eq!(reload(&before, read("vrrp", &["eth0", "eth1!vrrp.51"])), now);
        let other = pairs(&[("eth0", "own1.51"), ("eth1", "own.51")]);
        assert_eq!(reload(&before, read("own", &["eth1", "eth0"])), other);
        // The other way round.
        let written = read("vrrp", &["eth0!vrrp.51", "eth1"]);
        let now = pairs(&[("eth0", "vrrp.51"), ("eth1", "vrrp1.51")]);
        assert_eq!(reload(&written, read("vrrp", &["eth1", "eth0"])), now);
    }
}
