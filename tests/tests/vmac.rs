//! An interface with the virtual MAC address: what is on the wire, who answers, and what is left.

use std::net::Ipv4Addr;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::wait::{pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, cases, now, ping, wait_until};

const VIP: &str = "192.0.2.250";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);
/// Of VRID 51 and of VRID 10, over IPv4.
const MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const MAC_OF_10: [u8; 6] = [0, 0, 0x5e, 0, 1, 10];

fn conf(priority: u8, lines: &[&str]) -> String {
    let instance = Instance::new(priority).every("0.4");
    lines.iter().fold(instance, |instance, line| instance.line(line)).alone(3)
}

/// The interface that has the address, on a host.
fn device(lab: &Lab, host: &str) -> Option<String> {
    let shown = lab.ns(host).ip(&format!("-o -4 addr show to {VIP}/32")).ok()?;
    shown.split_whitespace().nth(1).map(str::to_owned)
}

fn is_there(lab: &Lab, host: &str, link: &str) -> bool {
    lab.ns(host).ip(&format!("link show dev {link}")).is_ok()
}

fn setting(lab: &Lab, name: &str) -> String {
    let read = lab.ns("r1").sh(&format!("cat /proc/sys/net/ipv4/conf/eth0/{name}"));
    read.unwrap_or_default().trim().to_owned()
}

fn is_put_back(lab: &Lab) -> bool {
    setting(lab, "arp_ignore") == "0" && setting(lab, "arp_announce") == "0"
}

