//! Active routers keep their intervals, however many there are, and fall into step: a host that speaks for
//! many wakes no oftener than for one.
//!
//! RFC 9568 §6.4.3 wants an advert each interval. Backups wait for three and a bit more, so one that comes a
//! little early harms nobody; one that is late eats into what they wait.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use support::{advert, at, every, ms, settings, us};
use vrrp_common::{Instant, Priority};
use vrrp_proto::{Engine, Event, Input, Link, Settings, Slot, StateName};

/// An advert is no earlier than by this part of its interval: a 64th to get into step, and a 64th to leave
/// with others.
const EARLY: u32 = 32;
/// So many intervals after the last one became Active all are in step.
const IN_STEP: u32 = 66;
/// How late a process is woken at most, in microseconds.
const LATE: u64 = 100;

/// A host that notes how regularly its routers speak. Its clock jumps to when the engine wants to be woken, or
/// a little later.
struct Host {
    engine: Engine,
    now: Instant,
    speakers: BTreeMap<Slot, Speaker>,
    /// In microseconds, at most.
    late: u64,
    dice: u64,
    wakes: u32,
    /// Who has spoken, in order.
    spoke: Vec<Slot>,
}

struct Speaker {
    settings: Settings,
    /// Its last advert, while it is Active.
    last: Option<Instant>,
    /// The shortest and the longest interval in force since then.
    intervals: [Duration; 2],
}

impl Speaker {
    fn new(settings: Settings) -> Self {
        let intervals = [settings.interval.get(); 2];
        Self { settings, last: None, intervals }
    }

    fn take(&mut self, interval: Duration) {
        self.settings.interval = every(interval);
        let [shortest, longest] = self.intervals;
        self.intervals = [shortest.min(interval), longest.max(interval)];
    }
}

impl Host {
    fn new(late: u64) -> Self {
        let (engine, speakers, now) = (Engine::new(), BTreeMap::new(), at(ms(0)));
        Self { engine, now, speakers, late, dice: 1, wakes: 0, spoke: Vec::new() }
    }

    /// One that takes up to so long to wake.
    fn waking_in(waking: Duration) -> Self {
        Self { engine: Engine::waking_in(waking), ..Self::new(0) }
    }

    /// Has so many routers start, each at its own moment.
    fn start(&mut self, mut routers: Vec<Router>) {
        routers.sort_by_key(|router| router.start);
        let begin = self.now;
        for (router, n) in routers.into_iter().zip(0..) {
            self.run_until(begin + router.start);
            let own = router.settings();
            self.speakers.insert(Slot(n), Speaker::new(own.clone()));
            let settings = Box::new(own);
            self.tell(Input::Add { slot: Slot(n), settings, hold: Duration::ZERO });
            self.link(Slot(n), true);
        }
    }

    fn link(&mut self, slot: Slot, up: bool) {
        let source = "192.0.2.11".parse().expect("an address");
        let link = if up { Link::Up(source) } else { Link::Down(None) };
        self.tell(Input::Link { slot, link });
    }

    fn reload(&mut self, slot: Slot, change: impl FnOnce(&mut Speaker)) {
        let speaker = self.speakers.get_mut(&slot).expect("a router");
        change(speaker);
        let settings = Box::new(speaker.settings.clone());
        self.tell(Input::Change { slot, settings });
    }

    fn tell(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.note();
    }

    fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(due) = self.engine.poll_timeout() {
            let woken = due + us(self.lateness());
            if woken > end {
                break;
            }
            self.wake(woken);
        }
        self.now = end;
    }

    fn wake(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.wakes += 1;
        self.engine.handle_timeout(self.now);
        self.note();
    }

    /// By xorshift.
    fn lateness(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % (self.late + 1)
    }

    /// Takes what came out.
    fn note(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            if transmit.priority != Priority::RELEASE {
                self.note_advert(transmit.slot);
            }
        }
        while self.engine.poll_effect().is_some() || self.engine.poll_watch().is_some() {}
        while let Some(event) = self.engine.poll_event() {
            if let Event::Transition { slot, to, .. } = event
                && to != StateName::Active
            {
                self.speakers.get_mut(&slot).expect("a router").last = None;
            }
        }
    }

    fn note_advert(&mut self, slot: Slot) {
        self.check_silence(slot);
        let (now, late) = (self.now, us(self.late));
        let speaker = self.speakers.get_mut(&slot).expect("a router");
        if let Some(last) = speaker.last {
            let [shortest, longest] = speaker.intervals;
            let gap = now.since(last);
            let least = shortest.saturating_sub(longest / EARLY + late);
            // However late the last one was.
            let least = least.max((shortest / 2).saturating_sub(longest / EARLY));
            assert!(gap >= least, "{slot:?}: {gap:?} at {now:?}");
        }
        speaker.last = Some(now);
        speaker.intervals = [speaker.settings.interval.get(); 2];
        self.spoke.push(slot);
    }

    /// No interval is any longer than it should be, though it could by 2 %.
    fn check_silence(&self, slot: Slot) {
        let speaker = &self.speakers[&slot];
        if let Some(last) = speaker.last {
            let ([_, longest], silent) = (speaker.intervals, self.now.since(last));
            assert!(silent <= longest + us(self.late), "{slot:?}: {silent:?} at {:?}", self.now);
        }
    }

    fn active(&self) -> usize {
        self.engine.views().filter(|view| view.state == StateName::Active).count()
    }

    /// How often it wakes in a time.
    fn wakes_in(&mut self, time: Duration) -> u32 {
        let before = self.wakes;
        self.run_for(time);
        self.wakes - before
    }
}

/// One router at its start.
#[derive(Clone, Debug)]
struct Router {
    start: Duration,
    interval: Duration,
    /// The others become Active when nobody has spoken.
    owner: bool,
}

impl Router {
    fn settings(&self) -> Settings {
        let mut own = settings(if self.owner { 255 } else { 100 });
        own.interval = every(self.interval);
        // An answer comes when it is asked for.
        own.answer_lower = false;
        // What is announced again is none of the beat's.
        own.announce.delay = Duration::ZERO;
        own
    }
}

/// Up to `most` routers whose intervals are some of these, in milliseconds.
fn routers(intervals: &'static [u64], most: usize) -> impl Strategy<Value = Vec<Router>> {
    let longest = intervals.iter().max().copied().unwrap_or_default();
    let router = (0..1000 * longest, 0..intervals.len(), any::<bool>());
    let router = router.prop_map(|(start, interval, owner)| Router {
        start: us(start),
        interval: ms(intervals[interval]),
        owner,
    });
    proptest::collection::vec(router, 1..=most)
}

/// What can happen to routers. A number names one, and counts modulo how many there are.
#[derive(Clone, Debug)]
enum Fate {
    /// In hundredths of the longest interval.
    Wait(u32),
    Interval(usize, usize),
    Priority(usize, u8),
    /// Another one with a higher priority is heard.
    Yield(usize),
    Link(usize, bool),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let which = || 0usize..300;
    let fate = prop_oneof![
        6 => (1u32..120).prop_map(Fate::Wait),
        2 => (which(), which()).prop_map(|(n, interval)| Fate::Interval(n, interval)),
        1 => (which(), 1u8..255).prop_map(|(n, priority)| Fate::Priority(n, priority)),
        1 => which().prop_map(Fate::Yield),
        2 => (which(), any::<bool>()).prop_map(|(n, up)| Fate::Link(n, up)),
    ];
    proptest::collection::vec(fate, 0..30)
}

