//! Processes and descriptors between the guardian and its worker.
#![expect(unsafe_code, reason = "no library has pidfd_open, or takes descriptors as owned ones")]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::Pid;

/// Descriptors in one message; the kernel takes 253.
pub(crate) const DESCRIPTORS: usize = 64;
/// Bytes in one message.
const LENGTH: usize = 4096;

/// A descriptor that is readable once a child has ended.
///
/// # Errors
/// `ESRCH` where there is no such process, `ENOSYS` before Linux 5.3.
pub(crate) fn pidfd(child: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, close-on-exec by itself, that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
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

/// Has the kernel keep how children ended: whoever started this process may have had it ignored.
///
/// # Errors
/// None that a kernel gives.
pub(crate) fn keep_ends() -> io::Result<()> {
    // SAFETY: no handler is installed, and none is taken away that this process has.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
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

/// Takes a message; `None` where none waits, an empty one at the end.
///
/// # Errors
/// The kernel's.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
    let mut bytes = [0; LENGTH];
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
    let (length, descriptors) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let got =
            match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(got) => got,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
        let mut descriptors = Vec::new();
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these for this process, and gives them once.
                descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (got.bytes, descriptors)
    };
    Ok(Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), descriptors)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn descriptors_cross_with_their_message() {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        assert!(receive(other.as_fd()).unwrap().is_none());
        let (reader, mut writer) = io::pipe().unwrap();
        send(one.as_fd(), "keep pipe", &[reader.as_fd()]).unwrap();
        drop(reader);
        let (text, mut descriptors) = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("keep pipe", 1));
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut read = String::new();
        std::fs::File::from(descriptors.remove(0)).read_to_string(&mut read).unwrap();
        assert_eq!(read, "through");
        drop(one);
        assert_eq!(receive(other.as_fd()).unwrap().unwrap().0, "");
    }
}
