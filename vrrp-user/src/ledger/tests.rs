use std::time::Duration;

use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Slot, StateName};

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn body(name: &str, addresses: &[&str]) -> Body {
    let held = |ip: &&str| Held {
        ip: ip.parse().unwrap(),
        prefix: 24,
        peer: None,
        device: "eth0".to_owned(),
        ifindex: 2,
        own: false,
        dropped: None,
    };
    Body {
        name: name.to_owned(),
        interface: "eth0".to_owned(),
        ifindex: 2,
        family: 4,
        vrid: 51,
        frames: [vec![vec![1; 50]], vec![vec![2; 50]]],
        key: [0; 8],
        addresses: addresses.iter().map(held).collect(),
        ..Body::default()
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn the_worker_and_the_next_start_are_told_to_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let glance = || Glance::at(&File::open(path(dir.path())).unwrap());
    let none = Glance { worker: 0, phase: Phase::Starting, next: None };
    assert_eq!(glance(), Some(none));
    ledger.table().set_next_start(Some(at(7)));
    assert_eq!(glance(), Some(Glance { next: Some(at(7)), ..none }));
    ledger.table().set_next_start(None);
    ledger.table().start(42, at(8));
    assert_eq!(glance(), Some(Glance { worker: 42, ..none }));
    ledger.set_phase(Phase::Running);
    assert_eq!(glance(), Some(Glance { worker: 42, phase: Phase::Running, next: None }));
    // What is no ledger says nothing.
    std::fs::write(path(dir.path()), [7; 4096]).unwrap();
    assert_eq!(glance(), None);
}

#[test]
fn another_process_finds_what_one_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.begin(Slot(4), false);
    ledger.note(Slot(4), body("VI_1", &["192.0.2.250"]), INTERVAL, 7, at(1)).unwrap();
    let pulse = ledger.pulse();
    pulse.sending(Slot(4), Priority::new(150), ChecksumForm::Message, at(100));
    pulse.heartbeat(at(101), Some(at(1100)));
    // Ended without a word: what was mapped is in the file.
    drop((pulse, ledger));
    let again = Ledger::open(dir.path()).unwrap();
    let entries: Vec<Entry> = again.table().entries().collect();
    assert_eq!(entries.len(), 1);
    let entry = entries[0];
    assert_eq!((entry.slot, entry.state, entry.priority), (4, State::Active, 150));
    assert_eq!(
        (entry.sent, entry.interval, entry.adverts, entry.form),
        (at(100), INTERVAL, 7, ChecksumForm::Message)
    );
    assert_eq!((again.table().back(), again.table().alive()), (Some(at(1100)), at(101)));
    assert_eq!(again.table().body(4), Some(body("VI_1", &["192.0.2.250"])));
}

#[test]
fn a_router_that_released_is_not_active_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    let pulse = ledger.pulse();
    let entry = || ledger.table().entry(0).unwrap();
    assert_eq!(entry().state, State::Empty);
    pulse.sending(Slot(0), Priority::new(150), ChecksumForm::PseudoHeader, at(10));
    assert_eq!(entry().state, State::Active);
    pulse.sending(Slot(0), Priority::RELEASE, ChecksumForm::PseudoHeader, at(20));
    assert_eq!((entry().state, entry().left, entry().sent), (State::Initialize, at(20), at(10)));
    pulse.state(Slot(0), StateName::Backup, Priority::new(150), at(21));
    assert_eq!((entry().state, entry().left), (State::Backup, at(20)));
    pulse.state(Slot(0), StateName::Active, Priority::new(150), at(22));
    pulse.state(Slot(0), StateName::Fault, Priority::new(150), at(23));
    assert_eq!((entry().state, entry().left), (State::Fault, at(23)));
}

