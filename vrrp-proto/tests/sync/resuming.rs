//! A process that goes on for one that died.

use std::collections::BTreeMap;

use vrrp_proto::StateName::{Active, Backup, Fault};

use super::support::ms;
use super::support::nets::Nets;
use super::{SECOND, all, all_active, three};

fn resumed(nets: &mut Nets, of: &[usize]) {
    let until = nets.now + 2 * SECOND;
    let resumes: BTreeMap<_, _> = of.iter().map(|net| (*net, until)).collect();
    nets.crash(0);
    nets.hosts[0].events.clear();
    nets.run_for(ms(100));
    nets.begin(0, &resumes);
}

#[test]
fn a_new_life_goes_on_with_all() {
    let mut nets = three();
    let before = nets.hosts[1].events.len();
    resumed(&mut nets, &[0, 1, 2]);
    assert!(all_active(&nets, 0));
    assert_eq!(nets.hosts[0].group_states(), [Active]);
    nets.run_for(10 * SECOND);
    assert_eq!(nets.hosts[1].events.len(), before);
}

/// It died in the middle of a change: the rest follow once they have listened.
#[test]
fn a_new_life_goes_on_with_those_that_were_active() {
    let mut nets = three();
    nets.joining = true;
    resumed(&mut nets, &[0, 2]);
    assert_eq!(nets.hosts[0].states(), [Active, Backup, Active]);
    nets.run_for(4 * SECOND);
    nets.joining = false;
    assert!(all_active(&nets, 0));
}

#[test]
fn a_new_life_without_a_link_releases_all() {
    let mut nets = three();
    nets.hosts[0].up[1] = false;
    resumed(&mut nets, &[0, 1, 2]);
    all(&nets, 0, Fault);
    assert_eq!(nets.hosts[0].sent_at(nets.now), [(0, 0), (2, 0)]);
    assert!(nets.hosts[0].held.is_empty());
}
