//! Whose the addresses of the interface are: the host's own comes first, a BACKUP has none of the virtual
//! ones, and what another daemon serves is left to it.

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::daemon::{signal, xvrrp};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};
use xvrrp::net::addr::Addresses;

use super::{ADDRESS, LIMIT, VIP, brisk, master, wait_state};

#[test]
fn addresses_of_others() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("the host's own", the_host_s_own_comes_first),
        ("a BACKUP", a_backup_says_what_it_has),
        ("keepalived", keepalived_on_the_same_host),
        ("another xvrrp", another_one_that_was_killed),
    ])
}

/// What `ip` says of an address of r1; `None` where it is not there.
fn shown(lab: &Lab, ip: &str) -> Result<Option<Value>> {
    let all: Value = serde_json::from_str(&lab.ns("r1").ip("-j addr show dev eth0")?)?;
    let all = all[0]["addr_info"].as_array().cloned().context("no addr_info")?;
    Ok(all.into_iter().find(|address| address["local"] == ip))
}

/// Somebody configures the interface anew while ours is put back at once: the host's own, which comes
/// later, is the first one again, and stays when ours goes.
fn the_host_s_own_comes_first() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    lab.ns("r1").sysctl("net.ipv4.conf.eth0.promote_secondaries", 0)?;
    let conf = brisk(100).line("mcast_src_ip 192.0.2.11").alone(3);
    let mut r1 = lab.run("r1", &conf)?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_until("it has its address", LIMIT, || lab.holds("r1", VIP))?;
    lab.ns("r1").ip("addr flush dev eth0")?;
    wait_until("it is back", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    lab.ns("r1").ip("addr add 192.0.2.11/24 dev eth0")?;
    let is_first =
        |ip| shown(&lab, ip).is_ok_and(|it| it.is_some_and(|it| it["secondary"].is_null()));
    wait_until("the host's own is the first", LIMIT, || is_first("192.0.2.11"))
        .with_context(|| r1.log_end())?;
    wait_until("ours is behind it", LIMIT, || lab.holds("r1", VIP) && !is_first(VIP))?;
    let route = lab.ns("r1").ip("route get 192.0.2.99")?;
    ensure!(route.contains("src 192.0.2.11"), "{route}");
    pause(500);
    ensure!(r1.count_log("came before the host's own") == 1, "{}", r1.log_end());
    // Now ours is the first and the host's own behind it, as a route has it that would go with ours.
    lab.ns("r1").ip("addr flush dev eth0")?;
    wait_until("it is back", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    lab.ns("r1").ip("route add 198.51.100.0/24 dev eth0 src 192.0.2.250")?;
    lab.ns("r1").ip("addr add 192.0.2.11/24 dev eth0")?;
    r1.wait_log("stays the first address of its network", LIMIT)?;
    ensure!(is_first(VIP) && !is_first("192.0.2.11"), "{}", r1.log_end());
    ensure!(lab.ns("r1").ip("route show")?.contains("198.51.100.0/24"), "the route is gone");
    r1.stop()?;
    ensure!(!lab.holds("r1", VIP) && lab.holds("r1", "192.0.2.11"), "{:?}", lab.addresses("r1"));
    Ok(())
}

/// Somebody puts the address on the interface of a BACKUP: said once, and in `status`. What a dead daemon
/// has left is taken off; but not again and again.
fn a_backup_says_what_it_has() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let _r2 = lab.run("r2", &brisk(200).alone(3))?;
    wait_until("r2 is MASTER", LIMIT, || lab.holds("r2", VIP))?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    for prefix in [24, 32] {
        lab.ns("r1").ip(&format!("addr add 192.0.2.250/{prefix} dev eth0"))?;
        let line =
            format!("(VI_1) 192.0.2.250/{prefix} is on eth0 although BACKUP, put there by hand");
        r1.wait_log(&line, LIMIT)?;
        // Another word about it is not another address.
        lab.ns("r1")
            .ip(&format!("addr change 192.0.2.250/{prefix} dev eth0 preferred_lft 1000"))?;
        pause(300);
        ensure!(
            r1.count_log("although BACKUP") == 1 + usize::from(prefix == 32),
            "{}",
            r1.log_end()
        );
        let status: Value = serde_json::from_str(&r1.status()?.instance("VI_1")?.json())?;
        let expected = json!({
            "address": "192.0.2.250/24", "device": "eth0", "held": true, "unexpected": true
        });
        ensure!(status["addresses"][0] == expected, "/{prefix}: {status}");
        let run_dir = r1.run_dir().display().to_string();
        let text = String::from_utf8(xvrrp(&["status", "--run-dir", &run_dir])?.stdout)?;
        ensure!(text.contains("on the host although BACKUP: 192.0.2.250/24 on eth0"), "{text}");
        lab.ns("r1").ip(&format!("addr del 192.0.2.250/{prefix} dev eth0"))?;
    }
    let marked = || {
        lab.ns("r1").enter(|| {
            let address = VirtualAddress::new(ADDRESS.into(), 24, "eth0");
            let results = Addresses::open()?.add([&address], |name| if_nametoindex(name).ok());
            ensure!(results.iter().all(Result::is_ok), "{results:?}");
            Ok(())
        })
    };
    marked()?;
    r1.wait_log("(VI_1) 192.0.2.250/24 was on eth0 although BACKUP, left by an xvrrp", LIMIT)?;
    ensure!(shown(&lab, VIP)?.is_none(), "it is still there");
    marked()?;
    pause(500);
    ensure!(shown(&lab, VIP)?.is_some(), "removed again, and again");
    ensure!(r1.count_log("left by an xvrrp") == 1, "{}", r1.log_end());
    Ok(())
}

