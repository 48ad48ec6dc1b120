//! The kernel program by test run: the handed frames, generated ones and damaged ones, each with its
//! action, its record and its counter, and each compared with the slow path's verdict.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use vrrp_common::abi::{Event, REFUSED_EVERY_NANOS, Router, RouterKey, Stranger};
use vrrp_common::check::{self, Judgement};
use vrrp_common::checksum::Sum;
use vrrp_common::frame::{self, Skip};
use vrrp_common::wire::{self, Advert, ChecksumForm};
use vrrp_common::{Family, Instant, Priority, Reject, Version, Vrid};
use vrrp_tests::cases;
use xvrrp::fastpath::{Counters, FastPath, Ring};
use xvrrp::slowpath::Table;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
/// The loopback interface, which test runs arrive on.
const IFINDEX: u32 = 1;
const VRID: u8 = 51;
const SLOT: u32 = 3;
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

/// What the kernel program did with a frame.
#[derive(Debug, PartialEq)]
struct Done {
    action: u32,
    /// The record, without its time.
    record: Option<Event>,
    counters: Counters,
}

/// Both ways, with the same settings.
struct Bench {
    fast: FastPath,
    ring: Ring,
    table: Table,
}

impl Bench {
    fn new() -> Result<Self> {
        let mut fast = FastPath::load(16)?;
        let ring = fast.ring().context("the ring was taken")?;
        Ok(Self { fast, ring, table: Table::new() })
    }

    fn set(&mut self, router: Router, addresses: &[IpAddr]) -> Result<()> {
        let key = RouterKey::new(IFINDEX, Family::V4, VRID);
        self.fast.set_router(key, router, addresses)?;
        self.table.set(key, router, addresses);
        Ok(())
    }

    /// Sets what a handed configuration says.
    fn configure(&mut self, name: &str) -> Result<()> {
        let router = match name {
            "DUT-v2" => settings(Version::V2),
            "DUT-v2-pass" => Router {
                auth_type: wire::AUTH_PASS,
                password: *b"1111\0\0\0\0",
                ..settings(Version::V2)
            },
            "DUT-v3" => settings(Version::V3),
            other => anyhow::bail!("no settings for {other}"),
        };
        self.set(router, &vips(1))
    }

    fn run(&mut self, frame: &[u8], repeat: u32) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(self.fast.program()?.test_run(options)?.return_value)
    }

    /// Runs the kernel program on a frame, with counters and reports at zero.
    fn fast(&mut self, frame: &[u8]) -> Result<Done> {
        self.fast.reset(SLOT)?;
        let action = self.run(frame, 1)?;
        let mut records = Vec::new();
        self.ring.drain(10, |record| records.push(Event { at: 0, ..record }));
        ensure!(records.len() < 2, "{} records of one frame", records.len());
        Ok(Done { action, record: records.pop(), counters: self.fast.counters(SLOT) })
    }

    /// The slow path's record of a frame, without its time.
    fn slow(&mut self, frame: &[u8]) -> Option<Event> {
        self.table.reset(SLOT);
        let record = self.table.frame(IFINDEX, Instant::from_nanos(1), frame)?;
        Some(Event { at: 0, ..record })
    }

    /// The slow path's verdict; `None` where the frame is not for our router.
    fn verdict(&self, frame: &[u8]) -> Option<Result<(), Reject>> {
        let located = frame::locate::<_, true>(frame).ok()?;
        match check::judge::<_, _, 8>(frame, &located, &self.table.rules(IFINDEX)) {
            Judgement::NotOurs | Judgement::Stranger(_) | Judgement::TooLong { .. } => None,
            Judgement::Ours { verdict, .. } => Some(verdict.map(|_| ())),
        }
    }

    /// Runs a frame both ways and checks that they agree. Returns whether the kernel program could
    /// judge it by itself.
    fn compare(&mut self, frame: &[u8]) -> Result<bool> {
        let verdict = self.verdict(frame);
        let slow = self.slow(frame);
        let fast = self.fast(frame)?;
        // What the program left to the slow path: counted if that will take it.
        if fast.counters.complex() == 1 || shape_is_complex(frame) {
            let taken = verdict.is_some() && frame[30..34] == wire::GROUP_V4;
            ensure!(is_complex(frame), "not complex");
            ensure!(fast.counters.complex() == u64::from(taken), "{fast:?} but {verdict:?}");
            ensure!((fast.action, fast.record) == (XDP_PASS, None), "{fast:?}");
            let judged = fast.counters.accepted() + fast.counters.refused_in_all();
            ensure!(judged == 0, "judged as well: {fast:?}");
            return Ok(false);
        }
        let action = match verdict {
            None | Some(Err(Reject::Destination)) => XDP_PASS,
            Some(_) => XDP_DROP,
        };
        ensure!(fast.action == action, "{fast:?} but {verdict:?}");
        ensure!(fast.record == slow, "{fast:?} but {slow:?}");
        let counted = (fast.counters.accepted(), fast.counters.refused_in_all());
        let expected = match verdict {
            None => (0, 0),
            Some(Ok(())) => (1, 0),
            Some(Err(reason)) => {
                ensure!(fast.counters.refused(reason) == 1, "{reason} is not counted: {fast:?}");
                (0, 1)
            }
        };
        ensure!(counted == expected, "{fast:?} but {verdict:?}");
        Ok(true)
    }
}

