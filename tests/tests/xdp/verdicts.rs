//! Each frame's verdict, on both paths.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use vrrp_common::abi::{Event, Router};
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Family, Instant, Reject, Version};
use vrrp_tests::cases;
use xvrrp::fastpath::Counters;

use crate::bench::{Bench, Done, SLOT, XDP_DROP, XDP_PASS, settings, settings_v6};
use crate::frames::{
    Numbers, advert, advert_v6, behind_an_extension, damage, sealed, sum_header, vips, vips_v6,
};

/// The handed files, with the configuration each is for.
const FILES: [(&str, &str); 12] = [
    ("P01-v2-header", "DUT-v2"),
    ("P03-v2-advert-interval", "DUT-v2"),
    ("P05-v2-auth", "DUT-v2-pass"),
    ("P07-v3-header", "DUT-v3"),
    ("P09-link-plain", "DUT-v3"),
    ("P11-ip-header", "DUT-v2"),
    ("P13-v6-header", "DUT-v6"),
    ("P15-unicast", "DUT-unicast"),
    ("P15-unicast", "DUT-unicast-checked"),
    ("P18-other-group-same-vrid", "DUT-v2"),
    ("P19-master-hears", "DUT-v2"),
    ("P23-learned-interval", "DUT-v3"),
];

#[test]
fn handed_frames_are_judged_as_marked() -> Result<()> {
    judged_as_marked(Bench::new()?)
}

/// The program for kernels without timers gives the same verdicts.
#[test]
fn handed_frames_are_judged_as_marked_without_timers() -> Result<()> {
    judged_as_marked(Bench::without_timers()?)
}

