//! The story this project is for: two web hosts, one address, and everything that can die.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::http::HttpAsker;
use vrrp_tests::wait::{BUSY, pause};
use vrrp_tests::web::Web;
use vrrp_tests::{Lab, Pulse, now, wait_until};

const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const TWO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 251);

/// v2 with an interval of 1 s and priority 100 on the BACKUP.
const SKEW: Duration = Duration::from_millis(609);
const DOWN: Duration = Duration::from_millis(3609);

/// What a busy machine may add to what the protocol allows.
const MARGIN: Duration = BUSY;

fn conf(priority: u8) -> Conf {
    let instance = Instance::new(priority).password("1111").track("track_script", &["chk_nginx"]);
    Conf::new(2)
        .global("script_user root")
        .script(
            "chk_nginx",
            &[
                "script \"/bin/bash -c '</dev/tcp/127.0.0.1/80'\"",
                "interval 1",
                "fall 2",
                "rise 2",
                "weight -20",
            ],
        )
        .with(instance)
}

/// The longest gap while `act` plays and until `who` answers.
fn played(
    (client, pulse): (&HttpAsker, &Pulse),
    what: &str,
    who: u8,
    allowed: Duration,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let begin = now();
    act()?;
    let limit = allowed + Duration::from_secs(30);
    wait_until(&format!("{what}: the other answers"), limit, || client.served_by() == Some(who))?;
    pause(1200);
    let gap = client.so_far().longest_gap_awake(begin, pulse);
    eprintln!("{what}: {gap:?} without an answer, {allowed:?} allowed");
    ensure!(gap < allowed + MARGIN, "{what}: {gap:?} without an answer, not {allowed:?}");
    ensure!(client.so_far().last() == Some(who), "{what}: another answers again");
    Ok(())
}

#[test]
fn two_web_hosts_one_address() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let mut web1 = Web::start(&lab, "r1")?;
    let _web2 = Web::start(&lab, "r2")?;
    let (client, pulse) = (HttpAsker::start(&lab, ONE, 200)?, Pulse::start());
    let mut r1 = lab.run("r1", &conf(110).text())?;
    let r2 = lab.run("r2", &conf(100).text())?;
    wait_until("r1 answers", Duration::from_secs(30), || client.served_by() == Some(11))
        .with_context(|| r1.log_end())?;
    pause(2000);

    // The check's two failures, its phase, and the BACKUP's wait after the last advert it obeyed.
    let noticed = Duration::from_secs(3);
    played((&client, &pulse), "nginx killed", 12, noticed + DOWN, || {
        web1.kill();
        Ok(())
    })?;
    played((&client, &pulse), "nginx back", 11, Duration::ZERO, || {
        web1 = Web::start(&lab, "r1")?;
        Ok(())
    })?;
    played((&client, &pulse), "daemon stopped", 12, SKEW, || r1.stop().map(drop))?;
    played((&client, &pulse), "daemon back", 11, Duration::ZERO, || {
        r1 = lab.run("r1", &conf(110).text())?;
        Ok(())
    })?;
    played((&client, &pulse), "host cut off", 12, DOWN, || lab.carrier("r1", false))?;
    played((&client, &pulse), "host back", 11, Duration::ZERO, || lab.carrier("r1", true))?;
    wait_until("r1 alone has it", Duration::from_secs(30), || {
        lab.holders(&["r1", "r2"], "192.0.2.250") == ["r1"]
    })
    .with_context(|| r2.log_end())?;
    Ok(())
}

/// Two addresses, each host leads for one; a host that is lost leaves both to the other.
#[test]
fn dual_master() -> Result<()> {
    let both = |first, second| {
        Conf::new(3)
            .with(Instance::new(first).every("0.1"))
            .with(Instance::new(second).named("VI_2", 52).every("0.1").holding(&["192.0.2.251/24"]))
            .text()
    };
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let (_web1, _web2) = (Web::start(&lab, "r1")?, Web::start(&lab, "r2")?);
    let (one, two) = (HttpAsker::start(&lab, ONE, 200)?, HttpAsker::start(&lab, TWO, 200)?);
    let _r1 = lab.run("r1", &both(110, 100))?;
    let _r2 = lab.run("r2", &both(100, 110))?;
    let limit = Duration::from_secs(30);
    wait_until("each leads for one", limit, || {
        one.served_by() == Some(11) && two.served_by() == Some(12)
    })?;
    pause(1000);
    let down = Duration::from_millis(361);
    let (begin, pulse) = (now(), Pulse::start());
    played((&one, &pulse), "host cut off", 12, down, || lab.carrier("r1", false))?;
    played((&one, &pulse), "host back", 11, Duration::ZERO, || lab.carrier("r1", true))?;
    let gap = two.finish().longest_gap_awake(begin, &pulse);
    ensure!(gap < MARGIN, "the other address was away for {gap:?}");
    Ok(())
}
