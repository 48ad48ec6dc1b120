//! A sync group of thousands: what happens to it costs what it has members, and not their square.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::time::Duration;

use counting::allocated;
use support::{advert, at, ms, settings};
use vrrp_common::Instant;
use vrrp_proto::{Engine, Event, GroupId, Input, Link, Slot, StateName};

const GROUP: GroupId = GroupId(1);

/// An engine with one group, and its clock.
struct Crowd {
    engine: Engine,
    now: Instant,
    members: u32,
}

impl Crowd {
    fn new(members: u32) -> Self {
        let (mut engine, now) = (Engine::new(), at(ms(0)));
        for slot in (0..members).map(Slot) {
            let settings = Box::new(settings(100));
            engine.handle(now, Input::Add { slot, settings, hold: ms(0) });
        }
        let groups = vec![(GROUP, (0..members).map(Slot).collect())];
        engine.handle(now, Input::Groups { groups });
        Self { engine, now, members }
    }

    /// Tells all of something, one after the other as a daemon does.
    fn each(&mut self, input: impl Fn(Slot) -> Input) {
        for slot in (0..self.members).map(Slot) {
            self.engine.handle(self.now, input(slot));
        }
    }

    fn link(&mut self, up: bool) {
        let source = "192.0.2.11".parse().expect("an address");
        self.each(|slot| {
            let link = if up { Link::Up(source) } else { Link::Down(None) };
            Input::Link { slot, link }
        });
    }

    fn run_for(&mut self, time: Duration) {
        self.now = self.now + time;
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= self.now) {
            self.engine.handle_timeout(due);
        }
    }

    /// Takes all that came out; returns how many changes of state there were, of members and of the group.
    fn changes(&mut self) -> (u32, u32) {
        while self.engine.poll_transmit().is_some() || self.engine.poll_effect().is_some() {}
        while self.engine.poll_watch().is_some() {}
        let mut changes = (0, 0);
        while let Some(event) = self.engine.poll_event() {
            changes.0 += u32::from(matches!(event, Event::Transition { .. }));
            changes.1 += u32::from(matches!(event, Event::Group { .. }));
        }
        changes
    }

    fn state(&self) -> StateName {
        self.engine.group(GROUP).expect("the group").state
    }
}

/// Plays a life; returns what each part of it took, in bytes that were allocated and in time.
fn live(members: u32) -> Vec<(&'static str, usize, Duration)> {
    let mut parts = Vec::new();
    let mut crowd = None;
    let mut part = |name, state, changes, work: &dyn Fn(&mut Option<Crowd>)| {
        let (before, begin) = (allocated().1, std::time::Instant::now());
        work(&mut crowd);
        parts.push((name, allocated().1 - before, begin.elapsed()));
        let crowd = crowd.as_mut().expect("it was made");
        assert_eq!(crowd.changes(), (members * changes, changes), "{name}");
        assert_eq!(crowd.state(), state, "{name}");
    };
    let the = |crowd: &mut Option<Crowd>, work: &dyn Fn(&mut Crowd)| {
        work(crowd.as_mut().expect("it was made"));
    };
    part("start", StateName::Backup, 1, &|crowd| {
        let crowd = crowd.insert(Crowd::new(members));
        crowd.link(true);
    });
    part("takeover", StateName::Active, 1, &|crowd| the(crowd, &|it| it.run_for(ms(4000))));
    part("fault of all", StateName::Fault, 1, &|crowd| the(crowd, &|it| it.link(false)));
    part("its end", StateName::Backup, 1, &|crowd| the(crowd, &|it| it.link(true)));
    part("adverts", StateName::Backup, 0, &|crowd| {
        the(crowd, &|it| it.each(|slot| Input::Advert { slot, advert: advert(12, 200, ms(1000)) }));
    });
    part("release", StateName::Backup, 0, &|crowd| {
        the(crowd, &|it| it.each(|slot| Input::Advert { slot, advert: advert(12, 0, ms(1000)) }));
    });
    part("second takeover", StateName::Active, 1, &|crowd| the(crowd, &|it| it.run_for(ms(1000))));
    part("yielding", StateName::Backup, 1, &|crowd| {
        the(crowd, &|it| it.each(|slot| Input::Advert { slot, advert: advert(12, 200, ms(1000)) }));
    });
    part("silence", StateName::Active, 1, &|crowd| the(crowd, &|it| it.run_for(ms(12_000))));
    parts
}

/// Eight times as many members cost no more than about eight times as much.
#[test]
fn a_group_costs_what_it_has_members() {
    let few = live(510);
    let many = live(4080);
    for ((name, few, _), (_, many, time)) in few.iter().zip(&many) {
        println!("{name}: {few} and {many} bytes, {time:?}");
        assert!(*many <= 12 * few + 65_536, "{name}: {few} and {many} bytes");
    }
}