fn judged_as_marked(mut bench: Bench) -> Result<()> {
    for (file, configuration) in FILES {
        bench.configure(configuration)?;
        for case in cases::packets(file) {
            let name = format!("{file} {}", case.name);
            let alone = bench.compare(&case.bytes).with_context(|| name.clone())?;
            let done = bench.fast(&case.bytes)?;
            let verdict = bench.verdict(&case.bytes);
            match case.expect.as_str() {
                "accept" => ensure!(verdict == Some(Ok(())), "{name}: {verdict:?}"),
                // They have no effect and are told; others may listen there.
                "drop" | "ignore"
                    if ["multicast-on-unicast-instance", "to-224.0.0.1"]
                        .contains(&case.name.as_str()) =>
                {
                    let group = verdict == Some(Err(Reject::Group));
                    ensure!(group && done.action == XDP_PASS, "{name}: {done:?}");
                }
                "drop" => ensure!(matches!(verdict, Some(Err(_))), "{name}: {verdict:?}"),
                "ignore" => {
                    let nothing =
                        Done { action: XDP_PASS, record: None, counters: Counters::default() };
                    ensure!(done == nothing, "{name}: {done:?}");
                }
                // Decided in DESIGN.md: the RFC's sum is good, another cluster is not.
                "choice" => match case.name.as_str() {
                    "message-only-sum-rfc9568" | "source-global" => {
                        ensure!(verdict == Some(Ok(())), "{name}: {verdict:?}");
                    }
                    "from-a-stranger" if configuration == "DUT-unicast" => {
                        let record = bench.slow(&case.bytes).context("no record")?;
                        ensure!(verdict == Some(Ok(())) && record.unlisted == 1, "{name}");
                    }
                    "from-a-stranger" => {
                        ensure!(verdict == Some(Err(Reject::NotAPeer)), "{name}: {verdict:?}");
                    }
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

/// IPv6 lists, too, and what is between an IPv6 header and the message.
#[test]
fn ipv6_lists_and_extension_headers() -> Result<()> {
    let mut bench = Bench::new()?;
    for count in 1..=40 {
        let mut theirs = vips_v6(count);
        bench.set_with(Family::V6, settings_v6(), &theirs, &[])?;
        let frame = advert_v6(&theirs);
        let alone = bench.compare(&frame).with_context(|| format!("{count} addresses"))?;
        ensure!(alone == (count <= 32), "{count} addresses judged alone: {alone}");
        let record = bench.slow(&frame).context("no record")?;
        ensure!((record.kind, record.agreement) == (Event::ADVERT, 0), "{count}: {record:?}");
        theirs.reverse();
        let frame = advert_v6(&theirs);
        bench.compare(&frame)?;
        let right = if count == 1 { Ok(()) } else { Err(Reject::FirstAddress) };
        ensure!(bench.verdict(&frame) == Some(right), "{count}: {:?}", bench.verdict(&frame));
    }
    let theirs = vips_v6(2);
    bench.set_with(Family::V6, settings_v6(), &theirs, &[])?;
    let mut frame = advert_v6(&theirs);
    (frame[20], frame[19]) = (0, frame[19] + 8);
    frame.splice(54..54, [112, 0, 5, 2, 0, 0, 1, 0]);
    ensure!(!bench.compare(&frame)?, "the kernel program took an extension header apart");
    ensure!(bench.verdict(&frame) == Some(Ok(())));
    Ok(())
}

/// The kernel program decides about all of a sealed advert but its seal.
#[test]
fn authentication_headers() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-ah")?;
    let seen = |bench: &mut Bench, frame: &[u8]| -> Result<Option<Reject>> {
        let done = bench.fast(frame)?;
        ensure!((done.action, done.counters.complex()) == (XDP_PASS, 1), "{done:?}");
        let record = bench.slow(frame).context("no record")?;
        let refused = record.kind == Event::REFUSED;
        Ok(Reject::from_index(record.reason.into()).filter(|_| refused))
    };
    let good = sealed(7, 255);
    ensure!(seen(&mut bench, &good)?.is_none());
    ensure!(seen(&mut bench, &good)? == Some(Reject::Replay));
    ensure!(seen(&mut bench, &sealed(6, 255))? == Some(Reject::Replay));
    ensure!(seen(&mut bench, &sealed(8, 255))?.is_none());
    let mut forged = sealed(9, 255);
    forged[57] ^= 1;
    ensure!(seen(&mut bench, &forged)? == Some(Reject::AuthData));
    // None of its numbers counts.
    ensure!(seen(&mut bench, &sealed(9, 255))?.is_none());
    for (frame, reason) in [
        (sealed(10, 254), Reject::Ttl),
        (cases::frame("P01-v2-header", "good"), Reject::AuthType),
        // Who speaks VRRPv3 has no authentication to set alike.
        (cases::frame("P01-v2-header", "version-3-on-v2-instance"), Reject::Version),
        (cases::frame("P07-v3-header", "good-pseudo-header-sum"), Reject::Version),
    ] {
        ensure!(bench.compare(&frame)?, "not judged by the kernel program");
        ensure!(bench.verdict(&frame) == Some(Err(reason)));
    }
    bench.configure("DUT-v2")?;
    ensure!(bench.compare(&good)? && bench.verdict(&good) == Some(Err(Reject::AuthType)));
    Ok(())
}

/// With `skip_check_adv_addr` the kernel program leaves other addresses to the slow path, which knows
/// who was heard last.
#[test]
fn addresses_that_nobody_asks_for() -> Result<()> {
    let mut bench = Bench::new()?;
    let router = Router { flags: Router::SKIP_ADDRESSES, ..settings(Version::V2) };
    bench.set(router, &vips(2))?;
    let own = advert(Version::V2, ChecksumForm::Message, &vips(2), &[]);
    let foreign = cases::frame("P18-other-group-same-vrid", "theirs-higher-prio");
    ensure!(bench.compare(&own)? && bench.verdict(&own) == Some(Ok(())));
    let mut other = own.clone();
    other[26..30].copy_from_slice(&foreign[26..30]);
    sum_header(&mut other);
    for (heard, right) in [(&own, Err(Reject::ForeignCluster)), (&other, Ok(()))] {
        let record = bench.slow(heard).context("no record")?;
        bench.table.heard(SLOT, Instant::from_nanos(record.at), record.source);
        ensure!(bench.verdict(&foreign) == Some(right), "{:?}", bench.verdict(&foreign));
        let done = bench.fast(&foreign)?;
        ensure!((done.action, done.counters.complex()) == (XDP_PASS, 1), "{done:?}");
    }
    Ok(())
}

/// A driver may lay a frame into several buffers, of which the kernel program reads the first: where an
/// advert ends in another one, it is not cut short, but the slow path's.
#[test]
fn an_advert_in_several_buffers_is_not_truncated() -> Result<()> {
    let mut bench = Bench::new()?;
    let v4 = |version| advert(version, ChecksumForm::PseudoHeader, &vips(2), &[]);
    for (family, router, addresses, frame) in [
        (Family::V4, settings(Version::V2), vips(2), v4(Version::V2)),
        (Family::V4, settings(Version::V3), vips(2), v4(Version::V3)),
        (Family::V6, settings_v6(), vips_v6(2), advert_v6(&vips_v6(2))),
    ] {
        bench.set_with(family, router, &addresses, &[])?;
        let whole = bench.fast(&frame)?;
        ensure!(whole.action == XDP_DROP && whole.record.is_some(), "{whole:?}");
        let header = if family == Family::V6 { 54 } else { 34 };
        for first in 14..frame.len() {
            let done = bench.in_buffers(&frame, first)?;
            ensure!(done.action == XDP_PASS && done.record.is_none(), "{first}: {done:?}");
            // Once the virtual router is known.
            let complex = done.counters.complex();
            ensure!(complex == u64::from(first >= header + 2), "{first}: {done:?}");
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
        let frame = &mut bytes.clone();
        match round % 8 {
            0..4 => bench.configure(configuration)?,
            4 | 5 => *frame = over_ipv4(&mut bench, &mut numbers)?,
            6 => *frame = over_ipv6(&mut bench, &mut numbers)?,
            _ => {
                bench.configure(["DUT-ah", "DUT-v2"][usize::from(numbers.below(8) == 0)])?;
                *frame = sealed(numbers.below(100) as u32, 255);
            }
        }
        if numbers.below(10) > 0 {
            damage(frame, &mut numbers);
        }
        bench.compare(frame).with_context(|| format!("round {round}: {frame:02x?}"))?;
        let at = match bench.verdict(frame) {
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
        // source address is not in any of them, and each seal is judged anew, as if none were before.
        let rare = matches!(
            reason,
            Reject::AuthData | Reject::OwnSource | Reject::Source | Reject::Replay
        );
        ensure!(rare || often > 10, "{reason} came {often} times: {seen:?}");
    }
    ensure!(seen[Reject::ALL.len()] > 100 && seen[Reject::ALL.len() + 1] > 1000, "{seen:?}");
    println!("{seen:?}");
    Ok(())
}

/// A router over IPv4 and an advert for it, each with some of the same addresses.
fn over_ipv4(bench: &mut Bench, numbers: &mut Numbers) -> Result<Vec<u8>> {
    let version = [Version::V2, Version::V3][numbers.below(2)];
    let flags = [0, Router::SAME_ADDRESSES][numbers.below(2)];
    let ours = vips(numbers.below(36) as u8);
    bench.set(Router { flags, ..settings(version) }, &ours)?;
    let theirs = vips(numbers.below(36) as u8);
    let form = [ChecksumForm::Message, ChecksumForm::PseudoHeader][numbers.below(2)];
    Ok(advert(version, form, &theirs, &[]))
}

/// The same over IPv6.
fn over_ipv6(bench: &mut Bench, numbers: &mut Numbers) -> Result<Vec<u8>> {
    let flags = [0, Router::SAME_ADDRESSES, Router::LINK_LOCAL_FIRST][numbers.below(3)];
    let ours = vips_v6(numbers.below(36) as u8);
    bench.set_with(Family::V6, Router { flags, ..settings_v6() }, &ours, &[])?;
    let mut theirs = vips_v6(numbers.below(36) as u8);
    if numbers.below(4) == 0 {
        theirs.reverse();
    }
    let mut frame = advert_v6(&theirs);
    if numbers.below(8) == 0 {
        behind_an_extension(&mut frame, numbers);
    }
    Ok(frame)
}
