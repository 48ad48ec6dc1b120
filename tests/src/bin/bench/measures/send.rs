//! The cost of speaking, and how regular it is: Active for 200 virtual routers, each 10 ms.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::generator::Generator;
use vrrp_tests::process::sent_packets;
use vrrp_tests::{Daemon, Lab};

use crate::stage::{Bench, HIGH, Interval, Load, beats, kind, many, times_by_router, wait_held};
use crate::stats::{quantile, steps};
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 200;
const INTERVAL: Interval = Interval { ms: 10 };
/// An advert may be late by 2 % of the interval.
const LATE: f64 = 10.2;
/// Time without an advert that is the end of a burst.
const QUIET: Duration = Duration::from_millis(1);
/// The longest that a burst and the pause behind it may take.
const LONGEST: Duration = Duration::from_millis(INTERVAL.ms as u64);

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    for _ in 0..bench.runs(3) {
        let mut keepalived = None;
        // The other one first: ours is held to a share of what it uses.
        for who in bench.of(&[Who::Xvrrp, Who::Keepalived]).into_iter().rev() {
            let run = once(bench, who);
            if who == Who::Keepalived {
                keepalived = run.as_ref().ok().map(|run| run.load.cpu);
            }
            table.note_run(Measure::Send, who, run.map(|run| figures(who, run, keepalived)));
            if who == Who::Xvrrp {
                table.note_run(Measure::Send, who, bare(bench));
            }
        }
    }
}

/// What one run has shown.
struct Run {
    load: Load,
    /// Adverts per second.
    rate: f64,
    /// The times between two adverts of one virtual router, of all, in milliseconds.
    silences: Vec<f64>,
}

fn figures(who: Who, run: Run, other: Option<f64>) -> Vec<(Figure, f64)> {
    let Run { load, rate, silences } = run;
    let figure = |what: &str, unit, limit| figure(Measure::Send, what, unit, limit);
    let mut figures = vec![
        (figure("adverts per second", "", Limit::at_least(19_990.0)), rate),
        (figure("longest silence of a virtual router", "ms", Limit::all(LATE)), longest(&silences)),
        // Of 400 beats in a run: all leave together, so that one late one of the machine's is in each.
        (
            figure("silence of a virtual router, 99 % of all", "ms", Limit::all(LATE)),
            quantile(&silences, 0.99),
        ),
        (figure("daemon, % of one CPU", "", Limit::NONE), load.cpu),
        (figure("wake-ups per second", "", Limit::NONE), load.wakeups),
    ];
    if let (Who::Xvrrp, Some(other)) = (who, other) {
        let share = figure("CPU as a share of keepalived's", "", Limit::median(0.4));
        figures.push((share, load.cpu / other));
    }
    figures
}

fn once(bench: &Bench, who: Who) -> Result<Run> {
    let lab = bench.lab(&["r1", "client"])?;
    let daemon = lab.start(kind(who), "r1", &many(ROUTERS, HIGH, INTERVAL))?;
    wait_held(&lab, "r1", &daemon, usize::from(ROUTERS))?;
    // Until what is announced again after five seconds is announced: it would count as adverts.
    std::thread::sleep(bench.lasting(6000, 5500));
    let (load, rate) = cost(bench, &lab, &daemon)?;
    // Behind that: whoever looks at each frame needs a CPU too.
    let silences = silences(bench, &lab)?;
    Ok(Run { load, rate, silences })
}

/// What the machine leaves to be had: a loop with the protocol thread's priority sleeps until the next beat and
/// sends prebuilt adverts by one system call, and nothing else.
fn bare(bench: &Bench) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "client"])?;
    let every = Duration::from_millis(u64::from(INTERVAL.ms));
    let generator = Generator::in_step_first(lab.ns("r1"), beats(ROUTERS, "r1", INTERVAL), every)?;
    std::thread::sleep(bench.lasting(2000, 1000));
    let silences = silences(bench, &lab)?;
    generator.finish()?;
    let figure = |what| figure(Measure::Send, what, "ms", Limit::NONE);
    Ok(vec![
        (figure("longest silence of a bare loop"), longest(&silences)),
        (figure("silence of a bare loop, 99 % of all"), quantile(&silences, 0.99)),
    ])
}

fn longest(silences: &[f64]) -> f64 {
    silences.iter().copied().fold(0.0, f64::max)
}

fn cost(bench: &Bench, lab: &Lab, daemon: &Daemon) -> Result<(Load, f64)> {
    let (load, rate) = Load::during(&daemon.pids(), || -> Result<f64> {
        let (begin, before) = between_bursts(lab)?;
        std::thread::sleep(bench.lasting(4000, 2000));
        let (end, after) = between_bursts(lab)?;
        Ok((after - before) as f64 / end.duration_since(begin).as_secs_f64())
    });
    Ok((load, rate?))
}

fn silences(bench: &Bench, lab: &Lab) -> Result<Vec<f64>> {
    let wire = lab.capture("client")?;
    std::thread::sleep(bench.lasting(4000, 2000));
    let by_router = times_by_router(&wire.adverts_of("r1"));
    ensure!(by_router.len() == usize::from(ROUTERS), "{} speak", by_router.len());
    Ok(by_router.values().flat_map(|times| steps(times)).collect())
}

/// What was sent by the end of a burst, and when that was: at any other time the count would say more
/// about where the window begins than about the rate. Who sends all the time has no bursts, and is
/// taken as it comes.
fn between_bursts(lab: &Lab) -> Result<(Instant, u64)> {
    lab.ns("r1").enter(|| {
        let count = || sent_packets("eth0").context("no counters");
        let begin = Instant::now();
        let first = count()?;
        let (mut last, mut at) = (first, begin);
        while begin.elapsed() < 3 * LONGEST {
            std::thread::sleep(QUIET / 10);
            let now = count()?;
            if now != last {
                (last, at) = (now, Instant::now());
            } else if last != first && at.elapsed() >= QUIET {
                break;
            }
        }
        Ok((at, last))
    })
}
