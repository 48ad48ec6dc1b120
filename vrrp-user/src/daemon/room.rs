//! How many addresses an advert has room for on an interface: it is never sent in fragments.
//!
//! As in keepalived, those beyond are held like excluded ones, and the MTU counts that the interface has
//! when it comes or the configuration is read. Were adverts cut when the MTU changes later on, the other
//! routers, whose MTU has not, might refuse them: a MASTER whose adverts became too long is mute, in FAULT,
//! and leaves the addresses to them. Where none of them speaks, that would be nobody: its adverts are cut
//! then, until the MTU is larger again, or somebody does speak.

use std::collections::BTreeSet;

use tracing::{info, warn};
use vrrp_common::{Family, wire};
use vrrp_proto::{Input, Slot, VirtualAddress};

use super::plan::Way;
use super::service::Service;
use crate::ah;
use crate::config::Doubt;
use crate::config::diag::Code;
use crate::config::model::Instance;
use crate::net::Snapshot;
use crate::text::some_of;

const IPV6_HEADER: usize = 40;

/// How many addresses fit an advert of an instance where packets of that length do; one is sent, or tried,
/// in any case. Without an MTU, any number.
pub(super) fn room(instance: &Instance, mtu: u32) -> usize {
    if mtu == 0 {
        return usize::MAX;
    }
    let header = match instance.family {
        Family::V4 => wire::IPV4_HEADER,
        Family::V6 => IPV6_HEADER,
    };
    let seal = if instance.seal().is_some() { ah::LEN } else { 0 };
    let others = header + seal + wire::message_len(instance.version, instance.family, 0);
    ((mtu as usize).saturating_sub(others) / instance.family.address_len()).max(1)
}

/// The addresses that an instance's adverts carry, and those that they have no room for.
pub(super) fn split(instance: &Instance, room: usize) -> (&[VirtualAddress], &[VirtualAddress]) {
    instance.addresses.split_at(room.min(instance.addresses.len()))
}

/// Says which addresses adverts have no room for, where that is so.
pub(super) fn say(instance: &Instance, way: &Way) {
    let (carried, left_out) = split(instance, way.room);
    if left_out.is_empty() {
        return;
    }
    let (name, interface, count) = (&instance.name, &instance.interface, carried.len());
    let out: Vec<String> = left_out.iter().map(|address| address.ip.to_string()).collect();
    warn!(
        "({name}) the MTU of {interface} has room for {count} addresses in an advert: held without being \
         advertised, as excluded ones: {}; routers with another MTU have other lists",
        some_of(&out)
    );
}

impl Service {
    /// Cuts the adverts of a router to what the MTU has room for by now, where they are longer, and has it
    /// try again: nobody else was heard for as long as it listened.
    pub(super) fn cut(&mut self, slot: Slot) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let interface = self.host.by_name(&running.instance.interface);
        let fits = interface.map_or(usize::MAX, |it| room(&running.instance, it.mtu));
        if fits >= running.advertised().len() {
            return;
        }
        (running.cut, running.resize) = (true, true);
        let link = running.link;
        info!("({}) nobody else speaks for it: its adverts are cut", running.instance.name);
        self.reconcile_all([slot]);
        if let Some(link) = link {
            self.tell(Input::Link { slot, link });
        }
    }

    /// Has adverts that were cut carry all addresses again, where another MASTER does not heed them: what
    /// can't leave does not stand against it.
    pub(super) fn uncut(&mut self, slot: Slot) {
        let Some(running) = self.running.get_mut(&slot).filter(|running| running.cut) else {
            return;
        };
        running.cut = false;
        if let Some(way) = &mut running.way {
            way.room = usize::MAX;
        }
        info!(
            "({}) another MASTER speaks for it: its adverts are cut no more",
            running.instance.name
        );
        self.reroute(slot);
    }

    /// Has adverts that were cut follow the MTU of these interfaces.
    pub(super) fn resize_cut(&mut self, resized: &BTreeSet<String>) {
        for slot in resized.iter().flat_map(|name| self.index.on(name)) {
            let Some(running) = self.running.get_mut(&slot).filter(|running| running.cut) else {
                continue;
            };
            let instance = &running.instance;
            let interface = self.host.by_name(&instance.interface);
            let fits = interface.map_or(usize::MAX, |it| room(instance, it.mtu));
            running.cut = fits < instance.addresses.len();
            running.resize = true;
        }
    }
}

/// More addresses than an advert has room for on this host.
pub(super) fn doubt(instance: &Instance, host: &Snapshot) -> Option<Doubt> {
    let interface = host.by_name(&instance.interface)?;
    let (carried, left_out) = split(instance, room(instance, interface.mtu));
    let first = left_out.first()?;
    Some(Doubt {
        code: Code::TooMany,
        span: instance.span.clone(),
        message: format!(
            "an advert of {} has room for {} addresses on {}, whose MTU is {}, and here are {}: {} is \
             the first that does not fit",
            instance.name,
            carried.len(),
            interface.name,
            interface.mtu,
            instance.addresses.len(),
            first.ip
        ),
        now: "from there on they are held like `virtual_ipaddress_excluded`, as in keepalived",
        hint: "move them there, or into a second instance, or give all routers a larger MTU",
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::net::fixtures;

    /// What fits, and what is doubtful, of a hundred addresses on an MTU.
    fn fits(lines: &str, address: fn(u32) -> String, mtu: u32) -> (usize, Option<String>) {
        let addresses: String = (1..=100).map(|n| address(n) + "\n").collect();
        let text = format!(
            "vrrp_instance A {{\ninterface eth0\nvirtual_router_id 51\n{lines}\n\
             virtual_ipaddress {{\n{addresses}}}\n}}\n"
        );
        let config = config::parse_str(Path::new("test.conf"), text).config.unwrap();
        let eth0 = crate::net::Interface { mtu, ..fixtures::interface(2, "eth0", []) };
        let (instance, host) = (&config.instances[0], fixtures::host([eth0]));
        let first = split(instance, room(instance, mtu)).1.first().map(|a| a.ip.to_string());
        let said = doubt(instance, &host).map(|doubt| doubt.message);
        let is_said = |ip: &String| said.as_ref().is_some_and(|it| it.contains(&**ip));
        assert_eq!(first.is_some(), said.is_some());
        assert!(first.as_ref().is_none_or(is_said), "{said:?}");
        (room(instance, mtu), first)
    }

    /// The longest advert with one address more would not leave: RFC 3768 §5.1, RFC 9568 §5.2.
    #[test]
    fn as_many_as_the_mtu_has_room_for() {
        let v4 = |n| format!("192.0.2.{n}/24");
        let v6 = |n| format!("fe80::{n:x}/64");
        let at = |text: &str| Some(text.to_owned());
        // Header 20, message 8 or 16, authentication header 24.
        assert_eq!(fits("version 3", v4, 428), (100, None));
        assert_eq!(fits("version 3", v4, 427), (99, at("192.0.2.100")));
        assert_eq!(fits("version 2", v4, 427), (97, at("192.0.2.98")));
        let sealed = "version 2\nauthentication {\nauth_type AH\nauth_pass 1234\n}";
        assert_eq!(fits(sealed, v4, 427), (91, at("192.0.2.92")));
        // Header 40, message 8. Ten of the hundred are too many for any MTU.
        assert_eq!(fits("version 3", v6, 1450), (87, at("fe80::58")));
        assert_eq!(fits("version 3", v6, 1500), (90, None));
        assert_eq!(fits("version 3", v4, 0).1, None);
        assert_eq!(fits("version 3", v4, 20), (1, at("192.0.2.2")));
    }
}
