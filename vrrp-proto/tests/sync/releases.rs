//! Where one member hears its Active router release, and the others do not.

use std::time::Duration;

use vrrp_proto::Input;
use vrrp_proto::StateName::{Active, Backup, Initialize};

use super::support::ms;
use super::support::nets::{Nets, member, slot};
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
