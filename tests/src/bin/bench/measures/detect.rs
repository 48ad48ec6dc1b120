//! How late a Backup speaks: on the wire, after the protocol's own wait is over.

use std::time::Duration;

use anyhow::{Context as _, Result};
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::{Capture, Daemon, Lab, now, wait_until};

use crate::stage::{Bench, HIGH, Interval, LOW, VIP, between, kind, one, one_that_ends};
use crate::stats::NEVER;
use crate::table::{Figure, Limit, Table, figure};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The Active router is stopped as an operator does it: it says priority 0.
    Stop,
    /// All its processes are killed.
    Crash,
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Crash => "crash",
        }
    }
}

/// Measures at each interval; all daemons stand beside each other and have their turn.
pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let intervals: &[u32] = if bench.quick { &[10] } else { &[1000, 100, 10] };
    for interval in intervals.iter().map(|ms| Interval { ms: *ms }) {
        let mut pairs = Vec::new();
        for who in &bench.daemons {
            match Pair::start(bench, *who, interval) {
                Ok(pair) => pairs.push(pair),
                Err(error) => table.note_run(Measure::Detect, *who, Err(error)),
            }
        }
        for _ in 0..bench.runs(4) {
            for event in [Event::Stop, Event::Crash] {
                one_round(&mut pairs, event, table);
            }
        }
    }
}

fn one_round(pairs: &mut [Pair], event: Event, table: &mut Table) {
    // The waiting for the first host to lead again is the same for all, so they do it together.
    let begun: Vec<_> = pairs.iter_mut().map(Pair::revive).collect();
    for (pair, begun) in pairs.iter_mut().zip(begun) {
        let measured = begun.and_then(|()| pair.wait_ready()).and_then(|()| pair.measure(event));
        let with_logs = measured.with_context(|| pair.logs());
        table.note_run(Measure::Detect, pair.who, with_logs);
    }
}

/// Two hosts with the same daemon.
struct Pair {
    who: Who,
    interval: Interval,
    // Dropped in this order: the daemons before their hosts.
    leader: Option<Daemon>,
    follower: Option<Daemon>,
    lab: Lab,
}

impl Pair {
    fn start(bench: &Bench, who: Who, interval: Interval) -> Result<Self> {
        let lab = bench.lab(&["r1", "r2", "client"])?;
        let leader = lab.start(kind(who), "r1", &one_that_ends(who, HIGH, interval))?;
        Ok(Self { who, interval, leader: Some(leader), follower: None, lab })
    }

    /// Starts the leader again where it has ended.
    fn revive(&mut self) -> Result<()> {
        let ended = match &mut self.leader {
            Some(daemon) => daemon.exited()?.is_some(),
            None => true,
        };
        if ended {
            // One that was killed had no chance to take it off, and its remains go before the next
            // life begins.
            self.leader = None;
            let _ = self.lab.ns("r1").ip(&format!("addr del {VIP}/24 dev eth0"));
            let conf = one_that_ends(self.who, HIGH, self.interval);
            self.leader = Some(self.lab.start(kind(self.who), "r1", &conf)?);
        }
        Ok(())
    }

    /// Waits until the leader leads and the follower, started when it is its time, is silent.
    fn wait_ready(&mut self) -> Result<()> {
        let quiet = self.interval.times(2.5, 20);
        let wire = self.lab.capture("client")?;
        let leads = || {
            let since = now().saturating_sub(quiet);
            let lately = |host| wire.adverts_of(host).iter().any(|seen| seen.at > since);
            lately("r1") && !lately("r2")
        };
        let limit = self.interval.times(8.0, 6000);
        std::thread::sleep(quiet);
        wait_until("r1 leads", limit, leads)?;
        if self.follower.is_none() {
            self.follower = Some(self.lab.start(kind(self.who), "r2", &one(LOW, self.interval))?);
            std::thread::sleep(self.interval.times(4.0, 1000));
            wait_until("r2 follows", limit, leads)?;
        }
        Ok(())
    }

    fn measure(&mut self, event: Event) -> Result<Vec<(Figure, f64)>> {
        let wire = self.lab.capture("client")?;
        std::thread::sleep(self.interval.times(1.2, 100));
        let leader = self.leader.as_mut().context("no leader")?;
        match event {
            Event::Stop => drop(leader.stop()?),
            Event::Crash => leader.kill()?,
        }
        let limit = self.interval.times(4.5, 2000);
        wait_until("r2 speaks", limit, || words(event, &wire).is_ok())?;
        // What it then announces.
        std::thread::sleep(Duration::from_millis(150));
        self.read(event, &wire)
    }

    fn read(&self, event: Event, wire: &Capture) -> Result<Vec<(Figure, f64)>> {
        let (last, first) = words(event, wire)?;
        let late = between(last, first)
            - match event {
                Event::Stop => self.interval.skew(),
                Event::Crash => self.interval.down(),
            };
        let when = format!("{}, {}", event.name(), self.interval.told());
        let limit = Limit::median(0.15).and_all(1.0);
        let spoke = figure(Measure::Detect, format!("speaks late, {when}"), "ms", limit);
        let announced = figure(
            Measure::Detect,
            format!("first ARP after the first advert, {when}"),
            "ms",
            Limit::median(0.1).and_all(0.5),
        );
        let since = first.saturating_sub(Duration::from_millis(50));
        let arp = wire.announcements(VIP).into_iter().map(|(at, _)| at).find(|at| *at >= since);
        let behind = arp.map_or(NEVER, |at| between(first, at));
        Ok(vec![(spoke, late), (announced, behind)])
    }

    fn logs(&self) -> String {
        let log = |daemon: &Option<Daemon>| daemon.as_ref().map(Daemon::log_end);
        let (leader, follower) = (log(&self.leader), log(&self.follower));
        format!(
            "log of r1:\n{}\nlog of r2:\n{}",
            leader.unwrap_or_default(),
            follower.unwrap_or_default()
        )
    }
}

/// When the advert came from which on the follower waited, and the follower's first one. Where the machine
/// stood still before, the follower may have spoken then already: with reason, and it gave way again.
fn words(event: Event, wire: &Capture) -> Result<(Duration, Duration)> {
    let (theirs, ours) = (wire.adverts_of("r1"), wire.adverts_of("r2"));
    let last = match event {
        Event::Stop => theirs.iter().find(|seen| seen.advert.priority == 0),
        Event::Crash => theirs.last(),
    };
    let last = last.context("r1 has not said its last word")?.at;
    let first = ours.iter().find(|seen| seen.at > last).context("r2 is silent")?;
    Ok((last, first.at))
}
