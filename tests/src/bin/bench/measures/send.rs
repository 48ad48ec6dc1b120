//! The cost of speaking: Active for 200 virtual routers, each 10 ms.

use std::time::Instant;

use anyhow::{Context as _, Result};
use vrrp_tests::Lab;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::process::sent_packets;

use crate::stage::{Bench, HIGH, Interval, Load, kind, many, wait_held};
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 200;
const INTERVAL: Interval = Interval { ms: 10 };

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    for _ in 0..bench.runs(3) {
        let mut keepalived = None;
        // The other one first: ours is held to a share of what it uses.
        for who in bench.of(&[Who::Xvrrp, Who::Keepalived]).into_iter().rev() {
            let run = once(bench, who);
            if who == Who::Keepalived {
                keepalived = run.as_ref().ok().map(|(load, _)| load.cpu);
            }
            table.note_run(Measure::Send, who, run.map(|run| figures(who, run, keepalived)));
        }
    }
}

fn figures(who: Who, (load, rate): (Load, f64), other: Option<f64>) -> Vec<(Figure, f64)> {
    let figure = |what: &str, limit| figure(Measure::Send, what, "", limit);
    let mut figures = vec![
        (figure("adverts per second", Limit::at_least(19_990.0)), rate),
        (figure("daemon, % of one CPU", Limit::NONE), load.cpu),
        (figure("wake-ups per second", Limit::NONE), load.wakeups),
    ];
    if let (Who::Xvrrp, Some(other)) = (who, other) {
        figures
            .push((figure("CPU as a share of keepalived's", Limit::median(0.4)), load.cpu / other));
    }
    figures
}

fn once(bench: &Bench, who: Who) -> Result<(Load, f64)> {
    let lab = bench.lab(&["r1", "client"])?;
    let daemon = lab.start(kind(who), "r1", &many(ROUTERS, HIGH, INTERVAL))?;
    wait_held(&lab, "r1", &daemon, usize::from(ROUTERS))?;
    // Until what is announced after a while is announced.
    std::thread::sleep(bench.lasting(6000, 5500));
    let (load, rate) = Load::during(&daemon.pids(), || -> Result<f64> {
        let (begin, before) = (Instant::now(), sent(&lab)?);
        std::thread::sleep(bench.lasting(4000, 2000));
        let (after, took) = (sent(&lab)?, begin.elapsed());
        Ok((after - before) as f64 / took.as_secs_f64())
    });
    Ok((load, rate?))
}

fn sent(lab: &Lab) -> Result<u64> {
    lab.ns("r1").enter(|| sent_packets("eth0").context("no counters"))
}
