//! The link: lost and back, shared with other daemons, unfit for native XDP.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::status::Status;
use vrrp_tests::wait::{BUSY, is_about, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, now, packet, wait_until};

const VIP: &str = "192.0.2.250";
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn b44_link_down_and_up() -> Result<()> {
    together(&[
        ("the cable is pulled", || link_lost(|lab, up| lab.carrier("r1", up))),
        ("the link is set down", || {
            link_lost(|lab, up| {
                let state = if up { "up" } else { "down" };
                lab.ns("r1").ip(&format!("link set eth0 {state}")).map(drop)
            })
        }),
        ("dont_track_primary", untracked_link),
        ("no carrier", untracked_without_carrier),
        ("over IPv6", waits_for_a_link_local),
    ])
}

fn link_lost(set: impl Fn(&Lab, bool) -> Result<()>) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = lab.run("r1", &Instance::new(150).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let _r2 = lab.run("r2", &Instance::new(100).alone(2))?;
    pause(2000);
    set(&lab, false)?;
    // Before r2 has waited long enough; a second of that the kernel may keep the news to itself.
    let at_once = Duration::from_millis(3000);
    r1.wait_log("Entering FAULT", at_once)?;
    wait_until("r1 lets go", at_once, || !lab.holds("r1", VIP))?;
    let last = wire.adverts_of("r1").pop().context("r1 never spoke")?.at;
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    let spoke = wire.adverts_of("r2").first().context("r2 is silent")?.at;
    let waited = spoke - last;
    ensure!(is_about(waited, Duration::from_millis(3609)), "r2 MASTER after {waited:?}");
    pause(1500);

    let back = now();
    set(&lab, true)?;
    wait_until("r1 is MASTER again", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r1"])
        .with_context(|| r1.log_end())?;
    let first = wire.adverts_of("r1").into_iter().find(|seen| seen.at > back);
    let waited = first.context("r1 is silent")?.at - back;
    let window = Duration::from_millis(3350)..Duration::from_millis(5000) + BUSY;
    ensure!(window.contains(&waited), "r1 spoke {waited:?} after its link was back");
    wait_until("it is logged", LIMIT, || r1.count_log("Entering MASTER") > 1)?;
    let words = r1.log();
    let order = ["Entering MASTER", "Entering FAULT", "Entering BACKUP", "Entering MASTER"];
    let mut at = 0;
    for word in order {
        let found = words[at..].find(word).with_context(|| format!("no {word} in time"))?;
        at += found + word.len();
    }
    Ok(())
}

fn untracked_link() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let r1 = lab.run("r1", &Instance::new(150).line("dont_track_primary").alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    lab.carrier("r1", false)?;
    pause(3000);
    ensure!(lab.holds("r1", VIP), "r1 let go");
    ensure!(r1.count_log("FAULT") == 0, "FAULT in spite of dont_track_primary");
    lab.carrier("r1", true)?;
    let wire = lab.capture("client")?;
    pause(2500);
    ensure!(!wire.adverts_of("r1").is_empty(), "r1 is silent");
    Ok(())
}

fn state(r1: &Daemon) -> Result<String> {
    Ok(r1.status()?.instance("VI_1")?.state().to_owned())
}

/// A crossed cable whose other end is off.
fn untracked_without_carrier() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    lab.carrier("r1", false)?;
    let r1 = lab.run("r1", &Instance::new(150).line("dont_track_primary").alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    ensure!(r1.count_log("FAULT") == 0, "FAULT in spite of dont_track_primary: {}", r1.log());
    if Kind::ours_under_test() {
        let old = r1.worker()?;
        vrrp_tests::daemon::signal(old, nix::sys::signal::Signal::SIGKILL);
        wait_until("it is replaced", LIMIT, || r1.worker().is_ok_and(|new| new != old))?;
        wait_until("it serves", LIMIT, || state(&r1).is_ok_and(|state| state == "MASTER"))
            .with_context(|| r1.log_end())?;
        pause(500);
        ensure!(lab.holds("r1", VIP) && r1.count_log("FAULT") == 0, "{}", r1.log());
    }
    Ok(())
}

/// Over IPv6 it waits for a link-local address that no other host has: at its start, and when the link is
/// back.
fn waits_for_a_link_local() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let host = lab.ns("r1");
    let is_advert =
        |frame: &[u8]| (frame.get(12..14)? == [0x86, 0xdd] && *frame.get(20)? == 112).then_some(());
    let wire = Capture::of(lab.ns("client"), "eth0", is_advert)?;
    let is_tried = || -> Result<bool> {
        Ok(host.ip("-6 -o addr show dev eth0 tentative")?.contains("fe80::ff:fe00:b"))
    };
    // It is tried for so many seconds whether another host has the address.
    let link_up = |seconds| {
        host.ip("link set eth0 down")?;
        host.sysctl("net.ipv6.conf.eth0.dad_transmits", seconds)?;
        host.ip("link set eth0 up")?;
        wait_until("its address is tried", LIMIT, || is_tried().unwrap_or(false))
    };
    let waits = |r1: &Daemon, spoken: usize| {
        let mut looks = 0;
        loop {
            let (state, spoke) = (state(r1).ok(), wire.seen().len() - spoken);
            if !is_tried()? {
                break;
            }
            let Some(state) = state else { continue };
            ensure!(state == "FAULT" && spoke == 0, "{state}, {spoke} adverts: {}", r1.log_end());
            looks += 1;
        }
        ensure!(looks > 0, "never looked at while it is tried");
        let is_master = || state(r1).is_ok_and(|state| state == "MASTER");
        wait_until("r1 is MASTER", LIMIT, is_master).with_context(|| r1.log_end())?;
        wait_until("r1 speaks", LIMIT, || wire.seen().len() > spoken).map(drop)
    };
    link_up(8)?;
    let v6 = Instance::new(150).every("0.2").holding(&["fe80::5e00:250/64"]);
    let r1 = lab.run("r1", &v6.alone(3))?;
    waits(&r1, 0)?;
    host.ip("link set eth0 down")?;
    r1.wait_log("Entering FAULT STATE: the interface is down", LIMIT)?;
    let spoken = wire.seen().len();
    link_up(2)?;
    waits(&r1, spoken)
}

