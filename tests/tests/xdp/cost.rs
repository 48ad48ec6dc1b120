//! What a frame costs, above a program that does nothing.
//!
//! The kernel repeats the program on one frame and says how long one run took. Other load on the
//! machine only adds to that, so the least of several rounds counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use vrrp_common::abi::Meaning;
use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Reject};
use vrrp_tests::cases;

use crate::bench::{Bench, SLOT, XDP_DROP, XDP_PASS};

const ROUNDS: usize = 12;
const RUNS: u32 = 200_000;
/// The bounds were met by a virtual machine of 2026; a slower one may take so many times as long.
const SLACK: u64 = 6;

/// Name, type, flags, contents, link, info and size of an entry.
type Section<'a> = (u32, u32, u64, &'a [u8], u32, u32, u64);

/// A program `nothing` in an object of its own: everything passes.
fn nothing() -> Result<Ebpf> {
    const NAMES: &[u8] = b"\0nothing\0xdp\0license\0.symtab\0.strtab\0";
    let name = |name: &[u8]| {
        let at = NAMES.windows(name.len()).position(|window| window == name);
        at.context("no such name").map(|at| at as u32)
    };
    // r0 = 2; exit
    let code = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    // The first symbol is none; the second is global, a function, in section 1, all of it.
    let mut symbols = vec![0; 24];
    symbols.extend(name(b"nothing")?.to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend([0_u64, code.len() as u64].map(u64::to_le_bytes).concat());
    let sections: [Section<'_>; 5] = [
        (0, 0, 0, &[], 0, 0, 0),
        (name(b"xdp")?, 1, 6, &code, 0, 0, 0),
        (name(b"license")?, 1, 2, b"GPL\0", 0, 0, 0),
        (name(b".symtab")?, 2, 0, &symbols, 4, 1, 24),
        (name(b".strtab")?, 3, 0, NAMES, 0, 0, 0),
    ];
    let (mut table, mut contents) = (Vec::new(), Vec::new());
    for (name, kind, flags, bytes, link, info, entry) in sections {
        let at = 64 + contents.len() as u64;
        table.extend([name, kind].map(u32::to_le_bytes).concat());
        table.extend([flags, 0, at, bytes.len() as u64].map(u64::to_le_bytes).concat());
        table.extend([link, info].map(u32::to_le_bytes).concat());
        table.extend([8, entry].map(u64::to_le_bytes).concat());
        contents.extend(bytes);
        contents.resize(contents.len().next_multiple_of(8), 0);
    }
    // ELF of 64 bits, little-endian, relocatable, for BPF.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
    file.extend([0, 0, 64 + contents.len() as u64].map(u64::to_le_bytes).concat());
    file.extend([0, 0, 64, 0, 0, 64, sections.len() as u16, 4].map(u16::to_le_bytes).concat());
    file.extend(contents);
    file.extend(table);
    Ok(EbpfLoader::new().load(&file)?)
}

fn run(program: &mut Xdp, frame: &[u8], repeat: u32) -> Result<(u32, Duration)> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
    let result = program.test_run(options)?;
    Ok((result.return_value, result.duration))
}

/// The least time of one run, where `after` follows each round.
fn least(
    bench: &mut Bench,
    frame: &[u8],
    action: u32,
    repeat: u32,
    mut after: impl FnMut(&mut Bench),
) -> Result<u64> {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let (found, time) = run(bench.fast.program()?, frame, repeat)?;
        ensure!(found == action, "action {found}");
        least = least.min(time);
        after(bench);
    }
    Ok(least.as_nanos() as u64)
}

#[test]
fn frames_cost_little() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let good = cases::frame("P01-v2-header", "good");
    let mut udp = good.clone();
    udp[23] = 17;
    let bad = cases::frame("P01-v2-header", "ttl-254");
    let sum = cases::frame("P01-v2-header", "checksum-plus-one");
    let group = cases::frame("P11-ip-header", "to-224.0.0.1");

    for bench in [&mut Bench::new()?, &mut Bench::without_timers()?] {
        let info = bench.fast.program()?.info()?;
        let verified = info.verified_instruction_count();
        println!("\ntimers: {}, {verified:?} instructions verified", bench.fast.has_timers());
    }
    let mut ebpf = nothing()?;
    let program: &mut Xdp = ebpf.program_mut("nothing").context("no program")?.try_into()?;
    program.load()?;
    let mut floor = u64::MAX;
    for _ in 0..ROUNDS {
        floor = floor.min(run(program, &good, RUNS)?.1.as_nanos() as u64);
    }
    println!("\n{:<24}{floor:>6} ns", "an empty program");

    let empty = |bench: &mut Bench| while bench.ring.drain(1000, |_| ()) > 0 {};
    let other = least(&mut bench, &udp, XDP_PASS, RUNS, |_| ())?;
    let early = least(&mut bench, &bad, XDP_DROP, RUNS, empty)?;
    let late = least(&mut bench, &sum, XDP_DROP, RUNS, empty)?;
    let elsewhere = least(&mut bench, &group, XDP_PASS, RUNS, empty)?;
    let told = least(&mut bench, &good, XDP_DROP, 1000, empty)?;

    let mut watcher = bench.fast.watcher().context("the watcher was taken")?;
    bench.run(&good, 1)?;
    let mut meaning = None;
    bench.ring.drain(1, |event| meaning = Some((Meaning::of(&event), event.at)));
    let (meaning, at) = meaning.context("no record")?;
    let second = Duration::from_secs(1);
    watcher.start(SLOT, &meaning, 3 * second, second, Instant::from_nanos(at));
    let repeated = least(&mut bench, &good, XDP_DROP, RUNS, |_| ())?;
    ensure!(bench.ring.drain(1, |_| ()) == 0, "a repeated advert was reported");

    let mut over = Vec::new();
    for (what, time, most) in [
        ("not VRRP", other, 5),
        ("refused early", early, 60),
        ("refused late", late, 60),
        ("to another group", elsewhere, 60),
        ("reported", told, u64::MAX),
        ("repeated", repeated, 110),
    ] {
        let above = time.saturating_sub(floor);
        println!("{what:<24}{time:>6} ns, {above} above");
        let fails = above > most.saturating_mul(SLACK);
        over.extend(fails.then(|| format!("{what}: {above} ns above, not {most}")));
    }
    ensure!(over.is_empty(), "{}", over.join("; "));
    let counters = bench.fast.counters(SLOT);
    ensure!(counters.repeated() == u64::from(RUNS) * ROUNDS as u64, "{counters:?}");
    ensure!(counters.refused(Reject::Ttl) > 0 && meaning.agreement == Agreement::Exact as u8);
    ensure!(meaning.form == ChecksumForm::Message as u8 && meaning.interval == 1);
    Ok(())
}
