//! A Backup that gets no CPU for 80 ms again and again, as on a busy host, at 10 ms.

use std::time::Duration;

use anyhow::Result;
use vrrp_tests::bench_args::{Measure, Who};

use crate::stage::{Bench, HIGH, Interval, LOW, kind, one, wait_vip};
use crate::table::{Figure, Limit, Table, figure};

const INTERVAL: Interval = Interval { ms: 10 };
const PAUSE: Duration = Duration::from_millis(80);

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    bench.in_turns(table, Measure::Stall, (&Who::ALL, 3), |who| once(bench, who));
}

fn once(bench: &Bench, who: Who) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "r2", "client"])?;
    let leader = lab.start(kind(who), "r1", &one(HIGH, INTERVAL))?;
    wait_vip(&lab, "r1", &leader)?;
    let follower = lab.start(kind(who), "r2", &one(LOW, INTERVAL))?;
    std::thread::sleep(Duration::from_millis(2000));
    let wire = lab.capture("client")?;
    for _ in 0..20 {
        follower.freeze();
        std::thread::sleep(PAUSE);
        follower.thaw();
        std::thread::sleep(Duration::from_millis(150));
    }
    let what = "adverts by the standby in 20 pauses";
    let spoke = figure(Measure::Stall, what, "", Limit::all(0.0));
    Ok(vec![(spoke, wire.adverts_of("r2").len() as f64)])
}
