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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::net::fixtures;

    fn config(text: &str) -> Config {
        let loaded = config::parse_str(Path::new("test.conf"), text);
        assert!(loaded.reloadable().is_ok(), "{:?}", loaded.log_lines());
        loaded.config.expect("a configuration")
    }

    fn instance(name: &str, link: &str) -> String {
        format!(
            "vrrp_instance {name} {{\n{link}\nvirtual_router_id 51\n\
             virtual_ipaddress {{\n{} dev eth9\n}}\n}}\n",
            // Each its own address: what else they share is what the tests are about.
            if name == "A" { "198.51.100.1/24" } else { "198.51.100.2/24" }
        )
    }

    fn from(last: u8) -> String {
        format!("unicast_src_ip 192.0.2.{last}\nunicast_peer {{\n192.0.2.99\n}}")
    }

    /// Interfaces that are up, with an index, a name and the last bytes of their addresses; `lo` has no
    /// MAC address.
    fn host(interfaces: &[(u32, &str, &[u8])]) -> Snapshot {
        let one = |(ifindex, name, lasts): &(u32, &str, &[u8])| {
            let addresses =
                lasts.iter().map(|last| fixtures::address(&format!("192.0.2.{last}"), 24));
            let interface = fixtures::interface(*ifindex, name, addresses);
            Interface { mac: interface.mac.filter(|_| *name != "lo"), ..interface }
        };
        fixtures::host(interfaces.iter().map(one))
    }

    fn on(name: &str) -> Sought {
        Sought::On(name.to_owned())
    }

    #[test]
    fn where_the_address_is_was_and_is_not_yet() {
        let written = config(&instance("A", &from(11)));
        let look = |host: &Snapshot, before: &Found| find(&written, host, before)["A"].clone();
        let before = |sought: Sought| Found::from([("A".to_owned(), sought)]);
        let none = Found::new();
        assert_eq!(look(&host(&[(2, "eth0", &[12])]), &none), Sought::Nowhere);
        assert_eq!(look(&host(&[(2, "eth0", &[12]), (3, "eth1", &[11])]), &none), on("eth1"));
        // It is gone, and comes back to another one.
        assert_eq!(look(&host(&[(2, "eth0", &[12])]), &before(on("eth1"))), on("eth1"));
        assert_eq!(look(&host(&[(2, "eth0", &[11])]), &before(on("eth1"))), on("eth0"));
        // Two have it while it moves.
        let both = host(&[(2, "eth0", &[11]), (3, "eth1", &[11])]);
        assert_eq!(look(&both, &before(on("eth1"))), on("eth1"));
        assert_eq!(look(&both, &none), on("eth0"));
        let mut down = both;
        down.interfaces.insert(Interface { carrier: false, ..down.interfaces[&2].clone() });
        assert_eq!(look(&down, &before(on("eth0"))), on("eth1"));
        let loopback = look(&host(&[(1, "lo", &[11]), (2, "eth0", &[12])]), &none);
        assert_eq!(loopback, Sought::Unfit("lo".to_owned()));
    }

    #[test]
    fn one_virtual_router_on_one_interface() {
        let taken = |by: &str| Sought::Taken { interface: "eth0".to_owned(), by: by.to_owned() };
        let host_now = host(&[(2, "eth0", &[11, 12])]);
        let two = config(&(instance("A", &from(11)) + &instance("B", &from(12))));
        let found = find(&two, &host_now, &Found::new());
        assert_eq!((&found["A"], &found["B"]), (&on("eth0"), &taken("A")));
        // One that is written there was there first, wherever it stands in the file.
        let two = config(&(instance("A", &from(11)) + &instance("B", "interface eth0")));
        let found = find(&two, &host_now, &Found::new());
        assert_eq!((&found["A"], found.len()), (&taken("B"), 1));
        let says = why_not(&two.instances[0], &found).expect("a reason");
        assert_eq!(says, "192.0.2.11 is on eth0, where B is virtual router 51 already");
        // Where an address was counts less than where another one's is.
        let two = config(&(instance("A", &from(11)) + &instance("B", &from(12))));
        let before = Found::from([("A".to_owned(), on("eth0")), ("B".to_owned(), on("eth1"))]);
        let moved = find(&two, &host(&[(2, "eth0", &[12]), (3, "eth1", &[])]), &before);
        assert_eq!((&moved["A"], &moved["B"]), (&Sought::Nowhere, &on("eth0")));
    }

    #[test]
    fn what_is_filled_in() {
        let text = "interface_up_down_delays {\neth1 2 3\n}\nvrrp_instance A {\n\
                    unicast_src_ip 192.0.2.11\nunicast_peer {\n192.0.2.12\n}\n\
                    virtual_router_id 51\nvirtual_ipaddress {\n192.0.2.1/24\n192.0.2.2/24 dev eth0\n}\n\
                    virtual_ipaddress_excluded {\n198.51.100.1/24\n}\n}\n";
        let written = config(text);
        let found = find(&written, &host(&[(3, "eth1", &[11])]), &Found::new());
        let filled = &fill(&written, &found).instances[0];
        assert_eq!((filled.interface.as_str(), filled.link_delays.down.as_secs()), ("eth1", 2));
        let devices: Vec<&str> =
            filled.addresses.iter().chain(&filled.excluded).map(|a| a.device.as_str()).collect();
        assert_eq!(devices, ["eth1", "eth0", "eth1"]);
        let nowhere = find(&written, &host(&[]), &Found::new());
        assert_eq!(fill(&written, &nowhere), written);
        let here = here(&written, &host(&[]));
        assert_eq!(
            here.says["A"],
            "in FAULT on this host as it is now: no interface has 192.0.2.11"
        );
    }

    /// The same address may be in several.
    #[test]
    fn in_a_vrf() {
        let red = format!("{}\nvrf red", from(11));
        let written = config(&(instance("A", &red) + &instance("B", &from(11))));
        let mut host = host(&[(2, "eth0", &[11]), (3, "eth1", &[11]), (4, "red", &[])]);
        let place = |host: &Snapshot, name: &str| find(&written, host, &Found::new())[name].clone();
        assert_eq!((place(&host, "A"), place(&host, "B")), (Sought::Nowhere, on("eth0")));
        assert_eq!(
            here(&written, &host).says["A"].rsplit_once(": ").map(|(_, why)| why),
            Some("no interface in VRF red has 192.0.2.11")
        );
        host.interfaces.insert(Interface { vrf: Some(4), ..host.interfaces[&3].clone() });
        assert_eq!((place(&host, "A"), place(&host, "B")), (on("eth1"), on("eth0")));
        host.interfaces.remove(&4);
        assert_eq!(place(&host, "A"), Sought::Nowhere);
    }

    #[test]
    fn a_source_that_the_host_has_not() {
        let look = |lines: &str| {
            let written = config(&instance("A", &format!("interface eth0\n{lines}")));
            let Here { says, doubts } = here(&written, &host(&[(2, "eth0", &[11])]));
            let doubts = doubts.into_iter().map(|doubt| (doubt.message, doubt.now));
            (says.get("A").cloned(), doubts.collect::<Vec<_>>())
        };
        assert_eq!(look(&from(11)), (None, vec![]));
        assert_eq!(look("mcast_src_ip 192.0.2.11"), (None, vec![]));
        let message = "this host has no 192.0.2.12, which adverts of A are to come from".to_owned();
        let carried = "they carry it all the same, as keepalived's";
        assert_eq!(look("mcast_src_ip 192.0.2.12"), (None, vec![(message.clone(), carried)]));
        let fault = "it is in FAULT until an interface has it";
        let (says, doubts) = look(&from(12));
        assert_eq!(doubts, [(message, fault)]);
        assert_eq!(
            says.as_deref(),
            Some(
                "in FAULT on this host as it is now: this host has no 192.0.2.12, which its adverts are \
                 to come from"
            )
        );
    }

    /// `Invalid scope value`, says the kernel.
    #[test]
    fn one_scope_in_one_network() {
        let barred = |addresses: &str| {
            let text = format!(
                "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n\
                 virtual_ipaddress {{\n{addresses}\n}}\n}}\n"
            );
            let here = here(&config(&text), &host(&[(2, "eth0", &[11])]));
            here.doubts.into_iter().map(|doubt| doubt.message).collect::<Vec<_>>()
        };
        let says = |new: &str, old: &str| {
            vec![format!("{new} has another scope than {old}, which is in its network on eth0")]
        };
        assert_eq!(barred("192.0.2.1/24 scope host"), says("192.0.2.1/24", "192.0.2.11/24"));
        assert_eq!(
            barred("198.51.100.1/24\n198.51.100.2/24 scope link"),
            says("198.51.100.2/24", "198.51.100.1/24")
        );
        for well in [
            "192.0.2.1/24 scope global",
            "192.0.2.1/32 scope host",
            "198.51.100.1/24 scope host\n198.51.100.2/24 scope host",
            "198.51.100.1/24\n198.51.100.2/24 scope link dev eth1",
            "fe80::1/64\n2001:db8::1/64 scope host\n2001:db8::2/64",
        ] {
            assert_eq!(barred(well), [] as [String; 0], "{well}");
        }
    }

    #[test]
    fn by_which_address_peers_know_it() {
        let unsure = |peers: &str, lasts: &[u8]| {
            let lines = format!("interface eth0\nunicast_peer {{\n{peers}\n}}");
            let written = config(&instance("A", &lines));
            here(&written, &host(&[(2, "eth0", lasts)])).doubts.len()
        };
        assert_eq!(unsure("192.0.2.99", &[11]), 0);
        assert_eq!(unsure("192.0.2.99", &[11, 12]), 1);
        assert_eq!(unsure("192.0.2.99\n192.0.2.12", &[11, 12]), 0, "this host is in the list");
        assert_eq!(unsure("203.0.113.9", &[11]), 1, "by a route");
        assert_eq!(unsure("203.0.113.9\n192.0.2.11", &[11]), 0);
    }
}
