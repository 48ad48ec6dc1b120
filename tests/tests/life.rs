//! The daemon's life: start, reload, stop, and what stays behind.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::generator::{Generator, bad_adverts};
use vrrp_tests::wait::{is_about, one_of_three, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, cases, now, wait_until};

const VIP: &str = "192.0.2.250";
const LIMIT: Duration = Duration::from_secs(30);

fn master(lab: &Lab) -> Result<Daemon> {
    let daemon = lab.run("r1", &Instance::new(100).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| daemon.log_end())?;
    Ok(daemon)
}

#[test]
fn b38_orderly_stop() -> Result<()> {
    together(&[
        ("SIGTERM as MASTER", || stopped_as_master(Signal::SIGTERM)),
        ("SIGINT as MASTER", || stopped_as_master(Signal::SIGINT)),
        ("as BACKUP", stopped_as_backup),
        ("with the link down", stopped_with_the_link_down),
    ])
}

/// Sends the signal and demands exit status 0 soon.
fn ends_well(daemon: &mut Daemon, signal: Signal) -> Result<()> {
    let begin = Instant::now();
    daemon.signal(signal);
    let status = daemon.wait(LIMIT)?;
    let took = begin.elapsed();
    ensure!(status.success(), "exit {status}: {}", daemon.log_end());
    println!("B38: ended {took:?} after {signal}");
    if Kind::ours_under_test() {
        ensure!(took < Duration::from_secs(5), "it took {took:?} to end");
    }
    Ok(())
}

fn stopped_as_master(signal: Signal) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = lab.run("r1", &Instance::new(150).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let _r2 = lab.run("r2", &Instance::new(100).alone(2))?;
    pause(2500);
    let begin = now();
    ends_well(&mut r1, signal)?;
    ensure!(!lab.holds("r1", VIP), "the address stays behind");
    let last: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > begin).collect();
    let zeros = last.iter().filter(|seen| seen.advert.priority == 0).count();
    ensure!(zeros == 1, "{zeros} adverts of priority 0");
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    let released = last.iter().find(|s| s.advert.priority == 0).context("no priority 0")?.at;
    let first = wire.adverts_of("r2").first().context("r2 is silent")?.at;
    let waited = first - released;
    ensure!(is_about(waited, Duration::from_millis(609)), "r2 spoke {waited:?} after priority 0");
    Ok(())
}

fn stopped_as_backup() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let _r2 = lab.run("r2", &Instance::new(150).alone(2))?;
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    let mut r1 = lab.run("r1", &Instance::new(100).alone(2))?;
    pause(2500);
    ends_well(&mut r1, Signal::SIGTERM)?;
    pause(200);
    ensure!(wire.adverts_of("r1").is_empty(), "a BACKUP spoke");
    Ok(())
}

fn stopped_with_the_link_down() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let mut r1 = master(&lab)?;
    lab.ns("r1").ip("link set eth0 down")?;
    pause(2500);
    let lines = r1.log().lines().count();
    ends_well(&mut r1, Signal::SIGTERM)?;
    let more = r1.log().lines().count() - lines;
    ensure!(more < 15, "{more} lines while it ended: {}", r1.log_end());
    ensure!(!lab.holds("r1", VIP), "the address stays behind");
    Ok(())
}

/// A changed instance changes, at once and without a gap.
#[test]
fn reload_takes_a_change() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = master(&lab)?;
    pause(1500);
    let begin = now();
    r1.reload(&Instance::new(120).alone(2))?;
    pause(2500);
    let after: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > begin).collect();
    let said = after.last().context("silent")?.advert.priority;
    ensure!(said == 120, "it says {said}");
    ensure!(after.iter().all(|seen| seen.advert.priority != 0), "it released");
    ensure!(lab.holds("r1", VIP), "it let go");
    ensure!(r1.count_log("Entering MASTER") == 1, "it changed its state");
    Ok(())
}

