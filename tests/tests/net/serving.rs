//! An address that is announced answers whoever heard that.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use vrrp_proto::input::Outcome;
use vrrp_proto::settings::VirtualAddress;
use xvrrp::config::model::Scheduling;
use xvrrp::net::executor::{Config, Executor};

use crate::Cable;
use crate::announcements::{PATIENCE, add, announce, remove};

/// How long a packet of the host's to itself may take: it is delivered before the call that sends it ends.
const DELIVERY: Duration = Duration::from_micros(200);

/// Whether what is sent to the address is taken for the host's own. Doesn't sleep: that alone would let
/// the kernel go on.
fn is_served(ip: Ipv6Addr) -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    let SocketAddr::V6(mut to) = socket.local_addr()? else { return Ok(false) };
    to.set_ip(ip);
    socket.send_to(b"?", to)?;
    let begin = Instant::now();
    while begin.elapsed() < DELIVERY {
        if socket.recv(&mut [0; 8]).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The kernel finishes an IPv6 address on a thread of its own and on the CPU that was asked: behind a
/// real-time thread that goes on to announce, it would come to that later.
#[test]
fn an_ipv6_address_is_served_before_it_is_announced() -> Result<()> {
    const ROUNDS: usize = 20;
    let cable = Cable::new()?;
    let all: Vec<VirtualAddress> = (1..=20)
        .map(|last| {
            VirtualAddress::new(
                Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]).into(),
                64,
                "eth0",
            )
        })
        .collect();
    let first: Ipv6Addr = "2001:db8::1".parse()?;
    let scheduling = Scheduling { real_time: Some(51), cpus: vec![0], ..Scheduling::default() };
    let config = Config { scheduling, ..Config::default() };
    let (served, seen) = channel();
    let note = move |_| served.send(is_served(first)).unwrap_or_default();
    let (outcomes, done) = channel();
    let report = move |_, outcome| outcomes.send(outcome).unwrap_or_default();
    let executor = cable.here.enter(|| Ok(Executor::spawn(config, report, note)?))?;
    let mut early = 0;
    for _ in 0..ROUNDS {
        executor.soon();
        executor.send(add(1, &all));
        executor.send(announce(1, &all, 1));
        ensure!(done.recv_timeout(PATIENCE)? == Outcome::Done);
        early += usize::from(!seen.recv_timeout(PATIENCE)??);
        executor.send(remove(1, &all));
        ensure!(executor.flush(PATIENCE));
    }
    ensure!(early == 0, "announced {early} times of {ROUNDS} before the host took packets for it");
    Ok(())
}
