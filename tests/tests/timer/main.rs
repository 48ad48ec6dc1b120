//! The kernel's timers: a watched advert that stays away is reported once, in time, and nothing else is.

mod groups;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vrrp_common::abi::{Event, Meaning, Router, RouterKey};
use vrrp_common::{Family, Instant, wire};
use vrrp_tests::netns::Netns;
use vrrp_tests::wait::urgent;
use vrrp_tests::{cases, packet, wait_until};
use xvrrp::config::model::Datapath;
use xvrrp::fastpath::{Attached, FastPath, Ring, Watcher};

const XDP_PASS: u32 = 2;
const SLOT: u32 = 0;
const OTHER: u32 = 1;
const VRID: u8 = 51;
const INTERVAL: Duration = Duration::from_millis(5);
/// Long beside the pauses of a busy machine.
const DOWN: Duration = Duration::from_millis(50);
/// Longer than any timer here is late on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    fast: FastPath,
    ring: Ring,
    watcher: Watcher,
    good: Vec<u8>,
    down: Duration,
}

fn clock() -> Instant {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    Instant::default() + Duration::from(now)
}

fn router(slot: u32) -> Router {
    Router {
        slot,
        interval: 1,
        version: 2,
        auth_type: wire::AUTH_NONE,
        password: [0; 8],
        source: wire::octets(Ipv4Addr::new(192, 0, 2, 11).into()),
        destination: wire::octets(wire::group(Family::V4)),
        addresses: 1,
        flags: 0,
        reserved: [0; 2],
        first: [0; 16],
    }
}

impl Bench {
    fn new(ifindex: u32) -> Result<Self> {
        let fast = FastPath::load(2)?;
        ensure!(fast.has_timers(), "{:?}", fast.no_timers());
        Self::of(fast, ifindex)
    }

    fn of(mut fast: FastPath, ifindex: u32) -> Result<Self> {
        // A timer here runs out while this thread waits for its turn on a busy machine.
        urgent();
        let ring = fast.ring().context("the ring was taken")?;
        let watcher = fast.watcher().context("the watcher was taken")?;
        let addresses = [Ipv4Addr::new(192, 0, 2, 250).into()];
        let key = RouterKey::new(ifindex, Family::V4, VRID);
        fast.set_router(key, router(SLOT), &addresses, &[])?;
        let good = cases::frame("P01-v2-header", "good");
        Ok(Self { fast, ring, watcher, good, down: Duration::ZERO })
    }

    fn run(&mut self, repeat: u32) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(&self.good), repeat, ..TestRunOptions::new() };
        Ok(self.fast.program()?.test_run(options)?.return_value)
    }

    fn records(&mut self) -> Vec<Event> {
        let mut records = Vec::new();
        while self.ring.drain(1000, |event| records.push(event)) > 0 {}
        records
    }

    /// The next records, at least one.
    fn wait(&mut self) -> Result<Vec<Event>> {
        let begin = Clock::now();
        while begin.elapsed() < PATIENCE {
            let records = self.records();
            if !records.is_empty() {
                return Ok(records);
            }
            thread::sleep(Duration::from_micros(200));
        }
        anyhow::bail!("no record in {PATIENCE:?}")
    }

    /// The next record, which must be the only one and the expiry of the slot's watch.
    fn expiry(&mut self, slot: u32) -> Result<(Instant, Expiry)> {
        let records = self.wait()?;
        let [event] = records[..] else { anyhow::bail!("{records:?}") };
        let expiry = Expiry::of(&event).with_context(|| format!("{event:?}"))?;
        ensure!(event.slot == slot && Some(expiry.watch) == self.watcher.watch(slot), "{event:?}");
        ensure!(expiry.last_seen == self.watcher.seen(slot).at, "{expiry:?}");
        Ok((Instant::from_nanos(event.at), expiry))
    }

    /// Has the frame reported, and watches it from then on.
    fn watch(&mut self, slot: u32, down: Duration) -> Result<Meaning> {
        self.run(1)?;
        let record = self.records().pop().context("no record")?;
        let meaning = Meaning::of(&record);
        self.down = down;
        self.watcher.start(slot, &meaning, down, INTERVAL, Instant::from_nanos(record.at));
        Ok(meaning)
    }

    /// Runs the frame, which must be noted and start the timer.
    fn repeat(&mut self, slot: u32) -> Result<Instant> {
        let before = self.watcher.seen(slot).at;
        self.run(1)?;
        let seen = self.watcher.seen(slot);
        ensure!(seen.at > before, "{seen:?}");
        // Not any more where this thread was held up for so long, and not just while it is reported in vain.
        let is_armed = seen.armed || (0..1000).any(|_| self.watcher.seen(slot).armed);
        ensure!(is_armed || clock().since(seen.at) >= self.down, "{seen:?}");
        Ok(seen.at)
    }

    /// The same while the timer runs; where this thread was held up for longer than that, it may be over.
    fn nothing_comes_in_time(&mut self, time: Duration) -> Result<()> {
        let last = self.watcher.seen(SLOT).at;
        thread::sleep(time);
        let records = self.records();
        let is_over = clock().since(last) >= self.down;
        ensure!(records.is_empty() || is_over, "{records:?}");
        Ok(())
    }

    fn nothing_comes(&mut self, time: Duration) -> Result<()> {
        thread::sleep(time);
        let records = self.records();
        ensure!(records.is_empty(), "{records:?}");
        Ok(())
    }
}

