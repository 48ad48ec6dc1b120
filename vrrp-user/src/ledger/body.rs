//! What changes seldom about a router: who it is, what it holds, what it would say at the end.

use std::net::IpAddr;

use bytemuck::{Pod, Zeroable};
use vrrp_common::wire::{ChecksumForm, family_of};
use vrrp_common::{Family, Instant, wire};
use vrrp_proto::VirtualAddress;

use super::judge;
use super::table::TABLE_BYTES;
use crate::net::paths::Kept;
use crate::net::sysctl::Key;
use crate::net::traces::{Before, Traces};

/// Room is given out in pieces of so many bytes.
pub(super) const UNIT: usize = 64;
/// The most units of a body: 256 addresses, two frames, a name.
pub(super) const MOST_UNITS: u32 = 0xffff;
/// Bytes of an interface's name, with the zero at its end.
const DEVICE: usize = 16;
/// The most interfaces, and the most settings, that are kept of one instance.
const MOST_TRACES: usize = 255;
/// Bytes of an instance's name that are kept.
const NAME: usize = 255;
/// No interface has that index.
const BY_INTERFACE: u32 = u32::MAX;

/// A router as the ledger knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// The instance's name.
    pub(crate) name: String,
    /// The interface's name.
    pub(crate) interface: String,
    /// Its index; 0 while it is not there.
    pub(crate) ifindex: u32,
    /// 4 or 6.
    pub(crate) family: u8,
    /// The VRID.
    pub(crate) vrid: u8,
    /// Its adverts of priority 0 as frames, by checksum form: to a group one, to single hosts one for
    /// each; all of one length. None while it has no way to send.
    pub(crate) frames: [Vec<Vec<u8>>; 2],
    /// Those to single hosts leave by whichever interface the routes of the VRF with this index name, 0: of
    /// none. `None`: by its own interface.
    pub(crate) by_routes: Option<u32>,
    /// The key for those with an authentication header, which are signed when they leave.
    pub(crate) key: [u8; 8],
    /// Its addresses, also those not in its adverts.
    pub(crate) addresses: Vec<Held>,
    /// Its routes and rules, in the order in which they go on.
    pub(crate) paths: Vec<HeldPath>,
    /// The interfaces that were made for it, and what was changed for those.
    pub(crate) traces: Traces,
}

/// An address of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Its prefix length, or that of its peer.
    pub(crate) prefix: u8,
    /// The address of the other end of a point-to-point link: the kernel takes an address off only by
    /// it.
    pub(crate) peer: Option<IpAddr>,
    /// The interface's name.
    pub(crate) device: String,
    /// The interface's index when it was noted; 0 where it was not there.
    pub(crate) ifindex: u32,
    /// The host's own: never taken off.
    pub(crate) own: bool,
    /// No longer the router's since then.
    pub(crate) dropped: Option<Instant>,
}

/// A route or rule of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldPath {
    /// What it is.
    pub(crate) kept: Kept,
    /// No longer the router's since then.
    pub(crate) dropped: Option<Instant>,
}

