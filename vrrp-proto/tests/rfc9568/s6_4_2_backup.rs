//! §6.4.2: Backup.

use std::time::Duration;

use rstest::rstest;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Event, Input, StateName, Waited, Why};

use crate::support::{INTERVAL, Lan, SLOT, advert, at, every, ms, settings};

const SKEW: Duration = Duration::from_nanos(609_375_000);
const DOWN: Duration = Duration::from_nanos(3_609_375_000);

#[test]
fn the_timer_makes_it_active_advert_first() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 200, ms(1000)));
    lan.run_for(DOWN);
    let host = &lan.hosts[0];
    assert_eq!(host.sent, [(at(DOWN), 100)]);
    let why = Why::NoAdvert { from: Some("192.0.2.12".parse().unwrap()), silence: DOWN };
    assert_eq!(host.last(), (at(DOWN), StateName::Active, why));
    assert_eq!(host.announced, [(at(DOWN), 5)]);
    lan.run_for(ms(1000));
    assert_eq!(lan.hosts[0].sent[1..], [(at(DOWN + ms(1000)), 100)], "Adver_Timer runs");
}

#[test]
fn priority_zero_leaves_only_the_skew() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 200, ms(1000)));
    lan.run_for(ms(500));
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(5000));
    let from = "192.0.2.12".parse().unwrap();
    let right = (at(ms(500)) + SKEW, StateName::Active, Why::Released { from });
    assert_eq!(lan.hosts[0].last(), right);
}

/// Released adverts that keep coming must not keep the address unserved.
#[test]
fn priority_zero_never_lengthens_the_wait() {
    let mut lan = Lan::of([settings(100)]);
    for n in 0..50 {
        lan.run_until(at(ms(100 * n)));
        lan.hear(0, advert(12, 0, ms(1000)));
        if lan.hosts[0].is_active() {
            break;
        }
    }
    assert_eq!(lan.hosts[0].last().0, at(SKEW));
}

#[test]
fn an_advert_behind_priority_zero_cancels_it() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(300));
    lan.hear(0, advert(13, 150, ms(1000)));
    lan.run_for(ms(3609));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
    lan.run_for(ms(1));
    assert!(lan.hosts[0].is_active());
}

#[rstest]
#[case::lower_is_discarded(99, true, false)]
#[case::equal_is_followed(100, true, true)]
#[case::higher_is_followed(101, true, true)]
#[case::lower_is_followed_without_preempt(99, false, true)]
#[case::lowest_is_followed_without_preempt(1, false, true)]
fn adverts_of_a_priority(#[case] theirs: u8, #[case] preempt: bool, #[case] followed: bool) {
    let mut own = settings(100);
    own.preempt = preempt;
    let mut lan = Lan::of([own]);
    for n in 1..=60 {
        lan.run_until(at(ms(100 * n)));
        if !lan.hosts[0].is_active() {
            lan.hear(0, advert(12, theirs, ms(1000)));
        }
    }
    assert_eq!(lan.hosts[0].is_active(), !followed);
    if !followed {
        let (when, _, why) = lan.hosts[0].last();
        assert_eq!(when, at(DOWN), "the timer ran on");
        assert!(matches!(why, Why::Preempting { .. }), "{why:?}");
    }
}

/// The silence that a takeover tells of ended before the timer did: an advert of that very instant, or
/// one read late by a process that was held up, is no part of it.
#[rstest]
#[case::none_before(&[0], None)]
#[case::one_before(&[-500, 0], Some(-500))]
#[case::read_late(&[-500, 7], Some(-500))]
fn an_advert_to_preempt_that_comes_with_the_timer(
    #[case] heard: &[i64],
    #[case] last: Option<i64>,
) {
    let of = |ms: i64| Instant::from_nanos((DOWN.as_nanos() as i64 + ms * 1_000_000) as u64);
    let mut lan = Lan::of([settings(100)]);
    for ms in heard {
        let advert = advert(12, 99, INTERVAL);
        lan.tell_at(0, of(*ms), Input::Advert { slot: SLOT, advert });
    }
    lan.run_until(of(10));
    let mut told = Vec::new();
    for (_, event) in &lan.hosts[0].events {
        if let Event::TookOver { waited, due, .. } = event {
            told.push((*waited, *due));
        }
    }
    assert_eq!(told, [(Waited::Silence { heard: last.map(of) }, at(DOWN))]);
    let (from, theirs, ours) =
        ("192.0.2.12".parse().unwrap(), Priority::new(99), Priority::new(100));
    assert_eq!(lan.hosts[0].last().2, Why::Preempting { from, theirs, ours });
}

