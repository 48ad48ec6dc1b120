//! System calls of the slow path's sockets: their filter, their stamps, many frames at once.
#![expect(unsafe_code, reason = "setsockopt(2) and recvmmsg(2) take structures by address")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Frames per call.
const FRAMES: usize = 32;
/// Longer than any advert: 255 IPv6 addresses behind two tags, an IP header and some extensions. What is
/// behind it in a longer frame has no say.
const FRAME: usize = 4608;
/// Room for the stamp, for where a packet came in and for its hop limit, each with its header.
const CONTROL: usize = 128;
/// Room for who sent a packet.
const NAME: usize = size_of::<libc::sockaddr_in6>();

/// Attaches a filter in place of the one there was.
pub(super) fn attach_filter(
    socket: BorrowedFd<'_>,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel only reads through the pointer.
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Has the kernel stamp frames as they arrive.
pub(super) fn stamp_arrivals(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)
}

/// Has the kernel show nothing of what this host sends: to look at it would cost each packet.
pub(super) fn ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)
}

/// How many frames found no room in the socket since the last time this was asked.
pub(super) fn take_lost(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes as many bytes as it is told there are, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(statistics.tp_drops) }
}

fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads one `T`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Buffers for many frames.
pub(super) struct Batch {
    frames: Box<[[u8; FRAME]; FRAMES]>,
    controls: Box<[Control; FRAMES]>,
    names: Box<[[u8; NAME]; FRAMES]>,
    lengths: [(usize, usize); FRAMES],
    /// What is left free at the beginning of each frame.
    front: usize,
}

/// A frame, and what the kernel says of it.
pub(super) struct Arrived<'b> {
    /// It, behind as much as the kernel has taken off.
    pub(super) frame: &'b mut [u8],
    /// The socket address of who sent it, where that is IPv6.
    pub(super) name: &'b [u8; NAME],
    controls: &'b [u8],
}

impl Arrived<'_> {
    /// The wall-clock time of its arrival in nanoseconds.
    pub(super) fn stamp(&self) -> Option<u64> {
        stamp(self.controls)
    }

    /// The first control message of a kind.
    pub(super) fn control(&self, level: libc::c_int, kind: libc::c_int) -> Option<&[u8]> {
        control(self.controls, level, kind)
    }
}

/// Control messages, aligned as the kernel writes them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl Batch {
    /// `front`: how much of each frame the kernel takes off.
    pub(super) fn new(front: usize) -> Self {
        Self {
            frames: Box::new([[0; FRAME]; FRAMES]),
            controls: Box::new([Control([0; CONTROL]); FRAMES]),
            names: Box::new([[0; NAME]; FRAMES]),
            lengths: [(0, 0); FRAMES],
            front,
        }
    }

    /// Drops what waits in the socket.
    pub(super) fn skip(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match self.receive(socket, FRAMES) {
                Ok(FRAMES) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what waits in the socket, `most` frames at most, without waiting for any.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let most = most.min(FRAMES);
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; FRAMES];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::zeroed() }; FRAMES];
        let buffers = self.frames.iter_mut().zip(self.controls.iter_mut()).zip(&mut *self.names);
        for (((frame, control), name), (vector, header)) in
            buffers.zip(vectors.iter_mut().zip(&mut headers)).take(most)
        {
            let frame = frame.get_mut(self.front..).unwrap_or_default();
            let (iov_base, iov_len) = (frame.as_mut_ptr().cast(), frame.len());
            let vector = vector.write(libc::iovec { iov_base, iov_len });
            // SAFETY: all of `mmsghdr` is integers and pointers, for which zero, as it was made, is a
            // value.
            let header = unsafe { header.assume_init_mut() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
        }
        // SAFETY: the first `most` headers point to buffers of the lengths they say, which nobody else
        // uses during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr().cast(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (lengths, header) in self.lengths.iter_mut().zip(&headers).take(received) {
            // SAFETY: as above, and the kernel has filled this one.
            let header = unsafe { header.assume_init_ref() };
            *lengths = (header.msg_len as usize, header.msg_hdr.msg_controllen);
        }
        Ok(received)
    }

    /// The first `received` frames.
    pub(super) fn frames(&mut self, received: usize) -> impl Iterator<Item = Arrived<'_>> {
        let buffers = self.frames.iter_mut().zip(self.controls.iter()).zip(self.names.iter());
        let front = self.front;
        buffers.zip(&self.lengths).take(received).map(
            move |(((frame, control), name), (length, controls))| Arrived {
                frame: &mut frame[..(front + length).min(FRAME)],
                name,
                controls: control.0.get(..*controls).unwrap_or_default(),
            },
        )
    }
}

/// The arrival time among a frame's control messages.
fn stamp(controls: &[u8]) -> Option<u64> {
    let time = control(controls, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)?;
    let (seconds, rest) = time.split_first_chunk::<8>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanos = u64::try_from(i64::from_ne_bytes(*rest.first_chunk::<8>()?)).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The first of a kind among a frame's control messages.
fn control(mut controls: &[u8], level: libc::c_int, kind: libc::c_int) -> Option<&[u8]> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    loop {
        let header = controls.first_chunk::<HEADER>()?;
        // SAFETY: all of `cmsghdr` is integers, and there are as many bytes as it has.
        let header: libc::cmsghdr = unsafe { std::ptr::read_unaligned(header.as_ptr().cast()) };
        let data = controls.get(HEADER..header.cmsg_len)?;
        if (header.cmsg_level, header.cmsg_type) == (level, kind) {
            return Some(data);
        }
        controls = controls.get(header.cmsg_len.next_multiple_of(align_of::<usize>())..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: libc::c_int, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((size_of::<libc::cmsghdr>() + data.len()).to_ne_bytes());
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn the_stamp_is_found_behind_another_message() {
        let mut time = 7i64.to_ne_bytes().to_vec();
        time.extend(5i64.to_ne_bytes());
        let mut controls = message(libc::SCM_RIGHTS, &[1, 2, 3]);
        assert_eq!(stamp(&controls), None);
        controls.extend(message(libc::SCM_TIMESTAMPNS, &time));
        assert_eq!(stamp(&controls), Some(7_000_000_005));
        let cut = controls.len() - 1;
        assert_eq!(stamp(&controls[..cut]), None);
        assert_eq!(stamp(&[]), None);
    }
}
