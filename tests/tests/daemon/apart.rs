//! Routers that are MASTER both, since each sends where the other one does not listen: each says so, and what
//! would mend it.

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, brisk, wait_state};

const UNLIKE: &str = "VI_1";
const GROUPS: &str = "VI_2";
const VERSIONS: &str = "VI_3";
const STRANGER: &str = "VI_4";
const ON_PURPOSE: &str = "VI_5";

/// By name, VRID and the address's last byte.
fn one(name: &str, vrid: u8, last: u8) -> Instance {
    brisk(100).named(name, vrid).holding(&[&format!("192.0.2.{last}/24")])
}

/// What the two routers have in their files, whatever else: r1's is as most are, but for one that lists
/// nobody who is there.
fn files() -> [String; 2] {
    let listing = |of: Instance, peer: &str| of.track("unicast_peer", &[peer]);
    let first = Conf::new(3)
        .with(one(UNLIKE, 51, 241))
        .with(one(GROUPS, 52, 242))
        .with(one(VERSIONS, 53, 243))
        .with(listing(one(STRANGER, 54, 244), "192.0.2.13").line("check_unicast_src"))
        .with(one(ON_PURPOSE, 55, 245));
    let second = Conf::new(3)
        .with(listing(one(UNLIKE, 51, 241), "192.0.2.11"))
        .with(one(GROUPS, 52, 242).line("mcast_dst_ip 224.0.0.19"))
        .with(one(VERSIONS, 53, 243).every("1").line("version 2"))
        .with(listing(one(STRANGER, 54, 244), "192.0.2.11"))
        // Another cluster, kept apart by its group.
        .with(one(ON_PURPOSE, 55, 246).line("mcast_dst_ip 224.0.0.19"));
    [first, second].map(|conf| conf.text())
}

/// What each says: of whom, why, and what is to be done.
const FIRST: [(&str, &str, &str); 4] = [
    (
        UNLIKE,
        "destination",
        "sent to 192.0.2.11 alone; this instance listens on the group 224.0.0.18: write `unicast_peer` on all \
         routers or on none",
    ),
    (
        GROUPS,
        "group",
        "sent to the group 224.0.0.19; this instance listens on 224.0.0.18: write the same `mcast_dst_ip` on \
         all routers",
    ),
    (VERSIONS, "version", "VRRP version 2, this instance speaks version 3: set `version` alike"),
    (STRANGER, "not_a_peer", "not one of `unicast_peer`: add it there"),
];
const SECOND: [(&str, &str, &str); 3] = [
    (
        UNLIKE,
        "group",
        "sent to the group 224.0.0.18, and here `unicast_peer` is written: write it on all routers or on none",
    ),
    (
        GROUPS,
        "group",
        "sent to the group 224.0.0.18; this instance listens on 224.0.0.19: write the same `mcast_dst_ip` on \
         all routers",
    ),
    (VERSIONS, "version", "VRRP version 3, this instance speaks version 2: set `version` alike"),
];

#[test]
fn who_sends_where_nobody_listens_is_told() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let [first, second] = files();
    // One by XDP, one by a socket.
    let r1 = lab.run("r1", &first)?;
    let r2 = Daemon::start(&lab, Kind::Xvrrp, "r2", &second, &["--datapath", "socket"])?;
    for (daemon, said) in [(&r1, &FIRST[..]), (&r2, &SECOND[..])] {
        for (name, reason, detail) in said {
            wait_state(daemon, name, "MASTER")?;
            let from = if std::ptr::eq(daemon, &r1) { "192.0.2.12" } else { "192.0.2.11" };
            let line = format!("({name}) refused advert from {from} ({reason}): {detail}");
            daemon.wait_log(&line, LIMIT)?;
            wait_until("it is counted", LIMIT, || refused(daemon, name, reason) > Some(2))
                .with_context(|| format!("{name}: {reason}"))?;
            ensure!(daemon.count_log(&line) == 1, "{}", daemon.log());
        }
    }
    for daemon in [&r1, &r2] {
        wait_state(daemon, ON_PURPOSE, "MASTER")?;
        wait_until("it is counted", LIMIT, || refused(daemon, ON_PURPOSE, "group") > Some(2))?;
        ensure!(daemon.count_log(&format!("({ON_PURPOSE}) refused")) == 0, "{}", daemon.log());
        let status = daemon.status()?;
        ensure!(status.instance(ON_PURPOSE)?.last_refused().is_none(), "{}", daemon.log());
    }
    Ok(())
}

fn refused(daemon: &Daemon, name: &str, reason: &str) -> Option<u64> {
    Some(daemon.status().ok()?.instance(name).ok()?.refused(reason))
}
