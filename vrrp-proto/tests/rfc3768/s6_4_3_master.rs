//! §6.4.3: Master.

use rstest::rstest;
use vrrp_proto::{Input, StateName};

use crate::support::{Lan, advert, at, ms};
use crate::v2;

/// A Master of priority 100 at 192.0.2.11, at 4 s.
fn master() -> Lan {
    let mut lan = Lan::of([v2(100)]);
    lan.run_until(at(ms(4000)));
    assert!(lan.hosts[0].is_active());
    lan.hosts[0].sent.clear();
    lan
}

#[test]
fn an_advert_leaves_each_interval() {
    let mut lan = master();
    lan.run_for(ms(10_000));
    let sent = &lan.hosts[0].sent;
    assert_eq!(sent.len(), 10);
    assert!(sent.windows(2).all(|pair| pair[1].0 == pair[0].0 + ms(1000)));
}

#[test]
fn shutdown_releases() {
    let mut lan = master();
    lan.tell(0, Input::Shutdown);
    assert_eq!(lan.hosts[0].sent, [(at(ms(4000)), 0)]);
    assert!(lan.hosts[0].held.is_empty());
    assert_eq!(lan.hosts[0].last().1, StateName::Initialize);
}

#[test]
fn a_release_of_another_is_answered_and_the_timer_reset() {
    let mut lan = master();
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(1000));
    let sent: Vec<_> = lan.hosts[0].sent.iter().map(|(when, _)| *when).collect();
    assert_eq!(sent, [at(ms(4000)), at(ms(5000))]);
}

#[rstest]
#[case::higher_priority(5, 101, true)]
#[case::same_priority_higher_address(12, 100, true)]
#[case::same_priority_lower_address(10, 100, false)]
#[case::lower_priority_higher_address(200, 99, false)]
fn the_greater_one_is_master(#[case] from: u8, #[case] theirs: u8, #[case] yields: bool) {
    let mut lan = master();
    lan.hear(0, advert(from, theirs, ms(1000)));
    assert_eq!(lan.hosts[0].state() == StateName::Backup, yields);
    assert_eq!(lan.hosts[0].held.is_empty(), yields);
    lan.run_for(ms(3000));
    // Master_Down_Timer is set to the whole interval.
    assert_eq!(lan.hosts[0].is_active(), !yields);
    lan.run_for(ms(610));
    assert!(lan.hosts[0].is_active());
}

/// RFC 3768 discards a losing advert without a word; RFC 9568 answers. `lower_prio_no_advert`.
#[rstest]
#[case::as_rfc_9568(true, 1)]
#[case::as_rfc_3768(false, 0)]
fn a_losing_advert_is_answered_unless_the_option_is_set(
    #[case] answer: bool,
    #[case] answers: usize,
) {
    let mut lan = master();
    lan.hosts[0].settings.answer_lower = answer;
    lan.reload(0);
    lan.hear(0, advert(12, 50, ms(1000)));
    assert_eq!(lan.hosts[0].sent.len(), answers);
    assert!(lan.hosts[0].is_active());
}
