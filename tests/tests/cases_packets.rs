//! What the running daemon does about the handed packets, on every data path. How it counts them:
//! `datapaths.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_common::checksum::Sum;
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::cases::{self, Case, Verdict, verdict};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

const VIP: &str = "192.0.2.250";

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
    let conf = cases::configuration(conf);
    let more: &[&str] = if Kind::ours_under_test() { &["--datapath", path] } else { &[] };
    Daemon::start(lab, Kind::under_test(), "r1", &conf, more)
}

/// A frame that is believed keeps the daemon BACKUP; sent alone, any other lets it become MASTER.
fn obeyed(file: &str, conf: &str) -> Result<()> {
    let cases = cases::packets(file);
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = obeyed_alone(case, conf) {
                        let text = format!("{file} {}: {error:#}", case.name);
                        failed.lock().expect("no panic while held").push(text);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic while held");
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

fn obeyed_alone(case: &Case, conf: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let wire = lab.capture("client")?;
    lab.inject("gen", &case.bytes)?;
    let _daemon = start(&lab, conf, "auto")?;
    // Twice the wait of 3.6 s less a moment: a first second of start-up does no harm.
    let mut master = false;
    for _ in 0..12 {
        pause(500);
        lab.inject("gen", &case.bytes)?;
        master = master || !wire.adverts_of("r1").is_empty() && lab.holds("r1", VIP);
    }
    let believed = matches!(verdict(&case.name), Verdict::Accepted);
    ensure!(master != believed, "{}", if master { "MASTER" } else { "never MASTER" });
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
        let limit = Duration::from_secs(10);
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
        let senders = || -> Option<Vec<(String, String)>> {
            Some(daemon.status().ok()?.instance("VI_1").ok()?.senders())
        };
        let form = if as_v2 { "pseudo_header" } else { "message" };
        let both = [("192.0.2.101", form), ("192.0.2.102", "message")]
            .map(|(sender, form)| (sender.to_owned(), form.to_owned()));
        wait_until("each sender's form is told", limit, || {
            senders().is_some_and(|senders| senders == both)
        })
        .with_context(|| format!("{line}: {:?}", senders()))?;
    }
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
    for _ in 0..20 {
        pause(250);
        lab.inject("gen", &frame)?;
    }
    ensure!(lab.holds("r1", VIP), "not MASTER");
    let told = daemon.count_log("192.0.2.101");
    ensure!(told <= 3, "{told} lines name the sender");
    if Kind::ours_under_test() {
        ensure!(told >= 1, "no line names the sender");
    }
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
    for _ in 0..7 {
        pause(1000);
        lab.inject("gen", &frame)?;
    }
    ensure!(lab.holds("r1", VIP), "kept BACKUP by a foreign cluster");
    let log = daemon.log();
    let about: Vec<&str> = log.lines().filter(|line| line.contains("192.0.2.66")).collect();
    ensure!(about.len() == 1, "{} lines: {about:?}", about.len());
    for word in ["192.0.2.66", VIP, "51", "free"] {
        ensure!(about[0].contains(word), "no {word} in {:?}", about[0]);
    }
    Ok(())
}

/// What a MASTER does with each priority.
#[test]
fn b19_a_master_hears_each_priority() -> Result<()> {
    on_every_path(master_hears)
}

fn master_hears(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let daemon = start(&lab, "DUT-v2", path)?;
    let (limit, address) = (Duration::from_secs(8), VIP.parse()?);
    let watch = lab.watch("r1")?;
    for case in cases::packets("P19-master-hears") {
        let wire = lab.capture("client")?;
        let spoken = || wire.adverts_of("r1").len();
        wait_until("r1 is MASTER", limit, || lab.holds("r1", VIP) && spoken() > 0)
            .with_context(|| daemon.log_end())?;
        // In the middle between two adverts, so that one sent at once stands out.
        let last = wire.adverts_of("r1").pop().context("no advert")?;
        let middle = last.at + Duration::from_millis(1400);
        std::thread::sleep(middle.saturating_sub(vrrp_tests::now()));
        let before = vrrp_tests::now();
        lab.inject("gen", &case.bytes)?;
        pause(550);
        // From the frame's stamp on the wire to the kernel's word.
        let arrived = wire.adverts().into_iter().find(|seen| seen.at >= before && is(&case, seen));
        let arrived = arrived.with_context(|| format!("{} is not seen", case.name))?.at;
        let gone = watch.gone_after(address, arrived).map(|at| at - arrived);
        // The frame itself is seen too; it has no number of a host for two of the sources.
        let heard = middle - Duration::from_millis(50);
        let answers: Vec<u8> = wire
            .adverts_of("r1")
            .into_iter()
            .filter(|seen| seen.at > heard && seen.at < heard + Duration::from_millis(450))
            .map(|seen| seen.advert.priority)
            .collect();
        let announced = wire.announcements(address);
        let announced = announced.iter().filter(|(at, _)| *at > heard).count();
        let gives_way =
            matches!(case.name.as_str(), "equal-higher-address" | "higher-150" | "owner-255");
        let what = format!("{}: gone {gone:?}, sent {answers:?}, announced {announced}", case.name);
        if gives_way {
            ensure!(gone.is_some_and(|gone| gone < Duration::from_millis(50)), "{what}");
            ensure!(answers.is_empty(), "{what}");
        } else {
            ensure!(gone.is_none() && answers == [100], "{what}");
            ensure!(case.name == "zero" || announced > 0, "{what}");
        }
    }
    Ok(())
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
    pause(500);
    for _ in 0..10 {
        lab.inject("gen", &fast)?;
        pause(100);
    }
    takes_after(&lab, &wire, 361)?;
    lab.inject("gen", &slow)?;
    pause(300);
    takes_after(&lab, &wire, 10_828)?;
    // Its own interval again, in the field and on the clock.
    pause(3200);
    let own: Vec<_> = wire.adverts_of("r1");
    let [.., before, last] = own.as_slice() else { bail!("{} adverts", own.len()) };
    let apart = last.at.saturating_sub(before.at).as_millis();
    ensure!((900..1150).contains(&apart), "{apart} ms apart");
    ensure!(last.advert.interval_ms == 1000, "says {} ms", last.advert.interval_ms);
    daemon.stop()?;
    // A losing advert changes neither the wait nor the interval.
    let wire = lab.capture("client")?;
    let daemon = start(&lab, "DUT-v3", path)?;
    let begin = vrrp_tests::now();
    pause(1000);
    lab.inject("gen", &lower)?;
    wait_until("r1 speaks", Duration::from_secs(12), || !wire.adverts_of("r1").is_empty())
        .with_context(|| daemon.log_end())?;
    let waited = wire.adverts_of("r1")[0].at.saturating_sub(begin).as_millis();
    ensure!((3400..5000).contains(&waited), "{waited} ms after a losing advert");
    Ok(())
}

/// After the last injected advert r1 stays silent so long and then speaks.
fn takes_after(lab: &Lab, wire: &vrrp_tests::Capture, milliseconds: u128) -> Result<()> {
    let heard = wire.adverts_of("gen").pop().context("the injected advert is not seen")?.at;
    let after = || wire.adverts_of("r1").into_iter().find(|seen| seen.at > heard);
    wait_until("r1 speaks", Duration::from_secs(14), || after().is_some())?;
    let waited = after().context("silent")?.at.saturating_sub(heard).as_millis();
    ensure!(
        waited + 5 >= milliseconds && waited < milliseconds + 200,
        "spoke after {waited} ms, not {milliseconds}"
    );
    wait_until("r1 has the address", Duration::from_secs(1), || lab.holds("r1", VIP)).map(drop)
}
