//! Processes and descriptors between the guardian and its worker.
#![expect(unsafe_code, reason = "no library has pidfd_open, or takes descriptors as owned ones")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
    socketpair, sockopt,
};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Descriptors in one message; the kernel takes 253.
pub(crate) const DESCRIPTORS: usize = 64;
/// Bytes in one message.
const LENGTH: usize = 4096;
/// Bytes that may wait in a channel: descriptors of every interface that can be used, with their names.
const BUFFER: usize = 4 << 20;

/// Two ends of a channel for messages with descriptors, closed on exec.
///
/// # Errors
/// The kernel's.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for end in [&ends.0, &ends.1] {
        // The second is bound by the host's limit. Where both are refused there is room for most.
        let _ = setsockopt(end, sockopt::SndBufForce, &BUFFER)
            .or_else(|_| setsockopt(end, sockopt::SndBuf, &BUFFER));
    }
    Ok(ends)
}

/// A descriptor that is readable once a child has ended.
///
/// # Errors
/// `ESRCH` where there is no such process; before Linux 5.4 one that says so.
pub(crate) fn pidfd(child: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    if fd < 0 {
        return Err(too_old("pidfd_open", io::Error::last_os_error()));
    }
    // SAFETY: a new descriptor, close-on-exec by itself, that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::PIDFd(fd.as_fd()), flags) {
        // Linux 5.3 has the former only.
        Err(Errno::EINVAL) => Err(too_old("waitid with P_PIDFD", Errno::ENOSYS.into())),
        Ok(_) | Err(_) => Ok(fd),
    }
}

/// An error of a call that the kernel may not have.
fn too_old(call: &str, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return error;
    }
    let text =
        format!("the kernel has no {call}, or something forbids it: Linux 5.4 or newer is needed");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Sends a signal to the process behind such a descriptor, and never to one that has its number by now.
///
/// # Errors
/// `ESRCH` where it has ended.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (fd, nothing) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open, and without details the kernel fills them in.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, nothing, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A child that has ended and was not waited for; `None`: there is none.
pub(crate) fn ended_child() -> Option<Pid> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all of it are numbers and pointers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure in, which lives beyond the call.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    // SAFETY: it is a child's, or zero still.
    let pid = unsafe { info.si_pid() };
    (done == 0 && pid != 0).then(|| Pid::from_raw(pid))
}

/// Lets the kernel clear away what is left of a child that has ended.
pub(crate) fn forget_child(child: Pid) {
    // SAFETY: how it ended is not asked for.
    unsafe { libc::waitpid(child.as_raw(), std::ptr::null_mut(), libc::WNOHANG) };
}

/// A copy of a descriptor, not below `least`, closed on exec.
///
/// # Errors
/// `EINVAL` where the process may not have such a number.
pub(crate) fn copy_at_least(fd: BorrowedFd<'_>, least: RawFd) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Gives the calling thread real-time scheduling of that priority; processes it starts don't inherit
/// it.
///
/// # Errors
/// The kernel's, where the process may not have it.
pub(crate) fn real_time(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Does something with ordinary scheduling in the calling thread, which has its own back after that.
pub(crate) fn like_everybody<T>(work: impl FnOnce() -> T) -> T {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters live until the call returns.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: as above.
    let known = policy >= 0 && unsafe { libc::sched_getparam(0, &raw mut parameters) } == 0;
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: as above. Whoever is scheduled like everybody may always be so again.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) };
    let result = work();
    if known {
        // SAFETY: as above. What the thread had a moment ago it may have, unless a limit was set since.
        unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    }
    result
}

/// Sends a message with descriptors; never waits.
///
/// # Errors
/// `EAGAIN` where the other end does not read, `EPIPE` where it is gone.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    text: &str,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[_] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(text.as_bytes())],
        control,
        flags,
        None,
    )?;
    Ok(())
}

