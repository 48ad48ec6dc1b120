//! Adverts on their way out.

use std::io;

use vrrp_proto::{Slot, Transmit};

use super::line::Line;
use crate::transmit::{Batch, Routed, Sender};

/// Adverts to groups leave together; those to single hosts at once, one by one, by way of the kernel's
/// routes.
pub(super) struct Outbox {
    batch: Batch<Slot>,
    routed: Routed,
    /// What became of those that left at once.
    fates: Vec<(Slot, io::Result<()>)>,
}

impl Outbox {
    pub(super) fn new(sender: Sender) -> Self {
        Self { batch: Batch::new(sender), routed: Routed::new(), fates: Vec::new() }
    }

    /// Puts an advert in by a router's line. `sequence`: for its authentication header.
    pub(super) fn put(&mut self, transmit: &Transmit, line: &mut Line, sequence: Option<u32>) {
        let ifindex = line.route.key.ifindex;
        let mut fate = None;
        for frame in &mut line.route.frames {
            frame.patch(transmit.priority, transmit.form);
            if let Some(sequence) = sequence {
                frame.sign(sequence);
            }
            if frame.is_routed() {
                let sent = self.routed.send(ifindex, frame.packet());
                // One that does not get it is told of, whoever else does.
                if sent.is_err() || fate.is_none() {
                    fate = Some(sent);
                }
            } else {
                self.batch.push(ifindex, frame.bytes(), transmit.slot);
            }
        }
        self.fates.extend(fate.map(|fate| (transmit.slot, fate)));
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Sends what waits, and says of each advert how it went, of those too that left at once.
    pub(super) fn send(&mut self, mut each: impl FnMut(Slot, io::Result<()>)) {
        for (slot, fate) in self.fates.drain(..) {
            each(slot, fate);
        }
        self.batch.send(each);
    }
}
