//! The ring through which the kernel program reports.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use vrrp_common::abi::Event;

/// The reading end of the ring: readable when there is something in it.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Hands at most `budget` records to `sink`, in the order of their arrival, and returns how many
    /// there were; fewer than the budget: the ring is empty.
    pub fn drain(&mut self, budget: usize, mut sink: impl FnMut(Event)) -> usize {
        let mut taken = 0;
        while taken < budget {
            let Some(record) = self.0.next() else { break };
            // The program writes no other size, and the loader takes no other program.
            if record.len() == size_of::<Event>() {
                sink(bytemuck::pod_read_unaligned(&record));
            }
            taken += 1;
        }
        taken
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.as_raw_fd()).finish()
    }
}
