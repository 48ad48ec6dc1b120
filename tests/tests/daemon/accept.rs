//! Addresses that answer nobody.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::together;
use vrrp_tests::{Daemon, Kind, Lab, cases, ping, roll, wait_until};

use super::{LIMIT, VIP, brisk};

fn answers(lab: &Lab, address: &str) -> Result<bool> {
    let address: IpAddr = address.parse()?;
    ping::answers(lab.ns("client"), None, address, 0)
}

/// Waits until it answers, as the first question may find a busy host.
fn wait_answer(lab: &Lab, address: &str) -> Result<()> {
    let what = format!("{address} answers");
    wait_until(&what, LIMIT, || answers(lab, address).unwrap_or(false)).map(drop)
}

fn master(lab: &Lab, conf: &str, address: &str) -> Result<Daemon> {
    let daemon = lab.run("r1", conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", address))
        .with_context(|| daemon.log_end())?;
    Ok(daemon)
}

#[test]
fn no_accept_and_strict_mode() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("C36", the_packaged_default_answers_nobody),
        ("own", the_host_s_own_answers),
        ("reload", reloads_change_it),
        ("IPv6", over_ipv6_neighbours_find_it),
        ("crash", a_crash_changes_nothing_and_leaves_nothing),
    ])
}

/// C36: the file that packages bring along. As MASTER it answers no ping, and the log says why.
fn the_packaged_default_answers_nobody() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let mut r1 = master(&lab, &cases::configuration("C36-packaged-default"), "192.0.2.16")?;
    // Neither the MASTER nor the password of the file is left: it listens first, and sends none.
    r1.wait_log("Entering MASTER STATE", LIMIT)?;
    let log = r1.log();
    let (listens, is_master) =
        (log.find("Entering BACKUP STATE"), log.find("Entering MASTER STATE"));
    ensure!(listens.is_some() && listens < is_master, "{log}");
    wait_until("r1 speaks", LIMIT, || wire.adverts_of("r1").len() > 1)?;
    for seen in wire.adverts_of("r1") {
        let (kind, data) = (seen.advert.auth_type, &seen.advert.trailer);
        ensure!((kind, &data[..]) == (0, &[0; 8]), "{seen:?}");
    }
    for address in ["192.0.2.16", "192.0.2.17", "192.0.2.18"] {
        ensure!(lab.holds("r1", address) && !answers(&lab, address)?, "{address} answers");
    }
    wait_answer(&lab, "192.0.2.11")?;
    let log = r1.log();
    let why = log.lines().find(|line| line.contains("192.0.2.16, 192.0.2.17, 192.0.2.18"));
    ensure!(
        why.is_some_and(|line| line.contains("will not answer") && line.contains("strict mode")),
        "no line says why: {log}"
    );
    r1.stop()?;
    ensure!(!r1.run_dir().join("nftables").exists(), "the table is left");
    let late = r1.log().contains("could be taken off in time");
    let removed = r1.count_log("table removed");
    ensure!(late || removed == 0, "left to the guardian: {}", r1.log_end());
    lab.ns("r1").ip("addr add 192.0.2.16/32 dev eth0")?;
    wait_answer(&lab, "192.0.2.16").context("still dropped after the end")?;
    Ok(())
}

