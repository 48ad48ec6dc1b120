//! Members that come and go.

use vrrp_proto::StateName::{Active, Backup, Fault, Initialize};
use vrrp_proto::{Event, GroupId, Input, Link};

use super::support::ms;
use super::support::nets::{GROUP, Nets, slot};
use super::{SECOND, all, all_active, three};

#[test]
fn a_new_member_joins_without_touching_the_others() {
    let mut nets = three();
    nets.joining = true;
    let before = nets.changes();
    let net = nets.add(0, 150);
    // Its interface is made: that takes a moment.
    nets.tell(0, Input::Link { slot: slot(net), link: Link::NoDevice });
    nets.run_for(ms(200));
    nets.tell_link(0, net);
    nets.run_for(4 * SECOND);
    nets.joining = false;
    assert!(all_active(&nets, 0));
    let mut its: Vec<_> = nets.hosts[0].entered(net).iter().map(|it| it.1).collect();
    its.dedup();
    assert_eq!(its, [Fault, Backup, Active]);
    assert_eq!(nets.changes(), before + 3);
    assert_eq!(nets.hosts[0].group_states(), [Backup, Active]);
    // From now on its fault is everybody's.
    nets.plug(0, net, false);
    all(&nets, 0, Fault);
}

#[test]
fn a_fault_of_a_new_member_counts_once_it_lasts() {
    let mut nets = three();
    nets.joining = true;
    let net = nets.add(0, 150);
    nets.plug(0, net, false);
    nets.run_for(3 * SECOND);
    assert_eq!(nets.hosts[0].states(), [Active, Active, Active, Fault]);
    nets.run_for(SECOND);
    all(&nets, 0, Fault);
}

/// Once the group is Active no more, there is nobody whom the new member's fault would disturb.
#[test]
fn a_fault_of_a_new_member_counts_once_another_has_one() {
    let mut nets = three();
    nets.joining = true;
    let net = nets.add(0, 150);
    nets.plug(0, net, false);
    nets.run_for(ms(200));
    nets.plug(0, 0, false);
    nets.plug(0, 0, true);
    all(&nets, 0, Fault);
}

/// Both hosts get a member, one after the other, in either order.
#[test]
fn a_rolling_reload_that_adds_a_member_moves_nothing() {
    for order in [[0, 1], [1, 0]] {
        let mut nets = three();
        nets.joining = true;
        for n in order {
            let net = nets.add(n, [150, 100][n]);
            nets.tell_link(n, net);
            nets.run_for(20 * SECOND);
        }
        nets.joining = false;
        assert!(all_active(&nets, 0), "{order:?}");
        assert_eq!(nets.hosts[0].group_states(), [Backup, Active]);
        assert_eq!(nets.hosts[1].group_states(), [Backup]);
        assert_eq!(nets.hosts[1].entered(3).len(), 1, "{order:?}");
    }
}

/// Routers that ran by themselves come into a group: all Active, and apart.
#[test]
fn a_new_group_of_running_routers() {
    let mut nets = Nets::of(&[&[150, 150], &[100, 100]]);
    for n in 0..2 {
        nets.hosts[n].grouped.clear();
        nets.regroup(n);
    }
    nets.run_for(10 * SECOND);
    let before = nets.changes();
    for n in [1, 0] {
        nets.hosts[n].grouped = vec![0, 1];
        nets.regroup(n);
    }
    nets.run_for(10 * SECOND);
    assert_eq!(nets.changes(), before);
    assert!(all_active(&nets, 0));

    let mut nets = Nets::of(&[&[150, 100], &[100, 150]]);
    for n in 0..2 {
        nets.hosts[n].grouped.clear();
        nets.regroup(n);
    }
    nets.run_for(10 * SECOND);
    assert_eq!((nets.active(0), nets.active(1)), (vec![0], vec![1]));
    nets.hosts[0].grouped = vec![0, 1];
    nets.regroup(0);
    all(&nets, 0, Backup);
    nets.run_for(5 * SECOND);
    nets.hosts[1].grouped = vec![0, 1];
    nets.regroup(1);
    nets.run_for(30 * SECOND);
    assert!(all_active(&nets, 1));
}

/// Without its group each goes on from where it is.
#[test]
fn a_dissolved_group_leaves_each_as_it_is() {
    let mut nets = three();
    let before = nets.changes();
    nets.cut(1, 0, 1);
    nets.run_for(10 * SECOND);
    nets.joining = true;
    for n in 0..2 {
        nets.hosts[n].grouped.clear();
        nets.regroup(n);
    }
    assert_eq!(nets.hosts[0].engine.group(GROUP), None);
    // What waited for the others waits no more.
    assert_eq!(nets.hosts[1].states(), [Backup, Active, Backup]);
    nets.run_for(10 * SECOND);
    assert_eq!(nets.changes(), before + 1);
    // And a fault is one's own.
    nets.plug(0, 0, false);
    assert_eq!(nets.hosts[0].states(), [Fault, Active, Active]);
}

