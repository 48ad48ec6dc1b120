//! The host's interfaces and addresses as values, kept up to date by the kernel's messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

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

impl HostAddress {
    /// Whether the kernel uses it: not before duplicate address detection has ended well (RFC 4862
    /// §5.4).
    pub fn is_usable(&self) -> bool {
        let flags = AddressFlags::from_bits_retain(self.flags);
        !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
    }

    /// Whether duplicate address detection has found it at another host (RFC 4862 §5.4.5).
    pub fn is_duplicate(&self) -> bool {
        AddressFlags::from_bits_retain(self.flags).contains(AddressFlags::Dadfailed)
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

    /// Puts an address where the kernel has it: secondary ones last, others behind the last that is
    /// none. `false`: it was there, just so.
    fn put(&mut self, address: &HostAddress) -> bool {
        let same = |a: &HostAddress| (a.ip, a.prefix) == (address.ip, address.prefix);
        if let Some(known) = self.addresses.iter_mut().find(|a| same(a)) {
            if known == address {
                return false;
            }
            if known.secondary == address.secondary {
                known.clone_from(address);
                return true;
            }
        }
        self.take(address);
        let at = self
            .addresses
            .iter()
            .rposition(|a| address.secondary || !a.secondary)
            .map_or(0, |last| last + 1);
        self.addresses.insert(at, address.clone());
        true
    }

    /// Takes an address off. `false`: it was not there.
    fn take(&mut self, address: &HostAddress) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|a| (a.ip, a.prefix) != (address.ip, address.prefix));
        self.addresses.len() < before
    }
}

/// All interfaces of the host's network namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By index.
    pub interfaces: BTreeMap<u32, Interface>,
}

impl Snapshot {
    /// The interface of that name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.interfaces.values().find(|i| i.name == name)
    }

    /// Takes in a change that the monitor told, so that a copy stays as the monitor's own.
    pub fn follow(&mut self, change: &Change) {
        match change {
            Change::Link(interface) => {
                self.interfaces.insert(interface.ifindex, interface.clone());
            }
            Change::Gone { ifindex, .. } => {
                self.interfaces.remove(ifindex);
            }
            Change::AddressAdded { ifindex, address, .. } => {
                if let Some(interface) = self.interfaces.get_mut(ifindex) {
                    interface.put(address);
                }
            }
            Change::AddressRemoved { ifindex, address, .. } => {
                if let Some(interface) = self.interfaces.get_mut(ifindex) {
                    interface.take(address);
                }
            }
            Change::Resync(now) => self.clone_from(now),
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
        self.interfaces.insert(now.ifindex, now);
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
        let Some((interface, address)) = self.located(message) else {
            return;
        };
        if !interface.put(&address) {
            return;
        }
        changes.push(Change::AddressAdded {
            ifindex: interface.ifindex,
            name: interface.name.clone(),
            address,
        });
    }

    fn address_gone(&mut self, message: &AddressMessage, changes: &mut Vec<Change>) {
        let Some((interface, address)) = self.located(message) else {
            return;
        };
        if !interface.take(&address) {
            return;
        }
        changes.push(Change::AddressRemoved {
            ifindex: interface.ifindex,
            name: interface.name.clone(),
            address,
        });
    }

    fn located(&mut self, message: &AddressMessage) -> Option<(&mut Interface, HostAddress)> {
        let interface = self.interfaces.get_mut(&message.header.index)?;
        Some((interface, read_address(message)?))
    }
}

fn read_link(message: &LinkMessage) -> Interface {
    let flags = message.header.flags;
    let mut interface = Interface {
        ifindex: message.header.index,
        name: String::new(),
        mac: None,
        admin_up: flags.contains(LinkFlags::Up),
        // RUNNING alone would be true of a driver that never says anything about its carrier's loss.
        carrier: flags.contains(LinkFlags::LowerUp | LinkFlags::Running),
        mtu: 0,
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            interface.name.clone_from(name);
        } else if let LinkAttribute::Address(mac) = attribute {
            interface.mac = mac.as_slice().try_into().ok();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            interface.mtu = *mtu;
        }
    }
    // Loopback's is all zero.
    interface.mac = interface.mac.filter(|mac| *mac != [0; 6]);
    interface
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
mod tests {
    use super::*;
    use rtnetlink::packet_route::address::AddressHeaderFlags;

    fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        ];
        message
    }

    fn address(index: u32, last: u8, secondary: bool) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = 24;
        if secondary {
            message.header.flags = AddressHeaderFlags::Secondary;
        }
        let ip = IpAddr::from([192, 0, 2, last]);
        message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
        message
    }

    fn up() -> LinkFlags {
        LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running
    }

    fn with(messages: impl IntoIterator<Item = RouteNetlinkMessage>) -> (Snapshot, Vec<Change>) {
        let (mut table, mut changes) = (Snapshot::default(), Vec::new());
        for message in messages {
            table.apply(message, &mut changes);
        }
        // Whoever follows the changes knows what the monitor knows.
        let mut copy = Snapshot::default();
        changes.iter().for_each(|change| copy.follow(change));
        assert_eq!(copy, table);
        (table, changes)
    }

    fn lasts(interface: &Interface) -> Vec<u8> {
        let last = |a: &HostAddress| match a.ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        interface.addresses.iter().map(last).collect()
    }

    use RouteNetlinkMessage::{DelAddress, DelLink, NewAddress, NewLink};

    #[test]
    fn what_changes_nothing_is_not_told() {
        let (_, changes) = with([
            NewLink(link(2, "eth0", up())),
            NewLink(link(2, "eth0", up())),
            NewAddress(address(2, 1, false)),
            NewAddress(address(2, 1, false)),
            DelAddress(address(2, 9, false)),
            DelLink(link(3, "eth1", up())),
        ]);
        assert_eq!(changes.len(), 2, "{changes:?}");
    }

    #[test]
    fn carrier_needs_more_than_the_wish() {
        for (flags, admin_up, carrier) in [
            (LinkFlags::empty(), false, false),
            (LinkFlags::Up, true, false),
            (LinkFlags::Up | LinkFlags::LowerUp, true, false),
            (LinkFlags::Up | LinkFlags::Running, true, false),
            (up(), true, true),
        ] {
            let (table, _) = with([NewLink(link(2, "eth0", flags))]);
            let interface = &table.interfaces[&2];
            assert_eq!((interface.admin_up, interface.carrier), (admin_up, carrier), "{flags:?}");
        }
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_still_there() {
        let mut left = link(2, "eth0", up());
        left.header.interface_family = AddressFamily::Bridge;
        let (table, changes) = with([NewLink(link(2, "eth0", up())), DelLink(left)]);
        assert!(table.by_name("eth0").is_some());
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn a_new_name_ends_the_old_one_and_keeps_the_addresses() {
        let (table, changes) = with([
            NewLink(link(2, "eth0", up())),
            NewAddress(address(2, 1, false)),
            NewLink(link(2, "lan0", up())),
        ]);
        assert_eq!(changes[2], Change::Gone { ifindex: 2, name: "eth0".to_owned() });
        let renamed = table.by_name("lan0").unwrap();
        assert_eq!(changes[3], Change::Link(renamed.clone()));
        assert_eq!(lasts(renamed), [1]);
        assert!(table.by_name("eth0").is_none());
    }

    #[test]
    fn addresses_stand_in_the_kernel_s_order() {
        let (table, _) = with([
            NewLink(link(2, "eth0", up())),
            NewAddress(address(2, 1, false)),
            NewAddress(address(2, 2, true)),
            NewAddress(address(2, 3, false)),
            NewAddress(address(2, 4, true)),
            NewAddress(address(2, 5, true)),
            DelAddress(address(2, 4, true)),
            NewAddress(address(2, 5, false)),
        ]);
        assert_eq!(lasts(&table.interfaces[&2]), [1, 3, 5, 2]);
    }

    #[test]
    fn the_source_is_no_virtual_address() {
        let (table, _) = with([
            NewLink(link(2, "eth0", up())),
            NewAddress(address(2, 250, false)),
            NewAddress(address(2, 1, true)),
            NewAddress(address(2, 2, true)),
        ]);
        let interface = &table.interfaces[&2];
        let of = |not: &[u8]| {
            let not = not.iter().map(|n| IpAddr::from([192, 0, 2, *n])).collect();
            interface.primary_v4(&not).map(|ip| ip.octets()[3])
        };
        assert_eq!(of(&[]), Some(250));
        assert_eq!(of(&[250]), Some(1));
        assert_eq!(of(&[250, 1]), Some(2));
        assert_eq!(of(&[250, 1, 2]), None);
    }

    fn v6(ip: &str, flags: AddressFlags, proto: u8) -> RouteNetlinkMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.index = 2;
        message.header.prefix_len = 64;
        message.attributes = vec![
            AddressAttribute::Address(ip.parse().unwrap()),
            AddressAttribute::Flags(flags),
            AddressAttribute::Protocol(proto.into()),
        ];
        NewAddress(message)
    }

    #[test]
    fn the_source_over_ipv6_is_a_link_local_address_in_use() {
        let (done, tentative) = (AddressFlags::Permanent, AddressFlags::Tentative);
        let duplicate = AddressFlags::Tentative | AddressFlags::Dadfailed;
        let (table, changes) = with([
            NewLink(link(2, "eth0", up())),
            v6("2001:db8::1", done, 0),
            v6("fe80::8", done, 0),
            v6("fe80::9", tentative, KERNEL_LINK_LOCAL),
            v6("fe80::2", duplicate, 0),
            v6("fe80::3", tentative, 0),
            v6("fe80::9", done, KERNEL_LINK_LOCAL),
            v6("fe80::7", done, 0),
        ]);
        assert_eq!(changes.len(), 8, "the end of detection is told: {changes:?}");
        let interface = &table.interfaces[&2];
        let of = |not: &[&str]| {
            let not = not.iter().map(|ip| ip.parse().unwrap()).collect();
            interface.primary_v6(&not).map(|ip| ip.to_string())
        };
        assert_eq!(of(&[]).as_deref(), Some("fe80::9"));
        assert_eq!(of(&["fe80::9"]).as_deref(), Some("fe80::7"));
        assert_eq!(of(&["fe80::9", "fe80::7"]).as_deref(), Some("fe80::8"));
        assert_eq!(of(&["fe80::9", "fe80::7", "fe80::8"]), None);
        let duplicates = interface.addresses.iter().filter(|a| a.is_duplicate());
        assert_eq!(duplicates.count(), 1);
    }

    #[test]
    fn a_change_of_an_address_moves_it_nowhere() {
        let (table, _) = with([
            NewLink(link(2, "eth0", up())),
            v6("fe80::1", AddressFlags::Tentative, 0),
            v6("fe80::2", AddressFlags::Permanent, 0),
            v6("fe80::1", AddressFlags::Permanent, 0),
        ]);
        let order: Vec<_> = table.interfaces[&2].addresses.iter().map(|a| a.ip).collect();
        assert_eq!(order, ["fe80::1", "fe80::2"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    }
}
