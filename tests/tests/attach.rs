//! The kernel program comes to an interface, stays off one that is taken, and goes with its process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vrrp_tests::netns::{Netns, run};
use vrrp_tests::wait_until;
use xvrrp::config::model::Datapath;
use xvrrp::fastpath::{Attached, FastPath, Lately};

/// A namespace with a veth pair.
struct Pair {
    netns: Netns,
    ifindex: u32,
}

impl Pair {
    fn new(name: &str) -> Result<Self> {
        let netns = Netns::new(&format!("bpf-{name}-{}", std::process::id()))?;
        netns.ip("link add near type veth peer name far")?;
        netns.ip("link set near up")?;
        netns.ip("link set far up")?;
        netns.wait_up("near")?;
        netns.wait_up("far")?;
        let ifindex = netns.enter(|| Ok(if_nametoindex("near")?))?;
        Ok(Self { netns, ifindex })
    }

    fn attach(&self, fast: &mut FastPath, want: Datapath) -> Result<Attached> {
        self.netns.enter(|| Ok(fast.attach("near", self.ifindex, want)))
    }

    /// Has the near end say that VLAN tags are in the frames, or that they may be beside them.
    fn tags_in_frames(&self, are: bool) -> Result<()> {
        let state = if are { "off" } else { "on" };
        let words = format!("ethtool -K near rxvlan {state} rx-vlan-stag-hw-parse {state}");
        self.netns.sh(&words).map(drop)
    }

    /// One of the tests below in the namespace, in a process of its own.
    fn alone(&self, test: &str) -> Result<Command> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.netns.name()]).arg(std::env::current_exe()?);
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        Ok(command)
    }

    /// Waits until there is no program. A process that another test is just starting has a copy of each
    /// descriptor for a moment.
    fn wait_gone(&self) -> Result<()> {
        let gone = || matches!(self.shown(), Ok(None));
        wait_until("the program is gone", Duration::from_secs(30), gone)
            .map(drop)
            .with_context(|| format!("it stays: {:?}", self.shown()))
    }

    /// The program's mode and number, as `ip link` tells them.
    fn shown(&self) -> Result<Option<(String, u32)>> {
        let text = self.netns.ip("-d link show dev near")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "prog/xdp") else {
            return Ok(None);
        };
        // In the flags' line stands the mode, in the program's line the number.
        let mode = words.iter().find(|word| matches!(**word, "xdp" | "xdpgeneric"));
        let id = words.get(at + 2).context("no number")?.parse()?;
        Ok(Some((mode.context("no mode")?.to_string(), id)))
    }
}

/// The number of the program for the driver of a veth.
fn id(fast: &FastPath) -> Result<u32> {
    number(fast, ".program.veth").or_else(|_| generic_id(fast))
}

/// The number of the program for all else.
fn generic_id(fast: &FastPath) -> Result<u32> {
    number(fast, ".program")
}

fn number(fast: &FastPath, end: &str) -> Result<u32> {
    let all = fast.exports();
    let (_, program) = all.iter().find(|(name, _)| name.ends_with(end)).context(end.to_owned())?;
    let info = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = std::fs::read_to_string(info)?;
    let number = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
    Ok(number.context("not a program")?.trim().parse()?)
}

#[test]
fn native_on_veth_and_gone_when_dropped() -> Result<()> {
    let pair = Pair::new("an")?;
    let mut fast = FastPath::load(1)?;
    for want in [Datapath::Auto, Datapath::Xdp] {
        let before = fast.once();
        ensure!(pair.attach(&mut fast, want)? == Attached::Native);
        ensure!(fast.once() > before, "the time it took is not known");
        let id = id(&fast)?;
        ensure!(pair.shown()? == Some(("xdp".to_owned(), id)), "{:?}", pair.shown());
        // Once more changes nothing.
        ensure!(pair.attach(&mut fast, want)? == Attached::Native);
        fast.detach(pair.ifindex);
        pair.wait_gone()?;
    }
    pair.attach(&mut fast, Datapath::Auto)?;
    ensure!(pair.shown()?.is_some());
    drop(fast);
    pair.wait_gone()?;
    Ok(())
}

