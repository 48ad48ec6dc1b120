//! Interfaces that instances make for themselves: a macvlan with the virtual MAC address (`use_vmac`,
//! RFC 9568 §7.3), or an ipvlan (`use_ipvlan`).
//!
//! An instance's addresses go on its own interface. That hears nothing while its router is not Active
//! (`Hearing`, on the effects thread), so that a Backup never answers for the virtual MAC address
//! (RFC 9568 §6.4.2). Adverts don't pass it: they are frames of our own and leave by the base, with the
//! virtual MAC address in them; and they are heard there, before the kernel would hand them on.
//!
//! So that an address is answered for with the virtual MAC address alone, and the host's own with the
//! base's alone, each of the two answers for its own addresses only (`arp_ignore`), and the base never
//! names an address of the other as the sender of its requests (`arp_announce`, below an ipvlan too). What
//! was changed at the base is put back with the last interface on it, also of another daemon: each marks
//! its own as its.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use tracing::{error, info, warn};
use vrrp_proto::VirtualAddress;

use super::addr::Addresses;
use super::monitor::Change;
use super::netlink::{Netlink, Refusal};
use super::sysctl::Key;
use super::table::{Interface, Snapshot, read_link};
use super::traces::Traces;
use crate::run_dir;
use crate::transmit::Mac;

mod bases;
mod hearing;
mod kernel;
mod message;

use bases::{Bases, set};
pub use hearing::Found;
pub(super) use hearing::Hearing;
pub(super) use kernel::ask;
pub(crate) use kernel::{deafen, undo};
use kernel::{open, remove, used_by_others};
pub use message::Shape;
use message::{Fit, Seen};

/// The kernel makes one macvlan beside the other, and gives frames to whose MAC address they come from.
const DEAF: &str = "the other routers' adverts, which come from the virtual MAC address, would not come to it: \
                    write vmac_xmit_base on all routers";

/// An interface that an instance wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The name of the interface it is on top of.
    pub base: String,
    /// What it is.
    pub shape: Shape,
    /// Adverts of its router come from its MAC address.
    pub adverts: bool,
    /// The group of interfaces that it is in.
    pub group: u32,
}

impl Wanted {
    /// Whether it has this address for itself, and no router puts it on.
    pub(crate) fn has_from_start(&self, ip: IpAddr) -> bool {
        matches!(self.shape, Shape::Ipvlan { source: Some((source, _)), .. } if source == ip)
    }
}

/// A macvlan that is there, as the thread that moves addresses has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The name of the interface below it.
    pub base: String,
    /// Its MAC address.
    pub mac: Mac,
    /// It is to have IPv6 addresses.
    pub v6: bool,
    /// Adverts of its router come from its MAC address.
    pub adverts: bool,
}

impl Made {
    /// Where it is in the way of another one.
    fn place(&self) -> Option<(u32, Mac)> {
        let Shape::Macvlan { mac, .. } = self.wanted.shape else { return None };
        self.ours.then_some((self.base, mac))
    }

    fn macvlan(&self) -> Option<Macvlan> {
        let Shape::Macvlan { mac, v6 } = self.wanted.shape else { return None };
        let Wanted { name, base, adverts, .. } = self.wanted.clone();
        Some(Macvlan { index: self.index, name, base, mac, v6, adverts })
    }
}

/// One that is there.
#[derive(Clone, Debug)]
struct Made {
    wanted: Wanted,
    index: u32,
    base: u32,
    /// That its base is in.
    vrf: Option<u32>,
    /// We made it, now or in an earlier life: it goes with us.
    ours: bool,
}

/// What the thread that moves addresses has not been told yet.
#[derive(Debug, Default)]
pub struct News {
    /// Macvlans that are new, or have changed.
    pub made: Vec<Macvlan>,
    /// The indexes of those that are gone.
    pub gone: Vec<u32>,
}

/// The interfaces made so far, and what was changed for them. On the service thread.
#[derive(Debug)]
pub struct OwnLinks {
    /// Whose they are: what their mark begins with.
    by: String,
    netlink: Option<Netlink>,
    made: BTreeMap<String, Made>,
    /// Those of ours with a MAC address, by the index of the base and that: a base has it once.
    by_mac: BTreeMap<(u32, Mac), String>,
    /// What an earlier life made.
    earlier: BTreeSet<String>,
    /// What was changed below them.
    bases: Bases,
    /// What is wrong with each that can't be had: said once.
    complaints: BTreeMap<String, String>,
    news: News,
    /// One that nobody wants any more is still there.
    waits: bool,
}

impl OwnLinks {
    /// None yet, but for what an earlier life of the daemon with this run directory made and changed.
    pub fn new(run_dir: &Path, earlier: Traces) -> Self {
        Self {
            by: run_dir::name(run_dir),
            netlink: None,
            made: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            earlier: earlier.links.into_iter().collect(),
            bases: Bases::after(earlier.settings),
            complaints: BTreeMap::new(),
            news: News::default(),
            waits: false,
        }
    }

