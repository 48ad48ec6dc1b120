//! The validator.

use std::net::{IpAddr, Ipv4Addr};

use vrrp_common::abi::{Event, Router, RouterKey};
use vrrp_common::check::{self, Checked, Judgement};
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Instant, Priority, Version, Vrid, frame};
use xvrrp::slowpath::Table;

const IFINDEX: u32 = 1;
const SLOT: u32 = 3;
/// Settings in front of the frame: [`seed`] says which.
const SETTINGS: usize = 3;

/// An input: the frame behind three bytes of settings. They are the version (2 or 3) with 0x10 for a
/// demand for the same addresses, the VRID, and how many addresses we have; the password is "1111"
/// where 0x20 is set in the first.
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
    let key = RouterKey::new(IFINDEX, Family::V4, settings[1]);
    let mut table = Table::new();
    table.set(key, router(settings[0]), &ours(settings[2]), &[]);

    let located = frame::locate::<_, true>(bytes);
    let full =
        located.map(|located| check::judge::<_, _, 8>(bytes, &located, &table.rules(IFINDEX, Instant::default(), bytes)));
    if let Ok(fast) = frame::locate::<_, false>(bytes) {
        assert_eq!(Ok(fast), located);
        let judged = check::judge::<_, _, 1>(bytes, &fast, &table.rules(IFINDEX, Instant::default(), bytes));
        if judged == (Judgement::Unfinished { slot: SLOT }) {
            assert!(bytes[fast.message + 3] > 32);
        } else {
            assert_eq!(Ok(judged), full);
        }
    }
    let record = table.frame(IFINDEX, Instant::from_nanos(1), bytes);
    match full {
        Ok(Judgement::Ours { verdict, .. }) => {
            let record = record.expect("the first of its kind is reported");
            let kind = if verdict.is_ok() { Event::ADVERT } else { Event::REFUSED };
            assert_eq!((record.kind, record.slot), (kind, SLOT));
            if let (Ok(checked), Ok(located)) = (verdict, located) {
                written_again(settings[1], &bytes[located.message..], &record, checked);
            }
        }
        Ok(Judgement::NotOurs | Judgement::Stranger) | Err(_) => assert_eq!(record, None),
        Ok(Judgement::Unfinished { .. }) => panic!("the long loop takes all"),
    }
}

/// An accepted message is what its fields, written again, give.
fn written_again(vrid: u8, message: &[u8], record: &Event, checked: Checked) {
    let version = Version::new(message[0] >> 4).expect("accepted");
    let count = usize::from(message[3]);
    let addresses: Vec<IpAddr> = message[wire::HEADER..]
        .as_chunks::<4>()
        .0
        .iter()
        .take(count)
        .map(|address| IpAddr::from(*address))
        .collect();
    let trailer = message.get(wire::HEADER + 4 * count..).and_then(|rest| rest.first_chunk());
    let advert = Advert {
        version,
        vrid: Vrid::new(vrid).expect("a router is configured with it"),
        priority: Priority::new(checked.priority),
        interval: checked.interval,
        addresses: &addresses,
        password: trailer.copied().filter(|_| message[4] == wire::AUTH_PASS),
        form: checked.form,
        source: wire::address(Family::V4, record.source),
        destination: Ipv4Addr::from(wire::GROUP_V4).into(),
    };
    let mut again = [0; wire::LONGEST];
    let length = advert.emit(&mut again).expect("it fits");
    let same = |range: std::ops::Range<usize>| assert_eq!(again[range.clone()], message[range]);
    // What is ignored need not be what we would write: VRRPv3's reserved bits, the trailer of VRRPv2
    // without authentication. Then the sum differs too.
    let ignored = match version {
        Version::V2 => advert.password.is_none() && trailer != Some(&[0; wire::AUTH_DATA]),
        Version::V3 => message[4] & 0xf0 != 0,
    };
    if ignored {
        same(0..4);
        same(wire::HEADER..wire::HEADER + 4 * count);
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

fn router(flags: u8) -> Router {
    let with_password = flags & 0x20 != 0;
    Router {
        slot: SLOT,
        interval: 1,
        version: flags & 0x0f,
        auth_type: if with_password { wire::AUTH_PASS } else { wire::AUTH_NONE },
        password: if with_password { *b"1111\0\0\0\0" } else { [0; 8] },
        source: wire::octets(Ipv4Addr::new(192, 0, 2, 11).into()),
        destination: wire::octets(wire::group(Family::V4)),
        addresses: 0,
        flags: if flags & 0x10 != 0 { Router::SAME_ADDRESSES } else { 0 },
        reserved: [0; 2],
    }
}

/// That many addresses, the one of the handed configurations first.
fn ours(count: u8) -> Vec<IpAddr> {
    (0..count).map(|i| Ipv4Addr::new(192, 0, 2, 250_u8.wrapping_add(i)).into()).collect()
}
