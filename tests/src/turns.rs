//! Waiting for a thread that reads until it has read all there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::wait::wait_until;

/// How often it was asked for, and up to which of these the reader has come.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    asked: AtomicU64,
    done: AtomicU64,
}

impl Turns {
    /// The last turn that is asked for. The reader looks before it reads.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// There was nothing left to be read after the reader had looked.
    pub(crate) fn done(&self, asked: u64) {
        self.done.store(asked, Ordering::Release);
    }

    /// The reader has ended.
    pub(crate) fn end(&self) {
        self.done.store(u64::MAX, Ordering::Release);
    }

    /// Waits until all is read that has arrived before the call.
    pub(crate) fn wait(&self) {
        let turn = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let done = || self.done.load(Ordering::Acquire) >= turn;
        // A reader that is held up so long has more to answer for than this look.
        let _ = wait_until("all is read", Duration::from_secs(10), done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_once_it_was_asked_for_and_read() {
        let turns = Turns::default();
        let before = turns.asked();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.wait());
            while turns.asked() == before {
                std::thread::yield_now();
            }
            // What was read before it was asked for says nothing.
            turns.done(before);
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            turns.done(turns.asked());
        });
        turns.end();
        turns.wait();
    }
}
