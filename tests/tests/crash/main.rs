//! The worker dies, hangs, or all of it is killed: what clients and peers see of it.

mod between;
mod configuration;
mod learned;
mod loops;
mod stuck;

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::capture::Capture;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::process::Usage;
use vrrp_tests::wait::{one_of_three, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, now, wait_until};

const VIP: &str = "192.0.2.250";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);
/// Long for a start on a busy machine, short beside three seconds.
const GAP: Duration = Duration::from_millis(1500);
/// What comes at once takes some milliseconds: only on a very busy machine a thousand of them.
const AT_ONCE: Duration = Duration::from_secs(3);

/// r1 is MASTER, r2 BACKUP, and a client asks.
struct Pair {
    r1: Daemon,
    _r2: Daemon,
    wire: Capture,
    lab: Lab,
}

fn pair(interval: &str) -> Result<Pair> {
    // Without preemption, so that who has lost the address does not take it back at once.
    let conf = |priority| Instance::new(priority).every(interval).line("nopreempt").alone(3);
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = lab.run("r1", &conf(200))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let r2 = lab.run("r2", &conf(100))?;
    r2.wait_log("Entering BACKUP", LIMIT)?;
    pause(1500);
    Ok(Pair { r1, _r2: r2, wire, lab })
}

/// Waits for another worker than `before`.
fn next_worker(daemon: &Daemon, before: u32) -> Result<u32> {
    let next = || daemon.pids().get(1).copied().filter(|pid| *pid != before);
    wait_until("there is another worker", LIMIT, || next().is_some())
        .with_context(|| daemon.log_end())?;
    next().context("it is gone again")
}

/// The XDP program on r1's interface.
fn program(lab: &Lab) -> Option<String> {
    let link = lab.ns("r1").ip("-d link show eth0").ok()?;
    let words: Vec<&str> = link.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("prog/xdp"))?;
    words[at..].iter().skip_while(|word| **word != "id").nth(1).map(|id| (*id).to_owned())
}

#[test]
fn a_worker_that_dies_is_not_noticed() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("killed", || unnoticed("1", Signal::SIGKILL)),
        ("aborted", || unnoticed("1", Signal::SIGABRT)),
    ])?;
    // Alone: while the kernel takes one worker apart, another one's peers would wait for two CPUs.
    one_of_three(|| unnoticed("0.2", Signal::SIGKILL)).context("killed at 200 ms")
}

fn unnoticed(interval: &str, how: Signal) -> Result<()> {
    let Pair { r1, _r2, wire, lab } = pair(interval)?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let client = lab.ask(ADDRESS, 200)?;
    wait_until("r1 serves", LIMIT, || {
        client.served_by().map(vrrp_tests::lab::host_of) == Some("r1")
    })?;
    let (before, old) = (program(&lab), r1.worker()?);
    ensure!(before.is_some(), "no XDP program: {}", r1.log_end());
    let (addresses, begin) = (lab.watch("r1")?, now());
    signal(old, how);
    pause(4000);
    next_worker(&r1, old)?;
    let gap = client.finish().longest_gap_after(begin);
    ensure!(addresses.gone_after(ADDRESS, begin).is_none(), "it was off: {}", r1.log_end());
    ensure!(gap <= GAP, "the client waited {gap:?}: {}", r1.log_end());
    let peer = wire.adverts_of("r2").len();
    ensure!(peer == 0, "the peer sent {peer} adverts: {}", r1.log_end());
    let after = wire.adverts_of("r1").iter().filter(|seen| seen.at > begin).count();
    ensure!(after >= 3, "r1 sent {after} adverts afterwards: {}", r1.log_end());
    ensure!(wire.adverts_of("r1").iter().all(|seen| seen.advert.priority == 200), "it released");
    ensure!(program(&lab) == before, "another program: {before:?}, {:?}", program(&lab));
    let said = format!("(process {old}) was ended by {how}: a new one goes on for 1 instance");
    ensure!(r1.count_log(&said) == 1, "not said: {}", r1.log_end());
    ensure!(r1.status()?.instance("VI_1")?.state() == "MASTER", "not MASTER in its own words");
    Ok(())
}

