//! Packets to single hosts: what arrives, and what is refused.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::Value;
use vrrp_common::wire::{Advert, ChecksumForm};
use vrrp_common::{Family, wire};
use vrrp_common::{Priority, Version, Vrid};
use vrrp_tests::{packet, wait_until};
use xvrrp::slowpath::{Realm, SlowPath, Table};
use xvrrp::transmit::{AdvertFrame, Around, Presence, Routed};

use crate::Cable;

const LIMIT: Duration = Duration::from_secs(30);

fn advert(source: &str, destination: &str, addresses: &[&str]) -> Result<AdvertFrame> {
    let addresses = addresses.iter().map(|ip| ip.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
    let advert = Advert {
        version: Version::V3,
        vrid: Vrid::new(51).context("a VRID")?,
        priority: Priority::DEFAULT,
        interval: 100,
        addresses: &addresses,
        password: None,
        form: ChecksumForm::PseudoHeader,
        source: source.parse()?,
        destination: destination.parse()?,
    };
    Ok(AdvertFrame::new(Around { ttl: 77, ..Around::plain([0; 6]) }, &advert)?)
}

/// Waits for frames with these packets, in whatever order they come.
fn arrive(socket: &OwnedFd, packets: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    let mut frames: Vec<Option<Vec<u8>>> = vec![None; packets.len()];
    wait_until("the packets arrive", LIMIT, || {
        let mut buffer = [0; 2048];
        while let Ok(len) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            let Some(behind) = buffer[..len].get(14..) else { continue };
            let which = packets.iter().position(|packet| behind.starts_with(packet));
            if let Some(which) = which {
                frames[which] = Some(buffer[..len].to_vec());
            }
        }
        frames.iter().all(Option::is_some)
    })?;
    Ok(frames.into_iter().flatten().collect())
}

#[test]
fn single_hosts_get_the_packet_as_it_is() -> Result<()> {
    let cable = Cable::new()?;
    for (host, ip) in [(&cable.here, "2001:db8::1"), (&cable.there, "2001:db8::2")] {
        host.ip(&format!("addr add {ip}/64 dev eth0 nodad"))?;
    }
    cable.there.ip("addr add fe80::2/64 dev eth0 nodad")?;
    cable.here.ip("addr add fe80::1/64 dev eth0 nodad")?;
    let link: Value = serde_json::from_str(&cable.there.ip("-j link show dev eth0")?)?;
    let mac = link[0]["address"].as_str().context("no MAC address")?;
    let mac: Vec<u8> =
        mac.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    let socket = cable.there.enter(|| packet::open("eth0"))?;
    let vip6 = ["fe80::5e00:250"];
    let packets = [
        advert("192.0.2.11", "192.0.2.12", &["192.0.2.250"])?,
        advert("2001:db8::1", "2001:db8::2", &vip6)?,
        advert("fe80::1", "fe80::2", &vip6)?,
    ];
    let (index, mut routed) = cable.here.enter(|| Ok((if_nametoindex("eth0")?, Routed::new())))?;
    for frame in &packets {
        // The first may wait for the neighbour's MAC address.
        routed = cable.here.enter(|| {
            routed.send(index, frame.packet())?;
            Ok(routed)
        })?;
        let seen = arrive(&socket, &[frame.packet()])?;
        ensure!(seen[0][..6] == mac, "sent to {:x?}, not {mac:x?}", &seen[0][..6]);
    }
    Ok(())
}

