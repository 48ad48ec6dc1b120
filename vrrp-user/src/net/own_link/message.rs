//! The kernel's messages about interfaces that an instance makes for itself. Pure.

use std::net::IpAddr;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoIpVlan, InfoKind, InfoMacVlan,
    IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use crate::config::model::IpvlanMode;
use crate::net::sysctl::Key;
use crate::run_dir;
use crate::transmit::Mac;

/// What an interface of an instance's own is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A macvlan with this MAC address.
    Macvlan {
        /// The MAC address, mostly the virtual router's.
        mac: Mac,
        /// It is to have IPv6 addresses.
        v6: bool,
    },
    /// An ipvlan in layer 2, which has its base's MAC address.
    Ipvlan {
        /// How those on one base reach each other.
        mode: IpvlanMode,
        /// The address it has all the time, with its prefix length.
        source: Option<(IpAddr, u8)>,
    },
}

impl Shape {
    /// What is set at the interface below.
    pub(super) fn at_base(&self) -> &'static [Key] {
        match self {
            Self::Macvlan { .. } => &Key::AT_BASES,
            // Clients are answered by the base, whose question for a client's MAC address must not name the
            // virtual address: the answer to that goes to the ipvlan.
            Self::Ipvlan { .. } => &[Key::ArpAnnounce],
        }
    }
}

/// Between who made an interface and what it is on.
const ON: &str = " on ";

/// What is said about an interface in `ip link`, and by which a later life of `by` knows it for its own.
pub(super) fn mark(by: &str, base: &str) -> String {
    format!("{by}{ON}{base}")
}

/// Makes an interface on top of the one with the index `base`. It is down, and a macvlan is deaf.
pub(super) fn create(name: &str, base: u32, shape: &Shape) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    let attributes = &mut message.attributes;
    attributes.push(LinkAttribute::IfName(name.to_owned()));
    attributes.push(LinkAttribute::Link(base));
    match shape {
        Shape::Macvlan { mac, .. } => {
            attributes.push(LinkAttribute::Address(mac.to_vec()));
            attributes.push(macvlan(false));
        }
        Shape::Ipvlan { mode, .. } => attributes.push(ipvlan(*mode)),
    }
    RouteNetlinkMessage::NewLink(message)
}

/// Sets the mark on the interface of that name.
pub(super) fn set_mark(name: &str, by: &str, base: &str) -> RouteNetlinkMessage {
    named(name, LinkAttribute::IfAlias(mark(by, base)))
}

/// Keeps the kernel from giving the interface of that name a link-local address made of its MAC address:
/// all routers of the virtual one would have the same (RFC 9568 §7.4).
pub(super) fn no_addresses_of_its_own(name: &str) -> RouteNetlinkMessage {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let spec = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    named(name, spec)
}

/// Puts an interface into a group.
pub(super) fn set_group(index: u32, group: u32) -> RouteNetlinkMessage {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Group(group));
    RouteNetlinkMessage::SetLink(message)
}

/// Removes all interfaces of a group at once: each alone would take the kernel 20 ms.
pub(super) fn remove_group(group: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    RouteNetlinkMessage::DelLink(message)
}

/// Removes an interface.
pub(super) fn remove(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(at(index))
}

/// Sets an interface up or down.
pub(super) fn set_up(index: u32, up: bool) -> RouteNetlinkMessage {
    let mut message = at(index);
    message.header.change_mask = LinkFlags::Up;
    if up {
        message.header.flags = LinkFlags::Up;
    }
    RouteNetlinkMessage::SetLink(message)
}

/// Gives an interface its MAC address.
pub(super) fn set_mac(index: u32, mac: Mac) -> RouteNetlinkMessage {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    RouteNetlinkMessage::SetLink(message)
}

/// Puts an interface into a VRF; 0: into none.
pub(super) fn set_vrf(index: u32, vrf: u32) -> RouteNetlinkMessage {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Controller(vrf));
    RouteNetlinkMessage::SetLink(message)
}

/// Has a macvlan hear what comes for its MAC address, or nothing at all.
///
/// The mode `source` hears only whom it is told to, and that is nobody: what comes for the MAC address
/// is then somebody else's for the base, which drops it. Unlike setting the interface down this takes the
/// kernel microseconds, and routes and rules on it stay.
pub(super) fn set_hearing(index: u32, hears: bool) -> RouteNetlinkMessage {
    let mut message = at(index);
    message.attributes.push(macvlan(hears));
    RouteNetlinkMessage::NewLink(message)
}

