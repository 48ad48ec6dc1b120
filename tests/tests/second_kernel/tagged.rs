//! Our frames on a VLAN, on one within a provider's, and from an ipvlan, as another decoder reads them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vrrp_tests::Lab;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::tshark::{Read, Recording, judge, read};

use crate::{becomes, until};

/// The file that the frames are recorded into, where who reads them is elsewhere: `cargo xtask test`
/// does not take tshark along into the emulated machine. Where it is there already, it is read.
const FILE: &str = "LAB_TAGGED_FRAMES";

const MAC: &str = "02:00:00:00:00:0b";
const GROUP: &str = "224.0.0.18";
const GROUP_V6: &str = "ff02::12";

/// The routers' VRIDs, their interfaces with the tags that these put on, and what tshark reads in their
/// adverts: see [`Read`].
const ROUTERS: [(u8, (&str, &str), [&str; 5]); 9] = [
    (51, VLAN, [MAC, GROUP, "2", "1", ""]),
    (52, VLAN, [MAC, GROUP, "3", "", ""]),
    (53, VLAN, [MAC, GROUP_V6, "3", "", ""]),
    (54, VLAN, ["00:00:5e:00:01:36", GROUP, "3", "", ""]),
    (55, INNER, [MAC, GROUP, "2", "1", ""]),
    (56, INNER, [MAC, GROUP, "3", "", ""]),
    (57, INNER, [MAC, GROUP_V6, "3", "", ""]),
    (58, INNER, ["00:00:5e:00:02:3a", GROUP_V6, "3", "", ""]),
    (ON_IPVLAN, PLAIN, [MAC, GROUP, "3", "", ""]),
];
/// No tag, but an interface that the kernel of the other tests has not.
const ON_IPVLAN: u8 = 59;
const PLAIN: (&str, &str) = ("eth0", "");
const VLAN: (&str, &str) = ("eth0.100", "100");
const INNER: (&str, &str) = ("inner", "7,100");

fn conf() -> String {
    let mut conf = Conf::new(2);
    for (vrid, (device, _), [mac, group, version, ..]) in ROUTERS {
        let mut one = Instance::new(254).named(&format!("VI_{vrid}"), vrid).on(device);
        one = match version {
            "2" => one.password("1111"),
            _ => one.every("0.5").line("version 3"),
        };
        one = match group {
            GROUP => one.holding(&[&format!("203.0.113.{vrid}/32")]),
            _ => one.holding(&[&format!("fe80::5e00:{vrid}/64")]),
        };
        if vrid == ON_IPVLAN {
            one = one.line("use_ipvlan ipv59 192.0.2.59/24");
        }
        if mac != MAC {
            one = one.line(&format!("use_vmac vrrp.{vrid}"));
        }
        conf = conf.with(one);
    }
    conf.text()
}

fn record() -> Result<PathBuf> {
    let lab = Lab::new(&["r1"])?;
    let ns = lab.ns("r1");
    for words in [
        "link add link eth0 name eth0.100 type vlan id 100",
        "link add link eth0 name outer type vlan proto 802.1ad id 7",
        "link set outer up",
        "link add link outer name inner type vlan id 100",
    ] {
        ns.ip(words)?;
    }
    for (number, (device, _)) in [VLAN, INNER].into_iter().enumerate() {
        ns.ip(&format!("addr add 198.51.100.{}/24 dev {device}", 11 + number))?;
        ns.ip(&format!("link set {device} up"))?;
    }
    let recording = Recording::start(&lab, "r1")?;
    let mut r1 = lab.run("r1", &conf())?;
    for (vrid, ..) in ROUTERS {
        becomes(&r1, &format!("VI_{vrid}"), "MASTER")?;
    }
    let spoke =
        |vrid: u8| r1.status()?.instance(&format!("VI_{vrid}")).map(|one| one.counter("sent"));
    until("all have spoken twice", || {
        ROUTERS.iter().all(|(vrid, ..)| spoke(*vrid).is_ok_and(|sent| sent > 1))
    })
    .with_context(|| r1.log_end())?;
    r1.stop()?;
    let file = recording.finish(&lab, "r1")?;
    // It goes with the laboratory.
    let kept = std::env::var_os(FILE).map_or_else(
        || std::env::temp_dir().join(format!("tagged-{}.pcap", std::process::id())),
        PathBuf::from,
    );
    std::fs::copy(file, &kept).with_context(|| kept.display().to_string())?;
    Ok(kept)
}

#[test]
#[ignore = "for the second kernel"]
fn tshark_complains_about_no_tagged_frame() -> Result<()> {
    match std::env::var_os(FILE).map(PathBuf::from) {
        Some(file) if file.exists() => judge_all(&file),
        Some(_) => record().map(drop),
        None => {
            let file = record()?;
            judge_all(&file)?;
            std::fs::remove_file(file).map_err(Into::into)
        }
    }
}

fn judge_all(file: &Path) -> Result<()> {
    let frames = read(file, false)?;
    for (vrid, (_, tags), way) in ROUTERS {
        judge(&frames, vrid, way).with_context(|| format!("VRID {vrid}, {way:?}"))?;
        let mut adverts = frames.iter().filter(|frame| frame.vrid == vrid.to_string());
        ensure!(adverts.all(|advert| advert.vlans == tags), "VRID {vrid} is not on VLAN {tags}");
    }
    let count = |tags, is_it: fn(&&Read) -> bool| {
        frames.iter().filter(|frame| frame.vlans == tags).filter(is_it).count()
    };
    for (_, tags) in [VLAN, INNER] {
        let announced = count(tags, |frame| frame.is_gratuitous);
        ensure!(announced >= 2, "{announced} gratuitous ARPs on VLAN {tags}");
        let told = count(tags, |frame| frame.is_neighbour_advertisement);
        ensure!(told >= 1, "{told} neighbour advertisements on VLAN {tags}");
    }
    let here = [format!("203.0.113.{ON_IPVLAN}"), MAC.to_owned()];
    let is_it = |frame: &Read| frame.is_gratuitous && frame.says == here && frame.vlans.is_empty();
    ensure!(frames.iter().any(is_it), "nobody says {here:?}");
    match frames.iter().find(|frame| !frame.is_good()) {
        Some(bad) => anyhow::bail!("{bad:?}"),
        None => Ok(()),
    }
}
