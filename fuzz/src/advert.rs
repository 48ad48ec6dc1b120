//! The validator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrrp_common::abi::{Event, Router, RouterKey};
use vrrp_common::check::{self, Checked, Judgement};
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Instant, Priority, Version, Vrid, frame};
use xvrrp::config::model::Peer;
use xvrrp::slowpath::Table;

const IFINDEX: u32 = 1;
const SLOT: u32 = 3;
/// Settings in front of the frame: [`seed`] says which.
const SETTINGS: usize = 3;

/// In the first byte of the settings, beside the version (2 or 3, over IPv6 always 3).
pub mod first {
    /// Over IPv6.
    pub const V6: u8 = 0x04;
    /// Adverts come to our own address.
    pub const UNICAST: u8 = 0x08;
    /// The same addresses are demanded, over IPv6 with a link-local one first.
    pub const SAME_ADDRESSES: u8 = 0x10;
    /// The password is "1111".
    pub const PASSWORD: u8 = 0x20;
    /// An authentication header is demanded, by the key "lab12345".
    pub const SEALED: u8 = 0x40;
    /// Only peers are heard, or nobody's addresses are compared twice.
    pub const OTHERWISE: u8 = 0x80;
}
/// In the third byte, beside how many addresses we have: another group than VRRP's.
pub const OTHER_GROUP: u8 = 0x80;

/// An input: the frame behind three bytes of settings. They are the version with what is in [`first`],
/// the VRID, and how many addresses we have, with [`OTHER_GROUP`].
pub fn seed(version: u8, vrid: u8, addresses: u8, frame: &[u8]) -> Vec<u8> {
    let mut data = vec![version, vrid, addresses];
    data.extend(frame);
    data
}

/// Judges a frame as the kernel program and as the slow path do.
///
/// # Panics
/// They disagree, or an accepted advert is not the one that its fields would be written as.
pub fn check_advert(data: &[u8]) {
    let Some((settings, bytes)) = data.split_first_chunk::<SETTINGS>() else { return };
    let family = family(settings[0]);
    let key = RouterKey::new(IFINDEX, family, settings[1]);
    let mut table = Table::new();
    let router = router(settings[0], settings[2] & OTHER_GROUP != 0);
    let peer = Peer { address: host(family, 101), min_ttl: 64, max_ttl: 255 };
    table.set(key, router, &ours(family, settings[2] & !OTHER_GROUP), &[peer]);

    let located = frame::locate::<_, true>(bytes);
    let rules = table.rules(IFINDEX, Instant::default(), bytes);
    let full = located.map(|located| check::judge::<_, _, 8>(bytes, &located, &rules));
    if let Ok(fast) = frame::locate::<_, false>(bytes) {
        assert_eq!(Ok(fast), located);
        let judged = check::judge::<_, _, 1>(bytes, &fast, &rules);
        if judged == (Judgement::Unfinished { slot: SLOT }) {
            assert!(bytes[fast.message + 3] > 32);
        } else {
            assert_eq!(Ok(judged), full);
        }
    }
    drop(rules);
    let record = table.frame(IFINDEX, Instant::from_nanos(1), bytes);
    match full {
        Ok(Judgement::Ours { verdict, .. }) => {
            let record = record.expect("the first of its kind is reported");
            let kind = if verdict.is_ok() { Event::ADVERT } else { Event::REFUSED };
            assert_eq!((record.kind, record.slot), (kind, SLOT));
            if let (Ok(checked), Ok(located)) = (verdict, located) {
                let message = &bytes[located.message..];
                let destination = wire::address(family, router.destination);
                written_again(settings[1], family, destination, message, &record, checked);
            }
        }
        Ok(Judgement::NotOurs | Judgement::Stranger) | Err(_) => assert_eq!(record, None),
        Ok(Judgement::Unfinished { .. }) => panic!("the long loop takes all"),
    }
}