#[test]
fn generic_when_asked_for() -> Result<()> {
    let pair = Pair::new("ag")?;
    pair.tags_in_frames(true)?;
    let mut fast = FastPath::load(1)?;
    let attached = pair.attach(&mut fast, Datapath::Generic)?;
    ensure!(matches!(&attached, Attached::Generic { .. }), "{attached:?}");
    let id = generic_id(&fast)?;
    ensure!(pair.shown()? == Some(("xdpgeneric".to_owned(), id)), "{:?}", pair.shown());
    Ok(())
}

/// The loopback interface has no native mode.
#[test]
fn generic_where_the_driver_has_no_native_mode() -> Result<()> {
    let pair = Pair::new("al")?;
    let mut fast = FastPath::load(1)?;
    let mut lo = |want| pair.netns.enter(|| Ok(fast.attach("lo", 1, want)));
    let attached = lo(Datapath::Auto)?;
    ensure!(
        matches!(&attached, Attached::Generic { why } if why.contains("native XDP")),
        "{attached:?}"
    );
    fast.detach(1);
    let attached = pair.netns.enter(|| Ok(fast.attach("lo", 1, Datapath::Xdp)))?;
    ensure!(
        matches!(&attached, Attached::Socket { why } if why.contains("native XDP")),
        "{attached:?}"
    );
    Ok(())
}

#[test]
fn a_socket_when_asked_for_or_when_there_is_no_interface() -> Result<()> {
    let pair = Pair::new("as")?;
    let mut fast = FastPath::load(1)?;
    let attached = pair.attach(&mut fast, Datapath::Socket)?;
    ensure!(attached == Attached::Socket { why: "as configured".to_owned() }, "{attached:?}");
    pair.wait_gone()?;
    let nowhere = pair.netns.enter(|| Ok(fast.attach("gone", 999_999, Datapath::Auto)))?;
    ensure!(matches!(&nowhere, Attached::Socket { .. }), "{nowhere:?}");
    Ok(())
}

#[test]
fn a_program_of_somebody_else_is_left_alone() -> Result<()> {
    let pair = Pair::new("af")?;
    pair.tags_in_frames(true)?;
    let mut theirs = FastPath::load(1)?;
    let mut ours = FastPath::load(1)?;
    let (native, their_id) = (id(&theirs)?, generic_id(&theirs)?);
    for (mode, shown, their_id) in
        [(Datapath::Xdp, "xdp", native), (Datapath::Generic, "xdpgeneric", their_id)]
    {
        pair.attach(&mut theirs, mode)?;
        left_alone(&pair, &mut ours, shown, their_id)?;
        theirs.detach(pair.ifindex);
        pair.wait_gone()?;
    }
    // Attached through netlink, as older tools do it, and without an owner.
    for (mode, shown) in [("xdpdrv", "xdp"), ("xdpgeneric", "xdpgeneric")] {
        let Ok(_) = run("bpftool", &["version"]) else {
            eprintln!("no bpftool: programs attached through netlink are not tried");
            return Ok(());
        };
        pair.netns.sh(&format!("bpftool net attach {mode} id {their_id} dev near"))?;
        left_alone(&pair, &mut ours, shown, their_id)?;
        pair.netns.sh(&format!("bpftool net detach {mode} dev near"))?;
    }
    ensure!(pair.attach(&mut ours, Datapath::Auto)? == Attached::Native);
    Ok(())
}

fn left_alone(pair: &Pair, ours: &mut FastPath, shown: &str, their_id: u32) -> Result<()> {
    for want in [Datapath::Auto, Datapath::Xdp, Datapath::Generic] {
        let attached = pair.attach(ours, want)?;
        let Attached::Socket { why } = &attached else { bail!("{want:?}: {attached:?}") };
        ensure!(why.contains("vrrp_xdp") && why.contains(&format!(", id {their_id}")), "{why}");
        let found = pair.shown()?;
        ensure!(found == Some((shown.to_owned(), their_id)), "{want:?}: {found:?}");
    }
    Ok(())
}

