//! Frames of the running daemon as another decoder reads them: every checksum good, and no complaint.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::tshark::{Read, Recording, judge, read};
use vrrp_tests::wait::pause;
use vrrp_tests::{Kind, Lab, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// The router whose VRRPv3 checksum covers the message alone, as in VRRPv2.
const AS_V2: u8 = 55;
/// The routers' VRIDs, and what tshark reads in their adverts: where from and to, the version, the
/// authentication type, and whether there is an authentication header.
const ROUTERS: [(u8, [&str; 5]); 10] = [
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
];
const MAC: &str = "02:00:00:00:00:0b";
const GROUP: &str = "224.0.0.18";
const GROUP_V6: &str = "ff02::12";

fn conf() -> String {
    let slow = |vrid: u8| Instance::new(254).named(&format!("VI_{vrid}"), vrid);
    let fast = |vrid: u8| slow(vrid).every("0.2").line("version 3");
    let many: Vec<String> = (0..40).map(|n| format!("198.51.100.{}/32", 100 + n)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let over_v4 = |vrid: u8| fast(vrid).holding(&[&format!("203.0.113.{vrid}/32")]);
    let over_v6 = |vrid: u8| {
        fast(vrid).holding(&[&format!("fe80::5e00:{vrid}/64"), &format!("2001:db8::5e:{vrid}/64")])
    };
    let own = |vrid: u8| format!("use_vmac vrrp.{vrid}");
    let sealed = ["auth_type AH", "auth_pass lab12345"];
    Conf::new(2)
        .with(slow(51).password("1111").holding(&["203.0.113.51/32"]))
        .with(slow(52).holding(&many))
        .with(slow(53).track("authentication", &sealed).holding(&["203.0.113.53/32"]))
        .with(over_v4(54))
        .with(over_v4(AS_V2).line("v3_checksum_as_v2"))
        .with(over_v6(56))
        .with(over_v4(57).line("unicast_src_ip 192.0.2.11").track("unicast_peer", &["192.0.2.101"]))
        .with(
            over_v6(58)
                .line("unicast_src_ip 2001:db8::11")
                .track("unicast_peer", &["2001:db8::101"]),
        )
        .with(over_v4(59).line(&own(59)))
        .with(over_v6(60).line(&own(60)))
        .text()
}

#[test]
fn tshark_complains_about_no_frame_of_ours() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "gen"])?;
    for (host, last) in [("r1", "11"), ("gen", "101")] {
        lab.ns(host).ip(&format!("addr add 2001:db8::{last}/64 dev eth0 nodad"))?;
    }
    let recording = Recording::start(&lab, "r1")?;
    let mut r1 = lab.run("r1", &conf())?;
    wait_until("all are MASTER", LIMIT, || {
        let status = r1.status();
        status.is_ok_and(|status| {
            ROUTERS.iter().all(|(vrid, _)| {
                status.instance(&format!("VI_{vrid}")).is_ok_and(|one| one.state() == "MASTER")
            })
        })
    })
    .with_context(|| r1.log_end())?;
    pause(1500);
    r1.stop()?;
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
