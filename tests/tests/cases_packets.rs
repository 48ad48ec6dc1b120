//! What the running daemon does about the handed packets, on every data path. How it counts each of them
//! on each: `datapaths.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_common::checksum::Sum;
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::cases::{self, Case, Verdict, verdict};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::{BUSY, is_about, pause};
use vrrp_tests::{Daemon, Kind, Lab, Pulse, Watch, wait_until};

const VIP: &str = "192.0.2.250";
const LIMIT: Duration = Duration::from_secs(30);
/// How long who gives way may keep the address.
const SOON: Duration = Duration::from_millis(50);

/// The data paths, by the words of `--datapath`.
const PATHS: [&str; 3] = ["xdp", "generic", "socket"];

/// Plays on every data path of ours at once, or with keepalived as it is.
fn on_every_path(play: fn(&str) -> Result<()>) -> Result<()> {
    let paths: &[&str] = if Kind::ours_under_test() { &PATHS } else { &["auto"] };
    std::thread::scope(|scope| {
        let run = |path| scope.spawn(move || play(path).with_context(|| format!("on {path}")));
        let all: Vec<_> = paths.iter().map(|path| run(*path)).collect();
        all.into_iter().try_for_each(|one| one.join().expect("it returns its errors"))
    })
}

fn start(lab: &Lab, conf: &str, path: &str) -> Result<Daemon> {
    start_with(lab, &cases::configuration(conf), path)
}

fn start_with(lab: &Lab, conf: &str, path: &str) -> Result<Daemon> {
    let more: &[&str] = if Kind::ours_under_test() { &["--datapath", path] } else { &[] };
    if path == "generic" {
        lab.tags_in_frames()?;
    }
    Daemon::start(lab, Kind::under_test(), "r1", conf, more)
}

/// A frame that is believed keeps the daemon BACKUP; sent alone, any other lets it become MASTER. One frame
/// is played on one data path, the next on the next.
fn obeyed(file: &str, conf: &str) -> Result<()> {
    let cases = cases::packets(file);
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(case), path) = (cases.get(turn), PATHS[turn % PATHS.len()]) else {
                        break;
                    };
                    if let Err(error) = obeyed_alone(case, conf, path) {
                        let text = format!("{file} {} on {path}: {error:#}", case.name);
                        failed.lock().expect("no panic while held").push(text);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic while held");
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

fn obeyed_alone(case: &Case, conf: &str, path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let wire = lab.capture("client")?;
    lab.inject("gen", &case.bytes)?;
    let daemon = start(&lab, conf, path)?;
    let listens = || daemon.log().contains("Entering BACKUP");
    let is_master = || !wire.adverts_of("r1").is_empty() && lab.holds("r1", VIP);
    let believed = matches!(verdict(&case.name), Verdict::Accepted);
    // Longer than the 3.6 s that it waits, from when it listens; a busy machine takes its time until then.
    let (mut heard, mut master) = (0, false);
    let what = if believed { "it has heard enough" } else { "it is MASTER" };
    wait_until(what, LIMIT, || {
        pause(500);
        heard += u32::from(listens() && lab.inject("gen", &case.bytes).is_ok());
        master = master || is_master();
        if believed { heard > 10 } else { master }
    })
    .with_context(|| daemon.log_end())?;
    ensure!(!(believed && master), "MASTER: {}", daemon.log_end());
    Ok(())
}

#[test]
fn b01_one_header_fault_at_a_time_v2() -> Result<()> {
    obeyed("P01-v2-header", "DUT-v2")
}

#[test]
fn b03_interval_mismatch_v2() -> Result<()> {
    obeyed("P03-v2-advert-interval", "DUT-v2")
}

#[test]
fn b05_password() -> Result<()> {
    obeyed("P05-v2-auth", "DUT-v2-pass")
}

#[test]
fn b07_v3_header_and_both_checksums() -> Result<()> {
    if Kind::ours_under_test() { obeyed("P07-v3-header", "DUT-v3") } else { Ok(()) }
}

/// With `v3_checksum_as_v2` the sum covers the message alone, without it the pseudo-header too; and
/// whoever sends the other form is answered in it.
#[test]
fn b07_the_checksum_form_is_the_configured_one_or_the_peers() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let alone = |seen: &SeenAdvert| Sum::new().slice(&seen.advert.message).is_whole();
    for (line, as_v2) in [("v3_checksum_as_v2", true), ("preempt", false)] {
        let lab = Lab::new(&["r1", "gen"])?;
        let wire = lab.capture("gen")?;
        let daemon = lab.run("r1", &Instance::new(200).line(line).alone(3))?;
        let limit = LIMIT;
        wait_until("r1 speaks", limit, || !wire.adverts_of("r1").is_empty())
            .with_context(|| daemon.log_end())?;
        ensure!(wire.adverts_of("r1").iter().all(|seen| alone(seen) == as_v2), "{line}");
        // Both forms are accepted; this one loses, and is answered in its own form.
        let other = if as_v2 { "good-pseudo-header-sum" } else { "message-only-sum-rfc9568" };
        lab.inject("gen", &cases::frame("P07-v3-header", other))?;
        wait_until("r1 answers in the other form", limit, || {
            wire.adverts_of("r1").last().is_some_and(|seen| alone(seen) != as_v2)
        })?;
        ensure!(daemon.status()?.instance("VI_1")?.counter("accepted") == 1, "{line}");
        // Another sender, whose address is greater by one.
        let mut another = cases::frame("P07-v3-header", "message-only-sum-rfc9568");
        (another[29], another[25]) = (another[29] + 1, another[25] - 1);
        lab.inject("gen", &another)?;
        // And the first one changes its form.
        lab.inject("gen", &cases::frame("P07-v3-header", "good-pseudo-header-sum"))?;
        let senders = || -> Option<Vec<(String, String, [u64; 2])>> {
            Some(daemon.status().ok()?.instance("VI_1").ok()?.senders())
        };
        let first = if as_v2 { [0, 2] } else { [1, 1] };
        let both = [("192.0.2.101", "pseudo_header", first), ("192.0.2.102", "message", [1, 0])]
            .map(|(sender, form, counts)| (sender.to_owned(), form.to_owned(), counts));
        wait_until("each sender's form is told", limit, || {
            senders().is_some_and(|senders| senders == both)
        })
        .with_context(|| format!("{line}: {:?}", senders()))?;
    }
    Ok(())
}

