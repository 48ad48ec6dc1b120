//! More good adverts than anybody sends: a loop in the network, or somebody who repeats them.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use vrrp_tests::generator::{Beat, Generator};
use vrrp_tests::process::{Memory, Usage};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab};

use super::{ADDRESS, LIMIT, VIP, brisk, state, wait_state};

/// KiB: what is told of a flood may wait in memory, but not as much as comes. All would take 8 MiB where
/// only 20,000 adverts a second come.
const MORE: u64 = 4 << 10;

#[test]
fn a_flood_of_good_adverts_is_no_more_than_adverts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("native", || lower("xdp")), ("socket", || lower("socket"))])
}

/// Adverts that lose against the MASTER, in turn of several senders.
fn lower(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &brisk(200).alone(3), &["--datapath", path])?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let workers = [r1.worker()?];
    let before = Memory::of(&workers).resident;
    let generator = Generator::at_full_speed(lab.ns("r2"), losing())?;
    pause(3000);
    let sent = generator.finish()?;
    let after = Memory::of(&workers).resident;
    ensure!(after < before + MORE, "{before} KiB, then {after} KiB of {} frames", sent.frames);
    ensure!(state(&r1, "VI_1")? == "MASTER" && lab.holds("r1", VIP), "{}", r1.log_end());
    // What matters is told as ever.
    lab.inject("r2", &beat(99, 250).frame())?;
    r1.wait_log("higher priority 250", LIMIT).with_context(|| r1.log_end())
}

/// An advert of a router with this number.
fn beat(number: u8, priority: u8) -> Beat {
    Beat {
        source: Ipv4Addr::new(192, 0, 2, number),
        version: 3,
        vrid: 51,
        priority,
        interval_ms: 400,
        addresses: vec![ADDRESS],
        password: None,
    }
}

/// Adverts of three routers in turn, all of which lose.
fn losing() -> Vec<Vec<u8>> {
    (0..128).map(|n| beat(100 + n % 3, 100).frame()).collect()
}

/// What that flood costs, and what others notice of it.
#[test]
#[ignore = "a measurement: it needs a machine that does nothing else"]
fn figures_of_a_flood() -> Result<()> {
    for path in ["native", "socket"] {
        let option = if path == "native" { "xdp" } else { path };
        for flooded in [false, true] {
            figures(path, option, flooded)?;
        }
    }
    Ok(())
}

fn figures(path: &str, option: &str, flooded: bool) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client", "gen"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let start = |host: &str, priority: u8| {
        let conf = brisk(priority).alone(3);
        Daemon::start(&lab, Kind::Xvrrp, host, &conf, &["--datapath", option])
    };
    let r1 = start("r1", 200)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = start("r2", 50)?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    pause(1000);
    let sent = || Ok::<_, anyhow::Error>(r1.status()?.instance("VI_1")?.counter("sent"));
    let asker = lab.ask(ADDRESS, 200)?;
    pause(500);
    let pids = [r1.pids(), r2.pids()];
    let used = || pids.each_ref().map(|pids| Usage::of(pids));
    let (before, sent_before, begin) = (used(), sent()?, Instant::now());
    let generator =
        flooded.then(|| Generator::at_full_speed(lab.ns("gen"), losing())).transpose()?;
    pause(5000);
    let rate = generator.map(Generator::finish).transpose()?.map_or(0.0, |sent| sent.rate());
    let seconds = begin.elapsed().as_secs_f64();
    let now = used();
    let cpu = [0, 1].map(|n| 100.0 * now[n].since(before[n]).cpu.as_secs_f64() / seconds);
    let sent = (sent()? - sent_before) as f64 / seconds;
    let (answers, asked) = asker.finish_and_count();
    let lost = asked as usize - answers.answers.len();
    let status = r2.status()?;
    println!(
        "{path}: {rate:.0} adverts a second; CPU: MASTER {:.1} %, BACKUP {:.1} %; the MASTER sent {sent:.2} \
         a second; longest gap at the BACKUP {:?} ms; client: {lost} of {asked} lost, longest gap {:?}",
        cpu[0],
        cpu[1],
        status.instance("VI_1")?.longest_gap(),
        answers.longest_gap()
    );
    ensure!(state(&r1, "VI_1")? == "MASTER", "{}", r1.log_end());
    ensure!(r2.count_log("Entering MASTER") == 0, "{}", r2.log_end());
    ensure!(answers.switches() == 0);
    Ok(())
}
