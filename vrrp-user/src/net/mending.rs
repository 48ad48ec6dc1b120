//! Interfaces of ours that somebody else has changed.

use vrrp_proto::input::{Outcome, Slot};

use super::executor::Timing;
use super::own_link::Found;
use super::worker::Worker;

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Has a macvlan be as it is to be. What was told of it may be old: it is looked at again.
    pub(super) fn mend(&mut self, found: &Found) {
        let Some(name) = self.hearing.doubts(found).map(str::to_owned) else { return };
        let Ok(Some(now)) = self.addresses.interface(&name) else { return };
        let (what, requests): (Vec<_>, _) =
            self.hearing.mending(&Found::read(&now)).into_iter().unzip();
        if !what.is_empty() {
            tracing::warn!("{name} {} by somebody else's doing; put back", what.join(" and "));
            self.addresses.interfaces(requests);
        }
    }
}
