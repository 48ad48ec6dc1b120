//! Link-layer socket addresses.
#![expect(unsafe_code, reason = "socket2 and nix build no sockaddr_ll without unsafe")]

use socket2::{SockAddr, SockAddrStorage};

/// The address that makes a packet socket send out of the interface with this index.
///
/// The frame's own header says where it goes, so no hardware address is needed here.
pub(crate) fn link_address(ifindex: u32, ethertype: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the platform's `sockaddr_*` types, is smaller than the zeroed
    // storage, and every bit pattern is a valid value of it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    *address = raw(ifindex, ethertype);
    // SAFETY: the storage holds an initialised `sockaddr_ll`, and that is the length given.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

/// [`link_address`] as the kernel's own structure.
pub(crate) fn raw(ifindex: u32, ethertype: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        // Indexes are positive `int`s in the kernel.
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_the_kernel_looks() {
        let address = link_address(0x0102_0304, 0x0806);
        assert_eq!(address.len(), 20);
        assert_eq!(i32::from(address.family()), libc::AF_PACKET);
    }
}
