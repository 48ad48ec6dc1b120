//! §6.4.2: Backup.

use std::time::Duration;

use rstest::rstest;
use vrrp_proto::{Input, StateName};

use crate::support::{Lan, advert, at, ms};
use crate::v2;

const DOWN: Duration = Duration::from_nanos(3_609_375_000);

/// A Backup of priority 100 that heard a Master of 200 at the beginning.
fn backup() -> Lan {
    let mut lan = Lan::of([v2(100)]);
    lan.hear(0, advert(12, 200, ms(1000)));
    lan
}

#[test]
fn a_silent_master_is_replaced() {
    let mut lan = backup();
    lan.run_for(DOWN - ms(1));
    assert!(lan.hosts[0].sent.is_empty() && lan.hosts[0].held.is_empty());
    lan.run_for(ms(1));
    assert_eq!(lan.hosts[0].sent, [(at(DOWN), 100)]);
    assert_eq!(lan.hosts[0].announced, [(at(DOWN), 5)]);
    assert!(lan.hosts[0].is_active());
    lan.run_for(ms(1000));
    assert_eq!(lan.hosts[0].sent.len(), 2, "Adver_Timer runs");
}

#[test]
fn a_release_leaves_the_skew() {
    let mut lan = backup();
    lan.run_for(ms(900));
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(5000));
    assert_eq!(lan.hosts[0].last().0, at(ms(900)) + Duration::from_nanos(609_375_000));
}

#[rstest]
#[case::higher(101, true, true)]
#[case::equal(100, true, true)]
#[case::lower(99, true, false)]
#[case::lower_without_preempt_mode(99, false, true)]
fn only_what_need_not_be_preempted_resets_the_timer(
    #[case] theirs: u8,
    #[case] preempt: bool,
    #[case] resets: bool,
) {
    let mut lan = backup();
    lan.hosts[0].settings.preempt = preempt;
    lan.reload(0);
    lan.run_for(ms(3000));
    lan.hear(0, advert(13, theirs, ms(1000)));
    lan.run_for(DOWN - ms(3000));
    assert_eq!(lan.hosts[0].is_active(), !resets);
    lan.run_for(ms(3000));
    assert!(lan.hosts[0].is_active());
}

#[test]
fn shutdown_is_silent() {
    let mut lan = backup();
    lan.tell(0, Input::Shutdown);
    lan.run_for(ms(10_000));
    assert!(lan.hosts[0].sent.is_empty());
    assert_eq!(lan.hosts[0].last().1, StateName::Initialize);
}
