//! The monitor against a kernel that things happen to.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test waits for one kind of change and passes over whatever else there is"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use vrrp_tests::netns::Netns;
use xvrrp::net::addr::Addresses;
use xvrrp::net::monitor::{Change, Monitor};
use xvrrp::net::{HostAddress, Interface, Snapshot};

use crate::{Cable, many, vip};

/// How long a change may take to be told.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `work` inside the namespace, with a monitor.
fn watched(
    netns: &Netns,
    work: impl AsyncFnOnce(Snapshot, &mut UnboundedReceiver<Change>) -> Result<()> + Send,
) -> Result<()> {
    netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (snapshot, mut changes) = Monitor::start(Monitor::RECEIVE_BUFFER)?;
            work(snapshot, &mut changes).await
        })
    })
}

/// The first change for which `wanted` has something; the others are passed over.
async fn expect<T>(
    changes: &mut UnboundedReceiver<Change>,
    what: &str,
    mut wanted: impl FnMut(&Change) -> Option<T>,
) -> Result<T> {
    let mut passed = Vec::new();
    let search = async {
        while let Some(change) = changes.recv().await {
            if let Some(found) = wanted(&change) {
                return Some(found);
            }
            passed.push(change);
        }
        None
    };
    match timeout(LIMIT, search).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => bail!("the monitor ended"),
        Err(_) => bail!("{what}: not told; instead {passed:#?}"),
    }
}

/// Waits for an interface in a state.
async fn link(
    changes: &mut UnboundedReceiver<Change>,
    name: &str,
    admin_up: bool,
    carrier: bool,
) -> Result<Interface> {
    let what = format!("{name} up {admin_up} carrier {carrier}");
    expect(changes, &what, |change| match change {
        Change::Link(i)
            if (i.name.as_str(), i.admin_up, i.carrier) == (name, admin_up, carrier) =>
        {
            Some(i.clone())
        }
        _ => None,
    })
    .await
}

fn lasts(addresses: &[HostAddress]) -> Vec<String> {
    addresses.iter().filter(|a| a.ip.is_ipv4()).map(|a| a.ip.to_string()).collect()
}

#[test]
fn the_beginning_is_complete() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.ip("addr add 192.0.2.99/25 brd + dev eth0 label eth0:x")?;
    watched(&cable.here, async |snapshot, _| {
        let eth0 = snapshot.by_name("eth0").context("no eth0")?;
        assert!(eth0.admin_up && eth0.carrier && eth0.mtu == 1500 && eth0.mac.is_some());
        assert_eq!(lasts(&eth0.addresses), ["192.0.2.11", "192.0.2.99"]);
        let last = &eth0.addresses[1];
        assert_eq!((last.prefix, last.label.as_deref()), (25, Some("eth0:x")));
        assert_eq!(last.broadcast, Some([192, 0, 2, 127].into()));
        assert!(!last.secondary);
        let lo = snapshot.by_name("lo").context("no lo")?;
        assert_eq!((lo.mac, lo.carrier), (None, true));
        Ok(())
    })
}

#[test]
fn links_come_and_go() -> Result<()> {
    let cable = Cable::new()?;
    watched(&cable.here, async |_, changes| {
        cable.here.ip("link set eth0 down")?;
        link(changes, "eth0", false, false).await?;
        cable.here.ip("link set eth0 up")?;
        let eth0 = link(changes, "eth0", true, true).await?;
        assert_eq!(lasts(&eth0.addresses), ["192.0.2.11"]);

        // The other end of the cable.
        let begin = Instant::now();
        cable.there.ip("link set eth0 down")?;
        link(changes, "eth0", true, false).await?;
        println!("carrier loss told in {:?}", begin.elapsed());
        cable.there.ip("link set eth0 up")?;
        link(changes, "eth0", true, true).await?;

        cable.here.ip("link set eth0 address 02:00:00:00:00:77 mtu 1400")?;
        let new = |c: &Change| match c {
            Change::Link(i) if i.mtu == 1400 => i.mac,
            _ => None,
        };
        let mac = expect(changes, "the MAC address", new).await?;
        assert_eq!(mac, [2, 0, 0, 0, 0, 0x77]);
        Ok(())
    })
}

