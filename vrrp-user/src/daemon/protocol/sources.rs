//! Where adverts come from, and how far each source was read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use vrrp_common::{Instant, abi};

use crate::fastpath::Ring;
use crate::sys::readiness::watch;

/// Records taken from one source before the others get their turn.
pub(super) const BUDGET: usize = 256;

/// How far the sources were read.
pub(super) enum Heard {
    /// To their ends.
    All,
    /// At least one has more, and all were read to records of this time.
    UpTo(Instant),
}

/// Notes how far a source was read that gave as many frames as it was asked for, and these records of
/// them.
pub(super) fn note_rest(upto: &mut Option<Instant>, taken: usize, records: &[abi::Event]) {
    if taken == BUDGET {
        // Without a record among those taken nothing is known: as if from the beginning of time.
        let last = Instant::from_nanos(records.last().map_or(0, |record| record.at));
        *upto = Some(upto.map_or(last, |at| at.min(last)));
    }
}

/// A source of records, and what says that it has some.
pub(super) struct Readable<T> {
    pub(super) source: T,
    ready: AsyncFd<OwnedFd>,
}

impl<T: AsFd> Readable<T> {
    pub(super) fn new(source: T) -> io::Result<Self> {
        let ready = watch(source.as_fd())?;
        Ok(Self { source, ready })
    }
}

pub(super) async fn readable_ring(ring: Option<&Readable<Ring>>) -> io::Result<()> {
    match ring {
        Some(ring) => {
            ring.ready.readable().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
