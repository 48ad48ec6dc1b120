//! What needs a kernel with VLANs, bonds, VRFs, ipvlan and netem, as Debian's is: `cargo xtask test
//! --kernel debian` boots it under emulation and runs this there. Whoever runs such a kernel can do it
//! at home: `cargo test -p vrrp-tests --test second_kernel -- --ignored`.
//!
//! The emulated machine is slow, and all of this runs at once: a limit here is for what hangs, and an
//! order of events is asserted where another test would assert a time.

mod bond;
mod failover;
mod inner;
mod loads;
mod loss;
mod own_links;
mod paths;
mod tagged;
mod vlan;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::status::Instance;
use vrrp_tests::wait::pause;
use vrrp_tests::{Daemon, Lab, cases, netns, packet};

const VIP: &str = "192.0.2.250";
const LIMIT: Duration = Duration::from_secs(180);

/// Hosts on a bridge whose tags stay in the frames, as on a cable.
fn lab(hosts: &[&str]) -> Result<Lab> {
    let lab = Lab::new(hosts)?;
    hosts.iter().try_for_each(|host| tags(&lab, &format!("p-{host}"), false))?;
    Ok(lab)
}

/// Plugs a further cable of a host into a bridge; its tags stay in the frames.
fn cable(lab: &Lab, host: &str, device: &str, bridge: &str) -> Result<()> {
    let (switch, port) = (lab.switch(), port(host, device));
    lab.ns(host)
        .ip(&format!("link add {device} type veth peer name {port} netns {}", switch.name()))?;
    switch.ip(&format!("link set {port} master {bridge} up"))?;
    tags(lab, &port, false)
}

/// The bridge's end of such a cable.
fn port(host: &str, device: &str) -> String {
    format!("{device}-{host}")
}

/// Has a port of the bridge hand tags over beside the frame, as hardware does that takes them off, or
/// leave them in it.
fn tags(lab: &Lab, port: &str, beside: bool) -> Result<()> {
    let state = if beside { "on" } else { "off" };
    let switch = lab.switch().name();
    let words = ["netns", "exec", switch, "ethtool", "-K", port, "txvlan", state];
    netns::run("ip", &[&words[..], &["tx-vlan-stag-hw-insert", state]].concat()).map(drop)
}

/// Has a host's device say that it takes 802.1Q's tags off, or that it leaves them.
fn strips(lab: &Lab, host: &str, device: &str, does: bool) -> Result<()> {
    let state = if does { "on" } else { "off" };
    lab.ns(host).sh(&format!("ethtool -K {device} rxvlan {state}")).map(drop)
}

/// A frame with a tag behind its addresses.
fn tagged(frame: &[u8], tag: [u8; 4]) -> Vec<u8> {
    [&frame[..12], &tag, &frame[12..]].concat()
}

/// Waits until this holds, and looks seldom: to look may start a program, which is slow here.
fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let begin = std::time::Instant::now();
    while !holds() {
        ensure!(begin.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        pause(250);
    }
    Ok(())
}

/// Waits until the log says that an instance is in this state, and has said no other since.
fn becomes(daemon: &Daemon, instance: &str, state: &str) -> Result<()> {
    let (entering, state) = (format!("({instance}) Entering "), format!("Entering {state} STATE"));
    let last = || daemon.log().lines().rfind(|line| line.contains(&entering)).map(str::to_owned);
    let is = || last().is_some_and(|line| line.contains(&state));
    until(&format!("{instance}: {state}"), is).with_context(|| daemon.log_end())
}

/// A counter, or what else a status says of an instance.
fn of<T>(daemon: &Daemon, instance: &str, what: impl Fn(&Instance<'_>) -> T) -> Result<T> {
    Ok(what(&daemon.status()?.instance(instance)?))
}

/// Good and bad adverts that leave by this device of `gen`, and reach `VRRPv2` instances with VRID 51
/// and the usual address after `wrap`, are told apart and counted.
fn judged(
    lab: &Lab,
    daemon: &Daemon,
    instances: &[&str],
    from: &str,
    wrap: impl Fn(&[u8]) -> Vec<u8>,
) -> Result<()> {
    let socket = lab.ns("gen").enter(|| packet::open_to_send(from))?;
    for name in ["ttl-254", "checksum-plus-one", "version-1", "good"] {
        packet::send(&socket, &wrap(&cases::frame("P01-v2-header", name)))?;
    }
    for name in instances {
        let counts =
            |one: &Instance<'_>| ["ttl", "checksum", "version"].map(|why| one.refused(why));
        until(&format!("{name} counts what is bad"), || {
            of(daemon, name, counts).is_ok_and(|counts| counts == [1, 1, 1])
        })
        .with_context(|| format!("{:?}", of(daemon, name, counts)))?;
        let own = format!("({name})");
        let of_gen = |line: &str| line.contains(&own) && line.contains("192.0.2.101");
        let heard = || daemon.log().lines().any(|line| of_gen(line) && !line.contains("refused"));
        until(&format!("{name} hears the good one"), heard).with_context(|| daemon.log_end())?;
    }
    Ok(())
}

/// The data path of an interface is this one, the reason contains that, and the log says both.
fn path(daemon: &Daemon, device: &str, expected: &str, reason: &str) -> Result<()> {
    let status = daemon.status()?;
    let (path, why) = status.datapath(device)?;
    ensure!(path == expected && why.contains(reason), "{device}: {path} ({why})");
    let told = format!("{device}: adverts ");
    ensure!(daemon.log().contains(&told), "no line about {device}: {}", daemon.log_end());
    Ok(())
}

/// Long enough for a Master_Down_Interval of instances with the usual second, in a slow machine.
fn long_enough() {
    pause(6000);
}
