//! Addresses on other interfaces than the one that adverts leave by.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, now, wait_until};

use super::{LIMIT, brisk, wait_state};

const ELSEWHERE: &str = "203.0.113.250";
const SETTING: &str = "cat /proc/sys/net/ipv4/conf/eth1/promote_secondaries";

#[test]
fn other_interfaces() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("garp_extra_if all", announcements_are_repeated_there),
        ("garp_extra_if", announcements_are_repeated_on_what_it_has_made),
        ("healed", a_winner_is_nowhere_else),
        ("promote_secondaries", secondary_addresses_stay_there),
        ("vrrp_address_lease", a_lease_takes_no_other_with_it),
    ])
}

fn with(lines: &[&str], address: &str) -> String {
    let instance = lines.iter().fold(brisk(100), |instance, line| instance.line(line));
    instance.track("virtual_ipaddress_excluded", &[address]).alone(3)
}

fn master(lab: &Lab, lines: &[&str], address: &str) -> Result<Daemon> {
    let r1 = lab.run("r1", &with(lines, address))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", ELSEWHERE))
        .with_context(|| r1.log_end())?;
    Ok(r1)
}

fn announcements_are_repeated_there() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let (here, there) = (lab.capture("client")?, Capture::start(lab.ns("client"), "eth1")?);
    let lines = ["garp_master_delay 0", "garp_master_repeat 1", "garp_extra_if all 1"];
    let r1 = master(&lab, &lines, "203.0.113.250/24 dev eth1")?;
    let heard = |wire: &Capture, ip: [u8; 4]| wire.announcements(Ipv4Addr::from(ip)).len();
    wait_until("it is announced again and again", LIMIT, || {
        heard(&there, [203, 0, 113, 250]) >= 3
    })?;
    ensure!(heard(&here, [192, 0, 2, 250]) == 1, "repeated where the adverts are");
    drop(r1);
    let before = heard(&there, [203, 0, 113, 250]);
    pause(1500);
    ensure!(heard(&there, [203, 0, 113, 250]) == before, "announced by nobody");
    Ok(())
}

/// Without `all`: where the instance has made the interface, and adverts don't show its MAC address to switches.
fn announcements_are_repeated_on_what_it_has_made() -> Result<()> {
    const VMAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
    const HELD: [&str; 2] = ["203.0.113.250/24 dev eth1", "203.0.113.251/24 dev eth1 use_vmac"];
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let (here, there) = (lab.capture("client")?, Capture::start(lab.ns("client"), "eth1")?);
    let lines = ["use_vmac", "garp_master_delay 0", "garp_master_repeat 1", "garp_extra_if 1"];
    let conf = |more: &[&str]| {
        let lines = lines.iter().chain(more);
        let one = lines.fold(brisk(100), |instance, line| instance.line(line));
        one.track("virtual_ipaddress_excluded", &HELD).alone(3)
    };
    let heard = |wire: &Capture, ip: [u8; 4]| {
        let all = wire.announcements(Ipv4Addr::from(ip)).into_iter();
        all.map(|(_, mac)| mac).collect::<Vec<_>>()
    };
    let on_base = lab.run("r1", &conf(&["vmac_xmit_base"]))?;
    for (wire, ip) in [(&here, [192, 0, 2, 250]), (&there, [203, 0, 113, 251])] {
        wait_until("it is announced again and again", LIMIT, || heard(wire, ip).len() >= 3)
            .with_context(|| on_base.log_end())?;
        ensure!(heard(wire, ip).iter().all(|mac| *mac == VMAC), "{:02x?}", heard(wire, ip));
    }
    let plain = heard(&there, [203, 0, 113, 250]).len();
    ensure!(plain == 1, "announced {plain} times where the host's own interface is");
    drop(on_base);

    // Adverts that leave with the MAC address show it to the switches of their link by themselves.
    let [before_here, before] = [heard(&here, [192, 0, 2, 250]), heard(&there, [203, 0, 113, 251])];
    let shown = lab.run("r1", &conf(&[]))?;
    wait_until("it is announced on the other link", LIMIT, || {
        heard(&there, [203, 0, 113, 251]).len() >= before.len() + 3
    })
    .with_context(|| shown.log_end())?;
    let again = heard(&here, [192, 0, 2, 250]).len() - before_here.len();
    ensure!(again == 1, "announced {again} times where the adverts are");
    Ok(())
}

fn secondary_addresses_stay_there() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    lab.ns("r1").sysctl("net.ipv4.conf.all.promote_secondaries", 0)?;
    lab.ns("r1").sysctl("net.ipv4.conf.eth1.promote_secondaries", 0)?;
    let address = "203.0.113.250/24 dev eth1";
    let mut r1 = master(&lab, &["promote_secondaries"], address)?;
    ensure!(lab.ns("r1").sh(SETTING)?.trim() == "1", "it is not set");
    // Without it, what comes second goes with the first one.
    lab.ns("r1").ip("addr add 203.0.113.251/24 dev eth1")?;
    r1.stop()?;
    ensure!(!lab.holds("r1", ELSEWHERE) && lab.holds("r1", "203.0.113.251"));
    ensure!(lab.ns("r1").sh(SETTING)?.trim() == "0", "it is not put back");

    let mut r1 = master(&lab, &["promote_secondaries"], address)?;
    r1.reload(&with(&[], address))?;
    wait_until("a reload puts it back", LIMIT, || {
        lab.ns("r1").sh(SETTING).is_ok_and(|value| value.trim() == "0")
    })?;
    ensure!(lab.holds("r1", ELSEWHERE) && r1.count_log("Entering MASTER") == 1);
    r1.stop()?;
    what_a_crash_leaves(&lab, address)
}

