//! What makes an instance the same one after a reload, or after a crash.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use vrrp_common::Family;

use crate::config::model::{Destination, Instance};
use crate::ledger::Body;

/// An instance's place on the wire, which makes it the same one, and not its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The interface as it is written, or what says which it is, which stays when that moves.
    pub(crate) link: Anchor,
    pub(crate) family: Family,
    pub(crate) vrid: u8,
    /// The group of its adverts: there may be others with the VRID.
    pub(crate) group: Option<IpAddr>,
}

/// Which link an instance is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Anchor {
    Interface(String),
    Source(IpAddr),
}

impl Place {
    pub(crate) fn of(instance: &Instance) -> Self {
        let interface = || Anchor::Interface(instance.interface.clone());
        Self {
            link: instance.sought.map_or_else(interface, Anchor::Source),
            family: instance.family,
            vrid: instance.vrid.get(),
            group: match instance.destination {
                Destination::Group(group) => Some(group),
                Destination::Peers(_) => None,
            },
        }
    }

    /// The same by the interface, where that is known, however it is written, and whatever the group.
    pub(crate) fn found(instance: &Instance) -> Option<Self> {
        let interface = Some(&instance.interface).filter(|name| !name.is_empty())?;
        let link = Anchor::Interface(interface.clone());
        Some(Self { link, group: None, ..Self::of(instance) })
    }

    /// Which of the places that are configured a router in the ledger has: of several that differ in their
    /// groups, and where those have no interface that is known yet, by name.
    pub(crate) fn of_body(
        body: &Body,
        instances: &[Arc<Instance>],
        places: &BTreeSet<Self>,
    ) -> Option<Self> {
        let family = [Family::V4, Family::V6].into_iter().find(|f| *f as u8 == body.family)?;
        let link = Anchor::Interface(body.interface.clone());
        let written = Self { link, family, vrid: body.vrid, group: None };
        let is_it = |place: &Self| (&place.link, place.family, place.vrid) == written.key();
        let mut there = places.range(&written..).take_while(|place| is_it(place));
        if let (Some(place), None) = (there.next(), there.next()) {
            return Some(place.clone());
        }
        let named = |one: &&Arc<Instance>| one.name == body.name;
        instances.iter().find(named).map(|one| Self::of(one)).filter(|place| {
            let is_sought = matches!(place.link, Anchor::Source(_));
            is_it(place) || is_sought && (place.family, place.vrid) == (family, body.vrid)
        })
    }

    fn key(&self) -> (&Anchor, Family, u8) {
        (&self.link, self.family, self.vrid)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    /// The places that are configured and the one that a router of this name had, as its instance's name.
    fn had(blocks: &[(&str, &str)], name: &str, interface: &str, vrid: u8) -> Option<String> {
        had_over(Family::V4 as u8, blocks, name, interface, vrid)
    }

    fn had_over(
        family: u8,
        blocks: &[(&str, &str)],
        name: &str,
        interface: &str,
        vrid: u8,
    ) -> Option<String> {
        let block = |(at, (name, lines)): (usize, &(&str, &str))| {
            format!(
                "vrrp_instance {name} {{\nvirtual_router_id 51\n{lines}\n\
                 virtual_ipaddress {{\n192.0.2.{}/24\n}}\n}}\n",
                100 + at
            )
        };
        let text: String = blocks.iter().enumerate().map(block).collect();
        let config = config::parse_str(Path::new("test.conf"), text).config.expect("one");
        let places: BTreeSet<Place> = config.instances.iter().map(|one| Place::of(one)).collect();
        assert_eq!(places.len(), blocks.len());
        let body = Body {
            name: name.to_owned(),
            interface: interface.to_owned(),
            ifindex: 2,
            family,
            vrid,
            frames: Default::default(),
            by_routes: None,
            key: [0; 8],
            addresses: Vec::new(),
            paths: Vec::new(),
            traces: Default::default(),
        };
        let place = Place::of_body(&body, &config.instances, &places)?;
        let its = |one: &&Arc<Instance>| Place::of(one) == place;
        config.instances.iter().find(its).map(|one| one.name.clone())
    }

    #[test]
    fn a_crashed_router_is_found_by_its_place_and_of_several_by_its_name() {
        let alone = [("A", "interface eth0"), ("B", "interface eth1")];
        let of = |name, interface, vrid| had(&alone, name, interface, vrid);
        assert_eq!(of("before", "eth1", 51).as_deref(), Some("B"));
        assert_eq!(of("A", "eth2", 51), None);
        assert_eq!(of("A", "eth0", 52), None);
        for other in [Family::V6 as u8, 0] {
            assert_eq!(had_over(other, &alone, "A", "eth0", 51), None);
        }
        let group = "interface eth0\nmcast_dst_ip 224.0.0.19";
        let two = [("A", "interface eth0"), ("B", group), ("C", "interface eth00")];
        let of = |name| had(&two, name, "eth0", 51);
        assert_eq!([of("A"), of("B")].map(|it| it.unwrap()), ["A", "B"]);
        assert_eq!([of("C"), of("before")], [None, None]);
        // It has another group by now.
        assert_eq!(had(&[("A", group)], "A", "eth0", 51).as_deref(), Some("A"));
        let sought = "unicast_src_ip 192.0.2.11\nunicast_peer {\n192.0.2.12\n}";
        let of = |name| had(&[("A", sought)], name, "eth0", 51);
        assert_eq!((of("A").as_deref(), of("before")), (Some("A"), None));
        assert_eq!(had(&[("A", sought)], "A", "eth0", 52), None);
    }
}
