//! A Backup whose Active router is watched for it does as one that hears every advert.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;
use rstest::rstest;
use support::{SLOT, advert, at, every, ms, settings, tracker};
use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Priority};
use vrrp_proto::{
    Advert, Effect, Engine, Event, Health, Input, Link, Settings, StateName, Waited, Watch, Why,
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11));

/// One engine, and what watches for it, as the kernel program does.
struct Side {
    engine: Engine,
    watches: bool,
    /// The watcher has timers of its own.
    timers: bool,
    watched: Option<Watched>,
    /// How often the engine was woken by an advert or a deadline.
    woken: u32,
    log: Vec<(Instant, String)>,
}

struct Watched {
    advert: Advert,
    down: Duration,
    seen: Instant,
    armed: bool,
}

impl Side {
    fn new(watches: bool, timers: bool, settings: Settings) -> Self {
        let mut engine = Engine::new();
        let settings = Box::new(settings);
        engine.handle(at(ms(0)), Input::Add { slot: SLOT, settings, hold: Duration::ZERO });
        let mut side = Self { engine, watches, timers, watched: None, woken: 0, log: Vec::new() };
        let link = Link::Up(OURS);
        side.handle(at(ms(0)), Input::Link { slot: SLOT, link });
        side
    }

    fn deadline(&self) -> Option<Instant> {
        let timer = self.watched.as_ref().filter(|w| w.armed).map(|w| w.seen + w.down);
        self.engine.poll_timeout().into_iter().chain(timer).min()
    }

    fn run_until(&mut self, until: Instant) {
        while let Some(now) = self.deadline().filter(|at| *at <= until) {
            self.woken += 1;
            if let Some(watched) = &mut self.watched
                && watched.seen + watched.down <= now
            {
                watched.armed = false;
            }
            self.refresh();
            self.engine.handle_timeout(now);
            self.drain(now);
        }
    }

    fn refresh(&mut self) {
        if let Some(Watched { seen, armed, .. }) = self.watched {
            self.engine.handle(seen, Input::Heard { slot: SLOT, armed });
        }
    }

