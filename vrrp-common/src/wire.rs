//! The VRRP message: constants, and how to write one.

use core::net::IpAddr;

use crate::checksum::{self, Sum};
use crate::ids::{Family, Priority, Version, Vrid};

/// The IP protocol number (RFC 9568 §5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// TTL and hop limit of every advert (RFC 9568 §5.1.1.3).
pub const TTL: u8 = 255;
/// The IPv4 group (RFC 9568 §5.1.1.2).
pub const GROUP_V4: [u8; 4] = [224, 0, 0, 18];
/// The IPv6 group (RFC 9568 §5.1.2.2).
pub const GROUP_V6: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];
/// The only message type (RFC 9568 §5.2.2).
pub const TYPE_ADVERTISEMENT: u8 = 1;
/// Bytes in front of the addresses, in both versions.
pub const HEADER: usize = 8;
/// Bytes behind the addresses in VRRPv2, there whatever the authentication type (RFC 3768 §5.1).
pub const AUTH_DATA: usize = 8;
/// Offset of the checksum in the message.
pub const CHECKSUM_AT: usize = 6;
/// An IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// An IPv6 header without extensions.
pub const IPV6_HEADER: usize = 40;
/// The IP protocol number of an authentication header (RFC 2402 §2).
pub const PROTOCOL_AH: u8 = 51;
/// An authentication header with the 96 bits of HMAC-MD5-96 (RFC 2402 §2, RFC 2403 §2).
pub const AH_HEADER: usize = 24;
/// The longest message: 255 IPv6 addresses.
pub const LONGEST: usize = HEADER + 255 * 16;
/// "No authentication" (RFC 3768 §5.3.6).
pub const AUTH_NONE: u8 = 0;
/// "Simple text password" (RFC 2338 §5.3.6.2).
pub const AUTH_PASS: u8 = 1;
/// "IP authentication header" (RFC 2338 §5.3.6.3).
pub const AUTH_AH: u8 = 2;

/// Which bytes a VRRPv3 checksum over IPv4 covers.
///
/// RFC 9568 §5.2.8 says the message alone; RFC 5798 was read either way, and keepalived and FRR put
/// the pseudo-header in front. VRRPv2 knows only the message, IPv6 only the pseudo-header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChecksumForm {
    /// The message alone.
    Message = 0,
    /// The message behind a pseudo-header.
    #[default]
    PseudoHeader = 1,
}

impl ChecksumForm {
    /// The form that a number in a ring record names.
    pub const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Message,
            _ => Self::PseudoHeader,
        }
    }

    /// What `status` calls the form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::PseudoHeader => "pseudo_header",
        }
    }
}

/// A message to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert<'a> {
    /// The version, which fixes the layout.
    pub version: Version,
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority.
    pub priority: Priority,
    /// The interval field: seconds (VRRPv2) or centiseconds (VRRPv3).
    pub interval: u16,
    /// The addresses, all of one family, 255 at most.
    pub addresses: &'a [IpAddr],
    /// The password, for VRRPv2 with simple text authentication.
    pub password: Option<[u8; AUTH_DATA]>,
    /// How to compute the checksum of VRRPv3 over IPv4.
    pub form: ChecksumForm,
    /// The IP source, for the pseudo-header.
    pub source: IpAddr,
    /// The IP destination, for the pseudo-header.
    pub destination: IpAddr,
}

/// Why a message can't be written. Each is the caller's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The buffer is shorter than [`Advert::len`].
    Buffer,
    /// An address, or the destination, of another family than the source.
    MixedFamilies,
    /// More than 255 addresses.
    TooManyAddresses,
}

impl core::fmt::Display for EmitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Buffer => "the buffer is shorter than the message",
            Self::MixedFamilies => "the addresses are not all of one family",
            Self::TooManyAddresses => "an advert holds 255 addresses at most",
        })
    }
}

impl core::error::Error for EmitError {}

/// The group that adverts of a family go to (RFC 9568 §5.1).
pub const fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(core::net::Ipv4Addr::from_octets(GROUP_V4)),
        Family::V6 => IpAddr::V6(core::net::Ipv6Addr::from_octets(GROUP_V6)),
    }
}

