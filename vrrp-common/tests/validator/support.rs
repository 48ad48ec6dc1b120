//! Frames and settings to judge them by.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrrp_common::abi::{Router, TtlBounds};
use vrrp_common::check::{self, Checked, Judgement, Rules};
use vrrp_common::checksum::Sum;
use vrrp_common::frame::Located;
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Priority, Reject, Version, Vrid, frame};

pub(crate) const VRID: u8 = 51;
pub(crate) const SLOT: u32 = 7;
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x5e00, 0x250);
pub(crate) const OURS6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
pub(crate) const PEER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x65);
/// Offsets in a frame without tags and options.
pub(crate) const IP: usize = 14;
pub(crate) const MESSAGE: usize = 34;
/// The same over IPv6.
pub(crate) const MESSAGE6: usize = 54;

/// The settings of one router.
pub(crate) struct Settings {
    pub(crate) router: Router,
    family: Family,
    positions: HashMap<IpAddr, u32>,
    pub(crate) peers: HashMap<[u8; 16], TtlBounds>,
    /// What is known of an authentication header.
    pub(crate) unsealed: Option<Result<(), Reject>>,
    /// Whether the sender is the one that was heard last.
    pub(crate) came_last: Option<bool>,
}

impl Settings {
    pub(crate) fn new(version: Version, addresses: &[Ipv4Addr]) -> Self {
        let positions =
            (0..).zip(addresses).map(|(at, address)| (IpAddr::V4(*address), at)).collect();
        let router = Router {
            slot: SLOT,
            interval: 1,
            version: version as u8,
            auth_type: wire::AUTH_NONE,
            password: [0; 8],
            source: wire::octets(OURS.into()),
            destination: wire::octets(wire::group(Family::V4)),
            addresses: u8::try_from(addresses.len()).unwrap(),
            flags: 0,
            reserved: [0; 2],
            first: addresses.first().map_or([0; 16], |first| wire::octets((*first).into())),
        };
        let family = Family::V4;
        Self { router, family, positions, peers: HashMap::new(), unsealed: None, came_last: None }
    }

    /// A VRRPv3 router over IPv6.
    pub(crate) fn v6(addresses: &[Ipv6Addr]) -> Self {
        let none = Self::new(Version::V3, &[]);
        let positions = (0..).zip(addresses).map(|(at, v6)| (IpAddr::V6(*v6), at)).collect();
        let router = Router {
            source: OURS6.octets(),
            destination: wire::GROUP_V6,
            addresses: u8::try_from(addresses.len()).unwrap(),
            first: addresses.first().map_or([0; 16], Ipv6Addr::octets),
            ..none.router
        };
        Self { router, positions, family: Family::V6, ..none }
    }

    pub(crate) fn with_password(mut self, password: [u8; 8]) -> Self {
        self.router.auth_type = wire::AUTH_PASS;
        self.router.password = password;
        self
    }

    pub(crate) fn with_same_addresses(mut self) -> Self {
        self.router.flags = Router::SAME_ADDRESSES;
        self
    }

    /// With no more of the addresses than stands in [`Router`].
    pub(crate) fn without_list(mut self) -> Self {
        self.positions.clear();
        self
    }

    /// As user space judges.
    pub(crate) fn judge(&self, frame: &[u8]) -> Option<Judgement> {
        let located = frame::locate::<_, true>(frame).ok()?;
        Some(check::judge::<_, _, 8>(frame, &located, self))
    }

    /// As the kernel program judges.
    pub(crate) fn judge_fast(&self, frame: &[u8]) -> Option<Judgement> {
        let located = frame::locate::<_, false>(frame).ok()?;
        Some(check::judge::<_, _, 1>(frame, &located, self))
    }

    /// The verdict about a frame that is for our router.
    pub(crate) fn verdict(&self, frame: &[u8]) -> Result<Checked, Reject> {
        match self.judge(frame) {
            Some(Judgement::Ours { verdict, slot: SLOT, .. }) => verdict,
            other => panic!("{other:?}"),
        }
    }
}

impl Rules for Settings {
    fn router(&self, family: Family, vrid: u8, _: &[u8; 16]) -> Option<&Router> {
        (family == self.family && vrid == VRID).then_some(&self.router)
    }

    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32> {
        assert_eq!(slot, SLOT);
        self.positions.get(&IpAddr::from(address)).copied()
    }

    fn address_v6(&self, slot: u32, address: [u8; 16]) -> Option<u32> {
        assert_eq!(slot, SLOT);
        self.positions.get(&IpAddr::from(address)).copied()
    }

    fn peer(&self, slot: u32, source: [u8; 16]) -> Option<TtlBounds> {
        assert_eq!(slot, SLOT);
        self.peers.get(&source).copied()
    }

    fn unsealed(&self, _: &Router, _: &Located) -> Option<Result<(), Reject>> {
        self.unsealed
    }

