//! Routers whose adverts don't leave, and routers that nobody hears.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use support::{Lan, SLOT, advert, at, ms, settings};
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Event, Input, Link, StateName, View, Why};

const SECOND: Duration = Duration::from_secs(1);

/// A MASTER of priority 150, and perhaps its BACKUP of priority 100.
fn lan(hosts: usize) -> Lan {
    let mut lan = Lan::of([150, 100].into_iter().take(hosts).map(settings));
    lan.run_for(ms(10_000));
    assert_eq!(lan.active(), [0]);
    lan
}

fn view(lan: &Lan, n: usize) -> View {
    lan.hosts[n].engine.view(SLOT).expect("a router")
}

fn sent(lan: &Lan, n: usize) -> (u64, u64) {
    let stats = view(lan, n).stats;
    (stats.sent, stats.zero_sent)
}

#[test]
fn what_did_not_leave_is_not_counted() {
    let mut lan = lan(1);
    let before = sent(&lan, 0);
    lan.hosts[0].silenced = true;
    lan.run_for(3 * SECOND);
    assert_eq!(sent(&lan, 0), before);
    lan.hosts[0].silenced = false;
    lan.run_for(3 * SECOND);
    assert_eq!(sent(&lan, 0).0, before.0 + 3);
    lan.hosts[0].silenced = true;
    lan.run_for(10 * SECOND);
    // The release that goes with the fault did not leave either.
    assert_eq!(sent(&lan, 0), (before.0 + 3, before.1));
}

/// The peers wait for three intervals and their skew.
#[test]
fn a_router_that_nobody_can_hear_steps_down_when_its_peers_take_over() {
    let mut lan = lan(2);
    lan.hosts[0].silenced = true;
    lan.reset_overlap();
    let begin = lan.now;
    lan.run_for(4 * SECOND + ms(500));
    let (entered, state, why) = lan.hosts[0].last();
    assert_eq!((state, why), (StateName::Fault, Why::Mute { alone: false }));
    assert!(entered.since(begin) >= 3 * SECOND && lan.overlap < SECOND, "{:?}", lan.overlap);
    assert_eq!(lan.active(), [1]);
    // As long as it lasts it never comes between.
    lan.reset_overlap();
    lan.run_for(600 * SECOND);
    assert_eq!((lan.active(), lan.overlap), (vec![1], Duration::ZERO));
    assert!(lan.hosts[0].held.is_empty());
    let alone = |(_, _, why): &(_, _, Why)| *why == Why::Mute { alone: true };
    assert!(!lan.hosts[0].transitions().iter().any(alone));
    let tries = lan.hosts[0].transitions().len();
    assert!((8..40).contains(&tries), "{tries}");
    // And comes back by itself.
    lan.hosts[0].silenced = false;
    lan.run_for(90 * SECOND);
    assert_eq!(lan.active(), [0]);
    assert_eq!(lan.holders(&support::vip(250)), [0]);
    assert!(lan.overlap < SECOND, "{:?}", lan.overlap);
}

#[test]
fn adverts_that_are_lost_now_and_then_change_nothing() {
    let mut lan = lan(2);
    let begin = lan.hosts[0].transitions().len();
    for _ in 0..20 {
        lan.hosts[0].silenced = true;
        lan.run_for(2 * SECOND);
        lan.hosts[0].silenced = false;
        lan.run_for(SECOND);
    }
    assert_eq!(lan.hosts[0].transitions().len(), begin);
}

/// Something about the link changed: it is tried at once.
#[test]
fn a_change_of_the_link_ends_the_wait() {
    let mut lan = lan(1);
    lan.hosts[0].silenced = true;
    lan.run_for(60 * SECOND);
    // It has been tried again, and nobody was there.
    assert_eq!(view(&lan, 0).why, Why::Mute { alone: true });
    lan.hosts[0].silenced = false;
    let link = Link::Up(lan.hosts[0].address);
    lan.tell(0, Input::Link { slot: SLOT, link });
    let (_, state, why) = lan.hosts[0].last();
    assert_eq!((state, why), (StateName::Backup, Why::Trying));
    lan.run_for(4 * SECOND);
    assert_eq!(lan.active(), [0]);
}

