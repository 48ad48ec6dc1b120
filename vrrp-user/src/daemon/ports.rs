//! The interfaces that adverts come from: the kernel program, the group, the slow path.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};
use vrrp_common::{Family, wire};

use super::plan::Way;
use super::protocol::Order;
use crate::config::model::{Datapath, Destination, Instance};
use crate::fastpath::{Attached, FastPath, Lately};
use crate::net::Snapshot;
use crate::slowpath::{Filter, Realm, SlowPath, Tap, Target};
use crate::transmit::Presence;
use crate::transmit::group::Membership;

/// The interfaces in use.
#[derive(Debug)]
pub(crate) struct Ports {
    want: Datapath,
    open: BTreeMap<u32, Port>,
    /// The indexes of those by name.
    names: BTreeMap<String, u32>,
    orders: UnboundedSender<Order>,
    /// Why there is no kernel program, where there is none.
    without: String,
    /// Those that could not be listened to, so that it is said once; believed to be heard only once they
    /// stay open from one attempt to the next.
    failed: BTreeSet<u32>,
    /// Those among them that are not tried again before the next attempt.
    resting: BTreeSet<u32>,
    /// The protocols of adverts that come to this host alone. `None`: tried again.
    present: BTreeMap<(Family, u8), Option<Presence>>,
    /// The realms that are heard. `false`: tried again.
    realms: BTreeMap<Realm, bool>,
}

#[derive(Debug)]
struct Port {
    name: String,
    attached: Attached,
    /// Those with a socket.
    families: BTreeSet<Family>,
    /// What the sockets are shown. It stays so once it is all: what is on top of the interface goes later
    /// than whoever wanted it.
    tap: Tap,
    /// The routers on it.
    targets: BTreeSet<Target>,
    /// The routers that the slow path's filter was made for; `None`: all.
    filtered: Option<BTreeSet<Target>>,
    /// Held for their effect: the NIC's filter and IGMP snooping let the groups through.
    /// `None`: it could not be joined, and is tried again.
    groups: BTreeMap<IpAddr, Option<Membership>>,
}

/// What the instances on an interface listen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Who they are on the wire.
    targets: BTreeSet<Target>,
    /// The groups of their adverts.
    groups: BTreeSet<IpAddr>,
    /// The protocols of their adverts, where those come to this host alone.
    alone: BTreeSet<(Family, u8)>,
    /// From where else adverts come to them.
    realms: BTreeSet<Realm>,
    /// What they have to be shown.
    tap: Tap,
}

impl Wanted {
    /// An interface is made on top of this one.
    pub(crate) fn lies_below(&mut self) {
        self.tap = Tap::All;
    }

    /// Adds an instance that has this way; nothing is sent to an instance alone before it has one.
    pub(crate) fn add(&mut self, instance: &Instance, way: Option<&Way>) {
        let destination = match instance.destination {
            Destination::Group(group) => Some(group),
            Destination::Peers(_) => instance.source.or(way.map(|way| way.source)),
        };
        self.realms.extend(way.and_then(|way| way.realm));
        let vrid = instance.vrid.get();
        self.targets.extend(destination.map(|destination| Target { destination, vrid }));
        match instance.destination {
            Destination::Group(group) => self.groups.insert(group),
            Destination::Peers(_) => {
                let sealed = instance.seal().is_some();
                let protocol = if sealed { wire::PROTOCOL_AH } else { wire::PROTOCOL };
                self.alone.insert((instance.family, protocol))
            }
        };
    }
}

impl Ports {
    pub(crate) fn new(want: Datapath, orders: UnboundedSender<Order>) -> Self {
        Self {
            want,
            open: BTreeMap::new(),
            names: BTreeMap::new(),
            orders,
            without: String::new(),
            failed: BTreeSet::new(),
            resting: BTreeSet::new(),
            present: BTreeMap::new(),
            realms: BTreeMap::new(),
        }
    }

    /// Notes why there is no kernel program.
    pub(crate) fn without_program(&mut self, why: String) {
        self.without = why;
    }

