//! What the protocol thread of a running daemon never does in the steady state, as MASTER and as BACKUP by either way
//! that adverts come: it asks for no memory, and sleeps nowhere but where it waits for what comes, whatever others
//! do beside it. Needs root.

mod allocations;
mod calls;
mod perf;

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allocations::Allocations;
use anyhow::{Context as _, Result, ensure};
use calls::{Call, Calls, Place, Seen};
use nix::sys::stat::Mode;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::generator::{Beat, Generator, bad_adverts};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, inject, wait_until};

const VRIDS: u8 = 50;
/// Of each virtual router.
const ADDRESSES: u8 = 4;
const LIMIT: Duration = Duration::from_secs(60);
/// A machine that stands still for longer than an interval has that told, which takes memory and wakes another
/// thread now and then: so many times are looked at, and one without it is enough.
const WINDOWS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(2);

/// What there is to do for adverts and timers.
const STEADY: [Call; 6] = [
    Call::Wait,
    Call::Look,
    Call::Other(libc::SYS_timerfd_settime),
    // Through sockets that never block.
    Call::Other(libc::SYS_sendmmsg),
    Call::Other(libc::SYS_recvmmsg),
    // Where the processor's own counter is no clock.
    Call::Other(libc::SYS_clock_gettime),
];
/// What orders and notices take beside that.
const ASKED: [Call; 5] = [
    Call::Wake,
    // Wakes the service thread.
    Call::Other(libc::SYS_write),
    // That a signal came to the process, which tokio has all its runtimes look at.
    Call::Other(libc::SYS_recvfrom),
    // How many frames were lost.
    Call::Other(libc::SYS_getsockopt),
    // Another filter.
    Call::Other(libc::SYS_setsockopt),
];
/// What memory for those takes. The allocator's lock is the one other place to sleep in: what a thread asked for
/// and another one gives back, both take it for.
const MEMORY: [Call; 4] = [
    Call::WaitInLibrary,
    Call::Other(libc::SYS_mprotect),
    Call::Other(libc::SYS_mmap),
    Call::Other(libc::SYS_munmap),
];

/// A daemon in the steady state.
struct Scene {
    // Dropped in this order.
    daemon: Daemon,
    /// Of a better router's adverts.
    better: Option<Generator>,
    datapath: &'static str,
    /// The end of its log's pipe that nobody reads.
    _log: Option<File>,
    lab: Lab,
}

impl Scene {
    fn leading(hangs: bool) -> Result<Self> {
        let lab = Lab::new(&["r1", "gen"])?;
        let (daemon, log) = started(&lab, &conf(VRIDS, 100, "auto"), hangs)?;
        in_state(&daemon, "MASTER")?;
        // Until all is announced for the second time.
        pause(6000);
        Ok(Self { daemon, better: None, datapath: "auto", _log: log, lab })
    }

    fn following(datapath: &'static str, hangs: bool) -> Result<Self> {
        let lab = Lab::new(&["r1", "gen"])?;
        // First: a BACKUP that hears nobody would lead.
        let better = better(&lab)?;
        let (daemon, log) = started(&lab, &conf(VRIDS, 100, datapath), hangs)?;
        in_state(&daemon, "BACKUP")?;
        let status = daemon.status()?;
        let (path, why) = status.datapath("eth0")?;
        ensure!((path == "socket") == (datapath == "socket"), "{datapath} is {path}: {why}");
        pause(1000);
        Ok(Self { daemon, better: Some(better), datapath, _log: log, lab })
    }

    fn thread(&self) -> Result<u32> {
        inject::thread(self.daemon.worker()?, "xvrrp-protocol")
    }

    /// What others do beside it, on a machine that has enough to do already.
    fn bother(&mut self) -> Result<()> {
        let _hogs = [Hog::start(), Hog::start(), Hog::start()];
        let (daemon, lab) = (&self.daemon, &self.lab);
        // On such a machine it may be late, which is not what this is about.
        let ask = || drop(daemon.status());
        for turn in 1..=10 {
            ask();
            // One of them goes and comes.
            daemon.reload(&conf(VRIDS - turn % 2, 101 + turn % 2, self.datapath))?;
            pause(100);
        }
        // Each is told now and then.
        let bad = bad_adverts(Ipv4Addr::new(192, 0, 2, 101), VRIDS, addresses(VRIDS)[0]);
        let flood = Generator::at_full_speed(lab.ns("gen"), bad)?;
        pause(500);
        flood.finish()?;
        // All addresses off and on.
        for _ in 0..2 {
            self.better = match self.better.take() {
                Some(better) => better.finish().map(|_| None)?,
                None => Some(better(lab)?),
            };
            pause(1000);
            ask();
        }
        Ok(())
    }
}

/// Has a CPU busy until it is dropped.
struct Hog(Arc<AtomicBool>);

