use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::*;

fn realm(vrf: Option<u32>) -> Realm {
    Realm { vrf, family: Family::V4, sealed: false }
}

fn ports() -> (Ports, UnboundedReceiver<Order>) {
    let (orders, given) = mpsc::unbounded_channel();
    (Ports::new(Datapath::Socket, orders), given)
}

/// Who is root can open one here, and nobody else.
fn can_open() -> bool {
    SlowPath::open_realm(realm(None), None).is_ok()
}

fn hear(ports: &mut Ports, realm: Realm) -> bool {
    ports.hear_realms(&BTreeSet::from([realm]), &Snapshot::default());
    ports.realms[&realm]
}

/// The socket would hear what is in no VRF.
#[test]
fn a_vrf_without_a_name_yet_is_waited_for() {
    let (mut ports, mut given) = ports();
    assert!(!hear(&mut ports, realm(Some(7))));
    assert!(given.try_recv().is_err());
    assert!(ports.lacks_something());
}

#[test]
fn a_realm_that_fails_later_rests_and_is_tried_again() {
    let (mut ports, mut given) = ports();
    let realm = realm(None);
    assert_eq!(hear(&mut ports, realm), can_open());
    assert!(!ports.fail_realm(99, "of an interface"));
    assert!(ports.fail_realm(realm.index(), "epoll has no room"));
    assert!(ports.lacks_something());
    while given.try_recv().is_ok() {}
    // Whatever else changes meanwhile.
    assert!(!hear(&mut ports, realm));
    assert!(given.try_recv().is_err());
    ports.retry();
    assert_eq!(hear(&mut ports, realm), can_open());
    assert_eq!(given.try_recv().is_ok(), can_open());
    assert_eq!(ports.lacks_something(), !can_open());
}