    fn came_last(&self, slot: u32, _: &Located) -> Option<bool> {
        assert_eq!(slot, SLOT);
        self.came_last
    }
}

/// An advert of the peer's in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) version: Version,
    pub(crate) form: ChecksumForm,
    pub(crate) source: Ipv4Addr,
    pub(crate) priority: u8,
    pub(crate) interval: u16,
    pub(crate) password: Option<[u8; 8]>,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) options: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(version: Version, addresses: &[Ipv4Addr]) -> Self {
        Self {
            version,
            form: ChecksumForm::PseudoHeader,
            source: PEER,
            priority: 150,
            interval: if version == Version::V2 { 1 } else { 100 },
            password: None,
            addresses: addresses.to_vec(),
            options: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let addresses: Vec<IpAddr> = self.addresses.iter().copied().map(IpAddr::V4).collect();
        let message = Advert {
            version: self.version,
            vrid: Vrid::new(VRID).unwrap(),
            priority: Priority::new(self.priority),
            interval: self.interval,
            addresses: &addresses,
            password: self.password,
            form: self.form,
            source: self.source.into(),
            destination: Ipv4Addr::from(wire::GROUP_V4).into(),
        };
        let header = wire::IPV4_HEADER + self.options.len();
        let mut frame = b"\x01\x00\x5e\x00\x00\x12\x02\x00\x00\x00\x00\x65\x08\x00".to_vec();
        frame.resize(IP + header + message.len(), 0);
        message.emit(&mut frame[IP + header..]).unwrap();
        frame[IP] = 0x40 | (header / 4) as u8;
        frame[IP + 1] = 0xc0;
        let total = (header + message.len()) as u16;
        frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        frame[IP + 8] = wire::TTL;
        frame[IP + 9] = wire::PROTOCOL;
        frame[IP + 12..IP + 16].copy_from_slice(&self.source.octets());
        frame[IP + 16..IP + 20].copy_from_slice(&wire::GROUP_V4);
        frame[MESSAGE..MESSAGE + self.options.len()].copy_from_slice(&self.options);
        sum_header(&mut frame);
        frame
    }
}

/// A VRRPv3 advert of the peer's over IPv6, in a frame.
pub(crate) fn advert_v6(addresses: &[Ipv6Addr]) -> Vec<u8> {
    let addresses: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::V6).collect();
    let message = Advert {
        version: Version::V3,
        vrid: Vrid::new(VRID).unwrap(),
        priority: Priority::new(150),
        interval: 100,
        addresses: &addresses,
        password: None,
        form: ChecksumForm::PseudoHeader,
        source: PEER6.into(),
        destination: Ipv6Addr::from(wire::GROUP_V6).into(),
    };
    let mut frame =
        b"\x33\x33\x00\x00\x00\x12\x02\x00\x00\x00\x00\x65\x86\xdd\x6c\x00\x00\x00".to_vec();
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([wire::PROTOCOL, wire::TTL]);
    frame.extend(PEER6.octets());
    frame.extend(wire::GROUP_V6);
    frame.resize(MESSAGE6 + message.len(), 0);
    message.emit(&mut frame[MESSAGE6..]).unwrap();
    frame
}

/// A good VRRPv2 advert behind an authentication header, whose sum nobody looks at here.
pub(crate) fn sealed() -> Vec<u8> {
    let mut frame = Frame::new(Version::V2, &[VIP]).bytes();
    frame[MESSAGE + 4] = wire::AUTH_AH;
    sum_message(&mut frame);
    frame[IP + 9] = wire::PROTOCOL_AH;
    frame[IP + 3] += wire::AH_HEADER as u8;
    sum_header(&mut frame);
    let mut header = [0; wire::AH_HEADER];
    header[..2].copy_from_slice(&[wire::PROTOCOL, 4]);
    frame.splice(MESSAGE..MESSAGE, header);
    frame
}

/// Makes the IPv4 header's checksum right, where there is a whole header.
pub(crate) fn sum_header(frame: &mut [u8]) {
    let length = usize::from(frame[IP] & 15) * 4;
    if let Some(header) = frame.get_mut(IP..IP + length)
        && header.len() >= wire::IPV4_HEADER
    {
        header[10..12].fill(0);
        let sum = Sum::new().slice(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the checksum of a message behind a header without options right, over the message alone.
pub(crate) fn sum_message(frame: &mut [u8]) {
    let end = IP + usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let message = &mut frame[MESSAGE..end];
    message[6..8].fill(0);
    let sum = Sum::new().slice(message).checksum();
    message[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// That many different addresses.
pub(crate) fn addresses(count: u8) -> Vec<Ipv4Addr> {
    (0..count).map(|i| Ipv4Addr::new(198, 51, 100, i)).collect()
}
