//! An address that is announced answers whoever heard that.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Result, ensure};
use vrrp_proto::input::Outcome;
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::wait::one_of_three;
use xvrrp::config::model::Scheduling;
use xvrrp::net::executor::{Config, Executor, Timing};

use crate::Cable;
use crate::announcements::{PATIENCE, add, announce, remove};

/// How long a packet of the host's to itself may take: it is delivered before the call that sends it ends, but
/// on a busy machine a thread of the kernel's may have to come to it.
const DELIVERY: Duration = Duration::from_secs(1);

/// Whether what is sent to the address is taken for the host's own: that is decided when it is sent, so that
/// the wait behind it changes nothing.
fn is_served(ip: Ipv6Addr) -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(DELIVERY))?;
    let SocketAddr::V6(mut to) = socket.local_addr()? else { return Ok(false) };
    to.set_ip(ip);
    socket.send_to(b"?", to)?;
    Ok(socket.recv(&mut [0; 8]).is_ok())
}

fn ip(last: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(last))
}

fn on_one_cpu() -> Config {
    let scheduling = Scheduling { real_time: Some(51), cpus: vec![0], ..Scheduling::default() };
    Config { scheduling, ..Config::default() }
}

/// The kernel finishes an IPv6 address on a thread of its own and on the CPU that was asked: behind a
/// real-time thread that goes on to announce, it would come to that later. The wait for it has an end, which a
/// kernel that is busy with other namespaces may come to.
#[test]
fn an_ipv6_address_is_served_before_it_is_announced() -> Result<()> {
    one_of_three(one_router)
}

fn one_router() -> Result<()> {
    const ROUNDS: usize = 20;
    let cable = Cable::new()?;
    let all: Vec<VirtualAddress> =
        (1..=20).map(|last| VirtualAddress::new(ip(last).into(), 64, "eth0")).collect();
    let first = ip(1);
    let config = on_one_cpu();
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
    ensure!(early == 0, "announced {early} times of {ROUNDS} before it was served");
    Ok(())
}

/// Those of many routers at once are waited for together, and none is announced before.
#[test]
fn of_many_routers_each_is_served_before_it_is_announced() -> Result<()> {
    one_of_three(many_routers)
}

fn many_routers() -> Result<()> {
    const ROUTERS: usize = 150;
    let cable = Cable::new()?;
    let (served, seen) = channel();
    let note = move |timing: Timing| served.send(is_served(ip(timing.slot.0))).unwrap_or_default();
    let executor = cable.here.enter(|| Ok(Executor::spawn(on_one_cpu(), |_, _| {}, note)?))?;
    for slot in 1..=ROUTERS as u32 {
        let address = [VirtualAddress::new(ip(slot).into(), 64, "eth0")];
        executor.send(add(slot, &address));
        executor.send(announce(slot, &address, 1));
    }
    let mut early = 0;
    for _ in 0..ROUTERS {
        early += usize::from(!seen.recv_timeout(PATIENCE)??);
    }
    ensure!(early == 0, "{early} of {ROUTERS} announced before they were served");
    Ok(())
}
