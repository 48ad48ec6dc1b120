//! One packet to one host, with a word to the kernel on its way.
#![expect(
    unsafe_code,
    reason = "nix's sendmsg allocates room for the control message in each call, and adverts to single hosts \
              leave in the steady state"
)]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::sys::socket::SockaddrLike;

/// What the kernel can be told beside a packet: the interface, and the address by which its rules choose the
/// route.
pub(crate) trait Way: Copy {
    /// Level and type of the control message.
    const KIND: (libc::c_int, libc::c_int);
}

impl Way for libc::in_pktinfo {
    const KIND: (libc::c_int, libc::c_int) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
}

impl Way for libc::in6_pktinfo {
    const KIND: (libc::c_int, libc::c_int) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
}

/// A control message as the kernel reads it: behind the header, which is as long as its alignment, there
/// is no gap before fields of four bytes.
#[repr(C)]
struct Beside<W> {
    header: libc::cmsghdr,
    way: W,
}

/// Sends a packet; allocates nothing.
///
/// # Errors
/// The kernel's.
pub(crate) fn send<W: Way>(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    way: W,
    to: &impl SockaddrLike,
) -> io::Result<()> {
    // SAFETY: all of `cmsghdr` is integers, for which zero is a value.
    let mut beside = Beside { header: unsafe { std::mem::zeroed::<libc::cmsghdr>() }, way };
    (beside.header.cmsg_level, beside.header.cmsg_type) = W::KIND;
    // What it is differs by the C library.
    beside.header.cmsg_len = (offset_of!(Beside<W>, way) + size_of::<W>()) as _;
    let mut part =
        libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    // SAFETY: all of `msghdr` is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = ptr::from_mut(&mut part);
    header.msg_iovlen = 1;
    header.msg_control = ptr::from_mut(&mut beside).cast();
    header.msg_controllen = size_of::<Beside<W>>() as _;
    // SAFETY: the header points to an address, a part, its bytes and a control message that outlive the
    // call, each with its length, and the kernel writes to none of them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    // A raw socket sends a packet whole or not at all.
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
