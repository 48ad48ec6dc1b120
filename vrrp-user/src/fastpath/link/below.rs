//! What frames come up from to an interface that has none of its own.

use std::collections::BTreeSet;
use std::io;

use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkMessage};

use super::{FILTER, info_kind};

/// What frames come up to from any number of slaves.
const COLLECTING: [InfoKind; 2] = [InfoKind::Bond, InfoKind::Team];
/// What they come up to from the one that it is on.
const FED_BY_ONE: [InfoKind; 4] =
    [InfoKind::MacVlan, InfoKind::MacVtap, InfoKind::IpVlan, InfoKind::IpVtap];

/// Whether what is of this kind gets its frames from other interfaces.
pub(super) fn is_fed_by_others(kind: &InfoKind) -> bool {
    COLLECTING.contains(kind) || FED_BY_ONE.contains(kind)
}

/// Whether each interface that frames come up from to this one has [`FILTER`] on, as far down as it can be
/// seen from here. A bond without a slave may get one that has not. `features`: which an interface has on.
pub(super) fn is_filtered(
    links: &[LinkMessage],
    name: &str,
    ifindex: u32,
    features: impl Fn(&str) -> io::Result<Vec<String>>,
) -> io::Result<bool> {
    let (mut asked, mut open) = (BTreeSet::new(), vec![(ifindex, name)]);
    while let Some((ifindex, name)) = open.pop() {
        if !asked.insert(ifindex) {
            continue;
        }
        if features(name)?.iter().all(|on| on != FILTER) {
            return Ok(false);
        }
        let Some(link) = links.iter().find(|link| link.header.index == ifindex) else { continue };
        match info_kind(link) {
            Some(kind) if COLLECTING.contains(kind) => {
                let slaves = links
                    .iter()
                    .filter(|it| it.attributes.contains(&LinkAttribute::Controller(ifindex)));
                let before = open.len();
                open.extend(slaves.filter_map(named));
                if open.len() == before {
                    return Ok(false);
                }
            }
            Some(kind) if FED_BY_ONE.contains(kind) => {
                open.extend(below(link, links).and_then(named));
            }
            Some(_) | None => {}
        }
    }
    Ok(true)
}

/// What a link is on, where that is in this namespace.
fn below<'a>(link: &LinkMessage, links: &'a [LinkMessage]) -> Option<&'a LinkMessage> {
    let is_elsewhere = |it: &LinkAttribute| matches!(it, LinkAttribute::LinkNetNsId(_));
    if link.attributes.iter().any(is_elsewhere) {
        return None;
    }
    links.iter().find(|it| link.attributes.contains(&LinkAttribute::Link(it.header.index)))
}

/// A link's number and name.
fn named(link: &LinkMessage) -> Option<(u32, &str)> {
    let name = link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.as_str()) } else { None }
    })?;
    Some((link.header.index, name))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkInfo;

    use super::*;

    /// Of this kind, with this number and name.
    fn link_of(
        index: u32,
        name: &str,
        kind: Option<InfoKind>,
        more: &[LinkAttribute],
    ) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let infos = kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        link.attributes.extend(infos.into_iter().chain(more.iter().cloned()));
        link
    }

    /// What says of itself that it has the filter does not always have it.
    #[test]
    fn each_slave_of_a_bond_has_to_keep_other_vlans_away() {
        let slave = LinkAttribute::Controller(3);
        let links = [
            link_of(1, "eth0", None, std::slice::from_ref(&slave)),
            link_of(2, "eth1", None, &[slave]),
            link_of(3, "bond0", Some(InfoKind::Bond), &[]),
            link_of(4, "mv0", Some(InfoKind::MacVlan), &[LinkAttribute::Link(3)]),
            link_of(5, "ipv0", Some(InfoKind::IpVlan), &[LinkAttribute::Link(1)]),
            // The number is another namespace's.
            link_of(
                6,
                "mv1",
                Some(InfoKind::MacVlan),
                &[LinkAttribute::Link(3), LinkAttribute::LinkNetNsId(0)],
            ),
            link_of(7, "team0", Some(InfoKind::Team), &[]),
        ];
        let of = |name: &str, without: &[&str]| {
            let on =
                |name: &str| if without.contains(&name) { vec![] } else { vec![FILTER.to_owned()] };
            let (index, name) = links.iter().filter_map(named).find(|(_, it)| *it == name).unwrap();
            is_filtered(&links, name, index, |name| Ok(on(name))).unwrap()
        };
        let all = ["bond0", "mv0", "ipv0", "mv1", "team0"];
        let which = |without: &[&str]| all.map(|name| of(name, without));
        assert_eq!(which(&[]), [true, true, true, true, false]);
        assert_eq!(which(&["eth1"]), [false, false, true, true, false]);
        assert_eq!(which(&["eth0"]), [false, false, false, true, false]);
        assert_eq!(which(&["mv1"]), [true, true, true, false, false]);
        let unknown =
            is_filtered(&links, "bond0", 3, |_| Err(io::Error::from_raw_os_error(libc::EMFILE)));
        assert_eq!(unknown.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    }
}