/// An accepted message is what its fields, written again, give.
fn written_again(
    vrid: u8,
    family: Family,
    destination: IpAddr,
    message: &[u8],
    record: &Event,
    checked: Checked,
) {
    let version = Version::new(message[0] >> 4).expect("accepted");
    let count = usize::from(message[3]);
    let body = &message[wire::HEADER..];
    let addresses: Vec<IpAddr> = match family {
        Family::V4 => body.as_chunks::<4>().0.iter().take(count).map(|a| (*a).into()).collect(),
        Family::V6 => body.as_chunks::<16>().0.iter().take(count).map(|a| (*a).into()).collect(),
    };
    let end = wire::HEADER + family.address_len() * count;
    let trailer = message.get(end..).and_then(|rest| rest.first_chunk());
    let advert = Advert {
        version,
        vrid: Vrid::new(vrid).expect("a router is configured with it"),
        priority: Priority::new(checked.priority),
        interval: checked.interval,
        addresses: &addresses,
        password: trailer.copied().filter(|_| message[4] == wire::AUTH_PASS),
        form: checked.form,
        source: wire::address(family, record.source),
        destination,
    };
    let mut again = [0; wire::LONGEST];
    let length = advert.emit(&mut again).expect("it fits");
    let same = |range: std::ops::Range<usize>| assert_eq!(again[range.clone()], message[range]);
    // What is ignored need not be what we would write: VRRPv3's reserved bits, the trailer of VRRPv2
    // without a password. Then the sum differs too. The type of an authentication header is written
    // by whoever writes the header.
    let ignored = match version {
        Version::V2 => {
            advert.password.is_none() && trailer != Some(&[0; wire::AUTH_DATA])
                || message[4] == wire::AUTH_AH
        }
        Version::V3 => message[4] & 0xf0 != 0,
    };
    if ignored {
        same(0..4);
        same(wire::HEADER..end);
        return;
    }
    // A sum of zero can be said in two ways.
    let zero = again[wire::CHECKSUM_AT..wire::HEADER] == [0, 0]
        && message[wire::CHECKSUM_AT..wire::HEADER] == [0xff, 0xff];
    same(0..wire::CHECKSUM_AT);
    same(wire::HEADER..length);
    assert!(zero || again[..wire::HEADER] == message[..wire::HEADER], "{:?}", checked.form);
    assert!(version == Version::V3 || checked.form == ChecksumForm::Message);
}

fn family(settings: u8) -> Family {
    if settings & first::V6 != 0 { Family::V6 } else { Family::V4 }
}

fn router(settings: u8, other_group: bool) -> Router {
    let set = |flag: u8| settings & flag != 0;
    let (family, source) = (family(settings), host(family(settings), 11));
    let (auth_type, password) = match family {
        Family::V4 if set(first::SEALED) => (wire::AUTH_AH, *b"lab12345"),
        Family::V4 if set(first::PASSWORD) => (wire::AUTH_PASS, *b"1111\0\0\0\0"),
        Family::V4 | Family::V6 => (wire::AUTH_NONE, [0; 8]),
    };
    let otherwise = if set(first::UNICAST) { Router::CHECK_SOURCE } else { Router::SKIP_ADDRESSES };
    let same = match family {
        Family::V4 => Router::SAME_ADDRESSES,
        Family::V6 => Router::SAME_ADDRESSES | Router::LINK_LOCAL_FIRST,
    };
    let flags = [
        (first::UNICAST, Router::UNICAST),
        (first::SAME_ADDRESSES, same),
        (first::OTHERWISE, otherwise),
    ];
    Router {
        slot: SLOT,
        interval: 1,
        version: if family == Family::V6 { 3 } else { settings & 3 },
        auth_type,
        password,
        source: wire::octets(source),
        destination: wire::octets(match family {
            _ if set(first::UNICAST) => source,
            Family::V4 if other_group => Ipv4Addr::new(239, 1, 2, 3).into(),
            Family::V6 if other_group => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234).into(),
            Family::V4 | Family::V6 => wire::group(family),
        }),
        addresses: 0,
        flags: flags.iter().filter(|(flag, _)| set(*flag)).fold(0, |all, (_, flag)| all | flag),
        reserved: [0; 2], first: [0; 16],
    }
}

fn host(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
        // As the handed frames have it: 101 is written 0x65.
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

/// That many addresses, those of the handed configurations first.
fn ours(family: Family, count: u8) -> Vec<IpAddr> {
    let v6 = |i: u8| match i {
        0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x5e00, 0x250),
        i => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x24f + u16::from(i)),
    };
    let address = |i: u8| match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 250_u8.wrapping_add(i)).into(),
        Family::V6 => v6(i).into(),
    };
    (0..count).map(address).collect()
}
