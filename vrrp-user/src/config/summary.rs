//! What a configuration comes to: which instances will be run, and how.

use std::collections::BTreeMap;
use std::fmt::Write;

use vrrp_common::time;

use super::model::{Config, Instance};
use super::suggest::shown;
use super::value::said;
use super::{Loaded, Unstartable};
use crate::text::{some_of, span};

/// One line for each instance and one for its addresses on each interface.
pub(super) fn summary(loaded: &Loaded) -> String {
    if let Err(Unstartable::Broken(errors)) = loaded.startable() {
        return format!("Nothing is run: the file can't be used, see {errors}\n");
    }
    let Some(Config { instances, refused, .. }) = &loaded.config else { return String::new() };
    if instances.is_empty() && refused.is_empty() {
        return "Nothing is run: there is no instance\n".to_owned();
    }
    let mut out = String::new();
    for instance in instances {
        line(&mut out, &format!("{}: {}", shown(&instance.name), work(instance)));
        for (device, addresses) in by_device(instance) {
            line(&mut out, &format!("    on {}: {}", shown(device), some_of(&addresses)));
        }
    }
    for one in refused {
        line(&mut out, &format!("{}: not run: {}", shown(&one.name), one.reason));
    }
    out
}

/// What an instance does, without its name: how it takes part in the election, in one line.
pub(crate) fn work(instance: &Instance) -> String {
    let Instance { version, vrid, interface, priority, interval, .. } = instance;
    let becomes = if priority.is_owner() {
        "MASTER from the start: priority 255 owns the addresses".to_owned()
    } else {
        let down = time::master_down(*version, *priority, *interval, instance.down_timer_adverts);
        format!("a silent MASTER is replaced after {}", span(down))
    };
    format!(
        "VRRP version {version}, VRID {vrid} on {}, priority {priority}, one advert each {}; {becomes}",
        shown(interface),
        said(interval.get())
    )
}

/// The addresses as they will be held, in the order of the file.
fn by_device(instance: &Instance) -> BTreeMap<&str, Vec<String>> {
    let mut devices: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let excluded = instance.excluded.iter().map(|address| (address, " (not in the adverts)"));
    for (address, note) in instance.addresses.iter().map(|address| (address, "")).chain(excluded) {
        let text = format!("{}/{}{note}", address.ip, address.prefix);
        devices.entry(&address.device).or_default().push(text);
    }
    devices
}

fn line(out: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}
