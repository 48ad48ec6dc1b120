//! What no block shows alone: two of a kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrrp_common::wire::family_of;
use vrrp_common::{Family, Vrid, abi};

use super::super::diag::{Code, Diag};
use super::super::model::{AddressLink, Destination, Instance, OwnLinkKind, Sharing, Span};
use super::super::suggest::shown;
use super::Ctx;
use super::address::Written;
use super::instance::Lowered;

/// The longest name of an interface, in bytes.
const INTERFACE_NAME: usize = 15;

/// What the names of interfaces begin with where none is written.
#[derive(Clone, Copy)]
pub(super) struct Prefixes<'a> {
    /// `vmac_prefix`.
    pub(super) own: &'a str,
    /// `vmac_addr_prefix`.
    pub(super) others: &'a str,
}

/// Compares the instances with each other. Of two that can't both be, the second is not run.
pub(super) fn check(ctx: &mut Ctx, lowered: &mut [Lowered], prefixes: Prefixes<'_>) {
    name_own_links(lowered, prefixes);
    let mut seen = Seen::default();
    for one in lowered {
        let lost = format!("the second {} is not run", shown(&one.name));
        let mut faults: Vec<Diag> = Vec::new();
        faults.extend(seen.name(one).map(|diag| diag.now(lost)));
        let lost = format!("{} is not run", shown(&one.name));
        faults.extend(seen.router(one).map(|diag| diag.now(&*lost)));
        faults.extend(seen.addresses(one).into_iter().map(|diag| diag.now(&*lost)));
        faults.extend(seen.own_link(one).map(|diag| diag.now(&*lost)));
        let refusals = faults.into_iter().map(|diag| ctx.lose(diag));
        one.refusals.extend(refusals);
    }
}

/// Notes which of those that are run have one VRID on one link.
pub(super) fn share(lowered: &mut [Lowered]) {
    let mut seen: BTreeMap<(String, u8, u8), usize> = BTreeMap::new();
    for at in 0..lowered.len() {
        let run = Some(&lowered[at]).filter(|one| one.refusals.is_empty());
        let Some(instance) = run.and_then(|one| one.instance.as_ref()) else { continue };
        let link = sought(instance).unwrap_or_else(|| instance.interface.clone());
        let key = (link, instance.vrid.get(), instance.family as u8);
        let first = *seen.entry(key).or_insert(at);
        if first == at {
            continue;
        }
        for (at, sharing) in [(first, Sharing::First), (at, Sharing::Beside)] {
            lowered[at].instance.iter_mut().for_each(|instance| instance.sharing = sharing);
        }
    }
}

/// Refuses those beyond the most that one process runs, the last ones of the file; said once.
pub(super) fn limit(ctx: &mut Ctx, lowered: &mut [Lowered]) {
    let is_run = |one: &&mut Lowered| one.instance.is_some() && one.refusals.is_empty();
    let mut beyond = lowered.iter_mut().filter(is_run).skip(abi::MAX_SLOTS as usize);
    let Some(first) = beyond.next() else { return };
    let more: Vec<_> = beyond.collect();
    let most = abi::MAX_SLOTS;
    let message = format!("{most} instances are the most, and here are {} more", 1 + more.len());
    let diag = Diag::error(Code::TooMany, first.span.clone(), message);
    let now = "this one and those behind it are not run";
    let refusal = ctx.lose(
        diag.now(now).hint("run them by a second xvrrp, with a file and a `--run-dir` of its own"),
    );
    for one in [first].into_iter().chain(more) {
        one.refusals.push(refusal.clone());
    }
}

/// Names the interfaces that instances make for themselves, where none is written, and puts the
/// addresses on them.
fn name_own_links(lowered: &mut [Lowered], prefixes: Prefixes<'_>) {
    let instances = lowered.iter().filter_map(|one| one.instance.as_ref());
    let names = instances
        .flat_map(|one| [Some(&one.interface), one.own_link.as_ref().map(|link| &link.name)]);
    let mut free = FreeNames::beside(names.flatten().cloned().collect());
    for one in lowered {
        let Some(instance) = &mut one.instance else { continue };
        let (family, vrid) = (instance.family, instance.vrid);
        if let Some(link) = instance.own_link.as_mut().filter(|link| link.name.is_empty()) {
            link.name = free.next(prefixes.own, family, vrid);
        }
        for written in &mut one.written {
            let name = || free.next(prefixes.others, family, vrid);
            written.address.device = device(instance, written, name);
        }
        let all = instance.addresses.iter_mut().chain(&mut instance.excluded);
        for (address, written) in all.zip(&one.written) {
            address.device.clone_from(&written.address.device);
        }
    }
}

