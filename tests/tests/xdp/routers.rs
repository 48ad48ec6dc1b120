//! Routers that come, change and go.

use anyhow::{Result, ensure};
use vrrp_common::abi::{Router, RouterKey};
use vrrp_common::{Family, Reject, Version};
use vrrp_tests::cases;
use xvrrp::fastpath::FastPath;

use crate::bench::{Bench, IFINDEX, SLOT, VRID, XDP_DROP, XDP_PASS, settings};
use crate::frames::vips;

#[test]
fn a_router_that_is_removed_is_a_stranger() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    ensure!(bench.run(&frame, 1)? == XDP_DROP);
    bench.fast.remove_router(RouterKey::new(IFINDEX, Family::V4, VRID), SLOT);
    ensure!(bench.run(&frame, 1)? == XDP_PASS);
    Ok(())
}

/// A reload that moves a router to another VRID: the new key is set before the old one is removed.
#[test]
fn addresses_stay_while_any_key_leads_to_their_slot() -> Result<()> {
    let mut bench = Bench::new()?;
    let other = RouterKey::new(IFINDEX, Family::V4, 99);
    bench.fast.set_router(other, settings(Version::V2), &vips(1), &[])?;
    bench.configure("DUT-v2")?;
    bench.fast.remove_router(other, SLOT);
    let done = bench.fast(&cases::frame("P01-v2-header", "good"))?;
    ensure!(done.counters.accepted() == 1, "{done:?}");
    // And a shorter list takes the others out.
    bench.set(settings(Version::V2), &vips(3))?;
    bench.set(settings(Version::V2), &vips(2)[1..])?;
    let done = bench.fast(&cases::frame("P01-v2-header", "good"))?;
    ensure!(done.counters.refused(Reject::ForeignCluster) == 1, "{done:?}");
    Ok(())
}

/// Whichever key they came by.
#[test]
fn all_keys_of_a_slot_lead_to_what_was_set_last() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    let other = RouterKey::new(IFINDEX, Family::V4, 99);
    for _ in 0..3 {
        bench.fast.set_router(other, settings(Version::V3), &vips(1), &[])?;
        let done = bench.fast(&frame)?;
        ensure!(done.counters.refused(Reject::Version) == 1, "{done:?}");
        bench.configure("DUT-v2")?;
        let done = bench.fast(&frame)?;
        ensure!(done.counters.accepted() == 1, "{done:?}");
    }
    Ok(())
}

/// After a crash the instances may have other slots than before.
#[test]
fn an_earlier_process_s_keys_are_not_led_to_another_one_s_router() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.configure("DUT-v2")?;
    let frame = cases::frame("P01-v2-header", "good");
    let exports = bench.fast.exports().into_iter();
    let kept: Result<_> = exports.map(|(name, fd)| Ok((name, fd.try_clone_to_owned()?))).collect();
    let mut next = FastPath::adopt(kept?)?;
    ensure!(bench.run(&frame, 1)? == XDP_DROP, "no longer judged as before");
    let [own, other] = [VRID, 99].map(|vrid| RouterKey::new(IFINDEX, Family::V4, vrid));
    next.set_router(other, settings(Version::V3), &vips(1), &[])?;
    ensure!(bench.run(&frame, 1)? == XDP_PASS, "judged by another router's settings");
    next.set_router(own, Router { slot: SLOT + 1, ..settings(Version::V2) }, &vips(1), &[])?;
    ensure!(bench.run(&frame, 1)? == XDP_DROP, "not judged by its own");
    ensure!(next.counters(SLOT + 1).accepted() == 1, "{:?}", next.counters(SLOT + 1));
    Ok(())
}

#[test]
fn more_routers_than_slots_are_refused_in_words() -> Result<()> {
    let mut fast = FastPath::load(2)?;
    let key = |vrid| RouterKey::new(IFINDEX, Family::V4, vrid);
    for vrid in 1..=2 {
        fast.set_router(
            key(vrid),
            Router { slot: u32::from(vrid) - 1, ..settings(Version::V2) },
            &[],
            &[],
        )?;
    }
    let third = fast.set_router(key(3), Router { slot: 2, ..settings(Version::V2) }, &[], &[]);
    let text = third.map_err(|error| error.to_string());
    ensure!(text.is_err_and(|text| text.contains("no room")));
    Ok(())
}
