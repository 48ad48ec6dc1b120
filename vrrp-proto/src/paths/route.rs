//! A route.

use std::fmt;
use std::net::IpAddr;

use super::{MAIN, Network, PROTOCOL, Realms};

/// A route that follows the Active router.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// What becomes of the packets.
    pub kind: RouteKind,
    /// Where they go.
    pub destination: Network,
    /// Where they come from (IPv6).
    pub from: Option<Network>,
    /// The address that the host's own packets get.
    pub source: Option<IpAddr>,
    /// Where they are sent next: nowhere, to one, or to one of several.
    pub hops: Vec<Hop>,
    /// The type of service that packets must have; 0: any.
    pub tos: u8,
    /// The table, by its number.
    pub table: u32,
    /// The scope (IPv4), as a number of `rt_scopes`; `None`: as the kind and the hops have it.
    pub scope: Option<u8>,
    /// Of routes to one network the one with the least counts; `None`: 0, over IPv6 1024.
    pub metric: Option<u32>,
    /// Who has set it, as a number of `rt_protos`: [`PROTOCOL`], unless nobody puts it back.
    pub protocol: u8,
    /// Numbers for accounting (IPv4).
    pub realms: Option<Realms>,
    /// What TCP and others are told of the way, each quantity once.
    pub measures: Vec<Measure>,
    /// The algorithm for TCP's congestion control, and whether programs can't choose another.
    pub congestion: Option<(String, bool)>,
    /// After how many seconds the kernel takes it off (IPv6).
    pub expires: Option<u32>,
    /// The preference of a router (IPv6, RFC 4191): 0 medium, 1 high, 3 low.
    pub preference: Option<u8>,
    /// Its place among those that are alike.
    pub order: Order,
    /// Put back when it is gone; unset by `no_track`.
    pub tracked: bool,
}

impl Route {
    /// A route about which nothing else was written.
    pub const fn to(destination: Network) -> Self {
        Self {
            kind: RouteKind::Unicast,
            destination,
            from: None,
            source: None,
            hops: Vec::new(),
            tos: 0,
            table: MAIN,
            scope: None,
            metric: None,
            protocol: PROTOCOL,
            realms: None,
            measures: Vec::new(),
            congestion: None,
            expires: None,
            preference: None,
            order: Order::Prepend,
            tracked: true,
        }
    }

    /// The interfaces that it names.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.hops.iter().filter_map(|hop| hop.device.as_deref())
    }
}

/// What becomes of packets (`RTN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RouteKind {
    /// They are sent on.
    #[default]
    Unicast = 1,
    /// They are the host's own.
    Local = 2,
    /// They are the host's own, and sent as broadcasts.
    Broadcast = 3,
    /// They are the host's own, and sent to one.
    Anycast = 4,
    /// They go to a group.
    Multicast = 5,
    /// They are dropped in silence.
    Blackhole = 6,
    /// They are dropped, and the sender is told that there is no way.
    Unreachable = 7,
    /// They are dropped, and the sender is told that it is forbidden.
    Prohibit = 8,
    /// The next rule decides.
    Throw = 9,
}

impl RouteKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unicast,
        Self::Local,
        Self::Broadcast,
        Self::Anycast,
        Self::Multicast,
        Self::Blackhole,
        Self::Unreachable,
        Self::Prohibit,
        Self::Throw,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        }
    }

    /// Says whether packets go nowhere from here, so that there is no next hop.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit | Self::Throw)
    }
}

/// Where packets are sent next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// The router there; `None`: the destination itself.
    pub gateway: Option<IpAddr>,
    /// The interface; `None`: the one that the gateway is behind.
    pub device: Option<String>,
    /// The gateway is on the interface's link, whatever the interface's networks are.
    pub onlink: bool,
    /// Its share among several, 1 to 256.
    pub weight: u16,
    /// Numbers for accounting (IPv4), of several.
    pub realms: Option<Realms>,
}

/// A route's place among those to the same network with the same metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// In front of them.
    #[default]
    Prepend,
    /// Alone: not put on where there is one.
    Add,
    /// Behind them.
    Append,
}

/// What TCP and others are told of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Measure {
    /// Of what.
    pub quantity: Quantity,
    /// How much, in the kernel's units.
    pub value: u32,
    /// The kernel does not change it by what it learns.
    pub locked: bool,
}

