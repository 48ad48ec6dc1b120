//! What is told of adverts that can't be sent, and of routers that don't hear ours.

use std::io;
use std::net::IpAddr;

use tracing::{info, warn};
use vrrp_common::{Family, Instant, Priority, wire};
use vrrp_proto::{Input, Slot, View};

use super::hear::say;
use super::protocol::Failing;
use super::repeats::{Say, Topic};
use super::service::Service;
use crate::config::model::{Destination, Instance};
use crate::status;

impl Service {
    pub(super) fn send_failed(&mut self, slot: Slot, failing: &Failing, len: usize) {
        let name = self.name(slot);
        let cause = self.unsent(slot, failing, len);
        let line = format!("({name}) advert can't be sent: {cause}");
        let told = (Topic::Unsent, failing.error.to_string());
        let said = self.chatter.note(failing.at, slot.0, told, failing.adverts);
        say(said, &name, &line, |text| warn!("{text}"));
    }

    pub(super) fn send_works(&mut self, now: Instant, slot: Slot) {
        let name = self.name(slot);
        let said = self.chatter.note(now, slot.0, (Topic::SentAgain, String::new()), 0);
        say(said, &name, &format!("({name}) adverts leave again"), |text| info!("{text}"));
    }

    /// Tells of another MASTER that goes on although it was answered.
    pub(super) fn goes_on(
        &mut self,
        now: Instant,
        slot: Slot,
        (from, theirs): (IpAddr, Priority),
        count: u64,
    ) {
        let said = self.chatter.count(now, slot.0, (Topic::GoesOn, from.to_string()), count);
        let Some(running) = self.running.get(&slot).filter(|_| said != Say::Nothing) else {
            return;
        };
        let source = running.way.as_ref().map(|way| way.source);
        let (name, why) = (&running.instance.name, unheard(&running.instance, source));
        let line = format!("({name}) {from} goes on as MASTER with priority {theirs}: {why}");
        say(said, name, &line, |text| warn!("{text}"));
    }

    /// Why adverts can't be sent, and what helps.
    fn unsent(&self, slot: Slot, failing: &Failing, len: usize) -> String {
        let running = self.running.get(&slot);
        let way = running.and_then(|running| running.way.as_ref());
        let interface = way.and_then(|way| self.host.interfaces.get(&way.ifindex));
        let (on, mtu) = interface.map_or(("the interface", 0), |on| (on.name.as_str(), on.mtu));
        unsent(failing.error, len, on, mtu)
    }

    pub(super) fn failing(
        &self,
        now: Instant,
        slot: Slot,
        (failing, len): &(Failing, usize),
    ) -> status::Failing {
        let millis = |then| now.since(then).as_millis() as u64;
        status::Failing {
            error: io::Error::from_raw_os_error(failing.error).to_string(),
            cause: self.unsent(slot, failing, *len),
            adverts: failing.adverts,
            since_ms_ago: millis(failing.since),
            last_ms_ago: millis(failing.at),
        }
    }

    /// Has routers on interfaces whose frames may be longer or shorter by now try again what could not be
    /// sent.
    pub(super) fn send_again<'a>(&self, resized: impl IntoIterator<Item = &'a String>) {
        for slot in resized.into_iter().flat_map(|name| self.index.on(name)) {
            let running = self.running.get(&slot).filter(|running| running.mute);
            if let Some(link) = running.and_then(|running| running.link) {
                self.tell(Input::Link { slot, link });
            }
        }
    }
}

/// Others that are MASTER too, those that are not over by now.
pub(super) fn other_masters(now: Instant, view: &View) -> Vec<status::OtherMaster> {
    let millis = |then| now.since(then).as_millis() as u64;
    let others = view.others.iter().filter(|other| now < other.until);
    others
        .map(|other| status::OtherMaster {
            address: other.source.to_string(),
            priority: other.priority.get(),
            since_ms_ago: millis(other.since),
            heard_ms_ago: millis(other.heard),
        })
        .collect()
}

/// Why a router that was answered may go on as MASTER, and where to look for it. `source`: where our
/// adverts come from.
fn unheard(instance: &Instance, source: Option<IpAddr>) -> String {
    let protocol = if instance.seal().is_some() { wire::PROTOCOL_AH } else { wire::PROTOCOL };
    let source = source.map_or_else(|| "this host".to_owned(), |source| source.to_string());
    match (&instance.destination, instance.family) {
        (Destination::Group(group), Family::V4) => format!(
            "it does not hear us; look for a firewall (protocol {protocol}, {group}) or IGMP snooping there"
        ),
        (Destination::Group(group), Family::V6) => format!(
            "it does not hear us; look for a firewall (protocol {protocol}, {group}) or MLD snooping there"
        ),
        (Destination::Peers(_), _) => format!(
            "it does not hear us; look for a firewall (protocol {protocol} from {source}) there, and whether \
             its `unicast_peer` has {source}"
        ),
    }
}

/// Why an advert of that length can't be sent, and what helps.
fn unsent(error: i32, len: usize, interface: &str, mtu: u32) -> String {
    let said = io::Error::from_raw_os_error(error);
    match error {
        libc::EMSGSIZE => format!(
            "it has {len} bytes, and the MTU of {interface} is {mtu}: raise that, or have fewer addresses in \
             `virtual_ipaddress`; a reload, or that no other router speaks, leaves those out that it has no \
             room for"
        ),
        libc::ENETDOWN => format!("{said}: {interface} is down"),
        libc::EPERM | libc::EACCES => {
            format!("{said}: look for a firewall on this host (output, protocol 112)")
        }
        // The socket's own limit, whatever interface the frames that wait are to leave.
        libc::EAGAIN => format!(
            "{said}: too many frames wait in the kernel; see `tc -s qdisc` for a queue that stands, and \
             `ip neigh` for peers that don't answer"
        ),
        libc::ENOBUFS => format!(
            "{said}: the queue of {interface} is full or drops it; see `tc -s qdisc show dev {interface}`"
        ),
        _ => said.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_told_with_both_lengths() {
        assert_eq!(
            unsent(libc::EMSGSIZE, 834, "eth0", 576),
            "it has 834 bytes, and the MTU of eth0 is 576: raise that, or have fewer addresses in \
             `virtual_ipaddress`; a reload, or that no other router speaks, leaves those out that it has no \
             room for"
        );
    }

    #[test]
    fn the_kernels_words_are_kept() {
        for error in [libc::ENETDOWN, libc::EPERM, libc::ENOBUFS, libc::EAGAIN, libc::ENODEV] {
            let said = io::Error::from_raw_os_error(error).to_string();
            assert!(unsent(error, 40, "eth0", 1500).starts_with(&said));
        }
        // That one is about all interfaces.
        assert!(!unsent(libc::EAGAIN, 40, "eth0", 1500).contains("eth0"));
    }
}