/// Whoever may can take an attachment off whose descriptor is another's.
#[test]
fn what_others_do_to_the_programs_is_noticed() -> Result<()> {
    let pair = Pair::new("ao")?;
    pair.tags_in_frames(true)?;
    let (mut ours, mut theirs) = (FastPath::load(1)?, FastPath::load(1)?);
    let look = |fast: &mut FastPath| {
        pair.netns.enter(|| Ok(fast.look("near", pair.ifindex, Datapath::Auto)))
    };
    let take_off = |fast: &FastPath| -> Result<()> {
        let copy = |(name, fd): (String, BorrowedFd<'_>)| Ok((name, fd.try_clone_to_owned()?));
        FastPath::discard(fast.exports().into_iter().map(copy).collect::<Result<_>>()?);
        Ok(())
    };
    ensure!(look(&mut ours)?.is_none(), "nobody has asked for it yet");
    ensure!(pair.attach(&mut ours, Datapath::Auto)? == Attached::Native);
    ensure!(look(&mut ours)?.is_none());
    take_off(&ours)?;
    pair.wait_gone()?;
    ensure!(look(&mut ours)? == Some((Lately::TakenOff, Attached::Native)));
    ensure!(pair.shown()?.is_some() && look(&mut ours)?.is_none());
    // Another one is faster.
    take_off(&ours)?;
    ensure!(pair.attach(&mut theirs, Datapath::Generic)? != Attached::Native);
    let found = look(&mut ours)?;
    let their_id = format!("id {}", generic_id(&theirs)?);
    ensure!(names(&found, Lately::TakenOff, &their_id), "{found:?}");
    ensure!(look(&mut ours)?.is_none());
    // And goes, and comes again as another one.
    let mut third = FastPath::load(1)?;
    theirs.detach(pair.ifindex);
    pair.attach(&mut third, Datapath::Auto)?;
    let found = look(&mut ours)?;
    let third_id = format!("id {}", id(&third)?);
    ensure!(names(&found, Lately::Replaced, &third_id), "{found:?}");
    third.detach(pair.ifindex);
    ensure!(look(&mut ours)? == Some((Lately::Free, Attached::Native)));
    ensure!(look(&mut ours)?.is_none());
    pair.netns.ip("link del near")?;
    ensure!(look(&mut ours)?.is_none(), "an interface that is gone is not one of others' deeds");
    Ok(())
}

fn names(found: &Option<(Lately, Attached)>, lately: Lately, id: &str) -> bool {
    matches!(found, Some((what, Attached::Socket { why })) if *what == lately && why.contains(id))
}

/// Without it nobody knows where a tag beside the frame is, and a veth has the program of all others.
#[test]
fn native_on_veth_without_the_kernel_s_description_of_its_types() -> Result<()> {
    let pair = Pair::new("aw")?;
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec nsenter --net=/run/netns/$0 \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, pair.netns.name()]).arg(std::env::current_exe()?);
    let words = ["--exact", "blind_on_veth", "--ignored", "--nocapture"];
    let output = command.args(words).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The test above, in a process whose `/sys` is its own.
#[test]
#[ignore = "run by native_on_veth_without_the_kernel_s_description_of_its_types in a process of its own"]
fn blind_on_veth() -> Result<()> {
    let mut fast = FastPath::load(1)?;
    ensure!(!fast.sees_tags_on_veth());
    let attached = fast.attach("near", if_nametoindex("near")?, Datapath::Auto);
    ensure!(attached == Attached::Native, "{attached:?}");
    let shown = run("ip", &["-d", "link", "show", "dev", "near"])?;
    ensure!(shown.contains(&format!("prog/xdp id {} ", generic_id(&fast)?)), "{shown}");
    Ok(())
}