/// Also of adverts that XDP keeps to itself since they only repeat themselves.
#[test]
fn b07_each_form_of_a_sender_is_counted() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    on_every_path(counts_forms)
}

fn counts_forms(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let daemon = start(&lab, "DUT-v3", path)?;
    daemon.wait_log("Entering BACKUP", LIMIT)?;
    for (form, times) in [
        ("message-only-sum-rfc9568", 9),
        ("good-pseudo-header-sum", 1),
        ("message-only-sum-rfc9568", 5),
    ] {
        for _ in 0..times {
            lab.inject("gen", &cases::frame("P07-v3-header", form))?;
            pause(50);
        }
    }
    let senders = || Some(daemon.status().ok()?.instance("VI_1").ok()?.senders());
    let right = [("192.0.2.101".to_owned(), "message".to_owned(), [14, 1])];
    wait_until("each is counted", LIMIT, || senders().is_some_and(|senders| senders == right))
        .with_context(|| format!("{:?}: {}", senders(), daemon.log_end()))?;
    Ok(())
}

#[test]
fn b09_filled_frames_priority_tag_foreign_vlan() -> Result<()> {
    obeyed("P09-link-plain", "DUT-v3")
}

#[test]
fn b11_ip_header_variations() -> Result<()> {
    obeyed("P11-ip-header", "DUT-v2")
}

/// Faulty adverts are told once for a cause, not once a packet.
#[test]
fn b03_a_mismatch_is_told_once() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let daemon = start(&lab, "DUT-v2", "auto")?;
    let frame = cases::frame("P03-v2-advert-interval", "interval-2");
    wait_until("r1 is MASTER", LIMIT, || {
        pause(250);
        lab.inject("gen", &frame).is_ok() && lab.holds("r1", VIP)
    })
    .with_context(|| daemon.log_end())?;
    let told = daemon.count_log("192.0.2.101");
    // Of keepalived a few are taken.
    let right = if Kind::ours_under_test() { 1..=1 } else { 0..=3 };
    ensure!(right.contains(&told), "{told} lines name the sender: {}", daemon.log_end());
    Ok(())
}