/// An instance comes and another goes; the third one does not notice.
#[test]
fn reload_adds_and_removes_instances() -> Result<()> {
    use vrrp_tests::conf::Conf;
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let other =
        |name: &str, vrid, address: &str| Instance::new(100).named(name, vrid).holding(&[address]);
    let second = other("VI_2", 52, "192.0.2.251/24");
    let third = other("VI_3", 53, "192.0.2.252/24");
    let r1 = lab.run("r1", &Conf::new(2).with(Instance::new(100)).with(second).text())?;
    wait_until("r1 has both", LIMIT, || lab.holds("r1", VIP) && lab.holds("r1", "192.0.2.251"))?;
    pause(1500);
    r1.reload(&Conf::new(2).with(Instance::new(100)).with(third).text())?;
    wait_until("the second is gone", LIMIT, || !lab.holds("r1", "192.0.2.251"))?;
    wait_until("the third is there", LIMIT, || lab.holds("r1", "192.0.2.252"))
        .with_context(|| r1.log_end())?;
    let adverts = wire.adverts_of("r1");
    let of = |vrid| adverts.iter().filter(move |seen| seen.advert.vrid == vrid);
    ensure!(of(51).all(|seen| seen.advert.priority == 100), "the first released");
    ensure!(of(52).next_back().is_some_and(|s| s.advert.priority == 0), "the second did not");
    let at: Vec<_> = of(51).map(|seen| seen.at).collect();
    let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    ensure!(gap < Duration::from_millis(1990), "{gap:?} between two adverts of the first");
    Ok(())
}

/// Another version is taken up by a MASTER that goes on, and the instances that go tell that they do. The
/// first command of all has the priority with the weight of an interface that is up.
#[test]
fn reload_to_another_version_and_with_fewer_instances() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let told = lab.dir().join("told");
    lab.write("tell", &format!("#!/bin/sh\necho \"$*\" >> {}\n", told.display()))?;
    let command = lab.dir().join("tell").display().to_string();
    let telling = |name: &str, vrid, address: &str| {
        let one = Instance::new(100).named(name, vrid).holding(&[address]);
        let one = one.line(&format!("notify {command}"));
        ["fault", "stop"].iter().fold(one, |one, state| {
            one.line(&format!("notify_{state} \"{command} {name} {state}\""))
        })
    };
    let first = telling("VI_1", 51, "192.0.2.250/24").track("track_interface", &["lo weight 3"]);
    let second = telling("VI_2", 52, "192.0.2.251/24");
    let third = telling("VI_3", 53, "192.0.2.252/24")
        .line(&format!("notify_deleted \"{command} VI_3 deleted\""));
    let all = |version| Conf::new(version).global("script_user root").with(first.clone());
    let mut r1 = lab.run("r1", &all(2).with(second).with(third).text())?;
    let reaches = |of: &str, count: usize| {
        let what = format!("{count} calls of {of}");
        wait_until(&what, LIMIT, || calls_of(&told, of).len() >= count)
    };
    for of in ["VI_1", "VI_2", "VI_3"] {
        reaches(of, 2).with_context(|| r1.log_end())?;
    }
    pause(1500);
    let begin = now();
    r1.reload(&all(3).text())?;
    reaches("VI_2", 3).with_context(|| r1.log_end())?;
    reaches("VI_3", 4).with_context(|| r1.log_end())?;
    pause(2500);
    let said = wire.adverts_of("r1").into_iter().filter(|seen| seen.advert.vrid == 51);
    let said: Vec<_> =
        said.map(|seen| (seen.at, seen.advert.version, seen.advert.priority)).collect();
    ensure!(said.iter().all(|(_, _, priority)| *priority != 0), "it released: {said:?}");
    let gap = said.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default();
    ensure!(gap < Duration::from_millis(1990), "{gap:?} between two adverts");
    ensure!(said.iter().any(|(at, version, _)| *at > begin && *version == 3), "{said:?}");
    ensure!(said.is_sorted_by_key(|(_, version, _)| *version), "not once and for all: {said:?}");
    ensure!(lab.holds("r1", VIP), "it let go");
    r1.stop()?;
    pause(500);
    told_as_keepalived_does(&told)
}

/// The calls that a script has noted for an instance.
fn calls_of(told: &Path, instance: &str) -> Vec<String> {
    let text = std::fs::read_to_string(told).unwrap_or_default();
    text.lines().filter(|line| line.contains(instance)).map(str::to_owned).collect()
}

/// What the commands were given: the first instance stopped at the end, a reload took the others.
fn told_as_keepalived_does(told: &Path) -> Result<()> {
    let general = |name: &str, state: &str, priority| format!("INSTANCE {name} {state} {priority}");
    let want = |name: &str, priority, more: &[String]| -> Vec<String> {
        let begun = ["BACKUP", "MASTER"].map(|state| general(name, state, priority));
        begun.into_iter().chain(more.iter().cloned()).collect()
    };
    let right = [
        want("VI_1", 103, &["VI_1 stop".to_owned(), general("VI_1", "STOP", 103)]),
        want("VI_2", 100, &[general("VI_2", "FAULT", 100)]),
        want("VI_3", 100, &["VI_3 deleted".to_owned(), general("VI_3", "DELETED", 100)]),
    ];
    for (of, mut right) in ["VI_1", "VI_2", "VI_3"].into_iter().zip(right) {
        let mut got = calls_of(told, of);
        if !Kind::ours_under_test() {
            // keepalived starts them all at once: which one writes first is left to the scheduler.
            right.sort();
            got.sort();
        }
        ensure!(got == right, "{of} told {got:#?}");
    }
    Ok(())
}

