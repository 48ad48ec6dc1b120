//! §6.1: Skew_Time and Master_Down_Interval.

use std::time::Duration;

use rstest::rstest;

use crate::support::{Lan, advert, every, ms};
use crate::v2;

/// (256 - priority) / 256 seconds, whatever the interval.
#[rstest]
#[case::default(100, 1, 3_609_375_000)]
#[case::highest_backup(254, 1, 3_007_812_500)]
#[case::lowest(1, 1, 3_996_093_750)]
#[case::ten_seconds(100, 10, 30_609_375_000)]
#[case::longest(100, 255, 765_609_375_000)]
fn master_down_interval(#[case] priority: u8, #[case] seconds: u64, #[case] nanos: u64) {
    let mut own = v2(priority);
    own.interval = every(Duration::from_secs(seconds));
    let mut lan = Lan::of([own]);
    lan.run_for(ms(100));
    lan.hear(0, advert(12, 255, Duration::from_secs(seconds)));
    let due = lan.now + Duration::from_nanos(nanos);
    lan.run_for(Duration::from_secs(1000));
    assert_eq!(lan.hosts[0].sent[0].0, due);
}

/// Preempt_Mode, true by default, false: a lower Master stays. The owner preempts in either case.
#[rstest]
#[case::on(true, 150, true)]
#[case::off(false, 150, false)]
#[case::off_and_owner(false, 255, true)]
fn preempt_mode(#[case] preempt: bool, #[case] priority: u8, #[case] master: bool) {
    let mut own = v2(150);
    own.preempt = preempt;
    let mut lan = Lan::of([own]);
    if priority == 255 {
        // It owned nothing when it began to listen.
        lan.hosts[0].settings.priority = vrrp_common::Priority::OWNER;
        lan.reload(0);
    }
    for _ in 0..10 {
        lan.hear(0, advert(12, 100, ms(1000)));
        lan.run_for(ms(1000));
    }
    assert_eq!(lan.hosts[0].is_active(), master);
}
