//! Every handed packet on every data path of the running daemon: the same verdict, by what status counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::cases::{self, Case, Verdict, verdict};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};
use xvrrp::fastpath::FastPath;

/// The data paths: by the words of `--datapath`, and as status calls them.
const PATHS: [(&str, &str); 3] = [("xdp", "native"), ("generic", "generic"), ("socket", "socket")];
/// Three daemons start side by side, and two of them have their kernel programs verified.
const LIMIT: Duration = Duration::from_secs(30);

/// A configuration, and the packet files that are played to it.
struct Replay {
    name: String,
    conf: String,
    files: Vec<String>,
    /// Strangers are refused.
    checks_source: bool,
}

/// By configuration and frame: which counters it moved, by how much.
type Moved = BTreeMap<(String, String), BTreeMap<String, u64>>;

/// All packet files, each with the configuration that it names, and twice where the cases say so.
fn replays() -> Vec<Replay> {
    let files = cases::packet_files();
    let duts: BTreeSet<&String> = files.iter().map(|(_, dut)| dut).collect();
    let mut replays: Vec<Replay> = duts
        .into_iter()
        .map(|dut| {
            let of_it = files.iter().filter(|(_, of)| of == dut);
            let files = of_it.map(|(file, _)| file.clone()).collect();
            let conf = cases::configuration(dut);
            Replay { name: dut.clone(), conf, files, checks_source: false }
        })
        .collect();
    let mut again = |dut: &str, before: &str, more: &str, file: &str| {
        let conf = cases::configuration(dut).replace(before, &format!("    {more}\n{before}"));
        let (name, files) = (format!("{dut} {more}"), vec![file.to_owned()]);
        let checks_source = more == "vrrp_check_unicast_src";
        replays.push(Replay { name, conf, files, checks_source });
    };
    again("DUT-unicast", "    router_id", "vrrp_check_unicast_src", "P15-unicast");
    again("DUT-v3", "    advert_int", "v3_checksum_as_v2", "P07-v3-header");
    replays
}

#[test]
fn every_packet_gets_the_same_verdict_on_every_data_path() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let all: Vec<Moved> = std::thread::scope(|scope| {
        let run = |path: (&'static str, &'static str)| {
            scope.spawn(move || replay_all(path).with_context(|| format!("on {}", path.1)))
        };
        let paths: Vec<_> = PATHS.into_iter().map(run).collect();
        paths
            .into_iter()
            .map(|path| path.join().expect("it returns its errors"))
            .collect::<Result<_>>()
    })?;
    let [native, generic, socket] = &all[..] else { anyhow::bail!("{} data paths", all.len()) };
    ensure!(native.len() > 60, "{} frames", native.len());
    for (frame, moved) in native {
        let others = [generic.get(frame), socket.get(frame)];
        ensure!(others == [Some(moved); 2], "{frame:?}: native {moved:?}, the others {others:?}");
    }
    Ok(())
}

/// A tag that a bridge hands over beside the frame names another network like one in it.
#[test]
fn b09_a_tag_beside_the_frame() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    // Generic XDP could not see it, so the socket is in its place.
    let mut paths = vec![("generic", "socket"), ("socket", "socket")];
    if FastPath::load(1)?.sees_tags_on_veth() {
        paths.push(("auto", "native"));
    }
    std::thread::scope(|scope| {
        let all: Vec<_> =
            paths.iter().map(|path| scope.spawn(|| beside_the_frame(*path))).collect();
        all.into_iter().zip(&paths).try_for_each(|(one, path)| {
            one.join().expect("it returns its errors").with_context(|| format!("{path:?}"))
        })
    })
}

/// What comes up to a macvlan has its tag beside it, whether or not it was in the frame on the wire.
#[test]
fn b09_a_tag_beside_the_frame_on_a_macvlan() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("here", || on_a_macvlan("r1", false)),
        ("with tags in the frames", || on_a_macvlan("r1", true)),
        ("from another namespace", || on_a_macvlan("r2", false)),
    ])
}

fn beside_the_frame((word, name): (&str, &str)) -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    let conf = cases::configuration("DUT-v3");
    let daemon = Daemon::start(&lab, Kind::Xvrrp, "r1", &conf, &["--datapath", word])?;
    hears_no_tagged(&lab, ("r1", "eth0"), name, &daemon)
}

/// With a macvlan of r1's interface on a host, which may be another one.
fn on_a_macvlan(host: &str, tags_in_frames: bool) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "gen"])?;
    if tags_in_frames {
        lab.tags_in_frames()?;
    }
    let (below, netns) = (lab.ns("r1"), lab.ns(host));
    below.ip(&format!("link add mv0 link eth0 netns {} type macvlan mode bridge", netns.name()))?;
    netns.ip("addr add 192.0.2.21/24 dev mv0")?;
    netns.ip("link set mv0 up")?;
    let conf = cases::configuration("DUT-v3").replace("interface eth0", "interface mv0");
    let daemon = Daemon::start(&lab, Kind::Xvrrp, host, &conf, &[])?;
    hears_no_tagged(&lab, (host, "mv0"), "socket", &daemon)
}

