//! Routers of a sync group: they become Active together, and leave it together.

#[path = "../support/mod.rs"]
mod support;

mod fates;
mod members;
mod releases;
mod resuming;

use std::time::Duration;

use support::nets::{GROUP, Nets, mac, slot};
use support::{ms, tracker};
use vrrp_common::Priority;
use vrrp_proto::StateName::{self, Active, Backup, Fault, Initialize};
use vrrp_proto::{GroupView, Health, Input, TrackerId, Why};

const SECOND: Duration = Duration::from_secs(1);

/// Hosts 0 and 1 with 150 and 100 on each of three networks, the first Active.
fn three() -> Nets {
    let mut nets = Nets::of(&[&[150, 150, 150], &[100, 100, 100]]);
    nets.run_for(10 * SECOND);
    assert_eq!((all_active(&nets, 0), all_active(&nets, 1)), (true, false));
    nets
}

fn all_active(nets: &Nets, n: usize) -> bool {
    let host = &nets.hosts[n];
    host.grouped.iter().all(|net| nets.active(*net) == [n])
}

/// What is left to say of one host on every network of its group.
fn all(nets: &Nets, n: usize, state: StateName) {
    let host = &nets.hosts[n];
    let states: Vec<_> = host.grouped.iter().map(|net| host.state(*net)).collect();
    assert_eq!(states, vec![state; states.len()], "host {n}");
}

#[test]
fn all_become_active_in_one_instant_and_keep_one_beat() {
    let mut nets = three();
    let host = &nets.hosts[0];
    let first = host.sent[0].0;
    assert_eq!(host.sent_at(first), [(0, 150), (1, 150), (2, 150)]);
    assert_eq!(host.group_states(), [Backup, Active]);
    let beats: Vec<_> = host.sent.chunks(3).map(|beat| beat.iter().map(|it| it.0).max()).collect();
    assert!(host.sent.chunks(3).zip(&beats).all(|(beat, at)| Some(beat[0].0) == *at));
    nets.crash(0);
    nets.run_for(4 * SECOND);
    assert!(all_active(&nets, 1));
    let taken: Vec<_> = (0..3).map(|net| nets.hosts[1].entered(net)[1].0).collect();
    assert_eq!(taken, [taken[0]; 3]);
    assert_eq!(nets.hosts[1].held.len(), 3);
}

#[test]
fn a_stop_releases_all_at_once_and_costs_the_skew() {
    let mut nets = three();
    let now = nets.now;
    nets.tell(0, Input::Shutdown);
    nets.crash(0);
    assert_eq!(nets.hosts[0].sent_at(now), [(0, 0), (1, 0), (2, 0)]);
    nets.run_for(SECOND);
    assert!(all_active(&nets, 1));
    let skew = Duration::from_nanos(609_375_000);
    assert_eq!(nets.hosts[1].entered(0)[1].0.since(now), nets.latency + skew);
}

/// B53.
#[test]
fn a_fault_of_one_is_everybodys() {
    let mut nets = three();
    let now = nets.now;
    nets.plug(0, 1, false);
    all(&nets, 0, Fault);
    let why = |net: usize| nets.hosts[0].entered(net).last().map(|it| it.2);
    assert_eq!(why(1), Some(Why::LinkDown));
    assert_eq!([why(0), why(2)], [Some(Why::Member(slot(1))); 2]);
    assert_eq!(nets.hosts[0].sent_at(now), [(0, 0), (2, 0)]);
    assert!(nets.hosts[0].held.is_empty());
    let view = GroupView { state: Fault, since: now };
    assert_eq!(nets.hosts[0].engine.group(GROUP), Some(view));
    // No priority 0 comes where the link is down, but an advert is missed there.
    nets.run_for(SECOND);
    assert!(all_active(&nets, 1));
    // And back: all listen, and the better one preempts.
    nets.plug(0, 1, true);
    all(&nets, 0, Backup);
    nets.run_for(4 * SECOND);
    assert!(all_active(&nets, 0));
    assert_eq!(nets.hosts[0].group_states(), [Backup, Active, Fault, Backup, Active]);
    assert_eq!(nets.hosts[1].group_states(), [Backup, Active, Backup]);
    all(&nets, 1, Backup);
}