/// An owner that waited for others of its group has nobody to wait for.
#[test]
fn an_owner_whose_group_is_dissolved_is_active_at_once() {
    let mut nets = Nets::of(&[&[255, 100]]);
    nets.run_for(SECOND);
    all(&nets, 0, Backup);
    nets.joining = true;
    nets.hosts[0].grouped.clear();
    nets.regroup(0);
    assert_eq!(nets.hosts[0].states(), [Active, Backup]);
}

/// The one that has the fault leaves the group, or ends as its member: the others are free.
#[test]
fn a_faulty_member_that_is_removed_frees_the_others() {
    for leaves in [true, false] {
        let mut nets = three();
        nets.plug(0, 1, false);
        nets.run_for(10 * SECOND);
        nets.hosts[0].grouped = vec![0, 2];
        if leaves {
            nets.regroup(0);
            all(&nets, 0, Backup);
        }
        nets.tell(0, Input::Remove { slot: slot(1) });
        all(&nets, 0, Backup);
        // Host 1 still has it, alone.
        nets.run_for(10 * SECOND);
        let active = [0, 1, 2].map(|net| nets.active(net));
        assert_eq!(active, [vec![0], vec![], vec![0]], "it leaves first: {leaves}");
    }
}

/// A reload that only calls it otherwise: nobody is without a group in between, not even who waits for it.
#[test]
fn a_group_under_another_number_goes_on_as_it_is() {
    let mut nets = three();
    nets.cut(1, 0, 1);
    nets.run_for(10 * SECOND);
    let before = nets.changes();
    let other = GroupId(8);
    for (n, state) in [(0, Active), (1, Backup)] {
        let members = (0..3).map(slot).collect();
        // Whichever is told first.
        let mut groups = vec![(GROUP, Vec::new()), (other, members)];
        if n == 1 {
            groups.reverse();
        }
        nets.tell(n, Input::Groups { groups });
        let engine = &nets.hosts[n].engine;
        assert_eq!(engine.group(GROUP), None);
        assert_eq!(engine.group(other).map(|group| group.state), Some(state));
        let last = nets.hosts[n].events.last().map(|(_, event)| event.clone());
        assert_eq!(last, Some(Event::Group { group: other, from: Initialize, to: state }));
    }
    let waits = |net| nets.hosts[1].engine.view(slot(net)).is_some_and(|view| view.waits);
    assert_eq!([0, 1, 2].map(waits), [false, true, false]);
    assert_eq!(nets.changes(), before);
    nets.crash(0);
    nets.run_for(4 * SECOND);
    assert!(all_active(&nets, 1));
}

/// One that waits goes from a group to another one, which has to wait, too.
#[test]
fn whoever_waits_and_goes_to_another_group_still_waits() {
    let mut nets = three();
    nets.cut(1, 0, 1);
    nets.run_for(10 * SECOND);
    let before = nets.changes();
    nets.hosts[1].grouped = vec![1, 2];
    let groups = vec![(GROUP, vec![slot(0)]), (GroupId(8), vec![slot(1), slot(2)])];
    nets.tell(1, Input::Groups { groups });
    nets.run_for(10 * SECOND);
    assert_eq!(nets.changes(), before);
    assert!(nets.hosts[1].engine.view(slot(1)).is_some_and(|view| view.waits));
}

/// Many faults that end one after the other, in any order.
#[test]
fn it_is_a_fault_until_the_last_one_ends() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let mut nets = three();
        for net in [1, 0, 2] {
            nets.plug(0, net, false);
        }
        for net in order {
            all(&nets, 0, Fault);
            nets.plug(0, net, true);
        }
        all(&nets, 0, Backup);
        for net in 0..3 {
            let entered: Vec<_> = nets.hosts[0].entered(net).iter().map(|it| it.1).collect();
            assert_eq!(entered, [Backup, Active, Fault, Backup], "{order:?}, network {net}");
        }
        // And another one, of each, is everybody's again.
        for net in order {
            nets.plug(0, net, false);
            all(&nets, 0, Fault);
            nets.plug(0, net, true);
            all(&nets, 0, Backup);
        }
        nets.run_for(4 * SECOND);
        assert!(all_active(&nets, 0), "{order:?}");
    }
}