impl Hog {
    fn start() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let end = Arc::clone(&end);
            move || {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        Self(end)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn addresses(vrid: u8) -> Vec<Ipv4Addr> {
    (0..ADDRESSES).map(|net| Ipv4Addr::new(192, 0, 3 + net, vrid)).collect()
}

fn conf(vrids: u8, priority: u8, datapath: &str) -> String {
    let instance = |vrid: u8| {
        let addresses: Vec<String> = addresses(vrid).iter().map(|ip| format!("{ip}/32")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        Instance::new(priority)
            .named(&format!("VI_{vrid}"), vrid)
            .every("0.01")
            .holding(&addresses)
            .line("notify \"/bin/sh -c :\"")
            .track("track_script", &["check"])
    };
    let conf = Conf::new(3)
        .global(&format!("vrrp_datapath {datapath}"))
        .global("script_user root")
        .script("check", &["script \"/bin/sh -c :\"", "interval 1"]);
    (1..=vrids).map(instance).fold(conf, Conf::with).text()
}

/// A better router's adverts for all of them.
fn better(lab: &Lab) -> Result<Generator> {
    let beat = |vrid| Beat {
        source: Ipv4Addr::new(192, 0, 2, 101),
        version: 3,
        vrid,
        priority: 200,
        interval_ms: 10,
        addresses: addresses(vrid),
        password: None,
    };
    let frames = (1..=VRIDS).map(|vrid| beat(vrid).frame()).collect();
    Generator::in_step(lab.ns("gen"), frames, Duration::from_millis(10))
}

/// `hangs`: whoever reads the log, which is the end beside it.
fn started(lab: &Lab, conf: &str, hangs: bool) -> Result<(Daemon, Option<File>)> {
    if !hangs {
        return Ok((lab.run("r1", conf)?, None));
    }
    let pipe = lab.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)?;
    // Without waiting for the other end, which is to find this one.
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe)?;
    let line = format!("exec \"$@\" 2>{}", pipe.display());
    let through = ["sh", "-c", &line, "sh"];
    let daemon = Daemon::start_through(lab, Kind::Xvrrp, "r1", conf, &through)?;
    Ok((daemon, Some(reader)))
}

fn in_state(daemon: &Daemon, state: &str) -> Result<()> {
    let all = || {
        let Ok(status) = daemon.status() else { return false };
        let is = |name: &str| status.instance(name).is_ok_and(|one| one.state() == state);
        status.names().into_iter().all(is)
    };
    wait_until(&format!("all are {state}"), LIMIT, all).map(drop)
}

/// The least that the protocol thread allocates in a while.
fn least(scene: &Scene) -> Result<u64> {
    let mut counted = Allocations::of(scene.thread()?)?;
    let mut least = u64::MAX;
    for _ in 0..WINDOWS {
        least = least.min(counted.during(sleep)?);
        if least == 0 {
            break;
        }
    }
    // What is seen of it at all: `status` is answered by it.
    let asked = counted.during(|| scene.daemon.status().map(drop))?;
    ensure!(asked > 0, "nothing is counted");
    Ok(least)
}

fn sleep() -> Result<()> {
    std::thread::sleep(WINDOW);
    Ok(())
}

#[test]
fn the_protocol_thread_allocates_nothing() -> Result<()> {
    if !fs::exists(perf::UPROBE)? {
        eprintln!("this kernel can't watch functions: not tried");
        return Ok(());
    }
    let leading = least(&Scene::leading(false)?)?;
    let [native, socket] = ["auto", "socket"].map(|path| least(&Scene::following(path, false)?));
    let counted = [leading, native?, socket?];
    ensure!(counted == [0; 3], "MASTER, BACKUP by XDP, BACKUP by the socket: {counted:?}");
    Ok(())
}

/// The calls that are in none of these lists.
fn beyond(seen: &Seen, lists: &[&[Call]]) -> Vec<String> {
    let is_listed = |call: &Call| lists.iter().any(|list| list.contains(call));
    let calls = seen.calls.iter().filter(|(call, _)| !is_listed(call));
    calls.map(|(call, times)| format!("{call} ({times})")).collect()
}

/// Where it slept, but for calls of this list.
fn asleep(seen: &Seen, list: &[Call]) -> Vec<String> {
    let is_listed = |place: &Place| list.iter().any(|call| *place == Place::Kernel(*call));
    let places = seen.slept.iter().filter(|(place, _)| !is_listed(place));
    places.map(|(place, times)| format!("{place} ({times})")).collect()
}

/// Fails where the thread makes a call that it is not to make, or sleeps where it is not to.
fn only_waits(mut scene: Scene) -> Result<()> {
    let mut calls = Calls::of(scene.lab.ns("r1"), scene.thread()?)?;
    let mut told = Vec::new();
    for _ in 0..WINDOWS {
        let seen = calls.during(sleep)?;
        let slept = asleep(&seen, &[]);
        ensure!(slept.is_empty(), "in the steady state it slept in {slept:?}");
        told = beyond(&seen, &[&STEADY]);
        if told.is_empty() {
            break;
        }
    }
    ensure!(told.is_empty(), "in the steady state it called {told:?}");
    let seen = calls.during(|| scene.bother())?;
    let slept = asleep(&seen, &MEMORY);
    ensure!(slept.is_empty(), "while others did much it slept in {slept:?}");
    let called = beyond(&seen, &[&STEADY, &ASKED, &MEMORY]);
    ensure!(called.is_empty(), "while others did much it called {called:?}");
    Ok(())
}

#[test]
fn the_protocol_thread_sleeps_only_to_wait_for_what_comes() -> Result<()> {
    if !fs::exists(calls::TRACING)? {
        eprintln!("this kernel can't watch system calls: not tried");
        return Ok(());
    }
    only_waits(Scene::leading(true)?).context("MASTER")?;
    for path in ["auto", "socket"] {
        only_waits(Scene::following(path, true)?).with_context(|| format!("BACKUP, {path}"))?;
    }
    Ok(())
}
