//! A reload under load: 200 instances at 20 ms, and one more in the new file.

use std::time::Duration;

use anyhow::{Context as _, Result};
use vrrp_tests::bench_args::{Measure, Who};

use crate::stage::{Bench, HIGH, Interval, LOW, kind, many, times_by_router, wait_held};
use crate::stats::longest_step;
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 200;
const INTERVAL: Interval = Interval { ms: 20 };

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let able = [Who::Xvrrp, Who::Keepalived];
    bench.in_turns(table, Measure::Reload, (&able, 3), |who| once(bench, who));
}

fn once(bench: &Bench, who: Who) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "r2", "client"])?;
    let leader = lab.start(kind(who), "r1", &many(ROUTERS, HIGH, INTERVAL))?;
    wait_held(&lab, "r1", &leader, usize::from(ROUTERS))?;
    std::thread::sleep(Duration::from_millis(1000));
    let _follower = lab.start(kind(who), "r2", &many(ROUTERS, LOW, INTERVAL))?;
    std::thread::sleep(bench.lasting(4000, 2500));
    let wire = lab.capture("client")?;
    std::thread::sleep(Duration::from_millis(300));
    leader.reload(&many(ROUTERS + 1, HIGH, INTERVAL))?;
    std::thread::sleep(bench.lasting(4000, 3000));
    let by_router = times_by_router(&wire.adverts_of("r1"));
    let longest = by_router.values().filter_map(|times| longest_step(times)).max_by(f64::total_cmp);
    let figure = |what: &str, unit, limit| figure(Measure::Reload, what, unit, limit);
    Ok(vec![
        (
            figure("longest silence of a virtual router at 20 ms", "ms", Limit::all(24.0)),
            longest.context("r1 is silent")?,
        ),
        (figure("adverts by the peer", "", Limit::all(0.0)), wire.adverts_of("r2").len() as f64),
    ])
}