/// Says whether a frame has a shape that the kernel program leaves to the slow path.
fn shape_is_complex(frame: &[u8]) -> bool {
    frame::locate::<_, false>(frame) == Err(Skip::Complex)
}

/// Says whether a frame has a shape, or a length, that the kernel program leaves to the slow path.
fn is_complex(frame: &[u8]) -> bool {
    let located = frame::locate::<_, false>(frame);
    let count = located.ok().and_then(|located| frame.get(located.message + 3));
    shape_is_complex(frame) || count.is_some_and(|count| *count > 32)
}

fn settings(version: Version) -> Router {
    Router {
        slot: SLOT,
        interval: 1,
        version: version as u8,
        auth_type: wire::AUTH_NONE,
        password: [0; 8],
        source: wire::octets(SOURCE.into()),
        addresses: 0,
        flags: 0,
        reserved: [0; 2],
    }
}

/// That many addresses, the handed one first.
fn vips(count: u8) -> Vec<IpAddr> {
    (0..count)
        .map(|i| IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250_u8.wrapping_add(i.wrapping_mul(7)))))
        .collect()
}

/// A frame with an advert of our router.
fn advert(version: Version, form: ChecksumForm, addresses: &[IpAddr], options: &[u8]) -> Vec<u8> {
    let message = Advert {
        version,
        vrid: Vrid::new(VRID).unwrap(),
        priority: Priority::new(150),
        interval: if version == Version::V2 { 1 } else { 100 },
        addresses,
        password: None,
        form,
        source: PEER.into(),
        destination: Ipv4Addr::from(wire::GROUP_V4).into(),
    };
    let header = 20 + options.len();
    let mut frame = b"\x01\x00\x5e\x00\x00\x12\x02\x00\x00\x00\x00\x65\x08\x00".to_vec();
    frame.resize(14 + header + message.len(), 0);
    message.emit(&mut frame[14 + header..]).unwrap();
    frame[14] = 0x40 | (header / 4) as u8;
    frame[15] = 0xc0;
    let total = (header + message.len()) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[22] = 255;
    frame[23] = wire::PROTOCOL;
    frame[26..30].copy_from_slice(&PEER.octets());
    frame[30..34].copy_from_slice(&wire::GROUP_V4);
    frame[34..34 + options.len()].copy_from_slice(options);
    sum_header(&mut frame);
    frame
}