#[test]
fn shutdown_in_backup_is_silent() {
    let mut lan = Lan::of([settings(100)]);
    lan.run_for(ms(1000));
    lan.tell(0, Input::Shutdown);
    lan.run_for(ms(10_000));
    let host = &lan.hosts[0];
    assert!(host.sent.is_empty());
    assert_eq!(host.last().1, StateName::Initialize);
    assert!(matches!(host.events.last(), Some((_, Event::Ended { .. }))));
    assert_eq!(host.engine.poll_timeout(), None);
}

/// B25: takes over between the delay and the delay and a down interval after the first advert.
#[rstest]
#[case::delay_5(5000, 5000, 8610)]
#[case::short_delay_still_listens(200, 3414, 3820)]
fn preempt_delay(#[case] delay: u64, #[case] earliest: u64, #[case] latest: u64) {
    let mut own = settings(150);
    own.preempt_delay = ms(delay);
    let mut lan = Lan::of([own]);
    let mut n = 0;
    while !lan.hosts[0].is_active() && n < 200 {
        lan.hear(0, advert(12, 100, ms(1000)));
        n += 1;
        lan.run_until(at(ms(1000 * n)));
    }
    let when = lan.hosts[0].last().0;
    assert!(when >= at(ms(earliest)) && when <= at(ms(latest)), "{when:?}");
}

#[test]
fn preempt_delay_ends_with_a_higher_priority() {
    let mut own = settings(150);
    own.preempt_delay = ms(5000);
    let mut lan = Lan::of([own]);
    for n in 0..20 {
        lan.run_until(at(ms(1000 * n)));
        let theirs = if n == 2 { 200 } else { 100 };
        lan.hear(0, advert(12, theirs, ms(1000)));
        assert!(!lan.hosts[0].is_active() || n >= 8, "second {n}");
    }
    let delays = |e: &(Instant, Event)| matches!(e.1, Event::PreemptDelayed { .. });
    let times: Vec<_> = lan.hosts[0].events.iter().filter(|e| delays(e)).map(|e| e.0).collect();
    assert_eq!(times, [at(ms(0)), at(ms(3000))]);
}

#[test]
fn preempt_delay_is_no_reason_to_wait_for_the_dead() {
    let mut own = settings(150);
    own.preempt_delay = ms(30_000);
    let mut lan = Lan::of([own]);
    lan.run_for(ms(100));
    lan.hear(0, advert(12, 100, ms(1000)));
    lan.run_for(ms(10_000));
    let (when, _, why) = lan.hosts[0].last();
    assert_eq!(when, at(ms(100)) + Duration::from_nanos(3_414_062_500));
    assert!(matches!(why, Why::NoAdvert { from: Some(_), .. }), "{why:?}");

    let mut alone = settings(150);
    alone.preempt_delay = ms(30_000);
    let mut lan = Lan::of([alone]);
    lan.run_for(ms(10_000));
    assert_eq!(lan.hosts[0].last().0, at(Duration::from_nanos(3_414_062_500)));
}

/// What arrived while the process was frozen is heard before the timer is believed.
#[test]
fn a_frozen_backup_listens_first() {
    let mut own = settings(100);
    own.interval = every(ms(10));
    let mut lan = Lan::of([own]);
    lan.hear(0, advert(12, 200, ms(10)));
    // 80 ms later the queue holds what the master said meanwhile.
    lan.now = at(ms(80));
    let engine = &mut lan.hosts[0].engine;
    for n in 1..=7 {
        let advert = advert(12, 200, ms(10));
        engine.handle(at(ms(10 * n)), Input::Advert { slot: SLOT, advert });
    }
    engine.handle_timeout(at(ms(80)));
    assert!(engine.poll_transmit().is_none());
    lan.run_for(ms(30));
    assert!(lan.hosts[0].is_active(), "silence since 70 ms");
}