/// On one CPU, while somebody with no hurry looks at the worker under /proc: who clears the dead worker
/// away waits for that one in the kernel, awake, and must not keep the CPU from it meanwhile.
#[test]
fn one_that_looks_at_a_dying_worker_holds_nobody_up() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = Instance::new(255).alone(3);
    let on_one = ["taskset", "--cpu-list", "0"];
    let r1 = Daemon::start_through(&lab, Kind::under_test(), "r1", &conf, &on_one)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let old = r1.worker()?;
    let look = format!("while [ -d /proc/{old} ]; do ls -R /proc/{old}/task; done");
    let mut lookers = Vec::new();
    for _ in 0..3 {
        let mut shell = Command::new("taskset");
        shell
            .args(["--cpu-list", "0", "nice", "-n", "19", "sh", "-c", &look])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        lookers.push(shell.spawn()?);
    }
    pause(50);
    let before = Usage::of(&[r1.pid()]);
    signal(old, Signal::SIGKILL);
    next_worker(&r1, old)?;
    for mut looker in lookers {
        looker.wait()?;
    }
    // The kernel ends that itself after nearly a second, where real-time tasks may not have it all.
    let used = Usage::of(&[r1.pid()]).since(before).cpu;
    ensure!(used < Duration::from_millis(500), "the guardian was busy for {used:?}");
    Ok(())
}

/// Thirty milliseconds are too short for a start: the peer takes over after its skew.
#[test]
fn a_worker_that_can_not_be_replaced_in_time_is_released() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { r1, _r2, wire, lab } = pair("0.01")?;
    let old = r1.worker()?;
    let killed = now();
    signal(old, Signal::SIGKILL);
    let zero = || {
        let mut all = wire.adverts_of("r1").into_iter();
        all.find(|seen| seen.advert.priority == 0 && seen.at >= killed)
    };
    wait_until("r1 says priority 0", LIMIT, || zero().is_some()).with_context(|| r1.log_end())?;
    wait_until("r2 alone has it", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])
        .with_context(|| r1.log_end())?;
    let zero = zero().context("it was there")?;
    let first = || wire.adverts_of("r2").into_iter().find(|seen| seen.at > zero.at);
    wait_until("r2 speaks", LIMIT, || first().is_some())?;
    let (late, skew) = (zero.at - killed, first().context("it was there")?.at - zero.at);
    let said = format!("priority 0 {late:?} after the kill, r2 {skew:?} after that");
    ensure!(late < AT_ONCE && skew < AT_ONCE, "{said}: {}", r1.log_end());
    eprintln!("{said}");
    Ok(())
}

#[test]
fn a_worker_that_hangs_is_replaced() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { r1, _r2, wire, lab } = pair("2")?;
    let old = r1.worker()?;
    let (addresses, begin) = (lab.watch("r1")?, now());
    signal(old, Signal::SIGSTOP);
    next_worker(&r1, old)?;
    pause(8000);
    ensure!(addresses.gone_after(ADDRESS, begin).is_none(), "it was off: {}", r1.log_end());
    ensure!(wire.adverts_of("r2").is_empty(), "the peer took over: {}", r1.log_end());
    ensure!(r1.count_log("it had not been heard of for too long") == 1, "{}", r1.log_end());
    Ok(())
}

/// All of it is stopped, as by a host that stands still: when it goes on nobody is killed for it.
#[test]
fn a_freeze_of_all_kills_nobody() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { r1, _r2, wire: _, lab } = pair("1")?;
    let old = r1.worker()?;
    for _ in 0..2 {
        r1.freeze();
        // Longer than the peer waits.
        pause(4000);
        // The guardian first: it must not think that it was awake all the time.
        signal(r1.pid(), Signal::SIGCONT);
        pause(300);
        r1.thaw();
        pause(1500);
    }
    ensure!(r1.worker()? == old, "another worker: {}", r1.log_end());
    ensure!(lab.holders(&["r1", "r2"], VIP).len() == 1, "not one holder");
    Ok(())
}

