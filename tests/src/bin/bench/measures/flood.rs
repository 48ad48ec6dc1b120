//! Bad adverts at full speed: what a client of the address notices, and what it costs.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::generator::{Generator, bad_adverts};

use crate::stage::{Bench, HIGH, Interval, LOW, Load, VIP, VRID, kind, ms, one, wait_vip};
use crate::table::{Figure, Limit, Table, figure};

const INTERVAL: Interval = Interval { ms: 100 };
/// Questions per second.
const QUESTIONS: u32 = 200;

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    bench.in_turns(table, Measure::Flood, (&Who::ALL, 3), |who| once(bench, who));
}

fn once(bench: &Bench, who: Who) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "r2", "client", "gen"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let leader = lab.start(kind(who), "r1", &one(HIGH, INTERVAL))?;
    wait_vip(&lab, "r1", &leader)?;
    let follower = lab.start(kind(who), "r2", &one(LOW, INTERVAL))?;
    std::thread::sleep(Duration::from_millis(2000));
    let asker = lab.ask(VIP, QUESTIONS)?;
    std::thread::sleep(Duration::from_millis(500));
    let pids = [leader.pids(), follower.pids()].concat();
    let frames = bad_adverts(Ipv4Addr::new(192, 0, 2, 101), VRID, VIP);
    let (load, sent) = Load::during(&pids, || {
        let generator = Generator::at_full_speed(lab.ns("gen"), frames)?;
        std::thread::sleep(bench.lasting(4000, 2500));
        generator.finish()
    });
    std::thread::sleep(Duration::from_millis(500));
    let (answers, asked) = asker.finish_and_count();
    let lost = f64::from(asked) - answers.answers.len() as f64;
    let figure = |what: &str, unit, limit| figure(Measure::Flood, what, unit, limit);
    Ok(vec![
        (
            figure("of the client's questions lost", "%", Limit::all(0.0)),
            100.0 * lost / f64::from(asked.max(1)),
        ),
        (
            figure("longest time without an answer", "ms", Limit::all(30.0)),
            ms(answers.longest_gap()),
        ),
        (figure("owner switches", "", Limit::all(0.0)), answers.switches() as f64),
        (figure("both daemons, % of one CPU", "", Limit::median(1.0)), load.cpu),
        (figure("bad adverts per second", "", Limit::NONE), sent?.rate()),
    ])
}