/// Plays fates with routers that have some of these intervals.
fn suffer(intervals: &[u64], routers: Vec<Router>, fates: &[Fate], late: u64) {
    let mut host = Host::new(late);
    let longest = ms(intervals.iter().max().copied().unwrap_or_default());
    let count = routers.len();
    host.start(routers);
    let slot = |n: usize| Slot(u32::try_from(n % count).expect("few"));
    for fate in fates {
        match *fate {
            Fate::Wait(hundredths) => host.run_for(longest * hundredths / 100),
            Fate::Interval(n, interval) => {
                let interval = ms(intervals[interval % intervals.len()]);
                host.reload(slot(n), |speaker| speaker.take(interval));
            }
            Fate::Priority(n, priority) => {
                host.reload(slot(n), |own| own.settings.priority = Priority::new(priority));
            }
            Fate::Yield(n) => {
                host.tell(Input::Advert { slot: slot(n), advert: advert(12, 254, ms(10)) });
            }
            Fate::Link(n, up) => host.link(slot(n), up),
        }
    }
    (0..count).for_each(|n| host.link(slot(n), true));
    // All become Active, and speak again.
    host.run_for(6 * longest);
    (0..count).for_each(|n| host.check_silence(slot(n)));
    assert_eq!(host.active(), count);
}

const SHORT: [u64; 5] = [10, 20, 30, 50, 100];
const MIXED: [u64; 6] = [10, 70, 300, 1000, 7000, 40_000];
/// Each is a multiple of the shortest.
const NESTED: [u64; 4] = [10, 20, 100, 200];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens, no Active router is silent for longer than its interval, nor speaks much sooner.
    #[test]
    fn intervals_are_kept_by_many(
        routers in routers(&SHORT, 300),
        fates in fates(),
        late in prop_oneof![Just(0), Just(LATE)],
    ) {
        suffer(&SHORT, routers, &fates, late);
    }

    #[test]
    fn intervals_are_kept_beside_much_longer_ones(
        routers in routers(&MIXED, 8),
        fates in fates(),
        late in prop_oneof![Just(0), Just(LATE)],
    ) {
        suffer(&MIXED, routers, &fates, late);
    }

    /// Routers of one interval wake the process once in it.
    #[test]
    fn many_wake_as_seldom_as_one(
        routers in prop_oneof![routers(&[10], 300), routers(&[100], 300), routers(&[1000], 300)],
        late in prop_oneof![Just(0), Just(LATE)],
    ) {
        let (interval, count) = (routers[0].interval, routers.len());
        let mut host = Host::new(late);
        host.start(routers);
        host.run_for(4 * interval);
        prop_assert_eq!(host.active(), count);
        host.run_for(IN_STEP * interval);
        let (wakes, begin) = (host.wakes_in(50 * interval), host.spoke.len());
        prop_assert!(wakes <= 51, "{} wake-ups in 50 intervals for {} routers", wakes, count);
        // In step they are no faster than they should be.
        host.run_for(50 * interval);
        let most = 51 * count;
        prop_assert!(host.spoke.len() - begin <= most, "{} adverts", host.spoke.len() - begin);
    }

    /// Who is often woken late, by whatever it is, makes up for nothing.
    #[test]
    fn the_late_do_not_speak_twice(routers in routers(&SHORT, 60), late in 0u64..400_000) {
        let mut host = Host::new(0);
        host.start(routers);
        host.run_for(ms(500));
        host.late = late;
        host.run_for(ms(4000));
    }

    /// Where intervals are multiples of one, the others wake with it.
    #[test]
    fn longer_intervals_wake_with_the_shortest(
        routers in routers(&NESTED, 60),
        late in prop_oneof![Just(0), Just(LATE)],
    ) {
        let mut host = Host::new(late);
        let intervals = routers.iter().map(|router| router.interval);
        let (shortest, longest) = (intervals.clone().min().unwrap(), intervals.max().unwrap());
        host.start(routers);
        host.run_for((IN_STEP + 4) * longest);
        let time = 10 * longest;
        let most = time.as_millis() / shortest.as_millis() + 1;
        let wakes = host.wakes_in(time);
        prop_assert!(u128::from(wakes) <= most, "{} wake-ups, {} at most", wakes, most);
    }
}

