//! Routes and rules over crashes and starts.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::super::{LIMIT, VIP, brisk};
use super::{Monitor, all_there, c27, none_there, routes, rules, sorted, wait_all, with};

/// B34: killed, and released or started again.
pub(super) fn nothing_is_left_of_a_killed_one() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let mut r1 = lab.run("r1", &c27(150))?;
    wait_all(&lab, &r1, "r1")?;
    // Somebody else's to the same network.
    let theirs = "route append 198.51.100.0/24 via 192.0.2.12 metric 10 proto static";
    lab.ns("r1").ip(theirs)?;
    r1.kill()?;
    ensure!(all_there(&lab, "r1"), "gone by itself");
    let done = r1.release(&lab, "r1")?;
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    ensure!(none_there(&lab, "r1") && !lab.holds("r1", VIP), "{said}");
    ensure!(said.contains("rule preference 1001"), "{said}");
    let theirs = lab.ns("r1").ip("route show proto static")?;
    ensure!(theirs.contains("198.51.100.0/24 via 192.0.2.12"), "{theirs:?}: {said}");
    // The next one is killed, too; another one is MASTER when it is back.
    let mut r1 = lab.run("r1", &c27(150))?;
    wait_all(&lab, &r1, "r1")?;
    r1.kill()?;
    let r2 = lab.run("r2", &c27(200))?;
    wait_all(&lab, &r2, "r2")?;
    // Where the file has lost them, the ledger alone knows.
    let without = brisk(100).named("GW", 114).alone(3);
    let again = Daemon::start(&lab, Kind::Xvrrp, "r1", &without, &[])?;
    wait_until("nothing is left", LIMIT, || none_there(&lab, "r1"))
        .with_context(|| again.log_end())?;
    drop(again);
    // Nor is a ledger needed where the file has them.
    for route in ["default via 192.0.2.1 dev eth0 table 100", "blackhole 203.0.113.128/25"] {
        lab.ns("r1").ip(&format!("route add {route} proto keepalived"))?;
    }
    lab.ns("r1").ip("rule add from 192.0.2.250 lookup 100 preference 1000 protocol keepalived")?;
    let again = lab.run("r1", &c27(100))?;
    wait_until("nothing is left", LIMIT, || none_there(&lab, "r1"))
        .with_context(|| again.log_end())?;
    Ok(())
}

/// keepalived does not mark its addresses, and a route that names one as its source makes it nobody's own.
pub(super) fn nothing_is_left_of_a_killed_keepalived() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let mut theirs = Daemon::start(&lab, Kind::Keepalived, "r1", &c27(100), &[])?;
    wait_all(&lab, &theirs, "r1")?;
    theirs.kill()?;
    ensure!(all_there(&lab, "r1") && lab.holds("r1", VIP), "gone by itself");
    let slow = c27(100).replace("advert_int 0.4", "advert_int 10");
    let ours = lab.run("r1", &slow)?;
    wait_until("nothing is left", LIMIT, || none_there(&lab, "r1") && !lab.holds("r1", VIP))
        .with_context(|| ours.log_end())?;
    ensure!(ours.count_log("Entering MASTER") == 0, "{}", ours.log());
    Ok(())
}

/// The guardian starts the worker again: a MASTER goes on, and nothing goes meanwhile.
pub(super) fn a_crash_changes_nothing() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    // With one that would not be set beside somebody else's.
    let conf = c27(100).replace("blackhole 203.0.113.128/25", "blackhole 203.0.113.128/25 add");
    // Slowly enough for a start on a busy host.
    let conf = conf.replace("advert_int 0.4", "advert_int 1");
    let mut r1 = lab.run("r1", &conf)?;
    wait_all(&lab, &r1, "r1")?;
    let watch = Monitor::start(&lab, "r1")?;
    let worker = r1.worker()?;
    signal(worker, Signal::SIGKILL);
    wait_until("another worker", LIMIT, || r1.worker().is_ok_and(|now| now != worker))?;
    wait_until("it goes on", LIMIT, || r1.count_log("Entering MASTER STATE") > 1)?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    ensure!(all_there(&lab, "r1"), "{}", r1.log_end());
    let order = watch.order()?;
    ensure!(!order.iter().any(|word| word.starts_with('-')), "{order:?}");
    ensure!(r1.count_log("can't be set") == 0, "its own was another's: {}", r1.log());
    r1.stop()?;
    ensure!(none_there(&lab, "r1"), "some are left");
    Ok(())
}

