//! 255 VRIDs in both families on one to eight interfaces, at one second, with announcements as they
//! are by default: what a start, a reload and a failover cost, and whether anybody falls silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::process::Usage;
use vrrp_tests::roll::{self, Roll, Router, routers};
use vrrp_tests::{Daemon, Lab, now, wait_until};

use super::bare;
use crate::stage::{Bench, HIGH, Interval, LOW, Load, between, kind, ms};
use crate::stats::longest_step;
use crate::table::{Figure, Limit, Table, figure};

const VRIDS: u8 = 255;
const INTERVAL: Interval = Interval { ms: 1000 };
/// An advert may be late by 2 % of the interval.
const LATE: Limit = Limit::all(1020.0);
/// The second round of announcements is five seconds after the takeover.
const ROUNDS: Duration = Duration::from_secs(7);

pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let lans: &[u8] = if bench.quick { &[1, 8] } else { &[1, 2, 4, 8] };
    for lans in lans {
        bench.in_turns(table, Measure::Scale, (&[Who::Xvrrp], 1), |who| {
            Run::new(bench, who, *lans)?.play()
        });
    }
}

/// One run with so many virtual routers.
struct Run<'a> {
    bench: &'a Bench,
    who: Who,
    lab: Lab,
    lans: u8,
    routers: BTreeSet<Router>,
    figures: Vec<(Figure, f64)>,
}

impl<'a> Run<'a> {
    fn new(bench: &'a Bench, who: Who, lans: u8) -> Result<Self> {
        let lab = bench.lab(&["r1", "r2"])?;
        (1..lans).try_for_each(|lan| lab.add_lan(lan))?;
        roll::wait_link_local(&lab, &["r1", "r2"])?;
        let routers = routers(lans, VRIDS).collect();
        Ok(Self { bench, who, lab, lans, routers, figures: Vec::new() })
    }

    fn conf(&self, priority: u8) -> String {
        roll::conf(self.lans, VRIDS, priority, &INTERVAL.seconds())
    }

    fn note(&mut self, what: &str, unit: &'static str, limit: Limit, value: f64) {
        let what = format!("{} instances: {what}", self.routers.len());
        self.figures.push((figure(Measure::Scale, what, unit, limit), value));
    }

    fn play(mut self) -> Result<Vec<(Figure, f64)>> {
        self.kernel_alone()?;
        let leader = self.start()?;
        let steady = self.steady(&leader);
        let follower = self.lab.start(kind(self.who), "r2", &self.conf(LOW))?;
        std::thread::sleep(self.bench.lasting(4000, 3000));
        self.reload(&leader, "nothing changed", steady, HIGH)?;
        self.reload(&leader, "each priority changed", steady, HIGH + 1)?;
        self.fail_over(leader, &follower)?;
        Ok(self.figures)
    }

    /// What of a start and of an end is the kernel's in any case.
    fn kernel_alone(&mut self) -> Result<()> {
        let routers: Vec<Router> = self.routers.iter().copied().collect();
        let (on, off) = bare::addresses(self.lab.ns("r1"), &routers)?;
        self.note("the kernel alone, all addresses put on, CPU", "ms", Limit::NONE, ms(on));
        self.note("the kernel alone, all addresses taken off, CPU", "ms", Limit::NONE, ms(off));
        Ok(())
    }

    /// Until all lead, and their second announcements are over.
    fn start(&mut self) -> Result<Daemon> {
        let wire = Roll::start(&self.lab, self.lans)?;
        let begin = now();
        let daemon = self.lab.start(kind(self.who), "r1", &self.conf(HIGH))?;
        self.wait_leads(&wire, "r1", begin, &daemon)?;
        std::thread::sleep(ROUNDS);
        let used = Usage::of(&daemon.pids()).cpu;
        self.note("start and all announced twice, CPU", "ms", Limit::NONE, ms(used));
        let spoke = wire.spoke("r1");
        let last = spoke.values().filter_map(|times| times.first()).max();
        let last = last.context("r1 is silent")?;
        self.note("start, last one leads after", "ms", Limit::NONE, between(begin, *last));
        self.note_silence("longest silence of one, start", &spoke)?;
        Ok(daemon)
    }