    /// Says whether there is such an interface as is wanted.
    pub fn is_there(&self, wanted: &Wanted, host: &Snapshot) -> bool {
        let (Some(base), Some(there)) = (host.by_name(&wanted.base), host.by_name(&wanted.name))
        else {
            return false;
        };
        self.made.get(&wanted.name).is_some_and(|made| {
            made.wanted == *wanted
                && (made.base, made.vrf) == (base.ifindex, base.vrf)
                && made.index == there.ifindex
        })
    }

    /// Why there is no interface of that name.
    pub fn complaint(&self, name: &str) -> Option<&str> {
        self.complaints.get(name).map(String::as_str)
    }

    /// Looks up, before anything is changed at a base, how that is now.
    pub fn look(&mut self, wanted: &Wanted, host: &Snapshot) {
        let Some(base) = host.by_name(&wanted.base) else { return };
        let (netlink, by) = (&mut self.netlink, &self.by);
        let others = || open(netlink).and_then(|it| used_by_others(it, by)).unwrap_or_default();
        self.bases.look(&base.name, base.ifindex, wanted.shape.at_base(), others);
    }

    /// What [`OwnLinks::make`] does for these, as far as somebody has to undo it.
    pub fn traces(&self, wanted: &[Wanted]) -> Traces {
        let is_ours = |name: &String| self.made.get(name).is_none_or(|made| made.ours);
        let links = wanted.iter().map(|wanted| wanted.name.clone()).filter(is_ours).collect();
        let bases: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.base.as_str()).collect();
        Traces { links, settings: self.bases.before(&bases).collect() }
    }

    /// Makes an interface, or takes over the one that is there. Where that can't be done, it says why,
    /// once. The host as it is known takes in what is new.
    pub fn make(&mut self, wanted: &Wanted, host: &mut Snapshot) {
        let Some(below) = host.by_name(&wanted.base) else { return };
        let (base, vrf, is_macvlan) = (below.ifindex, below.vrf, below.mode.is_some());
        if self.is_there(wanted, host) {
            return;
        }
        if let Some(old) = self.made.get(&wanted.name).filter(|old| old.ours) {
            // Of another kind, or on top of an interface that is no longer the one of that name.
            if old.base != base || !is_like(&old.wanted.shape, &wanted.shape) {
                self.news.gone.push(old.index);
                self.replace(&wanted.name);
                self.forget(&wanted.name);
            }
        }
        self.make_room(wanted, base);
        let made = if wanted.adverts && is_macvlan {
            Err(format!("{} is a macvlan, too; {DEAF}", wanted.base))
        } else {
            self.try_make(wanted, base, vrf)
        };
        match made {
            Ok((index, ours, message)) => {
                if self.complaints.remove(&wanted.name).is_some() {
                    info!("{}: it can be used now", wanted.name);
                }
                let made = Made { wanted: wanted.clone(), index, base, vrf, ours };
                self.news.made.extend(made.macvlan());
                let old = self.remember(made);
                self.news.gone.extend(old.map(|old| old.index).filter(|old| *old != index));
                // The one before it may not be seen to be gone yet.
                host.interfaces.remove_namesakes(&wanted.name, index);
                let mut now = read_link(&message);
                if let Some(before) = host.interfaces.get(&index) {
                    now.addresses.clone_from(&before.addresses);
                }
                host.follow(&Change::Link(now));
            }
            Err(why) => {
                self.forget(&wanted.name);
                if self.complaints.get(&wanted.name) != Some(&why) {
                    error!("{} on {} can't be used: {why}", wanted.name, wanted.base);
                    self.complaints.insert(wanted.name.clone(), why);
                }
            }
        }
    }

    /// Removes one of ours that has another name by now: a MAC address is on a base once.
    fn make_room(&mut self, wanted: &Wanted, base: u32) {
        let Shape::Macvlan { mac, .. } = wanted.shape else { return };
        let Some(name) = self.by_mac.get(&(base, mac)).filter(|name| **name != wanted.name) else {
            return;
        };
        let name = name.clone();
        self.replace(&name);
        let gone = self.forget(&name);
        self.news.gone.extend(gone.map(|made| made.index));
    }

    /// Notes one that is there, in place of the one of its name before.
    fn remember(&mut self, made: Made) -> Option<Made> {
        let name = made.wanted.name.clone();
        let before = self.forget(&name);
        if let Some(place) = made.place() {
            self.by_mac.insert(place, name.clone());
        }
        self.made.insert(name, made);
        before
    }

    fn forget(&mut self, name: &str) -> Option<Made> {
        let made = self.made.remove(name)?;
        if let Some(place) = made.place()
            && self.by_mac.get(&place).is_some_and(|other| other == name)
        {
            self.by_mac.remove(&place);
        }
        Some(made)
    }

    /// Its index, whether it is ours, and the kernel's description of it.
    fn try_make(
        &mut self,
        wanted: &Wanted,
        base: u32,
        vrf: Option<u32>,
    ) -> Result<(u32, bool, LinkMessage), String> {
        let netlink = open(&mut self.netlink).map_err(|error| error.to_string())?;
        let found = ask(netlink, &wanted.name).map_err(|error| error.to_string())?;
        let found = found.map(|message| Seen::read(&message));
        let fit = found.map(|seen| seen.fits(&self.by, (&wanted.base, base), &wanted.shape));
        let mut ours = true;
        match fit {
            Some(Fit::Same { ours: by_us }) => ours = by_us,
            Some(Fit::Foreign) => {
                return Err(
                    "there is another interface of that name, which is left alone".to_owned()
                );
            }
            Some(Fit::Stale) => {
                self.replace(&wanted.name);
                self.create(wanted, base)?;
            }
            None => self.create(wanted, base)?,
        }
        self.set_up(wanted);
        let netlink = open(&mut self.netlink).map_err(|error| error.to_string())?;
        let message = ask(netlink, &wanted.name).map_err(|error| error.to_string())?;
        let message = message.ok_or_else(|| "it is gone".to_owned())?;
        let index = message.header.index;
        if ours && read_link(&message).vrf != vrf {
            self.change(message::set_vrf(index, vrf.unwrap_or(0)))
                .map_err(|error| format!("it can't be put into the VRF of its base: {error}"))?;
        }
        if ours && Seen::read(&message).group != wanted.group {
            self.change(message::set_group(index, wanted.group))
                .map_err(|error| format!("it can't be put into its group: {error}"))?;
        }
        self.finish(wanted, index)?;
        Ok((index, ours, message))
    }

    fn create(&mut self, wanted: &Wanted, base: u32) -> Result<(), String> {
        let netlink = open(&mut self.netlink).map_err(|error| error.to_string())?;
        let create = message::create(&wanted.name, base, &wanted.shape);
        let refused = |Refusal { errno, text }: Refusal| match (errno, text) {
            (Errno::EOPNOTSUPP, _) => "this kernel has no interfaces of that kind".to_owned(),
            (errno, None) => errno.desc().to_owned(),
            (errno, Some(text)) => format!("{} ({text})", errno.desc()),
        };
        let one = |answers: Vec<Result<(), Refusal>>| answers.into_iter().find_map(Result::err);
        let made = netlink.execute(vec![create], NLM_F_CREATE | NLM_F_EXCL);
        if let Some(refusal) = one(made.map_err(|error| error.to_string())?) {
            return Err(refused(refusal));
        }
        info!("{} made on {}", wanted.name, wanted.base);
        // Where the host has no IPv6, the second is refused, and there is nothing to prevent.
        let more = vec![
            message::set_mark(&wanted.name, &self.by, &wanted.base),
            message::no_addresses_of_its_own(&wanted.name),
        ];
        netlink.execute(more, 0).map(drop).map_err(|error| error.to_string())
    }

    /// Sets what it and its base need, before it can hear anything.
    fn set_up(&mut self, wanted: &Wanted) {
        let name = wanted.name.as_str();
        // The first address of a network does not take the others with it.
        set(Key::PromoteSecondaries, name, 1);
        set(Key::AcceptRa, name, 0);
        bases::set_up(&wanted.base, wanted.shape.at_base());
        let Shape::Macvlan { v6, .. } = wanted.shape else { return };
        // Without an IPv6 address it has nothing to say over IPv6 either.
        set(Key::DisableIpv6, name, u32::from(!v6));
        set(Key::ArpIgnore, name, 1);
        // The way back to a client leads out of the base, so a strict look at it would refuse all. The
        // kernel takes the larger of this and the value for all interfaces.
        if ["all", name].iter().any(|device| Key::RpFilter.read(device).is_ok_and(|now| now == 1)) {
            set(Key::RpFilter, name, 2);
        }
        if ["all", name].iter().any(|device| Key::ArpFilter.read(device).is_ok_and(|on| on != 0)) {
            warn!("{name} will answer no ARP request while arp_filter is set for it or for all");
        }
    }

    /// What is there from the beginning: an interface that hears nothing is up all the time, so that
    /// routes and rules of others can name it. One with IPv6 addresses is not: as it loses them, it would
    /// tell the switches so, from the MAC address that is another router's by then.
    fn finish(&mut self, wanted: &Wanted, index: u32) -> Result<(), String> {
        if matches!(wanted.shape, Shape::Macvlan { v6: true, .. }) {
            return Ok(());
        }
        self.change(message::set_up(index, true))
            .map_err(|error| format!("it does not come up: {error}"))?;
        let Shape::Ipvlan { source: Some((ip, prefix)), .. } = wanted.shape else { return Ok(()) };
        let address = VirtualAddress::new(ip, prefix, wanted.name.as_str());
        let mut host = Addresses::open().map_err(|error| error.to_string())?;
        match host.add([&address], |_| Some(index)).into_iter().next() {
            Some(Err(error)) => Err(format!("{ip}/{prefix} can't be put on it: {error}")),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Changes one interface.
    fn change(&mut self, request: RouteNetlinkMessage) -> io::Result<()> {
        let answers = open(&mut self.netlink)?.execute(vec![request], 0)?;
        match answers.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(Refusal { errno, .. }) => Err(errno.into()),
        }
    }

    /// Takes in how an interface is by now, which somebody may have changed. A macvlan is as it is to be
    /// while a router holds an address on it, and otherwise: whoever has it so has to look at this.
    pub fn saw(&mut self, interface: &Interface) -> Option<Found> {
        let made = self.made.get(&interface.name).filter(|made| made.index == interface.ifindex)?;
        if let Shape::Macvlan { .. } = made.wanted.shape {
            return Some(Found::of(interface));
        }
        // What was told may be old: it is down when it is made.
        let mut is_down = || {
            let now = open(&mut self.netlink).and_then(|netlink| ask(netlink, &interface.name));
            matches!(now, Ok(Some(now)) if !read_link(&now).admin_up)
        };
        if !interface.admin_up && is_down() {
            match self.change(message::set_up(interface.ifindex, true)) {
                Ok(()) => warn!("{}: somebody set it down; put back", interface.name),
                Err(error) => warn!("{}: somebody set it down: {error}", interface.name),
            }
        }
        None
    }

    /// Removes what nobody wants any more, unless it is still `in_use`, and puts back what was changed
    /// for it. Before that, `leave` hears each index: whoever works at one of many holds the kernel's lock
    /// up again and again, for 13 ms where it sets one down.
    pub fn keep_only(
        &mut self,
        wanted: &[Wanted],
        in_use: impl Fn(&Wanted) -> bool,
        leave: impl FnMut(u32),
    ) {
        let mut names: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        let mut bases: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.base.as_str()).collect();
        let waiting = self.made.values().map(|made| &made.wanted);
        let waiting = waiting.filter(|one| !names.contains(one.name.as_str()) && in_use(one));
        let waiting: Vec<Wanted> = waiting.cloned().collect();
        self.waits = !waiting.is_empty();
        names.extend(waiting.iter().map(|one| one.name.as_str()));
        bases.extend(waiting.iter().map(|one| one.base.as_str()));
        let mut ours = std::mem::take(&mut self.earlier);
        let (mut others, mut gone) = (Vec::new(), Vec::new());
        self.made.retain(|name, made| {
            let stays = names.contains(name.as_str());
            if !stays {
                gone.push(made.index);
            }
            if !stays && made.ours {
                ours.insert(name.clone());
            } else if !stays && matches!(made.wanted.shape, Shape::Macvlan { .. }) {
                others.push(message::set_hearing(made.index, true));
            }
            stays
        });
        self.by_mac.retain(|_, name| names.contains(name.as_str()));
        gone.into_iter().for_each(leave);
        ours.retain(|name| !names.contains(name.as_str()));
        self.complaints.retain(|name, _| names.contains(name.as_str()));
        if !(ours.is_empty() && others.is_empty()) {
            let done = open(&mut self.netlink).and_then(|netlink| {
                // As it was found.
                netlink.execute(others, 0)?;
                remove(netlink, &self.by, |seen| ours.contains(&seen.name))
            });
            if let Err(error) = done {
                warn!("Interfaces of ours can't be removed: {error}");
            }
        }
        let (netlink, by) = (&mut self.netlink, &self.by);
        let others = || open(netlink).and_then(|it| used_by_others(it, by)).unwrap_or_default();
        self.bases.keep_only(&bases, others);
    }

    /// Says whether something is still in use that nobody wants.
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// What is new since this was asked last.
    pub fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Removes one of ours at once, since another is to have its name.
    fn replace(&mut self, name: &str) {
        let removed = open(&mut self.netlink)
            .and_then(|netlink| remove(netlink, &self.by, |seen: &Seen| seen.name == name));
        if let Err(error) = removed {
            warn!("{name} can't be removed: {error}");
        }
    }
}

/// Whether one can become the other as it is.
fn is_like(one: &Shape, other: &Shape) -> bool {
    match (one, other) {
        (Shape::Macvlan { mac: one, .. }, Shape::Macvlan { mac: other, .. }) => one == other,
        _ => one == other,
    }
}
