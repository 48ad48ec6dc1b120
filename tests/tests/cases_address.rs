//! The addresses: taken away, left behind, reloaded, many.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{BUSY, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, cases, now, wait_until};

const VIP: &str = "192.0.2.250";
const OTHER: &str = "192.0.2.251";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);

fn alone(lab: &Lab, instance: Instance) -> Result<Daemon> {
    let daemon = lab.run("r1", &instance.alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| daemon.log_end())?;
    Ok(daemon)
}

#[test]
fn of_one_that_runs() -> Result<()> {
    together(&[
        ("deleted by hand", b32_address_deleted_by_hand),
        ("deleted, and not tracked", b32_no_track_is_left_alone),
        ("one more for a BACKUP", b40a_a_backup_gets_another_address),
        ("one less for a MASTER", b40b_a_master_loses_an_address),
        ("reloads without a change", b40c_reloads_without_a_change),
    ])
}

#[test]
fn of_one_that_is_gone() -> Result<()> {
    together(&[
        ("killed and restarted", b34_killed_and_restarted),
        ("what the winner left", b34_the_winner_adopts_its_leftover),
        ("secondary ones", b36_secondary_addresses_vanish_with_the_first),
    ])
}

/// An address that somebody deletes is put back and announced; no step-down.
fn b32_address_deleted_by_hand() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let daemon = alone(&lab, Instance::new(100))?;
    pause(1500);
    let (begin, watch) = (now(), lab.watch("r1")?);
    lab.ns("r1").ip("addr del 192.0.2.250/24 dev eth0")?;
    wait_until("it is back", LIMIT, || lab.holds("r1", VIP))?;
    let back = watch.longest_gap(ADDRESS);
    if !Kind::ours_under_test() {
        return Ok(());
    }
    ensure!(back < BUSY, "back after {back:?}");
    wait_until("it is announced again", LIMIT, || {
        wire.announcements(ADDRESS).into_iter().any(|(at, _)| at > begin)
    })?;
    pause(3000);
    ensure!(daemon.count_log("Entering MASTER") == 1, "it changed its state");
    ensure!(daemon.status()?.instance("VI_1")?.state() == "MASTER", "not MASTER");
    let adverts = wire.adverts_of("r1");
    ensure!(adverts.iter().all(|seen| seen.advert.priority == 100), "it released");
    ensure!(
        daemon
            .log()
            .lines()
            .any(|l| l.contains(VIP) && l.contains("remove")
                || l.contains(VIP) && l.contains("back")),
        "no line says so"
    );
    Ok(())
}

/// An address that is not tracked stays away, and its instance MASTER.
fn b32_no_track_is_left_alone() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let _daemon = alone(&lab, Instance::new(100).holding(&["192.0.2.250/24 no_track"]))?;
    pause(1500);
    lab.ns("r1").ip("addr del 192.0.2.250/24 dev eth0")?;
    let begin = now();
    pause(4000);
    ensure!(!lab.holds("r1", VIP), "put back in spite of no_track");
    let spoken = wire.adverts_of("r1").into_iter().filter(|seen| seen.at > begin).count();
    ensure!(spoken >= 3, "no longer MASTER: {spoken} adverts in 4 s");
    Ok(())
}

/// Starts r1 and says when. On a busy machine it takes its time to enter the namespace before.
fn started(lab: &Lab, conf: &str) -> Result<(Daemon, Duration)> {
    if !Kind::ours_under_test() {
        let begin = now();
        return Ok((lab.run("r1", conf)?, begin));
    }
    let stamp = lab.dir().join("start");
    let noted = format!("date +%s%N > {} && exec \"$0\" \"$@\"", stamp.display());
    let through = ["/bin/sh", "-c", &noted];
    let daemon = Daemon::start_through(lab, Kind::under_test(), "r1", conf, &through)?;
    let begin = || std::fs::read_to_string(&stamp).ok()?.trim().parse().ok();
    wait_until("r1 is started", LIMIT, || begin().is_some())?;
    Ok((daemon, Duration::from_nanos(begin().context("it was there")?)))
}