/// Two faults, and the end of one of them.
#[test]
fn it_stays_in_fault_until_nobody_has_one() {
    let mut nets = three();
    nets.plug(0, 0, false);
    nets.plug(0, 2, false);
    // It is told of the first one as long as that lasts.
    let why = |nets: &Nets| nets.hosts[0].engine.view(slot(1)).map(|view| view.why);
    assert_eq!(why(&nets), Some(Why::Member(slot(0))));
    nets.plug(0, 0, true);
    all(&nets, 0, Fault);
    assert_eq!(why(&nets), Some(Why::Member(slot(2))));
    nets.plug(0, 2, true);
    all(&nets, 0, Backup);
    let entered = nets.hosts[0].group_states();
    assert_eq!(entered, [Backup, Active, Fault, Backup]);
}

/// Nobody is a Backup for a moment before the last one's link is known, and down.
#[test]
fn nobody_starts_before_all_are_known() {
    let mut nets = Nets::of(&[&[150, 150]]);
    nets.hosts[0].up[1] = false;
    nets.hosts[0].events.clear();
    nets.start(0);
    all(&nets, 0, Fault);
    assert_eq!(nets.hosts[0].entered(0).len(), 1);
    assert_eq!(nets.hosts[0].group_states(), [Fault]);
}

/// A script of one that has said nothing yet keeps all from being Active, and none from listening.
#[test]
fn it_waits_for_what_a_member_waits_for() {
    let mut own = vec![support::nets::member(0, 150), support::nets::member(1, 150)];
    own[1].trackers = vec![tracker(1, 0)];
    let mut nets = Nets::with([own]);
    nets.run_for(10 * SECOND);
    assert_eq!(nets.hosts[0].states(), [Backup, Initialize]);
    nets.tell(0, Input::Track { id: TrackerId(1), health: Health::Good });
    nets.run_for(4 * SECOND);
    assert!(all_active(&nets, 0));
    nets.tell(0, Input::Track { id: TrackerId(1), health: Health::Bad });
    all(&nets, 0, Fault);
}

/// What nobody of it knows yet is no state of the group.
#[test]
fn it_has_no_state_before_anybody_knows_his_own() {
    let own = [0, 1].map(|net| {
        let mut own = support::nets::member(net, 150);
        own.trackers = vec![tracker(1, 0)];
        own
    });
    let mut nets = Nets::with([own.to_vec()]);
    nets.run_for(10 * SECOND);
    assert_eq!(nets.hosts[0].group_states(), []);
    // Behind a fault it says for what it waits, too.
    nets.plug(0, 1, false);
    all(&nets, 0, Fault);
    nets.plug(0, 1, true);
    all(&nets, 0, Fault);
    let why = nets.hosts[0].engine.view(slot(1)).map(|view| view.why);
    assert_eq!(why, Some(Why::Undecided(TrackerId(1))));
    nets.tell(0, Input::Track { id: TrackerId(1), health: Health::Good });
    all(&nets, 0, Backup);
    assert_eq!(nets.hosts[0].group_states(), [Fault, Backup]);
}

/// The case that keepalived's manual warns of.
#[test]
fn two_that_win_on_different_networks_settle() {
    let mut nets = Nets::of(&[&[150, 100], &[100, 150]]);
    for net in 0..2 {
        nets.cut(net, 0, 1);
    }
    nets.run_for(20 * SECOND);
    assert!(all_active_alone(&nets, 0) && all_active_alone(&nets, 1));
    nets.cut.clear();
    nets.run_for(60 * SECOND);
    let before = nets.changes();
    assert_eq!(nets.active(0), nets.active(1));
    assert_eq!(nets.active(0).len(), 1);
    nets.run_for(600 * SECOND);
    assert_eq!(nets.changes(), before, "they change for ever");
}

