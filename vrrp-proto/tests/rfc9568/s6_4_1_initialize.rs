//! §6.4.1: from Initialize.

use std::time::Duration;

use vrrp_common::Instant;
use vrrp_proto::{Event, Health, Input, Link, Slot, StateName, Waited, Why};

use crate::support::{Lan, SLOT, at, ms, settings, tracker};

fn lone(priority: u8) -> Lan {
    Lan::of([settings(priority)])
}

#[test]
fn the_owner_speaks_at_once() {
    let lan = lone(255);
    let host = &lan.hosts[0];
    assert_eq!(host.sent, [(at(Duration::ZERO), 255)]);
    assert_eq!(host.last(), (at(Duration::ZERO), StateName::Active, Why::Owner));
    let waited = Event::TookOver { slot: SLOT, waited: Waited::Owner, due: at(Duration::ZERO) };
    assert_eq!(host.events.last(), Some(&(at(Duration::ZERO), waited)));
    assert_eq!(host.announced, [(at(Duration::ZERO), 5)]);
    assert!(host.held.contains(&settings(255).addresses[0].ip));
}

#[test]
fn any_other_listens_for_a_whole_down_interval() {
    let mut lan = lone(254);
    assert_eq!(lan.hosts[0].last().1, StateName::Backup);
    let down = Duration::from_nanos(3_007_812_500);
    lan.run_until(Instant::from_nanos(down.as_nanos() as u64 - 1));
    assert!(lan.hosts[0].sent.is_empty());
    lan.run_until(at(down));
    assert_eq!(lan.hosts[0].sent, [(at(down), 254)]);
    let why = Why::NoAdvert { from: None, silence: down };
    assert_eq!(lan.hosts[0].last(), (at(down), StateName::Active, why));
}

/// Without link nothing was listened to, so the wait begins when the link comes.
#[test]
fn the_wait_begins_with_the_link() {
    let mut lan = lone(100);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert_eq!(lan.hosts[0].last().1, StateName::Fault);
    lan.run_for(ms(10_000));
    let link = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot: SLOT, link });
    assert_eq!(lan.hosts[0].last(), (at(ms(10_000)), StateName::Backup, Why::Recovered));
    lan.run_for(ms(3609));
    assert!(lan.hosts[0].sent.is_empty());
    lan.run_for(ms(1));
    assert_eq!(lan.hosts[0].sent.len(), 1);
}

#[test]
fn an_interface_without_an_address_is_a_fault() {
    let mut lan = lone(100);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::NoSource });
    assert_eq!(lan.hosts[0].last().1, StateName::Fault);
    assert_eq!(lan.hosts[0].last().2, Why::NoSource);
}

/// `vrrp_startup_delay`.
#[test]
fn a_held_router_does_nothing_until_the_hold_is_over() {
    let mut lan = Lan::of([settings(100)]);
    let slot = Slot(7);
    let hold = ms(20_000);
    lan.tell(0, Input::Add { slot, settings: Box::new(settings(255)), hold });
    let link = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot, link });
    lan.tell(0, Input::Link { slot, link: Link::Down(None) });
    lan.tell(0, Input::Link { slot, link });
    lan.run_for(ms(19_999));
    let state = |lan: &Lan| lan.hosts[0].engine.view(slot).map(|view| view.state);
    assert_eq!(state(&lan), Some(StateName::Initialize));
    lan.run_for(ms(1));
    assert_eq!(state(&lan), Some(StateName::Active));
}

#[test]
fn a_script_without_a_result_holds_the_start_back() {
    let mut own = settings(100);
    own.trackers = vec![tracker(1, 0)];
    let mut lan = Lan::of([own]);
    lan.run_for(ms(8000));
    assert_eq!(lan.hosts[0].state(), StateName::Initialize);
    lan.track(0, 1, Health::Good);
    assert_eq!(lan.hosts[0].last(), (at(ms(8000)), StateName::Backup, Why::Startup));
    lan.run_for(ms(3610));
    assert_eq!(lan.hosts[0].state(), StateName::Active);
}

/// The link comes while the script still runs for the first time: no way into Fault for ever.
#[test]
fn link_and_script_may_come_in_any_order() {
    let mut own = settings(100);
    own.trackers = vec![tracker(1, 0)];
    let mut lan = Lan::of([own]);
    let up = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
    lan.tell(0, Input::Link { slot: SLOT, link: up });
    assert_eq!(lan.hosts[0].state(), StateName::Fault, "the script has said nothing");
    lan.track(0, 1, Health::Bad);
    lan.track(0, 1, Health::Good);
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
}
