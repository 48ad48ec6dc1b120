//! C45 with shorter times: how often an instance announces itself, and what it says when it loses.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::wait::{one_of_three, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, now, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// An instance of the file.
#[derive(Clone, Copy)]
struct Routed {
    name: &'static str,
    vrid: u8,
    address: Ipv4Addr,
}

const DEFAULTS: Routed =
    Routed { name: "DEFAULTS", vrid: 141, address: Ipv4Addr::new(192, 0, 2, 250) };
const OWN: Routed = Routed { name: "OWN", vrid: 142, address: Ipv4Addr::new(192, 0, 2, 251) };

/// The handed file with 1 s in place of 10 and 4 s in place of 60, both instances MASTER.
fn started() -> Result<(Lab, Capture, Daemon)> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let wire = lab.capture("client")?;
    let mut conf = cases::configuration("C45-garp-options");
    for (long, short) in [
        ("vrrp_garp_master_delay 10\n", "vrrp_garp_master_delay 1\n"),
        ("vrrp_garp_master_refresh 60\n", "vrrp_garp_master_refresh 4\n"),
    ] {
        ensure!(conf.contains(long), "no {long}");
        conf = conf.replace(long, short);
    }
    let daemon = lab.run("r1", &conf)?;
    let announced = |one: Routed| !wire.announcements(one.address).is_empty();
    wait_until("both are MASTER", LIMIT, || announced(DEFAULTS) && announced(OWN))
        .with_context(|| daemon.log_end())?;
    Ok((lab, wire, daemon))
}

#[test]
fn c45_garp_and_advert_options() -> Result<()> {
    // keepalived sends OWN's first announcement alone and never comes to the others.
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("announcements", || one_of_three(announcements)),
        ("an advert before yielding", || one_of_three(an_advert_before_yielding)),
        ("dont_track_primary", the_link_goes_down),
    ])
}

/// When an instance spoke first: the times of announcements count from there.
fn took_over(wire: &Capture, one: Routed) -> Duration {
    let mut adverts = wire.adverts().into_iter();
    adverts.find(|seen| seen.advert.vrid == one.vrid).map_or(Duration::ZERO, |seen| seen.at)
}

/// When rounds of announcements began, after the takeover, and how many each had.
fn rounds(wire: &Capture, one: Routed) -> Vec<(Duration, usize)> {
    let mut rounds: Vec<(Duration, usize)> = Vec::new();
    let (begin, mut last) = (took_over(wire, one), Duration::ZERO);
    for (at, _) in wire.announcements(one.address) {
        let since = at.saturating_sub(begin);
        match rounds.last_mut() {
            Some((_, count)) if since - last < Duration::from_millis(400) => *count += 1,
            Some(_) | None => rounds.push((since, 1)),
        }
        last = since;
    }
    rounds
}

/// These rounds and no others, none early and none later than a busy machine makes it.
fn are(rounds: &[(Duration, usize)], want: &[(u64, usize)]) -> bool {
    let near = |at: Duration, want: u64| {
        let want = Duration::from_millis(want);
        at + Duration::from_millis(100) > want && at < want + Duration::from_millis(350)
    };
    rounds.len() == want.len()
        && rounds.iter().zip(want).all(|(is, want)| near(is.0, want.0) && is.1 == want.1)
}

