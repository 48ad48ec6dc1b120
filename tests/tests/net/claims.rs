//! Whose an address is: taken off once nobody holds it any more, wherever its interface went.

use std::collections::BTreeSet;

use anyhow::Result;
use vrrp_common::abi;
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::Capture;
use xvrrp::net::executor::Executor;
use xvrrp::net::leftover::OwnAddress;

use crate::announcements::{PATIENCE, add, announce, arrived, remove, spawn};
use crate::{Cable, vip};

/// The interfaces that hold 192.0.2.LAST here.
fn holders(cable: &Cable, last: u8) -> Result<Vec<String>> {
    let shown = cable.here.ip(&format!("-o -4 addr show to 192.0.2.{last}/32"))?;
    let name = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    Ok(shown.lines().filter_map(name).collect())
}

/// Has effects carried out.
fn done(executor: &Executor) {
    assert!(executor.flush(PATIENCE));
}

#[test]
fn an_address_goes_with_its_interface_under_a_new_name() -> Result<()> {
    let cable = Cable::new()?;
    let wire = Capture::start(&cable.there, "eth0")?;
    let (executor, _outcomes) = spawn(&cable)?;
    executor.send(add(1, &[vip(250)]));
    done(&executor);
    cable.here.ip("link set eth0 name lan0")?;
    assert_eq!(holders(&cable, 250)?, ["lan0"]);

    executor.send(announce(1, &[vip(250)], 3));
    done(&executor);
    arrived(&wire, 250, 3)?;

    executor.send(remove(1, &[vip(250)]));
    done(&executor);
    assert!(holders(&cable, 250)?.is_empty());
    assert_eq!(holders(&cable, 11)?, ["lan0"]);
    Ok(())
}

#[test]
fn an_address_is_put_on_the_interface_that_has_the_name_now_and_nowhere_else() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    let held = [vip(250), vip(251)];
    executor.send(add(1, &held));
    executor.send(add(2, &[vip(251)]));
    done(&executor);
    cable.here.ip("link set eth0 name lan0")?;
    cable.here.ip("link add eth0 type veth peer name peer0")?;
    executor.send(add(1, &held));
    done(&executor);
    assert_eq!(holders(&cable, 250)?, ["eth0"]);
    // The other router's stays where it was put, until that one lets it go.
    let mut both = holders(&cable, 251)?;
    both.sort();
    assert_eq!(both, ["eth0", "lan0"]);
    executor.send(remove(2, &[vip(251)]));
    done(&executor);
    assert_eq!(holders(&cable, 251)?, ["eth0"]);
    executor.send(remove(1, &held));
    done(&executor);
    assert!(holders(&cable, 250)?.is_empty() && holders(&cable, 251)?.is_empty());
    Ok(())
}

#[test]
fn an_interface_that_is_gone_leaves_nothing_behind() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    cable.here.ip("link add lan7 type veth peer name peer7")?;
    let on = |last| VirtualAddress { device: "lan7".to_owned(), ..vip(last) };
    executor.send(add(1, &[on(250)]));
    done(&executor);
    cable.here.ip("link del lan7")?;
    executor.send(remove(1, &[on(250)]));
    cable.here.ip("link add lan7 type veth peer name peer7")?;
    executor.send(add(1, &[on(250)]));
    done(&executor);
    assert_eq!(holders(&cable, 250)?, ["lan7"]);
    Ok(())
}

#[test]
fn an_address_moves_from_one_router_to_another_in_either_order() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    let (giver, taker) = (remove(1, &[vip(250)]), add(2, &[vip(250)]));
    for order in [[&giver, &taker], [&taker, &giver]] {
        executor.send(add(1, &[vip(250)]));
        for effect in order {
            executor.send(effect.clone());
        }
        done(&executor);
        assert_eq!(holders(&cable, 250)?, ["eth0"], "{order:?}");
        executor.send(remove(2, &[vip(250)]));
        done(&executor);
        assert!(holders(&cable, 250)?.is_empty());
    }
    Ok(())
}

#[test]
fn two_names_of_one_interface_are_one_place() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    cable.here.ip("link property add dev eth0 altname uplink")?;
    let uplink = VirtualAddress { device: "uplink".to_owned(), ..vip(250) };
    executor.send(add(1, &[vip(250)]));
    executor.send(add(2, std::slice::from_ref(&uplink)));
    executor.send(remove(1, &[vip(250)]));
    done(&executor);
    assert_eq!(holders(&cable, 250)?, ["eth0"]);
    executor.send(remove(2, &[uplink]));
    done(&executor);
    assert!(holders(&cable, 250)?.is_empty());
    Ok(())
}

#[test]
fn a_router_takes_off_only_what_it_put_on() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    cable.here.ip("addr add 192.0.2.250/24 dev eth0")?;
    executor.send(remove(1, &[vip(250)]));
    done(&executor);
    assert_eq!(holders(&cable, 250)?, ["eth0"]);
    // What was there already is its own from then on.
    executor.send(add(1, &[vip(250)]));
    executor.send(remove(1, &[vip(250)]));
    done(&executor);
    assert!(holders(&cable, 250)?.is_empty());
    Ok(())
}

#[test]
fn what_an_earlier_life_left_is_taken_off_unless_a_router_holds_it() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    cable.here.ip("addr add 192.0.2.250/24 dev eth0")?;
    executor.send(add(1, &[vip(251)]));
    executor.send(remove(abi::MAX_SLOTS, &[vip(250), vip(251)]));
    done(&executor);
    assert!(holders(&cable, 250)?.is_empty());
    assert_eq!(holders(&cable, 251)?, ["eth0"]);
    Ok(())
}

#[test]
fn the_host_s_own_stays_under_any_name() -> Result<()> {
    let cable = Cable::new()?;
    let (executor, _outcomes) = spawn(&cable)?;
    executor.protect(BTreeSet::from([OwnAddress::of(&vip(11))]));
    executor.send(add(1, &[vip(11)]));
    done(&executor);
    cable.here.ip("link set eth0 name lan0")?;
    cable.here.ip("link add eth0 type veth peer name peer0")?;
    executor.send(add(1, &[vip(11)]));
    executor.send(remove(1, &[vip(11)]));
    executor.send(remove(abi::MAX_SLOTS, &[vip(11)]));
    done(&executor);
    assert!(holders(&cable, 11)?.contains(&"lan0".to_owned()));
    Ok(())
}
