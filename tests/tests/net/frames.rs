//! Frames as another decoder reads them, and the group that they come by.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};
use vrrp_common::wire::{Advert, ChecksumForm, GROUP_V4};
use vrrp_common::{Priority, Version, Vrid};
use vrrp_tests::netns::run;
use vrrp_tests::{packet, wait_until};
use xvrrp::transmit::Sender;
use xvrrp::transmit::advert::{AdvertFrame, Around};
use xvrrp::transmit::group::Membership;
use xvrrp::transmit::{arp, ndisc};

use crate::Cable;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

fn advert(version: Version, addresses: &[IpAddr]) -> Advert<'_> {
    Advert {
        version,
        vrid: Vrid::new(51).expect("51 is a VRID"),
        priority: Priority::new(150),
        interval: if version == Version::V2 { 1 } else { 100 },
        addresses,
        password: (version == Version::V2).then_some(*b"secret\0\0"),
        form: ChecksumForm::PseudoHeader,
        source: Ipv4Addr::new(192, 0, 2, 11).into(),
        destination: Ipv4Addr::from_octets(GROUP_V4).into(),
    }
}

/// A capture file (pcap, microseconds, Ethernet).
fn write_pcap(path: &Path, frames: &[Vec<u8>]) -> Result<()> {
    let mut file = File::create(path)?;
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    for frame in frames {
        let len = u32::try_from(frame.len())?;
        for word in [0, 0, len, len] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(frame)?;
    }
    Ok(())
}

/// Sends frames here and gives what arrives there.
fn through(cable: &Cable, frames: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let wire = cable.there.enter(|| packet::open("eth0"))?;
    cable.here.enter(|| {
        let (sender, index) = (Sender::open()?, if_nametoindex("eth0")?);
        for frame in frames {
            sender.send(index, frame)?;
        }
        Ok(())
    })?;
    let mut buffer = [0; 2048];
    let mut arrived = Vec::new();
    wait_until("all arrive", Duration::from_secs(30), || {
        while let Ok(len) = recv(wire.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            // Neighbour discovery of the kernels themselves goes over the cable too.
            if buffer[6..12] == MAC {
                arrived.push(buffer[..len].to_vec());
            }
        }
        arrived.len() >= frames.len()
    })?;
    Ok(arrived)
}

/// Adverts in both versions and families, each as built and as patched, an ARP and an advertisement.
fn all_kinds() -> Result<Vec<Vec<u8>>> {
    let v4: Vec<IpAddr> = (1..=20).map(|n| [192, 0, 2, n].into()).collect();
    let v6: Vec<IpAddr> = vec!["fe80::5e00:1".parse()?, "2001:db8::1".parse()?];
    let over_v6 = Advert {
        source: "fe80::b".parse()?,
        destination: "ff02::12".parse()?,
        ..advert(Version::V3, &v6)
    };
    let mut frames = Vec::new();
    for advert in [advert(Version::V2, &v4), advert(Version::V3, &v4[..1]), over_v6] {
        let mut frame = AdvertFrame::new(Around::plain(MAC), &advert)?;
        frames.push(frame.bytes().to_vec());
        for priority in [0, 1, 254, 255] {
            let form = ChecksumForm::PseudoHeader;
            frames.push(frame.patch(Priority::new(priority), form).to_vec());
        }
    }
    frames.push(arp::gratuitous(MAC, MAC, Ipv4Addr::new(192, 0, 2, 250)).to_vec());
    frames.push(ndisc::unsolicited(MAC, MAC, "2001:db8::1".parse()?, true).to_vec());
    Ok(frames)
}

#[test]
fn wireshark_finds_nothing_wrong() -> Result<()> {
    let cable = Cable::new()?;
    let frames = all_kinds()?;
    let arrived = through(&cable, &frames)?;
    ensure!(arrived == frames, "{} of {} frames arrived", arrived.len(), frames.len());

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("frames.pcap");
    write_pcap(&path, &arrived)?;
    let path = path.to_string_lossy();
    let read = |extra: &str| {
        let mut args = vec!["-n", "-r", &path, "-o", "ip.check_checksum:TRUE"];
        args.extend(extra.split_whitespace());
        run("tshark", &args)
    };
    let fields = read(
        "-T fields -e vrrp.checksum.status -e ip.checksum.status -e ip.ttl -e ipv6.hlim \
         -e vrrp.prio -e arp.isgratuitous -e icmpv6.checksum.status",
    )?;
    let lines: Vec<_> = fields.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut right = Vec::new();
    for ip in ["1\t255\t", "1\t255\t", "\t\t255"] {
        right.extend([150, 0, 1, 254, 255].map(|priority| format!("1\t{ip}\t{priority}")));
    }
    right.push("\t\t\t\t\t1".to_owned());
    right.push("\t\t\t255\t\t\t1".to_owned());
    assert_eq!(lines, right, "\n{fields}");
    // That an ARP is gratuitous and a password plain are notes, below warnings.
    let expert = read("-q -z expert,warn")?;
    assert!(!expert.contains("Errors") && !expert.contains("Warns"), "{expert}");
    Ok(())
}

#[test]
fn sending_fails_by_name_where_it_can_not_succeed() -> Result<()> {
    let cable = Cable::new()?;
    let frame = arp::gratuitous(MAC, MAC, Ipv4Addr::new(192, 0, 2, 250));
    cable.here.ip("link set eth0 down")?;
    cable.here.enter(|| {
        let sender = Sender::open()?;
        let code = |index| sender.send(index, &frame).err().and_then(|e| e.raw_os_error());
        assert_eq!(code(if_nametoindex("eth0")?), Some(libc::ENETDOWN));
        assert_eq!(code(9999), Some(libc::ENXIO));
        Ok(())
    })
}

#[test]
fn the_group_is_joined_without_any_address() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr flush dev eth0")?;
    for (group, mac) in [("224.0.0.18", "01:00:5e:00:00:12"), ("ff02::12", "33:33:00:00:00:12")] {
        let address: IpAddr = group.parse()?;
        let joined = |cable: &Cable| -> Result<bool> {
            let list = cable.here.ip("maddr show dev eth0")?;
            Ok(list.split_whitespace().any(|word| word == group))
        };
        assert!(!joined(&cable)?, "{group}");
        let join = |index| move || Ok(Membership::join(index, address)?);
        let index = cable.here.enter(|| Ok(if_nametoindex("eth0")?))?;
        let membership = cable.here.enter(join(index))?;
        assert!(joined(&cable)?, "{group}");
        let filter = cable.here.ip("maddr show dev eth0")?;
        assert!(filter.contains(mac), "{filter}");
        drop(membership);
        // A process that another test is just starting has a copy of the socket for a moment.
        let left = || matches!(joined(&cable), Ok(false));
        wait_until(&format!("{group} is left"), Duration::from_secs(30), left)?;
        assert!(cable.here.enter(join(9999)).is_err());
    }
    Ok(())
}
