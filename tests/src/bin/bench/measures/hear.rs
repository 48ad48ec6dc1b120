//! The cost of hearing: a Backup of 200 virtual routers whose master speaks each 10 ms.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use vrrp_tests::Daemon;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::generator::{Beat, Generator};

use crate::stage::{Bench, HIGH, Interval, LOW, Load, address, held, kind, many};
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 200;
const INTERVAL: Interval = Interval { ms: 10 };

/// Each round begins with nobody who hears, against whom the whole machine is compared.
pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let daemons = bench.of(&[Who::Xvrrp, Who::Keepalived]);
    for _ in 0..bench.runs(3) {
        let nobody = once(bench, None);
        for who in &daemons {
            let figures = match &nobody {
                Ok(nobody) => once(bench, Some(*who)).map(|load| figures(&load, nobody)),
                Err(error) => Err(anyhow::anyhow!("without a daemon: {error:#}")),
            };
            table.note_run(Measure::Hear, *who, figures);
        }
    }
}

fn figures(load: &Load, nobody: &Load) -> Vec<(Figure, f64)> {
    let figure = |what: &str, unit, limit| figure(Measure::Hear, what, unit, limit);
    vec![
        (figure("daemon, % of one CPU", "", Limit::median(0.3)), load.cpu),
        (
            figure("whole machine above nobody hearing, points of one CPU", "", Limit::median(1.5)),
            load.machine - nobody.machine,
        ),
        (
            figure("daemon and sender above nobody hearing, points of one CPU", "", Limit::NONE),
            load.cpu + load.own - nobody.own,
        ),
        (figure("wake-ups per second", "", Limit::median(20.0)), load.wakeups),
        (figure("resident", "MiB", Limit::NONE), load.resident),
    ]
}

fn once(bench: &Bench, who: Option<Who>) -> Result<Load> {
    let lab = bench.lab(&["r1", "gen"])?;
    let beats = (1..=ROUTERS).map(|vrid| {
        let beat = Beat {
            source: Ipv4Addr::new(192, 0, 2, 101),
            version: 3,
            vrid,
            priority: HIGH,
            interval_ms: INTERVAL.ms as u16,
            addresses: vec![address(u32::from(vrid))],
            password: None,
        };
        beat.frame()
    });
    let every = Duration::from_millis(u64::from(INTERVAL.ms));
    // First: a Backup that hears nobody would lead.
    let generator = Generator::in_step(lab.ns("gen"), beats.collect(), every)?;
    let conf = many(ROUTERS, LOW, INTERVAL);
    let daemon = who.map(|who| lab.start(kind(who), "r1", &conf)).transpose()?;
    std::thread::sleep(bench.lasting(3500, 2500));
    let pids = daemon.as_ref().map(Daemon::pids).unwrap_or_default();
    let (load, ()) = Load::during(&pids, || std::thread::sleep(bench.lasting(4000, 2000)));
    let sent = generator.finish()?;
    let log = || daemon.as_ref().map(Daemon::log_end).unwrap_or_default();
    ensure!(held(&lab, "r1") == 0, "it leads though there is a better one\n{}", log());
    let due = f64::from(ROUTERS) * 1000.0 / f64::from(INTERVAL.ms);
    ensure!(sent.rate() > 0.97 * due, "only {:.0} adverts per second were made", sent.rate());
    Ok(load)
}
