//! Who is MASTER, and when: healed networks, nopreempt, preempt_delay, frozen processes, loops.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::{BUSY, is_about, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, now, wait_until};

const VIP: &str = "192.0.2.250";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);

fn run(lab: &Lab, host: &str, instance: Instance) -> Result<Daemon> {
    lab.run(host, &instance.alone(2))
}

/// Waits until this host alone has the address.
fn settled(lab: &Lab, host: &str) -> Result<()> {
    wait_until(&format!("{host} alone has the address"), LIMIT, || {
        lab.holders(&["r1", "r2"], VIP) == [host]
    })
    .map(drop)
}

/// How long after `since` the host's first advert came.
fn first_after(wire: &Capture, host: &str, since: Duration) -> Option<Duration> {
    let first = wire.adverts_of(host).into_iter().find(|seen| seen.at > since)?;
    Some(first.at - since)
}

/// Both were MASTER; when the network heals the stronger one stays and claims its clients back.
#[test]
fn b21_both_masters_and_the_weaker_speaks_first() -> Result<()> {
    heals(Duration::from_millis(200))
}

/// The same, but the weaker one hears that it lost before the stronger one knows of it at all.
#[test]
fn b21_both_masters_and_the_stronger_speaks_first() -> Result<()> {
    // keepalived leaves its clients at the dead end here for five seconds and more.
    if Kind::ours_under_test() { heals(Duration::from_millis(800)) } else { Ok(()) }
}

/// Heals the network so long after an advert of r1. r2's own come 609 ms after r1's.
fn heals(after_advert: Duration) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let client = lab.ask(ADDRESS, 50)?;
    let (wire, cable) = (lab.capture("client")?, lab.capture_port("r1")?);
    let _r1 = run(&lab, "r1", Instance::new(150))?;
    settled(&lab, "r1")?;
    let r2 = run(&lab, "r2", Instance::new(100))?;
    wait_until("the client is served", LIMIT, || client.served_by() == Some(11))?;

    lab.cut("r1")?;
    wait_until("both are MASTER", LIMIT, || lab.holders(&["r1", "r2"], VIP).len() == 2)?;
    wait_until("the client is served by r2", LIMIT, || client.served_by() == Some(12))?;
    pause(2000);
    let spoken = cable.adverts_of("r1").len();
    wait_until("r1 speaks", LIMIT, || cable.adverts_of("r1").len() > spoken)?;
    let at = cable.adverts_of("r1").pop().context("r1 is silent")?.at + after_advert;
    std::thread::sleep(at.saturating_sub(now()));

    let (watch, healed) = (lab.watch("r2")?, now());
    lab.mend("r1")?;
    let gives_way = watch.wait_gone(ADDRESS, healed, LIMIT).with_context(|| r2.log_end())?;
    wait_until("the client is served by r1", LIMIT, || client.served_by() == Some(11))
        .with_context(|| r2.log_end())?;
    let by_r1 = client.so_far().first_by(11, healed).context("r1 does not answer")?;
    let served = by_r1 - healed;
    println!("B21: r2 gave way {gives_way:?} after it healed, r1 served {served:?} after it");
    ensure!(gives_way < Duration::from_secs(1) + BUSY, "r2 gave way after {gives_way:?}");
    ensure!(served < Duration::from_millis(1500) + BUSY, "served by r1 after {served:?}");
    let announced = || wire.announcements(ADDRESS).into_iter().any(|(at, _)| at > healed);
    wait_until("r1 is announced", LIMIT, announced)?;
    pause(2500);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r1"], "not r1 alone");
    // The first advert of r1 that r2 can hear is enough.
    let heard = wire.adverts_of("r1").into_iter().find(|seen| seen.at > healed);
    let heard = heard.context("r1 is not heard")?.at;
    let more = wire.adverts_of("r2").into_iter().filter(|seen| seen.at > heard).count();
    ensure!(more == 0, "{more} adverts of r2 behind that of r1: {}", r2.log_end());
    let gap = client.finish().longest_gap_after(healed);
    ensure!(gap < Duration::from_millis(1500) + BUSY, "{gap:?} without an answer");
    Ok(())
}

