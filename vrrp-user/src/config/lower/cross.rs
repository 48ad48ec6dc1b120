//! What no block shows alone: two of a kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrrp_common::{Family, Vrid};

use super::super::diag::{Code, Diag};
use super::super::model::{Destination, OwnLinkKind, Span};
use super::super::suggest::shown;
use super::Ctx;
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

/// Names the interfaces that instances make for themselves, where none is written, and puts the
/// addresses on them.
fn name_own_links(lowered: &mut [Lowered], prefixes: Prefixes<'_>) {
    let instances = lowered.iter().filter_map(|one| one.instance.as_ref());
    let names = instances
        .flat_map(|one| [Some(&one.interface), one.own_link.as_ref().map(|link| &link.name)]);
    let mut taken: BTreeSet<String> = names.flatten().cloned().collect();
    for one in lowered {
        let Some(instance) = &mut one.instance else { continue };
        let (family, vrid) = (instance.family, instance.vrid);
        let Some(link) = &mut instance.own_link else { continue };
        if link.name.is_empty() {
            link.name = free_name(&mut taken, prefixes.own, family, vrid);
        }
        for written in &mut one.written {
            let device = &mut written.address.device;
            if written.placed.is_none() {
                device.clone_from(&link.name);
            } else if link.for_addresses && *device != instance.interface && *device != link.name {
                let name = || free_name(&mut taken, prefixes.others, family, vrid);
                *device = link.others.entry(device.clone()).or_insert_with(name).clone();
            }
        }
        let all = instance.addresses.iter_mut().chain(&mut instance.excluded);
        for (address, written) in all.zip(&one.written) {
            address.device.clone_from(&written.address.device);
        }
    }
}

/// `vrrp.VRID` and `vrrp6.VRID`, and of several with one VRID the others `vrrp1.VRID` and so on, as in
/// keepalived.
fn free_name(taken: &mut BTreeSet<String>, prefix: &str, family: Family, vrid: Vrid) -> String {
    let first = if family == Family::V6 { "6" } else { "" };
    let numbers = (1..).filter(|number| *number != 6).map(|number: u32| number.to_string());
    let mut names = std::iter::once(first.to_owned()).chain(numbers).map(|number| {
        let end = format!("{number}.{vrid}");
        let room = INTERFACE_NAME - end.len().min(INTERFACE_NAME);
        let fits = prefix.char_indices().map(|(at, c)| at + c.len_utf8());
        let cut = fits.take_while(|end| *end <= room).last().unwrap_or(0);
        format!("{}{end}", &prefix[..cut])
    });
    // There are more numbers than instances.
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// The first of each kind.
#[derive(Default)]
struct Seen {
    own_links: BTreeMap<String, (String, Span)>,
    macs: BTreeMap<(String, [u8; 6]), (String, Span)>,
    names: BTreeMap<String, Span>,
    routers: BTreeMap<(String, u8, u8), (String, Span, Destination)>,
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
        let sought = instance.sought.map(|source| source.to_string());
        let link = sought.unwrap_or_else(|| instance.interface.clone());
        let key = (link.clone(), instance.vrid.get(), instance.family as u8);
        let Some((name, first, destination)) = self.routers.get(&key) else {
            let first = (one.name.clone(), one.span.clone(), instance.destination.clone());
            self.routers.insert(key, first);
            return None;
        };
        let (vrid, link, name) = (instance.vrid, shown(&link), shown(name));
        let message = format!("virtual router {vrid} on {link} is {name} already");
        // keepalived tells them apart by group or peers, which the kernel's table here does not.
        let (code, hint) = if *destination == instance.destination {
            (
                Code::Twice,
                "give it another `virtual_router_id`, or put its addresses into the first one",
            )
        } else {
            (
                Code::NotServed,
                "give it another `virtual_router_id`: on one link another group or other peers are not enough",
            )
        };
        let diag = Diag::error(code, one.span.clone(), message);
        Some(diag.hint(hint).also(first.clone(), "the first one"))
    }

    /// Two instances don't share an interface that one of them makes and removes, nor a MAC address on
    /// one interface below.
    fn own_link(&mut self, one: &Lowered) -> Option<Diag> {
        let instance = one.instance.as_ref()?;
        let link = instance.own_link.as_ref()?;
        let own = [(&instance.interface, &link.name)].into_iter();
        for (base, name) in own.chain(&link.others) {
            if let Some((by, first)) = self.own_links.get(name) {
                let message = format!("{} makes an interface `{}` already", shown(by), shown(name));
                let hint = "give it another name behind `use_vmac` or `use_ipvlan`, or none";
                let diag = Diag::error(Code::Twice, one.span.clone(), message).hint(hint);
                return Some(diag.also(first.clone(), "the first one"));
            }
            self.own_links.insert(name.clone(), (one.name.clone(), one.span.clone()));
            let OwnLinkKind::Macvlan(mac) = link.kind else { continue };
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
        let sought = one.instance.as_ref().and_then(|instance| instance.sought);
        for written in &one.written {
            let device = &written.address.device;
            let source = sought.filter(|_| device.is_empty());
            let link = source.map_or_else(|| device.clone(), |source| source.to_string());
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
