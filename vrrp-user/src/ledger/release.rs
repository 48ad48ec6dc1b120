//! Giving up what a process that is gone has left: priority 0, and addresses, routes and rules off.
//!
//! The guardian does it for its worker, `xvrrp release` for a daemon that is gone, and a start for an
//! earlier life: all by this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::SystemTime;

use nix::net::if_::{if_indextoname, if_nametoindex};
use vrrp_common::Instant;
use vrrp_proto::{Slot, VirtualAddress};

use super::judge;
use super::table::{Entry, State, Table};
use super::{Body, Held, HeldPath};
use crate::ah;
use crate::net::addr::{Addresses, Removed};
use crate::net::own_link;
use crate::net::paths::{self, Kept, Off};
use crate::net::traces::Traces;
use crate::text::{some_apart, some_of};
use crate::transmit::farewell::Farewell;

/// What was done for one router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    /// The instance's name.
    pub(crate) name: String,
    /// Priority 0 was sent.
    pub(crate) spoke: bool,
    /// What was taken off: routes and rules, and addresses with their interfaces.
    pub(crate) removed: Vec<String>,
    /// What could not be done.
    pub(crate) failed: Vec<String>,
    /// An address is still there, or may be.
    pub(crate) stays: bool,
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) ", self.name)?;
        let taken_off = match self.removed.as_slice() {
            [] if self.stays => None,
            [] if self.spoke => Some("no address was left".to_owned()),
            [] => Some("nothing was left".to_owned()),
            some => Some(format!("{} taken off", some_of(some))),
        };
        let spoke = self.spoke.then(|| "priority 0 sent".to_owned());
        let done: Vec<String> = spoke.into_iter().chain(taken_off).collect();
        f.write_str(&done.join(", "))?;
        if !self.failed.is_empty() {
            let colon = if done.is_empty() { "" } else { "; " };
            write!(f, "{colon}{}", some_apart(&self.failed, "; "))?;
        }
        Ok(())
    }
}

/// What a start finds of an earlier life; `K` is what makes a router the same one in both.
#[derive(Debug)]
pub(crate) struct Found<K> {
    /// The slots of the routers that are configured now.
    pub(crate) earlier: BTreeMap<K, Slot>,
    /// Those that go on as the Active ones they were.
    pub(crate) on: Vec<(Slot, Body)>,
    /// All others: to be released.
    pub(crate) ended: Vec<Entry>,
}

/// Sorts the routers of an earlier life. `place`: as which of those that are configured now one would
/// go on; `there`: whether its interface is still the one it was.
pub(crate) fn found<K: Ord>(
    table: &Table,
    now: Instant,
    place: impl Fn(&Body) -> Option<K>,
    there: impl Fn(&Body) -> bool,
) -> Found<K> {
    let mut found = Found { earlier: BTreeMap::new(), on: Vec::new(), ended: Vec::new() };
    for entry in table.entries() {
        let slot = Slot(entry.slot);
        let body = table.body(entry.slot);
        let place = body.as_ref().and_then(&place);
        match (body, place) {
            (Some(body), Some(place)) if there(&body) && judge::goes_on(&entry, now) => {
                // Another of that place was about to end, or to begin: this one is its router.
                found.earlier.insert(place, slot);
                found.on.push((slot, body));
            }
            (_, place) => {
                found.ended.push(entry);
                if let Some(place) = place {
                    found.earlier.entry(place).or_insert(slot);
                }
            }
        }
    }
    found
}

/// Releases routers whose process is gone: first priority 0 for all that are missed, then rules, routes and
/// addresses off, but for those that a router holds which is not among them. Each is marked in the ledger, one that still
/// has an address as one to be tried again.
///
/// `by`: whose interfaces its own were; `alive`: when the process was last known to live.
pub(crate) fn release(
    by: &str,
    table: &Table,
    entries: &[Entry],
    alive: Instant,
    now: Instant,
) -> Vec<Released> {
    let begun = |(entry, body): (Entry, Body)| {
        let released = Released { name: body.name.clone(), ..Released::default() };
        (entry, body, released)
    };
    let mut done: Vec<_> = holding(table, entries, alive).map(begun).collect();
    if done.is_empty() {
        return Vec::new();
    }
    speak(table, &mut done, now);
    let among: BTreeSet<u32> = done.iter().map(|(entry, _, _)| entry.slot).collect();
    let held = held_by_others(table, &among);
    take_paths_off(&mut done, &paths_of_others(table, &among), alive);
    take_off(&mut done, &held, alive);
    deafen(by, &mut done);
    for (entry, _, released) in &done {
        table.set_released(entry, !released.stays);
    }
    done.into_iter().map(|(_, _, released)| released).collect()
}

