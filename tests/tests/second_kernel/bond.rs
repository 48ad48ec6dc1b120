//! An instance on a bond.

use anyhow::{Context, Result, ensure};
use vrrp_tests::Lab;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::pause;

use crate::{VIP, becomes, cable, long_enough, of, port, until};

const OTHER: &str = "192.0.2.251";

/// Makes a bond of two cables on a host: `bond0` with 192.0.2.2N.
pub(crate) fn bond(lab: &Lab, host: &str, bridge: &str, mode: &str) -> Result<()> {
    let netns = lab.ns(host);
    netns.ip(&format!("link add bond0 type bond mode {mode} miimon 100"))?;
    for slave in ["s1", "s2"] {
        cable(lab, host, slave, bridge)?;
        netns.ip(&format!("link set {slave} master bond0"))?;
    }
    netns.ip(&format!("addr add 192.0.2.{}/24 dev bond0", 10 + vrrp_tests::lab::number(host)))?;
    netns.ip("link set bond0 up")?;
    let carrier = || netns.ip("link show bond0").is_ok_and(|text| text.contains("LOWER_UP"));
    until("the bond has a carrier", carrier)
}

/// Neither the MASTER's nor the BACKUP's bond lets the owner change when a cable is pulled.
#[test]
#[ignore = "for the second kernel"]
fn a_slave_fails_and_the_owners_stay() -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    lab.ns("r1").ip("link set eth0 down")?;
    bond(&lab, "r1", "br0", "active-backup")?;
    let both = |device: &str, first, second| {
        let conf = Conf::new(3).with(Instance::new(first).on(device));
        let other = Instance::new(second).on(device).named("VI_2", 52);
        conf.with(other.holding(&["192.0.2.251/24"])).text()
    };
    let r1 = lab.run("r1", &both("bond0", 150, 100))?;
    let r2 = lab.run("r2", &both("eth0", 100, 150))?;
    becomes(&r1, "VI_1", "MASTER")?;
    becomes(&r2, "VI_2", "MASTER")?;
    becomes(&r2, "VI_1", "BACKUP")?;
    becomes(&r1, "VI_2", "BACKUP")?;
    let owners = || (lab.holders(&["r1", "r2"], VIP), lab.holders(&["r1", "r2"], OTHER));
    let expected = || (vec!["r1".to_owned()], vec!["r2".to_owned()]);
    until("each has its address", || owners() == expected())?;
    let changes = || (r1.count_log("Entering MASTER"), r2.count_log("Entering MASTER"));
    let before = changes();
    let active = || -> Result<String> {
        let text = lab.ns("r1").sh("cat /proc/net/bonding/bond0")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Currently Active Slave: "));
        line.map(str::to_owned).context(text.clone())
    };
    let first = active()?;
    lab.switch().ip(&format!("link set {} down", port("r1", &first)))?;
    until("the other slave is active", || active().is_ok_and(|now| now != first))?;
    long_enough();
    ensure!(owners() == expected(), "{:?}", owners());
    ensure!(changes() == before, "{:?}\n{}\n{}", changes(), r1.log_end(), r2.log_end());
    Ok(())
}

/// B61, bonded twice: what leaves by one slave comes back by the other one.
#[test]
#[ignore = "for the second kernel"]
fn b61_bonded_twice() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    lab.ns("r1").ip("link set eth0 down")?;
    bond(&lab, "r1", "br0", "balance-rr")?;
    let r1 = lab.run("r1", &Instance::new(150).on("bond0").alone(3))?;
    becomes(&r1, "VI_1", "MASTER")?;
    let own = || of(&r1, "VI_1", |one| (one.refused("own_source"), one.counter("sent")));
    until("its own adverts come back", || own().is_ok_and(|(back, _)| back > 0))
        .with_context(|| r1.log_end())?;
    let (begin, before) = (vrrp_tests::now(), own()?);
    pause(8000);
    let ((back, sent), seconds) = (own()?, (vrrp_tests::now() - begin).as_secs());
    ensure!(back > before.0, "they came back no more");
    // One a second, and no answers.
    ensure!(sent - before.1 <= seconds + 1, "{} adverts in {seconds} s", sent - before.1);
    ensure!(r1.count_log("Entering") == 2, "{}", r1.log_end());
    let told = r1.log().lines().filter(|line| line.contains("own_source")).count();
    ensure!(told <= 1, "{told} lines: {}", r1.log_end());
    Ok(())
}