/// A host with a provider for each of its networks has rules by the source.
#[test]
fn the_source_chooses_the_route() -> Result<()> {
    const FAR: &str = "2001:db8:1::2";
    let cable = Cable::new()?;
    for ip in ["2001:db8::1", "fe80::1"] {
        cable.here.ip(&format!("addr add {ip}/64 dev eth0 nodad"))?;
        cable.here.ip(&format!("-6 rule add from {ip} lookup 100"))?;
    }
    cable.there.ip("addr add 2001:db8::2/64 dev eth0 nodad")?;
    cable.here.ip(&format!("-6 route add {FAR} via 2001:db8::2 dev eth0 table 100"))?;
    cable.here.ip("rule add from 192.0.2.11 lookup 100")?;
    cable.here.ip("route add 198.51.100.2 via 192.0.2.12 dev eth0 table 100")?;
    // Whoever goes by no rule goes by a gateway that is not there.
    cable.here.ip(&format!("-6 route add {FAR} via 2001:db8::3 dev eth0"))?;
    cable.here.ip("route add 198.51.100.2 via 192.0.2.13 dev eth0")?;
    let socket = cable.there.enter(|| packet::open("eth0"))?;
    let send = |frame: &AdvertFrame| {
        cable.here.enter(|| Ok(Routed::new().send(if_nametoindex("eth0")?, frame.packet())?))
    };
    for (source, destination, vip) in [
        ("192.0.2.11", "198.51.100.2", "192.0.2.250"),
        ("2001:db8::1", FAR, "fe80::5e00:250"),
        ("fe80::1", FAR, "fe80::5e00:250"),
        // From an address that the host has not, or not yet.
        ("192.0.2.99", "192.0.2.12", "192.0.2.250"),
        ("2001:db8::99", "2001:db8::2", "fe80::5e00:250"),
        ("fe80::99", "2001:db8::2", "fe80::5e00:250"),
    ] {
        let frame = advert(source, destination, &[vip])?;
        send(&frame).with_context(|| source.to_owned())?;
        arrive(&socket, &[frame.packet()]).with_context(|| source.to_owned())?;
    }
    Ok(())
}

/// A peer on the link, of a network that the host is not in: by no route, and by one that says so, as VRFs
/// often end with.
#[test]
fn whom_no_route_leads_to_is_a_neighbour() -> Result<()> {
    const FAR: &str = "198.51.100.2";
    let cable = Cable::new()?;
    cable.there.ip(&format!("addr add {FAR}/32 dev eth0"))?;
    let socket = cable.there.enter(|| packet::open("eth0"))?;
    for route in [None, Some("unreachable")] {
        if let Some(kind) = route {
            cable.here.ip(&format!("route add {kind} default metric 4278198272"))?;
        }
        let frame = advert("192.0.2.11", FAR, &["192.0.2.250"])?;
        let by_route = |index| Routed::new().send_by_route(0, index, frame.packet());
        cable
            .here
            .enter(|| Ok(by_route(if_nametoindex("eth0")?)?))
            .with_context(|| format!("{route:?}"))?;
        arrive(&socket, &[frame.packet()]).with_context(|| format!("{route:?}"))?;
    }
    Ok(())
}

#[test]
fn what_can_t_be_sent_is_told() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.enter(|| {
        let index = if_nametoindex("eth0")?;
        let mut routed = Routed::new();
        let mut code = |index, packet: &[u8]| {
            routed.send(index, packet).err().and_then(|error| error.raw_os_error())
        };
        let near = advert("192.0.2.11", "192.0.2.12", &["192.0.2.250"])?;
        assert_eq!(code(9999, near.packet()), Some(libc::ENODEV));
        let far = advert("2001:db8::1", "2001:db8:1::2", &["fe80::5e00:250"])?;
        assert_eq!(code(index, far.packet()), Some(libc::ENETUNREACH));
        assert_eq!(code(index, near.packet()), None);
        assert!(Routed::new().send(index, &[0x45; 10]).is_err());
        Ok(())
    })
}

/// A packet with an authentication header, and this behind that.
fn sealed(source: IpAddr, destination: IpAddr, next: u8) -> Vec<u8> {
    // Its numbers and its sum are nobody's; behind it stands something.
    let mut header = [&[next, 4, 0, 0][..], &[7; 20], &[0x21; 8]].concat();
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = vec![0x45, 0xc0, 0, 52, 0, 0, 0, 0, 255, wire::PROTOCOL_AH, 0, 0];
            ip.extend([source.octets(), destination.octets()].concat());
            ip
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut ip = vec![0x60, 0, 0, 0, 0, 32, wire::PROTOCOL_AH, 255];
            ip.extend([source.octets(), destination.octets()].concat());
            ip
        }
        _ => unreachable!("of one family"),
    };
    packet.append(&mut header);
    packet
}

