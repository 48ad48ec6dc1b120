//! An interface that can't be listened to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, netns, packet, wait_until};

use super::{GAP, LIMIT, VIP, brisk, master};

const SECOND: &str = "198.18.0.250";
/// The descriptor by which other daemons know of one more router.
const SERVED: usize = 1;

/// Without descriptors an interface is deaf. Its router stays in FAULT, which is said, while others go
/// on, and heals once there are some again.
#[test]
fn a_deaf_interface_is_a_fault_and_heals() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("none for the second socket", deaf),
        ("none for the kernel program", the_socket_serves),
        ("no memory for a long filter", a_short_filter_serves),
    ])
}

/// As kernels before 6.8 have it with more destinations: the filter does not fit, and one for all does.
/// What XDP has counted then comes by the socket as well, and is not counted there.
fn a_short_filter_serves() -> Result<()> {
    let lab = Lab::new(&["r1", "gen"])?;
    // Too little for so many, and enough for the one for all twice: the new one comes before the old one goes.
    lab.ns("r1").sysctl("net.core.optmem_max", 3072)?;
    let mut conf = Conf::new(3);
    for n in 7..=51 {
        let address = format!("10.0.{n}.250/24");
        let instance = Instance::new(200).named(&format!("VI_{n}"), n).every("0.2");
        let group = format!("mcast_dst_ip 239.0.0.{n}");
        conf = conf.with(instance.holding(&[&address]).line(&group));
    }
    let conf = conf.global("log_unknown_vrids");
    let r1 = lab.run("r1", &conf.text())?;
    let all = || (7..=51).all(|n| lab.holds("r1", &format!("10.0.{n}.250")));
    wait_until("all are MASTER", LIMIT, all).with_context(|| r1.log_end())?;
    ensure!(r1.count_log("takes no filter for so many destinations") == 1, "{}", r1.log());
    let socket = lab.ns("gen").enter(|| packet::open_to_send("eth0"))?;
    for _ in 0..3 {
        packet::send(
            &socket,
            &cases::frame("P11-ip-header", "unicast-to-us-on-multicast-instance"),
        )?;
        packet::send(&socket, &cases::frame("P01-v2-header", "vrid-52-not-configured"))?;
    }
    r1.wait_log("(VI_51) refused advert from 192.0.2.101 (destination)", LIMIT)?;
    wait_until("the stranger is heard", LIMIT, || {
        r1.status().is_ok_and(|status| status.strangers() == [(52, "192.0.2.101".to_owned(), 3)])
    })
    .with_context(|| format!("{:?}", r1.status().map(|status| status.strangers())))?;
    let status = r1.status()?;
    ensure!(status.datapath("eth0")?.0 != "socket", "{}", r1.log());
    let instance = status.instance("VI_51")?;
    ensure!(instance.refused("destination") == 3, "{}", instance.json());
    let line = "Unknown VRID(52) received on interface(eth0). ignoring... (from 192.0.2.101)";
    r1.wait_log(line, LIMIT)?;
    ensure!(r1.count_log("Unknown VRID") == 1, "{}", r1.log());
    // And a virtual router that is ours from now on is no stranger's.
    let ours = Instance::new(200).named("VI_52", 52).every("0.2").holding(&["10.0.52.250/24"]);
    r1.reload(&conf.with(ours).text())?;
    wait_until("no stranger is left", LIMIT, || {
        r1.status().is_ok_and(|status| status.strangers().is_empty())
    })
    .with_context(|| format!("{:?}", r1.status().map(|status| status.strangers())))?;
    Ok(())
}

