//! Many frames by one call, and what becomes of each.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use vrrp_common::wire::{Advert, ChecksumForm, GROUP_V4};
use vrrp_common::{Priority, Version, Vrid};
use vrrp_tests::{Capture, wait_until};
use xvrrp::transmit::{AdvertFrame, Around, Batch, Sender};

use crate::Cable;

const NOWHERE: u32 = 4_000_000;
const LIMIT: Duration = Duration::from_secs(30);

fn frame(vrid: u8) -> Result<AdvertFrame> {
    let addresses = [IpAddr::from([192, 0, 2, 250])];
    let advert = Advert {
        version: Version::V3,
        vrid: Vrid::new(vrid).context("a VRID")?,
        priority: Priority::DEFAULT,
        interval: 100,
        addresses: &addresses,
        password: None,
        form: ChecksumForm::PseudoHeader,
        source: Ipv4Addr::new(192, 0, 2, 11).into(),
        destination: Ipv4Addr::from_octets(GROUP_V4).into(),
    };
    Ok(AdvertFrame::new(Around::plain([2, 0, 0, 0, 0, 0x0a]), &advert)?)
}

/// Sends what waits, and gives each token with the kernel's error number, 0 for none.
fn fates(batch: &mut Batch<u32>) -> Vec<(u32, i32)> {
    let mut fates = Vec::new();
    batch.send(|token, result| {
        let errno = result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        fates.push((token, errno));
    });
    fates
}

#[test]
fn all_leave_in_their_order_and_can_be_patched_while_they_wait() -> Result<()> {
    // More than the kernel takes at once, and than there was room for.
    const ROUNDS: u32 = 1500;
    let cable = Cable::new()?;
    let wire = Capture::start(&cable.there, "eth0")?;
    let (mut batch, index) =
        cable.here.enter(|| Ok((Batch::new(Sender::open()?), if_nametoindex("eth0")?)))?;
    let mut frame = frame(51)?;
    for round in 0..ROUNDS {
        let priority = Priority::new((round % 251) as u8);
        batch.push(index, frame.patch(priority, ChecksumForm::PseudoHeader), round);
    }
    assert!(!batch.is_empty());
    assert_eq!(fates(&mut batch), (0..ROUNDS).map(|round| (round, 0)).collect::<Vec<_>>());
    assert!(batch.is_empty());
    assert_eq!(fates(&mut batch), [], "nothing is sent twice");
    wait_until("all arrive", LIMIT, || wire.adverts().len() >= ROUNDS as usize)?;
    let priorities: Vec<u32> =
        wire.adverts().iter().map(|seen| u32::from(seen.advert.priority)).collect();
    assert_eq!(priorities, (0..ROUNDS).map(|round| round % 251).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn one_that_fails_is_told_and_stops_no_other() -> Result<()> {
    let cable = Cable::new()?;
    let wire = Capture::start(&cable.there, "eth0")?;
    let (mut batch, index) =
        cable.here.enter(|| Ok((Batch::new(Sender::open()?), if_nametoindex("eth0")?)))?;
    let too_long = [0; 3000];
    let mut good = frame(7)?;
    let mut bytes = || good.patch(Priority::DEFAULT, ChecksumForm::PseudoHeader).to_vec();
    for (token, ifindex) in [NOWHERE, index, NOWHERE, NOWHERE, index].into_iter().enumerate() {
        batch.push(ifindex, &bytes(), u32::try_from(token)?);
    }
    batch.push(index, &too_long, 5);
    batch.push(index, &bytes(), 6);
    batch.push(NOWHERE, &bytes(), 7);
    let (gone, long) = (libc::ENXIO, libc::EMSGSIZE);
    let expected = [(0, gone), (1, 0), (2, gone), (3, gone), (4, 0), (5, long), (6, 0), (7, gone)];
    assert_eq!(fates(&mut batch), expected);
    wait_until("all arrive", LIMIT, || wire.adverts().len() >= 3)?;
    assert_eq!(wire.adverts().len(), 3);

    cable.here.ip("link set eth0 down")?;
    batch.push(index, &bytes(), 8);
    assert_eq!(fates(&mut batch), [(8, libc::ENETDOWN)]);
    Ok(())
}

/// What waits in the queue of one interface takes nothing from the others.
#[test]
fn a_queue_that_stands_keeps_no_other_from_leaving() -> Result<()> {
    const MANY: u32 = 3000;
    let cable = Cable::new()?;
    let here = &cable.here;
    here.ip("link add eth1 type veth peer name eth2")?;
    here.ip("link set eth1 up")?;
    here.ip("link set eth2 up")?;
    here.sh("tc qdisc replace dev eth0 root tbf rate 8kbit burst 1600 limit 100000000")?;
    let wire = Capture::start(here, "eth2")?;
    let (mut batch, stands, other) = here.enter(|| {
        let index = |name| if_nametoindex(name);
        Ok((Batch::new(Sender::open()?), index("eth0")?, index("eth1")?))
    })?;
    let mut frame = frame(51)?;
    let bytes = frame.patch(Priority::DEFAULT, ChecksumForm::PseudoHeader);
    (0..MANY).for_each(|token| batch.push(stands, bytes, token));
    batch.push(other, bytes, MANY);
    assert_eq!(fates(&mut batch), (0..=MANY).map(|token| (token, 0)).collect::<Vec<_>>());
    wait_until("it arrives", LIMIT, || wire.adverts().len() == 1).map(drop)
}