/// Another cluster with our VRID: refused, told once with all that one needs to mend it.
#[test]
fn b18_another_cluster_with_our_vrid() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    on_every_path(foreign_cluster)
}

fn foreign_cluster(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let daemon = start(&lab, "DUT-v2", path)?;
    let frame = cases::frame("P18-other-group-same-vrid", "theirs-higher-prio");
    wait_until("r1 is MASTER in spite of a foreign cluster", LIMIT, || {
        pause(1000);
        lab.inject("gen", &frame).is_ok() && lab.holds("r1", VIP)
    })
    .with_context(|| daemon.log_end())?;
    daemon.wait_log("192.0.2.66", LIMIT)?;
    let log = daemon.log();
    let about: Vec<&str> =
        log.lines().filter(|line| line.contains("refused advert from 192.0.2.66")).collect();
    ensure!(about.len() == 1, "{} lines: {about:?}", about.len());
    for word in ["192.0.2.66", VIP, "51", "free"] {
        ensure!(about[0].contains(word), "no {word} in {:?}", about[0]);
    }
    Ok(())
}

/// What a MASTER does with each priority.
#[test]
fn b19_a_master_hears_each_priority() -> Result<()> {
    on_every_path(|path| master_hears(&cases::configuration("DUT-v2"), path, 1))
}

/// Strict mode is RFC 3768's, which discards an advert that loses: nothing is sent.
#[test]
fn b19_a_strict_master_does_not_answer_who_loses() -> Result<()> {
    on_every_path(|path| {
        let conf = cases::configuration("DUT-v2");
        let strict = conf.replace("global_defs {", "global_defs {\n    vrrp_strict");
        master_hears(&strict, path, 0)
    })
}

/// `answers`: how many adverts are sent to who loses.
fn master_hears(conf: &str, path: &str, answers: usize) -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let daemon = start_with(&lab, conf, path)?;
    let master =
        Master { lab: &lab, daemon, watch: lab.watch("r1")?, pulse: Pulse::start(), answers };
    for case in cases::packets("P19-master-hears") {
        // Again where this thread was held up, since what stands out in the middle does not elsewhere; and
        // where r1 was, which does what it must a moment later.
        let (mut in_time, mut wrong) = (false, 0);
        for _ in 0..10 {
            if in_time {
                break;
            }
            match master.hears(&case) {
                Ok(it_is) => in_time = it_is,
                Err(error) if wrong == 2 => return Err(error),
                Err(_) => wrong += 1,
            }
        }
        ensure!(in_time, "{}: never in time", case.name);
    }
    Ok(())
}

/// A MASTER with what is needed to see what it does.
struct Master<'a> {
    lab: &'a Lab,
    daemon: Daemon,
    watch: Watch,
    pulse: Pulse,
    /// How many adverts it sends to who loses.
    answers: usize,
}

impl Master<'_> {
    /// Whether the frame came in time, between two adverts; if so, it was answered as it must be.
    fn hears(&self, case: &Case) -> Result<bool> {
        let address = VIP.parse()?;
        let wire = self.lab.capture("client")?;
        let spoken = || wire.adverts_of("r1").len();
        wait_until("r1 is MASTER", LIMIT, || self.lab.holds("r1", VIP) && spoken() > 0)
            .with_context(|| self.daemon.log_end())?;
        // In the middle between two adverts, so that one sent at once stands out.
        let last = wire.adverts_of("r1").pop().context("no advert")?;
        let middle = last.at + Duration::from_millis(1400);
        std::thread::sleep(middle.saturating_sub(vrrp_tests::now()));
        let before = vrrp_tests::now();
        self.lab.inject("gen", &case.bytes)?;
        pause(550);
        // From the frame's stamp on the wire to the kernel's word.
        let arrived = wire.adverts().into_iter().find(|seen| seen.at >= before && is(case, seen));
        let arrived = arrived.with_context(|| format!("{} is not seen", case.name))?.at;
        if arrived > middle + Duration::from_millis(100) {
            return Ok(false);
        }
        // What the machine stood still meanwhile is not the daemon's.
        let gone = self
            .watch
            .gone_after(address, arrived)
            .map(|at| (at - arrived).saturating_sub(self.pulse.lost(arrived, at)));
        // The frame itself is seen too; it has no number of a host for two of the sources.
        let heard = middle - Duration::from_millis(50);
        let answers: Vec<u8> = wire
            .adverts_of("r1")
            .into_iter()
            .filter(|seen| seen.at > heard && seen.at < middle + Duration::from_millis(500))
            .map(|seen| seen.advert.priority)
            .collect();
        let what = format!("{}: gone {gone:?}, sent {answers:?}", case.name);
        println!("{what}");
        let (gives_way, due) = match case.name.as_str() {
            "equal-higher-address" | "higher-150" | "owner-255" => (true, 0),
            "zero" => (false, 1),
            _ => (false, self.answers),
        };
        ensure!(answers == vec![100; due], "{what}");
        if gives_way {
            ensure!(gone.is_some_and(|gone| gone < SOON), "{what}");
            return Ok(true);
        }
        ensure!(gone.is_none(), "{what}");
        if due > 0 && case.name != "zero" {
            let announced = || wire.announcements(address).iter().any(|(at, _)| *at > heard);
            wait_until("it is announced", LIMIT, announced).with_context(|| what)?;
        }
        Ok(true)
    }
}

