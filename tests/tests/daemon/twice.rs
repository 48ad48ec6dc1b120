//! Two daemons and one run directory.

use std::path::Path;
use std::process::{Child, Output};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::{signal, xvrrp_binary};
use vrrp_tests::status::Status;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, cases, wait_until};

use super::{ADDRESS, GAP, LIMIT, VIP, brisk, master, state, wait_state};

/// Whatever the second one is given, the first one notices nothing.
#[test]
fn a_second_one_disturbs_nothing() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let good = Instance::new(100).alone(3);
    let r1 = lab.run("r1", &good)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_until("r1 has the address", LIMIT, || lab.holds("r1", VIP))?;
    let watch = lab.watch("r1")?;
    // The one instance is refused, so that none can be started.
    let unusable = good.replace("virtual_router_id 51", "virtual_router_id 510");
    let half = cases::configuration("C05-eof-without-brace");
    for (name, text, code) in [("good", good, 1), ("unusable", unusable, 2), ("half", half, 2)] {
        let output = second(&lab, r1.run_dir(), name, &text)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{name}: {}: {said}", output.status);
        let clear = format!("another xvrrp (pid {}) uses", r1.pid());
        ensure!(code != 1 || said.contains(&clear), "{name}: unclear: {said}");
        ensure!(state(&r1, "VI_1")? == "MASTER", "{name}: {}", r1.log_end());
    }
    ensure!(watch.of(ADDRESS).is_empty(), "it was touched: {:?}", watch.of(ADDRESS));
    let pid = std::fs::read_to_string(r1.run_dir().join("xvrrp.pid"))?;
    ensure!(pid.trim() == r1.pid().to_string(), "the file says {pid}");
    let link = lab.ns("r1").ip("-d link show eth0")?;
    ensure!(link.contains("xdp"), "the program is gone: {link}");
    pause(2100);
    let adverts = wire.adverts_of("r1");
    ensure!(adverts.iter().all(|seen| seen.advert.priority == 100), "it released");
    let at: Vec<_> = adverts.iter().map(|seen| seen.at).collect();
    let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    ensure!(gap < GAP, "{gap:?} between two adverts");
    Ok(())
}

fn second(lab: &Lab, run_dir: &Path, name: &str, conf: &str) -> Result<Output> {
    let conf = lab.write(&format!("{name}.conf"), conf)?;
    let binary = xvrrp_binary().display().to_string();
    let mut command = lab.ns("r1").command("timeout");
    command.args(["60", &binary, "run", "-f"]).arg(conf).arg("--run-dir").arg(run_dir);
    Ok(command.output()?)
}

/// With a run directory of its own, one of whose file nothing or not all can be run takes no address off
/// that another xvrrp or keepalived has put on.
#[test]
fn what_is_not_run_takes_nothing_off() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let beside = lab.dir().join("beside.run");
    let good = brisk(100).alone(3);
    let unusable = good.replace("virtual_router_id 51", "virtual_router_id 510");
    let other = brisk(100).named("VI_2", 52).holding(&["192.0.2.251/24"]);
    let partly = Conf::new(3).with(brisk(100)).with(other).text();
    let partly = partly.replace("virtual_router_id 51", "virtual_router_id 510");
    for kind in [Kind::Xvrrp, Kind::Keepalived] {
        let mut first = lab.start(kind, "r1", &good)?;
        wait_until("it is MASTER", LIMIT, || lab.holds("r1", VIP))?;
        let watch = lab.watch("r1")?;
        let output = second(&lab, &beside, "unusable", &unusable)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
        ensure!(watch.of(ADDRESS).is_empty(), "{kind:?}: {:?}: {said}", watch.of(ADDRESS));
        ensure!(said.contains("stay"), "{said}");
        let mut ours = Daemon::start_beside(&lab, "r1", &partly)?;
        wait_state(&ours, "VI_2", "MASTER")?;
        ensure!(watch.of(ADDRESS).is_empty(), "{kind:?}: {:?}", watch.of(ADDRESS));
        first.kill()?;
        ours.stop()?;
        // Nobody is left who may want it.
        let output = second(&lab, &beside, "unusable", &unusable)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && !lab.holds("r1", VIP), "{kind:?}: {said}");
    }
    Ok(())
}

