//! An interface's index and hardware address, asked for at the moment they are used.
#![expect(unsafe_code, reason = "nix and socket2 wrap no SIOCGIF* request")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Socket, Type};

/// Asks the kernel about interfaces by name, in the network namespace it was opened in.
///
/// One request takes about a microsecond, a netlink answer twenty: cheap enough to ask before every
/// use, so that a bond's new MAC address or a re-created interface can't be missed.
#[derive(Debug)]
pub(crate) struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// Opens the socket that the requests go through.
    ///
    /// # Errors
    /// The kernel's, where it has no file descriptor left.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
        Ok(Self { socket: socket.into() })
    }

    /// The interface's index.
    ///
    /// # Errors
    /// `ENODEV` where there is no interface of that name.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        let answer = self.request(name, libc::SIOCGIFINDEX)?;
        // SAFETY: SIOCGIFINDEX fills `ifru_ifindex`, and the union was zeroed before.
        let index = unsafe { answer.ifr_ifru.ifru_ifindex };
        u32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// The interface's MAC address; `None` where it is not an Ethernet interface.
    ///
    /// # Errors
    /// `ENODEV` where there is no interface of that name.
    pub(crate) fn mac(&self, name: &str) -> io::Result<Option<[u8; 6]>> {
        let answer = self.request(name, libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR fills `ifru_hwaddr`, and the union was zeroed before.
        let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
        if address.sa_family != libc::ARPHRD_ETHER {
            return Ok(None);
        }
        let octets = address.sa_data.map(|c| c as u8);
        Ok(octets.first_chunk::<6>().copied())
    }

    fn request(&self, name: &str, request: libc::Ioctl) -> io::Result<libc::ifreq> {
        // SAFETY: all of `ifreq` is integers and byte arrays, for which zero is a value.
        let mut answer: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero: it ends the name.
        let room = answer.ifr_name.len() - 1;
        if name.is_empty() || name.len() > room {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in answer.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        // SAFETY: the descriptor is open, and both requests read and write one `ifreq`.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), request, &raw mut answer) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_is_not_ethernet() {
        let interfaces = Interfaces::open().unwrap();
        assert!(interfaces.index("lo").unwrap() > 0);
        assert_eq!(interfaces.mac("lo").unwrap(), None);
    }

    #[test]
    fn names_that_can_be_no_interface() {
        let interfaces = Interfaces::open().unwrap();
        for name in ["", "no such one", "sixteen-bytes-ab"] {
            let error = interfaces.index(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
