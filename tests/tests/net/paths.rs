//! Routes as the kernel has them, whatever became of the address that they are from.

use std::sync::Arc;

use anyhow::{Result, ensure};
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::output::Effect;
use vrrp_proto::paths::{Hop, Network, Paths, Route};
use vrrp_proto::settings::VirtualAddress;

use crate::Cable;
use crate::announcements::{PATIENCE, add, spawn};

/// The kernel keeps an IPv6 route whose source goes, without it, and refuses to add it as it was. Who had it
/// put on has it still, so that it can be taken off to be put on anew.
#[test]
fn a_route_that_is_refused_is_still_the_router_s() -> Result<()> {
    const SLOT: Slot = Slot(5);
    let cable = Cable::new()?;
    let source = VirtualAddress::new("2001:db8::250".parse()?, 64, "eth0");
    let hop = Hop { device: Some("eth0".to_owned()), weight: 1, ..Hop::default() };
    let network = Network { ip: "2001:db8:7::".parse()?, length: 48 };
    let route = Route { source: Some(source.ip), hops: vec![hop], ..Route::to(network) };
    let paths = Arc::new(Paths { routes: vec![route], rules: Vec::new() });
    let put = || Effect::AddPaths { slot: SLOT, paths: Arc::clone(&paths) };
    let shown = || cable.here.ip("-6 route show 2001:db8:7::/48");
    let (executor, outcomes) = spawn(&cable)?;
    let addresses = std::slice::from_ref(&source);
    executor.send(add(SLOT.0, addresses));
    executor.send(put());
    ensure!(outcomes.recv_timeout(PATIENCE)? == (SLOT, Outcome::Done) && executor.flush(PATIENCE));
    ensure!(shown()?.contains("src 2001:db8::250"), "{}", shown()?);

    cable.here.ip("addr del 2001:db8::250/64 dev eth0")?;
    executor.send(put());
    let (_, refused) = outcomes.recv_timeout(PATIENCE)?;
    ensure!(matches!(&refused, Outcome::Paths { failed, .. } if failed.len() == 1), "{refused:?}");
    ensure!(shown()?.contains("dev eth0") && !shown()?.contains("src"), "{}", shown()?);

    executor.send(Effect::RemovePaths { slot: SLOT, paths: Arc::clone(&paths) });
    ensure!(executor.flush(PATIENCE));
    ensure!(shown()?.trim().is_empty(), "it stays: {}", shown()?);
    executor.send(add(SLOT.0, addresses));
    executor.send(put());
    ensure!(executor.flush(PATIENCE));
    ensure!(shown()?.contains("src 2001:db8::250"), "{}", shown()?);
    Ok(())
}