fn the_socket_serves() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let r1 = master(&lab)?;
    leave(&r1, 1 + SERVED)?;
    r1.reload(&both().text())?;
    wait_until("the second is there", LIMIT, || lab.holds("r1", SECOND))
        .with_context(|| r1.log_end())?;
    let told = r1.log().lines().any(|line| {
        line.contains("eth1: adverts come through a socket (")
            && line.contains("Too many open files")
    });
    ensure!(told, "{}", r1.log_end());
    // From here on the program may be had at any time: the next change of the interface has it tried again.
    limit(&r1, "512")?;
    lab.ns("r1").ip("address add 198.18.0.99/24 dev eth1")?;
    wait_until("the program is there", LIMIT, || {
        r1.status().is_ok_and(|status| status.datapath("eth1").is_ok_and(|path| path.0 == "native"))
    })
    .with_context(|| r1.log_end())?;
    Ok(())
}

/// One is left for the first of two sockets, and free again between two attempts.
fn deaf() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let (first, second) = (lab.capture("client")?, Capture::start(lab.ns("client"), "eth1")?);
    let r1 = master(&lab)?;
    leave(&r1, 1 + 2 * SERVED)?;
    let third = brisk(100).named("VI_3", 52).on("eth1").holding(&["fe80::52/64"]);
    r1.reload(&both().with(third).text())?;
    r1.wait_log("eth1: adverts can't be received, trying again: Too many open files", LIMIT)?;
    r1.wait_log("(VI_2) Entering FAULT STATE: adverts can't be received", LIMIT)?;
    // Longer than a lone router listens, and than two attempts take.
    let (begin, mut answers) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(4500) {
        // An answer takes a descriptor, too, and there may be none for it at the moment.
        let Ok(status) = r1.status() else { continue };
        answers += 1;
        let (path, instance) = (status.datapath("eth1")?, status.instance("VI_2")?);
        ensure!(path == ("none", "adverts can't be received on it"), "eth1: {path:?}");
        ensure!(instance.state() == "FAULT", "{}", instance.json());
        ensure!(instance.why().contains("adverts can't be received"), "{}", instance.json());
        pause(100);
    }
    ensure!(answers > 0, "status never answered: {}", r1.log_end());
    ensure!(second.adverts().is_empty(), "it speaks unheard");
    ensure!(!lab.holds("r1", SECOND), "it took the address unheard");
    ensure!(r1.count_log("adverts can't be received, trying again") == 1, "{}", r1.log_end());
    ensure!(lab.holds("r1", VIP), "the other router let go: {}", r1.log_end());
    let at: Vec<_> = first.adverts_of("r1").iter().map(|seen| seen.at).collect();
    let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().context("no adverts")?;
    ensure!(gap < GAP, "{gap:?} between two adverts of the other router");

    limit(&r1, "512")?;
    wait_until("the second is there", LIMIT, || {
        // As above: who asks must not keep it from trying.
        let _ = r1.status();
        lab.holds("r1", SECOND)
    })
    .with_context(|| r1.log_end())?;
    ensure!(r1.status()?.datapath("eth1")?.0 == "native", "{:?}", r1.status()?);
    ensure!(r1.count_log("(VI_2) Entering FAULT") == 1, "{}", r1.log_end());
    Ok(())
}

fn both() -> Conf {
    let second = brisk(100).named("VI_2", 52).on("eth1");
    Conf::new(3).with(Instance::new(100)).with(second.holding(&["198.18.0.250/24"]))
}

/// Leaves a daemon so many descriptors more than it has.
fn leave(daemon: &Daemon, spare: usize) -> Result<()> {
    let look = || -> Result<BTreeSet<usize>> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.worker()?))?;
        Ok(open.flatten().filter_map(|fd| fd.file_name().to_str()?.parse().ok()).collect())
    };
    // What a start needs for moments is closed once nothing changes any more.
    let mut open = look()?;
    wait_until("descriptors are settled", LIMIT, || {
        pause(500);
        look().is_ok_and(|now| std::mem::replace(&mut open, now.clone()) == now)
    })?;
    let highest = (0..).filter(|fd| !open.contains(fd)).nth(spare).context("no number is free")?;
    limit(daemon, &highest.to_string())
}

fn limit(daemon: &Daemon, most: &str) -> Result<()> {
    // The soft limit alone, which everybody may raise again.
    let (pid, limit) = (daemon.worker()?.to_string(), format!("--nofile={most}:"));
    netns::run("prlimit", &["--pid", &pid, &limit]).map(drop)
}

