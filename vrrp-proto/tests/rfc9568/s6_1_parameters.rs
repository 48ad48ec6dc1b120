//! §6.1: what the timers follow.

use std::time::Duration;

use rstest::rstest;
use vrrp_common::{Instant, Version};
use vrrp_proto::{Input, StateName};

use crate::support::{Lan, SLOT, advert, at, every, ms, settings};

/// Master_Down_Interval to the nanosecond, from the last advert of a router with the same settings.
#[rstest]
#[case::v2(Version::V2, 1000, 100, 3_609_375_000)]
#[case::v2_skew_is_of_a_second(Version::V2, 10_000, 100, 30_609_375_000)]
#[case::v3(Version::V3, 1000, 100, 3_609_375_000)]
#[case::v3_fast(Version::V3, 100, 254, 300_781_250)]
#[case::v3_ten_ms_keeps_its_skew(Version::V3, 10, 100, 36_093_750)]
#[case::v3_ten_ms_one_point_is_39_us(Version::V3, 10, 99, 36_132_813)]
fn active_down_interval_is_exact(
    #[case] version: Version,
    #[case] interval: u64,
    #[case] priority: u8,
    #[case] nanos: u64,
) {
    let mut own = settings(priority);
    (own.version, own.interval) = (version, every(ms(interval)));
    let mut lan = Lan::of([own]);
    lan.run_until(at(ms(1)));
    lan.hear(0, advert(200, 255, ms(interval)));
    let last = lan.now;
    lan.run_for(ms(50 * interval));
    assert_eq!(lan.hosts[0].sent[0].0, last + Duration::from_nanos(nanos));
}

/// §6.1, Active_Adver_Interval: learned in version 3, kept until another is heard.
#[test]
fn the_active_routers_interval_rules_a_backups_timers() {
    let mut lan = Lan::of([settings(100)]);
    for n in 1..=10 {
        lan.run_until(at(ms(100 * n)));
        lan.hear(0, advert(101, 150, ms(100)));
    }
    lan.run_for(ms(5000));
    let (when, state, _) = lan.hosts[0].last();
    assert_eq!(state, StateName::Active);
    assert_eq!(when, at(ms(1000)) + Duration::from_micros(360_937) + Duration::from_nanos(500));
    // As Active it sends at its own interval.
    let sent: Vec<Instant> = lan.hosts[0].sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(sent[1], sent[0] + ms(1000));

    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(101, 150, ms(3000)));
    lan.run_for(ms(1000));
    // A lower one changes neither timer nor interval.
    lan.hear(0, advert(102, 50, ms(10)));
    lan.run_for(ms(12_000));
    assert_eq!(lan.hosts[0].last().0, at(Duration::from_nanos(10_828_125_000)));
}

/// Priorities may change while the router runs: the wait goes on from the last advert, with the new
/// skew.
#[test]
fn a_new_priority_moves_the_skew() {
    let mut lan = Lan::of([settings(100)]);
    lan.hear(0, advert(101, 150, ms(1000)));
    lan.run_for(ms(1000));
    let settings = Box::new(settings(50));
    lan.tell(0, Input::Change { slot: SLOT, settings });
    lan.run_for(ms(5000));
    assert_eq!(lan.hosts[0].last().0, at(Duration::from_nanos(3_804_687_500)));
}