/// keepalived serves the address on this very host: it goes on as if we were not there, and we take over
/// when it ends.
fn keepalived_on_the_same_host() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let conf = brisk(100).alone(3);
    let mut keepalived = lab.start(Kind::Keepalived, "r1", &conf)?;
    wait_until("keepalived is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let watch = lab.watch("r1")?;
    let wire = lab.capture("client")?;
    let ours = Daemon::start_beside(&lab, "r1", &conf)?;
    wait_state(&ours, "VI_1", "FAULT")?;
    let who = format!("keepalived (process {})", keepalived.pid());
    let line = format!("{who} does VRRP on this host too");
    ours.wait_log(&line, LIMIT)?;
    // It asks each two seconds, and would have been MASTER by then.
    pause(3500);
    ensure!(ours.count_log(&line) == 1, "{}", ours.log_end());
    let status = ours.status()?;
    let instance = status.instance("VI_1")?;
    let (state, why) = (instance.state(), instance.why());
    ensure!(state == "FAULT" && why.contains(&who), "{state}: {why}");
    ensure!(watch.of(ADDRESS).is_empty(), "it was touched: {:?}", watch.of(ADDRESS));
    let adverts = wire.adverts_of("r1");
    let gaps = adverts.windows(2).map(|two| two[1].at - two[0].at);
    // Two would say twice as many.
    let dense = gaps.filter(|gap| gap.as_millis() < 150).count();
    ensure!(adverts.len() > 5 && dense == 0, "{dense} of {} came early", adverts.len());
    keepalived.stop()?;
    wait_state(&ours, "VI_1", "MASTER")?;
    wait_until("ours has it", LIMIT, || lab.holds("r1", VIP)).with_context(|| ours.log_end())?;
    Ok(())
}

/// What a killed daemon leaves is taken off by the one that has waited for its end.
fn another_one_that_was_killed() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let mut first = master(&lab)?;
    let second = Daemon::start_beside(&lab, "r1", &brisk(50).alone(3))?;
    wait_state(&second, "VI_1", "FAULT")?;
    let _r2 = lab.run("r2", &brisk(80).alone(3))?;
    pause(500);
    first.kill()?;
    wait_state(&second, "VI_1", "BACKUP")?;
    wait_until("r1 has it no more", LIMIT, || !lab.holds("r1", VIP))
        .with_context(|| second.log_end())?;
    second.wait_log("from an earlier life, removed", LIMIT)?;
    ensure!(second.count_log("from an earlier life, removed") == 1, "{}", second.log_end());
    signal(second.pid(), Signal::SIGTERM);
    Ok(())
}
