//! What the thread tells of how everything is.

use std::collections::BTreeMap;

use vrrp_common::arrivals::Arrivals;
use vrrp_proto::Slot;

use super::Protocol;
use crate::daemon::protocol::Inspection;
use crate::daemon::protocol::failing::Failing;
use crate::daemon::protocol::senders::Sender;
use crate::sys::clock;

impl Protocol {
    fn arrivals(&self) -> BTreeMap<Slot, Arrivals> {
        let all = self.routes.iter();
        all.filter_map(|(slot, line)| Some((*slot, *line.arrivals()?))).collect()
    }

    fn failing(&self) -> BTreeMap<Slot, (Failing, usize)> {
        let all = self.routes.iter();
        all.filter_map(|(slot, line)| Some((*slot, (line.failing?, line.advert_len())))).collect()
    }

    fn senders(&self) -> BTreeMap<Slot, Vec<Sender>> {
        self.routes.iter().map(|(slot, line)| (*slot, line.senders.all().to_vec())).collect()
    }

    /// How everything is now.
    pub(super) fn inspect(&mut self) -> Inspection {
        // A socket whose interface went away has nothing more to say.
        self.watching.refresh_all(&mut self.engine);
        self.watching.count_all(&mut self.routes);
        let mut lost = BTreeMap::new();
        for (ifindex, slow) in self.slow.all() {
            *lost.entry(ifindex).or_default() += slow.lost().unwrap_or(0);
        }
        Inspection {
            now: clock::now(),
            views: self.engine.views().collect(),
            counters: self.table.counters().map(|(slot, c)| (Slot(slot), c)).collect(),
            arrivals: self.arrivals(),
            failing: self.failing(),
            senders: self.senders(),
            strangers: self.table.strangers(),
            lost,
        }
    }
}
