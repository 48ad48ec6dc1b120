//! What holds of several routers on a wire whatever happens to them.
//!
//! [`support::rules`] watches each step; here is what happens, and what is left once it is over.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::{Lan, every, ms, settings, tracker, us, vip};
use vrrp_common::{Priority, Version};
use vrrp_proto::{Health, Input, Settings, StateName};

/// VRRPv3 intervals in milliseconds. VRRPv2 can say whole seconds only.
const INTERVALS: [u64; 6] = [10, 20, 50, 100, 300, 1000];
const DELAYS: [u64; 4] = [0, 0, 40, 3000];

/// What can happen to a LAN. A number names a host, and counts modulo how many there are.
#[derive(Clone, Debug)]
enum Fate {
    /// In tenths of the longest interval.
    Wait(u32),
    Crash(usize),
    Start(usize),
    Stop(usize),
    Partition(Vec<usize>),
    Heal,
    Plug(usize, bool),
    /// A seed, and how many of 1000 frames are lost.
    Lose(u64, u64),
    Track(usize, u32, Health),
    Priority(usize, u8),
    Interval(usize, usize),
    Preempt(usize, bool),
    Delay(usize, usize),
    Addresses(usize, u8),
    /// All routers change to the other version.
    Version,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let host = || 0usize..5;
    let health = prop_oneof![Just(Health::Good), Just(Health::Bad)];
    let fate = prop_oneof![
        8 => (1u32..80).prop_map(Fate::Wait),
        1 => host().prop_map(Fate::Crash),
        2 => host().prop_map(Fate::Start),
        1 => host().prop_map(Fate::Stop),
        1 => proptest::collection::vec(host(), 0..4).prop_map(Fate::Partition),
        1 => Just(Fate::Heal),
        2 => (host(), any::<bool>()).prop_map(|(n, up)| Fate::Plug(n, up)),
        1 => (any::<u64>(), 0u64..=1000).prop_map(|(seed, of)| Fate::Lose(seed, of)),
        2 => (host(), 1u32..=2, health).prop_map(|(n, id, health)| Fate::Track(n, id, health)),
        1 => (host(), priority()).prop_map(|(n, p)| Fate::Priority(n, p)),
        1 => (host(), 0..INTERVALS.len()).prop_map(|(n, i)| Fate::Interval(n, i)),
        1 => (host(), any::<bool>()).prop_map(|(n, on)| Fate::Preempt(n, on)),
        1 => (host(), 0..DELAYS.len()).prop_map(|(n, i)| Fate::Delay(n, i)),
        1 => (host(), 250u8..253).prop_map(|(n, last)| Fate::Addresses(n, last)),
        1 => Just(Fate::Version),
    ];
    proptest::collection::vec(fate, 1..30)
}

fn priority() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 1u8..=254, 2 => 99u8..=101, 1 => Just(255)]
}

/// One host's settings.
fn host() -> impl Strategy<Value = Settings> {
    let weight = || prop_oneof![1 => Just(0i16), 4 => -253i16..=253];
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let trackers = (weight(), weight(), 0usize..=2, any::<bool>());
    let times = (0..INTERVALS.len(), 0..DELAYS.len());
    (priority(), switches, trackers, times).prop_map(|(priority, switches, trackers, times)| {
        let mut own = settings(priority);
        (own.preempt, own.track_link, own.answer_lower, own.advert_on_yield) = switches;
        // Most routers preempt and watch their link.
        own.preempt |= priority % 3 != 0;
        own.track_link |= priority % 4 != 0;
        let (first, second, count, reverse) = trackers;
        own.trackers = vec![tracker(1, first), tracker(2, second)];
        own.trackers[1].reverse = reverse;
        own.trackers.truncate(count);
        own.interval = every(ms(INTERVALS[times.0]));
        own.preempt_delay = ms(DELAYS[times.1]);
        own
    })
}

/// A LAN of two to five hosts, all of one version and patience, with what is watched doing well.
fn lan(all: &[Settings], version: Version, adverts: u8, latency: u64) -> Lan {
    let mut lan = Lan::of([]);
    lan.latency = us(latency);
    for settings in all {
        let mut settings = settings.clone();
        settings.version = version;
        settings.down_adverts = adverts;
        if version == Version::V2 {
            settings.interval = every(ms(1000));
        }
        let n = lan.join(settings);
        for id in 1..=2 {
            lan.track(n, id, Health::Good);
        }
    }
    lan
}

fn suffer(lan: &mut Lan, fate: &Fate) {
    let there = |n: usize| n % lan.hosts.len();
    match fate {
        Fate::Wait(tenths) => lan.run_for(longest(lan) / 10 * *tenths),
        Fate::Crash(n) => lan.crash(there(*n)),
        Fate::Start(n) => {
            let n = there(*n);
            if !lan.hosts[n].alive {
                lan.start(n);
            }
        }
        Fate::Stop(n) => {
            let n = there(*n);
            if lan.hosts[n].alive {
                lan.tell(n, Input::Shutdown);
                lan.crash(n);
            }
        }
        Fate::Partition(camp) => {
            let camp: Vec<usize> = camp.iter().map(|n| there(*n)).collect();
            lan.partition(&camp);
        }
        Fate::Heal => lan.heal(),
        Fate::Plug(n, up) => lan.plug(there(*n), *up),
        Fate::Lose(seed, of) => lan.lose = Box::new(dice(*seed, *of)),
        Fate::Track(n, id, health) => lan.track(there(*n), *id, *health),
        Fate::Priority(n, to) => {
            reload(lan, there(*n), |own| own.priority = Priority::new(*to));
        }
        Fate::Interval(n, to) => interval(lan, there(*n), *to),
        Fate::Preempt(n, on) => reload(lan, there(*n), |own| own.preempt = *on),
        Fate::Delay(n, to) => {
            reload(lan, there(*n), |own| own.preempt_delay = ms(DELAYS[*to]));
        }
        Fate::Addresses(n, last) => {
            reload(lan, there(*n), |own| own.addresses = (250..=*last).map(vip).collect());
        }
        Fate::Version => migrate(lan),
    }
}