/// What the record of an expiry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expiry {
    last_seen: Instant,
    watch: u64,
}

impl Expiry {
    fn of(event: &Event) -> Option<Self> {
        let (last_seen, watch) = event.source.split_first_chunk()?;
        let last_seen = Instant::from_nanos(u64::from_ne_bytes(*last_seen));
        let watch = u64::from_ne_bytes(watch.try_into().ok()?);
        (event.kind == Event::EXPIRED).then_some(Self { last_seen, watch })
    }
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (count, at) = (times.len(), |part: usize| times[times.len() * part / 100]);
    let (least, most) = (times[0], times[count - 1]);
    println!("\n{what}, {count} times: {least:?} {:?} {:?} {most:?} late", at(50), at(99));
}

#[test]
fn an_advert_that_stays_away_is_reported_once_and_never_early() -> Result<()> {
    let mut bench = Bench::new(1)?;
    let down = Duration::from_millis(10);
    bench.watch(SLOT, down)?;
    let mut late = Vec::new();
    for round in 0..200 {
        let last = bench.repeat(SLOT)?;
        let (at, expiry) = bench.expiry(SLOT).with_context(|| format!("round {round}"))?;
        ensure!(expiry.last_seen == last, "{expiry:?} {last:?}");
        ensure!(at.since(last) >= down, "{:?} early", down.saturating_sub(at.since(last)));
        late.push(at.since(last) - down);
        ensure!(!bench.watcher.seen(SLOT).armed);
        if round % 10 == 0 {
            bench.nothing_comes(3 * down)?;
        }
    }
    tell("expiry", late);
    Ok(())
}

#[test]
fn nothing_is_reported_while_adverts_come() -> Result<()> {
    let mut bench = Bench::new(1)?;
    let down = Duration::from_millis(200);
    bench.watch(SLOT, down)?;
    let begin = Clock::now();
    while begin.elapsed() < 5 * down {
        bench.repeat(SLOT)?;
        bench.nothing_comes_in_time(Duration::from_millis(10))?;
    }
    let last = bench.watcher.seen(SLOT).at;
    let (at, _) = bench.expiry(SLOT)?;
    ensure!(at.since(last) >= down);
    Ok(())
}

#[test]
fn nothing_is_reported_after_the_watch() -> Result<()> {
    let mut bench = Bench::new(1)?;
    let mut tried = 0;
    while tried < 8 {
        bench.watch(SLOT, DOWN)?;
        let last = bench.repeat(SLOT)?;
        bench.watcher.stop(SLOT);
        let in_time = clock().since(last) < DOWN;
        ensure!(!bench.watcher.seen(SLOT).armed);
        if in_time {
            bench.nothing_comes(3 * DOWN)?;
            tried += 1;
        } else {
            // It was over before the watch was.
            thread::sleep(3 * DOWN);
            bench.records();
        }
    }
    Ok(())
}

/// The old watch's timer still runs, and is due long before the new one's.
#[test]
fn a_new_watch_has_its_own_time_and_number() -> Result<()> {
    let mut bench = Bench::new(1)?;
    for again in [false, true] {
        bench.watcher.stop(SLOT);
        let meaning = bench.watch(SLOT, DOWN)?;
        let heard = bench.repeat(SLOT)?;
        let old = bench.watcher.watch(SLOT);
        bench.watcher.start(SLOT, &meaning, 6 * DOWN, INTERVAL, heard);
        ensure!(bench.watcher.watch(SLOT) > old);
        let seen = bench.watcher.seen(SLOT);
        ensure!(seen.at == heard && !seen.armed, "{seen:?}");
        // With and without an advert between: the old timer goes on as the new one's.
        let last = if again { bench.repeat(SLOT)? } else { heard };
        let (at, expiry) = bench.expiry(SLOT)?;
        ensure!(expiry.last_seen == last && at.since(last) >= 6 * DOWN, "{expiry:?} {at:?}");
        bench.nothing_comes(3 * DOWN)?;
    }
    Ok(())
}