/// The hardware address that the client has for the one that it asks all the time.
fn neighbour(lab: &Lab, address: &str) -> Result<String> {
    let shown = lab.ns("client").ip(&format!("neigh show {address} dev eth0"))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
    Ok(words.nth(1).unwrap_or_default().to_owned())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The MAC addresses that a host's adverts came from.
fn macs(adverts: &[SeenAdvert]) -> Vec<[u8; 6]> {
    let mut macs: Vec<_> = adverts.iter().map(|seen| seen.advert.mac).collect();
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// Whatever said where the address is said it with the virtual MAC address.
fn announced_as(wire: &Capture, mac: [u8; 6]) -> Result<()> {
    let said = wire.announcements(ADDRESS);
    ensure!(!said.is_empty() && said.iter().all(|(_, at)| *at == mac), "{said:?}");
    Ok(())
}

#[test]
fn virtual_mac_addresses() -> Result<()> {
    together(&[
        ("C40", c40_as_vyos_writes_it),
        ("ours leads", || take_turns(Kind::under_test(), Kind::Keepalived)),
        ("keepalived leads", || take_turns(Kind::Keepalived, Kind::under_test())),
        ("two of ours", || take_turns(Kind::under_test(), Kind::under_test())),
        ("reload", reload_gives_and_takes_it),
        ("order", another_order_moves_nothing),
        ("crash", what_a_crash_leaves),
        ("base", the_interface_below_goes_and_comes),
        ("changed", somebody_changes_it),
        ("elsewhere", addresses_elsewhere),
        ("IPv6", over_ipv6),
    ])
}

/// `use_vmac eth0v10` with `vmac_xmit_base`: the address there, the adverts from the interface below.
fn c40_as_vyos_writes_it() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let wire = lab.capture("client")?;
    let client = lab.ask(ADDRESS, 100)?;
    let host = lab.ask(Ipv4Addr::new(192, 0, 2, 11), 100)?;
    let mut r1 = lab.run("r1", &cases::configuration("C40-vmac"))?;
    wait_until("r1 answers", LIMIT, || client.served_by() == Some(11))
        .with_context(|| r1.log_end())?;
    ensure!(device(&lab, "r1").as_deref() == Some("eth0v10"), "on {:?}", device(&lab, "r1"));
    let shown = lab.ns("r1").ip("-d link show dev eth0v10")?;
    ensure!(shown.contains(&text(MAC_OF_10)) && shown.contains("eth0v10@eth0"), "{shown}");
    pause(1200);
    let from = macs(&wire.adverts_of("r1"));
    ensure!(from == [[2, 0, 0, 0, 0, 11]], "adverts from {from:02x?}");
    announced_as(&wire, MAC_OF_10)?;
    if Kind::ours_under_test() {
        ensure!(neighbour(&lab, VIP)? == text(MAC_OF_10), "{}", neighbour(&lab, VIP)?);
    }
    ensure!(neighbour(&lab, "192.0.2.11")? == text([2, 0, 0, 0, 0, 11]), "the host's own");
    wait_until("the host's own address answers", LIMIT, || host.served_by() == Some(11))?;
    r1.stop()?;
    ensure!(!is_there(&lab, "r1", "eth0v10"), "it stays: {}", r1.log_end());
    if Kind::ours_under_test() {
        ensure!(is_put_back(&lab), "the settings of eth0 stay");
    }
    Ok(())
}

/// `first` leads, dies, and comes back; the virtual MAC address moves with the adverts.
fn take_turns(first: Kind, second: Kind) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let wire = lab.capture("client")?;
    let client = lab.ask(ADDRESS, 100)?;
    let served =
        |who: u8, what: &str| wait_until(what, LIMIT, || client.served_by() == Some(who)).map(drop);
    let mut r1 = lab.start(first, "r1", &conf(200, &["use_vmac"]))?;
    served(11, "r1 answers").with_context(|| r1.log_end())?;
    let r2 = lab.start(second, "r2", &conf(100, &["use_vmac"]))?;
    r2.wait_log("BACKUP", LIMIT)?;
    pause(1500);
    ensure!(wire.adverts_of("r2").is_empty(), "r2 spoke");
    ensure!(device(&lab, "r1").as_deref() == Some("vrrp.51"), "on {:?}", device(&lab, "r1"));
    if first == Kind::Xvrrp {
        // keepalived asks for the client's MAC address in the virtual one's name, from its own.
        ensure!(neighbour(&lab, VIP)? == text(MAC), "{}", neighbour(&lab, VIP)?);
    }

    // An orderly stop, then back, which preempts, then death without a word.
    r1.stop()?;
    served(12, "r2 answers after r1 stopped").with_context(|| r2.log_end())?;
    let mut r1 = lab.start(first, "r1", &conf(200, &["use_vmac"]))?;
    served(11, "r1 preempts").with_context(|| r1.log_end())?;
    wait_until("r2 lets go", LIMIT, || !lab.holds("r2", VIP)).with_context(|| r2.log_end())?;
    if second == Kind::Xvrrp {
        // A Backup takes nothing that comes for the virtual MAC address.
        let shown = || lab.ns("r2").ip("-d link show dev vrrp.51").unwrap_or_default();
        wait_until("r2 is deaf", LIMIT, || shown().contains("mode source"))
            .with_context(|| shown() + &r2.log_end())?;
    }
    r1.kill()?;
    lab.carrier("r1", false)?;
    served(12, "r2 answers after r1 died").with_context(|| r2.log_end())?;

    let from = macs(&wire.adverts());
    ensure!(from == [MAC], "adverts from {from:02x?}");
    announced_as(&wire, MAC)?;
    if second == Kind::Xvrrp {
        ensure!(neighbour(&lab, VIP)? == text(MAC), "{}", neighbour(&lab, VIP)?);
    }
    let (r1, r2) = (wire.adverts_of("r1"), wire.adverts_of("r2"));
    ensure!(!r1.is_empty() && !r2.is_empty(), "one of the two never spoke");
    Ok(())
}

