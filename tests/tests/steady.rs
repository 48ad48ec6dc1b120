//! The protocol thread's own part of the steady state allocates nothing: adverts to single hosts, and what
//! was heard by several ways. Needs root, and a process where nothing else is done.

#[path = "../../vrrp-proto/tests/support/counting.rs"]
mod counting;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use counting::allocated;
use nix::net::if_::if_nametoindex;
use vrrp_common::abi::Event;
use vrrp_common::wire::{Advert, ChecksumForm};
use vrrp_common::{Priority, Version, Vrid};
use vrrp_tests::Lab;
use xvrrp::arrived::Arrived;
use xvrrp::transmit::{AdvertFrame, Around, Routed};

const ROUNDS: usize = 50;

fn advert(source: &str, destination: &str, address: &str) -> Result<AdvertFrame> {
    let addresses: [IpAddr; 1] = [address.parse()?];
    let advert = Advert {
        version: Version::V3,
        vrid: Vrid::new(51).context("a VRID")?,
        priority: Priority::DEFAULT,
        interval: 100,
        addresses: &addresses,
        password: None,
        form: ChecksumForm::PseudoHeader,
        source: source.parse()?,
        destination: destination.parse()?,
    };
    Ok(AdvertFrame::new(Around::plain([0; 6]), &advert)?)
}

/// How often something is allocated where adverts leave for single hosts of both families.
fn to_speak() -> Result<usize> {
    let lab = Lab::new(&["r1", "r2"])?;
    for (host, ip) in [("r1", "2001:db8::11"), ("r2", "2001:db8::12")] {
        lab.ns(host).ip(&format!("addr add {ip}/64 dev eth0 nodad"))?;
    }
    let frames = [
        advert("192.0.2.11", "192.0.2.12", "192.0.2.250")?,
        advert("2001:db8::11", "2001:db8::12", "fe80::5e00:250")?,
    ];
    lab.ns("r1").enter(|| {
        let (index, mut routed) = (if_nametoindex("eth0")?, Routed::new());
        let mut send = || frames.iter().try_for_each(|frame| routed.send(index, frame.packet()));
        // The sockets are opened.
        send()?;
        let before = allocated().0;
        for _ in 0..ROUNDS {
            send()?;
        }
        Ok(allocated().0 - before)
    })
}

/// How often something is allocated where so many records have come to several sockets.
fn to_hear(records: u32) -> Result<usize> {
    let mut arrived = Arrived::with_capacity(records as usize);
    let before = allocated().0;
    for round in 0..ROUNDS {
        for slot in 0..records {
            let mut record: Event = bytemuck::Zeroable::zeroed();
            (record.at, record.slot) = (u64::from(slot % 7), slot);
            arrived.push(record);
        }
        let (mut count, mut last) = (0, (0, 0));
        arrived.take(|record| {
            count += u32::from((record.at, record.slot) >= last);
            last = (record.at, record.slot);
        });
        ensure!(count == records, "{count} of {records} in order in round {round}");
    }
    Ok(allocated().0 - before)
}

#[test]
fn what_is_sent_and_heard_each_interval_allocates_nothing() -> Result<()> {
    let (spoken, heard) = (to_speak()?, to_hear(200)?);
    ensure!((spoken, heard) == (0, 0), "{spoken} allocations to speak, {heard} to hear");
    Ok(())
}
