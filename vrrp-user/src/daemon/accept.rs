//! Accept_Mode False: which addresses answer nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tracing::{error, warn};
use vrrp_proto::VirtualAddress;

use super::place::Place;
use super::service::Service;
use crate::config::model::{Config, Instance};
use crate::net::firewall::Refused;
use crate::net::leftover;

/// Says whether traffic to an instance's addresses is refused (RFC 9568 §6.1: their owner takes it
/// always).
fn refuses(instance: &Instance) -> bool {
    !instance.accept && !instance.priority.is_owner()
}

/// The addresses of an instance, also those not in its adverts.
fn held(instance: &Instance) -> impl Iterator<Item = &VirtualAddress> {
    instance.addresses.iter().chain(&instance.excluded)
}

/// What is refused of an address: a link-local one is another host's elsewhere.
fn refused<'a>(instance: &'a Instance, address: &'a VirtualAddress) -> Vec<Refused> {
    let ip = address.ip;
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if !link_local {
        return vec![Refused { ip, link: None }];
    }
    let own = instance.own_link.as_ref().map(|own| &own.name);
    let links = std::iter::once(&address.device).chain(own);
    links.map(|link| Refused { ip, link: Some(link.clone()) }).collect()
}

/// Whether what is refused of an instance is new in it.
fn is_news(instance: &Instance, before: Option<&Instance>) -> bool {
    before.is_none_or(|before| !refuses(before) || !held(before).eq(held(instance)))
}

impl Service {
    /// Has what is sent to addresses dropped whose instances do not accept it, before any of them can be
    /// put on; says of each instance that is new in this why its addresses will not answer.
    pub(super) fn refuse_traffic(&mut self, config: &Config) {
        let again = self.firewall.is_open();
        let (mut all, mut news) = (BTreeSet::new(), Vec::new());
        let mut before: BTreeMap<Place, &Instance> = BTreeMap::new();
        for running in self.running.values() {
            // One that a reload is just ending may be there beside the one that came after.
            before.entry(Place::of(&running.instance)).or_insert(&running.instance);
        }
        for instance in config.instances.iter().filter(|instance| refuses(instance)) {
            // Who can't reach the host's own address can't put it right any more.
            // However it is written: what is dropped is dropped by the address alone.
            let own = |address: &&VirtualAddress| leftover::is_own(&self.own, address.ip);
            let (own, others): (Vec<_>, Vec<_>) = held(instance).partition(own);
            all.extend(others.iter().flat_map(|address| refused(instance, address)));
            // While they answer against the file's word, that they will not has yet to be said.
            if again || is_news(instance, before.get(&Place::of(instance)).copied()) {
                news.push((instance, own, others));
            }
        }
        let done = self.firewall.refuse(all);
        if again && done.is_err() {
            return;
        }
        for (instance, own, others) in news {
            self.say_why(instance, &own, if done.is_ok() { &others } else { &[] });
        }
        if let Err(error) = done {
            error!(
                "What is sent to addresses with no_accept can't be dropped, so they answer: {error}"
            );
        }
    }

    /// Stops dropping: no address is left.
    pub(super) fn accept_traffic(&mut self) {
        if let Err(error) = self.firewall.refuse(BTreeSet::new()) {
            warn!("The nftables table {} stays: {error}", self.firewall.name());
        }
    }

    fn say_why(&self, instance: &Instance, own: &[&VirtualAddress], others: &[&VirtualAddress]) {
        let name = &instance.name;
        let list = |addresses: &[&VirtualAddress]| {
            let all: Vec<String> = addresses.iter().map(|address| address.ip.to_string()).collect();
            all.join(", ")
        };
        if !others.is_empty() {
            warn!(
                "({name}) {} will not answer, not even ping: no_accept or strict mode has what is sent to \
                 them dropped, by the nftables table {}, as this router does not own them (RFC 9568 \
                 §6.1). Take it out on all routers to have them answer",
                list(others),
                self.firewall.name()
            );
        }
        if !own.is_empty() {
            warn!("({name}) {} answers in spite of no_accept: the host's own", list(own));
        }
    }
}
