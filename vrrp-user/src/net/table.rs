//! The host's interfaces and addresses as values, kept up to date by the kernel's messages.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::interfaces::Interfaces;
use super::monitor::Change;
use crate::transmit::Mac;

/// `RT_SCOPE_HOST`: valid on this host only.
const SCOPE_HOST: u8 = 254;
/// `IFAPROT_KERNEL_LL`: a link-local address that the kernel gave the interface by itself.
const KERNEL_LINK_LOCAL: u8 = 3;

/// An address on one of the host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length, or that of its peer.
    pub prefix: u8,
    /// The address of the other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Its label (IPv4).
    pub label: Option<String>,
    /// Its broadcast address (IPv4).
    pub broadcast: Option<Ipv4Addr>,
    /// Who put it there (`IFA_PROTO`); 0 where nobody said.
    pub proto: u8,
    /// Its scope, as a number of `rt_scopes`.
    pub scope: u8,
    /// Behind another address of the same network: the kernel may drop it when that one goes.
    pub secondary: bool,
    /// All its `IFA_F_` flags.
    pub flags: u32,
}

/// What a host has of an address; the best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Possession {
    /// It has it and uses it.
    Held,
    /// The kernel still asks whether another host has it (RFC 4862 §5.4).
    Tried,
    /// Another host has it as well, so that the kernel does not use it.
    Duplicate,
    /// No interface has it.
    Nothing,
}

impl Possession {
    /// Whether the address is the host's own, perhaps not yet in use.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Held | Self::Tried)
    }
}

/// Whether two addresses agree in the first `prefix` bits.
pub(crate) fn in_one_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let same = |one: u128, other: u128, bits: u32| {
        (one ^ other).unbounded_shr(bits - u32::from(prefix).min(bits)) == 0
    };
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(one.to_bits().into(), other.to_bits().into(), u32::BITS)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), u128::BITS),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

impl HostAddress {
    /// Whether the kernel uses it: not before duplicate address detection has ended well (RFC 4862
    /// §5.4).
    pub fn is_usable(&self) -> bool {
        self.possession() == Possession::Held
    }

    const fn possession(&self) -> Possession {
        let flags = AddressFlags::from_bits_retain(self.flags);
        if flags.contains(AddressFlags::Dadfailed) {
            Possession::Duplicate
        } else if flags.contains(AddressFlags::Tentative) {
            Possession::Tried
        } else {
            Possession::Held
        }
    }

    /// Whether a host is in its network.
    pub(super) fn is_near(&self, host: IpAddr) -> bool {
        in_one_network(self.peer.unwrap_or(self.ip), host, self.prefix)
    }

    /// Whether it is one of those that the kernel changes by itself, or wants no longer used (RFC 8981).
    fn is_temporary(&self) -> bool {
        AddressFlags::from_bits_retain(self.flags)
            .intersects(AddressFlags::Secondary | AddressFlags::Deprecated)
    }

    /// Whether duplicate address detection has found it at another host (RFC 4862 §5.4.5).
    pub fn is_duplicate(&self) -> bool {
        self.possession() == Possession::Duplicate
    }
}

/// One of the host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; `None` where it is not an Ethernet interface.
    pub mac: Option<Mac>,
    /// Somebody wants it up.
    pub admin_up: bool,
    /// It is up and can carry frames: carrier, and nothing below or beside it is in the way.
    pub carrier: bool,
    /// The longest IP packet it takes, in bytes.
    pub mtu: u32,
    /// The index of the VRF that it is in; a VRF's own interface is in itself.
    pub vrf: Option<u32>,
    /// What goes out of it stays on this host, although it may have a MAC address and a carrier: the
    /// loopback interface, a dummy, a VRF's own. Routers have addresses there that no link's loss takes.
    pub is_inner: bool,
    /// A macvlan's mode.
    pub mode: Option<MacVlanMode>,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<HostAddress>,
}

