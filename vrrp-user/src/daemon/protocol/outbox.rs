//! Adverts on their way out.

use vrrp_proto::Transmit;

use super::failing::Fate;
use super::line::Line;
use crate::transmit::{Batch, Routed, Sender};

/// Adverts to groups leave together; those to single hosts at once, one by one, by way of the kernel's
/// routes.
pub(super) struct Outbox {
    batch: Batch<Transmit>,
    routed: Routed,
    /// What became of those that left at once.
    fates: Vec<(Transmit, Fate)>,
}

impl Outbox {
    pub(super) fn new(sender: Sender) -> Self {
        Self { batch: Batch::new(sender), routed: Routed::new(), fates: Vec::new() }
    }

    /// Puts an advert in by a router's line. `sequence`: for its authentication header.
    pub(super) fn put(&mut self, transmit: Transmit, line: &mut Line, sequence: Option<u32>) {
        let ifindex = line.route.key.ifindex;
        let mut fate: Option<Fate> = None;
        for frame in &mut line.route.frames {
            frame.patch(transmit.priority, transmit.form);
            if let Some(sequence) = sequence {
                frame.sign(sequence);
            }
            if frame.is_routed() {
                let sent = match line.route.realm {
                    Some(realm) => {
                        self.routed.send_by_route(realm.routes(), ifindex, frame.packet())
                    }
                    None => self.routed.send(ifindex, frame.packet()),
                };
                match &mut fate {
                    None => fate = Some(Fate::of(sent)),
                    Some(fate) => fate.and(sent),
                }
            } else {
                self.batch.push(ifindex, frame.bytes(), transmit);
            }
        }
        self.fates.extend(fate.map(|fate| (transmit, fate)));
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Sends what waits, and says of each advert how it went, of those too that left at once.
    pub(super) fn send(&mut self, mut each: impl FnMut(Transmit, Fate)) {
        for (transmit, fate) in self.fates.drain(..) {
            each(transmit, fate);
        }
        self.batch.send(|transmit, sent| each(transmit, Fate::of(sent)));
    }
}