/// What failed before that has no part in how long it waits from then on.
#[test]
fn a_change_of_the_link_shortens_the_waits() {
    let mut lan = lan(1);
    lan.hosts[0].silenced = true;
    // By now a wait takes longer than a minute.
    lan.run_for(600 * SECOND);
    for up in [false, true] {
        lan.plug(0, up);
    }
    // It listens, is tried in vain, and waits as it did the first time.
    lan.run_for(4 * SECOND);
    assert_eq!(view(&lan, 0).why, Why::Mute { alone: true });
    lan.hosts[0].silenced = false;
    lan.run_for(10 * SECOND);
    assert_eq!(lan.active(), [0]);
}

/// Another address may be what was missing.
#[test]
fn a_change_of_the_link_gives_it_the_time_again() {
    let mut lan = lan(1);
    lan.hosts[0].silenced = true;
    lan.run_for(ms(2500));
    let link = Link::Up([192, 0, 2, 99].into());
    lan.tell(0, Input::Link { slot: SLOT, link });
    lan.run_for(2 * SECOND);
    assert_eq!(lan.active(), [0]);
    lan.run_for(2 * SECOND);
    assert_eq!(lan.hosts[0].last().2, Why::Mute { alone: false });
}

/// The user makes the interface anew, or what the release said was the first that left: nobody counts
/// what failed before.
#[test]
fn whoever_was_mute_comes_back_whatever_is_known_of_its_failures() {
    for anew in [true, false] {
        let mut lan = lan(2);
        lan.hosts[0].silenced = true;
        while view(&lan, 0).why != (Why::Mute { alone: false }) {
            lan.run_for(ms(100));
        }
        if anew {
            lan.tell(0, Input::Link { slot: SLOT, link: Link::NoDevice });
        }
        lan.hosts[0].silenced = false;
        if anew {
            let link = Link::Up(lan.hosts[0].address);
            lan.tell(0, Input::Link { slot: SLOT, link });
        } else {
            // As if the priority 0 had been the first that left.
            let priority = Priority::RELEASE;
            lan.tell(0, Input::Sent { slot: SLOT, priority, left: true });
            lan.hosts[0].unsent = false;
        }
        lan.run_for(30 * SECOND);
        assert_eq!((lan.active(), lan.holders(&support::vip(250))), (vec![0], vec![0]), "{anew}");
    }
}

/// An owner does not listen first, but is heard first.
#[test]
fn an_owner_holds_nothing_before_an_advert_has_left() {
    let mut lan = Lan::of([settings(255)]);
    lan.hosts[0].silenced = true;
    lan.run_for(600 * SECOND);
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
    let active = lan.hosts[0].transitions().into_iter().filter(|t| t.1 == StateName::Active);
    assert_eq!(active.count(), 1);
    lan.hosts[0].silenced = false;
    lan.run_for(90 * SECOND);
    assert_eq!(lan.active(), [0]);
}

/// keepalived stays MASTER, and so does this (`dont_track_primary`).
#[test]
fn without_a_link_it_is_no_fault_where_that_is_not_tracked() {
    let mut own = settings(150);
    own.track_link = false;
    let mut lan = Lan::of([own]);
    lan.run_for(10 * SECOND);
    let before = sent(&lan, 0);
    lan.hosts[0].silenced = true;
    lan.plug(0, false);
    lan.run_for(60 * SECOND);
    assert_eq!((lan.active(), sent(&lan, 0)), (vec![0], before));
    // Once there is a link, that one counts from its beginning.
    lan.plug(0, true);
    lan.run_for(2 * SECOND);
    assert_eq!(lan.active(), [0]);
    lan.run_for(3 * SECOND);
    assert_eq!(lan.hosts[0].last().2, Why::Mute { alone: false });
}

