//! Who answers for the address (RFC 3768 §6.4.2, §6.4.3 and §8.4; RFC 9568 §6.4.2, §6.4.3 and §8.3.1).

use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use vrrp_common::checksum::Sum;
use vrrp_tests::{Kind, Lab, lab, now, packet};

use super::{ADDRESS, brisk, wait_state};

/// Long enough for every answer on a busy host.
const PATIENCE: Duration = Duration::from_millis(400);

/// Sends a frame from the client, and gives what comes back to `take`.
fn exchange(lab: &Lab, frame: &[u8], mut take: impl FnMut(&[u8]) + Send) -> Result<()> {
    lab.ns("client").enter(|| {
        let socket = packet::open("eth0")?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
        packet::send(&socket, frame)?;
        let until = now() + PATIENCE;
        let mut buffer = [0; 2048];
        while now() < until {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => take(&buffer[..len]),
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
fn asked(lab: &Lab) -> Result<Vec<u8>> {
    let client = lab::number("client");
    let mut request = [[0xff; 6], mac("client")].concat();
    request.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac("client"));
    request.extend([192, 0, 2, client]);
    request.extend([0; 6]);
    request.extend(ADDRESS.octets());
    let mut answers = Vec::new();
    exchange(lab, &request, |frame| {
        // A reply, from the address that was asked for.
        let arp = frame.get(..42).filter(|arp| arp[12..14] == [0x08, 0x06]);
        let reply = arp.filter(|arp| arp[20..22] == [0, 2] && arp[28..32] == ADDRESS.octets());
        answers.extend(reply.map(|arp| arp[27]));
    })?;
    Ok(answers)
}

/// Says whether a host takes a packet for the address that is sent to its own hardware address.
fn accepts(lab: &Lab, host: &str) -> Result<bool> {
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
    exchange(lab, &frame, |frame| {
        let reply = frame.get(..42).filter(|ip| ip[12..14] == [0x08, 0x00] && ip[23] == 1);
        accepted |= reply.is_some_and(|ip| ip[26..30] == ADDRESS.octets() && ip[34] == 0);
    })?;
    Ok(accepted)
}

#[test]
fn only_the_active_router_answers_and_accepts() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2", "client"])?;
    // Long intervals: what is asked of a BACKUP is asked while it is one.
    let r2 = lab.run("r2", &brisk(100).every("2").alone(3))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    let answers = asked(&lab)?;
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    ensure!(answers.is_empty(), "a BACKUP that waits answers: {answers:?}");
    ensure!(!accepts(&lab, "r2")?, "a BACKUP takes a packet for the address");
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    let mut r1 = lab.run("r1", &brisk(255).every("2").alone(3))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    ensure!(asked(&lab)? == [lab::number("r1")], "beside a BACKUP only the MASTER answers");
    ensure!(accepts(&lab, "r1")?, "the owner takes no packet for its address");
    ensure!(!accepts(&lab, "r2")?, "a BACKUP beside it takes one");
    ensure!(super::state(&r2, "VI_1")? == "BACKUP");
    r1.stop()?;
    wait_state(&r2, "VI_1", "MASTER").with_context(|| r1.log_end())?;
    ensure!(asked(&lab)? == [lab::number("r2")], "the one that took over answers, and no other");
    Ok(())
}