/// Killed as a whole: `release` puts it back, and so does a next start that does not want it.
fn what_a_crash_leaves(lab: &Lab, address: &str) -> Result<()> {
    let is = |value: &str| lab.ns("r1").sh(SETTING).is_ok_and(|now| now.trim() == value);
    let mut r1 = master(lab, &["promote_secondaries"], address)?;
    r1.kill()?;
    ensure!(is("1"), "put back by a kill");
    let mut release = lab.ns("r1").command(&xvrrp_binary().display().to_string());
    let done = release.arg("release").arg("--run-dir").arg(r1.run_dir()).output()?;
    ensure!(done.status.success() && is("0"), "release: {done:?}");
    let mut r1 = master(lab, &["promote_secondaries"], address)?;
    r1.kill()?;
    ensure!(is("1"), "put back by a kill");
    let r1 = master(lab, &[], address)?;
    wait_until("the next start puts it back", LIMIT, || is("0")).with_context(|| r1.log_end())?;
    // An interface that comes anew comes without it.
    lab.ns("r1").sysctl("net.ipv4.conf.default.promote_secondaries", 0)?;
    r1.reload(&with(&["promote_secondaries"], address))?;
    wait_until("a reload sets it", LIMIT, || is("1")).with_context(|| r1.log_end())?;
    let ip = |command: &str| lab.ns("r1").ip(command).map(drop);
    ip("link del eth1")?;
    ip("link add eth1 type veth peer name other")?;
    ip("link set eth1 up")?;
    wait_until("it is set on that too", LIMIT, || is("1")).with_context(|| r1.log_end())?;
    Ok(())
}

/// The kernel takes the address off when nobody is left to see to the others of its network. A daemon that
/// lives would have put it behind the host's own.
fn a_lease_takes_no_other_with_it() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    lab.ns("r1").sysctl("net.ipv4.conf.all.promote_secondaries", 0)?;
    lab.ns("r1").sysctl("net.ipv4.conf.eth1.promote_secondaries", 0)?;
    let is = |value: &str| lab.ns("r1").sh(SETTING).is_ok_and(|now| now.trim() == value);
    let forever = with(&[], "203.0.113.250/24 dev eth1");
    let leased = format!("global_defs {{\n    vrrp_address_lease 3\n}}\n{forever}");
    let mut r1 = lab.run("r1", &leased)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", ELSEWHERE))
        .with_context(|| r1.log_end())?;
    for (conf, value) in [(&forever, "0"), (&leased, "1")] {
        r1.reload(conf)?;
        wait_until("a reload changes it", LIMIT, || is(value)).with_context(|| r1.log_end())?;
    }
    r1.freeze();
    lab.ns("r1").ip("addr add 203.0.113.251/24 dev eth1")?;
    ensure!(lab.holds("r1", ELSEWHERE), "too late: the lease is over");
    r1.kill()?;
    wait_until("the lease is over", LIMIT, || !lab.holds("r1", ELSEWHERE))?;
    ensure!(lab.holds("r1", "203.0.113.251"), "the host's own went with it");
    let done = r1.release(&lab, "r1")?;
    ensure!(done.status.success() && is("0"), "release: {done:?}");
    Ok(())
}

/// Who yields says where the winner is on the link of the adverts only: it has another MAC address elsewhere.
fn a_winner_is_nowhere_else() -> Result<()> {
    const R1: [u8; 6] = [2, 0, 0, 0, 0, 11];
    let lab = Lab::with_two_lans(&["r1", "r2", "client"])?;
    let (here, there) = (lab.capture("client")?, Capture::start(lab.ns("client"), "eth1")?);
    let held = ["192.0.2.250/24", "198.18.0.250/24 dev eth1"];
    // Who wins announces nothing then.
    let quiet = |priority| brisk(priority).holding(&held).line("garp_lower_prio_repeat 0").alone(3);
    let r1 = lab.run("r1", &quiet(200))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    lab.cut("r2")?;
    let r2 = lab.run("r2", &quiet(100))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let healed = now();
    lab.mend("r2")?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    let said = |wire: &Capture, ip: [u8; 4]| -> Vec<[u8; 6]> {
        let all = wire.announcements(Ipv4Addr::from(ip)).into_iter();
        all.filter(|(at, _)| *at > healed).map(|(_, mac)| mac).collect()
    };
    wait_until("it is said here", LIMIT, || said(&here, [192, 0, 2, 250]).contains(&R1))
        .with_context(|| r2.log_end())?;
    pause(300);
    let elsewhere = said(&there, [198, 18, 0, 250]);
    ensure!(!elsewhere.contains(&R1), "{elsewhere:02x?}");
    Ok(())
}