/// A reload puts the address on an interface of its own, and back, without letting go.
fn reload_gives_and_takes_it() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let wire = lab.capture("client")?;
    let client = lab.ask(ADDRESS, 100)?;
    let r1 = lab.run("r1", &conf(200, &[]))?;
    let begin = now();
    for (turn, link) in ["eth0", "vrrp.51", "own0", "eth0"].into_iter().enumerate() {
        if turn > 0 {
            let line = match link {
                "eth0" => String::new(),
                "vrrp.51" => "use_vmac".to_owned(),
                name => format!("use_vmac {name}"),
            };
            r1.reload(&conf(200, &[&line]))?;
        }
        wait_until(&format!("it is on {link}"), LIMIT, || {
            device(&lab, "r1").as_deref() == Some(link) && client.served_by() == Some(11)
        })
        .with_context(|| r1.log_end())?;
        let mac = if link == "eth0" { [2, 0, 0, 0, 0, 11] } else { MAC };
        wait_until("the client knows", LIMIT, || {
            neighbour(&lab, VIP).is_ok_and(|at| at == text(mac))
                && wire.adverts_of("r1").last().is_some_and(|seen| seen.advert.mac == mac)
        })
        .with_context(|| r1.log_end())?;
        for other in ["vrrp.51", "own0"].into_iter().filter(|other| *other != link) {
            wait_until("the other one is gone", LIMIT, || !is_there(&lab, "r1", other))
                .with_context(|| r1.log_end())?;
        }
        wait_until("settings are as needed", LIMIT, || is_put_back(&lab) == (link == "eth0"))?;
    }
    let after: Vec<_> = wire.adverts_of("r1").into_iter().filter(|s| s.at > begin).collect();
    ensure!(after.iter().all(|seen| seen.advert.priority == 200), "it released");
    ensure!(r1.count_log("Entering MASTER") == 1, "it changed its state: {}", r1.log_end());
    Ok(())
}

/// Two routers of one VRID, in another order: each keeps its interface, also in the next worker.
fn another_order_moves_nothing() -> Result<()> {
    const OTHER: &str = "198.18.0.250";
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::with_two_lans(&["r1"])?;
    let first = Instance::new(100).line("use_vmac");
    let second = first.clone().named("VI_2", 51).on("eth1").holding(&["198.18.0.250/24"]);
    let conf = |one: &Instance, other: &Instance| {
        Conf::new(3).with(one.clone()).with(other.clone()).text()
    };
    let r1 = lab.run("r1", &conf(&first, &second))?;
    let holds_both = || lab.holds("r1", VIP) && lab.holds("r1", OTHER);
    wait_until("r1 has both", LIMIT, holds_both).with_context(|| r1.log_end())?;
    let shown = || lab.ns("r1").ip("-o -4 addr show").unwrap_or_default();
    let (before, watch) = (shown(), lab.watch("r1")?);
    ensure!(before.contains("vrrp1.51"), "{before}");
    r1.reload(&conf(&second, &first))?;
    pause(500);
    let worker = r1.worker()?;
    vrrp_tests::daemon::signal(worker, nix::sys::signal::Signal::SIGKILL);
    let goes_on = "was MASTER before it was started anew";
    wait_until("both go on", LIMIT, || r1.count_log(goes_on) == 2).with_context(|| r1.log_end())?;
    pause(300);
    ensure!(shown() == before, "{before}{}", shown());
    let moved = [ADDRESS, Ipv4Addr::new(198, 18, 0, 250)].map(|ip| watch.of(ip));
    ensure!(moved.iter().all(Vec::is_empty), "{moved:?}");
    Ok(())
}

fn release(lab: &Lab, daemon: &Daemon) -> Result<Output> {
    let mut command = lab.ns("r1").command(&xvrrp_binary().display().to_string());
    Ok(command.arg("release").arg("--run-dir").arg(daemon.run_dir()).output()?)
}