const ELSEWHERE: &str = "198.18.0.250";

/// Two links, two instances, one state: where one link is lost, the other one is released.
#[test]
fn b53_sync_group_one_member_down() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let told = lab.dir().join("told");
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\n", told.display());
    let notify = format!("notify \"{}\"", lab.write("told.sh", &script)?.display());
    let conf = |priority: u8, lines: &[&str]| {
        let second = Instance::new(priority).named("VI_2", 52).on("eth1");
        Conf::new(2)
            .global("script_user root")
            .with(Instance::new(priority))
            .with(second.holding(&[&format!("{ELSEWHERE}/24")]))
            .group("G", &["VI_1", "VI_2"], lines)
            .text()
    };
    let both = |hosts: &[&str]| {
        [VIP, ELSEWHERE].iter().all(|address| lab.holders(&["r1", "r2"], address) == hosts)
    };
    let r1 = lab.run("r1", &conf(150, &[&notify]))?;
    wait_until("r1 is MASTER of both", LIMIT, || both(&["r1"])).with_context(|| r1.log_end())?;
    let r2 = lab.run("r2", &conf(100, &[]))?;
    // It takes over at once only where it has listened for a whole Master_Down_Interval.
    pause(4000);
    let begin = now();
    lab.second_carrier("r1", false)?;
    wait_until("r2 is MASTER of both", LIMIT, || both(&["r2"]))
        .with_context(|| format!("{}\n{}", r1.log_end(), r2.log_end()))?;
    let released = wire.adverts_of("r1").into_iter().find(|seen| seen.advert.priority == 0);
    let released = released.context("r1 did not release")?.at;
    let spoke = wire.adverts_of("r2").into_iter().find(|seen| seen.at > begin);
    let waited = spoke.context("r2 is silent")?.at - released;
    // keepalived waits until three adverts are missed on the other link.
    let longest = if Kind::ours_under_test() { 1000 } else { 4000 };
    ensure!(waited < Duration::from_millis(longest) + BUSY, "r2 MASTER after {waited:?}");
    lab.second_carrier("r1", true)?;
    wait_until("r1 is MASTER of both again", LIMIT, || both(&["r1"]))
        .with_context(|| format!("{}\n{}", r1.log_end(), r2.log_end()))?;
    let lines = || std::fs::read_to_string(&told).map_or(0, |all| all.lines().count());
    wait_until("all is told", LIMIT, || lines() > 4)?;
    pause(500);
    let told = std::fs::read_to_string(&told).unwrap_or_default();
    let states = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"];
    let right: Vec<String> = states.iter().map(|state| format!("GROUP G {state} 0")).collect();
    ensure!(told.lines().eq(right.iter().map(String::as_str)), "told {told:?}");
    Ok(())
}

/// An instance that has its address on another interface than its own.
fn elsewhere(priority: u8, options: &str) -> Instance {
    Instance::new(priority).every("0.2").holding(&[&format!("{ELSEWHERE}/24 dev eth1 {options}")])
}