    fn steady(&mut self, leader: &Daemon) -> f64 {
        let lasting = self.bench.lasting(5000, 3000);
        let (load, ()) = Load::during(&leader.pids(), || std::thread::sleep(lasting));
        self.note("leading, % of one CPU", "", Limit::NONE, load.cpu);
        self.note("resident", "MiB", Limit::NONE, load.resident);
        load.cpu
    }

    /// A reload while the follower listens; `steady` is what is used without.
    fn reload(&mut self, leader: &Daemon, what: &str, steady: f64, priority: u8) -> Result<()> {
        let wire = Roll::start(&self.lab, self.lans)?;
        let text = self.conf(priority);
        std::thread::sleep(Duration::from_millis(1500));
        let before = Usage::of(&leader.pids()).cpu;
        let begin = now();
        leader.reload(&text)?;
        std::thread::sleep(self.bench.lasting(4000, 3000));
        let used = ms(Usage::of(&leader.pids()).cpu - before);
        let used = used - steady / 100.0 * between(begin, now());
        self.note(&format!("reload, {what}, CPU"), "ms", Limit::NONE, used);
        self.note_silence(&format!("longest silence of one, reload, {what}"), &wire.spoke("r1"))?;
        let peer = wire.spoke("r2").len() as f64;
        self.note(&format!("routers taken by the peer, reload, {what}"), "", Limit::all(0.0), peer);
        Ok(())
    }

    fn fail_over(&mut self, mut leader: Daemon, follower: &Daemon) -> Result<()> {
        let lasting = self.bench.lasting(5000, 3000);
        let (load, ()) = Load::during(&follower.pids(), || std::thread::sleep(lasting));
        self.note("following, % of one CPU", "", Limit::NONE, load.cpu);
        let wire = Roll::start(&self.lab, self.lans)?;
        std::thread::sleep(Duration::from_millis(50));
        let (begin, before) = (now(), Usage::of(&follower.pids()).cpu);
        leader.stop()?;
        self.wait_leads(&wire, "r2", begin, follower)?;
        std::thread::sleep(ROUNDS);
        let used = ms(Usage::of(&follower.pids()).cpu - before);
        self.note("failover and all announced twice, the peer's CPU", "ms", Limit::NONE, used);
        let (released, spoke) = (wire.released("r1"), wire.spoke("r2"));
        let silent = self.routers.iter().filter(|router| !released.contains_key(router)).count();
        self.note("released without last words", "", Limit::all(0.0), silent as f64);
        let late = |(router, times): (&Router, &Vec<Duration>)| {
            Some(between(*released.get(router)?.first()?, *times.first()?) - INTERVAL.skew())
        };
        let late = spoke.iter().filter_map(late).max_by(f64::total_cmp).context("nobody speaks")?;
        self.note("the peer speaks late, the latest", "ms", Limit::NONE, late);
        let last =
            spoke.values().filter_map(|times| times.first()).max().context("r2 is silent")?;
        self.note("the peer leads for all after", "ms", Limit::NONE, between(begin, *last));
        self.note_silence("longest silence of one, after the failover", &spoke)?;
        let wanted = self.routers.iter().copied().flat_map(roll::addresses).count();
        let lacks = wanted - roll::held(&self.lab, "r2", self.routers.iter().copied())?;
        self.note("addresses that the peer lacks", "", Limit::all(0.0), lacks as f64);
        Ok(())
    }

    fn note_silence(&mut self, what: &str, spoke: &BTreeMap<Router, Vec<Duration>>) -> Result<()> {
        ensure!(spoke.len() == self.routers.len(), "{} speak", spoke.len());
        let times = |times: &Vec<Duration>| times.iter().map(|at| ms(*at)).collect::<Vec<_>>();
        let longest = spoke.values().filter_map(|all| longest_step(&times(all)));
        let longest = longest.max_by(f64::total_cmp).context("nobody spoke twice")?;
        self.note(what, "ms", LATE, longest);
        Ok(())
    }

    fn wait_leads(&self, wire: &Roll, host: &str, since: Duration, daemon: &Daemon) -> Result<()> {
        let limit = Duration::from_secs(60);
        // Seldom: what is measured runs on the same machine.
        let all = || {
            std::thread::sleep(Duration::from_millis(100));
            wire.leads(host, since).len() == self.routers.len()
        };
        let what = format!("{host} leads for {} virtual routers", self.routers.len());
        wait_until(&what, limit, all).map(drop).with_context(|| daemon.log_end())
    }
}