/// What a killed life left is gone at once when another is MASTER meanwhile.
fn b34_killed_and_restarted() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let mut r1 = alone(&lab, Instance::new(150))?;
    let _r2 = lab.run("r2", &Instance::new(140).alone(2))?;
    pause(2000);
    r1.kill()?;
    wait_until("r2 takes over", LIMIT, || lab.holds("r2", VIP))?;
    ensure!(lab.holds("r1", VIP), "nobody removed r1's address, and yet it is gone");
    let watch = lab.watch("r1")?;
    let (r1, begin) = started(&lab, &Instance::new(100).alone(2))?;
    let took = watch.wait_gone(ADDRESS, begin, LIMIT).with_context(|| r1.log_end())?;
    println!("B34: gone {took:?} after the start");
    // At its start, and not when it has listened long enough.
    ensure!(took < Duration::from_secs(3), "gone after {took:?}");
    pause(4500);
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r2"], "not r2 alone");
    Ok(())
}

/// The owner that was killed and comes back goes on where it was.
fn b34_the_winner_adopts_its_leftover() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    // Slow, so that a start on a busy machine is in time.
    let owner = || Instance::new(255).every("10");
    let _echo = lab.echo("r1")?;
    let mut r1 = alone(&lab, owner())?;
    let client = lab.ask(ADDRESS, 200)?;
    wait_until("the client is served", LIMIT, || client.served_by() == Some(11))?;
    r1.wait_log("(VI_1) took over as the owner, without a wait: advert +", LIMIT)?;
    let takeover = |r1: &Daemon| -> Result<Option<(String, bool)>> {
        let status = r1.status()?;
        let told = status.instance("VI_1")?.takeover().map(|(after, on)| (after.to_owned(), on));
        Ok(told)
    };
    let told = takeover(&r1)?;
    ensure!(told == Some(("owner".to_owned(), false)), "{told:?}");
    r1.kill()?;
    let killed = now();
    pause(500);
    let r1 = lab.run("r1", &owner().alone(2))?;
    pause(3000);
    r1.wait_log("(VI_1) went on, without a wait: advert +", LIMIT)?;
    let told = takeover(&r1)?;
    ensure!(told == Some(("resumed".to_owned(), true)), "{told:?}");
    ensure!(lab.holds("r1", VIP), "it is gone: {}", r1.log_end());
    let gap = client.finish().longest_gap_after(killed);
    ensure!(gap < BUSY, "{gap:?} without an answer");
    Ok(())
}

/// Deleting the first address of a net takes the others with it (promote_secondaries 0).
fn b36_secondary_addresses_vanish_with_the_first() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "r2"])?;
    lab.ns("r1").sysctl("net.ipv4.conf.all.promote_secondaries", 0)?;
    lab.ns("r1").sysctl("net.ipv4.conf.eth1.promote_secondaries", 0)?;
    let first = |priority| {
        Instance::new(priority).named("VI_A", 61).on("eth1").holding(&["203.0.113.250/24"])
    };
    let second = |priority| {
        Instance::new(priority).named("VI_B", 62).on("eth1").holding(&["203.0.113.251/24"])
    };
    // The first takes its address first: it is the primary one of the net.
    let r1 = lab.run("r1", &Conf::new(2).with(first(110)).with(second(100)).text())?;
    wait_until("r1 has both", LIMIT, || {
        lab.holds("r1", "203.0.113.250") && lab.holds("r1", "203.0.113.251")
    })?;
    let listed = lab.ns("r1").ip("-o -4 addr show dev eth1 secondary")?;
    let (leaves, stays) = if listed.contains("203.0.113.251") {
        (first(200), "203.0.113.251")
    } else {
        (second(200), "203.0.113.250")
    };
    let (name, gone) =
        if stays.ends_with("251") { ("VI_A", "203.0.113.250") } else { ("VI_B", "203.0.113.251") };
    let watch = lab.watch("r1")?;
    let _r2 = lab.run("r2", &leaves.alone(2))?;
    wait_until(&format!("{name} steps down"), LIMIT, || !lab.holds("r1", gone))?;
    if !Kind::ours_under_test() {
        return Ok(());
    }
    pause(1000);
    let changes = watch.of(stays.parse()?);
    ensure!(changes.iter().all(|change| change.added), "{changes:?}: {}", r1.log_end());
    ensure!(lab.holds("r1", stays) && !lab.holds("r1", gone), "{:?}", lab.addresses("r1"));
    Ok(())
}

/// A BACKUP gets a second address before its MASTER does: it stays BACKUP.
fn b40a_a_backup_gets_another_address() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("version 2", || another_address(2)), ("version 3", || another_address(3))])
}

