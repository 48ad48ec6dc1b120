//! Many frames out by one system call.
#![expect(
    unsafe_code,
    reason = "nix makes no packet socket address, and its sendmmsg borrows frames and addresses for as \
              long as its headers live, so that they can't be kept from call to call"
)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::link_address;

/// Frames that wait to be sent together, copied into memory that is kept.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    frames: Vec<(Range<usize>, libc::sockaddr_ll)>,
    /// Both filled anew by each call of [`Frames::send`] and read by nobody else.
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: what keeps it from being `Send` are the pointers in `parts` and `headers`. They point into
// memory that this value owns, and are written before each use.
unsafe impl Send for Frames {}

impl Frames {
    /// Memory for that many frames of that many bytes in all; more are taken too.
    pub(crate) fn with_capacity(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            frames: Vec::with_capacity(frames),
            parts: Vec::with_capacity(frames),
            headers: Vec::with_capacity(frames),
        }
    }

    /// Adds a copy of a frame that is to leave the interface with this index.
    pub(crate) fn push(&mut self, ifindex: u32, ethertype: u16, frame: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        let address = link_address::raw(ifindex, ethertype);
        self.frames.push((start..self.bytes.len(), address));
    }

    /// Sends all frames in their order through a packet socket that never blocks, forgets them, and says
    /// of each, by its number, how it went. One that fails does not keep the others from leaving.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        mut each: impl FnMut(usize, io::Result<()>),
    ) {
        self.point();
        let mut done = 0;
        while let Some(rest) = self.headers.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // The kernel takes 1024 at once and says so by its answer.
            let count = libc::c_uint::try_from(rest.len()).unwrap_or(libc::c_uint::MAX);
            // SAFETY: `rest` is that many headers at least, and `point` made all of them point to an
            // address, a part and bytes of this value, none of which moved or shrank since.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            // The kernel stops at the first frame that fails, and tells why only if none left before.
            match usize::try_from(sent) {
                Ok(sent @ 1..) => {
                    (done..done + sent).for_each(|number| each(number, Ok(())));
                    done += sent;
                }
                Ok(0) | Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        each(done, Err(error));
                        done += 1;
                    }
                }
            }
        }
        self.bytes.clear();
        self.frames.clear();
    }

    /// Makes the headers point to the frames and their addresses.
    fn point(&mut self) {
        self.parts.clear();
        self.headers.clear();
        let bytes = self.bytes.as_mut_ptr();
        self.parts.extend(self.frames.iter().map(|(range, _)| libc::iovec {
            iov_base: bytes.wrapping_add(range.start).cast(),
            iov_len: range.len(),
        }));
        let parts = self.parts.iter_mut();
        self.headers.extend(self.frames.iter_mut().zip(parts).map(|((_, address), part)| {
            // SAFETY: all of `mmsghdr` is integers and pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            header.msg_hdr.msg_iov = ptr::from_mut(part);
            header.msg_hdr.msg_iovlen = 1;
            header
        }));
    }
}