/// A stronger router with nopreempt that comes back leaves the other one alone.
#[test]
fn b23_nopreempt_after_a_reboot() -> Result<()> {
    together(&[
        ("the link is up at once", || nopreempt(false)),
        ("the link comes up late", || nopreempt(true)),
    ])
}

fn nopreempt(link_late: bool) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let mut r2 = run(&lab, "r2", Instance::new(100))?;
    settled(&lab, "r2")?;
    if link_late {
        lab.ns("r1").ip("link set eth0 down")?;
    }
    let r1 = run(&lab, "r1", Instance::new(150).line("nopreempt"))?;
    if link_late {
        pause(2000);
        lab.ns("r1").ip("link set eth0 up")?;
    }
    // Four times as long as it would wait: the fifteenth advert of r2 says no more than the sixtieth.
    pause(15_000);
    ensure!(wire.adverts_of("r1").is_empty(), "r1 spoke");
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "not r2 alone");
    r2.stop()?;
    settled(&lab, "r1").with_context(|| r1.log_end())
}

#[test]
fn b25_preempt_delay() -> Result<()> {
    together(&[
        ("against a weaker one, and again after a fault", preempts_late),
        ("cancelled by a stronger one", delay_is_cancelled),
        ("no reason to wait for a dead one", no_delay_for_the_dead),
        ("no reason to wait for nobody", no_delay_for_nobody),
    ])
}

fn delayed(seconds: u32) -> Instance {
    Instance::new(150).line(&format!("preempt_delay {seconds}"))
}

fn preempts_late() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let _r2 = run(&lab, "r2", Instance::new(100))?;
    settled(&lab, "r2")?;
    let r1 = run(&lab, "r1", delayed(5))?;
    // It takes its time to start.
    r1.wait_log("Entering BACKUP", LIMIT)?;
    let mut begin = now();
    for what in ["start", "fault"] {
        wait_until("r1 preempts", LIMIT, || first_after(&wire, "r1", begin).is_some())
            .with_context(|| r1.log_end())?;
        let heard = first_after(&wire, "r2", begin).context("r2 is silent")?;
        let waited = first_after(&wire, "r1", begin).context("r1 is silent")? - heard;
        // After the delay it waits for a silence: 3.414 s.
        let window = Duration::from_millis(4800)..Duration::from_millis(8800) + BUSY;
        ensure!(window.contains(&waited), "r1 took over {waited:?} after it heard r2 ({what})");
        settled(&lab, "r1")?;
        if what == "start" {
            lab.carrier("r1", false)?;
            settled(&lab, "r2")?;
            pause(500);
            begin = now();
            lab.carrier("r1", true)?;
        }
    }
    Ok(())
}

fn delay_is_cancelled() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let r2 = run(&lab, "r2", Instance::new(100))?;
    settled(&lab, "r2")?;
    let r1 = run(&lab, "r1", delayed(5))?;
    r1.wait_log("Entering BACKUP", LIMIT)?;
    pause(2000);
    r2.reload(&Instance::new(200).alone(2))?;
    pause(10_000);
    let raised = wire.adverts_of("r2").iter().any(|seen| seen.advert.priority == 200);
    ensure!(raised, "r2 never said 200");
    ensure!(wire.adverts_of("r1").is_empty(), "r1 spoke");
    Ok(())
}

fn no_delay_for_the_dead() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let mut r2 = run(&lab, "r2", Instance::new(100))?;
    settled(&lab, "r2")?;
    let _r1 = run(&lab, "r1", delayed(30))?;
    pause(3000);
    r2.kill()?;
    lab.carrier("r2", false)?;
    let last = wire.adverts_of("r2").pop().context("r2 never spoke")?.at;
    wait_until("r1 takes over", LIMIT, || first_after(&wire, "r1", last).is_some())?;
    let waited = first_after(&wire, "r1", last).context("r1 is silent")?;
    ensure!(is_about(waited, Duration::from_millis(3414)), "after {waited:?}");
    Ok(())
}

fn no_delay_for_nobody() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let begin = now();
    let r1 = run(&lab, "r1", delayed(30))?;
    r1.wait_log("Entering BACKUP", LIMIT)?;
    let listens = now();
    wait_until("r1 takes over", LIMIT, || first_after(&wire, "r1", begin).is_some())?;
    let waited = first_after(&wire, "r1", begin).context("r1 is silent")?;
    let down = Duration::from_millis(3414);
    let limit = listens - begin + down + BUSY;
    ensure!((down..limit).contains(&waited), "after {waited:?}, and not by {limit:?}");
    Ok(())
}

