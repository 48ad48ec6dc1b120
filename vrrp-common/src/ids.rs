//! VRIDs, priorities, versions, address families and the virtual MAC addresses.

use core::fmt;
use core::num::NonZeroU8;

/// The VRRP version an instance speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// RFC 3768: IPv4, whole seconds, optional RFC 2338 authentication data.
    V2 = 2,
    /// RFC 9568: IPv4 and IPv6, centiseconds.
    V3 = 3,
}

impl Version {
    /// The version a number names, if there is one.
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u8)
    }
}

/// The address family that carries an instance's adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4, group 224.0.0.18.
    V4 = 4,
    /// IPv6, group ff02::12.
    V6 = 6,
}

impl Family {
    /// Bytes of one address on the wire.
    pub const fn address_len(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

/// A virtual router identifier, 1 to 255 (RFC 9568 §5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// The VRID with this number; `None` for 0.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number, 1 to 255.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// The virtual router's MAC address: 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for
    /// IPv6 (RFC 9568 §7.3).
    pub const fn mac(self, family: Family) -> VirtualMac {
        let block = match family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        VirtualMac([0, 0, 0x5e, 0, block, self.get()])
    }
}

/// The MAC address of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualMac([u8; 6]);

impl VirtualMac {
    /// Its six bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for VirtualMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A priority as it stands in an advert: 0 releases, 255 owns (RFC 9568 §5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The Active Router stops taking part.
    pub const RELEASE: Self = Self(0);
    /// The lowest priority a router can run for election with.
    pub const LOWEST: Self = Self(1);
    /// The default for a router that does not own the addresses.
    pub const DEFAULT: Self = Self(100);
    /// The highest priority of a router that does not own the addresses.
    pub const HIGHEST: Self = Self(254);
    /// The address owner.
    pub const OWNER: Self = Self(255);

    /// The priority with this number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number, 0 to 255.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Says whether this is the address owner's priority.
    pub const fn is_owner(self) -> bool {
        self.0 == 255
    }

    /// This priority moved by the sum of tracking weights, kept within 1 to 254. The owner's never
    /// moves (RFC 9568 §6.1 leaves 255 to the owner alone).
    pub fn weighted(self, sum: i32) -> Self {
        if self.is_owner() {
            return self;
        }
        let moved = i32::from(self.0).saturating_add(sum).clamp(1, 254);
        Self(moved as u8)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vrid_zero_does_not_exist() {
        assert_eq!(Vrid::new(0), None);
        assert_eq!(Vrid::new(255).map(Vrid::get), Some(255));
    }

    #[test]
    fn virtual_macs_are_those_of_the_rfc() {
        let vrid = Vrid::new(0x33).unwrap();
        assert_eq!(vrid.mac(Family::V4).octets(), [0, 0, 0x5e, 0, 1, 0x33]);
        assert_eq!(vrid.mac(Family::V6).to_string(), "00:00:5e:00:02:33");
    }

    #[test]
    fn weights_clamp_and_leave_the_owner_alone() {
        assert_eq!(Priority::new(100).weighted(-20).get(), 80);
        assert_eq!(Priority::new(100).weighted(-253).get(), 1);
        assert_eq!(Priority::new(200).weighted(253).get(), 254);
        assert_eq!(Priority::new(200).weighted(i32::MAX).get(), 254);
        assert_eq!(Priority::OWNER.weighted(-100), Priority::OWNER);
    }
}