/// Whether they are in step by then or not.
#[test]
fn one_wake_is_one_advert_however_late_it_is() {
    let router = |start, interval| Router { start: ms(start), interval: ms(interval), owner: true };
    for turns in [1, 200] {
        for late in 0..4 * 128 {
            let mut host = Host::new(0);
            host.start(vec![router(0, 64), router(3, 64), router(5, 128), router(9, 100)]);
            host.run_for(turns * ms(64));
            let late = late * ms(64) / 128;
            host.late = u64::try_from(late.as_micros()).expect("short");
            host.spoke.clear();
            let due = host.engine.poll_timeout().expect("Active routers");
            host.wake(due + late);
            let once: BTreeSet<Slot> = host.spoke.iter().copied().collect();
            assert_eq!(host.spoke.len(), once.len(), "{late:?}: {:?}", host.spoke);
            // Nothing comes right behind it either, and then all is as before.
            (0..20).for_each(|_| host.wake(host.engine.poll_timeout().expect("Active routers")));
        }
    }
}

/// One that is as late each time is no slower than it should be.
#[test]
fn a_late_wake_does_not_shift_the_beat() {
    let mut host = Host::new(0);
    host.late = 31_000;
    host.start(vec![Router { start: ms(0), interval: ms(64), owner: true }]);
    let mut woken = || {
        let due = host.engine.poll_timeout().expect("an Active router");
        host.wake(due + ms(31));
        host.now
    };
    let begin = woken();
    (0..99).for_each(|_| _ = woken());
    assert_eq!(woken().since(begin), 100 * ms(64));
}

/// Where many leave at once, those that have the least time go first: to send a hundred others takes longer
/// than 2 % of 10 ms.
#[test]
fn the_shortest_interval_goes_first() {
    let router = |interval| Router { start: ms(0), interval: ms(interval), owner: true };
    let mut host = Host::new(0);
    host.start(vec![router(1000), router(1000), router(10), router(100)]);
    host.run_for(ms(999));
    host.spoke.clear();
    host.run_for(ms(1));
    assert_eq!(host.spoke, [2, 3, 0, 1].map(Slot));
}

#[test]
fn a_takeover_is_never_late_and_an_advert_by_2_percent() {
    for (interval, early) in [(10, us(300)), (20, us(100)), (100, us(0))] {
        let mut host = Host::waking_in(us(500));
        host.start(vec![Router { start: ms(0), interval: ms(interval), owner: false }]);
        let early_now = |host: &Host| {
            let engine = &host.engine;
            engine.poll_timeout().unwrap().since(engine.poll_wake().unwrap())
        };
        assert_eq!(early_now(&host), us(500), "before it becomes Active");
        host.run_for(ms(10 * interval));
        assert_eq!((host.active(), early_now(&host)), (1, early), "{interval} ms");
    }
    assert_eq!(Engine::waking_in(us(500)).poll_wake(), None);
}

#[test]
fn slower_routers_that_are_due_as_well_make_nobody_late() {
    const FAST: u64 = 10;
    for slow in [1_u64, 3, 20] {
        let mut host = Host::waking_in(us(500));
        let one = |n| Router { start: us(n * 997_000 / slow), interval: ms(1000), owner: true };
        let fast = Router { start: ms(1100), interval: ms(FAST), owner: true };
        host.start((0..slow).map(one).chain([fast]).collect());
        // Until all are in step.
        host.run_for(ms(70_000));
        for _ in 0..2000 {
            let last = host.speakers[&Slot(slow as u32)].last.unwrap();
            let (due, wake) =
                (host.engine.poll_timeout().unwrap(), host.engine.poll_wake().unwrap());
            assert!(wake <= last + ms(FAST) - us(300), "{slow} beside it: {wake:?} after {last:?}");
            host.wake(due);
        }
    }
}
