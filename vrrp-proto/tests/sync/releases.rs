//! Where one member hears its Active router release, and the others do not.

use std::time::Duration;

use vrrp_proto::StateName::{Active, Backup, Initialize};
use vrrp_proto::{Engine, GroupId, Input, Link, Slot, Watch};

use super::support::nets::{Nets, member, slot};
use super::support::{advert, at, ms, settings};
use super::{SECOND, all, all_active, three};

/// B53, whenever it happens: the next one takes over before an interval is over, and the one behind it hears
/// of that in time.
#[test]
fn whoever_is_next_takes_over_within_an_interval() {
    for later in (0..1000).step_by(20) {
        let mut nets = Nets::of(&[&[150, 150], &[120, 120], &[100, 100]]);
        nets.run_for(10 * SECOND + ms(later));
        assert!(all_active(&nets, 0));
        let now = nets.now;
        nets.plug(0, 1, false);
        nets.run_for(SECOND);
        assert!(all_active(&nets, 1), "{later}: {:?}", nets.hosts[1].states());
        let waited = nets.hosts[1].entered(0)[1].0.since(now);
        assert!(waited >= Duration::from_nanos(531_250_000), "{later}: {waited:?}");
        assert_eq!(nets.hosts[2].group_states(), [Backup], "{later}");
    }
}

/// The timer is not cut short where a router has not listened for a whole Master_Down_Interval.
#[test]
fn who_has_just_begun_to_listen_goes_on_listening() {
    let mut nets = three();
    nets.crash(1);
    nets.start(1);
    nets.run_for(SECOND);
    nets.plug(0, 1, false);
    nets.run_for(2 * SECOND);
    all(&nets, 1, Backup);
    nets.run_for(2 * SECOND);
    assert!(all_active(&nets, 1));
}

/// One member was taken out on the other host: it releases, and the rest stay where they are.
#[test]
fn the_release_of_one_moves_nothing() {
    // Long before the next advert, and just before it.
    for later in [0, 300, 500, 900] {
        let mut nets = three();
        nets.run_for(ms(later));
        let before = nets.hosts[1].events.len();
        nets.hosts[0].grouped = vec![0, 2];
        nets.regroup(0);
        nets.tell(0, Input::Remove { slot: slot(1) });
        nets.run_for(30 * SECOND);
        assert_eq!(nets.hosts[0].states(), [Active, Initialize, Active]);
        let changed = nets.hosts[1].events[before..].iter();
        let changed = changed.filter(|(_, e)| matches!(e, vrrp_proto::Event::Transition { .. }));
        assert_eq!(changed.count(), 0, "{later}");
    }
}

/// A release of a router in the middle, which never was Active on the other network: its Active router there
/// is heard, and the wait for that is over.
#[test]
fn an_advert_ends_the_hurry() {
    let mut nets =
        Nets::with([vec![member(0, 150), member(1, 150)], vec![member(0, 100), member(1, 100)]]);
    // The first host has no group.
    nets.hosts[0].grouped.clear();
    nets.regroup(0);
    nets.run_for(10 * SECOND);
    let before = nets.changes();
    nets.hosts[0].grouped = Vec::new();
    nets.tell(0, Input::Remove { slot: slot(0) });
    nets.run_for(2 * SECOND);
    // It is heard on the other network: what is left of the wait there is a whole one.
    nets.crash(0);
    nets.run_for(2 * SECOND);
    assert_eq!(nets.changes(), before + 1);
    all(&nets, 1, Backup);
    nets.run_for(2 * SECOND);
    assert!(all_active(&nets, 1));
}

/// What the kernel program kept to itself is told once the hurry ends the watch, with the time at which it
/// came: before the release.
#[test]
fn an_advert_from_before_the_release_does_not_end_the_hurry() {
    let mut engine = pair();
    for when in (1000..=9000).step_by(1000) {
        hears(&mut engine, when, 0, 150);
    }
    hears(&mut engine, 1000, 1, 150);
    hears(&mut engine, 7000, 1, 150);
    while engine.poll_watch().is_some() {}
    hears(&mut engine, 9300, 0, 0);
    let stopped: Vec<_> = std::iter::from_fn(|| engine.poll_watch()).collect();
    for net in 0..2 {
        assert!(stopped.contains(&Watch::Stop { slot: slot(net) }), "{stopped:?}");
    }
    hears(&mut engine, 9000, 1, 150);
    // One that came at 9 s is missed from 10.1 s on.
    while let Some(due) = engine.poll_timeout().filter(|due| *due < at(ms(10_090))) {
        engine.handle_timeout(due);
    }
    assert!(engine.is_backup(slot(0)) && engine.is_backup(slot(1)));
    while let Some(due) = engine.poll_timeout().filter(|due| *due <= at(ms(10_110))) {
        engine.handle_timeout(due);
    }
    assert!(!engine.is_backup(slot(0)) && !engine.is_backup(slot(1)));
}

/// Who yields after a long time as Active has no contest: the next takeover is as soon as any.
#[test]
fn a_takeover_behind_others_is_not_delayed() {
    let mut nets = three();
    for _ in 0..4 {
        nets.crash(0);
        nets.run_for(10 * SECOND);
        assert!(all_active(&nets, 1));
        nets.start(0);
        nets.run_for(4 * SECOND);
        assert!(all_active(&nets, 0));
    }
    nets.crash(0);
    nets.run_for(ms(3650));
    assert!(all_active(&nets, 1));
}

/// Two routers of one group.
fn pair() -> Engine {
    let mut engine = Engine::new();
    for net in 0..2 {
        let settings = Box::new(settings(100));
        engine.handle(at(ms(0)), Input::Add { slot: slot(net), settings, hold: ms(0) });
    }
    let groups = vec![(GroupId(1), vec![slot(0), slot(1)])];
    engine.handle(at(ms(0)), Input::Groups { groups });
    for net in 0..2 {
        let link = Link::Up("192.0.2.11".parse().expect("an address"));
        engine.handle(at(ms(0)), Input::Link { slot: slot(net), link });
    }
    engine
}

fn hears(engine: &mut Engine, when: u64, net: usize, priority: u8) {
    let advert = advert(12, priority, ms(1000));
    engine.handle(at(ms(when)), Input::Advert { slot: slot(net), advert });
}

/// Its timer does not run any more: a kernel program that watched it would keep the next advert to itself.
#[test]
fn whoever_waits_for_its_group_is_not_watched() {
    let mut engine = pair();
    for when in (1000..=9000).step_by(1000) {
        hears(&mut engine, when, 0, 150);
        while let Some(due) = engine.poll_timeout().filter(|due| *due < at(ms(when + 1000))) {
            engine.handle_timeout(due);
        }
        if when == 1000 {
            hears(&mut engine, when, 1, 150);
        }
        let watches: Vec<_> = std::iter::from_fn(|| engine.poll_watch()).collect();
        let stops = watches.contains(&Watch::Stop { slot: slot(1) });
        assert_eq!(stops, when == 4000, "{when}: {watches:?}");
    }
    assert!(engine.view(slot(1)).is_some_and(|view| view.waits));
    hears(&mut engine, 10_000, 1, 150);
    assert!(engine.view(slot(1)).is_some_and(|view| !view.waits));
    let watches: Vec<_> = std::iter::from_fn(|| engine.poll_watch()).collect();
    assert!(matches!(watches[..], [Watch::Start { slot: Slot(1), .. }]), "{watches:?}");
}
