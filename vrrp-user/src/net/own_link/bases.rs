//! What is set at the interfaces that ours are on top of, and put back.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::net::sysctl::Key;
use crate::net::traces::Before;

/// Settings of bases as they were, by name, index and key.
#[derive(Debug, Default)]
pub(super) struct Bases(BTreeMap<(String, u32, Key), u32>);

impl Bases {
    /// As an earlier life has noted them.
    pub(super) fn after(earlier: Vec<Before>) -> Self {
        let at_bases = earlier.into_iter().filter(|before| Key::AT_BASES.contains(&before.key));
        Self(at_bases.map(|b| ((b.device, b.index, b.key), b.value)).collect())
    }

    /// Looks up, before these are changed, how they are now at an interface. Where `others` need it so, it was they
    /// who set it, and leave it to the last of us to put back: then it was as interfaces are by default.
    pub(super) fn look(
        &mut self,
        device: &str,
        index: u32,
        keys: &[Key],
        others: impl FnOnce() -> Others,
    ) {
        let new = |key: &Key| !self.0.contains_key(&(device.to_owned(), index, *key));
        let read = |key: Key| Some((key, key.read(device).ok()?));
        let mut now: Vec<_> = keys.iter().copied().filter(new).filter_map(read).collect();
        let is_set = |(key, value): &(Key, u32)| key.ours() == Some(*value);
        if now.iter().any(is_set) && others().contains(device) {
            for (key, value) in now.iter_mut().filter(|one| is_set(one)) {
                *value = key.read("default").unwrap_or(*value);
            }
        }
        self.0.extend(now.into_iter().map(|(key, value)| ((device.to_owned(), index, key), value)));
    }

    /// How these were.
    pub(super) fn before<'a>(
        &'a self,
        devices: &'a BTreeSet<&str>,
    ) -> impl Iterator<Item = Before> + 'a {
        let before = self.0.iter().filter(|((device, ..), _)| devices.contains(device.as_str()));
        before.map(|((device, index, key), value)| Before {
            device: device.clone(),
            index: *index,
            key: *key,
            value: *value,
        })
    }

    /// Puts back what is not among these. Another daemon may have interfaces of its own on top of one of
    /// them: `others` finds out.
    pub(super) fn keep_only(&mut self, used: &BTreeSet<&str>, others: impl FnOnce() -> Others) {
        let unused = |(device, ..): &&(String, u32, Key)| !used.contains(device.as_str());
        let unused: Vec<_> = self.0.keys().filter(unused).cloned().collect();
        if unused.is_empty() {
            return;
        }
        let others = others();
        for place in unused {
            if let Some(value) = self.0.remove(&place) {
                let (device, index, key) = place;
                put_back(&Before { device, index, key, value }, &others);
            }
        }
    }
}

/// The interfaces that others of us have something on top of, which needs their settings.
pub(super) type Others = BTreeSet<String>;

/// Puts a setting back where nobody else needs it.
pub(super) fn put_back(before: &Before, others: &Others) {
    if Key::AT_BASES.contains(&before.key) && others.contains(&before.device) {
        info!("{}: {} stays, another xvrrp needs it", before.device, before.key);
    } else {
        before.put_back();
    }
}

/// Sets what a base needs.
pub(super) fn set_up(base: &str, keys: &[Key]) {
    for &key in keys {
        if let Some(value) = key.ours().filter(|value| key.read(base).is_ok_and(|now| now < *value))
        {
            set(key, base, value);
        }
    }
}

/// Sets a setting that has another value; says where it can't.
pub(super) fn set(key: Key, device: &str, value: u32) {
    if key.read(device).is_ok_and(|now| now != value)
        && let Err(error) = key.write(device, value)
    {
        warn!("{device}: {key} can't be set to {value}: {error}");
    }
}