/// A veth end hands tags over beside the frame, as most hardware does. From Linux 6.3 on the program sees
/// them there, in the driver.
#[test]
fn a_vlan_whose_tags_are_hidden_keeps_the_program_off() -> Result<()> {
    let pair = Pair::new("av")?;
    let mut fast = FastPath::load(1)?;
    let recheck = |fast: &mut FastPath| pair.netns.enter(|| Ok(fast.recheck("near", pair.ifindex)));
    ensure!(pair.attach(&mut fast, Datapath::Auto)? == Attached::Native);
    ensure!(recheck(&mut fast)?.is_none());
    if pair.netns.ip("link add link near name near.100 type vlan id 100").is_err() {
        eprintln!("this kernel has no VLANs: not tried");
        return Ok(());
    }
    let found = recheck(&mut fast)?;
    if fast.sees_tags_on_veth() {
        ensure!(found.is_none(), "{found:?}");
        return Ok(());
    }
    ensure!(
        matches!(&found, Some(Attached::Socket { why }) if why.contains("near.100")),
        "{found:?}"
    );
    pair.wait_gone()?;
    for want in [Datapath::Generic, Datapath::Xdp, Datapath::Auto] {
        let attached = pair.attach(&mut fast, want)?;
        ensure!(matches!(&attached, Attached::Socket { .. }), "{want:?}: {attached:?}");
    }
    let look = |fast: &mut FastPath| {
        pair.netns.enter(|| Ok(fast.look("near", pair.ifindex, Datapath::Auto)))
    };
    ensure!(fast.is_blind(pair.ifindex) && look(&mut fast)?.is_none());
    pair.netns.ip("link add link near name near.200 type vlan id 200")?;
    pair.netns.ip("link del near.100")?;
    let found = look(&mut fast)?;
    ensure!(names(&found, Lately::TagsHidden, "near.200"), "{found:?}");
    pair.netns.sh("ethtool -K near rxvlan off")?;
    ensure!(look(&mut fast)? == Some((Lately::TagsSeen, Attached::Native)));
    ensure!(!fast.is_blind(pair.ifindex) && look(&mut fast)?.is_none());
    ensure!(recheck(&mut fast)?.is_none());
    // And once the VLAN is gone.
    pair.netns.sh("ethtool -K near rxvlan on")?;
    ensure!(recheck(&mut fast)?.is_some());
    pair.netns.ip("link del near.200")?;
    ensure!(look(&mut fast)? == Some((Lately::TagsSeen, Attached::Native)));
    // Each kind of VLAN has its own switch.
    pair.netns.sh("ethtool -K near rxvlan off")?;
    pair.netns.ip("link add link near name near.300 type vlan proto 802.1ad id 300")?;
    let found = recheck(&mut fast)?.context("802.1ad's tags are taken for seen")?;
    let remedy = "ethtool -K near rx-vlan-stag-hw-parse off";
    ensure!(
        matches!(&found, Attached::Socket { why } if why.contains("near.300") && why.contains(remedy)),
        "{found:?}"
    );
    pair.netns.sh(remedy)?;
    ensure!(look(&mut fast)? == Some((Lately::TagsSeen, Attached::Native)));
    // It says nothing of the other kind.
    pair.netns.sh("ethtool -K near rxvlan on")?;
    ensure!(recheck(&mut fast)?.is_none());
    Ok(())
}

/// There it can't see a tag beside the frame, and nothing says whether one will come.
#[test]
fn generic_on_a_veth_where_its_end_says_that_tags_are_in_the_frames() -> Result<()> {
    let pair = Pair::new("at")?;
    let mut fast = FastPath::load(1)?;
    let look = |fast: &mut FastPath| {
        pair.netns.enter(|| Ok(fast.look("near", pair.ifindex, Datapath::Generic)))
    };
    let attached = pair.attach(&mut fast, Datapath::Generic)?;
    let remedy = "ethtool -K near rxvlan off rx-vlan-stag-hw-parse off";
    ensure!(matches!(&attached, Attached::Socket { why } if why.contains(remedy)), "{attached:?}");
    ensure!(fast.is_blind(pair.ifindex) && look(&mut fast)?.is_none());
    pair.netns.sh(remedy)?;
    let found = look(&mut fast)?;
    ensure!(matches!(&found, Some((Lately::TagsSeen, Attached::Generic { .. }))), "{found:?}");
    ensure!(!fast.is_blind(pair.ifindex) && look(&mut fast)?.is_none());
    pair.tags_in_frames(false)?;
    let found = pair.netns.enter(|| Ok(fast.recheck("near", pair.ifindex)))?;
    ensure!(matches!(&found, Some(Attached::Socket { .. })), "{found:?}");
    pair.wait_gone()?;
    // Native or the socket, then.
    ensure!(pair.attach(&mut fast, Datapath::Auto)? == Attached::Native);
    Ok(())
}

/// A veth end has longer frames than a page only with a program that takes several buffers.
#[test]
fn it_keeps_no_interface_from_a_large_mtu() -> Result<()> {
    let pair = Pair::new("am")?;
    pair.tags_in_frames(true)?;
    let mut fast = FastPath::load(1)?;
    let resize = |mtu: u32| {
        let set = |end| pair.netns.ip(&format!("link set {end} mtu {mtu}")).map(drop);
        ["far", "near"].into_iter().try_for_each(set)
    };
    ensure!(pair.attach(&mut fast, Datapath::Auto)? == Attached::Native);
    resize(9000)?;
    fast.detach(pair.ifindex);
    ensure!(pair.attach(&mut fast, Datapath::Auto)? == Attached::Native, "and in the other order");
    // As before Linux 5.18.
    let mut linear = FastPath::load_without_frags(1)?;
    fast.detach(pair.ifindex);
    let attached = pair.attach(&mut linear, Datapath::Auto)?;
    ensure!(matches!(attached, Attached::Generic { .. }), "{attached:?}");
    linear.detach(pair.ifindex);
    resize(1500)?;
    ensure!(pair.attach(&mut linear, Datapath::Auto)? == Attached::Native);
    ensure!(resize(9000).is_err());
    Ok(())
}