/// Those of the routers that may have addresses on interfaces.
pub(super) fn holding(
    table: &Table,
    entries: &[Entry],
    alive: Instant,
) -> impl Iterator<Item = (Entry, Body)> {
    let may = entries.iter().filter(move |entry| judge::may_hold(entry, alive));
    may.filter_map(|entry| Some((*entry, table.body(entry.slot)?)))
}

fn speak(table: &Table, done: &mut [(Entry, Body, Released)], now: Instant) {
    let sequence = ah::next(table.signed(), SystemTime::now());
    table.set_signed(sequence);
    let mut farewell = Farewell::new(sequence);
    for (entry, body, released) in done {
        if !judge::is_missed(entry, now) {
            continue;
        }
        for frame in body.frames(entry.form) {
            match farewell.send(body.ifindex, body.by_routes, frame, &body.key) {
                Ok(()) => released.spoke = true,
                Err(error) => released.failed.push(format!("priority 0 not sent: {error}")),
            }
        }
    }
}

/// What Active routers hold that go on.
pub(super) fn held_by_others(
    table: &Table,
    among: &BTreeSet<u32>,
) -> BTreeSet<(IpAddr, u8, String)> {
    let others = table
        .entries()
        .filter(|entry| entry.state == State::Active && !among.contains(&entry.slot));
    let bodies = others.filter_map(|entry| table.body(entry.slot));
    bodies
        .flat_map(|body| body.addresses)
        .filter(|held| held.dropped.is_none())
        .map(|held| (held.ip, held.prefix, held.device))
        .collect()
}

/// The routes and rules that Active routers have that go on.
pub(super) fn paths_of_others(table: &Table, among: &BTreeSet<u32>) -> BTreeSet<Vec<u8>> {
    let others = table
        .entries()
        .filter(|entry| entry.state == State::Active && !among.contains(&entry.slot));
    let paths = others.filter_map(|entry| table.body(entry.slot)).flat_map(|body| body.paths);
    paths.filter(|held| held.dropped.is_none()).map(|held| held.kept.request).collect()
}

/// Takes rules and routes off, in the reverse order, but for those that are kept.
fn take_paths_off(done: &mut [(Entry, Body, Released)], kept: &BTreeSet<Vec<u8>>, alive: Instant) {
    for (_, body, released) in done {
        let off: Vec<&Kept> = paths_not_kept(body, kept, alive).collect();
        if off.is_empty() {
            continue;
        }
        match paths::take_off(&off) {
            Ok(results) => {
                for (held, result) in off.iter().zip(results) {
                    match result {
                        Off::Gone => released.removed.push(held.text.clone()),
                        Off::NotThere => {}
                        Off::Stays(error) => {
                            released.stays = true;
                            released.failed.push(format!("{} stays: {error}", held.text));
                        }
                    }
                }
            }
            Err(error) => {
                released.stays = true;
                released.failed.push(format!("routes and rules stay: {error}"));
            }
        }
    }
}

/// The routes and rules that may be there, but for those that are kept, in the order in which they go off.
pub(super) fn paths_not_kept<'a>(
    body: &'a Body,
    kept: &'a BTreeSet<Vec<u8>>,
    alive: Instant,
) -> impl Iterator<Item = &'a Kept> {
    paths_left(body, alive).filter(|held| !kept.contains(&held.request))
}

/// The routes and rules that may be there, of a process that was last alive at `alive`, in the order in which
/// they go off.
pub(crate) fn paths_left(body: &Body, alive: Instant) -> impl Iterator<Item = &Kept> {
    let lingers = move |held: &&HeldPath| held.dropped.is_none_or(|at| judge::lingers(at, alive));
    body.paths.iter().rev().filter(lingers).map(|held| &held.kept)
}