/// Whoever can't hold an address is not its MASTER.
#[test]
fn the_interface_of_an_address_goes_down() -> Result<()> {
    together(&[
        ("set down", || {
            elsewhere_lost(&[], |lab, up| {
                let state = if up { "up" } else { "down" };
                lab.ns("r1").ip(&format!("link set eth1 {state}")).map(drop)
            })
        }),
        ("the cable is pulled, with use_vmac_addr", || {
            elsewhere_lost(&["use_vmac_addr", "dont_track_primary"], |lab, up| {
                let state = if up { "up" } else { "down" };
                lab.switch().ip(&format!("link set q-r1 {state}")).map(drop)
            })
        }),
        ("no_track", elsewhere_untracked),
    ])
}

fn elsewhere_lost(lines: &[&str], set: impl Fn(&Lab, bool) -> Result<()>) -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    let conf = |priority| {
        let all = lines.iter().fold(elsewhere(priority, ""), |one, line| one.line(line));
        all.alone(3)
    };
    let r1 = lab.run("r1", &conf(150))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", ELSEWHERE))?;
    let _r2 = lab.run("r2", &conf(100))?;
    set(&lab, false)?;
    wait_until("r2 is MASTER", LIMIT, || lab.holders(&["r1", "r2"], ELSEWHERE) == ["r2"])
        .with_context(|| r1.log_end())?;
    if Kind::ours_under_test() {
        let why = format!("interface eth1 of {ELSEWHERE} is down");
        r1.wait_log(&format!("Entering FAULT STATE: {why}"), LIMIT)?;
        ensure!(
            r1.status()?.instance("VI_1")?.why() == why,
            "{}",
            r1.status()?.instance("VI_1")?.why()
        );
    }
    set(&lab, true)?;
    wait_until("r1 is MASTER again", LIMIT, || lab.holders(&["r1", "r2"], ELSEWHERE) == ["r1"])
        .with_context(|| r1.log_end())?;
    Ok(())
}

fn elsewhere_untracked() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1"])?;
    let r1 = lab.run("r1", &elsewhere(150, "no_track").alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", ELSEWHERE))?;
    lab.ns("r1").ip("link set eth1 down")?;
    pause(1000);
    ensure!(r1.count_log("FAULT") == 0, "FAULT in spite of no_track");
    Ok(())
}

/// What is not for our VRID still reaches those whom it is for.
#[test]
fn b58_other_listeners_on_the_host() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "gen"])?;
    let ours = lab.run("r1", &Instance::new(100).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let other =
        |priority| Instance::new(priority).named("VI_2", 52).holding(&["192.0.2.251/24"]).alone(2);
    let _peer = lab.start(Kind::Keepalived, "r2", &other(200))?;
    wait_until("r2 is MASTER of 52", LIMIT, || lab.holds("r2", "192.0.2.251"))?;
    // A second daemon on r1; its files must not be those of the first.
    let conf = lab.write("second.conf", &other(100))?;
    let mut command = lab.ns("r1").command("keepalived");
    command.args(["-n", "-l", "-D", "-P", "--use-file"]).arg(conf);
    command.arg("--pid").arg(lab.dir().join("second.pid"));
    command.arg("--vrrp_pid").arg(lab.dir().join("second.vrrp.pid"));
    let mut second = command.stderr(std::process::Stdio::null()).spawn()?;
    let capture = lab.capture("r1")?;
    pause(5000);
    let stays = !lab.holds("r1", "192.0.2.251");
    for pid in vrrp_tests::daemon::tree(second.id()) {
        vrrp_tests::daemon::signal(pid, nix::sys::signal::Signal::SIGTERM);
    }
    second.wait()?;
    ensure!(stays, "the second daemon did not hear r2");
    let seen = capture.adverts_of("r2").len();
    ensure!(seen >= 4, "a capture on r1 saw {seen} adverts of r2");
    // Not the bare number: the time of a line may have it too.
    let told = ours.count_log("VRID 52") + ours.count_log("192.0.2.12");
    ensure!(told <= 1, "{told} lines about an unknown VRID");

    ospf_passes(&lab)?;
    neighbour_discovery_passes(&lab)
}

/// A frame to OSPF's group, protocol 89, arrives unharmed.
fn ospf_passes(lab: &Lab) -> Result<()> {
    use std::os::fd::AsRawFd;
    let socket = lab.ns("r1").enter(|| packet::open("eth0"))?;
    let mut frame = cases::frame("P01-v2-header", "good");
    frame[5] = 5;
    (frame[23], frame[33]) = (89, 5);
    lab.inject("gen", &frame)?;
    let mut buffer = [0; 2048];
    let flags = nix::sys::socket::MsgFlags::MSG_DONTWAIT;
    wait_until("the frame to 224.0.0.5 arrives", LIMIT, || {
        while let Ok(length) = nix::sys::socket::recv(socket.as_raw_fd(), &mut buffer, flags) {
            if buffer[..length].starts_with(&frame) {
                return true;
            }
        }
        false
    })
    .map(drop)
}

