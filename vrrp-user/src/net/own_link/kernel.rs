//! Asking the kernel for interfaces, and for their end.

use std::collections::BTreeSet;
use std::io;

use nix::errno::Errno;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use super::message::{self, Seen};
use super::{Traces, put_back};
use crate::net::netlink::{Netlink, Refusal};

/// Room for an answer.
const RECEIVE_BUFFER: usize = 1 << 18;
/// The group that interfaces are put into to be removed together: "vrrp". Whoever else uses it loses
/// nothing: interfaces of others are looked for in it first.
const GROUP: u32 = 0x7672_7270;

/// Has macvlans of a process that is gone hear nothing any more.
pub(crate) fn deafen(names: &BTreeSet<String>) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    let ours = list(&mut netlink)?.into_iter().filter(|seen| is_one(seen, names));
    let requests = ours.map(|seen| message::set_hearing(seen.index, false)).collect();
    // An ipvlan refuses it, and needs it not: it has no MAC address of its own.
    netlink.execute(requests, 0).map(drop)
}

/// Undoes what a process that is gone has made and changed.
pub(crate) fn undo(traces: &Traces) -> io::Result<()> {
    traces.settings.iter().for_each(put_back);
    if traces.links.is_empty() {
        return Ok(());
    }
    let names = traces.links.iter().cloned().collect();
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    remove(&mut netlink, |seen| is_one(seen, &names))
}

fn is_one(seen: &Seen, names: &BTreeSet<String>) -> bool {
    seen.is_ours() && names.contains(&seen.name)
}

pub(super) fn open(netlink: &mut Option<Netlink>) -> io::Result<&mut Netlink> {
    match netlink {
        Some(open) => Ok(open),
        closed => Ok(closed.insert(Netlink::open(0, RECEIVE_BUFFER)?)),
    }
}

/// The interface of that name; `None` where there is none.
pub(super) fn ask(netlink: &mut Netlink, name: &str) -> io::Result<Option<LinkMessage>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut found = None;
    let answer = netlink.ask(RouteNetlinkMessage::GetLink(message), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            found = Some(link);
        }
    })?;
    match answer {
        Ok(()) => Ok(found),
        Err(Refusal { errno: Errno::ENODEV, .. }) => Ok(None),
        Err(Refusal { errno, .. }) => Err(errno.into()),
    }
}

fn list(netlink: &mut Netlink) -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            all.push(Seen::read(&link));
        }
    })?;
    Ok(all)
}

/// Removes those of our interfaces that are meant, all at once.
pub(super) fn remove(netlink: &mut Netlink, which: impl Fn(&Seen) -> bool) -> io::Result<()> {
    let all = list(netlink)?;
    let (meant, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|seen| seen.is_ours() && which(seen));
    let mut requests: Vec<_> = if others.iter().any(|other| other.group == GROUP) {
        meant.iter().map(|seen| message::remove(seen.index)).collect()
    } else {
        meant.iter().map(|seen| message::set_group(seen.index, GROUP)).collect()
    };
    if !meant.is_empty() && others.iter().all(|other| other.group != GROUP) {
        requests.push(message::remove_group(GROUP));
    }
    let answers = netlink.execute(requests, 0)?;
    match answers.into_iter().find_map(Result::err) {
        // One that was gone before.
        None | Some(Refusal { errno: Errno::ENODEV, .. }) => Ok(()),
        Some(Refusal { errno, .. }) => Err(errno.into()),
    }
}
