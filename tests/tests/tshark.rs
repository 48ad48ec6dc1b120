//! Frames of the running daemon as another decoder reads them: every checksum good, and no complaint.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::lab::number;
use vrrp_tests::tshark::{Read, Recording, judge, read};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// The router whose VRRPv3 checksum covers the message alone, as in VRRPv2.
const AS_V2: u8 = 55;
/// The routers' VRIDs, and what tshark reads in their adverts: where from and to, the version, the
/// authentication type, and whether there is an authentication header.
const ROUTERS: [(u8, [&str; 5]); 13] = [
    (51, [MAC, GROUP, "2", "1", ""]),
    (52, [MAC, GROUP, "2", "0", ""]),
    (53, [MAC, GROUP, "2", "2", "sealed"]),
    (54, [MAC, GROUP, "3", "", ""]),
    (AS_V2, [MAC, GROUP, "3", "", ""]),
    (56, [MAC, GROUP_V6, "3", "", ""]),
    (57, [MAC, "192.0.2.101", "3", "", ""]),
    (58, [MAC, "2001:db8::101", "3", "", ""]),
    (59, ["00:00:5e:00:01:3b", GROUP, "3", "", ""]),
    (60, ["00:00:5e:00:02:3c", GROUP_V6, "3", "", ""]),
    (61, [MAC, "192.0.2.101", "2", "2", "sealed"]),
    (62, [MAC, OTHER_GROUP, "3", "", ""]),
    (63, [MAC, OTHER_GROUP_V6, "3", "", ""]),
];
const MAC: &str = "02:00:00:00:00:0b";
const GROUP: &str = "224.0.0.18";
const GROUP_V6: &str = "ff02::12";
/// Not a link-local one: of those tshark knows VRRP's alone to have a TTL of 255.
const OTHER_GROUP: &str = "239.192.0.18";
const OTHER_GROUP_V6: &str = "ff02::1:12";
const SEALED: [&str; 2] = ["auth_type AH", "auth_pass lab12345"];

fn slow(priority: u8, vrid: u8) -> Instance {
    let one = Instance::new(priority).named(&format!("VI_{vrid}"), vrid);
    one.holding(&[&format!("203.0.113.{vrid}/32")])
}

fn over_v4(priority: u8, vrid: u8) -> Instance {
    slow(priority, vrid).every("0.2").line("version 3")
}

fn over_v6(priority: u8, vrid: u8) -> Instance {
    let [link_local, global] = v6_of(vrid).map(|address| address + "/64");
    over_v4(priority, vrid).holding(&[&link_local, &global])
}

/// Its IPv6 addresses.
fn v6_of(vrid: u8) -> [String; 2] {
    [format!("fe80::5e00:{vrid}"), format!("2001:db8::5e:{vrid}")]
}

fn conf() -> String {
    let (slow, over_v4, over_v6) =
        (|vrid| slow(254, vrid), |vrid| over_v4(254, vrid), |vrid| over_v6(254, vrid));
    let many: Vec<String> = (0..40).map(|n| format!("198.51.100.{}/32", 100 + n)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let own = |vrid: u8| format!("use_vmac vrrp.{vrid}");
    let to_gen = |one: Instance| {
        one.line("unicast_src_ip 192.0.2.11").track("unicast_peer", &["192.0.2.101"])
    };
    Conf::new(2)
        .with(slow(51).password("1111"))
        .with(slow(52).holding(&many))
        .with(slow(53).track("authentication", &SEALED))
        .with(over_v4(54))
        .with(over_v4(AS_V2).line("v3_checksum_as_v2"))
        .with(over_v6(56))
        .with(to_gen(over_v4(57)))
        .with(
            over_v6(58)
                .line("unicast_src_ip 2001:db8::11")
                .track("unicast_peer", &["2001:db8::101"]),
        )
        .with(over_v4(59).line(&own(59)))
        .with(over_v6(60).line(&own(60)))
        .with(to_gen(slow(61).track("authentication", &SEALED)))
        .with(over_v4(62).line(&format!("mcast_dst_ip {OTHER_GROUP}")))
        .with(over_v6(63).line(&format!("mcast_dst_ip {OTHER_GROUP_V6}")))
        .text()
}

/// How the daemon ends: who says priority 0 at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself.
    Stopped,
    /// It is killed as a whole, and `xvrrp release` is run.
    Released,
}

#[test]
fn tshark_complains_about_no_frame_of_ours() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("yields", what_one_that_yields_sends),
        ("stopped", || all_it_sends(End::Stopped)),
        ("released", || all_it_sends(End::Released)),
    ])
}

/// Hosts that have IPv6 addresses, too.
fn lab(hosts: &[&str]) -> Result<Lab> {
    let lab = Lab::new(hosts)?;
    for host in hosts {
        let address = format!("addr add 2001:db8::{}/64 dev eth0 nodad", number(host));
        lab.ns(host).ip(&address)?;
    }
    Ok(lab)
}

