//! §6.4.1: from Initialize.

use std::time::Duration;

use vrrp_proto::StateName;

use crate::support::{Lan, at, ms};
use crate::v2;

#[test]
fn the_owner_sends_announces_and_is_master() {
    let mut lan = Lan::of([v2(255)]);
    let begun = at(Duration::ZERO);
    assert!(lan.hosts[0].is_active());
    assert_eq!(lan.hosts[0].sent, [(begun, 255)]);
    assert_eq!(lan.hosts[0].announced, [(begun, 5)]);
    lan.run_for(ms(1000));
    assert_eq!(lan.hosts[0].sent[1..], [(begun + ms(1000), 255)]);
}

#[test]
fn any_other_is_backup_for_a_master_down_interval() {
    let mut lan = Lan::of([v2(254)]);
    lan.run_for(Duration::from_nanos(3_007_812_499));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
    assert!(lan.hosts[0].sent.is_empty() && lan.hosts[0].announced.is_empty());
    lan.run_for(Duration::from_nanos(1));
    assert!(lan.hosts[0].is_active());
}
