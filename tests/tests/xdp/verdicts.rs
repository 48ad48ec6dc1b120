//! Each frame's verdict, on both paths.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use vrrp_common::abi::{Event, Router};
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Reject, Version};
use vrrp_tests::cases;
use xvrrp::fastpath::Counters;

use crate::bench::{Bench, Done, XDP_DROP, XDP_PASS, settings};
use crate::frames::{Numbers, advert, damage, vips};

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
        let rare = matches!(
            reason,
            Reject::AuthData
                | Reject::OwnSource
                | Reject::Source
                | Reject::NotAPeer
                | Reject::FirstAddress
                | Reject::Replay
        );
        ensure!(rare || often > 10, "{reason} came {often} times: {seen:?}");
    }
    ensure!(seen[Reject::ALL.len()] > 100 && seen[Reject::ALL.len() + 1] > 1000, "{seen:?}");
    Ok(())
}
