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

/// Before and after each daemon nobody hears, against whom the whole machine is compared: what changes on
/// it steadily is then in both.
pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let daemons = bench.of(&[Who::Xvrrp, Who::Keepalived]);
    let mut before = once(bench, None);
    for _ in 0..bench.runs(5) {
        for who in &daemons {
            let load = once(bench, Some(*who));
            let after = once(bench, None);
            let figures = match (&before, &after) {
                (Ok(before), Ok(after)) => load.map(|load| figures(&load, [before, after])),
                (Err(error), _) | (_, Err(error)) => {
                    Err(anyhow::anyhow!("without a daemon: {error:#}"))
                }
            };
            table.note_run(Measure::Hear, *who, figures);
            before = after;
        }
    }
}

fn figures(load: &Load, nobody: [&Load; 2]) -> Vec<(Figure, f64)> {
    let figure = |what: &str, unit, limit| figure(Measure::Hear, what, unit, limit);
    let above = |of: fn(&Load) -> f64| of(load) - f64::midpoint(of(nobody[0]), of(nobody[1]));
    vec![
        (figure("daemon, % of one CPU", "", Limit::median(0.3)), load.cpu),
        (
            figure("whole machine above nobody hearing, points of one CPU", "", Limit::median(1.5)),
            above(|load| load.machine),
        ),
        (
            figure("the same by clock ticks, points of one CPU", "", Limit::NONE),
            above(|load| load.ticked),
        ),
        (
            figure("daemon and sender above nobody hearing, points of one CPU", "", Limit::NONE),
            load.cpu + above(|load| load.own),
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
