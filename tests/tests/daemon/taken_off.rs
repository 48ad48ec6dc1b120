//! The kernel program is taken off by others, or they are in its way: `status` says what is.

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use vrrp_tests::netns::run;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};
use xvrrp::config::model::Datapath;
use xvrrp::fastpath::FastPath;

use super::{LIMIT, brisk, wait_state};

fn path(daemon: &Daemon) -> Result<(String, String)> {
    let status = daemon.status()?;
    let (path, why) = status.datapath("eth0")?;
    Ok((path.to_owned(), why.to_owned()))
}

#[test]
fn the_data_path_is_what_it_is() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let mut theirs = FastPath::load(1)?;
    let ifindex = lab.ns("r1").enter(|| {
        let ifindex = if_nametoindex("eth0")?;
        theirs.attach("eth0", ifindex, Datapath::Auto);
        Ok(ifindex)
    })?;
    let r2 = lab.run("r2", &brisk(150).alone(3))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    let (shown, why) = path(&r1)?;
    ensure!(shown == "socket" && why.contains("another XDP program"), "{shown} {why}");

    theirs.detach(ifindex);
    ensure!(path(&r1)?.0 == "native", "{}", r1.log());
    r1.wait_log("eth0: the other XDP program is gone; now adverts are checked", LIMIT)?;

    if run("bpftool", &["version"]).is_err() {
        eprintln!("no bpftool: attachments are not taken off");
        return Ok(());
    }
    take_off(&lab)?;
    // By the socket, in the meantime: longer than anybody waits.
    pause(3000);
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log());
    // The next change of the link, whoever asks.
    lab.ns("r1").ip("link set eth0 mtu 1400")?;
    r1.wait_log("eth0: somebody took the kernel program off; now adverts are checked", LIMIT)?;
    ensure!(path(&r1)?.0 == "native", "{}", r1.log());
    let kept = || -> Result<(u64, f64)> {
        let status = r1.status()?;
        let one = status.instance("VI_1")?;
        Ok((one.counter("accepted"), one.longest_gap().context("nothing was heard")?))
    };
    let before = kept()?.0;
    wait_until("r2 is heard", LIMIT, || kept().is_ok_and(|now| now.0 > before + 2))?;
    // The time by the socket is none in which r2 was silent.
    ensure!(kept()?.1 < 2500.0, "{:?}: {}", kept()?, r1.log());
    Ok(())
}

/// As an operator does it.
fn take_off(lab: &Lab) -> Result<()> {
    let shown = lab.ns("r1").ip("-d link show dev eth0")?;
    let (_, program) = shown.split_once("prog/xdp id ").with_context(|| shown.clone())?;
    let program = program.split_whitespace().next().context("no number")?;
    // Those of others are listed as well, with their own programs.
    let listed = lab.ns("r1").sh("bpftool link list")?;
    let ours = |line: &&str| line.trim_end().ends_with(&format!("xdp  prog {program}"));
    let line = listed.lines().find(ours).with_context(|| listed.clone())?;
    let id = line.split(':').next().context("no number")?;
    lab.ns("r1").sh(&format!("bpftool link detach id {id}")).map(drop)
}
