//! What keepalived adds to the RFC: tracking, reload, addresses that others remove.

mod support;

use std::time::Duration;

use rstest::rstest;
use support::{Lan, SLOT, advert, at, every, ms, settings, tracker, vip};
use vrrp_common::Priority;
use vrrp_proto::{Event, Health, Input, Link, Slot, StateName, TrackerId, Why};

fn active_with(change: impl FnOnce(&mut vrrp_proto::Settings)) -> Lan {
    let mut own = settings(100);
    change(&mut own);
    let mut lan = Lan::of([own]);
    lan.track(0, 1, Health::Good);
    lan.run_until(at(ms(5000)));
    assert!(lan.hosts[0].is_active());
    lan.hosts[0].sent.clear();
    lan.hosts[0].announced.clear();
    lan
}

fn priority(lan: &Lan) -> u8 {
    lan.hosts[0].engine.view(SLOT).expect("a router").priority.get()
}

/// B47: 100 with -20 is 80 after the failure, with +20 it is 120 while good and never 80.
#[test]
fn weights_move_the_priority() {
    for (weight, good, bad) in [(-20, 100, 80), (20, 120, 100), (-5, 100, 95), (-253, 100, 1)] {
        let mut lan = active_with(|own| own.trackers = vec![tracker(1, weight)]);
        assert_eq!(priority(&lan), good, "weight {weight}");
        lan.track(0, 1, Health::Bad);
        assert_eq!(priority(&lan), bad, "weight {weight}");
        lan.run_for(ms(1000));
        assert_eq!(lan.hosts[0].sent.last().unwrap().1, bad);
        lan.track(0, 1, Health::Good);
        assert_eq!(priority(&lan), good, "weight {weight}");
    }
}

#[test]
fn a_failed_tracker_of_weight_zero_releases() {
    let mut lan = active_with(|own| own.trackers = vec![tracker(1, 0)]);
    lan.track(0, 1, Health::Bad);
    let host = &lan.hosts[0];
    assert_eq!(host.sent, [(at(ms(5000)), 0)]);
    assert_eq!(host.last(), (at(ms(5000)), StateName::Fault, Why::Tracker(TrackerId(1))));
    assert!(host.held.is_empty());
    lan.track(0, 1, Health::Good);
    assert_eq!(lan.hosts[0].last().1, StateName::Backup);
}

/// B43: a script that a reload adds has no opinion yet.
#[test]
fn a_tracker_added_by_reload_does_not_disturb() {
    let mut lan = active_with(|_| {});
    let mut new = settings(100);
    new.trackers = vec![tracker(9, 0)];
    lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(new) });
    lan.run_for(ms(5000));
    assert!(lan.hosts[0].is_active());
    lan.track(0, 9, Health::Bad);
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
}

#[test]
fn a_reload_without_change_does_nothing() {
    let mut lan = active_with(|_| {});
    let events = lan.hosts[0].events.len();
    lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(settings(100)) });
    assert_eq!(lan.hosts[0].events.len(), events);
    assert!(lan.hosts[0].sent.is_empty() && lan.hosts[0].announced.is_empty());
}

/// B40 (b): an address goes, the others are not touched.
#[test]
fn a_reload_moves_only_the_addresses_that_differ() {
    let mut lan = active_with(|own| own.addresses = vec![vip(250), vip(251)]);
    let mut new = settings(100);
    new.addresses = vec![vip(250), vip(252)];
    lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(new) });
    let held: Vec<_> = lan.hosts[0].held.iter().copied().collect();
    assert_eq!(held, [vip(250).ip, vip(252).ip]);
    assert!(lan.hosts[0].sent.is_empty());
    assert!(lan.hosts[0].is_active());
    assert_eq!(lan.hosts[0].announced.len(), 1);
}

#[test]
fn a_shorter_interval_counts_at_once() {
    let mut lan = active_with(|own| own.interval = every(ms(1000)));
    let mut new = settings(100);
    new.interval = every(ms(100));
    lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(new) });
    lan.run_for(ms(100));
    assert_eq!(lan.hosts[0].sent.len(), 1);
}

/// The release is what it waits for, whatever the interval is from now on.
#[test]
fn another_interval_does_not_undo_a_release() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.hosts[0].settings.interval = every(ms(3000));
    lan.reload(0);
    lan.run_for(ms(610));
    assert!(lan.hosts[0].is_active());
}