    /// Takes another data path from now on: what is open is closed, and opened anew by the next
    /// [`Ports::apply`].
    pub(crate) fn choose(&mut self, want: Datapath, fast: &mut Option<FastPath>) {
        if want != self.want {
            self.want = want;
            if fast.is_none() {
                warn!("another data path than a socket takes a restart");
                self.without = "the kernel program is loaded at start only".to_owned();
            }
            for ifindex in self.open.keys().copied().collect::<Vec<_>>() {
                self.close(ifindex, fast);
            }
        }
    }

    /// Opens, changes and closes, so that exactly the interfaces in `wanted`, with the routers on
    /// them, are listened to where they exist.
    pub(crate) fn apply(
        &mut self,
        wanted: &BTreeMap<String, Wanted>,
        host: &Snapshot,
        fast: &mut Option<FastPath>,
    ) {
        let there: BTreeMap<u32, &str> = host
            .interfaces
            .values()
            .filter(|interface| wanted.contains_key(&interface.name))
            .map(|interface| (interface.ifindex, interface.name.as_str()))
            .collect();
        let gone: Vec<u32> = self
            .open
            .iter()
            .filter(|(ifindex, port)| there.get(ifindex) != Some(&port.name.as_str()))
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in gone {
            self.close(ifindex, fast);
        }
        self.failed.retain(|ifindex| there.contains_key(ifindex));
        let realms: BTreeSet<u32> = self.realms.keys().map(|realm| realm.index()).collect();
        self.resting.retain(|index| there.contains_key(index) || realms.contains(index));
        self.be_present(wanted.values().flat_map(|wanted| &wanted.alone).copied().collect());
        self.hear_realms(
            &wanted.values().flat_map(|wanted| &wanted.realms).copied().collect(),
            host,
        );
        for (ifindex, name) in there {
            let wanted = &wanted[name];
            match self.open.get_mut(&ifindex) {
                None if self.resting.contains(&ifindex) => {}
                None => self.open_one(ifindex, name, wanted, fast),
                Some(port) => {
                    port.join(ifindex, &wanted.groups);
                    if let Err(error) = port.listen(ifindex, wanted, &self.orders) {
                        self.fail(ifindex, name, &error.to_string(), fast);
                    }
                }
            }
        }
    }

    /// Looks again at open interfaces with one of these names, or all without names: after a link has come,
    /// since a VLAN on one may hide its tags from XDP, and after a change of the interface's own.
    pub(crate) fn recheck(
        &mut self,
        names: Option<&BTreeSet<String>>,
        fast: &mut Option<FastPath>,
    ) {
        let Some(fast) = fast else { return };
        for (ifindex, port) in &mut self.open {
            if names.is_some_and(|names| !names.contains(&port.name)) {
                continue;
            }
            if let Some(attached) = fast.recheck(&port.name, *ifindex) {
                describe(&port.name, &attached);
                refilter(&self.orders, *ifindex, Filter::All);
                (port.attached, port.filtered) = (attached, None);
            }
        }
    }

    /// Looks whether others took the kernel program off open interfaces with one of these names, or what was
    /// in its way there; all interfaces without names. With `gone`, a link is gone: a VLAN, perhaps, that
    /// hid its tags on whichever interface. What the kernel did not give is asked for each time. Attaches it anew, and says so. Says whether it is attached
    /// otherwise than before.
    pub(crate) fn look(
        &mut self,
        names: Option<&BTreeSet<String>>,
        gone: bool,
        fast: &mut Option<FastPath>,
    ) -> bool {
        let Some(fast) = fast else { return false };
        let mut changed = false;
        for (ifindex, port) in &mut self.open {
            let is_named = names.is_none_or(|names| names.contains(&port.name));
            let may_see = gone && fast.is_blind(*ifindex) || fast.is_denied_on(*ifindex);
            if !(is_named || may_see) {
                continue;
            }
            let found = fast.look(&port.name, *ifindex, self.want);
            let Some((lately, attached)) = found else {
                continue;
            };
            changed = true;
            let (name, now) = (&port.name, path(&attached));
            match lately {
                Lately::TakenOff => {
                    warn!("{name}: somebody took the kernel program off; now {now}");
                }
                Lately::Free => info!("{name}: the other XDP program is gone; now {now}"),
                Lately::Replaced => info!("{name}: another XDP program than before; now {now}"),
                Lately::TagsSeen => {
                    info!("{name}: VLAN tags are no longer hidden from XDP; now {now}");
                }
                Lately::TagsHidden | Lately::Given => info!("{name}: {now}"),
            }
            let by_socket = matches!(attached, Attached::Socket { .. });
            port.filtered = (!by_socket).then(|| port.targets.clone());
            let filter = port.filtered.clone().map_or(Filter::All, Filter::Only);
            refilter(&self.orders, *ifindex, filter);
            port.attached = attached;
        }
        changed
    }