/// Killed as a whole: the next start goes on with what is there, and `release` leaves nothing.
fn what_a_crash_leaves() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let client = lab.ask(ADDRESS, 100)?;
    let conf = Instance::new(100).line("use_vmac").alone(3);
    let index = || lab.ns("r1").sh("cat /sys/class/net/vrrp.51/ifindex").unwrap_or_default();
    let serves = |daemon: &Daemon| {
        wait_until("r1 answers", LIMIT, || client.served_by() == Some(11))
            .with_context(|| daemon.log_end())
    };
    let mut first = lab.run("r1", &conf)?;
    serves(&first)?;
    let made = index();
    // Its worker alone.
    let worker = first.worker()?;
    vrrp_tests::daemon::signal(worker, nix::sys::signal::Signal::SIGKILL);
    wait_until("there is another worker", LIMIT, || first.worker().is_ok_and(|w| w != worker))?;
    pause(1500);
    ensure!(index() == made, "{}", first.log_end());
    serves(&first)?;
    ensure!(index() == made, "{}", first.log_end());
    // All of it.
    first.kill()?;
    let mut second = lab.run("r1", &conf)?;
    second.wait_log("Entering MASTER", LIMIT)?;
    ensure!(index() == made, "made anew: {}", second.log_end());
    serves(&second)?;
    second.kill()?;
    ensure!(is_there(&lab, "r1", "vrrp.51") && !is_put_back(&lab), "gone with a kill");
    let done = release(&lab, &second)?;
    let words = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{words}{}", String::from_utf8_lossy(&done.stderr));
    ensure!(!is_there(&lab, "r1", "vrrp.51"), "it stays: {words}");
    ensure!(is_put_back(&lab), "the settings of eth0 stay");

    // Killed, and the next one has no use for it.
    let mut third = lab.run("r1", &conf)?;
    third.wait_log("Entering MASTER", LIMIT)?;
    serves(&third)?;
    third.kill()?;
    let mut fourth = lab.run("r1", &Instance::new(100).alone(3))?;
    wait_until("it is on eth0", LIMIT, || device(&lab, "r1").as_deref() == Some("eth0"))
        .with_context(|| fourth.log_end())?;
    wait_until("the other is gone", LIMIT, || !is_there(&lab, "r1", "vrrp.51"))
        .with_context(|| fourth.log_end())?;
    wait_until("the settings of eth0 are put back", LIMIT, || is_put_back(&lab))?;
    fourth.stop().map(drop)
}

/// The interface below goes, and ours with it; or somebody removes ours: it is made anew.
fn the_interface_below_goes_and_comes() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let client = lab.ask(ADDRESS, 100)?;
    let r1 = lab.run("r1", &conf(100, &["use_vmac"]))?;
    let serves = || wait_until("r1 answers", LIMIT, || client.served_by() == Some(11));
    serves().with_context(|| r1.log_end())?;
    lab.ns("r1").ip("link del vrrp.51")?;
    wait_until("it is there again", LIMIT, || device(&lab, "r1").is_some())?;
    serves().with_context(|| r1.log_end())?;
    ensure!(r1.count_log("Entering FAULT") == 0, "{}", r1.log_end());

    lab.ns("r1").ip("link del eth0")?;
    r1.wait_log("Entering FAULT", LIMIT)?;
    let switch = lab.switch().name();
    lab.ns("r1").ip(&format!(
        "link add eth0 address 02:00:00:00:00:0b type veth peer name p-r1 netns {switch}"
    ))?;
    lab.switch().ip("link set p-r1 master br0 up")?;
    lab.ns("r1").ip("addr add 192.0.2.11/24 dev eth0")?;
    lab.ns("r1").ip("link set eth0 up")?;
    wait_until("r1 is MASTER again", LIMIT, || r1.count_log("Entering MASTER") == 2)
        .with_context(|| r1.log_end())?;
    serves().with_context(|| r1.log_end())?;
    ensure!(device(&lab, "r1").as_deref() == Some("vrrp.51"), "on {:?}", device(&lab, "r1"));
    let settings = (setting(&lab, "arp_ignore"), setting(&lab, "arp_announce"));
    let knows = || neighbour(&lab, VIP).is_ok_and(|at| at == text(MAC));
    wait_until("the client knows", LIMIT, knows)
        .with_context(|| format!("{:?} {settings:?}", neighbour(&lab, VIP)))?;
    Ok(())
}