fn to_version_2(lan: &mut Lan) {
    lan.hosts[0].settings.version = vrrp_common::Version::V2;
    lan.reload(0);
}

/// As keepalived: it stays Active, and speaks the new version at once and at its interval from then on.
#[test]
fn another_version_goes_on_as_active() {
    let mut lan = active_with(|_| {});
    let events = lan.hosts[0].events.len();
    to_version_2(&mut lan);
    lan.run_for(ms(1500));
    let host = &lan.hosts[0];
    assert_eq!(host.sent, [(at(ms(5000)), 100), (at(ms(6000)), 100)]);
    assert!(host.is_active() && host.held.contains(&vip(250).ip) && host.announced.is_empty());
    assert_eq!(host.events[events..], []);
}

/// It has heard nothing in the new version, and listens for as long as that has it, by its own interval:
/// 3 s and a skew of 156/256 s, and not by the 100 ms that another one had in the old version.
#[test]
fn another_version_goes_on_as_backup() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 200, ms(100)));
    let started = lan.hosts[0].last();
    lan.run_for(ms(300));
    to_version_2(&mut lan);
    assert_eq!(lan.hosts[0].last(), started);
    lan.run_for(ms(5000));
    let (at_last, _, why) = lan.hosts[0].last();
    assert_eq!(at_last, at(Duration::from_nanos(3_909_375_000)));
    let silence = Duration::from_nanos(3_609_375_000);
    assert_eq!(why, Why::NoAdvert { from: None, silence });
}

/// The form that a peer's adverts of one version had is none to send the other version in.
#[test]
fn another_version_forgets_the_peers_checksum_form() {
    use vrrp_common::wire::ChecksumForm::{Message, PseudoHeader};
    let mut lan = active_with(|_| {});
    let form = |lan: &mut Lan| {
        lan.run_for(ms(1000));
        lan.hosts[0].form
    };
    assert_eq!(form(&mut lan), PseudoHeader);
    lan.hear(0, vrrp_proto::Advert { form: Message, ..advert(12, 90, ms(1000)) });
    assert_eq!(form(&mut lan), Message);
    to_version_2(&mut lan);
    assert_eq!(form(&mut lan), PseudoHeader);
}

#[test]
fn an_address_that_somebody_removes_comes_back() {
    let mut lan = active_with(|_| {});
    lan.hosts[0].held.clear();
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![vip(250)] });
    assert!(lan.hosts[0].held.contains(&vip(250).ip));
    assert_eq!(lan.hosts[0].announced.len(), 1);
    assert!(matches!(lan.hosts[0].events.last(), Some((_, Event::AddressesRestored { .. }))));
    assert!(lan.hosts[0].is_active());

    // Several at once are one piece of work, and one thing to tell.
    let known = lan.hosts[0].events.len();
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![vip(250), vip(251)] });
    let told = lan.hosts[0].events[known..].iter().map(|(_, event)| event);
    let addresses = [vip(250)].into();
    let expected = Event::AddressesRestored { slot: SLOT, addresses };
    assert_eq!(told.collect::<Vec<_>>(), [&expected]);

    // Not one that is not held, nor one with no_track, nor in Backup.
    let events = lan.hosts[0].events.len();
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![vip(251)] });
    assert_eq!(lan.hosts[0].events.len(), events);
    lan.hear(0, advert(101, 200, ms(1000)));
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![vip(250)] });
    assert!(lan.hosts[0].held.is_empty());

    let mut untracked = vip(250);
    untracked.tracked = false;
    let mut lan = active_with(|own| own.addresses = vec![untracked.clone()]);
    lan.hosts[0].held.clear();
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![untracked] });
    assert!(lan.hosts[0].held.is_empty());
}

/// One refused address of several leaves the others served.
#[test]
fn an_address_refused_among_others_is_told_and_no_fault() {
    let mut lan = active_with(|own| own.addresses = vec![vip(250), vip(251)]);
    let error = "invalid scope".to_owned();
    let outcome = vrrp_proto::Outcome::Partly { address: vip(251), error };
    lan.tell(0, Input::Outcome { slot: SLOT, outcome });
    assert!(lan.hosts[0].is_active());
    assert!(matches!(lan.hosts[0].events.last(), Some((_, Event::AddressFailed { .. }))));
}