#[test]
fn when_a_router_became_active_is_known_and_not_by_each_advert() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    let pulse = ledger.pulse();
    let rose = || ledger.table().entry(0).unwrap().rose;
    let send = |now| pulse.sending(Slot(0), Priority::new(150), ChecksumForm::Message, at(now));
    assert_eq!(rose(), at(0));
    send(10);
    pulse.state(Slot(0), StateName::Active, Priority::new(150), at(11));
    send(20);
    assert_eq!(rose(), at(10));
    // Another worker goes on with it.
    ledger.begin(Slot(0), true);
    send(30);
    assert_eq!(rose(), at(10));
    ledger.table().set_released(&ledger.table().entry(0).unwrap(), true);
    assert_eq!(rose(), at(10));
    pulse.state(Slot(0), StateName::Active, Priority::new(150), at(40));
    assert_eq!(rose(), at(40));
}

/// What could not be sent has nobody wait, so nobody goes on because of it.
#[test]
fn an_advert_that_did_not_leave_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    let pulse = ledger.pulse();
    let entry = || ledger.table().entry(0).unwrap();
    let send = |now| pulse.sending(Slot(0), Priority::new(150), ChecksumForm::Message, at(now));
    assert_eq!((send(100), send(1100), entry().sent), (at(0), at(100), at(1100)));
    for now in [2100, 3100, 4100] {
        let before = send(now);
        pulse.unsent(Slot(0), before);
    }
    assert_eq!((entry().state, entry().sent), (State::Active, at(1100)));
    assert!(!judge::goes_on(&entry(), at(4100)));
}

/// Whoever writes ends between the two stores: the old body is what is read.
#[test]
fn a_body_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &["192.0.2.250"]), INTERVAL, 3, at(1)).unwrap();
    let bytes = body("VI_2", &["192.0.2.251"]).encode(0);
    let (room, _) = ledger.pool.room(bytes.len()).unwrap();
    ledger.table.file().write_all_at(&bytes, body::offset(room)).unwrap();
    assert_eq!(ledger.table().body(0).unwrap().name, "VI_1");
    drop(ledger);
    let mut again = Ledger::open(dir.path()).unwrap();
    assert_eq!(again.table().body(0).unwrap().name, "VI_1");
    again.note(Slot(0), body("VI_3", &["192.0.2.250"]), INTERVAL, 3, at(2)).unwrap();
    assert_eq!(again.table().body(0).unwrap().name, "VI_3");
}

#[test]
fn what_was_dropped_stays_known_and_other_routers_keep_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    for slot in 0..300 {
        let name = format!("VI_{slot}");
        ledger.note(Slot(slot), body(&name, &["192.0.2.250"]), INTERVAL, 3, at(1)).unwrap();
    }
    ledger.note(Slot(7), body("VI_7", &["192.0.2.251"]), INTERVAL, 3, at(2)).unwrap();
    let seven = ledger.table().body(7).unwrap();
    let dropped: Vec<_> = seven.addresses.iter().filter(|held| held.dropped.is_some()).collect();
    assert_eq!((seven.addresses.len(), dropped.len()), (2, 1));
    assert_eq!(dropped[0].ip.to_string(), "192.0.2.250");
    ledger.forget(8);
    assert_eq!(ledger.table().body(8), None);
    for slot in (0..300).filter(|slot| ![7, 8].contains(slot)) {
        assert_eq!(ledger.table().body(slot).unwrap().name, format!("VI_{slot}"));
    }
    assert_eq!(ledger.table().entries().count(), 299);
}

/// A slot may get its next router while the effects thread still takes the last one's addresses off.
#[test]
fn the_next_router_of_a_slot_does_not_hide_what_the_last_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &["192.0.2.250"]), INTERVAL, 3, at(1)).unwrap();
    ledger.pulse().sending(Slot(0), Priority::new(150), ChecksumForm::Message, at(10));
    ledger.pulse().sending(Slot(0), Priority::RELEASE, ChecksumForm::Message, at(20));
    ledger.end(Slot(0), at(20));
    let holds = |ledger: &Ledger, now| {
        let entry = ledger.table().entry(0).unwrap();
        let body = ledger.table().body(0).unwrap();
        judge::may_hold(&entry, now) && release::left(&body, now).count() == 1
    };
    ledger.begin(Slot(0), false);
    assert!(holds(&ledger, at(20)), "begun");
    ledger.note(Slot(0), body("VI_2", &[]), INTERVAL, 3, at(21)).unwrap();
    assert!(holds(&ledger, at(22)), "noted");
    assert!(!holds(&ledger, at(6000)), "long ago");
    assert!(!judge::is_missed(&ledger.table().entry(0).unwrap(), at(22)), "it never spoke");
}

