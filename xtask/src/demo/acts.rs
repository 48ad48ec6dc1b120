//! The programme.

use std::time::Duration;

use anyhow::Result;
use vrrp_tests::now;
use vrrp_tests::wait::pause;

use super::conf;
use super::stage::{Expect, ONE, Stage, TWO};

/// VRRPv2 with one advert a second, r2 at priority 100 (RFC 3768 §6.1).
const SKEW: Duration = Duration::from_micros(609_375);
const DOWN: Duration = Duration::from_micros(3_609_375);
/// Two failures in a row of a check that runs each second.
const NOTICED: Duration = Duration::from_secs(2);
/// VRRPv3 with ten adverts a second, r2 at priority 100 (RFC 9568 §6.1).
const FAST_DOWN: Duration = Duration::from_micros(360_938);

const NO_GAP: &str = "the other answers until this one does";

/// Plays all of it.
pub(super) fn play(stage: &mut Stage) -> Result<()> {
    one_address(stage)?;
    two_addresses(stage)
}

fn one_address(stage: &mut Stage) -> Result<()> {
    println!(
        "\nTwo hosts with nginx, r1 and r2, and one address, {ONE}. The keepalived.conf of r1:\n"
    );
    print!("{}", conf::shown(&conf::one_address("r1")));
    println!("\nr2 has the same with `state BACKUP` and `priority 100`.");
    println!("A client opens 1000 connections a second to {ONE} and asks for a page.");

    stage.clock.say("the daemons start; they listen for 3.6 s before one of them speaks");
    stage.ask(ONE, 1000)?;
    for host in ["r1", "r2"] {
        stage.daemon(host, &conf::one_address(host))?;
    }
    stage.until(ONE, "r1")?;
    if let Some(path) = stage.data_path("r1") {
        println!("               r1 checks adverts on eth0 by this data path: {path}");
    }
    pause(1500);

    let to = |host, allowed, because| Expect { address: ONE, host, allowed, because };
    let killed = to("r2", NOTICED + DOWN, "two failed checks + Master_Down_Interval");
    stage.act("nginx is killed on r1", &killed, |stage| stage.kill_web("r1"))?;
    let back = to("r1", Duration::ZERO, NO_GAP);
    stage.act("nginx is back on r1", &back, |stage| stage.web("r1"))?;
    let stopped = to("r2", SKEW, "Skew_Time after priority 0");
    stage.act("the daemon on r1 is stopped", &stopped, |stage| stage.stop("r1"))?;
    stage.act("the daemon on r1 is started", &back, |stage| {
        stage.daemon("r1", &conf::one_address("r1"))
    })?;
    let cut = to("r2", DOWN, "Master_Down_Interval");
    stage
        .act("r1 is cut off: its cable is pulled", &cut, |stage| stage.lab.carrier("r1", false))?;
    stage.act("r1 is plugged in again", &back, |stage| stage.lab.carrier("r1", true))?;
    Ok(())
}

fn two_addresses(stage: &mut Stage) -> Result<()> {
    println!(
        "\nNow two addresses, so that both hosts have work; VRRPv3 with ten adverts a second. r1:\n"
    );
    print!("{}", conf::shown(&conf::two_addresses("r1")));
    println!("\nr2 has the priorities the other way round.");
    stage.clock.say("both daemons are stopped, and started with that");
    for host in ["r2", "r1"] {
        stage.stop(host)?;
    }
    for host in ["r1", "r2"] {
        stage.daemon(host, &conf::two_addresses(host))?;
    }
    stage.ask(TWO, 500)?;
    stage.until(ONE, "r1")?;
    stage.until(TWO, "r2")?;
    pause(1000);

    let one = |host, allowed, because| Expect { address: ONE, host, allowed, because };
    let two =
        Expect { address: TWO, host: "r2", allowed: Duration::ZERO, because: "not concerned" };
    let begin = now();
    let cut = one("r2", FAST_DOWN, "Master_Down_Interval");
    let what = "r1 is cut off";
    stage.act(what, &cut, |stage| stage.lab.carrier("r1", false))?;
    stage.measure(what, &two, begin)?;
    let begin = now();
    let back = one("r1", Duration::ZERO, NO_GAP);
    let what = "r1 is plugged in again";
    stage.act(what, &back, |stage| stage.lab.carrier("r1", true))?;
    stage.measure(what, &two, begin)?;
    for address in [ONE, TWO] {
        if let Some((asked, answered)) = stage.requests(address) {
            println!("\n{address} was asked {asked} times and answered {answered} times.");
        }
    }
    Ok(())
}