/// Killed as a whole, and started within what the peers wait: what stays in the file is not touched, what is
/// new comes, and what the ledger alone knows goes.
pub(super) fn a_start_with_another_file_touches_what_has_changed() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let conf = |second: &str, table: u8| {
        let routes = ["10.0.0.0/8 via 192.0.2.1", &format!("{second} via 192.0.2.1")];
        let rules = [
            "from 10.0.0.0/8 table 7 preference 70",
            &format!("from 10.1.0.0/16 table {table} preference 71"),
        ];
        let owner = Instance::new(255).every("10");
        owner.track("virtual_routes", &routes).track("virtual_rules", &rules).alone(3)
    };
    let are = |second: &str, table: u8| {
        let all =
            ["10.0.0.0/8 via 192.0.2.1 dev eth0", &format!("{second} via 192.0.2.1 dev eth0")];
        let rule = format!("71: from 10.1.0.0/16 lookup {table} proto keepalived");
        routes(&lab, "r1").is_ok_and(|there| there == sorted(&all))
            && rules(&lab, "r1").is_ok_and(|there| there.len() == 2 && there[1] == rule)
    };
    let mut r1 = lab.run("r1", &conf("10.1.0.0/16", 8))?;
    wait_until("all are there", LIMIT, || are("10.1.0.0/16", 8)).with_context(|| r1.log_end())?;
    r1.wait_log("took over", LIMIT)?;
    let watch = Monitor::start(&lab, "r1")?;
    r1.kill()?;
    let mut r1 = lab.run("r1", &conf("10.2.0.0/16", 9))?;
    wait_until("the new ones", LIMIT, || are("10.2.0.0/16", 9)).with_context(|| r1.log_end())?;
    r1.wait_log("(VI_1) went on, without a wait", LIMIT)?;
    let told = || std::fs::read_to_string(&watch.file).unwrap_or_default();
    let is_told = || told().contains("Deleted 10.1.0.0/16");
    wait_until("the old one's end is told", LIMIT, is_told).with_context(told)?;
    pause(300);
    let text = told();
    for untouched in ["10.0.0.0/8", VIP] {
        ensure!(!text.contains(untouched), "{untouched} was touched: {text}");
    }
    r1.stop()?;
    ensure!(none_there(&lab, "r1"), "some are left");
    Ok(())
}

/// With a file of which no instance can be run nothing starts: what an earlier life had goes all the same,
/// by its ledger or by what can be read of the file.
pub(super) fn nothing_is_left_where_none_starts() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let broken =
        c27(100).replace("virtual_router_id 114", "virtual_router_id 114\n    track_bfd {\n b\n }");
    let ns = lab.ns("r1");
    for with_ledger in [true, false] {
        let mut r1 = lab.run("r1", &c27(100))?;
        wait_all(&lab, &r1, "r1")?;
        r1.kill()?;
        if !with_ledger {
            std::fs::remove_file(r1.run_dir().join("ledger"))?;
        }
        // Somebody else's twins.
        ns.ip("route replace default via 192.0.2.1 table 101 proto static")?;
        ensure!(all_there(&lab, "r1"), "gone by itself");
        let mut none = Daemon::start(&lab, Kind::Xvrrp, "r1", &broken, &[])?;
        let ended = none.wait(LIMIT)?;
        ensure!(!ended.success(), "it ran: {}", none.log_end());
        ensure!(none_there(&lab, "r1"), "with a ledger {with_ledger}: {}", none.log_end());
        ensure!(!lab.holds("r1", VIP), "the address is left: {}", none.log_end());
        let theirs = ns.ip("route show table 101")?;
        ensure!(theirs.contains("default via 192.0.2.1"), "{theirs:?}");
    }
    Ok(())
}

/// Beside an instance that is run, another one of the file is not: what that one had in an earlier life, of
/// which there is no ledger, goes.
pub(super) fn nothing_is_left_of_one_that_is_not_run() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let gone = ["198.51.100.0/24 via 192.0.2.1"];
    let gone = with(&gone, &["from 192.0.2.251 table 100 preference 1000"]).line("priority 999");
    let both =
        Conf::new(3).with(brisk(100)).with(gone.named("GW", 114).holding(&["192.0.2.251/24"]));
    let ns = lab.ns("r1");
    ns.ip("route add 198.51.100.0/24 via 192.0.2.1 proto keepalived")?;
    ns.ip("rule add from 192.0.2.251 lookup 100 preference 1000 protocol keepalived")?;
    let r1 = lab.run("r1", &both.text())?;
    wait_until("nothing is left", LIMIT, || none_there(&lab, "r1"))
        .with_context(|| r1.log_end())?;
    wait_until("it says how it is", LIMIT, || r1.status().is_ok()).with_context(|| r1.log_end())?;
    ensure!(r1.status()?.instance("GW").is_err(), "it runs");
    Ok(())
}