/// What the daemon heard before a new watch does not count less than what the old one saw.
#[test]
fn a_new_watch_forgets_nothing_that_was_seen() -> Result<()> {
    let mut bench = Bench::new(1)?;
    let meaning = bench.watch(SLOT, DOWN)?;
    let heard = bench.watcher.seen(SLOT).at;
    let last = bench.repeat(SLOT)?;
    bench.watcher.start(SLOT, &meaning, DOWN, INTERVAL, heard);
    ensure!(bench.watcher.seen(SLOT).at == last);
    Ok(())
}

fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// The advert arrives on one CPU just when its timer runs out on another. Whichever comes first, the
/// timer runs again after it, and the last word is an expiry from that advert on.
#[test]
fn an_advert_and_its_expiry_at_once() -> Result<()> {
    if thread::available_parallelism()?.get() < 2 {
        eprintln!("one CPU only: not tried");
        return Ok(());
    }
    let mut bench = Bench::new(1)?;
    let down = Duration::from_millis(2);
    bench.watch(SLOT, down)?;
    let (mut before, mut after) = (0, 0);
    // Follows the moment at which it is as likely the one as the other.
    let mut aim = down;
    for round in 0..2000 {
        stay_on(0)?;
        let begin = bench.repeat(SLOT)?;
        stay_on(1)?;
        while clock().since(begin) < aim {
            std::hint::spin_loop();
        }
        bench.run(1)?;
        let last = bench.watcher.seen(SLOT).at;
        let mut expiries = Vec::new();
        while expiries.last() != Some(&last) {
            let records = bench.wait().with_context(|| format!("round {round}"))?;
            expiries.extend(records.iter().filter_map(Expiry::of).map(|e| e.last_seen));
        }
        ensure!(expiries.len() <= 2, "{expiries:?}");
        if expiries.len() == 2 {
            before += 1;
            aim = aim.saturating_sub(Duration::from_nanos(300));
        } else {
            after += 1;
            aim += Duration::from_nanos(300);
        }
    }
    println!("\nthe expiry came first {before} times, the advert {after} times");
    ensure!(before > 0 && after > 0);
    Ok(())
}

#[test]
fn an_expiry_that_finds_the_ring_full_comes_later() -> Result<()> {
    let mut bench = Bench::new(1)?;
    // Long enough that the ring is full by then, and that it is empty before the second one.
    let down = 10 * DOWN;
    bench.watch(SLOT, down)?;
    let last = bench.repeat(SLOT)?;
    // Another virtual router fills the ring.
    let addresses = [Ipv4Addr::new(192, 0, 2, 250).into()];
    let key = RouterKey::new(1, Family::V4, VRID + 1);
    bench.fast.set_router(key, router(OTHER), &addresses, &[])?;
    let ours =
        std::mem::replace(&mut bench.good, cases::frame("P01-v2-header", "vrid-52-not-configured"));
    ensure!(bench.run(6000)? == XDP_PASS);
    thread::sleep(down + 4 * DOWN);
    // It is not while the kernel tries to report it.
    wait_until("the timer waits", PATIENCE, || bench.watcher.seen(SLOT).armed)?;
    ensure!(bench.watcher.seen(SLOT).at == last, "{:?}", bench.watcher.seen(SLOT));
    // It comes as soon as there is room, which may be before the last of the others is read.
    let mut records = bench.records();
    let drained = Clock::now();
    while records.iter().all(|event| event.kind != Event::EXPIRED) {
        records.extend(bench.wait()?);
    }
    println!("\nthe expiry came {:?} after the ring was empty", drained.elapsed());
    bench.nothing_comes(DOWN)?;
    let (expired, filled): (Vec<Event>, Vec<Event>) =
        records.iter().partition(|event| event.slot == SLOT);
    let [event] = expired[..] else { anyhow::bail!("{expired:?}") };
    let expiry = Expiry::of(&event).context("no expiry")?;
    let waited = Instant::from_nanos(event.at).since(last);
    ensure!(expiry.last_seen == last && waited >= down + 4 * DOWN, "{expiry:?} {waited:?}");
    ensure!(filled.len() > 1000, "{} records in a full ring", filled.len());
    // Or not at all, where the advert comes meanwhile.
    bench.run(6000)?;
    bench.good = ours;
    let last = bench.repeat(SLOT)?;
    thread::sleep(down + DOWN);
    ensure!(bench.repeat(SLOT)? > last);
    ensure!(bench.records().iter().all(|event| event.slot == OTHER));
    bench.expiry(SLOT)?;
    Ok(())
}

