//! What is lost is counted where the operator looks.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::xvrrp;
use vrrp_tests::process::sent_packets;
use vrrp_tests::wait::{pause, together, urgent};
use vrrp_tests::{Daemon, Kind, Lab, cases, packet, wait_until};

use super::{GAP, LIMIT, VIP};

/// More than the ring and the socket hold together.
const FLOOD: u64 = 16_000;

#[test]
fn a_flood_while_frozen_is_accounted_for() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("native", || flooded("xdp")), ("socket", || flooded("socket"))])
}

fn flooded(path: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let conf = Instance::new(100).alone(2);
    let r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &conf, &["--datapath", path])?;
    r1.wait_log("Entering BACKUP STATE", LIMIT)?;
    pause(300);
    let good = cases::frame("P01-v2-header", "good");
    let taken = || lab.switch().enter(|| Ok(sent_packets("p-r1").unwrap_or(0)));
    let before = taken()?;
    r1.freeze();
    lab.ns("gen").enter(|| {
        let socket = packet::open("eth0")?;
        // Within the time that a sender may be silent, whatever else runs.
        urgent();
        for number in 0..FLOOD {
            packet::send(&socket, &good)?;
            // Slowly enough for the queues between the ends.
            if number % 32 == 0 {
                std::thread::sleep(Duration::from_micros(500));
                // The other end's CPU may be held up.
                wait_until("they are through", LIMIT, || {
                    taken().is_ok_and(|is| is >= before + number)
                })?;
            }
        }
        Ok(())
    })?;
    pause(300);
    r1.thaw();
    let mut told = String::new();
    wait_until("all are accounted for", LIMIT, || {
        let counts = || -> Result<(u64, u64, u64)> {
            let status = r1.status()?;
            let instance = status.instance("VI_1")?;
            let full = instance.counter("ring_full");
            Ok((instance.counter("accepted"), full, status.lost("eth0")?))
        };
        let Ok((accepted, full, lost)) = counts() else { return false };
        told = format!("{accepted} accepted, {full} found the ring full, {lost} lost of {FLOOD}");
        // Each is one of these, and most of them were heard.
        let ring = if path == "xdp" { full > lost } else { full == 0 };
        accepted + lost == FLOOD && lost > 0 && accepted > 1000 && ring
    })
    .with_context(|| format!("{told}; {}", r1.log_end()))?;
    let run_dir = r1.run_dir().display().to_string();
    let shown = xvrrp(&["status", "--run-dir", &run_dir])?.stdout;
    let shown = String::from_utf8_lossy(&shown);
    ensure!(shown.contains("frames lost for want of room"), "{shown}");
    // The sender is alive in what was heard, however late.
    ensure!(r1.status()?.instance("VI_1")?.state() == "BACKUP", "{}", r1.log_end());
    Ok(())
}

/// Nobody reads the log: the adverts go on, and what was lost is said when somebody does.
#[test]
fn lost_log_lines_are_counted_and_hold_nothing_up() -> Result<()> {
    /// More than wait for a reader, with what the pipe holds, in so many reloads.
    const RELOADS: usize = 14;
    const LINES: usize = 2000;
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let pipe = lab.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)?;
    // Without waiting for the other end, which is to find this one.
    let reader =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe)?;
    let line = format!("exec \"$@\" 2>{}", pipe.display());
    // Each is a keyword without effect, and one line at each reload.
    let ignored = "    enable_snmp_vrrp\n".repeat(LINES);
    let conf =
        |priority| format!("global_defs {{\n{ignored}}}\n") + &Instance::new(priority).alone(3);
    let mut r1 =
        Daemon::start_through(&lab, Kind::Xvrrp, "r1", &conf(100), &["sh", "-c", &line, "sh"])?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    for turn in 1..=RELOADS as u8 {
        let priority = 100 + turn;
        r1.reload(&conf(priority))?;
        // Each of them: two signals in a row may be one.
        wait_until("it is read", LIMIT, || {
            r1.status().is_ok_and(|status| {
                status.instance("VI_1").is_ok_and(|one| one.identity().1 == u64::from(priority))
            })
        })?;
    }
    pause(2000);
    let at: Vec<_> = wire.adverts_of("r1").iter().map(|seen| seen.at).collect();
    let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().context("no adverts")?;
    ensure!(gap < GAP, "{gap:?} between two adverts");
    // From now on somebody reads.
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
    let all = std::thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).collect::<Vec<_>>()
    });
    pause(300);
    let status = r1.stop()?;
    ensure!(status.success(), "exit {status}");
    let lines = all.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    let lost: usize = lines.iter().filter_map(|line| lost(line)).sum();
    let seen = lines.iter().filter(|line| line.contains("enable_snmp_vrrp")).count();
    ensure!(lost > 0 && seen > 1000, "{lost} lost, {seen} seen of {}", lines.len());
    let sent = (RELOADS + 1) * LINES;
    // Some of the lost are others.
    ensure!((sent..sent + 100).contains(&(seen + lost)), "{lost} lost, {seen} seen of {sent}");
    Ok(())
}

/// How many lines a "lost" line stands for.
fn lost(line: &str) -> Option<usize> {
    line.split_once("WARN ")?.1.split_once(" log line")?.0.parse().ok()
}
