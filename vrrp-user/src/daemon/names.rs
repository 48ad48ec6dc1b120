//! Names of interfaces that instances make for themselves, where none is written.
//!
//! Of several with one VRID they go by the order of the file. A reload with another order must not move
//! what is held: whoever has a name keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vrrp_common::Family;

use super::place::Place;
use super::service::Service;
use crate::config::model::{AddressLink, Config, Instance};

/// What an interface for addresses alone is for: the one below it, and the family.
type Elsewhere = (String, Family);

fn elsewhere(link: &AddressLink) -> Elsewhere {
    (link.base.clone(), link.family)
}

/// The names that an instance has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// Of its own interface.
    own: Option<String>,
    /// Of those for addresses alone.
    others: BTreeMap<Elsewhere, String>,
}

impl Names {
    fn of(instance: &Instance) -> Self {
        let own = instance.own_link.as_ref().filter(|link| !link.named);
        let others = instance.address_links.iter();
        Self {
            own: own.map(|link| link.name.clone()),
            others: others.map(|link| (elsewhere(link), link.name.clone())).collect(),
        }
    }

    /// The one by what it is for; nothing: its own.
    fn of_link(&self, place: Option<&Elsewhere>) -> Option<&String> {
        place.map_or(self.own.as_ref(), |place| self.others.get(place))
    }
}

/// An interface whose name is not written.
struct Unnamed {
    instance: usize,
    place: Option<Elsewhere>,
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
            before.insert(Place::of(instance), Names::of(instance));
        }
        keep(&mut config.instances, &before);
        config
    }
}

fn keep(instances: &mut [Arc<Instance>], before: &BTreeMap<Place, Names>) {
    let unnamed: Vec<Unnamed> = unnamed(instances).collect();
    let mut taken: BTreeSet<String> = written(instances);
    // By what they are alike in, so that one of a kind is found without looking at the others.
    let mut free: BTreeMap<Stem<'_>, BTreeSet<&str>> = BTreeMap::new();
    for one in &unnamed {
        free.entry(stem(&one.name)).or_default().insert(&one.name);
    }
    let mut news: BTreeMap<usize, String> = BTreeMap::new();
    for (at, one) in unnamed.iter().enumerate() {
        let had = before.get(&Place::of(&instances[one.instance]));
        let had = had.and_then(|names| names.of_link(one.place.as_ref()));
        let had = had.filter(|had| stem(had) == stem(&one.name));
        if let Some(had) = had.filter(|had| taken.insert((*had).clone())) {
            if let Some(alike) = free.get_mut(&stem(had)) {
                alike.remove(had.as_str());
            }
            news.insert(at, had.clone());
        }
    }
    for (at, one) in unnamed.iter().enumerate() {
        if news.contains_key(&at) {
            continue;
        }
        // Whoever has its name by now has left one of the same kind.
        let Some(alike) = free.get_mut(&stem(&one.name)) else { continue };
        if let Some(name) = alike.get(one.name.as_str()).or_else(|| alike.first()).copied() {
            alike.remove(name);
            news.insert(at, name.to_owned());
        }
    }
    let mut changes: BTreeMap<usize, BTreeMap<String, String>> = BTreeMap::new();
    for (at, one) in unnamed.into_iter().enumerate() {
        if let Some(name) = news.remove(&at).filter(|name| *name != one.name) {
            changes.entry(one.instance).or_default().insert(one.name, name);
        }
    }
    for (instance, changes) in &changes {
        rename(Arc::make_mut(&mut instances[*instance]), changes);
    }
}

fn unnamed(instances: &[Arc<Instance>]) -> impl Iterator<Item = Unnamed> {
    instances.iter().enumerate().flat_map(|(instance, one)| {
        let own = one.own_link.iter().filter(|link| !link.named);
        let own = own.map(|link| (None, link.name.clone()));
        let others = one.address_links.iter();
        let others = others.map(|link| (Some(elsewhere(link)), link.name.clone()));
        own.chain(others).map(move |(place, name)| Unnamed { instance, place, name })
    })
}

/// The names that are in use whatever is kept.
fn written(instances: &[Arc<Instance>]) -> BTreeSet<String> {
    let own = instances.iter().filter_map(|one| one.own_link.as_ref());
    let own = own.filter(|link| link.named).map(|link| link.name.clone());
    own.chain(instances.iter().map(|one| one.interface.clone())).collect()
}

/// The beginning of a name and its VRID.
type Stem<'a> = (&'a str, &'a str);

/// What is the same in names that differ in their number alone.
fn stem(name: &str) -> Stem<'_> {
    let (stem, vrid) = name.rsplit_once('.').unwrap_or((name, ""));
    (stem.trim_end_matches(|c: char| c.is_ascii_digit()), vrid)
}

fn rename(instance: &mut Instance, changes: &BTreeMap<String, String>) {
    let change = |name: &mut String| {
        if let Some(new) = changes.get(name) {
            name.clone_from(new);
        }
    };
    if let Some(link) = &mut instance.own_link {
        change(&mut link.name);
    }
    instance.address_links.iter_mut().map(|link| &mut link.name).for_each(change);
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
        let before = before.iter().map(|one| (Place::of(one), Names::of(one)));
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
    fn names_for_addresses_are_kept() {
        let read = |bases: &[&str]| {
            let excluded =
                bases.iter().zip(1..).map(|(base, n)| format!("192.0.2.{n} dev {base}\n"));
            let text = format!(
                "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\nuse_vmac_addr\n\
                 virtual_ipaddress {{\n192.0.2.250\n}}\nvirtual_ipaddress_excluded {{\n{}}}\n}}\n",
                excluded.collect::<String>()
            );
            config::parse_str(Path::new("test.conf"), text).config.expect("a configuration")
        };
        let before = read(&["eth1", "eth2"]).instances;
        let mut after = read(&["eth2", "eth3", "eth1"]).instances;
        let names = before.iter().map(|one| (Place::of(one), Names::of(one))).collect();
        keep(&mut after, &names);
        let links = after[0].address_links.iter().map(|link| (&*link.base, &*link.name));
        let kept = [("eth2", "vrrp1.51"), ("eth3", "vrrp2.51"), ("eth1", "vrrp.51")];
        assert_eq!(links.collect::<Vec<_>>(), kept);
        let devices = after[0].excluded.iter().map(|address| &*address.device);
        assert_eq!(devices.collect::<Vec<_>>(), kept.map(|(_, name)| name));
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