/// The interface that an address goes on: the instance's own, one for addresses alone, whose `name` that
/// is where it is new, or the one that is written.
fn device(instance: &mut Instance, written: &Written, name: impl FnOnce() -> String) -> String {
    let device = &written.address.device;
    let family = family_of(written.address.ip);
    let alike = family == instance.family;
    let own_mac = instance.own_link.as_ref().and_then(|link| match link.kind {
        OwnLinkKind::Macvlan(mac) => Some(mac),
        OwnLinkKind::Ipvlan { .. } => None,
    });
    if let Some(link) = &instance.own_link {
        // To write the instance's interface behind an address says no more than to leave it out.
        let there = alike && *device == instance.interface;
        let on_it = match written.on_vmac {
            true => there && own_mac.is_some(),
            false => there || written.placed.is_none(),
        };
        if on_it || *device == link.name {
            return link.name.clone();
        }
    }
    if !written.on_vmac {
        return device.clone();
    }
    let mut links = instance.address_links.iter();
    if let Some(link) = links.find(|link| link.base == *device && link.family == family) {
        return link.name.clone();
    }
    let mac = own_mac.filter(|_| alike).unwrap_or_else(|| instance.vrid.mac(family).octets());
    let name = name();
    let link = AddressLink { base: device.clone(), family, name: name.clone(), mac };
    instance.address_links.push(link);
    name
}

/// Names for interfaces: `vrrp.VRID` and `vrrp6.VRID`, and of several with one VRID the others
/// `vrrp1.VRID` and so on, as in keepalived.
struct FreeNames<'a> {
    taken: BTreeSet<String>,
    /// How many of a kind are known to be taken.
    passed: BTreeMap<(&'a str, Family, Vrid), u32>,
}

impl<'a> FreeNames<'a> {
    /// Beside those that are in use.
    const fn beside(taken: BTreeSet<String>) -> Self {
        Self { taken, passed: BTreeMap::new() }
    }

