//! A look at a ledger from outside, whatever network namespace it is of.

use std::fs::File;
use std::os::unix::fs::FileExt;

use vrrp_common::Instant;

use super::foreign::boot_id;
use super::table::{
    MAGIC, Phase, VERSION, WORD_NAMESPACE, WORD_NEXT, WORD_PHASE, WORD_PID, phase_of,
};

/// What a look at the head of a ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// The worker that writes, or wrote; 0: none has begun.
    pub(crate) worker: u32,
    /// How far that one is, by its own word.
    pub(crate) phase: Phase,
    /// When the next worker is started, where there is none.
    pub(crate) next: Option<Instant>,
}

impl Glance {
    /// Reads it; `None`: it is no ledger of this start of the host.
    pub(crate) fn at(file: &File) -> Option<Self> {
        let mut head = [[0; size_of::<u64>()]; WORD_NEXT + 1];
        file.read_exact_at(head.as_flattened_mut(), 0).ok()?;
        let [boot, more] = boot_id().ok()?;
        let same = [MAGIC, VERSION, boot, more].map(u64::to_ne_bytes) == head[..WORD_NAMESPACE];
        let word = |at: usize| u64::from_ne_bytes(head[at]);
        let next = Some(word(WORD_NEXT)).filter(|next| *next != 0).map(Instant::from_nanos);
        // A process number is 22 bits.
        let worker = word(WORD_PID) as u32;
        same.then(|| Self { worker, phase: phase_of(word(WORD_PHASE)), next })
    }
}