/// Makes the IPv4 header's checksum right, where there is such a header.
fn sum_header(frame: &mut [u8]) {
    let Some(header) = frame.get(14).map(|first| usize::from(first & 15) * 4) else { return };
    if let Some(header) = frame.get_mut(14..14 + header)
        && header.len() >= 20
    {
        header[10..12].fill(0);
        let sum = Sum::new().slice(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the message's checksum right in the form without a pseudo-header.
fn sum_message(frame: &mut [u8]) {
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if let Some(message) = frame.get_mut(34..end)
        && message.len() >= 8
    {
        message[6..8].fill(0);
        let sum = Sum::new().slice(message).checksum();
        message[6..8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The handed files over IPv4 multicast, with the configuration each is for.
const FILES: [(&str, &str); 9] = [
    ("P01-v2-header", "DUT-v2"),
    ("P03-v2-advert-interval", "DUT-v2"),
    ("P05-v2-auth", "DUT-v2-pass"),
    ("P07-v3-header", "DUT-v3"),
    ("P09-link-plain", "DUT-v3"),
    ("P11-ip-header", "DUT-v2"),
    ("P18-other-group-same-vrid", "DUT-v2"),
    ("P19-master-hears", "DUT-v2"),
    ("P23-learned-interval", "DUT-v3"),
];

#[test]
fn handed_frames_are_judged_as_marked() -> Result<()> {
    let mut bench = Bench::new()?;
    for (file, configuration) in FILES {
        bench.configure(configuration)?;
        for case in cases::packets(file) {
            let name = format!("{file} {}", case.name);
            let alone = bench.compare(&case.bytes).with_context(|| name.clone())?;
            let done = bench.fast(&case.bytes)?;
            let verdict = bench.verdict(&case.bytes);
            match case.expect.as_str() {
                "accept" => ensure!(verdict == Some(Ok(())), "{name}: {verdict:?}"),
                "drop" => ensure!(matches!(verdict, Some(Err(_))), "{name}: {verdict:?}"),
                "ignore" => {
                    let nothing =
                        Done { action: XDP_PASS, record: None, counters: Counters::default() };
                    ensure!(done == nothing, "{name}: {done:?}");
                }
                // Decided in DESIGN.md: the RFC's sum is good, another cluster is not.
                "choice" => match case.name.as_str() {
                    "message-only-sum-rfc9568" => ensure!(verdict == Some(Ok(())), "{name}"),
                    _ => ensure!(verdict == Some(Err(Reject::ForeignCluster)), "{name}"),
                },
                other => anyhow::bail!("{name}: expect {other}"),
            }
            let options = case.bytes[14] & 15 != 5 && case.bytes[12..14] == [8, 0];
            ensure!(alone != options, "{name}: judged by the kernel program alone: {alone}");
        }
    }
    Ok(())
}

/// IPv6 and unicast are not served yet: such packets go by.
#[test]
fn frames_of_families_not_served_yet_go_by() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v3")?;
    for case in cases::packets("P13-v6-header") {
        let done = bench.fast(&case.bytes)?;
        let nothing = Done { action: XDP_PASS, record: None, counters: Counters::default() };
        ensure!(done == nothing, "{}: {done:?}", case.name);
    }
    bench.configure("DUT-v2")?;
    for case in cases::packets("P15-unicast") {
        bench.compare(&case.bytes).with_context(|| case.name.clone())?;
        let done = bench.fast(&case.bytes)?;
        if case.name != "multicast-on-unicast-instance" {
            ensure!(done.action == XDP_PASS, "{}: {done:?}", case.name);
            ensure!(done.counters.refused(Reject::Destination) == 1, "{}: {done:?}", case.name);
        }
    }
    Ok(())
}

#[test]
fn lists_of_every_length_in_any_order() -> Result<()> {
    let mut bench = Bench::new()?;
    for version in [Version::V2, Version::V3] {
        for count in 1..=40 {
            let ours = vips(count);
            let theirs: Vec<IpAddr> = ours.iter().rev().copied().collect();
            bench.set(settings(version), &ours)?;
            let frame = advert(version, ChecksumForm::PseudoHeader, &theirs, &[]);
            let alone = bench.compare(&frame).with_context(|| format!("{count} addresses"))?;
            ensure!(alone == (count <= 32), "{count} addresses judged alone: {alone}");
            let record = bench.slow(&frame).context("no record")?;
            ensure!((record.kind, record.agreement) == (Event::ADVERT, 0), "{count}: {record:?}");
            // One address less than ours, and one more: not the same list.
            for (router, kind) in [
                (settings(version), Event::ADVERT),
                (Router { flags: Router::SAME_ADDRESSES, ..settings(version) }, Event::REFUSED),
            ] {
                bench.set(router, &vips(count + 1))?;
                bench.compare(&frame)?;
                let record = bench.slow(&frame).context("no record")?;
                ensure!(record.kind == kind && record.head_len > 0, "{count}: {record:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn options_and_tags_get_the_same_verdict() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v3")?;
    for words in 1..=10 {
        let options = vec![1; 4 * words];
        let frame = advert(Version::V3, ChecksumForm::Message, &vips(1), &options);
        ensure!(!bench.compare(&frame)?, "the kernel program took {words} words of options apart");
        ensure!(bench.verdict(&frame) == Some(Ok(())));
        ensure!(bench.fast(&frame)?.counters.complex() == 1);
    }
    let plain = advert(Version::V3, ChecksumForm::Message, &vips(1), &[]);
    for (tag, taken) in
        [([0x81, 0, 0xe0, 0], true), ([0x88, 0xa8, 0, 0], true), ([0x81, 0, 0, 1], false)]
    {
        let mut frame = plain.clone();
        frame.splice(12..12, tag);
        bench.compare(&frame)?;
        let done = bench.fast(&frame)?;
        ensure!((done.action == XDP_DROP) == taken, "{tag:02x?}: {done:?}");
    }
    Ok(())
}

/// A generator of numbers that are the same in each run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Damages a frame in one or more ways, and sometimes makes the sums right again, so that the damage
/// is seen by the checks behind them.
fn damage(frame: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(frame.len());
        match numbers.below(8) {
            0 => frame[at] = numbers.below(256) as u8,
            1 => frame[at] ^= 1 << numbers.below(8),
            2 => frame.truncate(at.max(14)),
            3 => frame.extend(std::iter::repeat_n(0x55, numbers.below(40))),
            // The fields that decide: count, length, version and type, options, fragment.
            4 if frame.len() > 38 => frame[37] = numbers.below(70) as u8,
            5 if frame.len() > 38 => frame[17] = numbers.below(256) as u8,
            6 if frame.len() > 38 => frame[34] = [0x21, 0x31, 0x22, 0x11][numbers.below(4)],
            7 if frame.len() > 38 => {
                frame[[14, 20, 22, 30][numbers.below(4)]] = numbers.below(256) as u8;
            }
            _ => {}
        }
    }
    if frame.len() > 38 && numbers.below(4) > 0 {
        if numbers.below(2) > 0 {
            sum_message(frame);
        }
        sum_header(frame);
    }
}

#[test]
fn damaged_frames_get_the_same_verdict_on_both_paths() -> Result<()> {
    let mut bench = Bench::new()?;
    let mut numbers = Numbers(0x5eed_0000_0000_0051);
    let mut seen = [0_u32; Reject::ALL.len() + 2];
    let handed: Vec<(&str, Vec<u8>)> = FILES
        .iter()
        .flat_map(|(file, configuration)| {
            cases::packets(file).into_iter().map(|case| (*configuration, case.bytes))
        })
        .collect();
    for round in 0..40_000 {
        let (configuration, bytes) = &handed[numbers.below(handed.len())];
        let mut frame = bytes.clone();
        if round % 2 == 0 {
            bench.configure(configuration)?;
        } else {
            let version = [Version::V2, Version::V3][numbers.below(2)];
            let flags = [0, Router::SAME_ADDRESSES][numbers.below(2)];
            bench.set(Router { flags, ..settings(version) }, &vips(numbers.below(36) as u8))?;
            let theirs = vips(numbers.below(36) as u8);
            let form = [ChecksumForm::Message, ChecksumForm::PseudoHeader][numbers.below(2)];
            frame = advert(version, form, &theirs, &[]);
        }
        if numbers.below(10) > 0 {
            damage(&mut frame, &mut numbers);
        }
        bench.compare(&frame).with_context(|| format!("round {round}: {frame:02x?}"))?;
        let at = match bench.verdict(&frame) {
            None => Reject::ALL.len(),
            Some(Ok(())) => Reject::ALL.len() + 1,
            Some(Err(reason)) => reason.index() as usize,
        };
        seen[at] += 1;
    }
    // The damage must reach what it is to test.
    for reason in Reject::ALL {
        let often = seen[reason.index() as usize];
        // A password takes more luck than 40,000 frames have; the handed frames have those. Our own
        // source address is not in any of them.
        let rare = matches!(reason, Reject::AuthData | Reject::OwnSource | Reject::Source);
        ensure!(rare || often > 10, "{reason} came {often} times: {seen:?}");
    }
    ensure!(seen[Reject::ALL.len()] > 100 && seen[Reject::ALL.len() + 1] > 1000, "{seen:?}");
    Ok(())
}

#[test]
fn a_flood_of_bad_adverts_is_counted_whole_and_reported_now_and_then() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "ttl-254");
    let begin = Clock::now();
    for _ in 0..100 {
        ensure!(bench.run(&frame, 1000)? == XDP_DROP);
    }
    let spans = begin.elapsed().as_nanos() as u64 / REFUSED_EVERY_NANOS;
    let mut records = Vec::new();
    bench.ring.drain(1000, |record| records.push(record));
    ensure!(bench.fast.counters(SLOT).refused(Reject::Ttl) == 100_000);
    let most = 2 + spans as usize;
    ensure!((1..=most).contains(&records.len()), "{} records, {most} at most", records.len());
    ensure!(records.iter().all(|r| r.kind == Event::REFUSED && r.reason == Reject::Ttl.index()));
    Ok(())
}

#[test]
fn another_reason_is_reported_at_once_and_the_same_later() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let ttl = cases::frame("P01-v2-header", "ttl-254");
    let interval = cases::frame("P03-v2-advert-interval", "interval-2");
    bench.fast.reset(SLOT)?;
    for frame in [&ttl, &interval, &ttl, &interval] {
        bench.run(frame, 1)?;
    }
    ensure!(bench.ring.drain(10, |_| ()) == 2);
    std::thread::sleep(Duration::from_nanos(REFUSED_EVERY_NANOS + 20_000_000));
    bench.run(&ttl, 1)?;
    ensure!(bench.ring.drain(10, |_| ()) == 1);
    Ok(())
}

fn monotonic() -> u64 {
    let span = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(span).as_nanos() as u64
}

#[test]
fn the_stamp_is_the_monotonic_clock() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let before = monotonic();
    bench.run(&cases::frame("P01-v2-header", "good"), 1)?;
    let mut at = 0;
    bench.ring.drain(1, |record| at = record.at);
    ensure!((before..=monotonic()).contains(&at), "{before} {at}");
    Ok(())
}

#[test]
fn virtual_routers_of_others_are_noted_and_left_alone() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "vrid-52-not-configured");
    let before = monotonic();
    ensure!(bench.run(&frame, 7)? == XDP_PASS);
    let strangers = bench.fast.strangers();
    let [(key, Stranger { last, count })] = strangers[..] else {
        anyhow::bail!("{strangers:?}");
    };
    ensure!((key.ifindex, key.family, key.vrid) == (IFINDEX, 4, 52), "{key:?}");
    ensure!(wire::address(Family::V4, key.source) == IpAddr::from(PEER));
    ensure!(count == 7 && (before..=monotonic()).contains(&last), "{count} {last}");
    Ok(())
}

#[test]
fn a_router_that_is_removed_is_a_stranger() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    ensure!(bench.run(&frame, 1)? == XDP_DROP);
    bench.fast.remove_router(RouterKey::new(IFINDEX, Family::V4, VRID));
    ensure!(bench.run(&frame, 1)? == XDP_PASS);
    Ok(())
}