#[test]
fn b29_frozen_process() -> Result<()> {
    together(&[
        ("the stronger one is frozen", || frozen(Instance::new(150), Instance::new(100))),
        ("the stronger one, nopreempt", || {
            frozen(Instance::new(150).line("nopreempt"), Instance::new(100))
        }),
        ("the weaker one, beside nopreempt", frozen_and_loses),
    ])
}

/// After five frozen seconds r1 makes no noise and the client is served by one of the two.
fn frozen(r1: Instance, r2: Instance) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let client = lab.ask(ADDRESS, 100)?;
    let wire = lab.capture("client")?;
    let r1 = run(&lab, "r1", r1)?;
    settled(&lab, "r1")?;
    let r2 = run(&lab, "r2", r2)?;
    pause(2000);
    r1.freeze();
    let last = wire.adverts_of("r1").pop().context("r1 never spoke")?.at;
    pause(5000);
    let taken = first_after(&wire, "r2", last).context("r2 is silent")?;
    ensure!(is_about(taken, Duration::from_millis(3609)), "r2 MASTER after {taken:?}");
    r1.thaw();
    let thawed = now();
    pause(100);
    let at_once = |at: Duration| at > thawed && at < thawed + Duration::from_millis(500);
    let burst = wire.adverts_of("r1").iter().filter(|seen| at_once(seen.at)).count();
    ensure!(burst <= 1 || !Kind::ours_under_test(), "{burst} adverts at once after it went on");
    pause(1400);
    let state = || {
        let served = client.served_by().map(vrrp_tests::lab::host_of);
        (lab.holders(&["r1", "r2"], VIP), served)
    };
    let is_one = |(holders, served): (Vec<String>, Option<&str>)| {
        holders.len() == 1 && served == Some(holders[0].as_str())
    };
    wait_until("one has it and answers", Duration::from_secs(3), || is_one(state()))
        .with_context(|| format!("{:?}: {}\n{}", state(), r1.log_end(), r2.log_end()))?;
    Ok(())
}

/// r1, weaker, led only because r2 does not preempt. When it wakes it must hear r2 first.
fn frozen_and_loses() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = run(&lab, "r1", Instance::new(100))?;
    settled(&lab, "r1")?;
    let _r2 = run(&lab, "r2", Instance::new(150).line("nopreempt"))?;
    pause(2000);
    r1.freeze();
    pause(5000);
    ensure!(lab.holds("r2", VIP), "r2 did not take over");
    let (thawed, watch) = (now(), lab.watch("r1")?);
    r1.thaw();
    let gone = watch.wait_gone(ADDRESS, thawed, LIMIT)?;
    ensure!(gone < BUSY, "r1 let go after {gone:?}");
    pause(1500);
    let spoken = wire.adverts_of("r1").iter().filter(|seen| seen.at > thawed).count();
    if Kind::ours_under_test() {
        ensure!(spoken == 0, "r1 sent {spoken} adverts after it went on");
    }
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "not r2 alone");
    Ok(())
}

/// A loop brings a MASTER's own adverts back to it.
#[test]
fn b61_own_adverts_come_back() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = run(&lab, "r1", Instance::new(100))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    pause(1500);
    lab.switch().ip("link set p-r1 type bridge_slave hairpin on")?;
    let begin = now();
    pause(8000);
    let within = |at: Duration| at > begin && at < begin + Duration::from_secs(8);
    let spoken = wire.adverts_of("r1").iter().filter(|seen| within(seen.at)).count();
    ensure!((7..=9).contains(&spoken), "{spoken} adverts in 8 s");
    ensure!(lab.holds("r1", VIP), "r1 let go");
    ensure!(r1.count_log("Entering BACKUP") <= 1, "r1 changed its state");
    if Kind::ours_under_test() {
        let status = r1.status()?;
        let instance = status.instance("VI_1")?;
        ensure!(instance.refused("own_source") >= 7, "{}", instance.json());
        let told = r1.log().lines().filter(|l| l.contains("192.0.2.11")).count();
        ensure!(told <= 1, "{told} lines about it");
    }
    Ok(())
}
