//! FRR's vrrpd beside zebra.
//!
//! The virtual addresses sit on a macvlan with the virtual MAC, which vrrpd raises and lowers; the
//! operator makes it beforehand, as FRR's manual says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::netns;
use crate::wait::{pause, wait_until};

/// What FRR needs of a keepalived.conf with one instance.
struct Wanted {
    vrid: u8,
    priority: u8,
    interval_ms: u32,
    addresses: Vec<String>,
}

impl Wanted {
    fn is_v6(&self) -> bool {
        self.addresses.iter().any(|address| address.contains(':'))
    }
}

/// Makes the macvlan, starts zebra and gives the command for vrrpd.
pub(super) fn prepare(lab: &Lab, host: &str, conf: &Path, out: &File) -> Result<(Child, Command)> {
    let wanted = read(&std::fs::read_to_string(conf)?)?;
    make_macvlan(lab, host, &wanted)?;
    let space = space(conf);
    let dir = Path::new("/var/run/frr").join(&space);
    std::fs::create_dir_all(&dir)?;
    netns::run("chown", &["-R", "frr:frr", &dir.display().to_string()])?;
    let conf = lab.write(&format!("{host}.frr"), &text(&wanted))?;
    let daemon = |program: &str| -> Result<Command> {
        let mut command = lab.ns(host).command(&format!("/usr/lib/frr/{program}"));
        command.args(["-N", &space, "--log", "stdout", "-P", "0", "-f"]).arg(&conf);
        command.arg("-i").arg(dir.join(format!("{program}.pid")));
        command.stdout(out.try_clone()?).stderr(out.try_clone()?);
        Ok(command)
    };
    let zebra = daemon("zebra")?.spawn().context("start zebra")?;
    let socket = dir.join("zserv.api");
    wait_until("zebra listens", Duration::from_secs(30), || socket.exists())?;
    pause(500);
    Ok((zebra, daemon("vrrpd")?))
}

/// Removes what [`prepare`] made outside the laboratory's directory.
pub(super) fn clean(conf: &Path) {
    let _ = std::fs::remove_dir_all(Path::new("/var/run/frr").join(space(conf)));
}

/// FRR's path space: the laboratory's directory and the host make it unique.
fn space(conf: &Path) -> String {
    let lab = conf.parent().and_then(Path::file_name).map(PathBuf::from).unwrap_or_default();
    let host = conf.file_stem().map(PathBuf::from).unwrap_or_default();
    format!("{}-{}", lab.display(), host.display())
}

fn make_macvlan(lab: &Lab, host: &str, wanted: &Wanted) -> Result<()> {
    let (netns, vrid) = (lab.ns(host), wanted.vrid);
    let _ = netns.ip(&format!("link del vr{vrid}"));
    let family = if wanted.is_v6() { 2 } else { 1 };
    netns.ip(&format!(
        "link add vr{vrid} link eth0 address 00:00:5e:00:0{family}:{vrid:02x} type macvlan mode bridge"
    ))?;
    for address in &wanted.addresses {
        let nodad = if wanted.is_v6() { "nodad" } else { "" };
        netns.ip(&format!("addr add {address} dev vr{vrid} {nodad}"))?;
    }
    netns.ip(&format!("link set vr{vrid} up"))?;
    netns.sysctl("net.ipv4.conf.all.rp_filter", 0)?;
    netns.sysctl("net.ipv4.conf.all.arp_ignore", 1)?;
    netns.sysctl("net.ipv4.conf.all.arp_announce", 2)
}

fn text(wanted: &Wanted) -> String {
    let Wanted { vrid, priority, interval_ms, addresses } = wanted;
    let mut text = format!(
        "interface eth0\n vrrp {vrid} version 3\n vrrp {vrid} priority {priority}\n \
         vrrp {vrid} advertisement-interval {interval_ms}\n"
    );
    for address in addresses {
        let bare = address.split('/').next().unwrap_or_default();
        let word = if wanted.is_v6() { "ipv6" } else { "ip" };
        text += &format!(" vrrp {vrid} {word} {bare}\n");
    }
    text
}

fn read(conf: &str) -> Result<Wanted> {
    let word = |key: &str| -> Result<&str> {
        let mut words = conf.split_whitespace();
        words.find(|word| *word == key).and_then(|_| words.next()).context(key.to_owned())
    };
    let block = conf.split("virtual_ipaddress {").nth(1).and_then(|rest| rest.split('}').next());
    let seconds: f64 = word("advert_int")?.parse()?;
    Ok(Wanted {
        vrid: word("virtual_router_id")?.parse()?,
        priority: word("priority")?.parse()?,
        interval_ms: (seconds * 1000.0).round() as u32,
        addresses: block.context("no addresses")?.split_whitespace().map(str::to_owned).collect(),
    })
}