impl Held {
    /// Whether this is that address, on the interface of that name.
    pub(crate) fn is(&self, address: &VirtualAddress) -> bool {
        (self.ip, self.prefix, &self.device) == (address.ip, address.prefix, &address.device)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Head {
    slot: u32,
    ifindex: u32,
    interface: [u8; DEVICE],
    family: u8,
    vrid: u8,
    links: u8,
    settings: u8,
    /// Frames of each form.
    frames: u32,
    name: u32,
    /// Bytes of a frame.
    frame: u32,
    addresses: u32,
    paths: u32,
    /// [`BY_INTERFACE`], or the VRF's index.
    by_routes: u32,
    key: [u8; 8],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawAddress {
    ip: [u8; 16],
    /// Zero: none.
    peer: [u8; 16],
    device: [u8; DEVICE],
    dropped: u64,
    ifindex: u32,
    family: u8,
    prefix: u8,
    flags: u8,
    reserved: u8,
}

/// What is in front of a route or rule.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawPath {
    dropped: u64,
    request: u32,
    text: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawSetting {
    device: [u8; DEVICE],
    index: u32,
    key: u32,
    value: u32,
}

const OWN: u8 = 1;
const _: () = assert!(size_of::<Head>() == 60 && size_of::<RawAddress>() == 64);
const _: () = assert!(size_of::<RawSetting>() == 28);

impl Body {
    /// The priority-0 frames with the checksum form that the router used last.
    pub(crate) fn frames(&self, form: ChecksumForm) -> &[Vec<u8>] {
        &self.frames[form as usize]
    }

    /// Takes those of the addresses of before that are no longer among these over as dropped, but for
    /// those that were dropped long ago.
    pub(super) fn keep_dropped(&mut self, before: (Vec<Held>, Vec<HeldPath>), now: Instant) {
        let (addresses, paths) = before;
        for old in paths {
            let dropped = old.dropped.unwrap_or(now);
            let there = self.paths.iter().any(|held| held.kept.request == old.kept.request);
            if !there && judge::lingers(dropped, now) {
                self.paths.push(HeldPath { dropped: Some(dropped), ..old });
            }
        }
        for old in addresses {
            let there = |held: &Held| {
                (held.ip, held.prefix, &held.device, held.ifindex)
                    == (old.ip, old.prefix, &old.device, old.ifindex)
            };
            if self.addresses.iter().any(there) {
                continue;
            }
            let dropped = old.dropped.unwrap_or(now);
            if judge::lingers(dropped, now) {
                self.addresses.push(Held { dropped: Some(dropped), ..old });
            }
        }
    }

    /// Takes those that were dropped shortly before `alive` for dropped `now`; says whether there are any.
    pub(super) fn linger_on(&mut self, alive: Instant, now: Instant) -> bool {
        let paths = self.paths.iter_mut().filter_map(|held| held.dropped.as_mut());
        let addresses = self.addresses.iter_mut().filter_map(|held| held.dropped.as_mut());
        let dropped = addresses.chain(paths);
        let linger = dropped.filter(|dropped| judge::lingers(**dropped, alive));
        linger.map(|dropped| *dropped = now).count() > 0
    }

    /// As bytes in the file.
    pub(super) fn encode(&self, slot: u32) -> Vec<u8> {
        let name = self.name.as_bytes();
        let name = &name[..name.len().min(NAME)];
        let head = Head {
            slot,
            ifindex: self.ifindex,
            interface: padded(&self.interface),
            family: self.family,
            vrid: self.vrid,
            links: self.traces.links.len().min(MOST_TRACES) as u8,
            settings: self.traces.settings.len().min(MOST_TRACES) as u8,
            // Bounded above; a frame is some thousand bytes, addresses are 256 and those just dropped.
            frames: self.frames[0].len() as u32,
            name: name.len() as u32,
            frame: self.frames[0].first().map_or(0, Vec::len) as u32,
            addresses: self.addresses.len() as u32,
            paths: self.paths.len() as u32,
            by_routes: self.by_routes.unwrap_or(BY_INTERFACE),
            key: self.key,
        };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend_from_slice(name);
        for form in &self.frames {
            debug_assert_eq!(form.len(), self.frames[0].len());
            for frame in form {
                debug_assert_eq!(frame.len(), head.frame as usize);
                bytes.extend_from_slice(frame);
            }
        }
        for held in &self.addresses {
            bytes.extend_from_slice(bytemuck::bytes_of(&raw(held)));
        }
        for HeldPath { kept: Kept { request, text }, dropped } in &self.paths {
            bytes.extend_from_slice(bytemuck::bytes_of(&RawPath {
                dropped: dropped.map_or(0, Instant::as_nanos),
                request: request.len() as u32,
                text: text.len() as u32,
            }));
            bytes.extend_from_slice(request);
            bytes.extend_from_slice(text.as_bytes());
        }
        for name in self.traces.links.iter().take(MOST_TRACES) {
            bytes.extend_from_slice(&padded(name));
        }
        for before in self.traces.settings.iter().take(MOST_TRACES) {
            bytes.extend_from_slice(bytemuck::bytes_of(&RawSetting {
                device: padded(&before.device),
                index: before.index,
                key: Key::KEPT.iter().position(|key| *key == before.key).map_or(0, |at| at as u32),
                value: before.value,
            }));
        }
        bytes
    }

    /// From bytes of the file; `None` where they are not this slot's body.
    pub(super) fn decode(slot: u32, bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(size_of::<Head>())?;
        let head: Head = bytemuck::pod_read_unaligned(head);
        if head.slot != slot {
            return None;
        }
        let (name, rest) = rest.split_at_checked(head.name as usize)?;
        let form = (head.frames as usize).checked_mul(head.frame as usize)?;
        let (first, rest) = rest.split_at_checked(form)?;
        let (second, rest) = rest.split_at_checked(form)?;
        let frames = |bytes: &[u8]| match head.frame as usize {
            0 => Vec::new(),
            length => bytes.chunks_exact(length).map(<[u8]>::to_vec).collect(),
        };
        let length = (head.addresses as usize).checked_mul(size_of::<RawAddress>())?;
        let (addresses, mut rest) = rest.split_at_checked(length)?;
        let mut paths = Vec::new();
        for _ in 0..head.paths {
            let (path, behind) = held_path(rest)?;
            rest = behind;
            paths.push(path);
        }
        let addresses = addresses.chunks_exact(size_of::<RawAddress>());
        let (links, rest) = rest.split_at_checked(usize::from(head.links) * DEVICE)?;
        let length = usize::from(head.settings) * size_of::<RawSetting>();
        let settings = rest.get(..length)?.chunks_exact(size_of::<RawSetting>());
        let settings = settings.filter_map(|raw| setting(&bytemuck::pod_read_unaligned(raw)));
        Some(Self {
            name: String::from_utf8_lossy(name).into_owned(),
            interface: text(&head.interface),
            ifindex: head.ifindex,
            family: head.family,
            vrid: head.vrid,
            frames: [frames(first), frames(second)],
            by_routes: Some(head.by_routes).filter(|vrf| *vrf != BY_INTERFACE),
            key: head.key,
            addresses: addresses.map(|raw| held(&bytemuck::pod_read_unaligned(raw))).collect(),
            paths,
            traces: Traces {
                links: links.as_chunks().0.iter().map(text).collect(),
                settings: settings.collect(),
            },
        })
    }
}

fn raw(held: &Held) -> RawAddress {
    RawAddress {
        ip: wire::octets(held.ip),
        peer: held.peer.map_or([0; 16], wire::octets),
        device: padded(&held.device),
        dropped: held.dropped.map_or(0, Instant::as_nanos),
        ifindex: held.ifindex,
        family: family_of(held.ip) as u8,
        prefix: held.prefix,
        flags: if held.own { OWN } else { 0 },
        reserved: 0,
    }
}

fn held(raw: &RawAddress) -> Held {
    let family = if raw.family == Family::V6 as u8 { Family::V6 } else { Family::V4 };
    Held {
        ip: wire::address(family, raw.ip),
        prefix: raw.prefix,
        peer: (raw.peer != [0; 16]).then(|| wire::address(family, raw.peer)),
        device: text(&raw.device),
        ifindex: raw.ifindex,
        own: raw.flags & OWN != 0,
        dropped: (raw.dropped != 0).then(|| Instant::from_nanos(raw.dropped)),
    }
}

/// A route or rule, and what is behind it.
fn held_path(bytes: &[u8]) -> Option<(HeldPath, &[u8])> {
    let (raw, rest) = bytes.split_at_checked(size_of::<RawPath>())?;
    let raw: RawPath = bytemuck::pod_read_unaligned(raw);
    let (request, rest) = rest.split_at_checked(raw.request as usize)?;
    let (text, rest) = rest.split_at_checked(raw.text as usize)?;
    let text = String::from_utf8_lossy(text).into_owned();
    let dropped = (raw.dropped != 0).then(|| Instant::from_nanos(raw.dropped));
    Some((HeldPath { kept: Kept { request: request.to_vec(), text }, dropped }, rest))
}

fn setting(raw: &RawSetting) -> Option<Before> {
    let (device, key) = (text(&raw.device), *Key::KEPT.get(raw.key as usize)?);
    Some(Before { device, index: raw.index, key, value: raw.value })
}

fn padded(name: &str) -> [u8; DEVICE] {
    let mut padded = [0; DEVICE];
    for (to, from) in padded.iter_mut().take(DEVICE - 1).zip(name.bytes()) {
        *to = from;
    }
    padded
}

fn text(padded: &[u8; DEVICE]) -> String {
    let end = padded.iter().position(|byte| *byte == 0).unwrap_or(DEVICE);
    String::from_utf8_lossy(&padded[..end]).into_owned()
}

/// Where a body is, in one word: its first unit, its units, and a number that no other has. Never 0.
pub(super) fn place(at: u32, units: u32, generation: u64) -> u64 {
    u64::from(at) | u64::from(units) << 24 | (generation << 40)
}

/// First unit and units.
pub(super) fn place_of(place: u64) -> (u32, u32) {
    ((place & 0xff_ffff) as u32, (place >> 24 & 0xffff) as u32)
}

/// The number.
pub(super) fn generation_of(place: u64) -> u64 {
    place >> 40
}

/// Where a unit is in the file.
pub(super) fn offset(at: u32) -> u64 {
    TABLE_BYTES as u64 + u64::from(at) * UNIT as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        let held = |ip: &str, dropped| Held {
            ip: ip.parse().unwrap(),
            prefix: 24,
            peer: (ip == "2001:db8::1").then(|| "2001:db8::2".parse().unwrap()),
            device: "eth0.1234567890".to_owned(),
            ifindex: 7,
            own: ip == "192.0.2.1",
            dropped,
        };
        let path = |request: &[u8], text: &str, dropped| {
            let (request, text) = (request.to_vec(), text.to_owned());
            HeldPath { kept: Kept { request, text }, dropped }
        };
        let setting = |key| Before { device: "eth0".to_owned(), index: 2, key, value: 8 };
        Body {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            ifindex: 2,
            family: 4,
            vrid: 51,
            frames: [vec![vec![1; 60], vec![2; 60]], vec![vec![3; 60], vec![4; 60]]],
            by_routes: Some(7),
            key: *b"lab12345",
            addresses: vec![
                held("192.0.2.1", None),
                held("2001:db8::1", Some(Instant::from_nanos(5))),
            ],
            paths: vec![
                path(&[1, 2, 3], "rule preference 7: from all nop", None),
                path(&[], "", Some(Instant::from_nanos(5))),
            ],
            traces: Traces {
                links: vec!["eth0v10".to_owned(), "vrrp.255".to_owned()],
                settings: Key::KEPT.map(setting).to_vec(),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = body().encode(3);
        assert_eq!(Body::decode(3, &bytes), Some(body()));
        assert_eq!(Body::decode(4, &bytes), None, "another slot's");
        for short in 0..bytes.len() {
            assert_eq!(Body::decode(3, &bytes[..short]), None, "cut at {short}");
        }
    }

    #[test]
    fn places_keep_their_parts_apart() {
        let word = place(0x12_3456, 0xffff, 9);
        assert_eq!((place_of(word), generation_of(word)), ((0x12_3456, 0xffff), 9));
    }

    #[test]
    fn what_is_gone_is_kept_as_dropped_for_a_while() {
        let second = 1_000_000_000;
        let now = Instant::from_nanos(100 * second);
        let mut next = Body { addresses: Vec::new(), paths: Vec::new(), ..body() };
        next.keep_dropped((body().addresses, body().paths), now);
        // The second one was dropped long ago.
        let mut first = body().addresses.remove(0);
        first.dropped = Some(now);
        assert_eq!(next.addresses, [first.clone()]);
        let mut path = body().paths.remove(0);
        path.dropped = Some(now);
        assert_eq!(next.paths, [path.clone()]);
        let mut again = body();
        again.keep_dropped((vec![first], vec![path]), now);
        assert_eq!(again, body(), "it is back");
    }
}