fn take_off(
    done: &mut [(Entry, Body, Released)],
    kept: &BTreeSet<(IpAddr, u8, String)>,
    alive: Instant,
) {
    let mut wanted: Vec<(usize, VirtualAddress)> = Vec::new();
    for (at, (_, body, _)) in done.iter().enumerate() {
        let off = not_kept(body, kept, alive);
        wanted.extend(off.flat_map(places).map(|address| (at, address)));
    }
    let resolve = |name: &str| if_nametoindex(name).ok();
    let results = match Addresses::open() {
        Ok(mut host) => host.remove(wanted.iter().map(|(_, address)| address), resolve),
        Err(error) => {
            for (_, _, released) in done {
                released.stays = true;
                released.failed.push(format!("the addresses stay: {error}"));
            }
            return;
        }
    };
    for ((at, address), result) in wanted.iter().zip(results) {
        let text = format!("{}/{} on {}", address.ip, address.prefix, address.device);
        let (_, _, released) = &mut done[*at];
        match result {
            Ok(Removed::Gone) => released.removed.push(text),
            Ok(Removed::NotThere) => {}
            Err(error) => {
                released.stays = true;
                released.failed.push(format!("{text} stays: {error}"));
            }
        }
    }
}

/// Has the interfaces of these routers hear nothing any more: their virtual MAC address is another's.
fn deafen(by: &str, done: &mut [(Entry, Body, Released)]) {
    let names = done.iter().flat_map(|(_, body, _)| body.traces.links.iter().cloned()).collect();
    if let Err(error) = own_link::deafen(by, &names) {
        for (_, _, released) in done.iter_mut().filter(|(_, b, _)| !b.traces.links.is_empty()) {
            released.failed.push(format!("its interface still hears: {error}"));
        }
    }
}

/// What routers have made and changed, whatever their state.
pub(crate) fn traces(table: &Table) -> Traces {
    let mut all = Traces::default();
    for body in table.entries().filter_map(|entry| table.body(entry.slot)) {
        all.links.extend(body.traces.links);
        all.settings.extend(body.traces.settings);
    }
    all
}

/// Undoes that, once the process of `by` is gone and no other comes.
///
/// # Errors
/// The kernel's.
pub(crate) fn undo(by: &str, table: &Table) -> io::Result<()> {
    own_link::undo(by, &traces(table))
}

/// The addresses that may be on an interface, but for those that are kept.
pub(super) fn not_kept<'a>(
    body: &'a Body,
    kept: &'a BTreeSet<(IpAddr, u8, String)>,
    alive: Instant,
) -> impl Iterator<Item = &'a Held> {
    left(body, alive).filter(|held| !kept.contains(&(held.ip, held.prefix, held.device.clone())))
}

/// The addresses that may be on an interface, of a process that was last alive at `alive`: but for the
/// host's own.
pub(crate) fn left(body: &Body, alive: Instant) -> impl Iterator<Item = &Held> {
    let lingers = move |held: &&Held| held.dropped.is_none_or(|at| judge::lingers(at, alive));
    body.addresses.iter().filter(|held| !held.own).filter(lingers)
}

/// An address as removals name it, for every interface that it may be on.
pub(crate) fn places(held: &Held) -> impl Iterator<Item = VirtualAddress> {
    names(held).into_iter().map(move |device| named(held, device))
}

/// The interfaces an address may be on: the one it was put on, whatever its name is by now, and the one
/// that has the name.
fn names(held: &Held) -> BTreeSet<String> {
    let put_on = (held.ifindex != 0)
        .then(|| if_indextoname(held.ifindex).ok())
        .flatten()
        .and_then(|name| name.into_string().ok());
    let mut names: BTreeSet<String> = put_on.into_iter().collect();
    names.insert(held.device.clone());
    names
}

/// The address as a removal names it.
fn named(held: &Held, device: String) -> VirtualAddress {
    VirtualAddress { peer: held.peer, ..VirtualAddress::new(held.ip, held.prefix, device) }
}
