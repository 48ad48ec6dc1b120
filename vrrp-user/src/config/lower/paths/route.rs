//! A line of `virtual_routes`.

use std::net::IpAddr;

use vrrp_common::Family;
use vrrp_common::wire::family_of;
use vrrp_proto::paths::{Hop, Network, Order, Quantity, Realms, Route, RouteKind};

use super::super::super::ast::Word;
use super::super::super::diag::{Code, Diag};
use super::super::super::suggest::shown;
use super::Device;
use super::line::{Line, Read, not_served, number, unknown, wrong};
use super::measure::Measures;
use super::names::Names;

/// The words that stand in a route, beside its kind and what is in [`Quantity`].
const WORDS: [&str; 34] = [
    "to",
    "via",
    "gw",
    "or",
    "nexthop",
    "dev",
    "oif",
    "onlink",
    "src",
    "from",
    "table",
    "tos",
    "dsfield",
    "protocol",
    "scope",
    "metric",
    "priority",
    "preference",
    "realms",
    "expires",
    "pref",
    "congctl",
    "add",
    "append",
    "prepend",
    "no_track",
    "inet",
    "inet6",
    "default",
    "encap",
    "as",
    "vrf",
    "ttl-propagate",
    "track_group",
];
/// The greatest share of a hop.
const MOST_WEIGHT: u32 = 256;
/// RFC 4191 §2.1, as the kernel has it.
const PREFERENCES: [(&str, u8); 3] = [("medium", 0), ("high", 1), ("low", 3)];

/// Reads a line: the route, and the interfaces that it names.
pub(super) fn read(line: &mut Line<'_>) -> Read<(Route, Vec<Device>)> {
    let mut draft = Draft::default();
    while let Some(word) = line.next() {
        let taken = draft.family(line, word)?
            || draft.way(line, word)?
            || draft.identity(line, word)?
            || draft.rank(line, word)?
            || draft.measures.take(line, word)?;
        if !taken {
            draft.destination(line, word)?;
        }
    }
    draft.finish(line)
}