    fn hear(&mut self, now: Instant, advert: Advert) {
        if let Some(watched) = self.watched.as_mut().filter(|w| w.advert == advert) {
            watched.seen = now;
            watched.armed = self.timers;
            return;
        }
        self.woken += 1;
        self.handle(now, Input::Advert { slot: SLOT, advert });
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.refresh();
        self.engine.handle(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(transmit) = self.engine.poll_transmit() {
            self.log.push((now, format!("{transmit:?}")));
        }
        while let Some(effect) = self.engine.poll_effect() {
            self.log.push((now, format!("{effect:?}")));
        }
        while let Some(event) = self.engine.poll_event() {
            self.log.push((now, format!("{event:?}")));
        }
        while let Some(watch) = self.engine.poll_watch() {
            self.watched = match watch {
                Watch::Start { advert, down, heard, .. } if self.watches => {
                    Some(Watched { advert, down, seen: heard, armed: false })
                }
                Watch::Start { .. } | Watch::Stop { .. } => None,
            };
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many adverts alike, so far apart.
    Adverts {
        from: u8,
        priority: u8,
        interval: u64,
        /// The number of the list of addresses, where that is not ours.
        list: u32,
        apart: u64,
        count: u32,
    },
    Wait(u64),
    Track(Health),
    Preempt(bool),
    Delay(u64),
    Interval(u64),
    Cable(bool),
    /// Whether it owns the addresses, and is deaf where it does.
    Own(bool, bool),
    /// Adverts that may be missed.
    Miss(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few, so that they come back: by number, sender, priority, interval and list.
    let kinds = [
        (12, 200, 10, 0),
        (12, 110, 1000, 0),
        (12, 110, 10, 7),
        (12, 110, 10, 8),
        (13, 90, 1000, 0),
        (13, 0, 100, 7),
        (14, 255, 1000, 0),
    ];
    let kind = prop_oneof![3 => 0usize..4, 1 => 4usize..7];
    let apart = prop_oneof![Just(3u64), Just(30), Just(400)];
    let adverts = (kind, apart, 1u32..12).prop_map(move |(kind, apart, count)| {
        let (from, priority, interval, list) = kinds[kind];
        Step::Adverts { from, priority, interval, list, apart, count }
    });
    let interval = prop_oneof![Just(10u64), Just(100), Just(1000)];
    let step = prop_oneof![
        8 => adverts,
        2 => prop_oneof![1u64..50, 1u64..5000].prop_map(Step::Wait),
        2 => prop_oneof![Just(Health::Good), Just(Health::Bad)].prop_map(Step::Track),
        1 => any::<bool>().prop_map(Step::Preempt),
        1 => prop_oneof![Just(0u64), Just(700)].prop_map(Step::Delay),
        1 => interval.prop_map(Step::Interval),
        1 => any::<bool>().prop_map(Step::Cable),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(owner, deaf)| Step::Own(owner, deaf)),
        1 => (1u8..=5).prop_map(Step::Miss),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The advert with this number of its list of addresses; 0: the list is ours.
fn listing(list: u32, advert: Advert) -> Advert {
    let agreement = if list == 0 { Agreement::Exact } else { Agreement::Overlap };
    Advert { agreement, list, ..advert }
}

/// Runs a script; returns what was done, and how often the engine had to be woken for it.
fn play(watches: bool, timers: bool, steps: &[Step]) -> (Vec<(Instant, String)>, u32) {
    let mut now = at(ms(0));
    let mut ours = Settings { trackers: vec![tracker(1, 30)], ..settings(100) };
    let mut side = Side::new(watches, timers, ours.clone());
    for step in steps {
        match step {
            Step::Adverts { from, priority, interval, list, apart, count } => {
                let advert = listing(*list, advert(*from, *priority, ms(*interval)));
                for _ in 0..*count {
                    now = now + ms(*apart);
                    side.run_until(now);
                    side.hear(now, advert);
                }
                continue;
            }
            Step::Wait(wait) => {
                now = now + ms(*wait);
                side.run_until(now);
                continue;
            }
            Step::Track(health) => {
                let id = ours.trackers[0].id;
                side.handle(now, Input::Track { id, health: *health });
                continue;
            }
            Step::Cable(up) => {
                let link = if *up { Link::Up(OURS) } else { Link::Down(None) };
                side.handle(now, Input::Link { slot: SLOT, link });
                continue;
            }
            Step::Own(owner, deaf) => {
                ours.priority = Priority::new(if *owner { 255 } else { 100 });
                ours.deaf_as_owner = *deaf;
            }
            Step::Miss(adverts) => ours.down_adverts = *adverts,
            Step::Preempt(preempt) => ours.preempt = *preempt,
            Step::Delay(delay) => ours.preempt_delay = ms(*delay),
            Step::Interval(interval) => {
                ours.interval = every(ms(*interval));
            }
        }
        side.handle(now, Input::Change { slot: SLOT, settings: Box::new(ours.clone()) });
    }
    side.run_until(now + ms(20_000));
    (side.log, side.woken)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn watched_or_not_is_the_same(steps in steps(), timers in any::<bool>()) {
        let (heard, _) = play(false, false, &steps);
        let (watched, _) = play(true, timers, &steps);
        prop_assert_eq!(heard, watched);
    }
}

/// Found by the property: one advert of a router that has come to outrank us ends `preempt_delay`.
#[test]
fn a_delay_ends_whether_watched_or_not() {
    let from_12 =
        Step::Adverts { from: 12, priority: 110, interval: 10, list: 0, apart: 3, count: 1 };
    let steps = [
        Step::Delay(700),
        Step::Track(Health::Good),
        from_12.clone(),
        Step::Track(Health::Bad),
        from_12,
        Step::Adverts { from: 13, priority: 90, interval: 1000, list: 0, apart: 3, count: 1 },
    ];
    let (heard, _) = play(false, false, &steps);
    assert_eq!(heard.iter().filter(|(_, what)| what.contains("PreemptDelayed")).count(), 2);
    assert_eq!(play(true, false, &steps).0, heard);
}

/// 10 s of adverts every 10 ms.
#[rstest]
#[case::with_our_addresses(0)]
#[case::with_others(7)]
fn a_master_that_repeats_itself_wakes_nobody(#[case] list: u32) {
    let (apart, count) = (10, 1000);
    let steps = [Step::Adverts { from: 12, priority: 200, interval: 10, list, apart, count }];
    // Behind them the expiry, and adverts of its own for 20 s.
    let own = 20;
    assert_eq!(play(false, false, &steps).1, 1000 + own);
    // The first advert, one look whether the timer runs, then one each 280 ms or so.
    let (_, woken) = play(true, true, &steps);
    assert!((30..45).contains(&(woken - own)), "{woken}");
    // Without timers once for each time that Master_Down_Interval could have passed.
    let (_, woken) = play(true, false, &steps);
    assert!((250..350).contains(&(woken - own)), "{woken}");
}

#[test]
fn close_beats_fall_into_step() {
    let mut engine = Engine::new();
    for n in 0..5 {
        let now = at(Duration::from_micros(n * 3500));
        let settings = Box::new(settings(255));
        let slot = vrrp_proto::Slot(n as u32);
        engine.handle(now, Input::Add { slot, settings, hold: Duration::ZERO });
        let link = Link::Up(OURS);
        engine.handle(now, Input::Link { slot, link });
        while engine.poll_transmit().is_some() {}
    }
    let sent = |engine: &mut Engine| std::iter::from_fn(|| engine.poll_transmit()).count();
    // An interval of 1000 ms joins what is due within 15.6 ms.
    let now = at(ms(1000));
    assert_eq!(engine.poll_timeout(), Some(now));
    engine.handle_timeout(now);
    assert_eq!(sent(&mut engine), 5);
    assert_eq!(engine.poll_timeout(), Some(at(ms(2000))));
    engine.handle_timeout(at(ms(2000)));
    assert_eq!(sent(&mut engine), 5);
}

/// A watcher compares interval fields, and those of the other version mean something else.
#[test]
fn another_version_ends_the_watch() {
    let mut engine = Engine::new();
    let mut own = settings(100);
    let (now, slot) = (at(ms(5)), SLOT);
    engine.handle(now, Input::Add { slot, settings: Box::new(own.clone()), hold: ms(0) });
    engine.handle(now, Input::Link { slot, link: Link::Up(OURS) });
    engine.handle(now, Input::Advert { slot, advert: advert(12, 200, ms(1000)) });
    assert!(matches!(engine.poll_watch(), Some(Watch::Start { .. })));
    own.version = vrrp_common::Version::V2;
    engine.handle(now, Input::Change { slot, settings: Box::new(own) });
    assert_eq!(engine.poll_watch(), Some(Watch::Stop { slot }));
}

/// A watcher is to tell one list of other addresses from the next.
#[test]
fn another_list_is_another_watch() {
    let mut engine = Engine::new();
    let (now, slot) = (at(ms(5)), SLOT);
    engine.handle(now, Input::Add { slot, settings: Box::new(settings(100)), hold: ms(0) });
    engine.handle(now, Input::Link { slot, link: Link::Up(OURS) });
    for list in [0, 7, 8] {
        let advert = listing(list, advert(12, 200, ms(1000)));
        engine.handle(now, Input::Advert { slot, advert });
        let watch = engine.poll_watch();
        assert!(
            matches!(watch, Some(Watch::Start { advert: of, .. }) if of == advert),
            "{watch:?}"
        );
    }
}

fn resume(now: Instant) -> Input {
    let (priority, form) = (Priority::new(120), ChecksumForm::Message);
    Input::Resume { slot: SLOT, until: now + ms(1000), priority, form }
}

#[test]
fn one_that_was_active_goes_on_without_listening() {
    let mut engine = Engine::new();
    let settings = Settings { trackers: vec![tracker(1, 0), tracker(2, 30)], ..settings(100) };
    let now = at(ms(5));
    engine.handle(now, Input::Add { slot: SLOT, settings: Box::new(settings), hold: ms(0) });
    engine.handle(now, resume(now));
    assert_eq!(engine.poll_transmit(), None, "its link is not known yet");
    let link = Link::Up(OURS);
    engine.handle(now, Input::Link { slot: SLOT, link });
    // With the priority it had, until what has a weight has spoken.
    assert_eq!(engine.poll_transmit().map(|t| t.priority), Some(Priority::new(120)));
    let events: Vec<Event> = std::iter::from_fn(|| engine.poll_event()).collect();
    let [Event::Transition { to: StateName::Active, why: Why::Resumed, .. }, took_over] =
        &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(*took_over, Event::TookOver { slot: SLOT, waited: Waited::Resumed, due: now });
}

/// Its peers may take no other form, and say nothing while it is Active.
#[test]
fn one_that_goes_on_keeps_the_form_that_its_peers_take() {
    let mut engine = Engine::new();
    let now = at(ms(5));
    // By its settings it speaks the other one.
    let settings = Box::new(settings(100));
    engine.handle(now, Input::Add { slot: SLOT, settings, hold: ms(0) });
    engine.handle(now, resume(now));
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Up(OURS) });
    engine.handle(now, Input::Shutdown);
    let sent: Vec<_> = std::iter::from_fn(|| engine.poll_transmit()).collect();
    let sent: Vec<_> = sent.iter().map(|one| (one.priority.get(), one.form)).collect();
    assert_eq!(sent, [(100, ChecksumForm::Message), (0, ChecksumForm::Message)]);
}

/// What it does once it is too late: it listens, and lets go of what it held.
#[test]
fn the_peers_do_not_wait_for_ever() {
    let mut engine = Engine::new();
    let now = at(ms(5));
    let settings = Box::new(settings(100));
    engine.handle(now, Input::Add { slot: SLOT, settings, hold: ms(0) });
    engine.handle(now, resume(now));
    engine.handle(now + ms(1000), Input::Link { slot: SLOT, link: Link::Up(OURS) });
    assert_eq!(engine.view(SLOT).map(|view| view.state), Some(StateName::Backup));
    assert!(matches!(engine.poll_effect(), Some(Effect::RemoveAddresses { .. })));
    assert_eq!(engine.poll_transmit(), None);
}

/// One whose failed tracker is known before its link says that it is no longer Active.
#[test]
fn a_known_failure_releases_what_an_earlier_life_held() {
    let mut engine = Engine::new();
    let settings = Settings { trackers: vec![tracker(1, 0)], ..settings(100) };
    let now = at(ms(5));
    engine.handle(now, Input::Add { slot: SLOT, settings: Box::new(settings), hold: ms(0) });
    engine.handle(now, resume(now));
    let id = vrrp_proto::TrackerId(1);
    engine.handle(now, Input::Track { id, health: Health::Bad });
    assert_eq!(engine.poll_effect(), None, "nobody can be told yet");
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Up(OURS) });
    assert_eq!(engine.poll_transmit().map(|t| t.priority), Some(Priority::RELEASE));
    assert!(matches!(engine.poll_effect(), Some(Effect::RemoveAddresses { .. })));
    assert_eq!(engine.view(SLOT).map(|view| view.state), Some(StateName::Fault));
    assert_eq!(engine.poll_transmit(), None);
}

/// What was in the way ends the earlier life: it listens like any other.
#[test]
fn a_fault_ends_the_earlier_life() {
    let mut engine = Engine::new();
    let settings = Box::new(settings(100));
    let now = at(ms(5));
    engine.handle(now, Input::Add { slot: SLOT, settings, hold: ms(0) });
    engine.handle(now, resume(now));
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert!(matches!(engine.poll_effect(), Some(Effect::RemoveAddresses { .. })));
    let link = Link::Up(OURS);
    engine.handle(now, Input::Link { slot: SLOT, link });
    assert_eq!(engine.view(SLOT).map(|view| view.state), Some(StateName::Backup));
    assert_eq!(engine.poll_transmit(), None);
}
