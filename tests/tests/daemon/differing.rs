//! A MASTER whose addresses are not all ours: each difference is told once, and what repeats itself wakes
//! nobody. As long as it lasts, `status` shows it.

use anyhow::{Context, Result, ensure};
use vrrp_tests::daemon::xvrrp;
use vrrp_tests::process::Usage;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, brisk, wait_state};

const WORDS: &str = "VIPs but received";

fn conf(priority: u8, lasts: &[u8]) -> String {
    let addresses: Vec<_> = lasts.iter().map(|last| format!("192.0.2.{last}/24")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    brisk(priority).every("0.1").holding(&addresses).alone(3)
}

/// What comes now has been heard before: the daemon is woken by far fewer than half of the adverts.
fn sleeps(daemon: &Daemon) -> Result<()> {
    let heard = || Ok::<_, anyhow::Error>(daemon.status()?.instance("VI_1")?.counter("accepted"));
    let worker = [daemon.worker()?];
    let adverts = heard()?;
    let before = Usage::of(&worker);
    pause(3000);
    let wakeups = Usage::of(&worker).since(before).wakeups;
    let adverts = heard()? - adverts;
    ensure!(adverts >= 10, "{adverts} adverts");
    println!("woken {wakeups} times while {adverts} adverts came");
    ensure!(wakeups < adverts / 2, "woken {wakeups} times by {adverts} adverts");
    Ok(())
}

#[test]
fn a_lasting_difference_is_told_once() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let r2 = lab.run("r2", &conf(200, &[250, 251]))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let r1 = lab.run("r1", &conf(100, &[250, 252]))?;
    r1.wait_log(
        "expected 2 VIPs but received 2; not in it: 192.0.2.252; not ours: 192.0.2.251",
        LIMIT,
    )?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 1, "{}", r1.log());
    // Another list of theirs, and of as many.
    r2.reload(&conf(200, &[250, 253]))?;
    r1.wait_log("not ours: 192.0.2.253", LIMIT)?;
    // Another one of ours.
    r1.reload(&conf(100, &[250, 252, 254]))?;
    r1.wait_log(
        "expected 3 VIPs but received 2; not in it: 192.0.2.252; not in it: 192.0.2.254",
        LIMIT,
    )?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 3, "{}", r1.log());
    r1.reload(&conf(100, &[250, 253]))?;
    sleeps(&r1)?;
    ensure!(r1.count_log(WORDS) == 3, "{}", r1.log());
    ensure!(r1.count_log("Entering MASTER") == 0, "{}", r1.log());
    Ok(())
}

#[test]
fn status_shows_it_as_long_as_it_lasts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("XDP", || is_shown("auto")), ("socket", || is_shown("socket"))])
}

/// The last of nine: a report of an advert has eight.
#[test]
fn what_a_report_has_no_room_for_is_shown_to_differ() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[("XDP", || is_shown_beyond("auto")), ("socket", || is_shown_beyond("socket"))])
}

fn is_shown_beyond(datapath: &str) -> Result<()> {
    let nine = |last: u8| [240, 241, 242, 243, 244, 245, 246, 247, last];
    let lab = Lab::new(&["r1", "r2"])?;
    let r2 = lab.run("r2", &conf(200, &nine(250)))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let ours = conf(100, &nine(251));
    let r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &ours, &["--datapath", datapath])?;
    let words = "they differ beyond the first 8";
    r1.wait_log(&format!("expected 9 VIPs but received 9; {words}"), LIMIT)?;
    wait_shown(&r1, &[], &[])?;
    let run_dir = r1.run_dir().display().to_string();
    let text = xvrrp(&["status", "--run-dir", &run_dir])?.stdout;
    let text = String::from_utf8_lossy(&text);
    ensure!(text.contains(&format!("9 in its adverts and 9 in ours; {words}\n")), "{text}");
    r1.reload(&conf(100, &nine(250)))?;
    wait_none_shown(&r1)
}

/// Waits until `status` shows that only it has some addresses, and only r2 others; says for how long.
fn wait_shown(daemon: &Daemon, only_here: &[u8], only_there: &[u8]) -> Result<u64> {
    let words =
        |lasts: &[u8]| lasts.iter().map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>();
    let right = [words(only_here), words(only_there)];
    let shown = || Ok::<_, anyhow::Error>(daemon.status()?.instance("VI_1")?.differing());
    let mut since = 0;
    wait_until(&format!("{right:?} is shown"), LIMIT, || {
        let shown = shown().unwrap_or_default();
        shown.iter().any(|(sender, time, lists)| {
            since = *time;
            sender == "192.0.2.12" && *lists == right
        })
    })
    .with_context(|| format!("{:?}, {}", shown(), daemon.log_end()))?;
    Ok(since)
}

fn wait_none_shown(daemon: &Daemon) -> Result<()> {
    wait_until("nothing differs", LIMIT, || {
        let status = daemon.status();
        status.is_ok_and(|it| it.instance("VI_1").is_ok_and(|it| it.differing().is_empty()))
    })
    .map(drop)
    .with_context(|| daemon.log_end())
}

fn is_shown(datapath: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let mut r2 = lab.run("r2", &conf(200, &[250, 251]))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let first = conf(100, &[250, 252]);
    let r1 = Daemon::start(&lab, Kind::Xvrrp, "r1", &first, &["--datapath", datapath])?;
    let begin = wait_shown(&r1, &[252], &[251])?;
    pause(1000);
    let since = wait_shown(&r1, &[252], &[251])?;
    ensure!(since >= begin + 1000, "{begin} ms before, now {since} ms");
    let run_dir = r1.run_dir().display().to_string();
    let text = xvrrp(&["status", "--run-dir", &run_dir])?.stdout;
    let line = "in its adverts and 2 in ours; not in its: 192.0.2.252; not in ours: 192.0.2.251\n";
    ensure!(String::from_utf8_lossy(&text).contains(line), "{}", String::from_utf8_lossy(&text));
    // Another list of theirs: the difference is as old.
    r2.reload(&conf(200, &[250, 253]))?;
    ensure!(wait_shown(&r1, &[252], &[253])? >= since, "it began anew");
    r1.reload(&conf(100, &[250, 252, 254]))?;
    wait_shown(&r1, &[252, 254], &[253])?;
    r1.reload(&conf(100, &[250, 253]))?;
    wait_none_shown(&r1)?;
    // An advert of theirs that is alike.
    pause(500);
    r2.reload(&conf(200, &[250, 251]))?;
    ensure!(wait_shown(&r1, &[253], &[251])? < since, "it began with the one before");
    // Nobody is there any more.
    r2.kill()?;
    wait_state(&r1, "VI_1", "MASTER")?;
    wait_none_shown(&r1)
}
