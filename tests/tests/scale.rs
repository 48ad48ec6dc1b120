//! Many virtual routers over both families on many interfaces: each of them starts, survives reloads,
//! and fails over. `cargo xtask bench --only scale` does the same with 4080.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::lab::number;
use vrrp_tests::roll::{self, Roll, Router};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Lab, now, wait_until};

const LANS: u8 = 8;
const VRIDS: u8 = 8;
const INTERVAL: &str = "0.6";
const LIMIT: Duration = Duration::from_secs(30);

fn conf(vrids: u8, priority: u8) -> String {
    roll::conf(LANS, vrids, priority, INTERVAL)
}

fn routers() -> BTreeSet<Router> {
    roll::routers(LANS, VRIDS).collect()
}

/// Waits until a host has all virtual addresses and speaks for all virtual routers.
fn wait_leads(lab: &Lab, wire: &Roll, host: &str, daemon: &Daemon) -> Result<()> {
    let since = now();
    let wanted = routers().into_iter().flat_map(roll::addresses).count();
    wait_until(&format!("{host} leads for all"), LIMIT, || {
        wire.leads(host, since) == routers()
            && roll::held(lab, host, routers()).is_ok_and(|held| held == wanted)
    })
    .map(drop)
    .with_context(|| daemon.log_end())
}

/// Whether all instances are in this state, by the daemon's own word.
fn all_are(daemon: &Daemon, state: &str) -> bool {
    let Ok(status) = daemon.status() else { return false };
    let names = status.names();
    let is = |name: &&str| status.instance(name).is_ok_and(|one| one.state() == state);
    names.len() == routers().len() && names.iter().all(is)
}

/// The one source that adverts have by LAN and family: the host's own address there.
fn own_addresses(host: &str) -> BTreeMap<(u8, u8), BTreeSet<IpAddr>> {
    let number = number(host);
    let of = |lan: u8| {
        let v4 = match lan {
            0 => [192, 0, 2, number],
            _ => [198, 18, lan - 1, number],
        };
        // By the MAC address: RFC 4291, appendix A.
        let v6 = [0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, u16::from_be_bytes([lan, number])];
        [((lan, 4), BTreeSet::from([v4.into()])), ((lan, 6), BTreeSet::from([v6.into()]))]
    };
    (0..LANS).flat_map(of).collect()
}

#[test]
fn all_of_many_start_reload_and_fail_over() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    (1..LANS).try_for_each(|lan| lab.add_lan(lan))?;
    roll::wait_link_local(&lab, &["r1", "r2"])?;
    let wire = Roll::start(&lab, LANS)?;
    let mut r1 = lab.run("r1", &conf(VRIDS, 200))?;
    wait_leads(&lab, &wire, "r1", &r1)?;
    ensure!(all_are(&r1, "MASTER"), "{}", r1.log_end());
    let r2 = lab.run("r2", &conf(VRIDS, 100))?;
    wait_until("all of r2 are BACKUP", LIMIT, || all_are(&r2, "BACKUP"))
        .with_context(|| r2.log_end())?;

    // The same again, then all changed, then half of them gone and back.
    for (reload, text) in [conf(VRIDS, 200), conf(VRIDS, 201)].iter().enumerate() {
        r1.reload(text)?;
        let done = || r1.count_log("Reload done") > reload;
        wait_until("r1 has reloaded", LIMIT, done).with_context(|| r1.log_end())?;
    }
    // Longer than r2 waits.
    pause(2500);
    ensure!(wire.spoke("r2").is_empty(), "r2 took {:?} over", wire.spoke("r2").keys());
    r1.reload(&conf(VRIDS / 2, 201))?;
    let released = || wire.released("r1").len() == routers().len() / 2;
    wait_until("r1 released half of them", LIMIT, released).with_context(|| r1.log_end())?;
    r1.reload(&conf(VRIDS, 201))?;
    wait_leads(&lab, &wire, "r1", &r1)?;

    r1.stop()?;
    wait_leads(&lab, &wire, "r2", &r2)?;
    ensure!(all_are(&r2, "MASTER"), "{}", r2.log_end());
    let released = wire.released("r1");
    let silent: Vec<_> = routers().into_iter().filter(|r| !released.contains_key(r)).collect();
    ensure!(silent.is_empty(), "no last words for {silent:?}");
    let left = roll::held(&lab, "r1", routers())?;
    ensure!(left == 0, "r1 kept {left} addresses");
    for host in ["r1", "r2"] {
        ensure!(wire.sources(host) == own_addresses(host), "{:?}", wire.sources(host));
    }
    Ok(())
}
