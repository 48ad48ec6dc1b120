//! Memory of all its processes with 255 instances.

use anyhow::Result;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::process::Memory;

use crate::stage::{Bench, HIGH, Interval, kind, many, wait_held};
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 255;

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let able = [Who::Xvrrp, Who::Keepalived];
    bench.in_turns(table, Measure::Memory, (&able, 2), |who| once(bench, who));
}

fn once(bench: &Bench, who: Who) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "client"])?;
    let daemon = lab.start(kind(who), "r1", &many(ROUTERS, HIGH, Interval { ms: 1000 }))?;
    wait_held(&lab, "r1", &daemon, usize::from(ROUTERS))?;
    std::thread::sleep(bench.lasting(3000, 1000));
    let memory = Memory::of(&daemon.pids());
    let figure = |what: &str, limit| figure(Measure::Memory, what, "MiB", limit);
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(vec![
        (figure("resident, all processes", Limit::all(12.0)), mib(memory.resident)),
        (figure("shared pages divided", Limit::NONE), mib(memory.proportional)),
    ])
}