#[test]
fn names_matter_and_indexes_do_not() -> Result<()> {
    let cable = Cable::new()?;
    watched(&cable.here, async |snapshot, changes| {
        let index = snapshot.by_name("eth0").context("no eth0")?.ifindex;
        let gone = |name: &'static str| {
            move |change: &Change| match change {
                Change::Gone { ifindex, name: told } if told == name => Some(*ifindex),
                _ => None,
            }
        };
        cable.here.ip("link set eth0 down")?;
        cable.here.ip("link set eth0 name lan0")?;
        assert_eq!(expect(changes, "the old name's end", gone("eth0")).await?, index);
        link(changes, "lan0", false, false).await?;
        cable.here.ip("link set lan0 up")?;
        let lan0 = link(changes, "lan0", true, true).await?;
        assert_eq!((lan0.ifindex, lasts(&lan0.addresses)), (index, vec!["192.0.2.11".to_owned()]));

        // A port that leaves its bridge is not gone.
        cable.here.ip("link add br0 type bridge")?;
        cable.here.ip("link set lan0 master br0")?;
        cable.here.ip("link set lan0 nomaster")?;
        cable.here.ip("link del br0")?;
        let any_gone = |c: &Change| match c {
            Change::Gone { name, .. } => Some(name.clone()),
            _ => None,
        };
        assert_eq!(expect(changes, "the bridge's end", any_gone).await?, "br0");

        // Made anew: the same name, another index.
        cable.here.ip("link del lan0")?;
        assert_eq!(expect(changes, "the end", gone("lan0")).await?, index);
        cable.here.ip("link add lan0 type veth peer name peer0")?;
        let anew = |c: &Change| match c {
            Change::Link(i) if i.name == "lan0" => Some(i.clone()),
            _ => None,
        };
        let anew = expect(changes, "the new one", anew).await?;
        assert_ne!(anew.ifindex, index);
        assert_eq!(anew.addresses, []);
        Ok(())
    })
}

#[test]
fn an_address_removed_by_hand_is_told_at_once() -> Result<()> {
    let cable = Cable::new()?;
    watched(&cable.here, async |_, changes| {
        let mut addresses = Addresses::open()?;
        addresses.add(&[vip(250)], |name| if_nametoindex(name).ok());
        let added = |c: &Change| match c {
            // The kernel's own link-local address may come at any time, too.
            Change::AddressAdded { name, address, .. }
                if name == "eth0" && address.ip.is_ipv4() =>
            {
                Some(address.clone())
            }
            _ => None,
        };
        let added = expect(changes, "the new address", added).await?;
        assert_eq!((added.ip, added.prefix), (vip(250).ip, 24));
        assert!(added.secondary);
        assert_eq!(added.proto, xvrrp::net::addr::PROTOCOL);

        cable.here.ip("addr del 192.0.2.250/24 dev eth0")?;
        let begin = Instant::now();
        let removed = removed(changes).await?;
        println!("removal told {:?} after ip ended", begin.elapsed());
        assert_eq!((removed.ip, removed.prefix), (vip(250).ip, 24));
        Ok(())
    })
}

async fn removed(changes: &mut UnboundedReceiver<Change>) -> Result<HostAddress> {
    let wanted = |c: &Change| match c {
        Change::AddressRemoved { name, address, .. } if name == "eth0" && address.ip.is_ipv4() => {
            Some(address.clone())
        }
        _ => None,
    };
    expect(changes, "a removed address", wanted).await
}

/// Handed case B36: what is needed to put back an address that the kernel dropped with another's.
#[test]
fn secondary_addresses_that_vanish_with_the_first_are_told() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.sysctl("net.ipv4.conf.eth0.promote_secondaries", 0)?;
    cable.here.sysctl("net.ipv4.conf.all.promote_secondaries", 0)?;
    let other_net = |last: u8| vrrp_proto::settings::VirtualAddress {
        ip: [203, 0, 113, last].into(),
        ..vip(0)
    };
    let both = [other_net(250), other_net(251)];
    watched(&cable.here, async |_, changes| {
        let mut addresses = Addresses::open()?;
        let resolve = |name: &str| if_nametoindex(name).ok();
        addresses.add(&both, resolve);
        let begin = Instant::now();
        // By somebody else: we take none along.
        cable.here.ip("addr del 203.0.113.250/24 dev eth0")?;
        let mut lost = vec![removed(changes).await?.ip, removed(changes).await?.ip];
        lost.sort();
        assert_eq!(lost, both.clone().map(|a| a.ip));
        let back = addresses.add(&both[1..], resolve);
        ensure!(back.iter().all(|b| *b == Ok(xvrrp::net::addr::Added::New)), "{back:?}");
        println!("a dropped secondary is back after {:?}", begin.elapsed());
        Ok(())
    })
}