impl Interface {
    /// The source address for adverts: the interface's first IPv4 address that is not in `not`, the
    /// virtual ones; an address that is not secondary before any that is.
    pub fn primary_v4(&self, not: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
        let candidates =
            || self.addresses.iter().filter(|a| a.scope != SCOPE_HOST && !not.contains(&a.ip));
        let v4 = |address: &HostAddress| match address.ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        };
        candidates().filter(|a| !a.secondary).find_map(v4).or_else(|| candidates().find_map(v4))
    }

    /// The source address for adverts over IPv6: a link-local address of the interface (RFC 9568 §7.2)
    /// that is not in `not`, the virtual ones, and that the kernel uses: neither tentative nor a
    /// duplicate.
    ///
    /// Of several: the one that the kernel made before others, else the lowest. The kernel lists the
    /// newest first, so its order would have a restart choose another than the running daemon has.
    pub fn primary_v6(&self, not: &BTreeSet<IpAddr>) -> Option<Ipv6Addr> {
        let candidates = self.addresses.iter().filter(|a| a.is_usable() && !not.contains(&a.ip));
        let link_local = candidates.filter_map(|address| match address.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                Some((address.proto != KERNEL_LINK_LOCAL, ip))
            }
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        });
        link_local.min().map(|(_, ip)| ip)
    }

    /// The first of these that the interface has and uses, and that is not in `not`.
    pub fn first_of(
        &self,
        ips: impl Iterator<Item = IpAddr>,
        not: &BTreeSet<IpAddr>,
    ) -> Option<IpAddr> {
        let mut ips = ips.filter(|ip| !not.contains(ip));
        ips.find(|ip| self.addresses.iter().any(|a| a.ip == *ip && a.is_usable()))
    }

    /// Whether a host is in one of its networks, and so needs no router.
    pub fn is_next_to(&self, host: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.is_near(host))
    }

    /// The source address for packets to a host: one of its network before others, and over IPv6 one of
    /// its scope (RFC 6724 §5, rules 2, 7 and 8). `None` also while the only such address is not usable
    /// yet.
    ///
    /// Of several, those before that stay; then as [`Self::primary_v4`], and over IPv6 the lowest.
    pub fn source_to(&self, to: IpAddr, not: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let candidates = self.candidates(to, not);
        let near = || candidates.iter().filter(|a| a.is_near(to));
        if to.is_ipv4() {
            let first = near().find(|a| !a.secondary).or_else(|| near().next());
            return first.map(|a| a.ip).or_else(|| self.primary_v4(not).map(IpAddr::V4));
        }
        // Without an address of such a scope, a peer on the link still hears us.
        if candidates.is_empty() || is_link_local(to) {
            return self.primary_v6(not).map(IpAddr::V6);
        }
        let usable = candidates.iter().filter(|a| a.is_usable());
        usable.map(|a| (!a.is_near(to), a.is_temporary(), a.ip)).min().map(|(_, _, ip)| ip)
    }

    /// Whether there is just one address that a host of its network would know this one by.
    pub fn is_known_to(&self, to: IpAddr, not: &BTreeSet<IpAddr>) -> bool {
        let lasting = |a: &&&HostAddress| a.is_near(to) && !a.secondary && !a.is_temporary();
        self.candidates(to, not).iter().filter(lasting).count() == 1
    }

    /// The addresses that packets to a host may come from, by family and scope.
    fn candidates(&self, to: IpAddr, not: &BTreeSet<IpAddr>) -> Vec<&HostAddress> {
        let all = self.addresses.iter().filter(|a| {
            a.ip.is_ipv4() == to.is_ipv4()
                && is_link_local(a.ip) == is_link_local(to)
                && a.scope != SCOPE_HOST
                && !a.is_duplicate()
                && !not.contains(&a.ip)
        });
        all.collect()
    }

    /// Puts an address where the kernel has it: secondary ones last, others behind the last that is
    /// none. `is_new`: it is not there with any other word about it. `false`: it was there, just so.
    pub(super) fn put(&mut self, address: &HostAddress, is_new: bool) -> bool {
        let same = |a: &HostAddress| (a.ip, a.prefix) == (address.ip, address.prefix);
        if !is_new && let Some(at) = self.addresses.iter().position(same) {
            let known = &mut self.addresses[at];
            if known == address {
                return false;
            }
            if known.secondary == address.secondary {
                known.clone_from(address);
                return true;
            }
            self.addresses.remove(at);
        }
        let at = self
            .addresses
            .iter()
            .rposition(|a| address.secondary || !a.secondary)
            .map_or(0, |last| last + 1);
        self.addresses.insert(at, address.clone());
        true
    }

    /// Takes an address off.
    pub(super) fn take(&mut self, address: &HostAddress) {
        self.addresses.retain(|a| (a.ip, a.prefix) != (address.ip, address.prefix));
    }
}