/// The family of an address.
pub const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// An address in the first bytes of a fixed array, as maps and records hold it.
pub const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let o = v4.octets();
            [o[0], o[1], o[2], o[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that [`octets`] put into an array.
pub const fn address(family: Family, octets: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => {
            IpAddr::V4(core::net::Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
        }
        Family::V6 => {
            let bits = u128::from_be_bytes(octets);
            IpAddr::V6(core::net::Ipv6Addr::from_bits(bits))
        }
    }
}

/// The length of a message with that many addresses.
#[inline(always)]
pub const fn message_len(version: Version, family: Family, count: usize) -> usize {
    let trailer = match version {
        Version::V2 => AUTH_DATA,
        Version::V3 => 0,
    };
    HEADER + count * family.address_len() + trailer
}

impl Advert<'_> {
    /// The message's length in bytes.
    pub const fn len(&self) -> usize {
        message_len(self.version, family_of(self.source), self.addresses.len())
    }

    /// Never: a message has at least its header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum (RFC 3768 §5.1, RFC 9568 §5.2) and returns its length.
    ///
    /// # Errors
    /// [`EmitError`] where the buffer is too short or the addresses don't fit one message.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let family = family_of(self.source);
        let count = u8::try_from(self.addresses.len()).map_err(|_| EmitError::TooManyAddresses)?;
        let len = self.len();
        let out = buffer.get_mut(..len).ok_or(EmitError::Buffer)?;
        if family_of(self.destination) != family {
            return Err(EmitError::MixedFamilies);
        }
        out[0] = ((self.version as u8) << 4) | TYPE_ADVERTISEMENT;
        out[1] = self.vrid.get();
        out[2] = self.priority.get();
        out[3] = count;
        match self.version {
            Version::V2 => {
                out[4] = if self.password.is_some() { AUTH_PASS } else { AUTH_NONE };
                out[5] = self.interval.min(255) as u8;
            }
            // The four bits in front of the interval are reserved: zero (RFC 9568 §5.2.6).
            Version::V3 => out[4..6].copy_from_slice(&(self.interval & 0x0fff).to_be_bytes()),
        }
        out[CHECKSUM_AT..HEADER].fill(0);
        let size = family.address_len();
        for (slot, address) in out[HEADER..].chunks_mut(size).zip(self.addresses) {
            if family_of(*address) != family {
                return Err(EmitError::MixedFamilies);
            }
            slot.copy_from_slice(&octets(*address)[..size]);
        }
        if matches!(self.version, Version::V2) {
            out[len - AUTH_DATA..].copy_from_slice(&self.password.unwrap_or_default());
        }
        let sum = self.pseudo_header(family, len).slice(out).checksum();
        out[CHECKSUM_AT..HEADER].copy_from_slice(&sum.to_be_bytes());
        Ok(len)
    }

    fn pseudo_header(&self, family: Family, len: usize) -> Sum {
        let covered = match (self.version, family) {
            (Version::V2, _) => false,
            (Version::V3, Family::V6) => true,
            (Version::V3, Family::V4) => matches!(self.form, ChecksumForm::PseudoHeader),
        };
        if !covered {
            return Sum::new();
        }
        checksum::pseudo_header(family, &octets(self.source), &octets(self.destination), len as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use hex_literal::hex;

    const VIP: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250))];

    fn advert(version: Version, interval: u16) -> Advert<'static> {
        Advert {
            version,
            vrid: Vrid::new(51).unwrap(),
            priority: Priority::new(150),
            interval,
            addresses: &VIP,
            password: None,
            form: ChecksumForm::PseudoHeader,
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 101)),
            destination: IpAddr::V4(Ipv4Addr::from_octets(GROUP_V4)),
        }
    }

    /// A buffer that shows an unwritten byte.
    fn emitted(advert: &Advert<'_>) -> Vec<u8> {
        let mut buffer = [0xa5; LONGEST];
        let len = advert.emit(&mut buffer).unwrap();
        assert!(buffer[len..].iter().all(|b| *b == 0xa5));
        buffer[..len].to_vec()
    }

    #[test]
    fn v2_without_authentication() {
        assert_eq!(
            emitted(&advert(Version::V2, 1)),
            hex!("21339601000185cfc00002fa0000000000000000")
        );
    }

    #[test]
    fn v2_with_a_password() {
        let with = Advert { password: Some(*b"1111\0\0\0\0"), ..advert(Version::V2, 1) };
        assert_eq!(emitted(&with), hex!("2133960101012 26dc00002fa3131313100000000"));
    }

    #[test]
    fn v3_in_both_forms() {
        assert_eq!(emitted(&advert(Version::V3, 100)), hex!("313396010064d277c00002fa"));
        let message = Advert { form: ChecksumForm::Message, ..advert(Version::V3, 100) };
        assert_eq!(emitted(&message), hex!("313396010064756cc00002fa"));
    }

    #[test]
    fn v3_over_ipv6_always_has_the_pseudo_header() {
        let addresses = ["fe80::5e00:250".parse().unwrap(), "2001:db8::250".parse().unwrap()];
        let v6 = Advert {
            addresses: &addresses,
            form: ChecksumForm::Message,
            source: "fe80::65".parse().unwrap(),
            destination: "ff02::12".parse().unwrap(),
            ..advert(Version::V3, 100)
        };
        assert_eq!(
            emitted(&v6),
            hex!(
                "313396020064aaf8fe80000000000000000000005e00025020010db8000000000000000000000250"
            )
        );
    }

    #[test]
    fn mistakes_are_named() {
        let good = advert(Version::V3, 100);
        assert_eq!(good.emit(&mut [0; 11]), Err(EmitError::Buffer));
        let mixed = [VIP[0], "2001:db8::1".parse().unwrap()];
        assert_eq!(
            Advert { addresses: &mixed, ..good }.emit(&mut [0; 64]),
            Err(EmitError::MixedFamilies)
        );
        let many = [VIP[0]; 256];
        assert_eq!(
            Advert { addresses: &many, ..good }.emit(&mut [0; LONGEST]),
            Err(EmitError::TooManyAddresses)
        );
    }
}