/// An Active router that can't hold its address leaves it to a peer, and tries again ever more rarely.
#[test]
fn a_refused_address_is_a_fault_with_growing_pauses() {
    let mut lan = Lan::of([settings(100)]);
    lan.hosts[0].refuses = true;
    lan.run_until(at(ms(3610)));
    lan.run_for(ms(1));
    assert_eq!(lan.hosts[0].last().1, StateName::Fault);
    assert_eq!(lan.hosts[0].last().2, Why::AddressRefused);
    assert_eq!(lan.hosts[0].sent.last().unwrap().1, 0);
    lan.run_for(Duration::from_secs(3600));
    let faults: Vec<_> = lan.hosts[0]
        .transitions()
        .iter()
        .filter(|(_, to, _)| *to == StateName::Fault)
        .map(|(at, ..)| *at)
        .collect();
    let pauses: Vec<_> = faults.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(pauses[..4], [8, 23, 83, 323]);
    assert!(pauses[4..].iter().all(|pause| *pause == 323));
    lan.hosts[0].refuses = false;
    lan.run_for(Duration::from_secs(400));
    assert!(lan.hosts[0].is_active());
}

#[test]
fn routers_of_one_engine_do_not_touch_each_other() {
    let mut lan = active_with(|_| {});
    let other = Slot(1);
    let mut second = settings(90);
    second.vrid = vrrp_common::Vrid::new(52).unwrap();
    second.addresses = vec![vip(251)];
    lan.tell(0, Input::Add { slot: other, settings: Box::new(second), hold: Duration::ZERO });
    let link = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot: other, link });
    lan.hear(0, advert(101, 200, ms(1000)));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
    lan.run_for(ms(3700));
    let view = lan.hosts[0].engine.view(other).unwrap();
    assert_eq!((view.state, view.priority), (StateName::Active, Priority::new(90)));
    lan.tell(0, Input::Remove { slot: other });
    let gone = |(_, event): &(_, Event)| matches!(event, Event::Transition { slot, why: Why::Removed, .. } if *slot == other);
    assert!(lan.hosts[0].events.iter().any(gone), "{:?}", lan.hosts[0].events);
    assert!(lan.hosts[0].engine.view(other).is_none());
    assert!(!lan.hosts[0].held.contains(&vip(251).ip));
    assert!(lan.hosts[0].engine.view(SLOT).is_some());
}

/// A mended configuration counts at once, not at the next try.
#[test]
fn a_change_or_a_link_ends_the_wait_after_a_refused_address() {
    for mend in [true, false] {
        let mut lan = Lan::of([settings(100)]);
        lan.hosts[0].refuses = true;
        lan.run_until(at(ms(3700)));
        assert_eq!(lan.hosts[0].last().2, Why::AddressRefused);
        lan.hosts[0].refuses = false;
        if mend {
            let mut new = settings(100);
            new.addresses = vec![vip(251)];
            lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(new) });
        } else {
            let link = Link::Up(lan.hosts[0].address);
            lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
            lan.tell(0, Input::Link { slot: SLOT, link });
        }
        assert_eq!(lan.hosts[0].state(), StateName::Backup, "mend {mend}");
    }
}

/// What is in the way is named as it is now.
#[test]
fn the_reason_of_a_fault_follows_what_is_in_the_way() {
    let mut own = settings(100);
    own.trackers = vec![tracker(1, 0)];
    let mut lan = Lan::of([own]);
    lan.track(0, 1, Health::Bad);
    let why = |lan: &Lan| lan.hosts[0].engine.view(SLOT).unwrap().why;
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert_eq!(why(&lan), Why::LinkDown);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::NoDevice });
    assert_eq!(why(&lan), Why::NoDevice);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Deaf });
    assert_eq!(why(&lan), Why::Deaf);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Taken });
    assert_eq!(why(&lan), Why::Taken);
    let link = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot: SLOT, link });
    assert_eq!(why(&lan), Why::Tracker(TrackerId(1)));
}

