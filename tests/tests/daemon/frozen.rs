//! The daemon stands still, or the host with it, while things happen.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use vrrp_proto::VirtualAddress;
use vrrp_tests::conf::Instance;
use vrrp_tests::generator::sum_header;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Kind, Lab, cases, now, packet, wait_until};
use xvrrp::net::addr::Addresses;

use super::{ADDRESS, LIMIT, VIP, brisk, master, wait_state};

/// Addresses that come and go, so often that the netlink socket has no room for all of that.
const CHANGES: u32 = 4000;
const ROUNDS: u32 = 5;

fn others() -> Vec<VirtualAddress> {
    let base = Ipv4Addr::new(10, 0, 0, 0).to_bits();
    let ip = |n| IpAddr::from(Ipv4Addr::from_bits(base + n));
    (0..CHANGES).map(|n| VirtualAddress::new(ip(n), 32, "eth0")).collect()
}

/// Longer than the addresses' lease, and two intervals.
#[test]
fn a_lease_that_runs_out_is_nobody_s_deed() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = format!("global_defs {{\n    vrrp_address_lease 3\n}}\n{}", brisk(100).alone(3));
    let r1 = lab.run("r1", &conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).context(r1.log_end())?;
    r1.freeze();
    wait_until("its lease has run out", LIMIT, || !lab.holds("r1", VIP))?;
    r1.thaw();
    wait_until("the address is back", LIMIT, || lab.holds("r1", VIP)).context(r1.log_end())?;
    r1.wait_log("its lease ran out while xvrrp stood still; putting it back", LIMIT)?;
    // A busy machine stands still for moments by itself.
    let long =
        |line: &&str| line.contains("xvrrp on it, stood still for") && !line.contains("expired 0.");
    ensure!(r1.log().lines().filter(long).count() == 1, "{}", r1.log_end());
    // Another time it is somebody else.
    pause(2500);
    lab.ns("r1").ip(&format!("addr del {VIP}/24 dev eth0"))?;
    r1.wait_log("was removed from eth0 by somebody else; putting it back", LIMIT)?;
    Ok(())
}

/// `timer_expired_backup`: who wakes and finds that a peer must have taken over meanwhile leaves it in place,
/// and says nothing on the wire. Without it, it goes on, and the peer yields.
#[test]
fn one_that_thaws_leaves_its_peer_in_place() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("leaves it", || thaws(&["timer_expired_backup"], "r2")),
        ("goes on", || thaws(&[], "r1")),
    ])
}

fn thaws(lines: &[&str], serves: &str) -> Result<()> {
    let lab = Lab::new(&["r1", "r2"])?;
    let conf = |priority, lines: &[&str]| {
        let one = brisk(priority).line("nopreempt");
        lines.iter().fold(one, |one, line| one.line(line)).alone(3)
    };
    let r1 = lab.run("r1", &conf(200, lines))?;
    wait_state(&r1, "VI_1", "MASTER")?;
    let r2 = lab.run("r2", &conf(100, &[]))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    pause(1000);
    r1.freeze();
    wait_state(&r2, "VI_1", "MASTER")?;
    let (port, woken) = (lab.capture_port("r1")?, now());
    r1.thaw();
    let (one, other) = if serves == "r2" { (&r1, &r2) } else { (&r2, &r1) };
    wait_state(one, "VI_1", "BACKUP")?;
    wait_state(other, "VI_1", "MASTER")?;
    wait_until("the address is on one", LIMIT, || lab.holders(&["r1", "r2"], VIP) == [serves])
        .with_context(|| r1.log_end() + &r2.log_end())?;
    pause(2000);
    let spoken = port.adverts_of("r1").into_iter().filter(|seen| seen.at > woken).count();
    ensure!((spoken == 0) == (serves == "r2"), "{spoken} adverts: {}", r1.log_end());
    ensure!(lab.holders(&["r1", "r2"], VIP) == [serves], "{}{}", r1.log_end(), r2.log_end());
    let told = r1.count_log("so a peer has taken over");
    ensure!(told == usize::from(serves == "r2"), "told {told} times: {}", r1.log_end());
    Ok(())
}

/// Events are lost, that of the address that goes among them: all is read again, and it is put back.
#[test]
fn what_changes_unseen_is_found() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let r1 = master(&lab)?;
    r1.freeze();
    lab.ns("r1").enter(|| {
        let mut addresses = Addresses::open()?;
        let resolve = |name: &str| if_nametoindex(name).ok();
        for _ in 0..ROUNDS {
            addresses.add(&others(), resolve);
            addresses.remove(&others(), resolve);
        }
        Ok(())
    })?;
    lab.ns("r1").ip(&format!("addr del {VIP}/24 dev eth0"))?;
    r1.thaw();
    wait_until("the address is back", LIMIT, || lab.holds("r1", VIP)).context(r1.log_end())?;
    for told in ["Netlink: events lost", "are known again", "was removed from eth0"] {
        r1.wait_log(told, LIMIT)?;
    }
    let status = r1.status()?;
    ensure!(status.instance("VI_1")?.state() == "MASTER", "{}", r1.log_end());
    Ok(())
}

/// `skip_check_adv_addr`: an advert that waited in the socket is judged by who came before it, though that one
/// waited in the ring.
#[test]
fn who_came_last_meanwhile() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "gen"])?;
    let r1 = lab.run("r1", &Instance::new(100).line("skip_check_adv_addr").alone(2))?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    let socket = lab.ns("gen").enter(|| packet::open_to_send("eth0"))?;
    let send = |last, address| {
        let mut frame = cases::advert_of_gen(51, 200, address);
        frame[29] = last;
        sum_header(&mut frame);
        packet::send(&socket, &frame)
    };
    let counts = || -> Result<(u64, u64)> {
        let status = r1.status()?;
        let one = status.instance("VI_1")?;
        Ok((one.counter("accepted"), one.refused("foreign_cluster")))
    };
    let come = |right| {
        let are = || counts().is_ok_and(|counts| counts == right);
        wait_until("all is judged", LIMIT, are).with_context(|| format!("{:?}", counts()))
    };
    let foreign = Ipv4Addr::new(198, 51, 100, 1);
    send(21, ADDRESS)?;
    come((1, 0))?;
    send(21, foreign)?;
    come((2, 0))?;
    r1.freeze();
    send(22, ADDRESS)?;
    send(21, foreign)?;
    r1.thaw();
    come((3, 1))?;
    // What only the kernel has seen counts as what came last, and is known when it no longer looks.
    r1.freeze();
    // Until all its threads stand still.
    pause(100);
    send(23, ADDRESS)?;
    send(22, ADDRESS)?;
    r1.thaw();
    come((5, 1))?;
    let status = r1.status()?;
    let one = status.instance("VI_1")?;
    ensure!(one.peer().is_some_and(|(address, _)| address == "192.0.2.22"), "{}", one.json());
    lab.ns("r1").ip("link set eth0 down")?;
    wait_state(&r1, "VI_1", "FAULT")?;
    lab.ns("r1").ip("link set eth0 up")?;
    wait_state(&r1, "VI_1", "BACKUP")?;
    send(22, foreign)?;
    come((6, 1))?;
    Ok(())
}