fn at(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn named(name: &str, attribute: LinkAttribute) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), attribute];
    RouteNetlinkMessage::SetLink(message)
}

/// The mode of one that hears, or not.
pub(super) const fn mode(hears: bool) -> MacVlanMode {
    if hears { MacVlanMode::Private } else { MacVlanMode::Source }
}

fn macvlan(hears: bool) -> LinkAttribute {
    let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode(hears))]);
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(data)])
}

fn ipvlan(mode: IpvlanMode) -> LinkAttribute {
    let data = vec![InfoIpVlan::Mode(IpVlanMode::L2), InfoIpVlan::Flags(flags(mode))];
    let data = InfoData::IpVlan(data);
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::IpVlan), LinkInfo::Data(data)])
}

fn flags(mode: IpvlanMode) -> IpVlanFlags {
    match mode {
        IpvlanMode::Bridge => IpVlanFlags::empty(),
        IpvlanMode::Private => IpVlanFlags::Private,
        IpvlanMode::Vepa => IpVlanFlags::Vepa,
    }
}

/// An interface as far as it matters whether it is one of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) index: u32,
    pub(super) name: String,
    base: u32,
    mac: Vec<u8>,
    alias: String,
    pub(super) group: u32,
    kind: Option<InfoKind>,
    hears: Option<MacVlanMode>,
    ipvlan: Option<(IpVlanMode, IpVlanFlags)>,
}

/// What an interface is that has the name of one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is that one; `ours`: an earlier life of ours made it.
    Same { ours: bool },
    /// An earlier life of ours made it, but it is another.
    Stale,
    /// Somebody else's.
    Foreign,
}

