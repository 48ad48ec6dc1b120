//! Who answers for the address (RFC 3768 §6.4.2, §6.4.3 and §8.4; RFC 9568 §6.4.2, §6.4.3 and §8.3.1).

use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use vrrp_common::checksum::Sum;
use vrrp_tests::conf::Instance;
use vrrp_tests::{Kind, Lab, lab, packet, wait_until};

use super::{ADDRESS, LIMIT, VIP, brisk, wait_state};

const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x250);

/// How long all answers are waited for.
const MOMENT: Duration = Duration::from_millis(400);

/// Sends a frame from the client, and gives what comes back to `take`, which says whether it was an
/// answer. Where there must be one it is waited for longer, as a busy host may take its time.
fn exchange(
    lab: &Lab,
    frame: &[u8],
    wanted: bool,
    mut take: impl FnMut(&[u8]) -> bool + Send,
) -> Result<()> {
    lab.ns("client").enter(|| {
        let socket = packet::open("eth0")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
        packet::send(&socket, frame)?;
        let begin = Instant::now();
        let (mut buffer, mut answered) = ([0; 2048], false);
        while begin.elapsed() < if wanted && !answered { LIMIT } else { MOMENT } {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => answered |= take(&buffer[..len]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    })
}

/// The hardware address of a host.
fn mac(host: &str) -> [u8; 6] {
    [2, 0, 0, 0, 0, lab::number(host)]
}

/// Asks for the address by ARP; who answers, by number.
fn asked(lab: &Lab, wanted: bool) -> Result<Vec<u8>> {
    let client = lab::number("client");
    let mut request = [[0xff; 6], mac("client")].concat();
    request.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac("client"));
    request.extend([192, 0, 2, client]);
    request.extend([0; 6]);
    request.extend(ADDRESS.octets());
    let mut answers = Vec::new();
    exchange(lab, &request, wanted, |frame| {
        // A reply, from the address that was asked for.
        let arp = frame.get(..42).filter(|arp| arp[12..14] == [0x08, 0x06]);
        let reply = arp.filter(|arp| arp[20..22] == [0, 2] && arp[28..32] == ADDRESS.octets());
        answers.extend(reply.map(|arp| arp[27]));
        reply.is_some()
    })?;
    Ok(answers)
}

/// Says whether a host takes a packet for the address that is sent to its own hardware address.
fn accepts(lab: &Lab, host: &str, wanted: bool) -> Result<bool> {
    let client = lab::number("client");
    let mut frame = [mac(host), mac("client")].concat();
    frame.extend([0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, client];
    ip.extend(ADDRESS.octets());
    let sum = Sum::new().slice(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    // An echo request: type 8, its checksum, number 1, sequence 1.
    frame.extend([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]);
    let mut accepted = false;
    exchange(lab, &frame, wanted, |frame| {
        let reply = frame.get(..42).filter(|ip| ip[12..14] == [0x08, 0x00] && ip[23] == 1);
        accepted |= reply.is_some_and(|ip| ip[26..30] == ADDRESS.octets() && ip[34] == 0);
        accepted
    })?;
    Ok(accepted)
}

/// Asks for the IPv6 address by a neighbour solicitation; who answers, by number, each with the flags
/// of its advertisement and the number in its link-layer option.
fn solicited(lab: &Lab, wanted: bool) -> Result<Vec<(u8, u8, u8)>> {
    let client = lab::number("client");
    let source: Ipv6Addr = format!("fe80::ff:fe00:{client:x}").parse()?;
    let group: Ipv6Addr = "ff02::1:ff00:250".parse()?;
    // Type 135, no code, room for the checksum and 4 reserved bytes; the target; our link-layer address.
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(ADDRESS6.octets());
    message.extend([1, 1]);
    message.extend(mac("client"));
    let pseudo = Sum::new().slice(&source.octets()).slice(&group.octets());
    let sum = pseudo.word(message.len() as u16).word(58).slice(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0xff, 0, 2, 0x50];
    frame.extend(mac("client"));
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(message);
    let mut answers = Vec::new();
    exchange(lab, &frame, wanted, |frame| {
        let answer = frame.get(..86).filter(|ip| ip[12..14] == [0x86, 0xdd] && ip[20] == 58);
        let answer = answer.filter(|ip| ip[54] == 136 && ip[62..78] == ADDRESS6.octets());
        answers.extend(answer.map(|ip| (ip[11], ip[58], ip[85])));
        answer.is_some()
    })?;
    Ok(answers)
}

/// Router, solicited and override (RFC 4861 §4.4).
const FLAGS_OF_A_ROUTER: u8 = 0xe0;

/// An instance with an IPv6 address beside the advert's.
fn both_families(priority: u8) -> Instance {
    let beside = format!("{ADDRESS6}/64");
    brisk(priority).every("4").track("virtual_ipaddress_excluded", &[&beside])
}

#[test]
fn only_the_active_router_answers_and_accepts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2", "client"])?;
    // Long intervals: what is asked of a BACKUP is asked while it is one.
    for host in ["r1", "r2"] {
        lab.ns(host).sysctl("net.ipv6.conf.eth0.forwarding", 1)?;
    }
    let has_both = |host: &str| {
        wait_until("it has both", LIMIT, || {
            let six = lab.ns(host).ip("-6 -o addr show dev eth0").unwrap_or_default();
            lab.holds(host, VIP) && six.contains("2001:db8::250")
        })
    };
    let r2 = lab.run("r2", &both_families(100).alone(3))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    let answers = asked(&lab, false)?;
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    ensure!(answers.is_empty(), "a BACKUP that waits answers: {answers:?}");
    ensure!(!accepts(&lab, "r2", false)?, "a BACKUP takes a packet for the address");
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    ensure!(solicited(&lab, false)?.is_empty(), "a BACKUP that waits answers over IPv6");
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    let mut r1 = lab.run("r1", &both_families(255).alone(3))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    has_both("r1")?;
    ensure!(asked(&lab, true)? == [lab::number("r1")], "beside a BACKUP only the MASTER answers");
    let one = lab::number("r1");
    ensure!(
        solicited(&lab, true)? == [(one, FLAGS_OF_A_ROUTER, one)],
        "only the MASTER answers over IPv6"
    );
    ensure!(accepts(&lab, "r1", true)?, "the owner takes no packet for its address");
    ensure!(!accepts(&lab, "r2", false)?, "a BACKUP beside it takes one");
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    r1.stop()?;
    wait_state(&r2, "VI_1", "MASTER").with_context(|| r1.log_end())?;
    has_both("r2")?;
    ensure!(
        asked(&lab, true)? == [lab::number("r2")],
        "the one that took over answers, and no other"
    );
    let two = lab::number("r2");
    ensure!(solicited(&lab, true)? == [(two, FLAGS_OF_A_ROUTER, two)], "and no other over IPv6");
    Ok(())
}
