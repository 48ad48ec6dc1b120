//! Routers of every kind, and adverts for them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrrp_common::abi::Router;
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Priority, Version, Vrid, frame};
use xvrrp::ah;
use xvrrp::config::model::Peer;
use xvrrp::transmit::{AdvertFrame, Around};

use crate::bench::{KEY, SOURCE, settings};
use crate::frames::{Numbers, behind_an_extension, damage, sum_again, vips, vips_v6};

/// The first router's VRID; the others follow.
const FIRST: u8 = 51;
const PASSWORD: [u8; 8] = *b"1111\0\0\0\0";
/// Another group than VRRP's.
const OTHER_GROUP: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234)),
];

/// Where adverts go.
#[derive(Clone, Copy, Debug)]
enum To {
    Group,
    OtherGroup,
    /// To the router's own address, from anybody or from its peers alone.
    Own {
        checked: bool,
    },
}

/// A router, and what its adverts are made of.
pub(crate) struct Kind {
    pub(crate) family: Family,
    pub(crate) vrid: u8,
    pub(crate) router: Router,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) peers: Vec<Peer>,
    version: Version,
    to: To,
    /// The last authentication header's number.
    sequence: std::cell::Cell<u32>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}, {:?}", self.family, self.version, self.to, self.router)
    }
}

/// One of each kind: versions and families, groups and peers, authentication, and how strict.
pub(crate) fn kinds() -> Vec<Kind> {
    const ADDRESSES: [u8; 3] = [0, Router::SAME_ADDRESSES, Router::SKIP_ADDRESSES];
    let versions =
        [(Family::V4, Version::V2), (Family::V4, Version::V3), (Family::V6, Version::V3)];
    let ways = [To::Group, To::OtherGroup, To::Own { checked: false }, To::Own { checked: true }];
    let mut all = Vec::new();
    for (family, version) in versions {
        for to in ways {
            for flags in ADDRESSES {
                all.push((family, version, to, flags, wire::AUTH_NONE));
            }
            all.push((family, version, to, Router::SHARED, wire::AUTH_NONE));
            match (family, version) {
                (Family::V6, _) => {
                    let flags = Router::LINK_LOCAL_FIRST | Router::SAME_ADDRESSES;
                    all.push((family, version, to, Router::LINK_LOCAL_FIRST, wire::AUTH_NONE));
                    all.push((family, version, to, flags, wire::AUTH_NONE));
                }
                (Family::V4, Version::V2) => {
                    all.push((family, version, to, 0, wire::AUTH_PASS));
                    all.push((family, version, to, 0, wire::AUTH_AH));
                    all.push((family, version, to, Router::SKIP_ADDRESSES, wire::AUTH_AH));
                }
                (Family::V4, Version::V3) => {}
            }
        }
    }
    let numbered = (0..).zip(all);
    numbered
        .map(|(slot, (family, version, to, flags, auth))| {
            Kind::new(slot, (family, version), to, flags, auth)
        })
        .collect()
}

impl Kind {
    fn new(slot: u8, (family, version): (Family, Version), to: To, flags: u8, auth: u8) -> Self {
        let source = own(family);
        let [other_v4, other_v6] = OTHER_GROUP;
        let (destination, more) = match (to, family) {
            (To::Group, _) => (wire::group(family), 0),
            (To::OtherGroup, Family::V4) => (other_v4, 0),
            (To::OtherGroup, Family::V6) => (other_v6, 0),
            (To::Own { checked: false }, _) => (source, Router::UNICAST),
            (To::Own { checked: true }, _) => (source, Router::UNICAST | Router::CHECK_SOURCE),
        };
        let peers = match to {
            To::Group | To::OtherGroup => Vec::new(),
            To::Own { .. } => [(101, 0, 255), (102, 200, 255)]
                .map(|(last, min_ttl, max_ttl)| Peer {
                    address: host(family, last),
                    min_ttl,
                    max_ttl,
                })
                .into(),
        };
        let router = Router {
            slot: slot.into(),
            auth_type: auth,
            password: match auth {
                wire::AUTH_PASS => PASSWORD,
                wire::AUTH_AH => KEY,
                _ => [0; 8],
            },
            source: wire::octets(source),
            destination: wire::octets(destination),
            flags: flags | more,
            ..settings(version)
        };
        let (vrid, sequence) = (FIRST + slot, std::cell::Cell::new(100));
        Self { family, vrid, router, addresses: Vec::new(), peers, version, to, sequence }
    }

