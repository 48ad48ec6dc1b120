//! Settings of interfaces under `/proc/sys/net`.

use std::fmt;
use std::io;

/// A setting of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Which ARP requests are answered; 1: for addresses of the interface they came by.
    ArpIgnore,
    /// Which address is named as an ARP request's sender; 2: one of the interface it leaves by.
    ArpAnnounce,
    /// Whether ARP requests are answered only where the route back leads out of the same interface.
    ArpFilter,
    /// Whether a packet's source must be reachable: 1 by the interface it came by, 2 by any.
    RpFilter,
    /// Whether the other addresses of a network stay when the first one goes.
    PromoteSecondaries,
    /// Whether router advertisements are heard.
    AcceptRa,
    /// Whether it has no IPv6 at all.
    DisableIpv6,
}

impl Key {
    fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::ArpIgnore => ("ipv4", "arp_ignore"),
            Self::ArpAnnounce => ("ipv4", "arp_announce"),
            Self::ArpFilter => ("ipv4", "arp_filter"),
            Self::RpFilter => ("ipv4", "rp_filter"),
            Self::PromoteSecondaries => ("ipv4", "promote_secondaries"),
            Self::AcceptRa => ("ipv6", "accept_ra"),
            Self::DisableIpv6 => ("ipv6", "disable_ipv6"),
        }
    }

    /// Those that are kept in the ledger, by their number there.
    pub(crate) const KEPT: [Self; 3] =
        [Self::ArpIgnore, Self::ArpAnnounce, Self::PromoteSecondaries];

    /// Those that are set at an interface below one of ours.
    pub(crate) const AT_BASES: [Self; 2] = [Self::ArpIgnore, Self::ArpAnnounce];

    /// What it is set to, where it is kept.
    pub(crate) const fn ours(self) -> Option<u32> {
        match self {
            // Only for addresses of its own.
            Self::ArpIgnore => Some(1),
            // Only with addresses of its own.
            Self::ArpAnnounce => Some(2),
            Self::PromoteSecondaries => Some(1),
            Self::ArpFilter | Self::RpFilter | Self::AcceptRa | Self::DisableIpv6 => None,
        }
    }

    /// Reads it; `device` may be `all`.
    ///
    /// # Errors
    /// The kernel's: no such interface, or it lacks the family.
    pub(crate) fn read(self, device: &str) -> io::Result<u32> {
        let text = std::fs::read_to_string(self.file(device))?;
        text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Sets it.
    ///
    /// # Errors
    /// As [`Key::read`]; where `/proc/sys` can only be read, that.
    pub(crate) fn write(self, device: &str, value: u32) -> io::Result<()> {
        std::fs::write(self.file(device), value.to_string())
    }

    fn file(self, device: &str) -> String {
        let (family, name) = self.path();
        format!("/proc/sys/net/{family}/conf/{device}/{name}")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path().1)
    }
}