    /// Says whether adverts of an interface are heard.
    pub(crate) fn hears(&self, name: &str) -> bool {
        self.attached(name).is_some()
    }

    /// Says whether a group, a protocol or a realm is still to be had: [`Ports::apply`] tries it again.
    pub(crate) fn lacks_something(&self) -> bool {
        let groups = self.open.values().flat_map(|port| port.groups.values());
        groups.into_iter().any(Option::is_none)
            || self.present.values().any(Option::is_none)
            || self.realms.values().any(|heard| !heard)
    }

    /// Gives an interface up that can't be listened to, until [`Ports::retry`].
    pub(crate) fn fail(
        &mut self,
        ifindex: u32,
        name: &str,
        error: &str,
        fast: &mut Option<FastPath>,
    ) {
        if self.failed.insert(ifindex) {
            warn!("{name}: adverts can't be received, trying again: {error}");
        }
        self.resting.insert(ifindex);
        if self.open.contains_key(&ifindex) {
            self.close(ifindex, fast);
        }
    }

    /// Has [`Ports::apply`] try those again that were given up, and believes those that it opened since
    /// the last time.
    pub(crate) fn retry(&mut self) {
        self.resting.clear();
        let open = &self.open;
        self.failed.retain(|ifindex| match open.get(ifindex) {
            Some(port) => {
                describe(&port.name, &port.attached);
                false
            }
            None => true,
        });
    }

    /// The data path of an interface and why it is not another; `None` while it is not there or not
    /// heard.
    pub(crate) fn attached(&self, name: &str) -> Option<&Attached> {
        let ifindex = self.names.get(name).filter(|ifindex| !self.failed.contains(ifindex))?;
        self.open.get(ifindex).map(|port| &port.attached)
    }

    /// Holds exactly these protocols from now on.
    fn be_present(&mut self, protocols: BTreeSet<(Family, u8)>) {
        self.present.retain(|protocol, _| protocols.contains(protocol));
        for (family, protocol) in protocols {
            if matches!(self.present.get(&(family, protocol)), Some(Some(_))) {
                continue;
            }
            let opened = Presence::open(family, protocol)
                .inspect_err(|error| debug!("peers may be told that nobody is there: {error}"));
            self.present.insert((family, protocol), opened.ok());
        }
    }

    /// A realm with this index can't be heard after all: it is tried again. `false`: there is none.
    pub(super) fn fail_realm(&mut self, index: u32, error: &str) -> bool {
        let Some((_, heard)) = self.realms.iter_mut().find(|(realm, _)| realm.index() == index)
        else {
            return false;
        };
        *heard = false;
        self.resting.insert(index);
        warn!("adverts that come by another interface go unheard, trying again: {error}");
        true
    }

    /// Hears exactly these realms from now on.
    fn hear_realms(&mut self, wanted: &BTreeSet<Realm>, host: &Snapshot) {
        for (gone, _) in self.realms.extract_if(.., |realm, _| !wanted.contains(realm)) {
            // The protocol thread ends after this one, or both do.
            let _ = self.orders.send(Order::Unlisten(gone.index()));
        }
        for realm in wanted {
            let before = self.realms.get(realm).copied();
            if before == Some(true) || self.resting.contains(&realm.index()) {
                continue;
            }
            let name = |vrf| host.interfaces.get(&vrf).map(|vrf| vrf.name.as_str());
            // Without its name it would hear what is in no VRF.
            let opened = match realm.vrf.map(name) {
                Some(None) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
                vrf => SlowPath::open_realm(*realm, vrf.flatten()),
            };
            if let Err(error) = &opened
                && before.is_none()
            {
                warn!("adverts that come by another interface go unheard, trying again: {error}");
            }
            self.realms.insert(*realm, opened.is_ok());
            // As above.
            opened.into_iter().for_each(|socket| {
                let _ = self.orders.send(Order::Listen(Box::new(socket)));
            });
        }
    }

