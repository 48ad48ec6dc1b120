//! Why an advert was refused.

use bytemuck::CheckedBitPattern;

/// Every way an advert for one of our virtual routers can fail.
///
/// The discriminant is the index of the reason's counter in the kernel map and [`Reject::name`] is
/// what `status` and the log call it, so a new reason is one line here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, CheckedBitPattern)]
#[repr(u32)]
pub enum Reject {
    /// The frame ends before the IP header says it does, or the header's own lengths clash.
    Truncated = 0,
    /// The IPv4 header's checksum is wrong (RFC 791 §3.1).
    HeaderChecksum = 1,
    /// A fragment: an advert fits in one packet.
    Fragment = 2,
    /// Sent to one host: not to us, or although the instance listens on a group.
    Destination = 3,
    /// The sender's address can't be a host's, or not one that may send adverts.
    Source = 4,
    /// TTL or hop limit other than 255 (RFC 9568 §5.1.1.3, §7.1), or than a unicast peer may have.
    Ttl = 5,
    /// Another VRRP version than the instance's (RFC 9568 §7.1).
    Version = 6,
    /// Not an ADVERTISEMENT (RFC 9568 §5.2.2).
    Type = 7,
    /// The message's length does not follow from its version and address count (RFC 9568 §7.1).
    Length = 8,
    /// The VRRP checksum is wrong in every form that the version allows (RFC 9568 §5.2.8).
    Checksum = 9,
    /// Another authentication type than the instance's (RFC 2338 §7.1).
    AuthType = 10,
    /// The password differs (RFC 2338 §5.3.6.2), or the authentication header does not fit the packet.
    AuthData = 11,
    /// VRRPv2: another interval than ours (RFC 3768 §7.1). VRRPv3: interval 0 (erratum 8301).
    Interval = 12,
    /// VRRPv3: no address at all (erratum 8299).
    NoAddress = 13,
    /// The addresses differ from ours and the instance demands the same ones (RFC 3768 §7.1).
    Addresses = 14,
    /// Not one of the addresses is ours: another cluster uses our VRID.
    ForeignCluster = 15,
    /// Our own advert came back: a loop in the network, or a host with our address.
    OwnSource = 16,
    /// Not one of the unicast peers, and the instance listens to those alone.
    NotAPeer = 17,
    /// IPv6: the first address is not link-local (RFC 9568 §5.2.9, erratum 8300).
    FirstAddress = 18,
    /// An authentication header's sequence number that is not new (RFC 2402 §3.4.3).
    Replay = 19,
    /// Sent to a group on which the instance does not listen.
    Group = 20,
}

impl Reject {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::Truncated,
        Self::HeaderChecksum,
        Self::Fragment,
        Self::Destination,
        Self::Source,
        Self::Ttl,
        Self::Version,
        Self::Type,
        Self::Length,
        Self::Checksum,
        Self::AuthType,
        Self::AuthData,
        Self::Interval,
        Self::NoAddress,
        Self::Addresses,
        Self::ForeignCluster,
        Self::OwnSource,
        Self::NotAPeer,
        Self::FirstAddress,
        Self::Replay,
        Self::Group,
    ];

    /// The reason with this number, as it stands in a ring record.
    ///
    /// The number itself and not one out of a table: the kernel program chooses a counter by it, and of
    /// what is read from memory the verifier of Linux 6.1 does not know how large it is.
    #[inline(always)]
    pub fn from_index(index: u32) -> Option<Self> {
        bytemuck::checked::try_cast(index).ok()
    }

    /// The number of the reason's counter.
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The reason's name in `status` and the log: lower case, words joined by `_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::HeaderChecksum => "header_checksum",
            Self::Fragment => "fragment",
            Self::Destination => "destination",
            Self::Source => "source",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::Type => "type",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::AuthType => "auth_type",
            Self::AuthData => "auth_data",
            Self::Interval => "interval",
            Self::NoAddress => "no_address",
            Self::Addresses => "addresses",
            Self::ForeignCluster => "foreign_cluster",
            Self::OwnSource => "own_source",
            Self::NotAPeer => "not_a_peer",
            Self::FirstAddress => "first_address",
            Self::Replay => "replay",
            Self::Group => "group",
        }
    }
}

impl core::fmt::Display for Reject {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_names_are_unique() {
        for (at, reason) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reason.index() as usize, at);
            assert_eq!(Reject::from_index(at as u32), Some(reason));
            assert!(Reject::ALL[..at].iter().all(|r| r.name() != reason.name()));
        }
        assert_eq!(Reject::from_index(Reject::ALL.len() as u32), None);
    }
}