fn all_active_alone(nets: &Nets, n: usize) -> bool {
    nets.hosts[n].states().iter().all(|state| *state == Active)
}

/// Each beats the next one somewhere.
#[test]
fn a_ring_of_three_settles() {
    let mut nets = Nets::of(&[&[150, 120, 100], &[100, 150, 120], &[120, 100, 150]]);
    for net in 0..3 {
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            nets.cut(net, a, b);
        }
    }
    nets.run_for(20 * SECOND);
    nets.cut.clear();
    nets.run_for(120 * SECOND);
    let before = nets.changes();
    let active: Vec<_> = (0..3).map(|net| nets.active(net)).collect();
    assert!(active[0].len() == 1 && active.iter().all(|it| *it == active[0]), "{active:?}");
    nets.run_for(600 * SECOND);
    assert_eq!(nets.changes(), before, "they change for ever");
}

/// A switch that is broken on one network only: the others are served by one, and nothing moves.
#[test]
fn a_cut_of_one_network_moves_nothing() {
    let mut nets = three();
    nets.cut(1, 0, 1);
    let before = nets.changes();
    nets.run_for(60 * SECOND);
    assert_eq!(nets.changes(), before);
    let view = |net| nets.hosts[1].engine.view(slot(net)).expect("a router");
    assert_eq!([0, 1, 2].map(|net| view(net).waits), [false, true, false]);
    // It hears the other one again, and has nothing to wait for.
    nets.cut.clear();
    nets.run_for(2 * SECOND);
    assert!(!nets.hosts[1].engine.view(slot(1)).expect("a router").waits);
    assert_eq!(nets.changes(), before);
}

/// Caches that point at the loser are put right on every network, whichever advert came first.
#[test]
fn a_healed_partition_redirects_on_every_network() {
    let mut nets = three();
    for net in 0..3 {
        nets.cut(net, 0, 1);
    }
    nets.run_for(10 * SECOND);
    assert!(all_active_alone(&nets, 0) && all_active_alone(&nets, 1));
    nets.hosts[1].redirected.clear();
    nets.cut.clear();
    nets.run_for(2 * SECOND);
    assert!(all_active(&nets, 0));
    let redirected = nets.hosts[1].redirected.iter().map(|(_, net, mac)| (*net, *mac));
    let mut redirected: Vec<_> = redirected.collect();
    redirected.sort_unstable();
    assert_eq!(redirected, [0, 1, 2].map(|net| (net, mac(0, net))));
    assert_eq!(nets.hosts[1].group_states(), [Backup, Active, Backup]);
}

/// Whoever releases is not where the addresses are.
#[test]
fn a_release_is_no_place_to_redirect_to() {
    let mut nets = three();
    for net in 0..3 {
        nets.cut(net, 0, 1);
    }
    nets.run_for(10 * SECOND);
    assert!(all_active_alone(&nets, 1));
    // It gives way on one network, and hears nothing of the others but the end.
    nets.cut.retain(|(net, ..)| *net != 0);
    nets.run_for(SECOND);
    all(&nets, 1, Backup);
    nets.hosts[1].redirected.clear();
    nets.cut.clear();
    nets.tell(0, Input::Shutdown);
    nets.crash(0);
    nets.run_for(ms(1));
    assert_eq!(nets.hosts[1].redirected, []);
}

#[test]
fn nopreempt_of_one_holds_all() {
    let mut better = [0, 1].map(|net| support::nets::member(net, 150)).to_vec();
    better[1].preempt = false;
    let lower = [0, 1].map(|net| support::nets::member(net, 100)).to_vec();
    let mut nets = Nets::with([better, lower]);
    nets.crash(0);
    nets.run_for(10 * SECOND);
    nets.start(0);
    nets.run_for(30 * SECOND);
    assert!(all_active(&nets, 1));
    all(&nets, 0, Backup);
    nets.crash(1);
    nets.run_for(4 * SECOND);
    assert!(all_active(&nets, 0));
}