#[test]
fn a_crash_loop_ends_in_released_addresses() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { mut r1, _r2, wire, lab } = pair("1")?;
    let mut old = r1.worker()?;
    for number in 0..6 {
        signal(old, Signal::SIGKILL);
        if number < 5 {
            old = next_worker(&r1, old)?;
            pause(100);
        }
    }
    wait_until("r2 has it", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])
        .with_context(|| r1.log_end())?;
    pause(9000);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "not r2 alone: {}", r1.log_end());
    let adverts = wire.adverts();
    let owners: Vec<_> =
        adverts.iter().filter(|s| s.advert.priority != 0).map(|s| s.advert.source).collect();
    let switches = owners.windows(2).filter(|pair| pair[0] != pair[1]).count();
    ensure!(switches == 1, "{switches} changes of owner: {}", r1.log_end());
    ensure!(r1.count_log("crashes again and again") == 3, "{}", r1.log_end());
    ends_well(&mut r1)
}

/// Demands exit status 0 soon.
fn ends_well(daemon: &mut Daemon) -> Result<()> {
    let begin = Instant::now();
    let status = daemon.stop()?;
    let took = begin.elapsed();
    ensure!(status.success(), "exit {status}: {}", daemon.log_end());
    ensure!(took < Duration::from_secs(5), "it took {took:?} to end");
    Ok(())
}

/// Without its guardian a worker would be one that nobody replaces: it ends in order.
#[test]
fn a_worker_does_not_outlive_its_guardian() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { r1, _r2, wire, lab } = pair("1")?;
    let old = r1.worker()?;
    signal(r1.pid(), Signal::SIGKILL);
    wait_until("the worker is gone", LIMIT, || !is_alive(old)).with_context(|| r1.log_end())?;
    ensure!(!lab.holds("r1", VIP), "the address stays: {}", r1.log_end());
    let zeros = wire.adverts_of("r1").iter().filter(|seen| seen.advert.priority == 0).count();
    ensure!(zeros == 1, "{zeros} adverts of priority 0");
    // The signal that it ends by was nobody's.
    let told = ["The main process is gone: stopping", "SIGTERM"].map(|words| r1.count_log(words));
    ensure!(told == [1, 0], "{}", r1.log_end());
    Ok(())
}

fn is_alive(pid: u32) -> bool {
    // One that nobody has waited for yet has no memory any more.
    std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .is_ok_and(|statm| !statm.starts_with("0 "))
}

#[test]
fn release_gives_up_what_was_killed_as_a_whole() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { mut r1, _r2, wire, lab } = pair("1")?;
    let refused = r1.release(&lab, "r1")?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    let says = format!("xvrrp (pid {}) uses {}: it gives all up", r1.pid(), r1.run_dir().display());
    ensure!(refused.status.code() == Some(1) && words.contains(&says), "{words}");
    ensure!(lab.holds("r1", VIP), "it took the address of a daemon that lives");
    r1.kill()?;
    ensure!(lab.holds("r1", VIP), "it is off without having been taken off");
    let killed = now();
    let done = r1.release(&lab, "r1")?;
    let words = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{words}{}", String::from_utf8_lossy(&done.stderr));
    ensure!(words.contains("(VI_1) priority 0 sent, 192.0.2.250/24 on eth0 taken off"), "{words}");
    ensure!(!lab.holds("r1", VIP), "the address stays");
    wait_until("r2 has it", LIMIT, || lab.holds("r2", VIP))?;
    let took = wire.adverts_of("r2").first().context("r2 is silent")?.at - killed;
    ensure!(took < Duration::from_millis(3000), "r2 spoke {took:?} after the release");
    let again = r1.release(&lab, "r1")?;
    ensure!(again.status.success(), "a second one fails");
    ensure!(String::from_utf8_lossy(&again.stdout).contains("nothing was left"), "unclear");
    Ok(())
}