/// What a line says so far.
#[derive(Default)]
struct Draft<'w> {
    kind: Option<(RouteKind, &'w Word)>,
    /// `Some(None)`: all addresses.
    destination: Option<Option<Network>>,
    from: Option<Network>,
    source: Option<IpAddr>,
    gateway: Option<(IpAddr, &'w Word)>,
    /// `or`: another one beside it.
    other: Option<IpAddr>,
    device: Option<&'w Word>,
    onlink: bool,
    /// `nexthop`.
    hops: Vec<Hop>,
    /// All interfaces.
    devices: Vec<&'w Word>,
    tos: Option<(u32, &'w Word)>,
    table: Option<u32>,
    scope: Option<(u32, &'w Word)>,
    metric: Option<u32>,
    protocol: Option<(u32, &'w Word)>,
    realms: Option<Realms>,
    measures: Measures,
    expires: Option<u32>,
    preference: Option<u8>,
    order: Option<Order>,
    no_track: bool,
}

impl<'w> Draft<'w> {
    fn family(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "inet" => line.be(Family::V4, word)?,
            "inet6" => line.be(Family::V6, word)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Where packets are sent next.
    fn way(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "via" | "gw" => {
                let gateway = gateway(line, word)?;
                line.once(&mut self.gateway, gateway, word)?;
                if word.text == "gw" {
                    let message = "`gw` is the old word for `via`";
                    let diag = Diag::notice(Code::Changed, word.span.clone(), message);
                    line.said.push(diag.now("it is read as `via`").hint("write `via`"));
                }
            }
            "or" => {
                let (ip, at) = gateway(line, word)?;
                if self.gateway.is_none() {
                    let message = "`or` without a `via` in front of it";
                    return Err(Diag::error(Code::Missing, at.span.clone(), message).into());
                }
                line.once(&mut self.other, ip, word)?;
            }
            "dev" | "oif" => {
                let device = line.device(word)?;
                line.once(&mut self.device, device, word)?;
                self.devices.push(device);
            }
            "onlink" => self.onlink = true,
            "nexthop" => self.nexthops(line, word)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The hops, which stand at the end of the line: each behind a `nexthop`.
    fn nexthops(&mut self, line: &mut Line<'w>, first: &'w Word) -> Read<()> {
        if self.gateway.is_some() || self.device.is_some() || self.onlink {
            let message = "`nexthop` beside `via`, `dev` or `onlink` of the route itself";
            let diag = Diag::error(Code::Conflict, first.span.clone(), message);
            return Err(diag
                .hint("write all of them as `nexthop via ADDRESS dev INTERFACE`")
                .into());
        }
        let mut hop = Hop { weight: 1, ..Hop::default() };
        while let Some(word) = line.next() {
            match word.text.as_str() {
                "nexthop" => {
                    let done = std::mem::replace(&mut hop, Hop { weight: 1, ..Hop::default() });
                    self.hops.push(whole(done, word)?);
                }
                "via" => hop.gateway = Some(gateway(line, word)?.0),
                "dev" => {
                    let device = line.device(word)?;
                    self.devices.push(device);
                    hop.device = Some(device.text.clone());
                }
                "weight" => match line.number(word, MOST_WEIGHT)? {
                    0 => {
                        let message = "`weight`: 0 is no share";
                        let diag = Diag::error(Code::BadValue, word.span.clone(), message);
                        return Err(diag
                            .hint(format!("write a number from 1 to {MOST_WEIGHT}"))
                            .into());
                    }
                    weight => hop.weight = u16::try_from(weight).unwrap_or(1),
                },
                "onlink" => hop.onlink = true,
                "realms" => hop.realms = Some(line.realms(word)?),
                "encap" | "as" => return Err(not_served(word, "leave it out").into()),
                _ => {
                    let words = ["nexthop", "via", "dev", "weight", "onlink", "realms"];
                    return Err((unknown(word, "`nexthop`", words.into_iter())
                        .hint("what is about the whole route stands in front of `nexthop`"))
                    .into());
                }
            }
        }
        self.hops.push(whole(hop, first)?);
        Ok(())
    }

    /// What tells it from others.
    fn identity(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "src" => {
                let (ip, at) = line.host(word)?;
                line.be(family_of(ip), at)?;
                line.once(&mut self.source, ip, word)?;
            }
            "from" => {
                line.be(Family::V6, word)?;
                let value = line.value(word)?;
                let network = line.network(value)?.unwrap_or(Network::all(Family::V6));
                line.once(&mut self.from, network.masked(), word)?;
            }
            "table" => {
                let table = line.name(word, Names::Tables)?;
                line.once(&mut self.table, table, word)?;
            }
            "tos" | "dsfield" => {
                let tos = line.name(word, Names::Fields)?;
                line.once(&mut self.tos, (tos, word), word)?;
            }
            "protocol" => {
                let value = line.name(word, Names::Protocols)?;
                line.once(&mut self.protocol, (value, word), word)?;
            }
            "scope" => {
                let scope = line.name(word, Names::Scopes)?;
                line.once(&mut self.scope, (scope, word), word)?;
            }
            "realms" => {
                let realms = line.realms(word)?;
                line.once(&mut self.realms, realms, word)?;
            }
            "encap" | "as" | "ttl-propagate" => return Err(not_served(word, "leave it out").into()),
            "vrf" => {
                return Err(
                    not_served(word, "write `table` and the number of the VRF's table").into()
                );
            }
            "track_group" => {
                let hint = "it is for `static_routes`: leave it out";
                let message = "`track_group` behind a route that moves";
                return Err(Diag::error(Code::WrongPlace, word.span.clone(), message)
                    .hint(hint)
                    .into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Its place among others, and how long it stays.
    fn rank(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "metric" | "priority" | "preference" => {
                let metric = line.number(word, u32::MAX)?;
                line.once(&mut self.metric, metric, word)?;
            }
            "add" => line.once(&mut self.order, Order::Add, word)?,
            "append" => line.once(&mut self.order, Order::Append, word)?,
            "prepend" => line.once(&mut self.order, Order::Prepend, word)?,
            "no_track" => self.no_track = true,
            "expires" => {
                line.be(Family::V6, word)?;
                let seconds = line.number(word, u32::MAX)?;
                line.once(&mut self.expires, seconds, word)?;
            }
            "pref" => {
                line.be(Family::V6, word)?;
                let value = line.value(word)?;
                let named = PREFERENCES.iter().find(|(name, _)| *name == value.text);
                let numbered = || {
                    let number = u8::try_from(number(&value.text)?).ok()?;
                    PREFERENCES.iter().find(|(_, known)| *known == number)
                };
                let Some((_, preference)) = named.or_else(numbered) else {
                    return Err(
                        wrong(word, value, "write `low`, `medium` or `high`".to_owned()).into()
                    );
                };
                line.once(&mut self.preference, *preference, word)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What no other word is: the destination, perhaps behind a kind.
    fn destination(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<()> {
        let behind_to = word.text == "to";
        let word = if behind_to { line.value(word)? } else { word };
        if let Some(kind) = RouteKind::ALL.into_iter().find(|kind| kind.word() == word.text) {
            line.once(&mut self.kind, (kind, word), word)?;
            return if behind_to {
                let word = line.value(word)?;
                self.network(line, word)
            } else {
                Ok(())
            };
        }
        let is_network = |text: &str| text.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
        let digits = word.text.contains(['.', ':', '/']) && is_network(&word.text);
        let all = matches!(word.text.as_str(), "default" | "any" | "all");
        if behind_to || digits || all {
            return self.network(line, word);
        }
        let quantities = Quantity::ALL.iter().map(|one| one.word());
        let kinds = RouteKind::ALL.iter().map(|one| one.word());
        Err(unknown(word, "route", WORDS.into_iter().chain(quantities).chain(kinds)).into())
    }

    fn network(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<()> {
        let network = line.network(word)?;
        if self.destination.is_some() {
            let message = format!("a second destination: `{}`", shown(&word.text));
            let diag = Diag::error(Code::Twice, word.span.clone(), message);
            return Err(diag.hint("write each route on a line of its own").into());
        }
        if let Some(network) = network.filter(|network| network.masked() != *network) {
            let message = format!("{} is a host in {}", network.ip, network.masked());
            let diag = Diag::warning(Code::Address, word.span.clone(), message);
            let now = format!(
                "the route leads to {}; over IPv4 keepalived's is refused",
                network.masked()
            );
            let hint = format!("write `{}`", network.masked());
            line.said.push(diag.now(now).hint(hint));
        }
        self.destination = Some(network.map(Network::masked));
        Ok(())
    }

    fn finish(mut self, line: &mut Line<'w>) -> Read<(Route, Vec<Device>)> {
        let Some(destination) = self.destination else {
            let fault = line.fault(Code::Missing, "a route without a destination");
            return Err(fault.hint("write `default`, or a network like 198.51.100.0/24").into());
        };
        let family = line.family();
        let kind = self.kind.map_or(RouteKind::Unicast, |(kind, _)| kind);
        let hops = self.hops(line, family, kind)?;
        let tos = self.for_ipv4(line, family, self.tos).unwrap_or(0);
        let scope = self.for_ipv4(line, family, self.scope);
        // What ends by itself is not put back.
        let tracked = !self.no_track && self.expires.is_none();
        let devices = self.devices.iter().map(|word| Device::new(word, tracked)).collect();
        let route = Route {
            kind,
            from: self.from,
            source: self.source,
            hops,
            tos,
            table: self.table.unwrap_or(vrrp_proto::paths::MAIN),
            scope,
            metric: self.metric,
            protocol: line.protocol(self.protocol, tracked),
            realms: self.realms,
            measures: self.measures.all,
            congestion: self.measures.congestion,
            expires: self.expires,
            preference: self.preference,
            order: self.order.unwrap_or_default(),
            tracked,
            ..Route::to(destination.unwrap_or(Network::all(family)))
        };
        Ok((route, devices))
    }

    /// The hops of all kinds of writing.
    fn hops(&mut self, line: &Line<'w>, family: Family, kind: RouteKind) -> Read<Vec<Hop>> {
        let mut hops = std::mem::take(&mut self.hops);
        let device = self.device.map(|word| word.text.clone());
        let one = |gateway| Hop {
            gateway,
            device: device.clone(),
            onlink: self.onlink,
            weight: 1,
            realms: None,
        };
        let gateways = self.gateway.iter().map(|(ip, _)| *ip).chain(self.other);
        hops.extend(gateways.map(|gateway| one(Some(gateway))));
        if hops.is_empty() && (device.is_some() || self.onlink) {
            hops.push(one(None));
        }
        let v6_by_v4 = |hop: &Hop| matches!(hop.gateway, Some(IpAddr::V4(_)));
        if family == Family::V6 && hops.iter().any(v6_by_v4) {
            return Err(line
                .fault(Code::Conflict, "an IPv6 route by a router with an IPv4 address")
                .into());
        }
        if kind.ends() && hops.iter().any(|hop| hop.gateway.is_some() || family == Family::V4) {
            let message = format!("packets of a {} route go nowhere", kind.word());
            return Err(line
                .fault(Code::Conflict, message)
                .hint("leave `via` and `dev` out")
                .into());
        }
        if !kind.ends() && hops.is_empty() {
            let fault = line.fault(Code::Missing, "a route that leads nowhere");
            return Err(fault.hint("write `via ADDRESS` or `dev INTERFACE`").into());
        }
        Ok(hops)
    }

    /// A value that the kernel has for IPv4 alone.
    fn for_ipv4(
        &self,
        line: &mut Line<'w>,
        family: Family,
        written: Option<(u32, &'w Word)>,
    ) -> Option<u8> {
        let (value, word) = written?;
        if family == Family::V6 {
            let message = format!("`{}` is for IPv4 only", shown(&word.text));
            let diag = Diag::warning(Code::Conflict, word.span.clone(), message);
            line.said.push(diag.now("the route is set without it").hint("leave it out"));
            return None;
        }
        u8::try_from(value).ok()
    }
}

/// The router behind `via`. Over IPv4 its address may be of IPv6, where that is said.
fn gateway<'w>(line: &mut Line<'w>, word: &'w Word) -> Read<(IpAddr, &'w Word)> {
    let said = if line.takes("inet6") {
        Some(Family::V6)
    } else {
        line.takes("inet").then_some(Family::V4)
    };
    let (ip, at) = line.host(word)?;
    match said {
        None => line.be(family_of(ip), at)?,
        Some(family) if family == family_of(ip) => {}
        Some(_) => {
            let message = format!("{ip} is not of the family that is said");
            return Err(Diag::error(Code::Conflict, at.span.clone(), message).into());
        }
    }
    Ok((ip, at))
}

/// A hop that leads somewhere.
fn whole(hop: Hop, word: &Word) -> Read<Hop> {
    if hop.gateway.is_none() && hop.device.is_none() {
        let message = "a `nexthop` that leads nowhere";
        let diag = Diag::error(Code::Missing, word.span.clone(), message);
        return Err(diag.hint("write `via ADDRESS` or `dev INTERFACE` behind it").into());
    }
    Ok(hop)
}
