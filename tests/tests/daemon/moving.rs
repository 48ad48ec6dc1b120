//! Addresses that move between instances and interfaces while the daemon runs.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Daemon, Kind, Lab, Watch, wait_until};

use super::{LIMIT, brisk};

/// What moves.
const MOVED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 251);
/// Longer than two messages to the kernel take on a busy host.
const MOMENT: Duration = Duration::from_secs(1);

fn first(addresses: &[&str]) -> Instance {
    brisk(100).holding(addresses)
}

fn second(addresses: &[&str]) -> Instance {
    brisk(100).named("VI_2", 52).holding(addresses)
}

#[test]
fn an_address_that_moves_is_off_for_a_moment_only() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("from the first to the second", || {
            moves(
                [first(&["192.0.2.250/24", "192.0.2.251/24"]), second(&["192.0.2.252/24"])],
                [first(&["192.0.2.250/24"]), second(&["192.0.2.252/24", "192.0.2.251/24"])],
                52,
            )
        }),
        ("from the second to the first", || {
            moves(
                [first(&["192.0.2.250/24"]), second(&["192.0.2.252/24", "192.0.2.251/24"])],
                [first(&["192.0.2.250/24", "192.0.2.251/24"]), second(&["192.0.2.252/24"])],
                51,
            )
        }),
        ("two change places", || {
            moves(
                [first(&["192.0.2.250/24"]), second(&["192.0.2.251/24"])],
                [first(&["192.0.2.251/24"]), second(&["192.0.2.250/24"])],
                51,
            )
        }),
        ("to another interface", to_another_interface),
        ("from one that ends", || {
            let stays = || brisk(100).named("VI_3", 53).holding(&["192.0.2.253/24"]);
            moves(
                [stays(), first(&["192.0.2.251/24"])],
                [stays().holding(&["192.0.2.253/24", "192.0.2.251/24"])],
                53,
            )
        }),
    ])
}

fn conf<const N: usize>(instances: [Instance; N]) -> String {
    instances.into_iter().fold(Conf::new(3), Conf::with).text()
}

/// Reloads and demands that the address is off for no more than a moment, and with the router `vrid`.
fn moves<const N: usize, const M: usize>(
    before: [Instance; N],
    after: [Instance; M],
    vrid: u8,
) -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let r1 = lab.run("r1", &conf(before))?;
    wait_until("all are MASTER", LIMIT, || r1.count_log("Entering MASTER STATE") == 2)
        .with_context(|| r1.log_end())?;
    pause(300);
    let watch = lab.watch("r1")?;
    r1.reload(&conf(after))?;
    r1.wait_log("Reload done", LIMIT)?;
    pause(1000);
    stayed(&lab, &r1, &watch)?;
    let listed = || {
        let adverts = wire.adverts_of("r1");
        let last = adverts.iter().rfind(|seen| seen.advert.vrid == vrid);
        last.is_some_and(|last| last.advert.addresses.contains(&MOVED))
    };
    wait_until("its new router says it", LIMIT, listed).with_context(|| r1.log_end())?;
    Ok(())
}

fn stayed(lab: &Lab, r1: &Daemon, watch: &Watch) -> Result<()> {
    ensure!(lab.holds("r1", &MOVED.to_string()), "it is gone: {}", r1.log_end());
    let (gap, changes) = (watch.longest_gap(MOVED), watch.of(MOVED));
    ensure!(gap < MOMENT, "the host was without it for {gap:?}: {changes:?}");
    let eth0 = lab.ns("r1").enter(|| Ok(nix::net::if_::if_nametoindex("eth0")?))?;
    let removals = changes.iter().filter(|one| !one.added && one.ifindex == eth0).count();
    ensure!(removals <= 1, "removed {removals} times: {changes:?}");
    for false_alarm in ["by somebody else", "Can't remove", "can't be put"] {
        ensure!(r1.count_log(false_alarm) == 0, "{false_alarm}: {}", r1.log_end());
    }
    ensure!(r1.count_log("Entering MASTER STATE") == 2, "{}", r1.log_end());
    Ok(())
}

/// An address that moves to another interface is on one of them all the time but for a moment, and the
/// adverts go on where they went.
fn to_another_interface() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let conf = |device: &str| {
        let moved = format!("192.0.2.251/24 dev {device}");
        let other = second(&["192.0.2.252/24"]);
        Conf::new(3).with(first(&["192.0.2.250/24", &moved])).with(other).text()
    };
    let r1 = lab.run("r1", &conf("eth0"))?;
    wait_until("all are MASTER", LIMIT, || r1.count_log("Entering MASTER STATE") == 2)
        .with_context(|| r1.log_end())?;
    pause(300);
    let watch = lab.watch("r1")?;
    let on = |device: &str| {
        let shown = lab.ns("r1").ip(&format!("-o addr show dev {device}")).unwrap_or_default();
        shown.contains(&format!("{MOVED}/"))
    };
    for (device, other) in [("eth1", "eth0"), ("eth0", "eth1")] {
        r1.reload(&conf(device))?;
        wait_until(&format!("it is on {device} alone"), LIMIT, || on(device) && !on(other))
            .with_context(|| r1.log_end())?;
        pause(700);
        stayed(&lab, &r1, &watch)?;
        ensure!(on(device) && !on(other), "not on {device} alone: {:?}", watch.of(MOVED));
    }
    Ok(())
}