/// What can be told of a way, by the kernel's numbers (`RTAX_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Quantity {
    /// Bytes of a packet.
    Mtu = 2,
    /// Bytes of the greatest window.
    Window = 3,
    /// Eighths of a millisecond there and back.
    Rtt = 4,
    /// Quarters of a millisecond that it varies by.
    RttVar = 5,
    /// Segments after which the window grows slowly.
    SsThresh = 6,
    /// Segments of the greatest congestion window.
    Cwnd = 7,
    /// Bytes of a segment that is announced.
    AdvMss = 8,
    /// Segments by which packets overtake each other.
    Reordering = 9,
    /// Hop limit of packets.
    HopLimit = 10,
    /// Segments of the first congestion window.
    InitCwnd = 11,
    /// Bits: 1 for ECN.
    Features = 12,
    /// Milliseconds until the first repetition at least.
    RtoMin = 13,
    /// Segments of the first receive window.
    InitRwnd = 14,
    /// Whether everything is acknowledged at once.
    QuickAck = 15,
    /// Whether TCP Fast Open goes without a cookie.
    FastOpenNoCookie = 17,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Mtu,
        Self::Window,
        Self::Rtt,
        Self::RttVar,
        Self::SsThresh,
        Self::Cwnd,
        Self::AdvMss,
        Self::Reordering,
        Self::HopLimit,
        Self::InitCwnd,
        Self::Features,
        Self::RtoMin,
        Self::InitRwnd,
        Self::QuickAck,
        Self::FastOpenNoCookie,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mtu => "mtu",
            Self::Window => "window",
            Self::Rtt => "rtt",
            Self::RttVar => "rttvar",
            Self::SsThresh => "ssthresh",
            Self::Cwnd => "cwnd",
            Self::AdvMss => "advmss",
            Self::Reordering => "reordering",
            Self::HopLimit => "hoplimit",
            Self::InitCwnd => "initcwnd",
            Self::Features => "features",
            Self::RtoMin => "rto_min",
            Self::InitRwnd => "initrwnd",
            Self::QuickAck => "quickack",
            Self::FastOpenNoCookie => "fastopen_no_cookie",
        }
    }

    /// How many of the kernel's units are a millisecond, where it is a time.
    pub const fn units(self) -> u32 {
        if matches!(self, Self::Rtt) {
            8
        } else if matches!(self, Self::RttVar) {
            4
        } else {
            1
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        if self.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quantity, value, locked } = self;
        let lock = if *locked { "lock " } else { "" };
        if *quantity == Quantity::Features {
            f.write_str("features ecn")
        } else {
            write!(f, "{} {lock}{value}", quantity.word())
        }
    }
}

impl fmt::Display for Route {
    /// What tells it from others, and where it leads; not what TCP is told of the way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            write!(f, "{} ", self.kind.word())?;
        }
        write!(f, "{}", self.destination)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#04x}", self.tos)?;
        }
        if let [one] = &self.hops[..] {
            write!(f, "{one}")?;
        }
        if self.table != MAIN {
            write!(f, " table {}", self.table)?;
        }
        if self.protocol != PROTOCOL {
            write!(f, " proto {}", self.protocol)?;
        }
        if let Some(scope) = self.scope {
            write!(f, " scope {scope}")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if let Some(realms) = self.realms {
            write!(f, " {realms}")?;
        }
        if let [_, _, ..] = &self.hops[..] {
            for hop in &self.hops {
                write!(f, " nexthop{hop} weight {}", hop.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ip: &str, length: u8) -> Network {
        Network { ip: ip.parse().unwrap(), length }
    }

    fn hop(gateway: &str, device: &str) -> Hop {
        let gateway = Some(gateway.parse().unwrap());
        Hop { gateway, device: Some(device.to_owned()), weight: 1, ..Hop::default() }
    }

    #[test]
    fn routes_in_the_words_of_ip() {
        let plain = Route {
            hops: vec![hop("192.0.2.1", "eth0")],
            table: 100,
            metric: Some(10),
            source: Some("192.0.2.250".parse().unwrap()),
            ..Route::to(network("0.0.0.0", 0))
        };
        assert_eq!(
            plain.to_string(),
            "default via 192.0.2.1 dev eth0 table 100 src 192.0.2.250 metric 10"
        );
        let hole = Route { kind: RouteKind::Blackhole, ..Route::to(network("203.0.113.128", 25)) };
        assert_eq!(hole.to_string(), "blackhole 203.0.113.128/25");
        let far = Hop { onlink: true, weight: 7, ..hop("192.0.2.2", "eth1") };
        let several = Route {
            tos: 4,
            scope: Some(253),
            protocol: 12,
            realms: Some(Realms { from: 3, to: 4 }),
            hops: vec![hop("192.0.2.1", "eth0"), far],
            ..Route::to(network("198.51.100.7", 32))
        };
        assert_eq!(
            several.to_string(),
            "198.51.100.7 tos 0x04 proto 12 scope 253 realms 3/4 nexthop via 192.0.2.1 dev eth0 \
             weight 1 nexthop via 192.0.2.2 dev eth1 onlink weight 7"
        );
        assert_eq!(several.devices().collect::<Vec<_>>(), ["eth0", "eth1"]);
        let from = Route { from: Some(network("2001:db8:2::", 48)), ..Route::to(network("::", 0)) };
        assert_eq!(from.to_string(), "::/0 from 2001:db8:2::/48");
    }

    #[test]
    fn measures_in_the_kernels_units() {
        let of = |quantity, value, locked| Measure { quantity, value, locked }.to_string();
        assert_eq!(of(Quantity::Rtt, 816, false), "rtt 816");
        assert_eq!(of(Quantity::RttVar, 412, false), "rttvar 412");
        assert_eq!(of(Quantity::Mtu, 1400, true), "mtu lock 1400");
        assert_eq!(of(Quantity::Features, 1, false), "features ecn");
    }

    #[test]
    fn kinds_by_the_kernels_numbers() {
        let numbers = RouteKind::ALL.map(|kind| kind as u8);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let ends: Vec<&str> =
            RouteKind::ALL.into_iter().filter(|kind| kind.ends()).map(RouteKind::word).collect();
        assert_eq!(ends, ["blackhole", "unreachable", "prohibit", "throw"]);
    }
}
