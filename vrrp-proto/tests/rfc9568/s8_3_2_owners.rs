//! §8.3.2 and §7.1 with erratum 8298: priority 255.

use rstest::rstest;
use vrrp_common::Priority;
use vrrp_proto::{Event, Input, StateName, Why};

use crate::support::{Lan, SLOT, advert, at, every, ms, settings, tracker};

/// An owner at 192.0.2.11.
fn owner(change: impl FnOnce(&mut vrrp_proto::Settings)) -> Lan {
    let mut own = settings(255);
    change(&mut own);
    let lan = Lan::of([own]);
    assert!(lan.hosts[0].is_active());
    lan
}

fn told_of_owners(lan: &Lan) -> usize {
    let of = |event: &Event| matches!(event, Event::SecondOwner { .. });
    lan.hosts[0].events.iter().filter(|(_, event)| of(event)).count()
}

#[test]
fn two_owners_find_one_winner() {
    let mut lan = Lan::of([settings(255), settings(255)]);
    lan.run_for(ms(10_000));
    assert_eq!(lan.active(), [1], "the higher address");
    assert_eq!(lan.hosts[0].held.len(), 0);
    assert!(told_of_owners(&lan) > 0);
    lan.crash(1);
    lan.run_for(ms(3010));
    assert_eq!(lan.active(), [0]);
}

/// One that discards what it hears can't yield, so we do, once it must have heard us.
#[rstest]
#[case::as_fast_as_we(1000, 4000)]
#[case::faster_than_we(100, 4000)]
#[case::slower_than_we(2000, 8000)]
fn an_owner_that_never_yields_is_left_alone_in_the_end(#[case] theirs: u64, #[case] until: u64) {
    let mut lan = owner(|_| {});
    let mut yielded = None;
    let steps = 10_000 / theirs;
    for n in 0..steps {
        lan.run_until(at(ms(theirs * n)));
        lan.hear(0, advert(5, 255, ms(theirs)));
        if yielded.is_none() && !lan.hosts[0].is_active() {
            yielded = Some(lan.now);
        }
        assert_eq!(lan.hosts[0].is_active(), yielded.is_none(), "no way back while it speaks");
    }
    let (_, state, why) = lan.hosts[0].last();
    let from = "192.0.2.5".parse().unwrap();
    assert_eq!((state, why), (StateName::Backup, Why::SecondOwner { from }));
    let yielded = yielded.unwrap();
    // Three intervals of the slower one, the skew, and the next advert behind that.
    assert!(yielded > at(ms(3 * theirs.max(1000))) && yielded <= at(ms(until)), "{yielded:?}");
    assert!(lan.hosts[0].sent.iter().all(|(_, priority)| *priority == 255), "no release");
    assert_eq!(lan.hosts[0].redirected.len(), 1);
    // It is the owner again as soon as the other one is gone.
    lan.run_for(ms(4 * theirs));
    assert!(lan.hosts[0].is_active());
    assert_eq!(lan.hosts[0].sent.last().unwrap().1, 255);
}

/// Single adverts far apart are what a partition that heals leaves behind.
#[test]
fn an_owner_that_yields_is_waited_for() {
    let mut lan = owner(|_| {});
    for n in 0..10 {
        lan.run_until(at(ms(4000 * n)));
        lan.hear(0, advert(5, 255, ms(1000)));
    }
    assert!(lan.hosts[0].is_active());
    assert_eq!(lan.hosts[0].redirected.len(), 0);
}

/// Others than owners lose, however long they go on.
#[test]
fn an_owner_does_not_yield_to_others() {
    let mut lan = owner(|_| {});
    for n in 0..30 {
        lan.run_until(at(ms(500 * n)));
        lan.hear(0, advert(101, 254, ms(500)));
    }
    assert!(lan.hosts[0].is_active());
    assert_eq!(told_of_owners(&lan), 0);
}

/// `owner_ignore_adverts`, the rule of §7.1 before erratum 8298 and of RFC 3768 §7.1.
#[rstest]
#[case::another_owner(255)]
#[case::lower(100)]
#[case::release(0)]
fn a_deaf_owner_discards_adverts(#[case] theirs: u8) {
    let mut lan = owner(|own| own.deaf_as_owner = true);
    lan.hosts[0].sent.clear();
    lan.hosts[0].announced.clear();
    for n in 1..100 {
        lan.run_until(at(ms(100 * n)));
        lan.hear(0, advert(101, theirs, ms(100)));
    }
    let host = &lan.hosts[0];
    assert!(host.is_active());
    assert_eq!(host.sent.len(), 9, "its beat and nothing more");
    let ignored = host.events.iter().filter(|(_, e)| matches!(e, Event::Ignored { .. })).count();
    assert_eq!(ignored, 99);
    assert_eq!(host.announced, [(at(ms(5000)), 5)], "only the second burst of the start");
}

/// The option is about owners: with another priority it changes nothing, and it ends with the priority.
#[test]
fn only_an_owner_is_deaf() {
    let mut lan = owner(|own| own.deaf_as_owner = true);
    lan.hosts[0].settings.priority = Priority::new(100);
    lan.reload(0);
    lan.hear(0, advert(101, 101, ms(1000)));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
    // As Backup it waits for whom it followed, and then for nobody.
    lan.run_for(ms(900));
    lan.hosts[0].settings.priority = Priority::OWNER;
    lan.reload(0);
    for n in 0..40 {
        lan.run_until(at(ms(1000 + 100 * n)));
        lan.hear(0, advert(101, 200, ms(1000)));
    }
    assert!(lan.hosts[0].is_active());
}

/// §5.2.4: weights never make an owner anything else, nor anybody else an owner.
#[test]
fn weights_leave_255_to_owners() {
    let mut lan = owner(|own| own.trackers = vec![tracker(1, -100)]);
    lan.track(0, 1, vrrp_proto::Health::Bad);
    lan.run_for(ms(3000));
    assert!(lan.hosts[0].sent.iter().all(|(_, priority)| *priority == 255));

    let mut own = settings(250);
    own.trackers = vec![tracker(1, 100)];
    let mut lan = Lan::of([own]);
    lan.track(0, 1, vrrp_proto::Health::Good);
    lan.run_for(ms(5000));
    assert!(!lan.hosts[0].sent.is_empty());
    assert!(lan.hosts[0].sent.iter().all(|(_, priority)| *priority == 254));
}

/// §6.1, Preempt_Mode: an owner takes its addresses back whatever is configured.
#[test]
fn an_owner_preempts_without_preempt_mode() {
    let mut own = settings(100);
    own.preempt = false;
    own.interval = every(ms(1000));
    let mut lan = Lan::of([own]);
    lan.hear(0, advert(12, 200, ms(1000)));
    let mut owner = settings(255);
    owner.preempt = false;
    lan.tell(0, Input::Change { slot: SLOT, settings: Box::new(owner) });
    for n in 0..40 {
        lan.run_until(at(ms(100 * n)));
        lan.hear(0, advert(12, 200, ms(1000)));
    }
    assert!(lan.hosts[0].is_active());
}