/// Waits until the routers with these VRIDs are all in a state.
fn wait_all(daemon: &Daemon, vrids: &[u8], state: &str) -> Result<()> {
    wait_until(&format!("all are {state}"), LIMIT, || {
        daemon.status().is_ok_and(|status| {
            vrids.iter().all(|vrid| {
                status.instance(&format!("VI_{vrid}")).is_ok_and(|one| one.state() == state)
            })
        })
    })
    .map(drop)
    .with_context(|| daemon.log_end())
}

fn all_it_sends(end: End) -> Result<()> {
    let lab = lab(&["r1", "gen"])?;
    let recording = Recording::start(&lab, "r1")?;
    let mut r1 = lab.run("r1", &conf())?;
    wait_all(&r1, &ROUTERS.map(|(vrid, _)| vrid), "MASTER")?;
    pause(1500);
    match end {
        End::Stopped => drop(r1.stop()?),
        End::Released => {
            r1.kill()?;
            let done = r1.release(&lab, "r1")?;
            ensure!(done.status.success(), "{done:?}");
        }
    }
    let file = recording.finish(&lab, "r1")?;
    let (frames, otherwise) = (read(&file, false)?, read(&file, true)?);
    for (vrid, way) in ROUTERS {
        let frames = if vrid == AS_V2 { &otherwise } else { &frames };
        judge(frames, vrid, way).with_context(|| format!("VRID {vrid}, {way:?}"))?;
    }
    // It does look at the sums: read in the other form, these are wrong.
    let wrong = |frame: &&Read| frame.vrid == AS_V2.to_string() && frame.checksums[1] == "1";
    ensure!(frames.iter().find(wrong).is_none(), "a sum is good in both forms");
    let announced = frames.iter().filter(|frame| frame.is_gratuitous).count();
    ensure!(announced > 40, "{announced} gratuitous ARPs");
    let told = frames.iter().filter(|frame| frame.is_neighbour_advertisement);
    ensure!(told.clone().count() >= 6, "{} neighbour advertisements", told.count());
    for frame in frames.iter().filter(|frame| frame.vrid != AS_V2.to_string()) {
        ensure!(frame.is_good(), "{frame:?}");
    }
    Ok(())
}

/// The routers of one that yields, with whether the loser has a macvlan.
const YIELDING: [(u8, bool); 5] = [(53, false), (54, false), (56, false), (59, true), (60, true)];
const LOSER: u8 = 100;
/// The winner's MAC address, in whose name the loser speaks at last.
const WINNER: &str = "02:00:00:00:00:0c";

fn yielding(priority: u8, with_macvlans: bool) -> String {
    YIELDING
        .iter()
        .fold(Conf::new(2), |conf, (vrid, macvlan)| {
            let mut one = match vrid {
                53 => slow(priority, *vrid).track("authentication", &SEALED),
                56 | 60 => over_v6(priority, *vrid),
                _ => over_v4(priority, *vrid),
            };
            if *macvlan && with_macvlans {
                one = one.line(&format!("use_vmac vrrp.{vrid}"));
            }
            conf.with(one)
        })
        .text()
}

/// It says where its addresses are by then.
fn what_one_that_yields_sends() -> Result<()> {
    let lab = lab(&["r1", "r2"])?;
    let recording = Recording::start(&lab, "r1")?;
    let r1 = lab.run("r1", &yielding(LOSER, true))?;
    let vrids = YIELDING.map(|(vrid, _)| vrid);
    wait_all(&r1, &vrids, "MASTER")?;
    let r2 = lab.run("r2", &yielding(200, false))?;
    wait_all(&r2, &vrids, "MASTER")?;
    wait_all(&r1, &vrids, "BACKUP")?;
    pause(500);
    let frames = read(&recording.finish(&lab, "r1")?, false)?;
    for vrid in vrids {
        let mut adverts = frames.iter().filter(|frame| frame.vrid == vrid.to_string());
        let others = adverts.find(|advert| advert.priority != LOSER.to_string());
        ensure!(others.is_none(), "it has not yielded: {others:?}");
        let addresses = match vrid {
            56 | 60 => v6_of(vrid).to_vec(),
            _ => vec![format!("203.0.113.{vrid}")],
        };
        for address in addresses {
            let said = [address, WINNER.to_owned()];
            let count = frames.iter().filter(|frame| frame.says == said).count();
            ensure!(count == 1, "{said:?} is said {count} times: {}", r1.log_end());
        }
    }
    match frames.iter().find(|frame| !frame.is_good()) {
        Some(bad) => anyhow::bail!("{bad:?}"),
        None => Ok(()),
    }
}
