//! The process that does the work is killed, and whoever looks after it is left alive.

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::daemon::signal;
use vrrp_tests::now;

use crate::stage::{Bench, HIGH, Interval, LOW, VIP, between, kind, ms, one, wait_vip};
use crate::stats::NEVER;
use crate::table::{Figure, Limit, Table, figure};

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    // FRR's vrrpd is looked after by another daemon of its suite, and looks after nobody.
    let able = [Who::Xvrrp, Who::Keepalived];
    for interval in [Interval { ms: 1000 }, Interval { ms: 10 }] {
        bench.in_turns(table, Measure::Crash, (&able, 3), |who| once(bench, who, interval));
    }
}

fn once(bench: &Bench, who: Who, interval: Interval) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "r2", "client"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let leader = lab.start(kind(who), "r1", &one(HIGH, interval))?;
    wait_vip(&lab, "r1", &leader)?;
    let _follower = lab.start(kind(who), "r2", &one(LOW, interval))?;
    std::thread::sleep(interval.times(3.0, 1500));
    let wire = lab.capture("client")?;
    let asker = lab.ask(VIP, 1000)?;
    std::thread::sleep(interval.times(1.1, 300));
    let worker = *leader.pids().last().context("no process")?;
    let begin = now();
    signal(worker, Signal::SIGKILL);
    // Longer than the standby waits.
    std::thread::sleep(interval.times(3.8, if bench.quick { 500 } else { 2000 }));
    let answers = asker.finish();
    let spoke = wire.adverts_of("r2");
    let first = spoke.iter().find(|seen| seen.at >= begin);
    let stays = interval.ms >= 1000;
    let figure = |what: &str, unit, limit| {
        figure(Measure::Crash, format!("{what}, {}", interval.told()), unit, limit)
    };
    let all = |limit| if stays { Limit::all(limit) } else { Limit::NONE };
    let mut figures = vec![
        (figure("client without an answer", "ms", all(50.0)), ms(answers.longest_gap_after(begin))),
        (figure("owner switches", "", all(0.0)), answers.switches() as f64),
        (
            figure("hosts with the address in the end", "", Limit::exactly(1.0)),
            lab.holders(&["r1", "r2"], &VIP.to_string()).len() as f64,
        ),
    ];
    if stays {
        let what = figure("adverts by the standby", "", Limit::all(0.0));
        figures.push((what, spoke.len() as f64));
    } else {
        let limit = Limit::all(interval.skew() + 5.0);
        let what = figure("the standby leads after", "ms", limit);
        figures.push((what, first.map_or(NEVER, |first| between(begin, first.at))));
    }
    Ok(figures)
}
