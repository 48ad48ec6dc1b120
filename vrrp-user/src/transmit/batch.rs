//! Frames that leave together.

use std::io;
use std::os::fd::AsFd;

use super::{Sender, ethertype};
use crate::sys::send_many::Frames;

/// Frames that there is room for without asking for memory: one for each virtual router of a host.
const FRAMES: usize = 256;
/// Bytes of an advert with a handful of addresses.
const USUAL: usize = 96;

/// Frames gathered to be sent by one system call, each with a token by which its fate is told.
///
/// Frames are copied, so that one can be patched again before the batch leaves. Once the largest batch
/// has gone, nothing here allocates.
#[derive(Debug)]
pub struct Batch<T> {
    sender: Sender,
    frames: Frames,
    tokens: Vec<T>,
}

impl<T: Copy> Batch<T> {
    /// An empty batch that leaves through this socket.
    pub fn new(sender: Sender) -> Self {
        let frames = Frames::with_capacity(FRAMES, FRAMES * USUAL);
        Self { sender, frames, tokens: Vec::with_capacity(FRAMES) }
    }

    /// Adds a frame that is to leave the interface with this index.
    pub fn push(&mut self, ifindex: u32, frame: &[u8], token: T) {
        self.frames.push(ifindex, ethertype(frame), frame);
        self.tokens.push(token);
    }

    /// Says whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Sends all frames in the order in which they were added, and says of each how it went, with the
    /// errors of [`Sender::send`]. Never blocks; one frame that fails does not keep the others from
    /// leaving. The batch is empty after that.
    pub fn send(&mut self, mut each: impl FnMut(T, io::Result<()>)) {
        if self.is_empty() {
            return;
        }
        let tokens = &self.tokens;
        self.frames.send(self.sender.as_fd(), |number, result| each(tokens[number], result));
        self.tokens.clear();
    }
}
