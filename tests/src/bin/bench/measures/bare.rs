//! What the kernel takes for the addresses of many virtual routers by itself: they are put on and taken
//! off as a daemon asks for it, one router after another, and nothing else is done.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::time::{ClockId, clock_gettime};
use vrrp_proto::settings::VirtualAddress;
use vrrp_tests::netns::Netns;
use vrrp_tests::roll::{self, Router};
use xvrrp::net::addr::Addresses;

/// CPU time for putting the addresses of these on in a namespace, and for taking them off.
///
/// # Errors
/// The kernel refuses one.
pub(crate) fn addresses(ns: &Netns, routers: &[Router]) -> Result<(Duration, Duration)> {
    let all: Vec<Vec<VirtualAddress>> =
        routers.iter().map(|router| held(*router)).collect::<Result<_>>()?;
    ns.enter(|| {
        let mut indexes = BTreeMap::new();
        for one in all.iter().flatten() {
            let device = one.device.as_str();
            indexes.entry(device).or_insert_with(|| if_nametoindex(device).ok());
        }
        let index = |name: &str| indexes.get(name).copied().flatten();
        let mut host = Addresses::open()?;
        let begin = cpu()?;
        for one in &all {
            ensure!(host.add(one, index).iter().all(Result::is_ok), "not put on: {one:?}");
        }
        let on = cpu()?;
        for one in &all {
            ensure!(host.remove(one, index).iter().all(Result::is_ok), "not taken off: {one:?}");
        }
        Ok((on.saturating_sub(begin), cpu()?.saturating_sub(on)))
    })
}

fn held(router: Router) -> Result<Vec<VirtualAddress>> {
    let device = format!("eth{}", router.0);
    let one = |text: String| {
        let (ip, prefix) = text.split_once('/').context("no prefix length")?;
        Ok(VirtualAddress::new(ip.parse()?, prefix.parse()?, device.as_str()))
    };
    roll::addresses(router).into_iter().map(one).collect()
}

/// Of the calling thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