/// `down_timer_adverts`.
#[rstest]
#[case::one(1, 1_609_375_000)]
#[case::ten(10, 10_609_375_000)]
#[case::most(100, 100_609_375_000)]
fn a_backup_misses_as_many_adverts_as_it_may(#[case] adverts: u8, #[case] nanos: u64) {
    let mut own = settings(100);
    own.down_adverts = adverts;
    let mut lan = Lan::of([own]);
    lan.run_for(ms(500));
    lan.hear(0, advert(12, 200, ms(1000)));
    let due = lan.now + Duration::from_nanos(nanos);
    lan.run_for(Duration::from_secs(200));
    assert_eq!(lan.hosts[0].last().0, due);
}

/// A reload moves the wait that is running, unless it is the one behind a release.
#[test]
fn a_reload_moves_the_wait_by_the_adverts_that_may_be_missed() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 200, ms(100)));
    lan.run_for(ms(50));
    lan.hosts[0].settings.down_adverts = 7;
    lan.reload(0);
    lan.run_for(ms(2000));
    assert_eq!(lan.hosts[0].last().0, at(Duration::from_nanos(760_937_500)));

    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 200, ms(1000)));
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.hosts[0].settings.down_adverts = 100;
    lan.reload(0);
    lan.run_for(ms(610));
    assert!(lan.hosts[0].is_active());
}

/// A router that `late_peer` would have replaced, frozen for so long after its last advert.
fn frozen(change: impl FnOnce(&mut vrrp_proto::Settings), time: Duration) -> Lan {
    let mut lan = active_with(|own| {
        own.preempt = false;
        own.late_peer = Some(Priority::new(254));
        change(own);
    });
    let last = lan.hosts[0].engine.poll_timeout().expect("an advert is due");
    lan.run_until(last);
    lan.hosts[0].sent.clear();
    lan.now = last + time;
    lan
}

/// `timer_expired_backup`: 3 s and the skew of priority 254 behind the last advert.
#[test]
fn one_that_wakes_late_leaves_its_peer_in_place() {
    let mut lan = frozen(|_| {}, ms(3007));
    lan.run_for(ms(0));
    assert!(lan.hosts[0].is_active(), "nobody has taken over yet");
    assert_eq!(lan.hosts[0].sent.len(), 1);

    let mut lan = frozen(|_| {}, ms(3008));
    lan.run_for(ms(0));
    let host = &lan.hosts[0];
    assert_eq!(host.last().2, Why::Overslept { silence: ms(3008) });
    assert!(host.sent.is_empty(), "not even a release");
    assert!(host.held.is_empty());
    // It listens like any other: where nobody took over, it comes back.
    lan.run_for(ms(3700));
    assert!(lan.hosts[0].is_active());
}

/// What arrived meanwhile is heard first, and follows the peer that took over.
#[test]
fn one_that_wakes_late_hears_its_peer_as_a_backup() {
    let mut lan = frozen(|_| {}, ms(9000));
    let woke = lan.now;
    for before in (0..5).rev() {
        let advert = advert(12, 90, ms(1000));
        let stamp = woke - ms(1000 * before);
        lan.hosts[0].engine.handle(stamp, Input::Advert { slot: SLOT, advert });
    }
    lan.run_for(ms(3000));
    let host = &lan.hosts[0];
    assert!(host.sent.is_empty());
    assert_eq!(host.state(), StateName::Backup);
    let following = host.engine.view(SLOT).unwrap().following.unwrap();
    assert_eq!((following.priority, following.heard), (Priority::new(90), woke));
}

/// Where Preempt_Mode is on, or nothing is configured, it stays and its peer yields.
#[rstest]
#[case::preempts(true, Some(254))]
#[case::not_asked_for(false, None)]
fn one_that_wakes_late_stays_active(#[case] preempt: bool, #[case] peer: Option<u8>) {
    let mut lan = frozen(
        |own| {
            own.preempt = preempt;
            own.late_peer = peer.map(Priority::new);
        },
        ms(9000),
    );
    lan.run_for(ms(0));
    assert!(lan.hosts[0].is_active());
    assert_eq!(lan.hosts[0].sent.len(), 1);
}

/// The link still works, so the peers are told.
#[test]
fn losing_the_source_address_releases() {
    let mut lan = active_with(|_| {});
    lan.tell(0, Input::Link { slot: SLOT, link: Link::NoSource });
    assert_eq!(lan.hosts[0].sent, [(at(ms(5000)), 0)]);
}