/// A host's tunnels may have such a header with each packet, too.
#[test]
fn of_what_is_sealed_adverts_alone_are_taken() -> Result<()> {
    const TUNNELLED: u8 = 41;
    let cable = Cable::new()?;
    cable.here.ip("addr add 2001:db8::1/64 dev eth0 nodad")?;
    cable.there.ip("addr add 2001:db8::2/64 dev eth0 nodad")?;
    for (family, source, destination) in
        [(Family::V4, "192.0.2.11", "192.0.2.12"), (Family::V6, "2001:db8::1", "2001:db8::2")]
    {
        let realm = Realm { vrf: None, family, sealed: true };
        let mut slow = cable.there.enter(|| Ok(SlowPath::open_realm(realm, None)?))?;
        let (source, destination) = (source.parse()?, destination.parse()?);
        cable.here.enter(|| {
            let (index, mut routed) = (if_nametoindex("eth0")?, Routed::new());
            for next in [TUNNELLED, TUNNELLED, wire::PROTOCOL] {
                routed.send(index, &sealed(source, destination, next))?;
            }
            Ok(())
        })?;
        let (mut taken, mut table) = (0, Table::new());
        wait_until("the last one comes", LIMIT, || {
            taken += slow.drain(10, &mut table, |_| ()).unwrap_or_default();
            taken > 0
        })?;
        ensure!(taken == 1, "{family:?}: {taken} were taken");
    }
    Ok(())
}

/// How often that host said that it does not know the protocol of a packet.
fn unreachable(cable: &Cable) -> Result<u64> {
    let snmp = cable.there.sh("cat /proc/net/snmp /proc/net/snmp6")?;
    let icmp: Vec<&str> = snmp.lines().filter(|line| line.starts_with("Icmp:")).collect();
    let [names, values] = icmp[..] else { anyhow::bail!("no counters in {snmp}") };
    let pairs = names.split_whitespace().zip(values.split_whitespace());
    let v4 = pairs.filter(|(name, _)| *name == "OutDestUnreachs").map(|(_, value)| value);
    let v6 = snmp.lines().filter_map(|line| line.strip_prefix("Icmp6OutParmProblems"));
    v4.chain(v6).map(|value| Ok(value.trim().parse::<u64>()?)).sum()
}

#[test]
fn who_is_there_is_not_told_unreachable() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr add 2001:db8::1/64 dev eth0 nodad")?;
    cable.there.ip("addr add 2001:db8::2/64 dev eth0 nodad")?;
    let packets = [
        advert("192.0.2.11", "192.0.2.12", &["192.0.2.250"])?,
        advert("2001:db8::1", "2001:db8::2", &["fe80::5e00:250"])?,
    ];
    let socket = cable.there.enter(|| packet::open("eth0"))?;
    let send = || -> Result<()> {
        cable.here.enter(|| {
            let index = if_nametoindex("eth0")?;
            packets.iter().try_for_each(|frame| Ok(Routed::new().send(index, frame.packet())?))
        })?;
        let packets: Vec<&[u8]> = packets.iter().map(AdvertFrame::packet).collect();
        arrive(&socket, &packets).map(drop)
    };
    send()?;
    wait_until("both are told", LIMIT, || unreachable(&cable).is_ok_and(|count| count == 2))?;
    let there = cable.there.enter(|| {
        [Family::V4, Family::V6]
            .map(|family| Presence::open(family, wire::PROTOCOL))
            .into_iter()
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(Into::into)
    })?;
    // More than wait in any buffer.
    for _ in 0..20 {
        send()?;
    }
    vrrp_tests::wait::pause(100);
    ensure!(unreachable(&cable)? == 2, "told {} times", unreachable(&cable)?);
    drop(there);
    Ok(())
}
