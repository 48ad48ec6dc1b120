//! The cost of hearing: a Backup of 200 virtual routers whose master speaks each 10 ms.

use std::time::Duration;

use anyhow::{Result, ensure};
use aya::Ebpf;
use aya::programs::xdp::XdpMode;
use vrrp_tests::Daemon;
use vrrp_tests::bench_args::{Measure, Who};
use vrrp_tests::generator::Generator;

use crate::measures::constant::{self, DROP};
use crate::stage::{Bench, Interval, LOW, Load, beats, held, kind, many};
use crate::table::{Figure, Limit, Table, figure};

const ROUTERS: u8 = 200;
const INTERVAL: Interval = Interval { ms: 10 };

/// Who hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearer {
    Nobody,
    /// An XDP program that looks at nothing: what is left to be spared.
    Dropping,
    Daemon(Who),
}

/// Before and after each daemon nobody hears, against whom the whole machine is compared: what changes on
/// it steadily is then in both. So it is with an XDP program that only drops what comes.
pub(crate) fn run(bench: &Bench, table: &mut Table) {
    let daemons = bench.of(&[Who::Xvrrp, Who::Keepalived]);
    let bare = daemons.contains(&Who::Xvrrp).then_some(Hearer::Dropping);
    let hearers = daemons.iter().map(|who| Hearer::Daemon(*who)).chain(bare);
    let mut before = once(bench, Hearer::Nobody);
    for _ in 0..bench.runs(5) {
        for hearer in hearers.clone() {
            let load = once(bench, hearer);
            let after = once(bench, Hearer::Nobody);
            let figures = match (&before, &after) {
                (Ok(before), Ok(after)) => load.map(|load| figures(hearer, &load, [before, after])),
                (Err(error), _) | (_, Err(error)) => {
                    Err(anyhow::anyhow!("without a daemon: {error:#}"))
                }
            };
            let who = match hearer {
                Hearer::Daemon(who) => who,
                Hearer::Nobody | Hearer::Dropping => Who::Xvrrp,
            };
            table.note_run(Measure::Hear, who, figures);
            before = after;
        }
    }
}

fn figures(hearer: Hearer, load: &Load, nobody: [&Load; 2]) -> Vec<(Figure, f64)> {
    let figure = |what: &str, unit, limit| figure(Measure::Hear, what, unit, limit);
    let above = |of: fn(&Load) -> f64| of(load) - f64::midpoint(of(nobody[0]), of(nobody[1]));
    if hearer == Hearer::Dropping {
        let what = "the same with an XDP program that drops every frame, points of one CPU";
        return vec![(figure(what, "", Limit::NONE), above(|load| load.machine))];
    }
    vec![
        (figure("daemon, % of one CPU", "", Limit::median(0.3)), load.cpu),
        (
            figure("whole machine above nobody hearing, points of one CPU", "", Limit::median(1.5)),
            above(|load| load.machine),
        ),
        (
            figure("the same by clock ticks, points of one CPU", "", Limit::NONE),
            above(|load| load.ticked),
        ),
        (
            figure("daemon and sender above nobody hearing, points of one CPU", "", Limit::NONE),
            load.cpu + above(|load| load.own),
        ),
        (figure("wake-ups per second", "", Limit::median(20.0)), load.wakeups),
        (figure("resident", "MiB", Limit::NONE), load.resident),
    ]
}

fn once(bench: &Bench, hearer: Hearer) -> Result<Load> {
    let lab = bench.lab(&["r1", "gen"])?;
    let every = Duration::from_millis(u64::from(INTERVAL.ms));
    // First: a Backup that hears nobody would lead.
    let generator = Generator::in_step(lab.ns("gen"), beats(ROUTERS, "gen", INTERVAL), every)?;
    let conf = many(ROUTERS, LOW, INTERVAL);
    let (mut daemon, mut bare) = (None, None);
    match hearer {
        Hearer::Nobody => {}
        Hearer::Dropping => bare = Some(lab.ns("r1").enter(drop_all)?),
        Hearer::Daemon(who) => daemon = Some(lab.start(kind(who), "r1", &conf)?),
    }
    std::thread::sleep(bench.lasting(3500, 2500));
    let pids = daemon.as_ref().map(Daemon::pids).unwrap_or_default();
    let (load, ()) = Load::during(&pids, || std::thread::sleep(bench.lasting(4000, 2000)));
    let sent = generator.finish()?;
    let log = || daemon.as_ref().map(Daemon::log_end).unwrap_or_default();
    ensure!(held(&lab, "r1") == 0, "it leads though there is a better one\n{}", log());
    let due = f64::from(ROUTERS) * 1000.0 / f64::from(INTERVAL.ms);
    ensure!(sent.rate() > 0.97 * due, "only {:.0} adverts per second were made", sent.rate());
    drop(bare);
    Ok(load)
}

/// Has every frame dropped as it comes, as long as what is returned is there.
fn drop_all() -> Result<Ebpf> {
    let mut ebpf = constant::load(DROP)?;
    constant::program(&mut ebpf)?.attach("eth0", XdpMode::Driver)?;
    Ok(ebpf)
}