fn told(lan: &Lan, n: usize) -> Vec<(Instant, IpAddr)> {
    let events = lan.hosts[n].events.iter();
    events
        .filter_map(|(at, event)| {
            let Event::GoesOn { from, .. } = event else { return None };
            Some((*at, *from))
        })
        .collect()
}

/// Host 1 does not hear host 0, which hears it.
#[test]
fn a_peer_that_does_not_hear_is_told_of_until_it_does() {
    let mut lan = lan(2);
    lan.cut = [(0, 1)].into();
    lan.run_for(4 * SECOND);
    assert_eq!((lan.active(), told(&lan, 0)), (vec![0, 1], vec![]));
    let other = |lan: &Lan| view(lan, 0).others;
    assert_eq!(other(&lan), []);
    lan.run_for(3 * SECOND);
    let from = lan.hosts[1].address;
    let first = told(&lan, 0)[0];
    assert!(first.1 == from && first.0.since(at(ms(13_000))) < 4 * SECOND, "{first:?}");
    let [other_] = other(&lan)[..] else { panic!("{:?}", other(&lan)) };
    assert_eq!((other_.source, other_.priority.get()), (from, 100));
    assert!(other_.heard <= lan.now && lan.now < other_.until);
    let many = told(&lan, 0).len();
    lan.heal();
    lan.run_for(10 * SECOND);
    // One may come before it has heard the first.
    assert!(lan.active() == [0] && told(&lan, 0).len() <= many + 1);
    assert!(other(&lan).iter().all(|other| other.until < lan.now));
}

/// A partition that heals, and an answer that is lost.
#[test]
fn a_peer_that_obeys_is_not_told_of() {
    let mut lan = lan(2);
    for lost in [0, 1] {
        lan.partition(&[0]);
        lan.run_for(10 * SECOND);
        assert_eq!(lan.active(), [0, 1]);
        lan.heal();
        lan.cut = (lost == 1).then_some((0, 1)).into_iter().collect();
        let received = |lan: &Lan| lan.hosts[0].events.len();
        let before = received(&lan);
        while received(&lan) == before {
            lan.run_for(ms(10));
        }
        lan.run_for(ms(500));
        lan.heal();
        lan.run_for(10 * SECOND);
        assert_eq!(lan.active(), [0]);
    }
    assert_eq!(told(&lan, 0), []);
}

/// It can't have heard us.
#[test]
fn who_speaks_while_nothing_of_ours_leaves_is_not_told_of() {
    let mut lan = lan(1);
    lan.hosts[0].silenced = true;
    lan.run_for(SECOND);
    for _ in 0..20 {
        lan.hear(0, advert(12, 100, ms(100)));
        lan.run_for(ms(100));
    }
    assert_eq!((lan.active(), told(&lan, 0)), (vec![0], vec![]));
}

/// Two that hear nobody, each for itself.
#[test]
fn several_that_do_not_hear_are_all_told_of() {
    let mut lan = lan(1);
    for _ in 0..6 {
        lan.hear(0, advert(12, 100, SECOND));
        lan.hear(0, advert(13, 90, SECOND));
        lan.run_for(SECOND);
    }
    let mut others: Vec<IpAddr> = view(&lan, 0).others.iter().map(|other| other.source).collect();
    others.sort();
    assert_eq!(others, [IpAddr::from([192, 0, 2, 12]), IpAddr::from([192, 0, 2, 13])]);
}

/// An answer, or our next advert where none is given, takes its time until it is heard, and the other one
/// its interval until it would have spoken again.
#[test]
fn a_fast_peer_is_not_told_of_before_it_can_have_heard_us() {
    for (answers, heeded) in [(true, 1000), (false, 2000)] {
        let mut lan = lan(1);
        lan.hosts[0].settings.answer_lower = answers;
        lan.reload(0);
        let mut since = 0;
        while told(&lan, 0).is_empty() && since < 5000 {
            lan.hear(0, advert(12, 100, ms(100)));
            lan.run_for(ms(100));
            since += 100;
        }
        // At that time, or with the second advert behind it.
        assert!((heeded..=heeded + 300).contains(&since), "{since} ms, answers: {answers}");
    }
}
