//! Routes and rules as the kernel is told of them. Pure.

mod rule;

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteRealm, RouteScope, RouteType, RouteVia,
};
use vrrp_common::Family;
use vrrp_common::wire::family_of;
use vrrp_proto::paths::{Hop, Measure, Order, Quantity, Realms, Route};

pub(super) use rule::{RULE_FLAGS, rule};

/// The interface of this name is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no interface {0}")]
pub(super) struct NoDevice(pub(super) String);

/// The metric that the kernel gives an IPv6 route which names none (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

/// The bit of a route's algorithm for congestion control among those that are locked (`RTAX_CC_ALGO`).
const CONGESTION: u32 = 16;

/// The flags of a request that puts a route on.
pub(super) const fn flags_of(order: Order) -> u16 {
    match order {
        Order::Prepend => NLM_F_CREATE,
        Order::Add => NLM_F_CREATE | NLM_F_EXCL,
        Order::Append => NLM_F_CREATE | NLM_F_APPEND,
    }
}

/// A route: as it is put on, and as it is taken off. `resolve` names an interface's index.
pub(super) fn route(
    route: &Route,
    mut resolve: impl FnMut(&str) -> Option<u32>,
) -> Result<RouteMessage, NoDevice> {
    let mut message = RouteMessage::default();
    header(route, &mut message.header);
    let family = family_of(route.destination.ip);
    let all = &mut message.attributes;
    if route.destination.length > 0 {
        all.push(RouteAttribute::Destination(route.destination.ip.into()));
    }
    if let Some(from) = route.from {
        all.push(RouteAttribute::Source(from.ip.into()));
    }
    all.push(RouteAttribute::Table(route.table));
    all.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    all.extend(metric_of(route, family).map(RouteAttribute::Priority));
    all.extend(route.realms.map(|realms| RouteAttribute::Realm(realm(realms))));
    all.extend(route.expires.map(RouteAttribute::Expires));
    all.extend(route.preference.map(|preference| RouteAttribute::Preference(preference.into())));
    let measures = measures(route);
    if !measures.is_empty() {
        all.push(RouteAttribute::Metrics(measures));
    }
    let mut index = |hop: &Hop| match &hop.device {
        Some(name) => resolve(name).map(Some).ok_or_else(|| NoDevice(name.clone())),
        None => Ok(None),
    };
    match route.hops.as_slice() {
        [] => {}
        [hop] => {
            if hop.onlink {
                message.header.flags = RouteFlags::Onlink;
            }
            all.extend(hop.gateway.map(|gateway| by(gateway, family)));
            all.extend(hop.realms.map(|realms| RouteAttribute::Realm(realm(realms))));
            all.extend(index(hop)?.map(RouteAttribute::Oif));
        }
        hops => {
            let each = hops.iter().map(|hop| Ok(next_hop(hop, index(hop)?, family)));
            all.push(RouteAttribute::MultiPath(each.collect::<Result<_, _>>()?));
        }
    }
    Ok(message)
}

/// A route for each hop, where the kernel has it so: over IPv6, where it refuses all for one that is there.
/// Else none.
pub(super) fn hops(route: &RouteMessage) -> Vec<RouteMessage> {
    for (at, one) in route.attributes.iter().enumerate() {
        if let RouteAttribute::MultiPath(hops) = one
            && route.header.address_family == AddressFamily::Inet6
        {
            let by = |hop: &RouteNextHop| {
                let mut by = route.clone();
                by.attributes[at] = RouteAttribute::MultiPath(vec![hop.clone()]);
                by
            };
            return hops.iter().map(by).collect();
        }
    }
    Vec::new()
}

fn header(route: &Route, header: &mut RouteHeader) {
    header.address_family = address_family(family_of(route.destination.ip));
    header.destination_prefix_length = route.destination.length;
    header.source_prefix_length = route.from.map_or(0, |from| from.length);
    header.tos = route.tos;
    // Of a greater number the attribute alone speaks.
    header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    header.protocol = route.protocol.into();
    // As keepalived: everywhere, also where there is no router on the way.
    header.scope = route.scope.map_or(RouteScope::Universe, RouteScope::from);
    header.kind = RouteType::from(route.kind as u8);
}