/// An instance that was removed and comes back at once has two slots: the one that is Active goes on.
#[test]
fn of_two_slots_of_one_place_the_active_one_goes_on() {
    for active in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        for slot in [0, 1] {
            ledger.note(Slot(slot), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
        }
        let pulse = ledger.pulse();
        pulse.sending(Slot(active), Priority::new(150), ChecksumForm::Message, at(10));
        let found = release::found(ledger.table(), at(20), |body| Some(body.vrid), |_| true);
        assert_eq!(found.earlier.get(&51), Some(&Slot(active)));
        let (on, ended) = (&found.on, &found.ended);
        assert_eq!((on.len(), on[0].0, ended.len()), (1, Slot(active), 1));
    }
}

#[test]
fn a_released_router_is_marked_once_and_not_over_a_new_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    let pulse = ledger.pulse();
    pulse.sending(Slot(0), Priority::new(100), ChecksumForm::Message, at(10));
    let entry = ledger.table().entry(0).unwrap();
    pulse.state(Slot(0), StateName::Backup, Priority::new(100), at(11));
    ledger.table().set_released(&entry, true);
    assert_eq!(ledger.table().entry(0).unwrap().state, State::Backup);
    pulse.sending(Slot(0), Priority::new(100), ChecksumForm::Message, at(12));
    for (all, state) in [(false, State::Stays), (true, State::Released)] {
        ledger.table().set_released(&ledger.table().entry(0).unwrap(), all);
        assert_eq!(ledger.table().entry(0).unwrap().state, state);
    }
}

#[test]
fn a_ledger_of_something_else_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path(dir.path()), vec![7; 1 << 20]).unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.note(Slot(0), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    assert_eq!(Ledger::open(dir.path()).unwrap().table().entries().count(), 1);
    // From another start of the host.
    ledger.table.file().write_all_at(&[1; 8], 16).unwrap();
    assert_eq!(Ledger::open(dir.path()).unwrap().table().entries().count(), 0);
}

/// As each reload does for all of them.
#[test]
fn bodies_that_are_written_again_and_again_take_no_more_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let addresses: Vec<String> = (0..=255).map(|last| format!("192.0.2.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut note = |times| {
        for _ in 0..times {
            ledger.note(Slot(0), body("VI_1", &addresses), INTERVAL, 3, at(1)).unwrap();
        }
        std::fs::metadata(path(dir.path())).unwrap().len()
    };
    // Room is taken in turns, up to that of the longest body.
    let after_many = note(600);
    assert_eq!(note(600), after_many);
}

#[test]
fn why_a_ledger_means_nothing_here_is_known() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    let open = || File::options().read(true).write(true).open(path(dir.path())).unwrap();
    let attached = || Table::attach(open()).unwrap().map(drop);
    assert_eq!(attached(), Ok(()));
    // From the last word to the first: the first that is another's says it.
    for (word, why) in [
        (1, Foreign::Version(7)),
        (4, Foreign::Namespace(7)),
        (2, Foreign::Boot),
        (0, Foreign::NoLedger),
    ] {
        open().write_all_at(&7_u64.to_ne_bytes(), word * 8).unwrap();
        assert_eq!(attached(), Err(why));
        assert_eq!(why.may_matter(), why != Foreign::Boot);
    }
    open().set_len(20).unwrap();
    assert_eq!(attached(), Err(Foreign::NoLedger));
}

#[test]
fn a_slot_that_there_is_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let last = vrrp_common::abi::MAX_SLOTS;
    ledger.note(Slot(last), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap_err();
    ledger.note(Slot(last - 1), body("VI_1", &[]), INTERVAL, 3, at(1)).unwrap();
    assert_eq!(ledger.table().entries().count(), 1);
    ledger.pulse().sending(Slot(last), Priority::new(1), ChecksumForm::Message, at(1));
}