/// Over IPv6 solicitations are answered all the same (RFC 9568 §6.1).
fn over_ipv6_neighbours_find_it() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    lab.ns("client").ip("addr add 2001:db8::12/64 dev eth0 nodad")?;
    roll::wait_link_local(&lab, &["client"])?;
    let addresses = ["fe80::5e00:250", "2001:db8::250"];
    let held = addresses.map(|address| format!("{address}/64"));
    let held = held.each_ref().map(String::as_str);
    let r1 = lab.run("r1", &brisk(100).holding(&held).line("no_accept").alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || {
        lab.ns("r1")
            .ip("-6 addr show dev eth0")
            .is_ok_and(|all| held.iter().all(|a| all.contains(a)))
    })
    .with_context(|| r1.log_end())?;
    let client = lab.ns("client");
    let scope = client.enter(|| Ok(if_nametoindex("eth0")?))?;
    for address in addresses {
        client.ip("neigh flush dev eth0")?;
        ensure!(!ping::answers(client, None, address.parse()?, scope)?, "{address} answers");
        wait_until(&format!("{address} is found"), LIMIT, || {
            let neighbours = client.ip("-6 neigh show dev eth0").unwrap_or_default();
            let line = neighbours.lines().find(|line| line.starts_with(&format!("{address} ")));
            line.is_some_and(|line| line.contains("lladdr"))
        })?;
    }
    Ok(())
}

fn reloads_change_it() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let accepting = brisk(100).alone(3);
    let refusing = brisk(100).line("no_accept").alone(3);
    let r1 = master(&lab, &accepting, VIP)?;
    wait_answer(&lab, VIP)?;
    r1.reload(&refusing)?;
    wait_until("it answers no more", LIMIT, || answers(&lab, VIP).is_ok_and(|answers| !answers))?;
    r1.reload(&accepting)?;
    wait_answer(&lab, VIP)?;
    ensure!(r1.count_log("will not answer") == 1 && r1.count_log("Entering MASTER") == 1);
    // Its owner takes what is sent to it, whatever is written (RFC 9568 §6.1).
    let owner = Conf::new(3).with(Instance::new(255).every("0.4").line("no_accept")).text();
    r1.reload(&owner)?;
    wait_answer(&lab, VIP).context("the owner does not answer")?;
    Ok(())
}

fn a_crash_changes_nothing_and_leaves_nothing() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    // Slow, so that a start on a busy machine is in time.
    let slow = Instance::new(100).line("no_accept");
    let mut r1 = master(&lab, &slow.alone(3), VIP)?;
    ensure!(!answers(&lab, VIP)?, "it answers");
    vrrp_tests::daemon::signal(r1.worker()?, nix::sys::signal::Signal::SIGKILL);
    r1.wait_log("was MASTER before it was started anew", LIMIT)?;
    ensure!(lab.holds("r1", VIP) && !answers(&lab, VIP)?, "it answers after a crash");
    r1.kill()?;
    ensure!(r1.run_dir().join("nftables").exists(), "nothing is left to clear");
    let run_dir = r1.run_dir().display().to_string();
    let line =
        format!("{} release --run-dir {run_dir}", vrrp_tests::daemon::xvrrp_binary().display());
    let said = lab.ns("r1").sh(&line)?;
    ensure!(said.contains("nftables table removed"), "{said}");
    lab.ns("r1").ip("addr add 192.0.2.250/24 dev eth0")?;
    wait_answer(&lab, VIP).context("still dropped after the release")?;
    ensure!(lab.ns("r1").sh(&line)?.contains("nothing was left"));
    Ok(())
}

/// Written without the prefix that it has on the host, and once more behind an interface of the router's:
/// whoever can't reach the host can't put its file right.
fn the_host_s_own_answers() -> Result<()> {
    for more in ["", "use_vmac"] {
        let lab = Lab::new(&["r1", "client"])?;
        let conf = format!(
            "vrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n priority 100\n \
             no_accept\n {more}\n virtual_ipaddress {{\n 192.0.2.11\n 192.0.2.250\n }}\n}}\n"
        );
        let r1 = lab.run("r1", &conf)?;
        r1.wait_log("192.0.2.11 answers in spite of no_accept", LIMIT)?;
        r1.wait_log("Entering BACKUP", LIMIT)?;
        let own =
            || wait_answer(&lab, "192.0.2.11").with_context(|| format!("{more}: {}", r1.log_end()));
        own()?;
        wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
        own()?;
        ensure!(!answers(&lab, VIP)?, "{more}: {VIP} answers");
    }
    Ok(())
}
