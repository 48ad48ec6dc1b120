//! Several routers on a simulated wire, and what holds whatever happens to them.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::{INTERVAL, Lan, at, every, ms, settings, us, vip};
use vrrp_proto::{Input, StateName};

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
    let changes: usize = lan.hosts.iter().map(|host| host.transitions().len()).sum();
    lan.run_for(ms(60_000));
    assert_eq!(lan.active(), [0]);
    let after: usize = lan.hosts.iter().map(|host| host.transitions().len()).sum();
    assert_eq!(changes, after, "nobody changed");
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

/// What can happen to a LAN.
#[derive(Clone, Debug)]
enum Fate {
    Wait(u64),
    Crash(usize),
    Start(usize),
    Stop(usize),
    Partition(Vec<usize>),
    Heal,
    Lose(u64),
    Priority(usize, u8),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let host = 0usize..5;
    let fate = prop_oneof![
        4 => (1u64..8000).prop_map(Fate::Wait),
        1 => host.clone().prop_map(Fate::Crash),
        2 => host.clone().prop_map(Fate::Start),
        1 => host.clone().prop_map(Fate::Stop),
        1 => proptest::collection::vec(host.clone(), 0..4).prop_map(Fate::Partition),
        1 => Just(Fate::Heal),
        1 => (1u64..7).prop_map(Fate::Lose),
        1 => (host, 1u8..=254).prop_map(|(n, p)| Fate::Priority(n, p)),
    ];
    proptest::collection::vec(fate, 1..25)
}

fn suffer(lan: &mut Lan, fate: &Fate) {
    let there = |n: usize| n % lan.hosts.len();
    match fate {
        Fate::Wait(time) => lan.run_for(ms(*time)),
        Fate::Crash(n) => lan.crash(there(*n)),
        Fate::Start(n) => {
            let n = there(*n);
            if !lan.hosts[n].alive {
                lan.start(n);
            }
        }
        Fate::Stop(n) => {
            let n = there(*n);
            if lan.hosts[n].alive {
                lan.tell(n, Input::Shutdown);
                lan.hosts[n].alive = false;
            }
        }
        Fate::Partition(camp) => {
            let camp: Vec<usize> = camp.iter().map(|n| there(*n)).collect();
            lan.partition(&camp);
        }
        Fate::Heal => lan.heal(),
        Fate::Lose(each) => {
            let each = *each;
            lan.lose = Box::new(move |n| n % each == 0);
        }
        Fate::Priority(n, priority) => {
            let n = there(*n);
            lan.hosts[n].settings.priority = vrrp_common::Priority::new(*priority);
            let settings = Box::new(lan.hosts[n].settings.clone());
            lan.tell(n, Input::Change { slot: support::SLOT, settings });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Once the LAN is whole, one router is left, it is the one that should win, only it holds the
    /// address, and two were Active for no longer than an interval and the wire takes.
    #[test]
    fn a_whole_lan_has_one_active_router(
        start in proptest::collection::vec(1u8..=254, 2..=5),
        latency in 1u64..20_000,
        fates in fates(),
    ) {
        let mut lan = priorities(&start);
        lan.latency = us(latency);
        for fate in &fates {
            suffer(&mut lan, fate);
        }
        lan.heal();
        lan.lose = Box::new(|_| false);
        lan.reset_overlap();
        lan.run_for(3 * INTERVAL + INTERVAL + 4 * lan.latency);
        prop_assert!(lan.overlap <= INTERVAL + 2 * lan.latency, "two Active for {:?}", lan.overlap);
        lan.run_for(10 * INTERVAL);

        // Equal priorities leave the one in place that is there (RFC 9568 §6.4.2).
        let alive = lan.hosts.iter().filter(|host| host.alive);
        let best = alive.map(|host| host.settings.priority).max();
        let active = lan.active();
        prop_assert_eq!(active.len(), usize::from(best.is_some()));
        prop_assert_eq!(active.first().map(|n| lan.hosts[*n].settings.priority), best);
        prop_assert_eq!(lan.holders(&vip(250)), lan.active());
        for host in lan.hosts.iter().filter(|host| host.alive) {
            prop_assert!(matches!(host.state(), StateName::Active | StateName::Backup));
        }
    }

    /// The same inputs at the same times give the same outputs.
    #[test]
    fn runs_repeat(start in proptest::collection::vec(1u8..=254, 2..=4), fates in fates()) {
        let run = || {
            let mut lan = priorities(&start);
            fates.iter().for_each(|fate| suffer(&mut lan, fate));
            let sent = lan.hosts.iter().map(|host| host.sent.clone());
            (sent.collect::<Vec<_>>(), lan.now)
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn time_of_the_first_advert_is_the_down_interval() {
    let mut lan = priorities(&[100]);
    lan.run_for(ms(3609));
    assert!(lan.active().is_empty());
    lan.run_until(at(ms(3610)));
    assert_eq!(lan.active(), [0]);
}
