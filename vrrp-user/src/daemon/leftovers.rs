//! Addresses that an earlier life left on the host.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{debug, info, warn};
use vrrp_proto::VirtualAddress;

use crate::config::model::{Config, Instance, Refused};
use crate::net::Snapshot;
use crate::net::addr::Addresses;
use crate::net::firewall;
use crate::net::leftover::{self, Found, Origin, Wanted};
use crate::net::own_link;
use crate::net::paths::{self, Kept};
use crate::net::routes;
use crate::run_dir;

use super::Options;
use super::life::Life;
use super::served::Served;

/// Finds the configured addresses that the host has, but for those in `known`, and tells what becomes of
/// each. Those of an instance that `goes_on` as Active stay. Instances that are not run count too: they may have held theirs in an earlier life.
pub(super) fn find(
    host: &Snapshot,
    instances: &[Arc<Instance>],
    refused: &[Refused],
    known: &BTreeSet<(String, IpAddr)>,
    goes_on: impl Fn(&Instance) -> bool,
) -> Vec<Found> {
    let wanted: Vec<Wanted<'_>> = instances
        .iter()
        .flat_map(|instance| {
            let at_once = instance.priority.is_owner() || goes_on(instance);
            let held = instance.addresses.iter().chain(&instance.excluded);
            held.map(move |address| {
                let base = instance.base_of(&address.device);
                Wanted { address, base, at_once }
            })
        })
        .chain(refused.iter().flat_map(|refused| {
            refused.addresses.iter().map(|address| Wanted { address, base: None, at_once: false })
        }))
        .filter(|wanted| !known.contains(&(wanted.address.device.clone(), wanted.address.ip)))
        .collect();
    let mut found = leftover::judge(host, &wanted, || {
        let mut sources = routes::sources(host)
            .inspect_err(|error| warn!("The host's routes can't be read: {error}"))
            .unwrap_or_default();
        sources.extend(instances.iter().filter_map(|instance| instance.source));
        sources
    });
    // A router's that holds it there now: it moves.
    found.retain(|one| !known.contains(&(one.device.clone(), one.address.ip)));
    for one in &found {
        if one.is_alarming() {
            warn!("{one}");
        } else if one.origin == Origin::OursBefore {
            // One for each address, and nothing has happened to it.
            debug!("{one}");
        } else {
            info!("{one}");
        }
    }
    found
}

/// What is to be taken off of what was found.
pub(super) fn removals(found: &[Found]) -> impl Iterator<Item = VirtualAddress> {
    found.iter().filter(|found| found.remove).map(Found::to_virtual)
}

/// The instances that are not run whose addresses may be taken off: none while another daemon lives. What
/// they would serve is not known for sure, so nor is whose their addresses are.
pub(super) fn nobodys<'a>(refused: &'a [Refused], served: &mut Served) -> &'a [Refused] {
    let may_have = refused.iter().any(|one| !one.addresses.is_empty() || !one.paths.is_empty());
    match may_have.then(|| served.others()).flatten() {
        Some(who) => {
            info!(
                "What instances that are not run may have stays as it is: {who} may have put it on"
            );
            &[]
        }
        None => refused,
    }
}

/// Cleans up for a configuration that can't be started, as far as it could be read: the daemon that held
/// the addresses is gone, and this one does not come.
pub(super) fn clear_without_start(options: &Options, life: &mut Life, config: &Config) {
    // Whoever holds the run directory is alive, and the addresses are its own.
    let Ok(held) = life.take_run_dir(&options.run_dir) else { return };
    life.open_ledger(&held, None);
    if let Err(error) = own_link::undo(&run_dir::name(held.path()), life.traces()) {
        warn!("Interfaces of an earlier life stay: {error}");
    }
    if let Err(error) = firewall::clear(held.path()) {
        warn!("An nftables table of an earlier life stays: {error}");
    }
    if let Some(who) = Served::default().others() {
        info!("Addresses stay as they are: {who} may have put them on");
        return;
    }
    let Ok(host) = Snapshot::read() else { return };
    let found =
        find(&life.marked(&host), &config.instances, &config.refused, &BTreeSet::new(), |_| false);
    let removed: Vec<VirtualAddress> = removals(&found).collect();
    let index = |name: &str| host.by_name(name).map(|interface| interface.ifindex);
    let run = config.instances.iter().map(|one| &one.paths);
    let all = run.chain(config.refused.iter().map(|one| &one.paths));
    let mut kept: Vec<Kept> = all.flat_map(|one| paths::kept(one, index)).collect();
    kept.reverse();
    if let Err(error) = paths::take_off(&kept.iter().collect::<Vec<_>>()) {
        warn!("Routes and rules of an earlier life stay: {error}");
    }
    let results = Addresses::open().map(|mut addresses| addresses.remove(&removed, index));
    if let Err(error) = results {
        warn!("Addresses of an earlier life stay: {error}");
    }
}