/// With a run directory of its own a second one stays in FAULT, touches nothing, and names the first;
/// a crash of the first one's worker gives it no chance, and its end does.
#[test]
fn a_second_one_elsewhere_waits() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    // Slowly enough for a start on a busy host.
    let mut r1 = lab.run("r1", &Instance::new(100).alone(3))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_until("r1 has the address", LIMIT, || lab.holds("r1", VIP))?;
    let watch = lab.watch("r1")?;
    let r2 = Daemon::start_beside(&lab, "r1", &brisk(200).alone(3))?;
    wait_until("it is in FAULT", LIMIT, || state(&r2, "VI_1").is_ok_and(|state| state == "FAULT"))
        .with_context(|| r2.log_end())?;
    let who = format!("another xvrrp (process {})", r1.pid());
    let line = format!("(VI_1) {who} serves VRID 51 (IPv4) on eth0");
    r2.wait_log(&line, LIMIT)?;
    ensure!(r2.count_log(&line) == 1, "{line}: {}", r2.log_end());
    signal(r1.worker()?, Signal::SIGKILL);
    // It asks each two seconds.
    pause(2500);
    ensure!(state(&r1, "VI_1")? == "MASTER", "{}", r1.log_end());
    ensure!(state(&r2, "VI_1")? == "FAULT", "{}", r2.log_end());
    ensure!(watch.of(ADDRESS).is_empty(), "it was touched: {:?}", watch.of(ADDRESS));
    let status = r2.status()?;
    let instance = status.instance("VI_1")?;
    let why = instance.why();
    ensure!(why.contains(&format!("{who} on this host serves this VRID")), "{why}");
    r1.stop()?;
    wait_until("the second one is MASTER", LIMIT, || {
        state(&r2, "VI_1").is_ok_and(|state| state == "MASTER") && lab.holds("r1", VIP)
    })
    .with_context(|| r2.log_end())?;
    Ok(())
}

/// Of several that start at the same moment one goes on.
#[test]
fn of_many_at_once_one_goes_on() -> Result<()> {
    const MANY: usize = 4;
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = lab.write("r1.conf", &brisk(100).alone(3))?;
    let run_dir = lab.dir().join("r1.run");
    let binary = xvrrp_binary().display().to_string();
    let start = |number: usize| {
        let log = std::fs::File::create(lab.dir().join(format!("{number}.log")))?;
        let mut command = lab.ns("r1").command(&binary);
        command.args(["run", "-f"]).arg(&conf).arg("--run-dir").arg(&run_dir).stderr(log);
        Ok(command.spawn()?)
    };
    // What is left of them ends with the namespace.
    let mut all = (0..MANY).map(start).collect::<Result<Vec<_>>>()?;
    let mut ended = Vec::new();
    wait_until("all but one have ended", LIMIT, || {
        ended = all.iter_mut().filter_map(|one| one.try_wait().ok().flatten()).collect();
        ended.len() == MANY - 1
    })
    .with_context(|| format!("ended: {ended:?}"))?;
    ensure!(ended.iter().all(|status| status.code() == Some(1)), "{ended:?}");
    wait_until("that one is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let status = Status::read(&run_dir)?;
    ensure!(status.instance("VI_1")?.state() == "MASTER", "{status:?}");
    let living: Vec<u32> = all.iter_mut().filter_map(living).collect();
    let pid = std::fs::read_to_string(run_dir.join("xvrrp.pid"))?;
    ensure!(living.len() == 1 && pid.trim() == living[0].to_string(), "{living:?}, not {pid}");
    Ok(())
}

fn living(one: &mut Child) -> Option<u32> {
    one.try_wait().is_ok_and(|status| status.is_none()).then(|| one.id())
}

/// Whoever has taken up a killed one's virtual router keeps its address: a start, and `xvrrp release`,
/// leave it alone.
#[test]
fn what_has_an_heir_is_left_to_it() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = brisk(100).alone(3);
    let mut first = master(&lab)?;
    first.kill()?;
    let heir = Daemon::start_beside(&lab, "r1", &conf)?;
    wait_state(&heir, "VI_1", "MASTER")?;
    // From a container, where the heir's process can't be seen.
    let ledger = first.run_dir().join("ledger");
    let copy = std::fs::read(&ledger)?;
    let mut command = lab.ns("r1").command("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(xvrrp_binary());
    let output = command.args(["release", "--run-dir"]).arg(first.run_dir()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains("(VI_1) another xvrrp serves it by now"), "{said}");
    std::fs::write(&ledger, copy)?;
    kept(&lab, &first, &format!("xvrrp (process {})", heir.pid()), &conf)?;
    drop(heir);
    let mut first = master(&lab)?;
    first.kill()?;
    let heir = lab.start(Kind::Keepalived, "r1", &conf)?;
    heir.wait_log("Entering MASTER STATE", LIMIT)?;
    kept(&lab, &first, &format!("keepalived (process {})", heir.pid()), &conf)
}

fn kept(lab: &Lab, first: &Daemon, heir: &str, conf: &str) -> Result<()> {
    wait_until("the heir has it", LIMIT, || lab.holds("r1", VIP))?;
    let watch = lab.watch("r1")?;
    let ledger = first.run_dir().join("ledger");
    let copy = std::fs::read(&ledger)?;
    let output = first.release(lab, "r1")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    ensure!(
        said.contains(&format!("(VI_1) {heir} serves it by now, so it is left alone")),
        "{said}"
    );
    ensure!(watch.of(ADDRESS).is_empty(), "{heir}: {:?}: {said}", watch.of(ADDRESS));
    std::fs::write(&ledger, copy)?;
    let again = lab.run("r1", conf)?;
    wait_state(&again, "VI_1", "FAULT")?;
    ensure!(watch.of(ADDRESS).is_empty(), "{heir}: {:?}", watch.of(ADDRESS));
    ensure!(again.count_log("serves it by now") == 1, "{}", again.log_end());
    Ok(())
}
