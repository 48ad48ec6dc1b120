//! What has to be undone when whoever did it is gone.

use nix::net::if_::if_indextoname;
use tracing::warn;

use super::sysctl::Key;

/// What has to be undone when whoever did it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The names of interfaces that were made, or are about to be.
    pub links: Vec<String>,
    /// Settings of others that were changed, or are about to be.
    pub settings: Vec<Before>,
}

/// A setting of an interface that was changed, as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The interface's name then.
    pub device: String,
    /// Its index.
    pub index: u32,
    /// Which setting.
    pub(crate) key: Key,
    /// Its value before.
    pub value: u32,
}

impl Traces {
    /// Nothing is left to be undone.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.settings.is_empty()
    }
}

impl Before {
    /// Puts the setting back, unless somebody else has set it meanwhile, or the interface is gone. Where it
    /// has another name by now, there.
    pub(crate) fn put_back(&self) {
        let Self { index, key, value, .. } = self;
        let Some(device) = if_indextoname(*index).ok().and_then(|name| name.into_string().ok())
        else {
            return;
        };
        if key.read(&device).is_ok_and(|now| Some(now) != key.ours()) {
            return;
        }
        if let Err(error) = key.write(&device, *value) {
            warn!("{device}: {key} can't be put back to {value}: {error}");
        }
    }
}