/// A file that can't be used leaves everything as it was, and the log says where it is wrong.
#[test]
fn reload_refuses_a_bad_file() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = master(&lab)?;
    pause(1500);
    let begin = now();
    // A check that can't be run would count as failed.
    let track = Instance::new(110).track("track_script", &["chk"]);
    let missing = Conf::new(2).script("chk", &["script \"/no/such/check\""]).with(track).text();
    let handed = ["C48-value-missing", "C05-eof-without-brace"];
    let handed = handed.map(|bad| (bad, cases::configuration(bad)));
    for (bad, text) in handed.into_iter().chain([("no script", missing)]) {
        let refused = r1.count_log("Reload refused");
        r1.reload(&text)?;
        wait_until("it says so", LIMIT, || r1.count_log("Reload refused") > refused)
            .with_context(|| format!("{bad}: {}", r1.log_end()))?;
        pause(1500);
        ensure!(r1.exited()?.is_none(), "{bad}: it ended: {}", r1.log_end());
        ensure!(lab.holds("r1", VIP), "{bad}: it let go");
    }
    let adverts: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > begin).collect();
    ensure!(adverts.iter().all(|s| s.advert.vrid == 51 && s.advert.priority == 100), "changed");
    ensure!(adverts.len() >= 2, "{} adverts", adverts.len());
    ensure!(r1.status()?.names() == ["VI_1"], "{:?}", r1.status()?.names());
    // And a good one after it is taken.
    r1.reload(&Instance::new(110).alone(2))?;
    wait_until("it says 110", LIMIT, || {
        wire.adverts_of("r1").last().is_some_and(|seen| seen.advert.priority == 110)
    })
    .map(drop)
}

/// The program is in the driver while the daemon runs, and gone however the daemon ended.
#[test]
fn the_kernel_program_goes_with_the_daemon() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    // Or there would be no generic mode.
    lab.tags_in_frames()?;
    let link = || lab.ns("r1").ip("-d link show eth0").unwrap_or_default();
    for (path, mode, way) in [
        ("xdp", "xdp", "stop"),
        ("xdp", "xdp", "kill"),
        ("generic", "xdpgeneric", "stop"),
        ("generic", "xdpgeneric", "kill"),
    ] {
        let conf = Instance::new(100).alone(2);
        let mut r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &conf, &["--datapath", path])?;
        let attached = || {
            link().split_whitespace().any(|word| word == format!("prog/{mode}"))
                || link().contains(&format!(" {mode} "))
        };
        wait_until(&format!("{mode} is attached"), LIMIT, attached)
            .with_context(|| format!("{}\n{}", link(), r1.log_end()))?;
        if way == "stop" {
            r1.stop().map(drop)?;
        } else {
            r1.kill()?;
        }
        wait_until("it is detached", LIMIT, || !link().contains("xdp"))
            .with_context(|| format!("after {way} on {path}: {}", link()))?;
    }
    Ok(())
}

/// The kernel's maps have slots for 64 instances: what is more is judged in the daemon, and no fault.
#[test]
fn reload_beyond_the_kernels_room() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let instance = |vrid: u8| {
        let address = format!("192.0.2.{vrid}/24");
        Instance::new(100).named(&format!("VI_{vrid}"), vrid).holding(&[&address])
    };
    let conf = |count| (0..count).fold(Conf::new(3), |conf, n| conf.with(instance(n + 101))).text();
    let r1 = lab.run("r1", &conf(1))?;
    r1.wait_log("Entering BACKUP", LIMIT)?;
    r1.reload(&conf(70))?;
    r1.wait_log("Reload done", LIMIT)?;
    wait_until("all listen", LIMIT, || r1.count_log("Entering BACKUP") == 70)
        .with_context(|| r1.log_end())?;
    let beyond = r1.count_log("the kernel program has no room for it");
    ensure!(beyond == 6, "{beyond} without room: {}", r1.log_end());
    let loud = r1.count_log(" ERROR ") + r1.count_log("start from an earlier value");
    ensure!(loud == 0, "{loud} loud lines: {}", r1.log());
    Ok(())
}