    fn next(&mut self, prefix: &'a str, family: Family, vrid: Vrid) -> String {
        let passed = self.passed.entry((prefix, family, vrid)).or_default();
        loop {
            let name = nth_name(prefix, family, vrid, *passed);
            *passed += 1;
            // There are more numbers than instances.
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

fn nth_name(prefix: &str, family: Family, vrid: Vrid, n: u32) -> String {
    let number = match (n, family) {
        (0, Family::V4) => String::new(),
        (0, Family::V6) => "6".to_owned(),
        // That is what the first of IPv6 has.
        (n, _) if n >= 6 => (n + 1).to_string(),
        (n, _) => n.to_string(),
    };
    let end = format!("{number}.{vrid}");
    let room = INTERFACE_NAME - end.len().min(INTERFACE_NAME);
    let fits = prefix.char_indices().map(|(at, c)| at + c.len_utf8());
    let cut = fits.take_while(|end| *end <= room).last().unwrap_or(0);
    format!("{}{end}", &prefix[..cut])
}

/// What stands for the interface of an instance that has none in the file.
fn sought(instance: &Instance) -> Option<String> {
    let source = instance.sought?.to_string();
    Some(instance.vrf.as_ref().map_or(source.clone(), |vrf| format!("{source} in {vrf}")))
}

/// An instance among those with its VRID on its link.
struct Router {
    name: String,
    span: Span,
    destination: Destination,
    /// It makes an interface for itself.
    makes: bool,
}

/// The first of each kind.
#[derive(Default)]
struct Seen {
    own_links: BTreeMap<String, (String, Span)>,
    macs: BTreeMap<(String, [u8; 6]), (String, Span)>,
    names: BTreeMap<String, Span>,
    routers: BTreeMap<(String, u8, u8), Vec<Router>>,
    addresses: BTreeMap<(IpAddr, String), (String, Span)>,
}

impl Seen {
    fn name(&mut self, one: &Lowered) -> Option<Diag> {
        if let Some(first) = self.names.get(&one.name) {
            let message = format!("there are two instances named `{}`", shown(&one.name));
            let diag = Diag::error(Code::Twice, one.span.clone(), message);
            let hint = "give it another name";
            return Some(diag.hint(hint).also(first.clone(), "the first one"));
        }
        self.names.insert(one.name.clone(), one.span.clone());
        None
    }

    fn router(&mut self, one: &Lowered) -> Option<Diag> {
        let instance = one.instance.as_ref()?;
        let link = sought(instance).unwrap_or_else(|| instance.interface.clone());
        let key = (link.clone(), instance.vrid.get(), instance.family as u8);
        let others = self.routers.entry(key).or_default();
        let (destination, makes) = (&instance.destination, instance.own_link.is_some());
        let fault = others.iter().find_map(|other| {
            use Destination::Group;
            let (code, hint) = match (&other.destination, destination) {
                (theirs, ours) if theirs == ours => (
                    Code::Twice,
                    "give it another `virtual_router_id`, or put its addresses into the first one",
                ),
                (Group(_), Group(_)) if !makes && !other.makes => return None,
                (Group(_), Group(_)) => (
                    Code::NotServed,
                    "give it another `virtual_router_id`: with an interface made for one of them, such as by \
                     `use_vmac`, another group is not enough",
                ),
                _ => (
                    Code::NotServed,
                    "give it another `virtual_router_id`: on one link other peers are not enough, nor peers \
                     beside a group",
                ),
            };
            let (vrid, link, name) = (instance.vrid, shown(&link), shown(&other.name));
            let message = format!("virtual router {vrid} on {link} is {name} already");
            let diag = Diag::error(code, one.span.clone(), message);
            Some(diag.hint(hint).also(other.span.clone(), "the first one"))
        });
        if fault.is_none() {
            let (name, span) = (one.name.clone(), one.span.clone());
            others.push(Router { name, span, destination: destination.clone(), makes });
        }
        fault
    }

    /// Two instances don't share an interface that one of them makes and removes, nor a MAC address on
    /// one interface below.
    fn own_link(&mut self, one: &Lowered) -> Option<Diag> {
        let instance = one.instance.as_ref()?;
        let own = instance.own_link.iter().map(|link| {
            let mac = match link.kind {
                OwnLinkKind::Macvlan(mac) => Some(mac),
                OwnLinkKind::Ipvlan { .. } => None,
            };
            (&instance.interface, &link.name, mac)
        });
        let others =
            instance.address_links.iter().map(|link| (&link.base, &link.name, Some(link.mac)));
        for (base, name, mac) in own.chain(others) {
            if let Some((by, first)) = self.own_links.get(name) {
                let message = format!("{} makes an interface `{}` already", shown(by), shown(name));
                let hint = "give it another name behind `use_vmac` or `use_ipvlan`, or none";
                let diag = Diag::error(Code::Twice, one.span.clone(), message).hint(hint);
                return Some(diag.also(first.clone(), "the first one"));
            }
            self.own_links.insert(name.clone(), (one.name.clone(), one.span.clone()));
            let Some(mac) = mac else { continue };
            if let Some((by, first)) = self.macs.get(&(base.clone(), mac)) {
                let message =
                    format!("{} has that MAC address on {} already", shown(by), shown(base));
                let diag = Diag::error(Code::Twice, one.span.clone(), message);
                let hint = "of two with one MAC address, the other hears nothing";
                return Some(diag.hint(hint).also(first.clone(), "the first one"));
            }
            self.macs.insert((base.clone(), mac), (one.name.clone(), one.span.clone()));
        }
        None
    }

    /// Two routers with one address take it from each other.
    fn addresses(&mut self, one: &Lowered) -> Vec<Diag> {
        let mut faults = Vec::new();
        // Of which interface that is, the source says where none is written.
        let sought = one.instance.as_ref().and_then(sought);
        for written in &one.written {
            let device = &written.address.device;
            let link = sought.clone().filter(|_| device.is_empty());
            let link = link.unwrap_or_else(|| device.clone());
            let key = (written.address.ip, link);
            if let Some((name, first)) = self.addresses.get(&key) {
                let message = format!("{} belongs to {} already", written.address.ip, shown(name));
                let diag = Diag::error(Code::Twice, written.span.clone(), message);
                let hint = "one address, one instance";
                faults.push(diag.hint(hint).also(first.clone(), "the first one"));
                continue;
            }
            self.addresses.insert(key, (one.name.clone(), written.span.clone()));
        }
        faults
    }
}