/// A daemon on an interface of a host hears what is of no VLAN, on this data path.
fn hears_no_tagged(
    lab: &Lab,
    (host, interface): (&str, &str),
    name: &str,
    daemon: &Daemon,
) -> Result<()> {
    daemon.wait_log("Entering BACKUP", LIMIT)?;
    let status = daemon.status()?;
    let (used, why) = status.datapath(interface)?;
    ensure!(used == name, "{used} in place of {name}: {why}");
    let of_vlan = cases::frame("P09-link-plain", "vlan-100-on-the-parent-device");
    let (mut of_service_vlan, mut of_nobody) = (of_vlan.clone(), of_vlan.clone());
    of_service_vlan[12..14].copy_from_slice(&[0x88, 0xa8]);
    // Another VRID, of which the checksum is not asked.
    of_nobody[18 + 20 + 1] ^= 0xff;
    // Any of them, taken for the interface's own, would keep it BACKUP.
    wait_until("it is MASTER", LIMIT, || {
        pause(250);
        let sent = [&of_vlan, &of_service_vlan, &of_nobody].map(|frame| lab.inject("gen", frame));
        sent.iter().all(Result::is_ok) && lab.holds(host, "192.0.2.250")
    })
    .with_context(|| daemon.log_end())?;
    for frame in ["priority-tag-vid0-pcp7", "good-last"] {
        lab.inject("gen", &cases::frame("P09-link-plain", frame))?;
    }
    let accepted = || daemon.status()?.instance("VI_1").map(|one| one.counter("accepted"));
    wait_until("the others are heard", LIMIT, || accepted().is_ok_and(|count| count == 2))
        .with_context(|| daemon.log_end())?;
    let status = daemon.status()?;
    let one = status.instance("VI_1")?;
    ensure!(
        one.refused_at_all() == 0 && one.verdicts().values().sum::<u64>() == 2,
        "{}",
        one.json()
    );
    ensure!(status.strangers().is_empty(), "{:?}", status.strangers());
    Ok(())
}

fn replay_all((word, name): (&str, &str)) -> Result<Moved> {
    let lab = Lab::new(&["r1", "gen"])?;
    if name == "generic" {
        lab.tags_in_frames()?;
    }
    let mut moved = Moved::new();
    for replay in replays() {
        let more = ["--datapath", word];
        let mut daemon = Daemon::start(&lab, Kind::Xvrrp, "r1", &replay.conf, &more)?;
        wait_until("it listens", LIMIT, || {
            daemon.status().is_ok_and(|status| {
                status.instance("VI_1").is_ok_and(|one| ["BACKUP", "MASTER"].contains(&one.state()))
            })
        })
        .with_context(|| format!("{}: {}", replay.name, daemon.log_end()))?;
        let status = daemon.status()?;
        let (used, why) = status.datapath("eth0")?;
        ensure!(used == name, "{used} in place of {name}: {why}");
        for file in &replay.files {
            for case in cases::packets(file) {
                let what = format!("{file} {}", case.name);
                let by = play(&lab, &daemon, &replay, &case)
                    .with_context(|| format!("{}, {what}: {}", replay.name, daemon.log_end()))?;
                moved.insert((replay.name.clone(), what), by);
            }
        }
        daemon.stop()?;
    }
    Ok(moved)
}

/// Sends a frame and says which counters it moved; those must be the right ones.
fn play(lab: &Lab, daemon: &Daemon, replay: &Replay, case: &Case) -> Result<BTreeMap<String, u64>> {
    let right = match case.name.as_str() {
        "from-a-stranger" if replay.checks_source => Verdict::Refused(&["not_a_peer"]),
        name => verdict(name),
    };
    let before = daemon.status()?;
    let before = before.instance("VI_1")?.verdicts();
    let moved = || -> Result<BTreeMap<String, u64>> {
        let status = daemon.status()?;
        let mut after = status.instance("VI_1")?.verdicts();
        for (counter, count) in &before {
            let of = after.entry(counter.clone()).or_default();
            *of = of.checked_sub(*count).with_context(|| format!("{counter} went back"))?;
        }
        after.retain(|_, count| *count > 0);
        Ok(after)
    };
    lab.inject("gen", &case.bytes)?;
    let limit = match right {
        Verdict::Accepted | Verdict::Refused(_) => 30_000,
        Verdict::Ignored => 200,
    };
    let _ = wait_until("a counter moves", Duration::from_millis(limit), || {
        moved().is_ok_and(|moved| !moved.is_empty())
    });
    let moved = moved()?;
    let one = |counter: &str| moved.len() == 1 && moved.get(counter) == Some(&1);
    let is_right = match right {
        Verdict::Accepted => one("accepted"),
        Verdict::Ignored => moved.is_empty(),
        Verdict::Refused(reasons) => reasons.iter().any(|reason| one(reason)),
    };
    ensure!(is_right, "{moved:?}, not {right:?}");
    // A cause that goes on is not told again at once, so only a new one is sure to be the last.
    if let Verdict::Refused(reasons) = right
        && reasons.iter().all(|reason| !before.contains_key(*reason))
    {
        told(daemon, reasons)?;
    }
    Ok(moved)
}

/// Status names the last refused advert's reason, sender and detail.
fn told(daemon: &Daemon, reasons: &[&str]) -> Result<()> {
    let last = || -> Result<(String, String, String)> {
        let status = daemon.status()?;
        let instance = status.instance("VI_1")?;
        let (reason, source, detail) = instance.last_refused().context("no last refused advert")?;
        Ok((reason.to_owned(), source.to_owned(), detail.to_owned()))
    };
    wait_until("the last refused advert is told", LIMIT, || {
        last().is_ok_and(|(reason, ..)| reasons.contains(&reason.as_str()))
    })
    .with_context(|| format!("{:?}", last()))?;
    let (_, source, detail) = last()?;
    let from_the_lab = source.starts_with("192.0.2.") || source.starts_with("fe80::");
    ensure!(from_the_lab && !detail.is_empty(), "last refused from {source:?}: {detail:?}");
    Ok(())
}
