//! In the steady state the protocol thread of a running daemon allocates nothing, as MASTER and as BACKUP by either way
//! that adverts come: it is watched at the functions of the C library that give memory. Needs root.
#![expect(unsafe_code, reason = "no crate here calls perf_event_open")]

use std::fs::{self, File};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::generator::{Beat, Generator};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Lab, inject, wait_until};

const VRIDS: u8 = 50;
const LIMIT: Duration = Duration::from_secs(30);
/// A machine that stands still for longer than an interval has that told, which takes memory now and then: so
/// many times are looked at, and one without it is enough.
const WINDOWS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(2);
/// What the kernel can stop at, in a process that runs.
const UPROBE: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Where memory comes from.
const SOURCES: [(&str, *const ()); 5] = [
    ("malloc", libc::malloc as *const ()),
    ("calloc", libc::calloc as *const ()),
    ("realloc", libc::realloc as *const ()),
    ("posix_memalign", libc::posix_memalign as *const ()),
    ("aligned_alloc", libc::aligned_alloc as *const ()),
];

/// Counts how often one thread asks for memory.
struct Allocations(Vec<File>);

impl Allocations {
    /// From now on; of a thread of a process that uses the same C library as this one.
    fn of(thread: u32) -> Result<Self> {
        let count = |(name, function): &(&str, *const ())| {
            let counter = Place::of(*function).and_then(|place| place.count(thread));
            counter.with_context(|| format!("{name} can't be watched"))
        };
        SOURCES.iter().map(count).collect::<Result<_>>().map(Self)
    }

    /// How many there were so far.
    fn so_far(&mut self) -> Result<u64> {
        let mut sum = 0;
        for counter in &mut self.0 {
            let mut number = [0; 8];
            counter.read_exact(&mut number)?;
            sum += u64::from_ne_bytes(number);
        }
        Ok(sum)
    }

    fn during(&mut self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        let before = self.so_far()?;
        work()?;
        Ok(self.so_far()? - before)
    }
}

/// A function in a file that processes have mapped.
struct Place {
    file: std::ffi::CString,
    offset: u64,
}

impl Place {
    /// Where a function of this process comes from.
    fn of(function: *const ()) -> Result<Self> {
        let address = function as u64;
        let maps = fs::read_to_string("/proc/self/maps")?;
        // proc_pid_maps(5): from and to, permissions, offset, device, inode, file.
        let its = |line: &str| -> Option<Self> {
            let mut fields = line.split_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).ok());
            let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
            let file = std::ffi::CString::new(fields.nth(2)?).ok()?;
            let within = (from?..to?).contains(&address);
            within.then(|| Self { file, offset: address - from.unwrap_or_default() + offset })
        };
        maps.lines().find_map(its).context("it is in no file")
    }

    /// Counts from now on how often a thread comes by.
    fn count(&self, thread: u32) -> Result<File> {
        /// `struct perf_event_attr` as it was at first, which the kernel still takes.
        #[repr(C)]
        struct Attributes {
            kind: u32,
            size: u32,
            config: u64,
            sampling: [u64; 3],
            flags: u64,
            wakeup: u32,
            breakpoint: u32,
            file: u64,
            offset: u64,
        }
        let attributes = Attributes {
            kind: fs::read_to_string(UPROBE)?.trim().parse()?,
            size: size_of::<Attributes>() as u32,
            config: 0,
            sampling: [0; 3],
            flags: 0,
            wakeup: 0,
            breakpoint: 0,
            file: self.file.as_ptr() as u64,
            offset: self.offset,
        };
        let [any_cpu, no_group, close_on_exec] = [-1, -1, 8].map(libc::c_long::from);
        // SAFETY: the kernel reads as much of `attributes` as `size` says, and the name that it points to.
        let opened = unsafe {
            let call = libc::SYS_perf_event_open;
            libc::syscall(call, &raw const attributes, thread, any_cpu, no_group, close_on_exec)
        };
        if opened < 0 {
            return Err(std::io::Error::last_os_error()).context("perf_event_open");
        }
        // SAFETY: the kernel has just given it, to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(opened)?) }.into())
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 3, vrid)
}

fn conf(priority: u8, datapath: &str) -> String {
    let instance = |vrid: u8| {
        Instance::new(priority)
            .named(&format!("VI_{vrid}"), vrid)
            .every("0.01")
            .holding(&[&format!("{}/32", address(vrid))])
    };
    let conf = Conf::new(3).global(&format!("vrrp_datapath {datapath}"));
    (1..=VRIDS).map(instance).fold(conf, Conf::with).text()
}

/// A better router's adverts for all of them.
fn better(lab: &Lab) -> Result<Generator> {
    let beat = |vrid| Beat {
        source: Ipv4Addr::new(192, 0, 2, 101),
        version: 3,
        vrid,
        priority: 200,
        interval_ms: 10,
        addresses: vec![address(vrid)],
        password: None,
    };
    let frames = (1..=VRIDS).map(|vrid| beat(vrid).frame()).collect();
    Generator::in_step(lab.ns("gen"), frames, Duration::from_millis(10))
}

/// The least that the protocol thread allocates in a while.
fn least(daemon: &Daemon) -> Result<u64> {
    let mut counted = Allocations::of(inject::thread(daemon.worker()?, "xvrrp-protocol")?)?;
    let mut least = u64::MAX;
    for _ in 0..WINDOWS {
        let wait = || {
            std::thread::sleep(WINDOW);
            Ok(())
        };
        least = least.min(counted.during(wait)?);
        if least == 0 {
            break;
        }
    }
    // What is seen of it at all: `status` is answered by it.
    let asked = counted.during(|| daemon.status().map(drop))?;
    ensure!(asked > 0, "nothing is counted");
    Ok(least)
}

fn in_state(daemon: &Daemon, state: &str) -> Result<()> {
    let all = || {
        let Ok(status) = daemon.status() else { return false };
        let is = |name: &str| status.instance(name).is_ok_and(|one| one.state() == state);
        status.names().into_iter().all(is)
    };
    wait_until(&format!("all are {state}"), LIMIT, all).map(drop)
}

fn leading() -> Result<u64> {
    let lab = Lab::new(&["r1"])?;
    let daemon = lab.run("r1", &conf(100, "auto"))?;
    in_state(&daemon, "MASTER")?;
    // Until all is announced for the second time.
    pause(6000);
    least(&daemon)
}

fn following(datapath: &str) -> Result<u64> {
    let lab = Lab::new(&["r1", "gen"])?;
    // First: a BACKUP that hears nobody would lead.
    let generator = better(&lab)?;
    let daemon = lab.run("r1", &conf(100, datapath))?;
    in_state(&daemon, "BACKUP")?;
    let status = daemon.status()?;
    let (path, why) = status.datapath("eth0")?;
    ensure!((path == "socket") == (datapath == "socket"), "{datapath} is {path}: {why}");
    pause(1000);
    let least = least(&daemon)?;
    generator.finish()?;
    Ok(least)
}

#[test]
fn the_protocol_thread_allocates_nothing() -> Result<()> {
    if !fs::exists(UPROBE)? {
        eprintln!("this kernel can't watch functions: not tried");
        return Ok(());
    }
    let counted = [leading()?, following("auto")?, following("socket")?];
    ensure!(counted == [0; 3], "MASTER, BACKUP by XDP, BACKUP by the socket: {counted:?}");
    Ok(())
}
