//! Taking 200 addresses over.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::capture::Seen;
use vrrp_tests::conf::Instance;
use vrrp_tests::frame::Frame;
use vrrp_tests::lab::number;

use crate::stage::{Bench, HIGH, Interval, LOW, address, between, kind, ms, wait_held};
use crate::stats::{NEVER, longest_step};
use crate::table::{Figure, Limit, Table, figure};

const ADDRESSES: u32 = 200;
const INTERVAL: Interval = Interval { ms: 100 };

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    bench.in_turns(table, Measure::Addresses, (&Who::ALL, 3), |who| once(bench, who));
}

fn conf(priority: u8) -> String {
    let all: Vec<_> = (1..=ADDRESSES).map(|number| format!("{}/32", address(number))).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    Instance::new(priority).every(&INTERVAL.seconds()).holding(&all).alone(3)
}

fn once(bench: &Bench, who: Who) -> Result<Vec<(Figure, f64)>> {
    let lab = bench.lab(&["r1", "r2", "client"])?;
    let mut leader = lab.start(kind(who), "r1", &conf(HIGH))?;
    wait_held(&lab, "r1", &leader, ADDRESSES as usize)?;
    std::thread::sleep(Duration::from_millis(500));
    let follower = lab.start(kind(who), "r2", &conf(LOW))?;
    std::thread::sleep(Duration::from_millis(2000));
    let wire = lab.capture("client")?;
    std::thread::sleep(Duration::from_millis(200));
    leader.stop()?;
    std::thread::sleep(bench.lasting(4000, 3500));
    read(&wire.seen()).with_context(|| format!("log of r2:\n{}", follower.log_end()))
}

fn read(seen: &[Seen]) -> Result<Vec<(Figure, f64)>> {
    let source = Ipv4Addr::new(192, 0, 2, number("r2"));
    let spoke: Vec<_> = seen
        .iter()
        .filter(|seen| matches!(&seen.frame, Frame::Advert(advert) if advert.source == source))
        .map(|seen| seen.at)
        .collect();
    let first = *spoke.first().context("r2 is silent")?;
    let since = first.saturating_sub(Duration::from_millis(50));
    let mut announced = BTreeMap::new();
    for one in seen.iter().filter(|one| one.at >= since) {
        if let Frame::Announcement { address, .. } = &one.frame {
            announced.entry(*address).or_insert(one.at);
        }
    }
    let figure = |what: &str, unit, limit| figure(Measure::Addresses, what, unit, limit);
    let times: Vec<_> = spoke.iter().map(|at| ms(*at)).collect();
    let after = "announced after its first advert";
    let behind = |at: Option<Duration>| at.map_or(NEVER, |at| between(first, at));
    Ok(vec![
        (
            figure(&format!("first {after}"), "ms", Limit::NONE),
            behind(announced.values().min().copied()),
        ),
        (
            figure(&format!("last {after}"), "ms", Limit::all(4.0)),
            behind(announced.values().max().copied()),
        ),
        (
            figure("announced", "of 200", Limit::at_least(f64::from(ADDRESSES))),
            announced.len() as f64,
        ),
        (
            figure("longest silence of the new owner at 100 ms", "ms", Limit::all(105.0)),
            longest_step(&times).context("r2 spoke once")?,
        ),
    ])
}
