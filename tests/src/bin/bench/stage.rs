//! What the measures have in common: who plays, on which hosts, with which configuration.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use vrrp_tests::bench_args::{BenchArgs, Measure, Who};
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::generator::Beat;
use vrrp_tests::process::{Machine, Memory, Usage};
use vrrp_tests::{Daemon, Kind, Lab, lab, wait_until};

use crate::table::{Figure, Table};

/// The one address of a set-up with one.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
/// The virtual router of such a set-up.
pub(crate) const VRID: u8 = 51;
/// The priority of the host that leads, and of the one that follows.
pub(crate) const HIGH: u8 = 200;
pub(crate) const LOW: u8 = 100;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What one run of all measures is about.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) daemons: Vec<Who>,
    pub(crate) quick: bool,
    runs: Option<u32>,
    prefix: String,
}

impl Bench {
    pub(crate) fn new(args: &BenchArgs, prefix: &str) -> Self {
        Self {
            daemons: args.daemons(),
            quick: args.quick,
            runs: args.runs,
            prefix: prefix.to_owned(),
        }
    }

    /// Hosts of their own for one run.
    pub(crate) fn lab(&self, hosts: &[&str]) -> Result<Lab> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Lab::named(&format!("{}b{number}-", self.prefix), hosts)
    }

    /// How often something is measured that is usually measured so often.
    pub(crate) fn runs(&self, usual: u32) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { usual })
    }

    /// The one or the other number of milliseconds.
    pub(crate) const fn lasting(&self, usual: u64, quick: u64) -> Duration {
        Duration::from_millis(if self.quick { quick } else { usual })
    }

    /// Those of the daemons that are among these.
    pub(crate) fn of(&self, able: &[Who]) -> Vec<Who> {
        self.daemons.iter().copied().filter(|who| able.contains(who)).collect()
    }

    /// Measures the daemons in turns, so that what changes on the machine meanwhile hits them alike.
    pub(crate) fn in_turns(
        &self,
        table: &mut Table,
        measure: Measure,
        (daemons, usual_runs): (&[Who], u32),
        mut once: impl FnMut(Who) -> Result<Vec<(Figure, f64)>>,
    ) {
        for _ in 0..self.runs(usual_runs) {
            for who in self.of(daemons) {
                table.note_run(measure, who, once(who));
            }
        }
    }
}

/// The laboratory's name of a daemon.
pub(crate) const fn kind(who: Who) -> Kind {
    match who {
        Who::Xvrrp => Kind::Xvrrp,
        Who::Keepalived => Kind::Keepalived,
        Who::Frr => Kind::Frr,
    }
}

/// An advert interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) ms: u32,
}

impl Interval {
    /// As it stands in a configuration.
    pub(crate) fn seconds(self) -> String {
        (f64::from(self.ms) / 1000.0).to_string()
    }

    /// In words.
    pub(crate) fn told(self) -> String {
        if self.ms >= 1000 { format!("{} s", self.seconds()) } else { format!("{} ms", self.ms) }
    }

    /// So many of it, and a fixed time.
    pub(crate) fn times(self, count: f64, and_ms: u64) -> Duration {
        Duration::from_secs_f64(f64::from(self.ms) * count / 1000.0) + Duration::from_millis(and_ms)
    }

    /// How long the one with the low priority waits after priority 0: Skew_Time, in milliseconds.
    pub(crate) fn skew(self) -> f64 {
        f64::from(self.ms) * f64::from(256 - u16::from(LOW)) / 256.0
    }

    /// How long it waits after silence: Master_Down_Interval, in milliseconds.
    pub(crate) fn down(self) -> f64 {
        3.0 * f64::from(self.ms) + self.skew()
    }
}

/// One instance.
pub(crate) fn one(priority: u8, interval: Interval) -> String {
    Instance::new(priority).every(&interval.seconds()).alone(3)
}

/// One instance on a host whose daemon will end, and whose end is not to be felt on the others by another
/// way than the wire.
///
/// Taking an XDP program off a veth, the kernel keeps the lock that every change of an address needs, in
/// all network namespaces, for about ten milliseconds. Routers are not on one kernel, so no router waits
/// for another one's lock; xvrrp's that ends hears by its socket here, which needs no such work.
pub(crate) fn one_that_ends(who: Who, priority: u8, interval: Interval) -> String {
    let conf = match who {
        Who::Xvrrp => Conf::new(3).global("vrrp_datapath socket"),
        Who::Keepalived | Who::Frr => Conf::new(3),
    };
    conf.with(Instance::new(priority).every(&interval.seconds())).text()
}

/// The address of the instance with this number.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 3 + (number / 250) as u8, (number % 250) as u8)
}

/// Instances 1 to `count`, each with one address.
pub(crate) fn many(count: u8, priority: u8, interval: Interval) -> String {
    let instance = |vrid: u8| {
        let address = format!("{}/32", address(u32::from(vrid)));
        Instance::new(priority)
            .named(&format!("VI_{vrid}"), vrid)
            .every(&interval.seconds())
            .holding(&[address.as_str()])
    };
    (1..=count).map(instance).fold(Conf::new(3), Conf::with).text()
}