/// A reload that moves a router to another VRID: the new key is set before the old one is removed.
#[test]
fn addresses_stay_while_any_key_leads_to_their_slot() -> Result<()> {
    let mut bench = Bench::new()?;
    let other = RouterKey::new(IFINDEX, Family::V4, 99);
    bench.fast.set_router(other, settings(Version::V2), &vips(1))?;
    bench.configure("DUT-v2")?;
    bench.fast.remove_router(other);
    let done = bench.fast(&cases::frame("P01-v2-header", "good"))?;
    ensure!(done.counters.accepted() == 1, "{done:?}");
    // And a shorter list takes the others out.
    bench.set(settings(Version::V2), &vips(3))?;
    bench.set(settings(Version::V2), &vips(2)[1..])?;
    let done = bench.fast(&cases::frame("P01-v2-header", "good"))?;
    ensure!(done.counters.refused(Reject::ForeignCluster) == 1, "{done:?}");
    Ok(())
}

#[test]
fn more_routers_than_slots_are_refused_in_words() -> Result<()> {
    let mut fast = FastPath::load(2)?;
    let key = |vrid| RouterKey::new(IFINDEX, Family::V4, vrid);
    for vrid in 1..=2 {
        fast.set_router(
            key(vrid),
            Router { slot: u32::from(vrid) - 1, ..settings(Version::V2) },
            &[],
        )?;
    }
    let third = fast.set_router(key(3), Router { slot: 1, ..settings(Version::V2) }, &[]);
    let text = third.map_err(|error| error.to_string());
    ensure!(text.is_err_and(|text| text.contains("no room")));
    Ok(())
}
