//! The interfaces that a file names, and which of them a host has not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::diag::{Code, Diag};
use super::super::model::{Instance, Span, Tracked, Weight};
use super::super::suggest::{nearest, shown};
use super::Ctx;
use super::delays::LinkDelays;
use super::instance::Lowered;
use crate::text::some_of;

/// An interface, where the file names it first for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Named {
    interface: String,
    span: Span,
    /// The instance's name.
    by: String,
    need: Need,
}

/// What an interface is to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It can't be without it.
    Fault,
    /// One of its routes can't, which is not tracked.
    Route,
    /// It is in `track_interface` alone.
    Tracked,
}

/// Has instances track the interfaces that their addresses and routes are on: without one, it is not held.
pub(super) fn track_devices(ctx: &mut Ctx, lowered: &mut [Lowered], delays: &LinkDelays) {
    let instances = || lowered.iter().filter_map(|one| one.instance.as_ref());
    let own = instances().filter_map(|one| Some((&one.own_link.as_ref()?.name, &one.interface)));
    let others =
        instances().flat_map(|one| &one.address_links).map(|link| (&link.name, &link.base));
    // One that an instance makes goes with the one below it. It may be down on purpose.
    let made: BTreeMap<String, String> =
        own.chain(others).map(|(name, base)| (name.clone(), base.clone())).collect();
    for one in lowered {
        let Some(instance) = &mut one.instance else { continue };
        let mut seen = BTreeSet::new();
        let addresses = one.written.iter().filter(|written| written.address.tracked);
        let addresses = addresses.map(|written| (&written.address.device, &written.span));
        let routes = one.devices.iter().filter(|device| device.tracked);
        let routes = routes.map(|device| (&device.name, &device.span));
        let devices = addresses.chain(routes).filter_map(|(device, span)| {
            let name = made.get(device).unwrap_or(device);
            let new = !name.is_empty() && seen.insert(name.clone());
            let delays = delays.get(name).copied().unwrap_or_default();
            let (weight, span) = (Weight::default(), span.clone());
            new.then(|| Tracked { name: name.clone(), weight, delays, span })
        });
        instance.track_devices = devices.collect();
        drop_weights(ctx, instance);
    }
}

/// An interface that an address or a route is on can't count for the priority alone.
fn drop_weights(ctx: &mut Ctx, instance: &mut Instance) {
    for tracked in instance.track_interfaces.iter_mut().filter(|one| one.weight.value != 0) {
        let mut devices = instance.track_devices.iter();
        let Some(device) = devices.find(|device| device.name == tracked.name) else { continue };
        tracked.weight = Weight::default();
        let name = shown(&tracked.name);
        let message = format!("the weight of `{name}`, which an address or a route is on");
        let diag = Diag::warning(Code::Conflict, tracked.span.clone(), message)
            .now("its loss is a FAULT, and its weight is not used, as in keepalived")
            .hint("leave the weight out, or write `no_track` behind the address or route")
            .also(device.span.clone(), "the address or route");
        ctx.push(diag);
    }
}

/// The interfaces that instances need and don't make for themselves.
pub(super) fn named(lowered: &[Lowered]) -> Vec<Named> {
    let run = || {
        let whole = lowered.iter().filter(|one| one.refusals.is_empty());
        whole.filter_map(|one| Some((one, one.instance.as_ref()?)))
    };
    let own = run().filter_map(|(_, instance)| instance.own_link.as_ref().map(|link| &link.name));
    let others = run().flat_map(|(_, instance)| &instance.address_links).map(|link| &link.name);
    let made: BTreeSet<&String> = own.chain(others).collect();
    let mut all = Vec::new();
    for (one, instance) in run() {
        let link = one.links.iter().map(|(name, span)| (name, span, Need::Fault));
        let placed = one.written.iter().filter_map(|written| written.placed.as_ref());
        let placed = placed.map(|(name, span)| (name, span, Need::Fault));
        let routed = |tracked: bool, need: Need| {
            let those = one.devices.iter().filter(move |device| device.tracked == tracked);
            those.map(move |device| (&device.name, &device.span, need))
        };
        let tracked = &instance.track_interfaces;
        let tracked = tracked.iter().map(|one| (&one.name, &one.span, Need::Tracked));
        // The first of each name is what it is to the instance.
        let needed = link.chain(placed).chain(routed(true, Need::Fault));
        let mut seen = BTreeSet::new();
        for (name, span, need) in needed.chain(tracked).chain(routed(false, Need::Route)) {
            if !made.contains(name) && seen.insert(name) {
                let (interface, span, by) = (name.clone(), span.clone(), one.name.clone());
                all.push(Named { interface, span, by, need });
            }
        }
    }
    all
}

/// What is to be said of those that a host with these interfaces has not, one message for each.
pub(in super::super) fn missing(named: &[Named], host: &[&str]) -> Vec<Diag> {
    let mut gone: BTreeMap<&String, Vec<&Named>> = BTreeMap::new();
    for one in named.iter().filter(|one| !host.contains(&one.interface.as_str())) {
        gone.entry(&one.interface).or_default().push(one);
    }
    let diag = |(name, uses): (&String, Vec<&Named>)| {
        let who = |need| {
            let those = uses.iter().filter(|one| one.need == need);
            those.map(|one| shown(&one.by)).collect::<Vec<_>>()
        };
        let (needed, routed) = (who(Need::Fault), who(Need::Route));
        let tracked = who(Need::Tracked);
        let faults = match needed.len() {
            0 => None,
            1 => Some(format!("{} is in FAULT until it is there", needed[0])),
            _ => Some(format!("{} are in FAULT until it is there", some_of(&needed))),
        };
        let down = (!tracked.is_empty())
            .then(|| format!("it counts as down for {} until it is there", some_of(&tracked)));
        let unset = (!routed.is_empty())
            .then(|| format!("a route of {} is not set until it is there", some_of(&routed)));
        let now: Vec<String> = [faults, down, unset].into_iter().flatten().collect();
        let span = uses.iter().map(|one| &one.span).min_by_key(|span| span.start);
        let message = format!("this host has no interface `{}`", shown(name));
        let hint = nearest(name, host.iter().copied()).map_or_else(
            || "with `dynamic_interfaces` nothing is said of it".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let diag = Diag::warning(Code::UnknownName, span.cloned().unwrap_or_default(), message);
        diag.now(now.join("; ")).hint(hint)
    };
    gone.into_iter().map(diag).collect()
}