    /// Gives the router other addresses; mostly a few, as routers have.
    pub(crate) fn readdress(&mut self, numbers: &mut Numbers) {
        self.addresses = self.some_addresses(numbers);
    }

    fn some_addresses(&self, numbers: &mut Numbers) -> Vec<IpAddr> {
        let count = [numbers.below(4), numbers.below(36)][numbers.below(2)] as u8;
        match self.family {
            Family::V4 => vips(count),
            Family::V6 => vips_v6(count),
        }
    }

    /// An advert for the router, good but for what a peer may have set otherwise.
    fn advert(&self, numbers: &mut Numbers) -> Vec<u8> {
        let mut addresses = if numbers.below(3) > 0 {
            self.addresses.clone()
        } else {
            self.some_addresses(numbers)
        };
        if numbers.below(8) == 0 {
            addresses.reverse();
        }
        let source = match numbers.below(32) {
            0 => own(self.family),
            1 if self.family == Family::V4 => Ipv4Addr::LOCALHOST.into(),
            1 => Ipv6Addr::LOCALHOST.into(),
            2..8 => host(self.family, 102),
            8..12 => host(self.family, 66),
            _ => host(self.family, 101),
        };
        let password = match self.router.auth_type {
            wire::AUTH_PASS if numbers.below(8) == 0 => Some(*b"2222\0\0\0\0"),
            wire::AUTH_PASS => Some(PASSWORD),
            _ => None,
        };
        let advert = Advert {
            version: self.version,
            vrid: Vrid::new(self.vrid).expect("not zero"),
            priority: Priority::new(numbers.below(256) as u8),
            interval: match self.version {
                Version::V2 => [1, 1, 1, 1, 1, 1, 1, 2][numbers.below(8)],
                Version::V3 => 1 + numbers.below(4095) as u16,
            },
            addresses: &addresses,
            password,
            form: [ChecksumForm::Message, ChecksumForm::PseudoHeader][numbers.below(2)],
            source,
            destination: wire::address(self.family, self.router.destination),
        };
        let key = (self.router.auth_type == wire::AUTH_AH).then_some(KEY);
        let ttl = [255, 255, 255, 255, 255, 254, 64, 1][numbers.below(8)];
        let around = Around { mac: [2, 0, 0, 0, 0, 0x65], ttl, key };
        let mut frame = AdvertFrame::new(around, &advert).expect("it can be written");
        frame.sign(self.sequence(numbers));
        let mut frame = frame.bytes().to_vec();
        if self.family == Family::V6 && numbers.below(8) == 0 {
            behind_an_extension(&mut frame, numbers);
        }
        frame
    }

    /// Mostly a new one.
    fn sequence(&self, numbers: &mut Numbers) -> u32 {
        if numbers.below(4) == 0 {
            return self.sequence.get();
        }
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    /// An advert for the router or, one in eight, for another one of `all`; mostly damaged.
    pub(crate) fn damaged(&self, all: &[Self], numbers: &mut Numbers) -> Vec<u8> {
        let mut frame = self.advert(numbers);
        if numbers.below(8) == 0
            && let Ok(located) = frame::locate::<_, true>(&frame[..])
        {
            frame[located.message + 1] = all[numbers.below(all.len())].vrid;
            sum_again(&mut frame);
        }
        // What is behind a seal is judged where all before it is good.
        let spared = if self.router.auth_type == wire::AUTH_AH { 2 } else { 8 };
        if numbers.below(spared) > 0 {
            damage(&mut frame, numbers);
        }
        let sealed = self.router.auth_type == wire::AUTH_AH && frame.len() >= 34 + ah::LEN;
        if sealed && numbers.below(4) > 0 {
            let hops = matches!(self.to, To::Own { .. });
            ah::sign(&KEY, &mut frame[14..], wire::IPV4_HEADER, hops, self.sequence(numbers));
        }
        if numbers.below(16) == 0 {
            let tags = [[0x81, 0, 0xe0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 1]];
            frame.splice(12..12, tags[numbers.below(3)]);
        }
        frame
    }
}

fn own(family: Family) -> IpAddr {
    host(family, *SOURCE.octets().last().expect("there are four"))
}

fn host(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}