/// The metric that a route is to have. Of IPv6 always one: without it the kernel would take off whichever
/// route to the network has the smallest.
fn metric_of(route: &Route, family: Family) -> Option<u32> {
    match family {
        Family::V4 => route.metric,
        Family::V6 => Some(route.metric.filter(|metric| *metric != 0).unwrap_or(IPV6_METRIC)),
    }
}

/// The router behind which it goes on, of whichever family.
fn by(gateway: IpAddr, family: Family) -> RouteAttribute {
    match gateway {
        IpAddr::V6(ip) if family == Family::V4 => RouteAttribute::Via(RouteVia::Inet6(ip)),
        IpAddr::V4(_) | IpAddr::V6(_) => RouteAttribute::Gateway(RouteAddress::from(gateway)),
    }
}

fn next_hop(hop: &Hop, index: Option<u32>, family: Family) -> RouteNextHop {
    let mut next = RouteNextHop::default();
    // The kernel counts from 0.
    next.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    next.interface_index = index.unwrap_or(0);
    if hop.onlink {
        next.flags = RouteNextHopFlags::Onlink;
    }
    next.attributes.extend(hop.gateway.map(|gateway| by(gateway, family)));
    next.attributes.extend(hop.realms.map(|realms| RouteAttribute::Realm(realm(realms))));
    next
}

fn measures(route: &Route) -> Vec<RouteMetric> {
    let mut all: Vec<RouteMetric> = route.measures.iter().map(metric).collect();
    let mut locked = route
        .measures
        .iter()
        .filter(|measure| measure.locked)
        .fold(0, |bits, measure| bits | 1 << measure.quantity as u32);
    if let Some((algorithm, is_locked)) = &route.congestion {
        all.push(RouteMetric::CcAlgo(algorithm.clone()));
        locked |= u32::from(*is_locked) << CONGESTION;
    }
    if locked != 0 {
        all.push(RouteMetric::Lock(locked));
    }
    all
}

fn metric(measure: &Measure) -> RouteMetric {
    let value = measure.value;
    match measure.quantity {
        Quantity::Mtu => RouteMetric::Mtu(value),
        Quantity::Window => RouteMetric::Window(value),
        Quantity::Rtt => RouteMetric::Rtt(value),
        Quantity::RttVar => RouteMetric::RttVar(value),
        Quantity::SsThresh => RouteMetric::SsThresh(value),
        Quantity::Cwnd => RouteMetric::Cwnd(value),
        Quantity::AdvMss => RouteMetric::Advmss(value),
        Quantity::Reordering => RouteMetric::Reordering(value),
        Quantity::HopLimit => RouteMetric::Hoplimit(value),
        Quantity::InitCwnd => RouteMetric::InitCwnd(value),
        Quantity::Features => RouteMetric::Features(value),
        Quantity::RtoMin => RouteMetric::RtoMin(value),
        Quantity::InitRwnd => RouteMetric::InitRwnd(value),
        Quantity::QuickAck => RouteMetric::QuickAck(value),
        Quantity::FastOpenNoCookie => RouteMetric::FastopenNoCookie(value),
    }
}

