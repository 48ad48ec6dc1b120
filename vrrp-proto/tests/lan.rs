//! Several routers on a simulated wire.

mod support;

use std::time::Duration;

use support::{INTERVAL, Lan, at, every, ms, settings, vip};
use vrrp_proto::Input;

fn priorities(all: &[u8]) -> Lan {
    Lan::of(all.iter().map(|priority| settings(*priority)))
}

#[test]
fn the_highest_of_five_wins_and_each_is_followed_by_the_next() {
    let mut lan = priorities(&[100, 150, 50, 200, 120]);
    lan.run_for(ms(10_000));
    for next in [3, 1, 4, 0, 2] {
        assert_eq!(lan.active(), [next]);
        assert_eq!(lan.holders(&vip(250)), [next]);
        lan.crash(next);
        lan.run_for(ms(4000));
    }
    assert!(lan.active().is_empty());
}

#[test]
fn equal_priorities_are_decided_by_address() {
    let mut lan = priorities(&[100, 100, 100]);
    lan.run_for(ms(10_000));
    assert_eq!(lan.active(), [2]);
}

#[test]
fn an_orderly_stop_costs_the_skew() {
    let mut lan = priorities(&[200, 100]);
    lan.run_for(ms(10_000));
    lan.tell(0, Input::Shutdown);
    lan.hosts[0].alive = false;
    let stopped = lan.now;
    lan.run_for(ms(2000));
    let when = lan.hosts[1].last().0;
    assert_eq!(when.since(stopped), lan.latency + Duration::from_nanos(609_375_000));
}

/// B21: both Active behind a cut; healed, one is left within an interval and announces again.
#[test]
fn a_healed_partition_leaves_one_and_it_announces() {
    let mut lan = priorities(&[150, 100]);
    lan.run_for(ms(10_000));
    lan.partition(&[0]);
    lan.run_for(ms(6000));
    assert_eq!(lan.active(), [0, 1]);
    lan.hosts[0].announced.clear();
    lan.heal();
    lan.run_for(ms(1100));
    assert_eq!(lan.active(), [0]);
    assert_eq!(lan.holders(&vip(250)), [0]);
    assert!(!lan.hosts[0].announced.is_empty(), "caches point at the loser");
}

/// B23: a router that may not preempt stays Backup, and takes over when the other one ends.
#[test]
fn nopreempt_leaves_the_lower_one_alone() {
    let mut first = settings(150);
    first.preempt = false;
    let mut lan = Lan::of([first, settings(100)]);
    lan.crash(0);
    lan.run_for(ms(10_000));
    assert_eq!(lan.active(), [1]);
    lan.start(0);
    lan.run_for(ms(60_000));
    assert_eq!(lan.active(), [1]);
    assert!(lan.hosts[0].sent.is_empty());
    lan.crash(1);
    lan.run_for(ms(4000));
    assert_eq!(lan.active(), [0]);
}

#[test]
fn ten_ms_intervals_hold_under_latency_and_some_loss() {
    let mut fast = [200, 199, 100].map(settings);
    for own in &mut fast {
        own.interval = every(ms(10));
    }
    let mut lan = Lan::of(fast);
    lan.latency = ms(2);
    // Each host loses every fourth advert: never three in a row.
    lan.lose = Box::new(|n| n % 4 == 0);
    lan.run_for(ms(1000));
    lan.reset_overlap();
    let before = changes(&lan);
    lan.run_for(ms(60_000));
    assert_eq!(lan.active(), [0]);
    assert_eq!(changes(&lan), before, "nobody changed");
    assert_eq!(lan.overlap, Duration::ZERO);
}

/// One way deaf: the deaf one speaks too, and hears nothing; each hearing side stays as it is.
#[test]
fn a_router_that_nobody_hears_does_not_move_the_others() {
    let mut lan = priorities(&[200, 100]);
    lan.run_for(ms(10_000));
    lan.cut.insert((0, 1));
    lan.run_for(ms(5000));
    assert_eq!(lan.active(), [0, 1], "the lower one hears nothing");
    lan.heal();
    lan.run_for(ms(1100));
    assert_eq!(lan.active(), [0]);
}

/// What [`support::rules`] allows two Active routers is what they take at worst: the winner has just
/// spoken when the cut heals, and the loser speaks too seldom to be answered before.
#[test]
fn two_active_routers_of_a_healed_lan_are_one_after_the_winners_interval_and_the_latency() {
    let mut loser = settings(100);
    loser.interval = every(ms(40_000));
    let mut lan = Lan::of([settings(150), loser]);
    lan.partition(&[0]);
    lan.run_until(at(ms(200_000)));
    assert_eq!(lan.active(), [0, 1]);
    let spoke = lan.hosts[0].sent.last().expect("an advert").0;
    lan.run_until(spoke + INTERVAL);
    lan.heal();
    lan.pairs.expect_one(lan.now);
    lan.run_for(ms(3000));
    assert_eq!(lan.active(), [0]);
    assert_eq!(lan.pairs.longest, INTERVAL + lan.latency);
}

/// The loser's last advert reaches the third router after the winner's. By its short interval the third
/// would wait for less than the winner's, speak, yield with a last advert of its own, and so on.
#[test]
fn a_loser_of_a_shorter_interval_is_not_followed() {
    let mut all = [100, 100, 150].map(settings);
    for own in &mut all[..2] {
        own.interval = every(ms(10));
        own.advert_on_yield = true;
    }
    all[2].interval = every(ms(300));
    all[2].answer_lower = false;
    let mut lan = Lan::of(all);
    lan.run_for(ms(2000));
    let before = changes(&lan);
    lan.run_for(ms(10_000));
    assert_eq!(lan.active(), [2]);
    assert_eq!(changes(&lan), before, "they change for ever");
    // And it is an advert as any other once the winner has not been heard for its interval.
    lan.crash(2);
    lan.run_for(ms(2000));
    assert_eq!(lan.active(), [1]);
}

fn changes(lan: &Lan) -> usize {
    lan.hosts.iter().map(|host| host.transitions().len()).sum()
}

#[test]
fn time_of_the_first_advert_is_the_down_interval() {
    let mut lan = priorities(&[100]);
    lan.run_for(ms(3609));
    assert!(lan.active().is_empty());
    lan.run_until(at(ms(3610)));
    assert_eq!(lan.active(), [0]);
}