fn announcements() -> Result<()> {
    let (lab, wire, daemon) = started()?;
    let begin = took_over(&wire, OWN);
    let lower = 2200;
    std::thread::sleep((begin + Duration::from_millis(lower)).saturating_sub(now()));
    for one in [DEFAULTS, OWN] {
        lab.inject("gen", &cases::advert_of_gen(one.vrid, 50, one.address))?;
    }
    pause(8700 - lower);
    let status = daemon.status()?;
    for one in [DEFAULTS, OWN] {
        let instance = status.instance(one.name)?;
        ensure!(instance.counter("accepted") == 1, "not heard: {}", instance.json());
        ensure!(instance.state() == "MASTER", "{}", instance.json());
    }
    // One at once and one after the delay, then two each refresh; a lower advert changes nothing.
    let got = rounds(&wire, DEFAULTS);
    ensure!(are(&got, &[(0, 1), (1000, 1), (4000, 2), (8000, 2)]), "DEFAULTS: {got:?}");
    // Three at once and no second round; two for the lower advert and two a second later.
    let got = rounds(&wire, OWN);
    let want = [(0, 3), (lower, 2), (lower + 1000, 2), (4000, 2), (8000, 2)];
    ensure!(are(&got, &want), "OWN: {got:?}");
    Ok(())
}

fn an_advert_before_yielding() -> Result<()> {
    let (lab, _, daemon) = started()?;
    // Where it leaves, not where it arrives: a busy machine has the address gone before that.
    let wire = lab.capture("r1")?;
    let watch = lab.watch("r1")?;
    let last_words = |one: Routed| -> Result<Vec<(Duration, u8)>> {
        let spoken = || {
            let mut all = wire.adverts_of("r1");
            all.retain(|seen| seen.advert.vrid == one.vrid);
            all
        };
        // In the middle between two adverts, so that one sent at once stands out.
        wait_until("an advert", LIMIT, || !spoken().is_empty())?;
        let last = spoken().pop().context("no advert")?.at;
        std::thread::sleep((last + Duration::from_millis(1400)).saturating_sub(now()));
        let begin = now();
        lab.inject("gen", &cases::advert_of_gen(one.vrid, 150, one.address))?;
        let gone = watch.wait_gone(one.address, begin, LIMIT)?;
        ensure!(gone < Duration::from_millis(500), "{} yields after {gone:?}", one.name);
        pause(1500);
        let after = spoken().into_iter().filter(|seen| seen.at > begin);
        // How long before the address was gone.
        Ok(after.map(|s| ((begin + gone).saturating_sub(s.at), s.advert.priority)).collect())
    };
    let words = last_words(OWN).with_context(|| daemon.log_end())?;
    ensure!(matches!(words[..], [(before, 100)] if !before.is_zero()), "OWN: {words:?}");
    let words = last_words(DEFAULTS).with_context(|| daemon.log_end())?;
    ensure!(words.is_empty(), "DEFAULTS: {words:?}");
    Ok(())
}

fn the_link_goes_down() -> Result<()> {
    let (lab, wire, daemon) = started()?;
    let states = || -> Result<[String; 2]> {
        let status = daemon.status()?;
        let state = |one: Routed| status.instance(one.name).map(|i| i.state().to_owned());
        Ok([state(DEFAULTS)?, state(OWN)?])
    };
    for what in ["pulled", "set down"] {
        let link = |up: bool| {
            if what == "pulled" {
                return lab.carrier("r1", up);
            }
            let state = if up { "up" } else { "down" };
            lab.ns("r1").ip(&format!("link set eth0 {state}")).map(drop)
        };
        link(false)?;
        wait_until("DEFAULTS is in FAULT", LIMIT, || {
            states().is_ok_and(|[defaults, _]| defaults == "FAULT")
        })?;
        pause(2500);
        let now_are = states()?;
        ensure!(now_are == ["FAULT", "MASTER"], "{what}: {now_are:?}");
        ensure!(lab.holds("r1", "192.0.2.251"), "{what}: OWN let go");
        link(true)?;
        let begin = now();
        wait_until(&format!("{what}: OWN speaks again"), LIMIT, || {
            wire.adverts_of("r1").iter().any(|s| s.at > begin && s.advert.vrid == OWN.vrid)
        })?;
    }
    let faults =
        daemon.log().lines().filter(|l| l.contains("(OWN)") && l.contains("FAULT")).count();
    ensure!(faults == 0, "{faults} faults of OWN:\n{}", daemon.log_end());
    Ok(())
}