/// Killed as a whole and started within the peers' wait: it goes on.
#[test]
fn a_start_in_time_goes_on() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let Pair { mut r1, _r2, wire, lab } = pair("1")?;
    let (addresses, begin) = (lab.watch("r1")?, now());
    r1.kill()?;
    let again = lab.run("r1", &Instance::new(200).alone(3))?;
    pause(4000);
    ensure!(addresses.gone_after(ADDRESS, begin).is_none(), "it was off: {}", again.log_end());
    ensure!(wire.adverts_of("r2").is_empty(), "the peer took over: {}", again.log_end());
    Ok(())
}

/// The instance is no longer in the file: what it left is known from the ledger.
#[test]
fn a_start_cleans_up_for_an_instance_that_is_gone() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let other = || Instance::new(100).named("VI_2", 52).holding(&["192.0.2.251/24"]);
    let both = Conf::new(3).with(Instance::new(100)).with(other()).text();
    let mut r1 = lab.run("r1", &both)?;
    wait_until("r1 has both", LIMIT, || lab.holds("r1", VIP) && lab.holds("r1", "192.0.2.251"))?;
    pause(1200);
    r1.kill()?;
    ensure!(lab.holds("r1", "192.0.2.251"), "it is off without having been taken off");
    // Its own one has no mark either, as on a kernel that keeps none.
    lab.ns("r1").ip("addr del 192.0.2.251/24 dev eth0")?;
    lab.ns("r1").ip("addr add 192.0.2.251/24 dev eth0")?;
    let old = r1.log_end();
    let again = lab.run("r1", &Conf::new(3).with(Instance::new(100)).text())?;
    wait_until("the other's is gone", LIMIT, || !lab.holds("r1", "192.0.2.251"))
        .with_context(|| again.log_end())?;
    ensure!(lab.holds("r1", VIP), "its own is off: {old}\n{}", again.log_end());
    Ok(())
}

/// Its interface goes while its worker is replaced: nobody goes on, and the address goes too.
#[test]
fn a_worker_that_can_not_go_on_gives_the_address_up() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let r1 = lab.run("r1", &Instance::new(200).alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    let old = r1.worker()?;
    // Stopped, it does not see to it itself.
    signal(old, Signal::SIGSTOP);
    lab.ns("r1").ip("link set eth0 down")?;
    ensure!(lab.holds("r1", VIP), "the kernel has taken it off");
    signal(old, Signal::SIGKILL);
    next_worker(&r1, old)?;
    wait_until("the address is off", LIMIT, || !lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    ensure!(r1.status()?.instance("VI_1")?.state() == "FAULT", "not FAULT in its own words");
    lab.ns("r1").ip("link set eth0 up")?;
    wait_until("r1 is MASTER again", LIMIT, || lab.holds("r1", VIP))
        .with_context(|| r1.log_end())?;
    Ok(())
}

/// `vrrp_startup_delay` is for a daemon that starts.
#[test]
fn a_worker_that_replaces_another_is_not_held_back() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let delayed = Conf::new(3).global("vrrp_startup_delay 4").with(Instance::new(100)).text();
    let _r2 = lab.run("r2", &Instance::new(200).alone(3))?;
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    let r1 = lab.run("r1", &delayed)?;
    r1.wait_log("Entering BACKUP", LIMIT)?;
    let old = r1.worker()?;
    signal(old, Signal::SIGKILL);
    next_worker(&r1, old)?;
    let again = || r1.count_log("Entering BACKUP") == 2;
    wait_until("r1 listens again", Duration::from_millis(3500), again)
        .with_context(|| r1.log_end())?;
    Ok(())
}