/// A message as it was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Empty at the end.
    pub(crate) text: String,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// There were more, for which this process had no room: those last sent.
    pub(crate) cut: bool,
}

/// Takes a message; `None` where none waits.
///
/// # Errors
/// The kernel's.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let mut bytes = [0_u8; LENGTH];
    // Words, for the alignment of what is put there.
    let mut control = [0_usize; CONTROL / size_of::<usize>()];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all of it are numbers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header names two buffers and their lengths, and both live beyond the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    };
    // nix gives none of the descriptors where there were too many, and they would stay open for ever.
    // SAFETY: the kernel has filled the header in, and its buffer is the one above.
    let descriptors = unsafe { rights(&header) };
    Ok(Some(Received {
        text: String::from_utf8_lossy(&bytes[..length]).into_owned(),
        descriptors,
        cut: header.msg_flags & libc::MSG_CTRUNC != 0,
    }))
}

/// Bytes of control data for that many descriptors.
// SAFETY: it only computes.
const CONTROL: usize =
    unsafe { libc::CMSG_SPACE((DESCRIPTORS * size_of::<RawFd>()) as libc::c_uint) } as usize;

/// The descriptors that came with a message.
///
/// # Safety
/// `recvmsg` has filled the header in, once, and its control buffer is still there.
unsafe fn rights(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: by the caller. These go from one entry to the next within the length that is in the header.
    let mut entry = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !entry.is_null() {
        // SAFETY: an entry within the buffer, aligned as the kernel writes it.
        let head = unsafe { &*entry };
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: it only computes.
            let bytes = head.cmsg_len - unsafe { libc::CMSG_LEN(0) } as usize;
            // SAFETY: so many bytes of descriptors follow the head.
            let first = unsafe { libc::CMSG_DATA(entry) }.cast::<RawFd>();
            for at in 0..bytes / size_of::<RawFd>() {
                // SAFETY: within those bytes; the kernel has just made it for this process, and gives it
                // once.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(first.add(at).read_unaligned()) });
            }
        }
        // SAFETY: as with the first.
        entry = unsafe { libc::CMSG_NXTHDR(header, entry) };
    }
    descriptors
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_cross_with_their_message() {
        let (one, other) = channel().unwrap();
        assert!(receive(other.as_fd()).unwrap().is_none());
        let (reader, mut writer) = io::pipe().unwrap();
        send(one.as_fd(), "keep pipe", &[reader.as_fd()]).unwrap();
        drop(reader);
        let Received { text, mut descriptors, cut } = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!((text.as_str(), descriptors.len(), cut), ("keep pipe", 1, false));
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut read = String::new();
        std::fs::File::from(descriptors.remove(0)).read_to_string(&mut read).unwrap();
        assert_eq!(read, "through");
        drop(one);
        assert_eq!(receive(other.as_fd()).unwrap().unwrap().text, "");
    }

    #[test]
    fn a_kernel_that_is_too_old_is_named_as_such() {
        let error = |errno: i32| too_old("pidfd_open", io::Error::from_raw_os_error(errno));
        let text = error(libc::ENOSYS).to_string();
        assert!(text.contains("no pidfd_open") && text.contains("Linux 5.4"), "{text}");
        assert_eq!(error(libc::ESRCH).raw_os_error(), Some(libc::ESRCH));
    }

    /// As where the process may have no more descriptors: those that it got are there, and known.
    #[test]
    fn what_there_is_no_room_for_is_said_to_be_missing() {
        let (one, other) = channel().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        send(one.as_fd(), "keep many", &vec![writer.as_fd(); DESCRIPTORS + 10]).unwrap();
        let got = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!((got.text.as_str(), got.descriptors.len()), ("keep many", DESCRIPTORS));
        assert!(got.cut);
        writer.write_all(b"x").unwrap();
        drop((writer, got));
        // None of them is left open: the pipe has an end.
        let mut read = String::new();
        std::fs::File::from(OwnedFd::from(reader)).read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
    }
}