/// Whether an IPv6 address is of one link alone. In IPv4 such are addresses like others.
const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// All interfaces of the host's network namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By index.
    pub interfaces: Interfaces,
}

impl Snapshot {
    /// The interface of that name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.interfaces.named(name)
    }

    /// Whether the host has the address as its own, on whichever interface.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.possession(ip).is_own()
    }

    /// What the host has of the address, on whichever interface.
    pub fn possession(&self, ip: IpAddr) -> Possession {
        let each = self.having(ip).flat_map(|interface| &interface.addresses);
        let best = each.filter(|address| address.ip == ip).map(HostAddress::possession).min();
        best.unwrap_or(Possession::Nothing)
    }

    /// The interfaces that have the address.
    pub fn having(&self, ip: IpAddr) -> impl Iterator<Item = &Interface> {
        self.interfaces.having(ip)
    }

    /// Takes in a change that the monitor told, so that a copy stays as the monitor's own.
    pub fn follow(&mut self, change: &Change) {
        match change {
            Change::Link(interface) => {
                self.interfaces.insert(interface.clone());
            }
            Change::Gone { ifindex, .. } => {
                self.interfaces.remove(ifindex);
            }
            Change::AddressAdded { ifindex, address, .. } => {
                self.interfaces.put(*ifindex, address);
            }
            Change::AddressRemoved { ifindex, address, .. } => {
                self.interfaces.take(*ifindex, address);
            }
            Change::Resync(now) => self.clone_from(now),
            Change::Behind => {}
        }
    }

    /// Adds what an earlier reading found and this one did not, but for interfaces whose name another one
    /// has by now.
    pub(super) fn fill(&mut self, earlier: &Self) {
        for before in earlier.interfaces.values() {
            let ifindex = before.ifindex;
            if self.interfaces.contains_key(&ifindex) {
                for address in &before.addresses {
                    if !self.interfaces.holds(ifindex, address.ip, address.prefix) {
                        self.interfaces.put(ifindex, address);
                    }
                }
            } else if self.by_name(&before.name).is_none() {
                self.interfaces.insert(before.clone());
            }
        }
    }

    /// Takes in one of the kernel's messages and says what it changed.
    pub(super) fn apply(&mut self, message: RouteNetlinkMessage, changes: &mut Vec<Change>) {
        if let RouteNetlinkMessage::NewLink(link) = message {
            self.link(&link, changes);
        } else if let RouteNetlinkMessage::DelLink(link) = message {
            self.gone(&link, changes);
        } else if let RouteNetlinkMessage::NewAddress(address) = message {
            self.address(&address, changes);
        } else if let RouteNetlinkMessage::DelAddress(address) = message {
            self.address_gone(&address, changes);
        }
    }

    fn link(&mut self, message: &LinkMessage, changes: &mut Vec<Change>) {
        // A bridge tells of its ports by messages of its own family, that a port leaves by one that
        // looks like the interface's end.
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let mut now = read_link(message);
        if let Some(before) = self.interfaces.get(&now.ifindex) {
            now.addresses.clone_from(&before.addresses);
            if *before == now {
                return;
            }
            if before.name != now.name {
                changes.push(Change::Gone { ifindex: before.ifindex, name: before.name.clone() });
            }
        }
        changes.push(Change::Link(now.clone()));
        self.interfaces.insert(now);
    }

    fn gone(&mut self, message: &LinkMessage, changes: &mut Vec<Change>) {
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        if let Some(interface) = self.interfaces.remove(&message.header.index) {
            changes.push(Change::Gone { ifindex: interface.ifindex, name: interface.name });
        }
    }

    fn address(&mut self, message: &AddressMessage, changes: &mut Vec<Change>) {
        let Some(address) = read_address(message) else { return };
        if let Some(interface) = self.interfaces.put(message.header.index, &address) {
            let (ifindex, name) = (interface.ifindex, interface.name.clone());
            changes.push(Change::AddressAdded { ifindex, name, address });
        }
    }

    fn address_gone(&mut self, message: &AddressMessage, changes: &mut Vec<Change>) {
        let Some(address) = read_address(message) else { return };
        if let Some(interface) = self.interfaces.take(message.header.index, &address) {
            let (ifindex, name) = (interface.ifindex, interface.name.clone());
            changes.push(Change::AddressRemoved { ifindex, name, address });
        }
    }
}