#[test]
fn gone_after_kill_9() -> Result<()> {
    let pair = Pair::new("ak")?;
    let mut child = pair.alone("hold_the_interface")?.stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let found = output.lines().map_while(Result::ok).any(|line| line.contains("holding Native"));
    let shown = pair.shown();
    child.kill()?;
    child.wait()?;
    ensure!(found && shown?.is_some(), "the child did not attach");
    pair.wait_gone()
}

/// Not a test: the process that the one above kills.
#[test]
#[ignore = "run by gone_after_kill_9 in a process of its own"]
fn hold_the_interface() -> Result<()> {
    let mut fast = FastPath::load(1)?;
    let attached = fast.attach("near", if_nametoindex("near")?, Datapath::Auto);
    println!("\nholding {attached:?}");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// What its guardian would keep of a program that is on the interface.
fn kept(fast: &FastPath) -> Result<BTreeMap<String, OwnedFd>> {
    let exports = fast.exports().into_iter();
    exports.map(|(name, fd)| Ok((name, fd.try_clone_to_owned()?))).collect()
}

#[test]
fn what_can_not_be_taken_over_is_in_nobodys_way() -> Result<()> {
    let pair = Pair::new("ax")?;
    let mut before = FastPath::load(1)?;
    ensure!(pair.attach(&mut before, Datapath::Auto)? == Attached::Native);
    let mut part = kept(&before)?;
    part.retain(|name, _| !name.ends_with("ROUTERS"));
    // As the guardian does, which may live on: this one still has all descriptors.
    let error = FastPath::adopt(part).err().context("taken over without a map")?;
    ensure!(error.to_string().contains("ROUTERS"), "{error}");
    pair.wait_gone()?;
    let mut after = FastPath::load(1)?;
    ensure!(pair.attach(&mut after, Datapath::Auto)? == Attached::Native);
    let mut next = FastPath::adopt(kept(&after)?)?;
    ensure!(pair.attach(&mut next, Datapath::Auto)? == Attached::Native);
    ensure!(next.once().is_zero(), "taken over, and yet it took {:?}", next.once());
    ensure!(pair.shown()?.map(|(_, shown)| shown) == Some(id(&after)?), "not taken over");
    FastPath::discard(kept(&next)?);
    pair.wait_gone()?;
    Ok(())
}

#[test]
fn what_the_kernel_did_not_give_is_asked_for_again() -> Result<()> {
    let pair = Pair::new("am")?;
    let status = pair.alone("short_of_descriptors")?.status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The test above, in a process that it shares with no other.
#[test]
#[ignore = "run by what_the_kernel_did_not_give_is_asked_for_again in a process of its own"]
fn short_of_descriptors() -> Result<()> {
    let mut fast = FastPath::load(1)?;
    let ifindex = if_nametoindex("near")?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = |to| setrlimit(Resource::RLIMIT_NOFILE, to, hard);
    let is_denied = |attached: &Attached| matches!(attached, Attached::Socket { why } if why.contains("Too many open files"));
    let look = |fast: &mut FastPath| fast.look("near", ifindex, Datapath::Auto);
    limit(0)?;
    let attached = fast.attach("near", ifindex, Datapath::Auto);
    ensure!(is_denied(&attached) && fast.is_denied_on(ifindex), "{attached:?}");
    ensure!(look(&mut fast).is_none(), "something changed");
    limit(soft)?;
    ensure!(look(&mut fast) == Some((Lately::Given, Attached::Native)));
    ensure!(!fast.is_denied_on(ifindex) && look(&mut fast).is_none(), "denied for ever");
    // A link has come by now, a VLAN perhaps.
    limit(0)?;
    let attached = fast.recheck("near", ifindex).context("judged without knowing")?;
    ensure!(is_denied(&attached) && fast.is_denied_on(ifindex), "{attached:?}");
    limit(soft)?;
    ensure!(look(&mut fast) == Some((Lately::Given, Attached::Native)));
    Ok(())
}