/// What somebody does to it is undone, and clients are served on.
fn somebody_changes_it() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let _echo = lab.echo("r1")?;
    let client = lab.ask(ADDRESS, 100)?;
    let v6 = "virtual_ipaddress_excluded {\n        2001:db8::250/64\n    }";
    let r1 = lab.run("r1", &conf(100, &["use_vmac", v6]))?;
    let serves = || wait_until("r1 answers", LIMIT, || client.served_by() == Some(11));
    serves().with_context(|| r1.log_end())?;
    for (change, undone) in [
        ("down", "is down"),
        ("address 02:00:00:00:00:99", "has another MAC address"),
        ("type macvlan mode source", "is in another mode"),
    ] {
        lab.ns("r1").ip(&format!("link set vrrp.51 {change}"))?;
        r1.wait_log(&format!("vrrp.51 {undone} by somebody else's doing"), LIMIT)?;
        let is_well = || {
            let shown = lab.ns("r1").ip("-d addr show dev vrrp.51").unwrap_or_default();
            let parts = [",UP", "mode private", &text(MAC), VIP, "2001:db8::250"];
            parts.iter().all(|part| shown.contains(part))
        };
        wait_until(&format!("{change} is undone"), LIMIT, is_well).with_context(|| r1.log_end())?;
        lab.ns("client").ip("neigh flush dev eth0")?;
        pause(100);
        serves().with_context(|| r1.log_end())?;
        let knows = || neighbour(&lab, VIP).is_ok_and(|at| at == text(MAC));
        wait_until("the client knows", LIMIT, knows)
            .with_context(|| format!("{change}: {:?}", neighbour(&lab, VIP)))?;
    }
    ensure!(r1.count_log("somebody else's doing") == 3, "{}", r1.log_end());
    ensure!(r1.count_log("Entering FAULT") == 0, "{}", r1.log_end());
    Ok(())
}

/// `use_vmac_addr`: an address on another link has an interface of its own there. And nobody hears his
/// own adverts.
fn addresses_elsewhere() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    for_addresses_alone()?;
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let there = Capture::start(lab.ns("client"), "eth1")?;
    let held = ["192.0.2.250/24", "198.18.0.250/24 dev eth1"];
    let instance = Instance::new(100).every("0.2").holding(&held);
    let conf = instance.line("use_vmac").line("use_vmac_addr").alone(3);
    let mut r1 = lab.run("r1", &conf)?;
    wait_until("r1 has both", LIMIT, || lab.holds("r1", VIP) && lab.holds("r1", "198.18.0.250"))
        .with_context(|| r1.log_end())?;
    let shown = lab.ns("r1").ip("-o -4 addr show to 198.18.0.250/32")?;
    ensure!(shown.contains(" vrrp1.51 "), "{shown}");
    pause(1000);
    let said = there.announcements(Ipv4Addr::new(198, 18, 0, 250));
    ensure!(!said.is_empty() && said.iter().all(|(_, mac)| *mac == MAC), "{said:?}");
    let status = r1.status()?;
    let instance = status.instance("VI_1")?;
    let heard = (instance.counter("accepted"), instance.refused_at_all());
    ensure!(instance.counter("sent") > 3 && heard == (0, 0), "{}", instance.json());
    r1.stop()?;
    ensure!(!is_there(&lab, "r1", "vrrp.51") && !is_there(&lab, "r1", "vrrp1.51"), "one stays");
    Ok(())
}