#[test]
fn lost_events_are_made_up_for() -> Result<()> {
    let cable = Cable::new()?;
    cable.here.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (_, mut changes) = Monitor::start(16 * 1024)?;
            let mut addresses = Addresses::open()?;
            let resolve = |name: &str| if_nametoindex(name).ok();
            // The monitor's task gets no turn meanwhile, and its socket holds a few dozen events.
            addresses.add(&many(400), resolve);
            addresses.remove(&many(300), resolve);
            let resync = |c: &Change| match c {
                Change::Resync(snapshot) => Some(snapshot.clone()),
                _ => None,
            };
            let now = expect(&mut changes, "the loss", resync).await?;
            let eth0 = now.by_name("eth0").context("no eth0")?;
            assert_eq!(lasts(&eth0.addresses).len(), 101);

            // And it goes on.
            cable.here.ip("addr del 192.0.2.11/24 dev eth0")?;
            assert_eq!(removed(&mut changes).await?.ip, vip(11).ip);
            Ok(())
        })
    })
}

/// What happens faster than it can be told or read does not end the monitor: while it goes on that is said,
/// and afterwards everything is right.
#[test]
fn a_flood_is_survived() -> Result<()> {
    let cable = Cable::new()?;
    // Lists that take several datagrams, so that they change under the reader too.
    let stays = many(900);
    // As long as it takes, however busy the machine is.
    let enough = Arc::new(AtomicBool::new(false));
    cable.here.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            Addresses::open()?.add(&stays[450..], |name| if_nametoindex(name).ok());
            let (mut copy, mut changes) = Monitor::start(16 * 1024)?;
            let end = Arc::clone(&enough);
            // In the same namespace, by a thread of its own.
            let flooding = std::thread::spawn(move || -> std::io::Result<()> {
                let mut addresses = Addresses::open()?;
                let resolve = |name: &str| if_nametoindex(name).ok();
                while !end.load(Ordering::Relaxed) {
                    addresses.add(&stays[..450], resolve);
                    addresses.remove(&stays[..450], resolve);
                }
                addresses.remove(&stays[450..460], resolve);
                Ok(())
            });
            let (mut behind, mut losses, mut turns) = (false, 0, 0);
            let right = async {
                loop {
                    let change = timeout(Duration::from_millis(20), changes.recv()).await;
                    // While all is read again, whatever else this thread has to do goes on.
                    turns += u32::from(behind);
                    enough.fetch_or(losses > 1 && turns > 5, Ordering::Relaxed);
                    match change {
                        Ok(Some(Change::Behind)) => (behind, losses) = (true, losses + 1),
                        Ok(Some(change)) => {
                            behind &= !matches!(change, Change::Resync(_));
                            copy.follow(&change);
                        }
                        Ok(None) => bail!("the monitor ended"),
                        Err(_) if !flooding.is_finished() || behind => {}
                        Err(_) if copy == Snapshot::read()? => return Ok(()),
                        Err(_) => {}
                    }
                }
            };
            let right = timeout(10 * LIMIT, right).await;
            enough.store(true, Ordering::Relaxed);
            right.with_context(|| format!("{losses} losses, {turns} turns, not right"))??;
            let eth0 = copy.by_name("eth0").context("no eth0")?;
            assert_eq!(lasts(&eth0.addresses).len(), 441);
            cable.here.ip("addr del 192.0.2.11/24 dev eth0")?;
            assert_eq!(removed(&mut changes).await?.ip, vip(11).ip);
            Ok(())
        })
    })
}

#[test]
fn many_changes_wake_it_a_few_times() -> Result<()> {
    const PAUSE: Duration = Duration::from_micros(100);
    let cable = Cable::new()?;
    let all = many(200);
    watched(&cable.here, async |_, changes| {
        let (mut addresses, index) = (Addresses::open()?, if_nametoindex("eth0")?);
        let before = slept()?;
        let adding = std::thread::spawn({
            let all = all.clone();
            move || {
                for address in &all {
                    addresses.add([address], |_| Some(index));
                    std::thread::sleep(PAUSE);
                }
            }
        });
        for address in &all {
            expect(changes, "an address", |change| match change {
                Change::AddressAdded { address: added, .. } => {
                    (added.ip == address.ip).then_some(())
                }
                _ => None,
            })
            .await?;
        }
        let times = slept()? - before;
        adding.join().expect("it put them on");
        ensure!(times < all.len() / 2, "it slept {times} times for {} addresses", all.len());
        Ok(())
    })
}

/// How often the calling thread went to sleep so far.
fn slept() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let number = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(number.context("no voluntary_ctxt_switches")?.trim().parse()?)
}