/// The adverts of [`many`] as they leave a host.
pub(crate) fn beats(count: u8, host: &str, interval: Interval) -> Vec<Vec<u8>> {
    let beat = |vrid: u8| {
        let beat = Beat {
            source: Ipv4Addr::new(192, 0, 2, lab::number(host)),
            version: 3,
            vrid,
            priority: HIGH,
            interval_ms: interval.ms as u16,
            addresses: vec![address(u32::from(vrid))],
            password: None,
        };
        beat.frame()
    };
    (1..=count).map(beat).collect()
}

/// How many of the addresses of [`address`] a host has.
pub(crate) fn held(lab: &Lab, host: &str) -> usize {
    let ours = |address: &&String| address.ends_with("/32");
    lab.addresses(host).map_or(0, |all| all.iter().filter(ours).count())
}

/// Waits until a host has at least so many of them.
pub(crate) fn wait_held(lab: &Lab, host: &str, daemon: &Daemon, count: usize) -> Result<()> {
    let what = format!("{host} has {count} addresses");
    wait_until(&what, Duration::from_secs(20), || held(lab, host) >= count)
        .map(drop)
        .with_context(|| format!("the log ends:\n{}", daemon.log_end()))
}

/// Waits until a host has [`VIP`].
pub(crate) fn wait_vip(lab: &Lab, host: &str, daemon: &Daemon) -> Result<()> {
    let vip = VIP.to_string();
    wait_until(&format!("{host} has {vip}"), Duration::from_secs(15), || lab.holds(host, &vip))
        .map(drop)
        .with_context(|| format!("the log ends:\n{}", daemon.log_end()))
}

/// Waits for the machine to have little to do, half a minute at most: the kernel still takes namespaces
/// and programs of the measure before apart.
pub(crate) fn settle() {
    const LOOK: Duration = Duration::from_secs(1);
    const LITTLE: f64 = 0.1;
    for _ in 0..30 {
        let before = Machine::now();
        std::thread::sleep(LOOK);
        if Machine::now().busy_since(&before) < LITTLE {
            return;
        }
    }
}

/// What processes and the machine use while time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Of one CPU, in percent.
    pub(crate) cpu: f64,
    /// This program, that is the senders and clients of a measure, in percent of one CPU.
    pub(crate) own: f64,
    /// The whole machine by its idle time, in percent of one CPU.
    pub(crate) machine: f64,
    /// The same by its ticks.
    pub(crate) ticked: f64,
    /// Per second.
    pub(crate) wakeups: f64,
    /// In MiB.
    pub(crate) resident: f64,
}

impl Load {
    /// Of these processes while `work` runs.
    pub(crate) fn during<T>(pids: &[u32], work: impl FnOnce() -> T) -> (Self, T) {
        let this = [std::process::id()];
        let (machine, before, own) = (Machine::now(), Usage::of(pids), Usage::of(&this));
        let begin = std::time::Instant::now();
        let result = work();
        let seconds = begin.elapsed().as_secs_f64();
        let (used, now) = (Usage::of(pids).since(before), Machine::now());
        let own = Usage::of(&this).since(own);
        let load = Self {
            cpu: 100.0 * used.cpu.as_secs_f64() / seconds,
            own: 100.0 * own.cpu.as_secs_f64() / seconds,
            machine: 100.0 * now.busy_since(&machine),
            ticked: 100.0 * now.ticked_since(&machine),
            wakeups: used.wakeups as f64 / seconds,
            resident: Memory::of(pids).resident as f64 / 1024.0,
        };
        (load, result)
    }
}

/// When each virtual router spoke, in milliseconds.
pub(crate) fn times_by_router(adverts: &[SeenAdvert]) -> BTreeMap<u8, Vec<f64>> {
    let mut by_router = BTreeMap::<u8, Vec<f64>>::new();
    for seen in adverts {
        by_router.entry(seen.advert.vrid).or_default().push(ms(seen.at));
    }
    by_router
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// From one moment to another in milliseconds, negative if the other is earlier.
pub(crate) fn between(from: Duration, to: Duration) -> f64 {
    ms(to) - ms(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_are_those_of_the_protocol() {
        let interval = Interval { ms: 10 };
        assert!((interval.skew() - 6.09375).abs() < 1e-9);
        assert!((interval.down() - 36.09375).abs() < 1e-9);
        assert_eq!((interval.seconds(), interval.told()), ("0.01".to_owned(), "10 ms".to_owned()));
        assert_eq!(Interval { ms: 1000 }.told(), "1 s");
        assert_eq!(interval.times(2.5, 100), Duration::from_millis(125));
    }

    #[test]
    fn many_instances_have_an_address_and_a_vrid_each() {
        let text = many(255, 200, Interval { ms: 20 });
        assert_eq!(text.matches("vrrp_instance").count(), 255);
        assert!(text.contains("192.0.4.5/32") && text.contains("virtual_router_id 255"));
        assert!(text.contains("advert_int 0.02"));
    }

    #[test]
    fn times_are_compared_to_the_microsecond() {
        let at = |micros| Duration::from_secs(1_800_000_000) + Duration::from_micros(micros);
        assert!((between(at(5), at(1)) + 0.004).abs() < 5e-4);
    }
}