/// Whether this advert is the frame that was injected.
fn is(case: &Case, seen: &SeenAdvert) -> bool {
    let ip = &case.bytes[14..];
    seen.advert.source.octets() == ip[12..16] && ip[20..].starts_with(&seen.advert.message)
}

/// VRRPv3 follows the interval of whom it hears, and speaks in its own.
#[test]
fn b27_learned_interval() -> Result<()> {
    on_every_path(learns)
}

fn learns(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let wire = lab.capture("client")?;
    let frame = |name| cases::frame("P23-learned-interval", name);
    let fast = frame("interval-10cs-prio-150");
    let slow = frame("interval-300cs-prio-150");
    let lower = frame("interval-300cs-prio-50-lower");
    let mut daemon = start(&lab, "DUT-v3", path)?;
    daemon.wait_log("Entering BACKUP", LIMIT)?;
    for _ in 0..10 {
        lab.inject("gen", &fast)?;
        pause(100);
    }
    takes_after(&lab, &wire, 361)?;
    lab.inject("gen", &slow)?;
    pause(300);
    let took = takes_after(&lab, &wire, 10_828)?;
    // Its own interval again, in the field and on the clock.
    pause(3200);
    let own: Vec<_> = wire.adverts_of("r1").into_iter().filter(|seen| seen.at >= took).collect();
    let [first, .., last] = own.as_slice() else { bail!("{} adverts", own.len()) };
    let seconds = Duration::from_secs(own.len() as u64 - 1);
    ensure!(is_about(last.at - first.at, seconds), "{:?}, not {seconds:?}", last.at - first.at);
    ensure!(last.advert.interval_ms == 1000, "says {} ms", last.advert.interval_ms);
    daemon.stop()?;
    // A losing advert changes neither the wait nor the interval.
    let wire = lab.capture("client")?;
    let daemon = start(&lab, "DUT-v3", path)?;
    daemon.wait_log("Entering BACKUP", LIMIT)?;
    let begin = vrrp_tests::now();
    // Well before it would speak: then it would wait from here, where it changed the wait.
    pause(1500);
    lab.inject("gen", &lower)?;
    wait_until("r1 speaks", LIMIT, || !wire.adverts_of("r1").is_empty())
        .with_context(|| daemon.log_end())?;
    let waited = wire.adverts_of("r1")[0].at.saturating_sub(begin);
    ensure!(waited < Duration::from_millis(3609) + BUSY, "{waited:?} after a losing advert");
    Ok(())
}

/// After the last injected advert r1 stays silent so long and then speaks: when.
fn takes_after(lab: &Lab, wire: &vrrp_tests::Capture, milliseconds: u128) -> Result<Duration> {
    let heard = wire.adverts_of("gen").pop().context("the injected advert is not seen")?.at;
    let after = || wire.adverts_of("r1").into_iter().find(|seen| seen.at > heard);
    wait_until("r1 speaks", LIMIT, || after().is_some())?;
    let spoke = after().context("silent")?.at;
    let waited = spoke.saturating_sub(heard).as_millis();
    ensure!(
        waited + 30 >= milliseconds && waited < milliseconds + BUSY.as_millis(),
        "spoke after {waited} ms, not {milliseconds}"
    );
    wait_until("r1 has the address", LIMIT, || lab.holds("r1", VIP))?;
    Ok(spoke)
}