/// gen finds r1's hardware address by IPv6 neighbour discovery.
fn neighbour_discovery_passes(lab: &Lab) -> Result<()> {
    let to: Ipv6Addr = "fe80::ff:fe00:b".parse()?;
    let asked = lab.ns("gen").enter(|| {
        let index = nix::net::if_::if_nametoindex("eth0")?;
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        Ok(socket.send_to(b"?", SocketAddrV6::new(to, 9, 0, index))?)
    });
    asked.context("ask by IPv6")?;
    let found = || {
        let neighbours = lab.ns("gen").ip("-6 neigh show dev eth0").unwrap_or_default();
        neighbours.lines().any(|line| line.contains(&to.to_string()) && line.contains("lladdr"))
    };
    wait_until("r1 is found", LIMIT, found).map(drop)
}

/// Where native XDP can't be had, the same verdicts come by another way.
#[test]
fn b59_no_native_xdp() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("on a macvlan", on_a_macvlan),
        ("beside a foreign program", beside_a_foreign_program),
        ("without the capabilities", without_capabilities),
    ])
}

/// The data path, its reason, and that good and bad frames are told apart on it.
fn same_verdicts(lab: &Lab, daemon: &Daemon, device: &str, paths: &[&str]) -> Result<()> {
    let status = daemon.status()?;
    let (path, why) = status.datapath(device)?;
    ensure!(paths.contains(&path), "{path} on {device}");
    ensure!(!why.is_empty(), "no word why {device} is on {path}");
    let before = status.instance("VI_1")?;
    for name in ["good", "ttl-254", "checksum-plus-one", "version-1"] {
        lab.inject("gen", &cases::frame("P01-v2-header", name))?;
    }
    let judged = |status: &Status| {
        let one = status.instance("VI_1");
        one.map_or(0, |one| one.counter("accepted") + one.refused_at_all())
    };
    let begin = judged(&status);
    let all = || daemon.status().is_ok_and(|status| judged(&status) >= begin + 4);
    wait_until("all are judged", LIMIT, all)?;
    let after = daemon.status()?;
    let after = after.instance("VI_1")?;
    let refused = |reason| after.refused(reason) - before.refused(reason);
    let got = (refused("ttl"), refused("checksum"), refused("version"));
    ensure!(got == (1, 1, 1), "on {path}: {}", after.json());
    ensure!(after.counter("accepted") == before.counter("accepted") + 1, "{}", after.json());
    Ok(())
}

fn on_a_macvlan() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    lab.ns("r1").ip("link add mv0 link eth0 type macvlan mode bridge")?;
    lab.ns("r1").ip("addr add 192.0.2.21/24 dev mv0")?;
    lab.ns("r1").ip("link set mv0 up")?;
    let daemon = lab.run("r1", &Instance::new(100).on("mv0").alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    same_verdicts(&lab, &daemon, "mv0", &["generic", "socket"])
}

fn beside_a_foreign_program() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    // Another xvrrp's program is as foreign as any.
    let first = Instance::new(100).named("VI_2", 52).holding(&["192.0.2.251/24"]).alone(2);
    let conf = lab.write("first.conf", &first)?;
    let run_dir = lab.dir().join("first.run");
    let binary = vrrp_tests::daemon::xvrrp_binary().display().to_string();
    let mut command = lab.ns("r1").command(&binary);
    command.args(["run", "-f"]).arg(conf).arg("--run-dir").arg(run_dir);
    let mut foreign = command.stderr(std::process::Stdio::null()).spawn()?;
    let program = || lab.ns("r1").sh("ip -d link show eth0 | grep -o 'xdp.* id [0-9]*'");
    wait_until("a program is attached", LIMIT, || program().is_ok())?;
    let before = program()?;
    let mut daemon = lab.run("r1", &Instance::new(100).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let verdicts = same_verdicts(&lab, &daemon, "eth0", &["socket"]);
    let during = program()?;
    daemon.stop()?;
    let after = program()?;
    for pid in vrrp_tests::daemon::tree(foreign.id()) {
        vrrp_tests::daemon::signal(pid, nix::sys::signal::Signal::SIGTERM);
    }
    foreign.wait()?;
    verdicts?;
    ensure!(before == during && before == after, "replaced: {before} {during} {after}");
    let told = daemon.log().lines().filter(|l| l.contains("eth0") && l.contains("XDP")).count();
    ensure!(told == 1, "{told} lines about it");
    Ok(())
}

fn without_capabilities() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let bound = ["setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"];
    let conf = Instance::new(100).alone(2);
    let daemon = Daemon::start_through(&lab, Kind::under_test(), "r1", &conf, &bound)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| daemon.log_end())?;
    same_verdicts(&lab, &daemon, "eth0", &["socket"])
}
