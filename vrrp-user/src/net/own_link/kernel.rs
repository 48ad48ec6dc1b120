//! Asking the kernel for interfaces, and for their end.

use std::collections::BTreeSet;
use std::io;

use nix::errno::Errno;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use super::bases::{Others, put_back};
use super::message::{self, Seen};
use crate::net::netlink::{Netlink, Refusal};
use crate::net::traces::Traces;

/// Room for an answer.
const RECEIVE_BUFFER: usize = 1 << 18;
/// The group that interfaces are put into to be removed together: "vrrp". Whoever else uses it loses
/// nothing: interfaces of others are looked for in it first.
const GROUP: u32 = 0x7672_7270;

/// Has macvlans of `by`, whose process is gone, hear nothing any more.
pub(crate) fn deafen(by: &str, names: &BTreeSet<String>) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    let ours = |seen: &Seen| seen.is_of(by) && names.contains(&seen.name);
    let ours = list(&mut netlink)?.into_iter().filter(ours);
    let requests = ours.map(|seen| message::set_hearing(seen.index, false)).collect();
    // An ipvlan refuses it, and needs it not: it has no MAC address of its own.
    netlink.execute(requests, 0).map(drop)
}

/// Undoes what a process of `by` that is gone has made and changed, as far as that can be done.
pub(crate) fn undo(by: &str, traces: &Traces) -> io::Result<()> {
    if traces.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<&String> = traces.links.iter().collect();
    let mut netlink = Netlink::open(0, RECEIVE_BUFFER)?;
    let removed = remove(&mut netlink, by, |seen| names.contains(&seen.name));
    let others = used_by_others(&mut netlink, by).unwrap_or_default();
    traces.settings.iter().for_each(|before| put_back(before, &others));
    removed
}

/// What others of us than `by` have interfaces on top of.
pub(super) fn used_by_others(netlink: &mut Netlink, by: &str) -> io::Result<Others> {
    let all = list(netlink)?;
    let others = all.iter().filter(|seen| !seen.is_of(by));
    Ok(others.filter_map(Seen::base_of_any).map(str::to_owned).collect())
}

pub(super) fn open(netlink: &mut Option<Netlink>) -> io::Result<&mut Netlink> {
    match netlink {
        Some(open) => Ok(open),
        closed => Ok(closed.insert(Netlink::open(0, RECEIVE_BUFFER)?)),
    }
}

/// The interface of that name; `None` where there is none.
pub(in crate::net) fn ask(netlink: &mut Netlink, name: &str) -> io::Result<Option<LinkMessage>> {
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

/// Removes those of `by`'s interfaces that are meant, all at once.
pub(super) fn remove(
    netlink: &mut Netlink,
    by: &str,
    which: impl Fn(&Seen) -> bool,
) -> io::Result<()> {
    let all = list(netlink)?;
    let (meant, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|seen| seen.is_of(by) && which(seen));
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