fn another_address(version: u8) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let _r1 = lab.run("r1", &Instance::new(150).alone(version))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let r2 = lab.run("r2", &Instance::new(100).alone(version))?;
    pause(1500);
    let both = ["192.0.2.250/24", "192.0.2.251/24"];
    r2.reload(&Instance::new(100).holding(&both).alone(version))?;
    pause(6000);
    ensure!(wire.adverts_of("r2").is_empty(), "r2 spoke: {}", r2.log_end());
    ensure!(lab.holders(&["r1", "r2"], VIP) == ["r1"], "not r1 alone");
    let told = r2.log().lines().filter(|line| line.contains(OTHER)).count();
    ensure!((1..=3).contains(&told), "{told} lines about {OTHER}");
    Ok(())
}

/// A MASTER loses one of two addresses by reload; nothing else moves.
fn b40b_a_master_loses_an_address() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let wire = lab.capture("client")?;
    let both = ["192.0.2.250/24", "192.0.2.251/24"];
    let r1 = alone(&lab, Instance::new(100).holding(&both))?;
    let client = lab.ask(ADDRESS, 500)?;
    wait_until("the client is served", LIMIT, || client.served_by() == Some(11))?;
    pause(1500);
    let begin = now();
    r1.reload(&Instance::new(100).alone(2))?;
    wait_until("the second is gone", LIMIT, || !lab.holds("r1", OTHER))?;
    pause(3500);
    ensure!(lab.holds("r1", VIP), "the first is gone too");
    let gap = client.finish().longest_gap_after(begin);
    ensure!(gap < BUSY, "{gap:?} without an answer");
    let after: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > begin).collect();
    ensure!(after.iter().all(|seen| seen.advert.priority == 100), "it released");
    ensure!(after.last().is_some_and(|s| s.advert.addresses == [ADDRESS]), "still advertised");
    ensure!(r1.count_log("Entering MASTER") == 1, "it changed its state");
    Ok(())
}

/// Ten reloads without a change leave no trace on the wire.
fn b40c_reloads_without_a_change() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    // Slow enough for a reload each half second to show where it moves an advert.
    let conf = Instance::new(100).line("garp_master_delay 0");
    let r1 = lab.run("r1", &conf.clone().alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    pause(1500);
    let begin = now();
    for _ in 0..10 {
        r1.reload(&conf.clone().alone(3))?;
        pause(500);
    }
    let end = now();
    let within = |at: Duration| at > begin && at < end;
    let adverts: Vec<_> =
        wire.adverts_of("r1").into_iter().filter(|seen| within(seen.at)).collect();
    let gap = adverts.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default();
    if !Kind::ours_under_test() {
        return Ok(());
    }
    ensure!(gap < Duration::from_secs(1) + BUSY, "{gap:?} between two adverts of 1 s");
    let (count, beats) = (adverts.len() as u64, (end - begin).as_secs());
    ensure!(count + 1 >= beats && count <= beats + 1, "{count} adverts in {beats} s");
    ensure!(adverts.iter().all(|seen| seen.advert.priority == 100), "it released");
    let announced = wire.announcements(ADDRESS).into_iter().filter(|(at, _)| within(*at)).count();
    ensure!(announced == 0, "{announced} announcements");
    Ok(())
}

/// Thirty addresses are all advertised and announced; 256 leave one that is only held.
#[test]
fn c47_many_addresses() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = lab.run("r1", &cases::configuration("C47-many-addresses"))?;
    let thirty = "198.51.100.30";
    wait_until("r1 has the thirtieth", LIMIT, || lab.holds("r1", thirty))
        .with_context(|| r1.log_end())?;
    pause(2500);
    let adverts = wire.adverts_of("r1");
    let of = |vrid| adverts.iter().filter(move |seen| seen.advert.vrid == vrid);
    let n30 = of(145).next_back().context("N30 is silent")?;
    ensure!(n30.advert.count == 30 && n30.advert.addresses.len() == 30, "{:?}", n30.advert);
    for last in 1..=30 {
        let address = Ipv4Addr::new(198, 51, 100, last);
        let announced = wire.announcements(address).len();
        ensure!(announced >= 1, "{address} is not announced");
    }
    ensure!(adverts.iter().all(|seen| seen.advert.count > 0), "a count of 0");
    let n256 = of(146).next_back().context("N256 is silent")?;
    ensure!(n256.advert.count == 255, "count {}", n256.advert.count);
    ensure!(n256.advert.addresses.len() == 255, "not 255 addresses");
    let last = Ipv4Addr::new(203, 0, 113, 255);
    ensure!(!n256.advert.addresses.contains(&last), "not the last one is left out");
    let held = || lab.holds("r1", &last.to_string()) && !wire.announcements(last).is_empty();
    wait_until("the last one is held and announced", LIMIT, held)?;
    Ok(())
}
