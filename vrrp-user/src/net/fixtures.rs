//! Hosts for tests.

use super::{HostAddress, Interface, Snapshot};

/// An address with nothing special about it.
pub(crate) fn address(ip: &str, prefix: u8) -> HostAddress {
    HostAddress {
        ip: ip.parse().expect("an address"),
        prefix,
        peer: None,
        label: None,
        broadcast: None,
        proto: 0,
        scope: 0,
        secondary: false,
        flags: 0,
    }
}

/// An Ethernet interface that is up.
pub(crate) fn interface(
    ifindex: u32,
    name: &str,
    addresses: impl IntoIterator<Item = HostAddress>,
) -> Interface {
    Interface {
        ifindex,
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        admin_up: true,
        carrier: true,
        mtu: 1500,
        vrf: None,
        is_inner: false,
        mode: None,
        addresses: addresses.into_iter().collect(),
    }
}

/// A host with these interfaces.
pub(crate) fn host(interfaces: impl IntoIterator<Item = Interface>) -> Snapshot {
    Snapshot { interfaces: interfaces.into_iter().collect() }
}
