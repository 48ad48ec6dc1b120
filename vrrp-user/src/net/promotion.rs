//! Taking an address off, and no other with it.
//!
//! Where one of ours is the first of its network on an interface, the kernel deletes all others of that
//! network with it, the host's own among them, unless `promote_secondaries` is set there. Where it is not,
//! it is set for the removal alone: both, and the end of it, are one message to the kernel, so that
//! nobody can die in between and leave it set.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{AfSpecInet, AfSpecUnspec, LinkAttribute, LinkMessage};
use tracing::warn;
use vrrp_proto::settings::VirtualAddress;

use super::netlink::{Answer, BATCH};
use super::sysctl::Key;

/// `IFLA_INET_CONF`: the settings of an interface for IPv4, each with its number as its type.
const INET_CONF: u16 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// `IPV4_DEVCONF_PROMOTE_SECONDARIES`.
const PROMOTE_SECONDARIES: u16 = 20;
/// The length of an attribute with a number in it.
const NUMBER: u16 = 8;
/// Nobody in a network of one address is behind another.
const ALONE: u8 = 32;

/// Addresses that are taken off by one message: with two settings for each of as many interfaces they are
/// no more requests than one message has.
pub(super) const PART: usize = BATCH / 3;

/// Who reads or writes the setting.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no removal has the setting otherwise than it was found: for whoever wants to know it, or to
/// set it for longer.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The interfaces, by index, where an address that is taken off could take others with it.
pub(super) fn endangered<'a>(
    off: impl Iterator<Item = (&'a VirtualAddress, Option<u32>)>,
) -> BTreeSet<u32> {
    let has_company = |address: &VirtualAddress| match address.ip {
        IpAddr::V4(_) => address.prefix < ALONE,
        // In IPv6 none depends on another.
        IpAddr::V6(_) => false,
    };
    let indexes: BTreeSet<u32> =
        off.filter(|(a, _)| has_company(a)).filter_map(|(_, i)| i).collect();
    indexes.into_iter().filter(|index| is_off(*index)).collect()
}

fn is_off(index: u32) -> bool {
    let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    name.is_some_and(|name| Key::PromoteSecondaries.read(&name).is_ok_and(|now| now == 0))
}

/// Sets it on an interface, or puts it back.
pub(super) fn set(index: u32, on: bool) -> RouteNetlinkMessage {
    let mut setting = Vec::with_capacity(NUMBER.into());
    setting.extend(NUMBER.to_ne_bytes());
    setting.extend(PROMOTE_SECONDARIES.to_ne_bytes());
    setting.extend(u32::from(on).to_ne_bytes());
    let settings = AfSpecInet::Other(DefaultNla::new(INET_CONF | NESTED, setting));
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes =
        vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![settings])])];
    RouteNetlinkMessage::SetLink(message)
}

/// Says in the log where the kernel refused it.
pub(super) fn tell(answers: impl Iterator<Item = Answer>) {
    // An interface that is gone, or has no IPv4, has no addresses that could go.
    let harmless = |errno| matches!(errno, Errno::ENODEV | Errno::EAFNOSUPPORT);
    let refusals = answers.filter_map(Result::err).filter(|refusal| !harmless(refusal.errno));
    for refusal in refusals {
        warn!(
            "promote_secondaries can't be set: other addresses may go with ours: {}",
            refusal.errno.desc()
        );
    }
}