impl Seen {
    pub(super) fn read(message: &LinkMessage) -> Self {
        let mut seen = Self { index: message.header.index, ..Self::default() };
        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                seen.name.clone_from(name);
            } else if let LinkAttribute::Link(base) = attribute {
                seen.base = *base;
            } else if let LinkAttribute::Address(mac) = attribute {
                seen.mac.clone_from(mac);
            } else if let LinkAttribute::IfAlias(alias) = attribute {
                seen.alias.clone_from(alias);
            } else if let LinkAttribute::Group(group) = attribute {
                seen.group = *group;
            } else if let LinkAttribute::LinkInfo(info) = attribute {
                seen.read_info(info);
            }
        }
        seen
    }

    fn read_info(&mut self, info: &[LinkInfo]) {
        for info in info {
            if let LinkInfo::Kind(kind) = info {
                self.kind = Some(kind.clone());
            } else if let LinkInfo::Data(InfoData::MacVlan(data)) = info {
                for info in data {
                    if let InfoMacVlan::Mode(mode) = info {
                        self.hears = Some(*mode);
                    }
                }
            } else if let LinkInfo::Data(InfoData::IpVlan(data)) = info {
                let (mut mode, mut flags) = (IpVlanMode::L2, IpVlanFlags::empty());
                for info in data {
                    if let InfoIpVlan::Mode(is) = info {
                        mode = *is;
                    } else if let InfoIpVlan::Flags(are) = info {
                        flags = *are;
                    }
                }
                self.ipvlan = Some((mode, flags));
            }
        }
    }

    /// Whether `by` made it, in whichever life.
    pub(super) fn is_of(&self, by: &str) -> bool {
        self.alias.starts_with(&mark(by, ""))
    }

    /// What it is on, where any of us made it.
    pub(super) fn base_of_any(&self) -> Option<&str> {
        let (by, base) = self.alias.split_once(ON)?;
        let more = by.strip_prefix(run_dir::NAME)?;
        (more.is_empty() || more.starts_with('-')).then_some(base)
    }

    /// Says what this is to `by`, who wants such an interface on `base`.
    ///
    /// The index of the base is not asked for where the mark names it: on top of a macvlan the kernel
    /// uses what is below that.
    pub(super) fn fits(&self, by: &str, base: (&str, u32), shape: &Shape) -> Fit {
        let ours = self.is_of(by);
        let on = if ours { self.alias == mark(by, base.0) } else { self.base == base.1 };
        let is = match shape {
            Shape::Macvlan { mac, .. } => {
                self.kind == Some(InfoKind::MacVlan)
                    && self.mac == *mac
                    && matches!(self.hears, Some(MacVlanMode::Private | MacVlanMode::Source))
            }
            Shape::Ipvlan { mode, .. } => self.ipvlan == Some((IpVlanMode::L2, flags(*mode))),
        };
        match (on && is, ours) {
            (true, ours) => Fit::Same { ours },
            (false, true) => Fit::Stale,
            (false, false) => Fit::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use rtnetlink::packet_core::Emitable;
    use rtnetlink::packet_route::link::LinkAttribute as Attribute;

    const MAC: Mac = [0, 0, 0x5e, 0, 1, 10];
    const US: &str = "xvrrp";

    /// The bytes behind the interface header.
    fn attributes(message: &RouteNetlinkMessage) -> Vec<u8> {
        const HEADER: usize = 16;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes.split_off(HEADER)
    }

    fn ipvlan(mode: IpvlanMode) -> Shape {
        Shape::Ipvlan { mode, source: None }
    }

    /// As `ip link add ipv0 link eth0 type ipvlan mode l2 private` sends it, but for the order.
    #[test]
    fn bytes_of_an_ipvlan() {
        let message = create("ipv0", 2, &ipvlan(IpvlanMode::Private));
        assert_eq!(
            attributes(&message),
            hex!(
                "0900 0300 6970763000 000000"
                "0800 0500 02000000"
                "2400 1200"
                "0b00 0100 6970766c616e 0000"
                "1400 0200"
                "0600 0100 0000 0000"
                "0600 0200 0100 0000"
            )
        );
    }

    /// A macvlan with its MAC address, in mode `source` (16).
    #[test]
    fn bytes_of_a_macvlan() {
        let shape = Shape::Macvlan { mac: MAC, v6: false };
        assert_eq!(
            attributes(&create("vrrp.10", 2, &shape)),
            hex!(
                "0c00 0300 767272702e313000"
                "0800 0500 02000000"
                "0a00 0100 00005e00010a 0000"
                "1c00 1200"
                "0c00 0100 6d6163766c616e 00"
                "0c00 0200 0800 0100 10000000"
            )
        );
    }

    /// What the kernel would tell of one.
    fn seen(shape: &Shape, alias: Option<&str>, base: u32) -> Seen {
        let RouteNetlinkMessage::NewLink(mut message) = create("own0", base, shape) else {
            panic!("another message");
        };
        message.header.index = 7;
        message.attributes.extend(alias.map(|alias| Attribute::IfAlias(alias.to_owned())));
        Seen::read(&message)
    }

    #[test]
    fn what_is_there_is_what_is_wanted_or_not() {
        let macvlan = Shape::Macvlan { mac: MAC, v6: false };
        let other_mac = Shape::Macvlan { mac: [2, 0, 0, 0, 0, 1], v6: false };
        let eth0 = ("eth0", 2);
        for shape in [&macvlan, &ipvlan(IpvlanMode::Bridge), &ipvlan(IpvlanMode::Vepa)] {
            let ours = seen(shape, Some("xvrrp on eth0"), 2);
            assert_eq!(ours.fits(US, eth0, shape), Fit::Same { ours: true });
            // Above a macvlan the kernel names what is below that.
            let above = seen(shape, Some("xvrrp on eth0"), 9);
            assert_eq!(above.fits(US, eth0, shape), Fit::Same { ours: true });
            assert_eq!(ours.fits(US, ("eth1", 3), shape), Fit::Stale);
            let theirs = seen(shape, None, 2);
            assert_eq!(theirs.fits(US, eth0, shape), Fit::Same { ours: false });
            assert_eq!(theirs.fits(US, ("eth1", 3), shape), Fit::Foreign);
            for other in [&other_mac, &ipvlan(IpvlanMode::Private)] {
                assert_eq!(ours.fits(US, eth0, other), Fit::Stale);
                assert_eq!(theirs.fits(US, eth0, other), Fit::Foreign);
            }
        }
    }

    #[test]
    fn what_another_daemon_made_is_not_ours() {
        let shape = Shape::Macvlan { mac: MAC, v6: false };
        let other = seen(&shape, Some("xvrrp-0123abcd on eth0"), 2);
        assert!(!other.is_of(US) && other.is_of("xvrrp-0123abcd"));
        assert_eq!(other.base_of_any(), Some("eth0"));
        assert_eq!(other.fits(US, ("eth1", 3), &shape), Fit::Foreign);
        let ours = seen(&shape, Some("xvrrp on eth0"), 2);
        assert!(ours.is_of(US) && !ours.is_of("xvrrp-0123abcd"));
        assert_eq!(ours.base_of_any(), Some("eth0"));
        for alias in ["xvrrps on eth0", "uplink on eth0", "xvrrp", ""] {
            assert_eq!(seen(&shape, Some(alias), 2).base_of_any(), None, "{alias}");
        }
    }
}