fn reload(lan: &mut Lan, n: usize, change: impl FnOnce(&mut Settings)) {
    change(&mut lan.hosts[n].settings);
    lan.reload(n);
}

/// VRRPv2 routers hear each other only where their intervals are the same: all change at once.
fn interval(lan: &mut Lan, n: usize, to: usize) {
    if lan.hosts[n].settings.version == Version::V3 {
        reload(lan, n, |own| own.interval = every(ms(INTERVALS[to])));
        return;
    }
    for n in 0..lan.hosts.len() {
        reload(lan, n, |own| own.interval = every(ms(1000 + 1000 * (to as u64 % 3))));
    }
}

fn migrate(lan: &mut Lan) {
    for n in 0..lan.hosts.len() {
        reload(lan, n, |own| {
            own.version = if own.version == Version::V2 { Version::V3 } else { Version::V2 };
            own.interval = every(ms(1000));
        });
    }
}

fn longest(lan: &Lan) -> Duration {
    lan.hosts.iter().map(|host| host.settings.interval.get()).max().unwrap_or_default()
}

/// Loses `of` of 1000 frames, by splitmix64.
fn dice(seed: u64, of: u64) -> impl FnMut(u64) -> bool {
    let mut state = seed;
    move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 1000 < of
    }
}

/// Ends what keeps the hosts from hearing each other.
fn make_whole(lan: &mut Lan) {
    lan.heal();
    lan.lose = Box::new(|_| false);
    for n in 0..lan.hosts.len() {
        if !lan.hosts[n].link {
            lan.plug(n, true);
        }
    }
    lan.pairs.expect_one(lan.now);
}

fn changes(lan: &Lan) -> usize {
    lan.hosts.iter().map(|host| host.transitions().len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Once the LAN is whole, two are Active for no longer than the winner's interval and the wire take
    /// ([`support::rules`]), and one router is left, that nobody may preempt; it alone has the
    /// addresses, and nothing changes any more.
    #[test]
    fn a_whole_lan_has_one_active_router(
        all in proptest::collection::vec(host(), 2..=5),
        version in prop_oneof![1 => Just(Version::V2), 3 => Just(Version::V3)],
        adverts in prop_oneof![3 => Just(3u8), 1 => 2u8..=6],
        latency in 1u64..20_000,
        fates in fates(),
    ) {
        let mut lan = lan(&all, version, adverts, latency);
        // A Backup may still wait by an interval that was in use before.
        let mut slowest = longest(&lan);
        for fate in &fates {
            suffer(&mut lan, fate);
            slowest = slowest.max(longest(&lan));
        }
        make_whole(&mut lan);
        // One Master_Down_Interval until somebody speaks, one more until it is replaced, and the delay
        // that may begin between them.
        let rounds = 3 * u32::from(adverts) + 1;
        lan.run_for(rounds * slowest + ms(3000) + 8 * lan.latency);
        let before = changes(&lan);
        lan.run_for(u32::from(adverts + 2) * slowest);
        prop_assert_eq!(changes(&lan), before, "the LAN is restless");

        let fit: Vec<usize> = (0..lan.hosts.len()).filter(|n| lan.hosts[*n].is_fit()).collect();
        let active = lan.active();
        prop_assert_eq!(active.len(), usize::from(!fit.is_empty()), "{:?} of {:?}", active, fit);
        for (n, host) in lan.hosts.iter().enumerate().filter(|(_, host)| host.alive) {
            let (is_active, is_fit) = (active.contains(&n), fit.contains(&n));
            let waits = matches!(host.state(), StateName::Initialize | StateName::Fault);
            prop_assert_eq!(is_fit, !waits, "{} is in {:?}", n, host.state());
            prop_assert_eq!(is_active, host.state() == StateName::Active);
            let held = host.settings.held().map(|address| address.ip).filter(|_| is_active);
            prop_assert_eq!(&host.held, &held.collect());
            let ours = host.tracked_priority();
            let preempts = is_fit && (host.settings.preempt || ours == 255);
            for winner in active.iter().map(|n| lan.hosts[*n].tracked_priority()) {
                prop_assert!(!preempts || ours <= winner, "{} has {} over {}", n, ours, winner);
            }
        }
    }

    /// The same inputs at the same times give the same outputs.
    #[test]
    fn runs_repeat(
        all in proptest::collection::vec(host(), 2..=4),
        fates in fates(),
    ) {
        let run = || {
            let mut lan = lan(&all, Version::V3, 3, 100);
            fates.iter().for_each(|fate| suffer(&mut lan, fate));
            let told = lan.hosts.iter().map(|host| (host.sent.clone(), host.events.clone()));
            (told.collect::<Vec<_>>(), lan.now)
        };
        prop_assert_eq!(run(), run());
    }
}
