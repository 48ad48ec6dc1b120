//! The interfaces that a file names, and which of them a host has not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::{nearest, shown};
use super::instance::Lowered;
use crate::text::some_of;

/// An interface, where the file names it first for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Named {
    interface: String,
    span: Span,
    /// The instance's name.
    by: String,
    /// For `track_interface` alone; the instance can do without it.
    tracked: bool,
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
        let link = one.links.iter().map(|(name, span)| (name, span, false));
        let placed = one.written.iter().filter_map(|written| written.placed.as_ref());
        let placed = placed.map(|(name, span)| (name, span, false));
        let tracked = instance.track_interfaces.iter().map(|one| (&one.name, &one.span, true));
        let mut seen = BTreeSet::new();
        for (name, span, tracked) in link.chain(placed).chain(tracked) {
            if !made.contains(name) && seen.insert(name) {
                let (interface, span, by) = (name.clone(), span.clone(), one.name.clone());
                all.push(Named { interface, span, by, tracked });
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
        let who = |tracked| {
            let those = uses.iter().filter(|one| one.tracked == tracked);
            those.map(|one| shown(&one.by)).collect::<Vec<_>>()
        };
        let (needed, tracked) = (who(false), who(true));
        let faults = match needed.len() {
            0 => None,
            1 => Some(format!("{} is in FAULT until it is there", needed[0])),
            _ => Some(format!("{} are in FAULT until it is there", some_of(&needed))),
        };
        let down = (!tracked.is_empty())
            .then(|| format!("it counts as down for {} until it is there", some_of(&tracked)));
        let now: Vec<String> = [faults, down].into_iter().flatten().collect();
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