/// Without `use_vmac`: adverts come from the interface itself, and addresses with `use_vmac` behind them
/// are at the virtual MAC address, on the same interface and on another one.
fn for_addresses_alone() -> Result<()> {
    let lab = Lab::with_two_lans(&["r1", "client"])?;
    let (here, there) =
        (Capture::start(lab.ns("client"), "eth0")?, Capture::start(lab.ns("client"), "eth1")?);
    let held = ["192.0.2.250/24 use_vmac", "198.18.0.250/24 dev eth1 use_vmac", "192.0.2.251/24"];
    let mut r1 = lab.run("r1", &Instance::new(100).every("0.2").holding(&held).alone(3))?;
    let has = |address: &str| lab.holds("r1", address);
    wait_until("r1 has all", LIMIT, || {
        ["192.0.2.250", "198.18.0.250", "192.0.2.251"].into_iter().all(has)
    })
    .with_context(|| r1.log_end())?;
    for (address, link) in [(VIP, "vrrp.51"), ("198.18.0.250", "vrrp1.51"), ("192.0.2.251", "eth0")]
    {
        let shown = lab.ns("r1").ip(&format!("-o -4 addr show to {address}/32"))?;
        ensure!(shown.contains(&format!(" {link} ")), "{shown}");
    }
    for address in [ADDRESS, Ipv4Addr::new(198, 18, 0, 250)] {
        let answers = || ping::answers(lab.ns("client"), None, address.into(), 0).unwrap_or(false);
        wait_until(&format!("{address} answers"), LIMIT, answers)?;
    }
    ensure!(neighbour(&lab, VIP)? == text(MAC), "{}", neighbour(&lab, VIP)?);
    announced_as(&here, MAC)?;
    let elsewhere = there.announcements(Ipv4Addr::new(198, 18, 0, 250));
    ensure!(!elsewhere.is_empty() && elsewhere.iter().all(|(_, mac)| *mac == MAC), "{elsewhere:?}");
    let adverts = macs(&here.adverts());
    ensure!(adverts.len() == 1 && adverts != [MAC], "{adverts:?}");
    let plain = here.announcements(Ipv4Addr::new(192, 0, 2, 251));
    ensure!(!plain.is_empty() && plain.iter().all(|(_, mac)| adverts == [*mac]), "{plain:?}");
    r1.stop()?;
    ensure!(!is_there(&lab, "r1", "vrrp.51") && !is_there(&lab, "r1", "vrrp1.51"), "one stays");
    ensure!(is_put_back(&lab), "settings stay changed");
    Ok(())
}

/// Over IPv6 the interface is up while it has the addresses and never has one of its own.
fn over_ipv6() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    const GLOBAL: &str = "2001:db8::250";
    const MAC_OF_V6: [u8; 6] = [0, 0, 0x5e, 0, 2, 51];
    let lab = Lab::new(&["r1", "r2", "client"])?;
    for (host, last) in [("r1", 11), ("r2", 12), ("client", 100)] {
        lab.ns(host).ip(&format!("addr add 2001:db8::{last}/64 dev eth0 nodad"))?;
    }
    let conf = |priority| {
        let instance = Instance::new(priority).every("0.2");
        instance.holding(&["fe80::5e00:250/64", "2001:db8::250/64"]).line("use_vmac").alone(3)
    };
    let shown = |host: &str| lab.ns(host).ip("addr show dev vrrp6.51").unwrap_or_default();
    let holds = |host: &str| shown(host).contains(GLOBAL);
    let answers = || -> Result<()> {
        lab.ns("client").ip("neigh flush dev eth0")?;
        let ask = || {
            lab.ns("client").enter(|| {
                std::net::UdpSocket::bind("[::]:0")?.send_to(b"x", (GLOBAL, 9))?;
                Ok(())
            })
        };
        wait_until("the client knows", LIMIT, || {
            ask().is_ok() && neighbour(&lab, GLOBAL).is_ok_and(|at| at == text(MAC_OF_V6))
        })
        .map(drop)
    };
    let mut r1 = lab.run("r1", &conf(200))?;
    wait_until("r1 has it", LIMIT, || holds("r1")).with_context(|| r1.log_end())?;
    answers().with_context(|| r1.log_end())?;
    let own = shown("r1");
    ensure!(own.matches("fe80").count() == 1 && own.contains(",UP"), "{own}");
    let r2 = lab.run("r2", &conf(100))?;
    r2.wait_log("following MASTER", LIMIT)?;
    ensure!(!shown("r2").contains(",UP"), "{}", shown("r2"));
    r1.stop()?;
    wait_until("r2 has it", LIMIT, || holds("r2")).with_context(|| r2.log_end())?;
    answers().with_context(|| r2.log_end())?;
    let _r1 = lab.run("r1", &conf(200))?;
    wait_until("r1 has it back", LIMIT, || holds("r1") && !holds("r2"))?;
    wait_until("r2's is down", LIMIT, || !shown("r2").contains(",UP"))?;
    answers()
}
