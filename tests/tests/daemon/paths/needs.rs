//! Routes that need an address of another router, or of their own, and rules that need an interface.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::super::{LIMIT, VIP, brisk, wait_state};
use super::{routes, rules, sorted, with};

/// By the address of the other router, and from it.
const TWO: [&str; 2] = [
    "10.1.0.0/16 via 203.0.113.1 dev eth1",
    "10.2.0.0/16 via 192.0.2.1 dev eth0 src 203.0.113.250",
];

fn first() -> Instance {
    // Without `dev`, as most write it: the loss of that interface is no fault of this one.
    let lines = TWO.map(|line| line.replace(" dev eth0", "").replace(" dev eth1", ""));
    with(&[&lines[0], &lines[1]], &[])
}

fn second() -> Instance {
    brisk(100).named("VI_2", 52).on("eth1").holding(&["203.0.113.250/24"])
}

fn wait_routes(lab: &Lab, daemon: &Daemon, expected: &[&str]) -> Result<()> {
    let there = || routes(lab, "r1").is_ok_and(|there| there == sorted(expected));
    wait_until(&format!("{expected:?}"), LIMIT, there)
        .with_context(|| format!("{:?}", routes(lab, "r1")))
        .with_context(|| daemon.log_end())?;
    Ok(())
}

/// Of a sync group the first one's routes go on before the second one's address.
pub(super) fn another_router_s_address() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1"])?;
    let two = Conf::new(3).with(first()).with(second());
    let r1 = lab.run("r1", &two.clone().group("G", &["VI_1", "VI_2"], &[]).text())?;
    wait_routes(&lab, &r1, &TWO)?;
    ensure!(r1.status()?.instance("VI_1")?.paths().iter().all(|(_, error)| error.is_empty()));
    // Longer than it would take to tell.
    pause(500);
    let said = ["can't be set", "set now"].map(|words| r1.count_log(words));
    ensure!(said == [0, 0], "of what nobody missed: {}", r1.log());
    // One without a group loses them with the other one's address, and gets them back with it.
    r1.reload(&two.text())?;
    for _ in 0..2 {
        wait_state(&r1, "VI_2", "MASTER")?;
        wait_routes(&lab, &r1, &TWO)?;
        lab.second_carrier("r1", false)?;
        wait_state(&r1, "VI_2", "FAULT")?;
        let from = || routes(&lab, "r1").is_ok_and(|there| there.iter().any(|one| one == TWO[1]));
        wait_until("the one from it is gone", LIMIT, || !from()).with_context(|| r1.log_end())?;
        lab.second_carrier("r1", true)?;
    }
    wait_routes(&lab, &r1, &TWO)?;
    ensure!(r1.count_log("(VI_1) Entering MASTER") == 1, "it stepped down: {}", r1.log());
    Ok(())
}

/// An IPv6 route does not go with its source: the kernel has it forget that.
pub(super) fn an_ipv6_source() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let other = "2001:db8::250/64";
    let from = "2001:db8:7::/48 via 2001:db8::1 dev eth0 src 2001:db8::250";
    let plain = "2001:db8:8::/48 via 2001:db8::1 dev eth0";
    let r1 = lab.run(
        "r1",
        &with(&[from, plain], &[]).track("virtual_ipaddress_excluded", &[other]).alone(3),
    )?;
    let both = [from, plain].map(|line| format!("{line} metric 1024 pref medium"));
    let both = [both[0].as_str(), both[1].as_str()];
    wait_routes(&lab, &r1, &both)?;
    lab.ns("r1").ip(&format!("addr del {other} dev eth0"))?;
    wait_until("it is noticed", LIMIT, || r1.count_log("2001:db8::250") > 0)?;
    wait_routes(&lab, &r1, &both)?;
    ensure!(lab.holds("r1", VIP) && r1.count_log("Entering MASTER") == 1, "{}", r1.log());
    Ok(())
}

/// The same where it is one of the host's own, which comes back late, or at once.
pub(super) fn an_ipv6_source_of_the_host() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let own = |verb: &str| lab.ns("r1").ip(&format!("addr {verb} 2001:db8::11/64 dev eth0 nodad"));
    own("add")?;
    let [from, plain] = ["7::/48 dev eth0 src 2001:db8::11", "8::/48 dev eth0"]
        .map(|rest| format!("2001:db8:{rest}"));
    let r1 = lab.run("r1", &with(&[&from, &plain], &[]).alone(3))?;
    let [from, plain] = [from, plain].map(|line| format!("{line} metric 1024 pref medium"));
    wait_routes(&lab, &r1, &[&from, &plain])?;
    own("del")?;
    wait_routes(&lab, &r1, &[&plain])?;
    own("add")?;
    wait_routes(&lab, &r1, &[&from, &plain])?;
    lab.ns("r1").sh(
        "printf 'addr del 2001:db8::11/64 dev eth0\naddr add 2001:db8::11/64 dev eth0 nodad\n' | ip -batch -",
    )?;
    let known = lab.ns("r1").ip("-6 route show 2001:db8:7::/48")?;
    wait_routes(&lab, &r1, &[&from, &plain]).with_context(|| format!("it was {known}"))?;
    Ok(())
}

/// Clients behind it would reach nobody. Both daemons are asked the same.
pub(super) fn an_interface_of_a_rule() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1"])?;
    let both = ["iif eth1 table 7 preference 70", "oif eth1 table 7 preference 71"];
    let untracked = both.map(|rule| format!("{rule} no_track"));
    let untracked = [untracked[0].as_str(), untracked[1].as_str()];
    for kind in [Kind::Keepalived, Kind::Xvrrp] {
        for rule in both {
            let mut r1 = Daemon::start(&lab, kind, "r1", &with(&[], &[rule]).alone(3), &[])?;
            let holds = |holds: bool| {
                let is = || {
                    let rules =
                        rules(&lab, "r1").is_ok_and(|there| there.len() == usize::from(holds));
                    rules && lab.holds("r1", VIP) == holds
                };
                wait_until(&format!("{kind:?} {rule} {holds}"), LIMIT, is)
                    .with_context(|| r1.log_end())
            };
            holds(true)?;
            lab.second_carrier("r1", false)?;
            holds(false)?;
            lab.second_carrier("r1", true)?;
            holds(true)?;
            r1.stop()?;
        }
        let mut r1 = Daemon::start(&lab, kind, "r1", &with(&[], &untracked).alone(3), &[])?;
        wait_until("it is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
        lab.second_carrier("r1", false)?;
        // Neither tells of an interface that is nobody's business.
        pause(1500);
        ensure!(lab.holds("r1", VIP), "{kind:?}: {}", r1.log_end());
        lab.second_carrier("r1", true)?;
        r1.stop()?;
    }
    Ok(())
}