/// As many as there can be, and as many others by a reload: they begin as the first ones end.
#[test]
fn reload_of_all_there_can_be() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    // On interfaces that are not there, so that there is little to do.
    let instance = |begin: &str, n: usize| {
        let (link, vrid) = (n / 255, (n % 255 + 1) as u8);
        let address = format!("10.{link}.{vrid}.1/32");
        let instance = Instance::new(100).named(&format!("{begin}{n}"), vrid);
        instance.on(&format!("{begin}{link}")).holding(&[&address])
    };
    let conf = |begin, count| {
        (0..count).fold(Conf::new(3), |conf, n| conf.with(instance(begin, n))).text()
    };
    let r1 = lab.run("r1", &conf("old", 4096))?;
    let runs = |begin: &str, count: usize| {
        r1.status().is_ok_and(|status| {
            let names = status.names();
            names.len() == count && names.iter().all(|name| name.starts_with(begin))
        })
    };
    let long = 6 * LIMIT;
    wait_until("all run", long, || runs("old", 4096)).with_context(|| r1.log_end())?;
    // One more is an error, and the reload refused.
    r1.reload(&conf("new", 4097))?;
    r1.wait_log("4096 instances are the most, and here are 1 more", LIMIT)?;
    r1.reload(&conf("new", 4096))?;
    wait_until("all others run", long, || runs("new", 4096)).with_context(|| r1.log_end())?;
    Ok(())
}

/// Takes a CPU until the end is said.
fn hog(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Ten reloads in a row under a flood of bad adverts and with a CPU taken: nobody notices who stays.
#[test]
fn reload_under_load() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| hog(&end));
        let result = one_of_three(reloaded_under_load);
        end.store(true, Ordering::Relaxed);
        result
    })
}

fn reloaded_under_load() -> Result<()> {
    const STAYING: std::ops::RangeInclusive<u8> = 1..=100;
    let address = |vrid: u8| Ipv4Addr::new(198, 51, 100, vrid);
    let instance = |priority: u8, vrid: u8| {
        let held = format!("{}/24", address(vrid));
        Instance::new(priority).named(&format!("VI_{vrid}"), vrid).every("0.05").holding(&[&held])
    };
    let conf = |priority| STAYING.fold(Conf::new(3), |conf, n| conf.with(instance(priority, n)));
    let lab = Lab::new(&["r1", "r2", "gen"])?;
    let on_r1 = lab.watch("r1")?;
    let r1 = lab.run("r1", &conf(200).text())?;
    wait_until("r1 is MASTER of all", LIMIT, || r1.count_log("Entering MASTER") == 100)
        .with_context(|| r1.log_end())?;
    let r2 = lab.run("r2", &conf(100).text())?;
    wait_until("r2 is BACKUP of all", LIMIT, || r2.count_log("Entering BACKUP") == 100)
        .with_context(|| r2.log_end())?;
    // Each kind of bad advert, some ten thousand a second.
    let mut bad = bad_adverts(Ipv4Addr::new(192, 0, 2, 101), 1, address(1));
    bad.truncate(240);
    let flood = Generator::in_step(lab.ns("gen"), bad, Duration::from_millis(10))?;
    let begin = now();
    for turn in 1..=10_u8 {
        // Every other one brings an instance, and the next one takes it away.
        let extra = 101 + turn.div_ceil(2);
        let comes = turn % 2 == 1;
        let next = if comes { conf(200).with(instance(200, extra)) } else { conf(200) };
        r1.reload(&next.text())?;
        wait_until("the reload is done", LIMIT, || {
            r1.count_log("Reload done") == usize::from(turn)
                && on_r1.of(address(extra)).last().is_some_and(|change| change.added == comes)
        })
        .with_context(|| format!("reload {turn}: {}", r1.log_end()))?;
    }
    let sent = flood.finish()?;
    ensure!(sent.frames > 10_000, "no flood: {sent:?}");
    ensure!(r1.count_log("Reload done") == 10, "{}", r1.log_end());
    let refused = r1.status()?.instance("VI_1")?.refused_at_all();
    ensure!(refused > 1000, "only {refused} bad adverts came");
    ensure!(r2.count_log("Entering MASTER") == 0, "{}", r2.log_end());
    let peer = r2.status()?;
    for vrid in STAYING {
        let address = address(vrid);
        ensure!(on_r1.gone_after(address, begin).is_none(), "{address} went");
        let seen = peer.instance(&format!("VI_{vrid}"))?;
        ensure!(seen.state() == "BACKUP" && seen.counter("sent") == 0, "{}", seen.json());
    }
    Ok(())
}