    fn open_one(&mut self, ifindex: u32, name: &str, wanted: &Wanted, fast: &mut Option<FastPath>) {
        let mut port = Port {
            name: name.to_owned(),
            attached: Attached::Socket { why: self.without.clone() },
            families: BTreeSet::new(),
            tap: Tap::default(),
            targets: BTreeSet::new(),
            filtered: None,
            groups: BTreeMap::new(),
        };
        // The sockets first, for all VRRP: between them and the program nothing goes unheard.
        if let Err(error) = port.listen(ifindex, wanted, &self.orders) {
            let _ = self.orders.send(Order::Unlisten(ifindex));
            self.fail(ifindex, name, &error.to_string(), fast);
            return;
        }
        if let Some(fast) = fast {
            port.attached = fast.attach(name, ifindex, self.want);
        }
        if !self.failed.contains(&ifindex) {
            describe(name, &port.attached);
        }
        if !matches!(port.attached, Attached::Socket { .. }) {
            port.filtered = Some(wanted.targets.clone());
            refilter(&self.orders, ifindex, Filter::Only(wanted.targets.clone()));
        }
        port.join(ifindex, &wanted.groups);
        self.names.insert(name.to_owned(), ifindex);
        self.open.insert(ifindex, port);
    }

    fn close(&mut self, ifindex: u32, fast: &mut Option<FastPath>) {
        if let Some(port) = self.open.remove(&ifindex) {
            self.names.remove(&port.name);
            if !self.failed.contains(&ifindex) {
                info!("{}: no longer listened to", port.name);
            }
        }
        if let Some(fast) = fast {
            fast.detach(ifindex);
        }
        // The protocol thread ends after this one, or both do.
        let _ = self.orders.send(Order::Unlisten(ifindex));
    }
}

impl Port {
    /// Opens the sockets that are needed and not open yet, and has all take what is theirs.
    fn listen(
        &mut self,
        ifindex: u32,
        wanted: &Wanted,
        orders: &UnboundedSender<Order>,
    ) -> io::Result<()> {
        let targets = &wanted.targets;
        if self.targets != *targets {
            self.targets.clone_from(targets);
        }
        if self.tap < wanted.tap {
            self.tap = wanted.tap;
            self.families.clear();
        }
        let used = targets.iter().map(|target| wire::family_of(target.destination));
        let new: Vec<Family> = used.filter(|family| self.families.insert(*family)).collect();
        for family in &new {
            let socket = SlowPath::open(ifindex, *family, &Filter::All, self.tap)?;
            // The protocol thread ends after this one, or both do.
            let _ = orders.send(Order::Listen(Box::new(socket)));
        }
        let filtered = self.filtered.as_mut();
        if let Some(filtered) = filtered.filter(|old| !new.is_empty() || *old != targets) {
            filtered.clone_from(targets);
            refilter(orders, ifindex, Filter::Only(targets.clone()));
        }
        Ok(())
    }

    /// Is in exactly these groups from now on.
    fn join(&mut self, ifindex: u32, groups: &BTreeSet<IpAddr>) {
        self.groups.retain(|group, _| groups.contains(group));
        for group in groups {
            let failed = match self.groups.get(group) {
                Some(Some(_)) => continue,
                Some(None) => true,
                None => false,
            };
            let joined = Membership::join(ifindex, *group);
            if let Err(error) = &joined
                && !failed
            {
                warn!("{}: can't join {group}: {error}", self.name);
            }
            if joined.is_ok() && failed {
                info!("{}: joined {group}", self.name);
            }
            self.groups.insert(*group, joined.ok());
        }
    }
}

fn describe(name: &str, attached: &Attached) {
    info!("{name}: {}", path(attached));
}

/// How adverts come, in words.
fn path(attached: &Attached) -> String {
    match attached {
        Attached::Native => "adverts are checked by XDP in native mode".to_owned(),
        Attached::Generic { why } => {
            format!("adverts are checked by XDP in generic mode ({why})")
        }
        Attached::Socket { why } => format!("adverts come through a socket ({why})"),
    }
}

fn refilter(orders: &UnboundedSender<Order>, ifindex: u32, filter: Filter) {
    // As above: one of the two threads ending is the end of both.
    let _ = orders.send(Order::Filter(ifindex, filter));
}

#[cfg(test)]
mod tests;