#[test]
fn preempt_delay_of_one_delays_all() {
    let mut better = [0, 1].map(|net| support::nets::member(net, 150)).to_vec();
    better[1].preempt_delay = 20 * SECOND;
    let lower = [0, 1].map(|net| support::nets::member(net, 100)).to_vec();
    let mut nets = Nets::with([better, lower]);
    nets.crash(0);
    nets.run_for(10 * SECOND);
    nets.start(0);
    nets.run_for(19 * SECOND);
    assert!(all_active(&nets, 1));
    nets.run_for(6 * SECOND);
    assert!(all_active(&nets, 0));
}

#[test]
fn owners_do_not_listen_and_wait_for_those_who_do() {
    let mut owners = Nets::of(&[&[255, 255]]);
    assert!(all_active(&owners, 0));
    assert_eq!(owners.hosts[0].group_states(), [Active]);
    owners.run_for(SECOND);
    let mut mixed = Nets::of(&[&[255, 100]]);
    all(&mixed, 0, Backup);
    mixed.run_for(4 * SECOND);
    assert!(all_active(&mixed, 0));
}

/// An owner that lost the group to its fault, and is an owner no more when that ends.
#[test]
fn an_owner_by_reload_no_more_listens() {
    let mut nets = Nets::of(&[&[255, 100], &[50, 50]]);
    nets.run_for(2 * SECOND);
    all(&nets, 0, Backup);
    nets.hosts[0].settings[0].priority = Priority::new(100);
    nets.reload(0, 0);
    nets.run_for(10 * SECOND);
    assert!(all_active(&nets, 0));
}

/// One that was an owner respects who is better, like any other.
#[test]
fn an_owner_by_reload_no_more_follows() {
    let mut nets = Nets::of(&[&[255, 100], &[150, 150]]);
    nets.crash(0);
    nets.run_for(10 * SECOND);
    nets.start(0);
    nets.run_for(2 * SECOND);
    all(&nets, 0, Backup);
    nets.hosts[0].settings[0].priority = Priority::new(100);
    nets.reload(0, 0);
    nets.cut(1, 0, 1);
    let before = nets.changes();
    nets.run_for(10 * SECOND);
    assert_eq!(nets.changes(), before);
    assert!(all_active(&nets, 1));
}

/// What can't be sent on one network is a fault of all, and comes back once a trial has left there.
#[test]
fn a_mute_member_is_tried_before_all_come_back() {
    let mut nets = three();
    nets.hosts[0].silenced.insert(1);
    nets.run_for(5 * SECOND);
    all(&nets, 0, Fault);
    nets.run_for(600 * SECOND);
    assert!(all_active(&nets, 1));
    let tries = nets.hosts[0].entered(1).iter().filter(|it| it.2 == Why::Trying).count();
    assert!((4..40).contains(&tries), "{tries}");
    // The others said nothing meanwhile.
    let active = nets.hosts[0].entered(0).iter().filter(|it| it.1 == Active).count();
    assert_eq!(active, 1);
    nets.hosts[0].silenced.clear();
    nets.run_for(90 * SECOND);
    assert!(all_active(&nets, 0));
}

/// Where it is not known whether a trial left, there is another one, and the group waits.
#[test]
fn a_trial_of_which_nothing_is_known_is_repeated() {
    let mut nets = three();
    nets.hosts[0].silenced.insert(1);
    nets.run_for(5 * SECOND);
    all(&nets, 0, Fault);
    nets.hosts[0].silenced.clear();
    nets.hosts[0].untold.insert(1);
    let before = nets.hosts[0].sent.len();
    nets.run_for(60 * SECOND);
    all(&nets, 0, Backup);
    let tried = nets.hosts[0].sent[before..].iter();
    assert!(tried.filter(|(_, net, _)| *net == 1).count() > 10);
    nets.hosts[0].untold.clear();
    nets.run_for(5 * SECOND);
    assert!(all_active(&nets, 0));
}
