//! Which configuration a worker has that replaces another, and a start after all was killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, now, wait_until};

use super::{ADDRESS, LIMIT, VIP, next_worker, program};

const OTHER: &str = "192.0.2.251";
const CHANGED: &str = "has changed since it was read; SIGHUP reads it";
const GONE: &str = "going on with what it said when it was read";

/// Two instances; `second`: the priority of the other one, as it is written.
fn two(second: &str) -> String {
    let other = Instance::new(200).named("VI_2", 52).holding(&["192.0.2.251/24"]);
    let text = Conf::new(3).with(Instance::new(200)).with(other).text();
    let at = text.rfind("priority 200").unwrap_or(0);
    format!("{}priority {second}{}", &text[..at], &text[at + "priority 200".len()..])
}

/// What stands in the file when a worker dies was not read by anybody.
#[test]
fn a_crash_reads_no_file() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("cut short", || goes_on(|r1| write(r1, "vrrp_instance VI_1 {\n"), CHANGED)),
        ("one instance broken", || goes_on(|r1| write(r1, &two("x")), CHANGED)),
        ("another priority", || goes_on(|r1| write(r1, &two("100")), CHANGED)),
        ("gone", || goes_on(|r1| Ok(std::fs::remove_file(r1.conf())?), GONE)),
        ("refused by a reload", || goes_on(refused, CHANGED)),
        ("as it was", || goes_on(|_| Ok(()), "")),
    ])
}

fn write(r1: &Daemon, text: &str) -> Result<()> {
    Ok(std::fs::write(r1.conf(), text)?)
}

fn refused(r1: &Daemon) -> Result<()> {
    r1.reload(&two("x"))?;
    r1.wait_log("Reload refused", LIMIT)
}

/// Does something to the file, kills the worker, and demands that nothing comes of it, but for a line.
fn goes_on(spoil: impl Fn(&Daemon) -> Result<()>, line: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = lab.run("r1", &two("200"))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP) && lab.holds("r1", OTHER))
        .with_context(|| r1.log_end())?;
    pause(1100);
    let (addresses, begin) = (lab.watch("r1")?, now());
    spoil(&r1)?;
    let mut old = r1.worker()?;
    // The second one has what the first one had.
    for turn in 1..=2 {
        signal(old, Signal::SIGKILL);
        old = next_worker(&r1, old)?;
        wait_until("both go on", LIMIT, || r1.count_log("went on, without a wait") == 2 * turn)
            .with_context(|| r1.log_end())?;
    }
    ensure!(r1.exited()?.is_none(), "it ended: {}", r1.log_end());
    for address in [ADDRESS, OTHER.parse()?] {
        ensure!(addresses.gone_after(address, begin).is_none(), "{address}: {}", r1.log_end());
    }
    let others = wire.adverts_of("r1").iter().filter(|seen| seen.advert.priority != 200).count();
    ensure!(others == 0, "{others} adverts of another priority: {}", r1.log_end());
    for one in [CHANGED, GONE] {
        // Once for each worker.
        let right = if one == line { 2 } else { 0 };
        ensure!(r1.count_log(one) == right, "{one:?} is not said {right} times: {}", r1.log_end());
    }
    // SIGHUP reads it, and what that brings is what the next one has.
    r1.reload(&two("150"))?;
    r1.wait_log("Reload done", LIMIT)?;
    signal(old, Signal::SIGKILL);
    next_worker(&r1, old)?;
    let last = || wire.adverts_of("r1").into_iter().rfind(|seen| seen.advert.vrid == 52);
    let begin = now();
    wait_until("it says 150", LIMIT, || {
        last().is_some_and(|seen| seen.at > begin && seen.advert.priority == 150)
    })
    .with_context(|| r1.log_end())?;
    Ok(())
}

/// A first start says at once what is wrong.
#[test]
fn a_configuration_that_can_not_be_used_is_not_tried_again() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let begin = Instant::now();
    let mut r1 = lab.run("r1", "vrrp_instance VI_1 {\n")?;
    let status = r1.wait(LIMIT)?;
    ensure!(status.code() == Some(2), "exit {status}: {}", r1.log_end());
    ensure!(begin.elapsed() < Duration::from_secs(5), "after {:?}", begin.elapsed());
    Ok(())
}

/// The file changed before all was killed: a start in time goes on, and makes up for it.
#[test]
fn a_start_that_goes_on_has_the_addresses_of_the_file() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = |some: &[&str], more: &[&str]| {
        let first = Instance::new(200).holding(some);
        let second = Instance::new(200).named("VI_2", 52).holding(more);
        Conf::new(3).with(first).with(second).text()
    };
    let all = ["192.0.2.250/24", "192.0.2.251/24", "192.0.2.252/24"];
    let mut r1 = lab.run("r1", &conf(&all, &["192.0.2.253/24"]))?;
    let held = |address: &str| lab.holds("r1", address);
    wait_until("r1 is MASTER", LIMIT, || held(VIP) && held("192.0.2.252") && held("192.0.2.253"))
        .with_context(|| r1.log_end())?;
    // Some adverts of each have left.
    pause(1100);
    let (addresses, begin) = (lab.watch("r1")?, now());
    r1.kill()?;
    let r1 = lab.run("r1", &conf(&all[..1], &["192.0.2.253/24", "192.0.2.252/24"]))?;
    wait_until("the one in no list is off", LIMIT, || !held("192.0.2.251"))
        .with_context(|| r1.log_end())?;
    pause(300);
    ensure!(addresses.gone_after(ADDRESS, begin).is_none(), "it was off: {}", r1.log_end());
    ensure!(held("192.0.2.252"), "the one that changed hands is off: {}", r1.log_end());
    Ok(())
}

/// Another data path since a reload: nothing of the old program is left to eat adverts.
#[test]
fn a_worker_that_goes_on_by_sockets_leaves_no_program() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = |line| Conf::new(3).global(line).with(Instance::new(200)).text();
    let r1 = lab.run("r1", &conf(""))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    ensure!(program(&lab).is_some(), "no XDP program: {}", r1.log_end());
    r1.reload(&conf("vrrp_datapath socket"))?;
    r1.wait_log("Reload done", LIMIT)?;
    let old = r1.worker()?;
    signal(old, Signal::SIGKILL);
    let next = next_worker(&r1, old)?;
    r1.wait_log("adverts come through a socket", LIMIT)?;
    ensure!(program(&lab).is_none(), "the program stays: {}", r1.log_end());
    // The guardian has nothing of it either: the next one loads its own.
    r1.reload(&conf(""))?;
    wait_until("it is read", LIMIT, || r1.count_log("Reload done") == 2)?;
    signal(next, Signal::SIGKILL);
    next_worker(&r1, next)?;
    wait_until("there is a program again", LIMIT, || program(&lab).is_some())
        .with_context(|| r1.log_end())?;
    ensure!(r1.count_log("is loaded anew") == 0, "taken for one to adopt: {}", r1.log_end());
    Ok(())
}