const fn realm(realms: Realms) -> RouteRealm {
    RouteRealm { source: realms.from, destination: realms.to }
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::route::{RoutePreference, RouteProtocol};
    use vrrp_proto::paths::{Network, RouteKind};

    fn network(ip: &str, length: u8) -> Network {
        Network { ip: ip.parse().unwrap(), length }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn hop(gateway: &str, device: &str) -> Hop {
        let device = Some(device.to_owned()).filter(|device| !device.is_empty());
        Hop { gateway: Some(ip(gateway)), device, weight: 1, ..Hop::default() }
    }

    fn index(name: &str) -> Option<u32> {
        ["lo", "eth0", "eth1"].iter().position(|known| *known == name).map(|at| at as u32 + 1)
    }

    #[test]
    fn a_default_route_in_another_table() {
        let written = Route {
            hops: vec![hop("192.0.2.1", "eth0")],
            table: 100,
            ..Route::to(Network::all(Family::V4))
        };
        let message = route(&written, index).unwrap();
        let header = RouteHeader {
            address_family: AddressFamily::Inet,
            table: 100,
            protocol: RouteProtocol::KeepAlived,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        assert_eq!(message.header, header);
        let gateway = RouteAttribute::Gateway(ip("192.0.2.1").into());
        assert_eq!(
            message.attributes,
            [RouteAttribute::Table(100), gateway, RouteAttribute::Oif(2)]
        );
    }

    #[test]
    fn everything_that_can_be_said_of_a_route() {
        let measure = |quantity, value, locked| Measure { quantity, value, locked };
        let written = Route {
            kind: RouteKind::Unicast,
            from: Some(network("2001:db8:2::", 48)),
            source: Some(ip("2001:db8::250")),
            hops: vec![Hop { onlink: true, ..hop("fe80::1", "eth1") }],
            table: 6909,
            scope: None,
            metric: Some(12),
            protocol: 12,
            measures: vec![measure(Quantity::Mtu, 1400, true), measure(Quantity::Rtt, 816, false)],
            congestion: Some(("cubic".to_owned(), true)),
            expires: Some(60),
            preference: Some(1),
            ..Route::to(network("2001:db8:1::", 64))
        };
        let message = route(&written, index).unwrap();
        assert_eq!(message.header.address_family, AddressFamily::Inet6);
        assert_eq!(message.header.destination_prefix_length, 64);
        assert_eq!(message.header.source_prefix_length, 48);
        assert_eq!((message.header.table, message.header.protocol), (0, RouteProtocol::Bird));
        assert_eq!(message.header.flags, RouteFlags::Onlink);
        let metrics = vec![
            RouteMetric::Mtu(1400),
            RouteMetric::Rtt(816),
            RouteMetric::CcAlgo("cubic".to_owned()),
            RouteMetric::Lock(1 << 2 | 1 << 16),
        ];
        let right = [
            RouteAttribute::Destination(ip("2001:db8:1::").into()),
            RouteAttribute::Source(ip("2001:db8:2::").into()),
            RouteAttribute::Table(6909),
            RouteAttribute::PrefSource(ip("2001:db8::250").into()),
            RouteAttribute::Priority(12),
            RouteAttribute::Expires(60),
            RouteAttribute::Preference(RoutePreference::High),
            RouteAttribute::Metrics(metrics),
            RouteAttribute::Gateway(ip("fe80::1").into()),
            RouteAttribute::Oif(3),
        ];
        assert_eq!(message.attributes, right);
    }

    #[test]
    fn over_ipv6_each_hop_is_a_route() {
        let far = Hop { weight: 7, ..hop("fe80::2", "eth1") };
        let several = |prefix: &str, hops: &[Hop]| {
            let written = Route { hops: hops.to_vec(), ..Route::to(network(prefix, 24)) };
            route(&written, index).unwrap()
        };
        let both = [hop("fe80::1", "eth1"), far];
        let each = hops(&several("2001:db8::", &both));
        let share = |one: &RouteMessage| {
            let RouteAttribute::MultiPath(hops) = &one.attributes[3] else { return Vec::new() };
            hops.iter().map(|hop| hop.hops).collect()
        };
        let shares: Vec<Vec<u8>> = each.iter().map(share).collect();
        assert_eq!(shares, [vec![0], vec![6]]);
        let first = RouteAttribute::Destination(ip("2001:db8::").into());
        assert!(each.iter().all(|one| one.attributes[0] == first && one.attributes.len() == 4));
        assert_eq!(hops(&several("2001:db8::", &both[..1])), []);
        assert_eq!(hops(&several("198.51.100.0", &both)), []);
    }

    /// The removal of one that names none would be that of another one.
    #[test]
    fn over_ipv6_each_has_a_metric() {
        let of = |prefix: &str, metric| {
            let message = route(&Route { metric, ..Route::to(network(prefix, 24)) }, index);
            let all = message.unwrap().attributes.into_iter();
            let metrics = all.filter_map(|attribute| {
                let RouteAttribute::Priority(metric) = attribute else { return None };
                Some(metric)
            });
            metrics.collect::<Vec<_>>()
        };
        assert_eq!(
            [None, Some(0), Some(7)].map(|metric| of("2001:db8::", metric)),
            [[1024], [1024], [7]]
        );
        assert_eq!((of("198.51.100.0", None), of("198.51.100.0", Some(7))), (vec![], vec![7]));
    }

    #[test]
    fn several_hops_with_their_shares() {
        let far = Hop { weight: 256, onlink: true, ..hop("fe80::1", "eth1") };
        let realms = Realms { from: 3, to: 4 };
        let written = Route {
            hops: vec![hop("192.0.2.1", ""), far],
            realms: Some(realms),
            scope: Some(253),
            tos: 4,
            ..Route::to(network("198.51.100.0", 24))
        };
        let message = route(&written, index).unwrap();
        assert_eq!((message.header.scope, message.header.tos), (RouteScope::Link, 4));
        let mut first = RouteNextHop::default();
        first.attributes = vec![RouteAttribute::Gateway(ip("192.0.2.1").into())];
        let mut second = RouteNextHop::default();
        second.hops = 255;
        second.interface_index = 3;
        second.flags = RouteNextHopFlags::Onlink;
        second.attributes = vec![RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()))];
        let realm = RouteAttribute::Realm(RouteRealm { source: 3, destination: 4 });
        assert_eq!(message.attributes[2], realm);
        assert_eq!(message.attributes[3], RouteAttribute::MultiPath(vec![first, second]));
    }

    #[test]
    fn a_route_that_ends_has_no_hop() {
        let written =
            Route { kind: RouteKind::Blackhole, ..Route::to(network("203.0.113.128", 25)) };
        let message = route(&written, |_| None).unwrap();
        assert_eq!(message.header.kind, RouteType::BlackHole);
        let destination = RouteAttribute::Destination(ip("203.0.113.128").into());
        assert_eq!(message.attributes, [destination, RouteAttribute::Table(254)]);
        for kind in RouteKind::ALL {
            let message = route(&Route { kind, ..written.clone() }, index).unwrap();
            assert_eq!(u8::from(message.header.kind), kind as u8);
        }
    }

    #[test]
    fn an_interface_that_is_missing_is_named() {
        let by = |hops| Route { hops, ..Route::to(network("203.0.113.0", 24)) };
        let missing = Err(NoDevice("eth7".to_owned()));
        assert_eq!(route(&by(vec![hop("192.0.2.1", "eth7")]), index), missing);
        let two = vec![hop("192.0.2.1", "eth0"), hop("192.0.2.2", "eth7")];
        assert_eq!(route(&by(two), index), missing);
        assert_eq!(NoDevice("eth7".to_owned()).to_string(), "no interface eth7");
    }

    #[test]
    fn quantities_by_the_kernels_numbers() {
        use rtnetlink::packet_core::Nla;
        for quantity in Quantity::ALL {
            let told = metric(&Measure { quantity, value: 7, locked: false });
            assert_eq!(told.kind(), quantity as u16, "{quantity:?}");
        }
        assert_eq!(u32::from(RouteMetric::CcAlgo(String::new()).kind()), CONGESTION);
    }

    #[test]
    fn places_among_routes_that_are_alike() {
        assert_eq!(flags_of(Order::Prepend), NLM_F_CREATE);
        assert_eq!(flags_of(Order::Add), NLM_F_CREATE | NLM_F_EXCL);
        assert_eq!(flags_of(Order::Append), NLM_F_CREATE | NLM_F_APPEND);
    }
}