#[test]
fn an_advert_after_the_expiry_starts_the_timer_again() -> Result<()> {
    let mut bench = Bench::new(1)?;
    bench.watch(SLOT, DOWN)?;
    let watch = bench.watcher.watch(SLOT);
    for _ in 0..3 {
        let last = bench.repeat(SLOT)?;
        let (_, expiry) = bench.expiry(SLOT)?;
        ensure!(Some(expiry.watch) == watch && expiry.last_seen == last, "{expiry:?}");
    }
    Ok(())
}

#[test]
fn a_slot_that_another_router_gets_begins_anew() -> Result<()> {
    let mut bench = Bench::new(1)?;
    bench.watch(SLOT, DOWN)?;
    bench.repeat(SLOT)?;
    let old = bench.watcher.watch(SLOT);
    // The service takes the slot back; the old timer still runs.
    bench.fast.remove_router(RouterKey::new(1, Family::V4, VRID), SLOT);
    bench.fast.reset(SLOT)?;
    ensure!(bench.watcher.watch(SLOT).is_none());
    let addresses = [Ipv4Addr::new(192, 0, 2, 250).into()];
    bench.fast.set_router(
        RouterKey::new(1, Family::V4, VRID + 1),
        router(SLOT),
        &addresses,
        &[],
    )?;
    bench.good = cases::frame("P01-v2-header", "vrid-52-not-configured");
    bench.watch(SLOT, 6 * DOWN)?;
    ensure!(bench.watcher.watch(SLOT) > old);
    let last = bench.repeat(SLOT)?;
    let (at, expiry) = bench.expiry(SLOT)?;
    ensure!(expiry.last_seen == last && at.since(last) >= 6 * DOWN, "{expiry:?}");
    bench.nothing_comes(3 * DOWN)
}

#[test]
fn without_timers_nothing_runs_out() -> Result<()> {
    let mut bench = Bench::of(FastPath::load_without_timers(2, "a test")?, 1)?;
    bench.watch(SLOT, DOWN)?;
    let before = bench.watcher.seen(SLOT).at;
    bench.run(1)?;
    let seen = bench.watcher.seen(SLOT);
    ensure!(seen.at > before && !seen.armed, "{seen:?}");
    bench.nothing_comes(5 * DOWN)
}

/// On a wire: the master speaks each 5 ms and falls silent.
#[test]
fn a_master_on_a_wire_that_falls_silent() -> Result<()> {
    let netns = Netns::new(&format!("kern-tw-{}", std::process::id()))?;
    netns.ip("link add near type veth peer name far")?;
    for end in ["near", "far"] {
        netns.ip(&format!("link set {end} up"))?;
    }
    netns.wait_up("near")?;
    netns.wait_up("far")?;
    // Or there would be no generic mode on it.
    netns.sh("ethtool -K near rxvlan off rx-vlan-stag-hw-parse off")?;
    let near = netns.enter(|| Ok(if_nametoindex("near")?))?;
    for want in [Datapath::Xdp, Datapath::Generic] {
        let mut bench = Bench::new(near)?;
        let attached = netns.enter(|| Ok(bench.fast.attach("near", near, want)))?;
        ensure!(!matches!(attached, Attached::Socket { .. }), "{attached:?}");
        let far = netns.enter(|| packet::open("far"))?;
        packet::send(&far, &bench.good)?;
        let record = bench.wait()?.pop().context("no record")?;
        let (meaning, heard) = (Meaning::of(&record), Instant::from_nanos(record.at));
        bench.down = 6 * DOWN;
        bench.watcher.start(SLOT, &meaning, bench.down, INTERVAL, heard);
        let mut late = Vec::new();
        for _ in 0..5 {
            for _ in 0..20 {
                packet::send(&far, &bench.good)?;
                bench.nothing_comes_in_time(INTERVAL)?;
            }
            let seen = bench.watcher.seen(SLOT);
            ensure!(seen.armed && seen.at > heard, "{seen:?}");
            let (at, expiry) = bench.expiry(SLOT)?;
            ensure!(expiry.last_seen == seen.at && at.since(seen.at) >= 6 * DOWN, "{expiry:?}");
            late.push(at.since(seen.at) - 6 * DOWN);
        }
        let counters = bench.fast.counters(SLOT);
        ensure!(counters.repeated() == 100 && counters.accepted() == 101, "{counters:?}");
        ensure!(bench.fast.arrivals(SLOT).count() == 100);
        tell("expiry on a wire", late);
        bench.fast.detach(near);
        // A process that another test is just starting has a copy of each descriptor for a moment.
        wait_until("the program is gone", PATIENCE, || {
            netns.ip("-d link show dev near").is_ok_and(|shown| !shown.contains("xdp"))
        })?;
    }
    Ok(())
}
