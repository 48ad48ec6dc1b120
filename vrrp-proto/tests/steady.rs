//! In the steady state nothing is allocated: not to hear, not to speak, not to watch.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::time::Duration;

use counting::allocated;
use support::{advert, at, ms, settings};
use vrrp_common::Instant;
use vrrp_proto::{Engine, GroupId, Input, Link, Slot};

const ROUTERS: u32 = 200;

/// Half of them owners that speak, at different beats; half Backups that hear each advert. A quarter of each
/// is in a sync group.
fn engine() -> Engine {
    let mut engine = Engine::new();
    for n in 0..ROUTERS {
        let now = at(Duration::from_micros(u64::from(n) * 700));
        let mut own = settings(if n % 2 == 0 { 255 } else { 100 });
        own.interval = support::every(ms([100, 300, 1000][n as usize % 3]));
        let slot = Slot(n);
        engine.handle(now, Input::Add { slot, settings: Box::new(own), hold: ms(0) });
        let link = Link::Up("192.0.2.11".parse().expect("an address"));
        engine.handle(now, Input::Link { slot, link });
    }
    for (group, rest) in [(0, 0), (1, 1)] {
        let members = (0..ROUTERS / 2).filter(|n| n % 2 == rest).map(Slot).collect();
        let groups = vec![(GroupId(group), members)];
        engine.handle(at(ms(140)), Input::Groups { groups });
    }
    engine
}

/// Plays until `until`; returns how many adverts left.
fn play(engine: &mut Engine, from: Instant, until: Instant) -> usize {
    let (mut now, mut sent) = (from, 0);
    while now < until {
        now = now + ms(10);
        for n in (1..ROUTERS).step_by(2) {
            let advert = advert(12, 200, ms(100));
            engine.handle(now, Input::Advert { slot: Slot(n), advert });
        }
        while let Some(due) = engine.poll_timeout().filter(|due| *due <= now) {
            assert!(engine.due(due).count() > 0);
            engine.handle_timeout(due);
        }
        while engine.poll_transmit().is_some() {
            sent += 1;
        }
        while engine.poll_effect().is_some() || engine.poll_event().is_some() {}
        while engine.poll_watch().is_some() {}
    }
    sent
}

#[test]
fn the_steady_state_allocates_nothing() {
    let mut engine = engine();
    // The second announcements, and room in the lanes for all at once.
    play(&mut engine, at(ms(140)), at(ms(8_000)));
    let before = allocated().0;
    let sent = play(&mut engine, at(ms(8_000)), at(ms(20_000)));
    let allocations = allocated().0 - before;
    assert!(sent > 5_000, "{sent}");
    assert_eq!(allocations, 0);
}