/// What could not be had is tried again, whatever else happens meanwhile.
#[test]
fn what_could_not_be_had_is_tried_again() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("group", a_group_is_joined_later),
        ("own interface", an_interface_is_made_later),
        ("no_accept", an_address_is_closed_later),
        ("kernel program", a_program_is_attached_later),
    ])
}

/// A link that comes may be a VLAN, and the kernel can't be asked.
fn a_program_is_attached_later() -> Result<()> {
    const NATIVE: &str = "eth0: adverts are checked by XDP in native mode";
    let lab = Lab::new(&["r1"])?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    ensure!(r1.count_log(NATIVE) == 1, "{}", r1.log_end());
    leave(&r1, 0)?;
    lab.ns("r1").ip("link add mv0 link eth0 type macvlan mode private")?;
    r1.wait_log("whether VLAN tags are hidden from it is not known", LIMIT)?;
    // Tried again, and not said again.
    pause(2500);
    ensure!(r1.count_log("is not known") == 1, "{}", r1.log_end());
    limit(&r1, "1024")?;
    wait_until("it is native again", LIMIT, || r1.count_log(NATIVE) == 2)
        .with_context(|| r1.log_end())?;
    Ok(())
}

fn a_group_is_joined_later() -> Result<()> {
    const MEMBERSHIPS: &str = "net.ipv4.igmp_max_memberships";
    let lab = Lab::new(&["r1"])?;
    let ns = lab.ns("r1");
    ns.sysctl(MEMBERSHIPS, 0)?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    r1.wait_log("eth0: can't join 224.0.0.18", LIMIT)?;
    // Tried again, and not said again.
    pause(2500);
    ensure!(r1.count_log("can't join") == 1, "{}", r1.log_end());
    ns.sysctl(MEMBERSHIPS, 20)?;
    r1.wait_log("eth0: joined 224.0.0.18", LIMIT)?;
    let joined = ns.sh("cat /proc/net/igmp")?;
    ensure!(joined.contains("120000E0"), "{joined}");
    Ok(())
}

/// The note of the table can't be written.
fn an_address_is_closed_later() -> Result<()> {
    let lab = Lab::new(&["r1"])?;
    let r1 = lab.run("r1", &brisk(100).alone(3))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    let note = r1.run_dir().join("nftables");
    std::fs::create_dir(&note)?;
    r1.reload(&brisk(100).line("no_accept").alone(3))?;
    r1.wait_log("can't be dropped, so they answer", LIMIT)?;
    pause(2500);
    ensure!(r1.count_log("can't be dropped, so they answer") == 1, "{}", r1.log_end());
    let closed = "will not answer, not even ping";
    ensure!(r1.count_log(closed) == 0, "{}", r1.log_end());
    std::fs::remove_dir(&note)?;
    r1.wait_log(closed, LIMIT)?;
    ensure!(note.is_file() && r1.count_log(closed) == 1, "{}", r1.log_end());
    Ok(())
}

fn an_interface_is_made_later() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1"])?;
    let ns = lab.ns("r1");
    // A MAC address is on an interface once.
    ns.ip("link add mv0 link eth0 address 00:00:5e:00:01:33 type macvlan mode private")?;
    ns.ip("link set mv0 up")?;
    let second = brisk(100).named("VI_2", 52).on("eth1").holding(&["198.18.0.250/24"]);
    let r1 = lab.run("r1", &Conf::new(3).with(brisk(100).line("use_vmac")).with(second).text())?;
    r1.wait_log("vrrp.51 on eth0 can't be used", LIMIT)?;
    wait_until("the other one serves", LIMIT, || lab.holds("r1", SECOND))?;
    // Something about the second that leaves the first alone.
    ns.ip("link set eth1 mtu 1400")?;
    pause(300);
    ns.ip("link del mv0")?;
    wait_until("it serves too", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    Ok(())
}
