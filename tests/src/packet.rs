//! Raw frames in and out of a link.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, socket};

/// Opens a packet socket on a device of the namespace that the thread is in. It sees all frames,
/// both ways.
///
/// # Errors
/// No such device, or no right.
pub fn open(device: &str) -> Result<OwnedFd> {
    open_for(device, SockProtocol::EthAll)
}

/// The same for one that only sends: nothing arrives at it that would have to be read.
///
/// # Errors
/// No such device, or no right.
pub fn open_to_send(device: &str) -> Result<OwnedFd> {
    open_for(device, None)
}

fn open_for(device: &str, protocol: impl Into<Option<SockProtocol>>) -> Result<OwnedFd> {
    let link = getifaddrs()?
        .filter(|entry| entry.interface_name == device)
        .find_map(|entry| entry.address.and_then(|address| address.as_link_addr().copied()))
        .with_context(|| format!("no device {device}"))?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &link).with_context(|| format!("bind to {device}"))?;
    Ok(socket)
}

/// Sends one frame as it is.
///
/// # Errors
/// The link is down.
pub fn send(socket: &OwnedFd, frame: &[u8]) -> Result<()> {
    let sent = nix::sys::socket::send(socket.as_raw_fd(), frame, MsgFlags::empty())?;
    ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
    Ok(())
}