pub(super) fn read_link(message: &LinkMessage) -> Interface {
    let flags = message.header.flags;
    let mut interface = Interface {
        ifindex: message.header.index,
        name: String::new(),
        mac: None,
        admin_up: flags.contains(LinkFlags::Up),
        // RUNNING alone would be true of a driver that never says anything about its carrier's loss.
        carrier: flags.contains(LinkFlags::LowerUp | LinkFlags::Running),
        mtu: 0,
        vrf: None,
        is_inner: flags.contains(LinkFlags::Loopback),
        mode: None,
        addresses: Vec::new(),
    };
    let (mut master, mut in_vrf, mut is_vrf) = (None, false, false);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            interface.name.clone_from(name);
        } else if let LinkAttribute::Address(mac) = attribute {
            interface.mac = mac.as_slice().try_into().ok();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            interface.mtu = *mtu;
        } else if let LinkAttribute::Controller(index) = attribute {
            master = Some(*index);
        } else if let LinkAttribute::LinkInfo(info) = attribute {
            in_vrf = info.contains(&LinkInfo::PortKind(InfoPortKind::Vrf));
            is_vrf = info.contains(&LinkInfo::Kind(InfoKind::Vrf));
            interface.is_inner |= is_vrf || info.contains(&LinkInfo::Kind(InfoKind::Dummy));
            interface.mode = info.iter().find_map(mode);
        }
    }
    interface.vrf = if is_vrf { Some(interface.ifindex) } else { master.filter(|_| in_vrf) };
    // Loopback's is all zero.
    interface.mac = interface.mac.filter(|mac| *mac != [0; 6]);
    interface
}

fn mode(info: &LinkInfo) -> Option<MacVlanMode> {
    let LinkInfo::Data(InfoData::MacVlan(data)) = info else { return None };
    data.iter().find_map(|info| if let InfoMacVlan::Mode(mode) = info { Some(*mode) } else { None })
}

/// The address a message is about; `None` where it names none.
pub(super) fn read_address(message: &AddressMessage) -> Option<HostAddress> {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut peer) = (None, None);
    let (mut label, mut broadcast, mut proto) = (None, None, 0);
    for attribute in &message.attributes {
        if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            peer = Some(*ip);
        } else if let AddressAttribute::Label(name) = attribute {
            label = Some(name.clone());
        } else if let AddressAttribute::Broadcast(ip) = attribute {
            broadcast = Some(*ip);
        } else if let AddressAttribute::Protocol(by) = attribute {
            proto = u8::from(*by);
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        }
    }
    // The two differ on a point-to-point link only, where the host's is the local one.
    let ip = local.or(peer)?;
    Some(HostAddress {
        ip,
        prefix: message.header.prefix_len,
        peer: peer.filter(|peer| *peer != ip),
        label,
        broadcast,
        proto,
        scope: message.header.scope.into(),
        // In IPv6 the same bit marks a temporary address (RFC 8981).
        secondary: ip.is_ipv4() && flags.contains(AddressFlags::Secondary),
        flags: flags.bits(),
    })
}

#[cfg(test)]
mod tests;
