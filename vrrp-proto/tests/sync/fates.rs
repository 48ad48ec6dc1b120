//! What holds of groups on several networks whatever happens to them.

use std::time::Duration;

use proptest::prelude::*;
use vrrp_common::Priority;

use super::all_active;
use super::support::nets::{Nets, member};
use super::support::{every, ms};

/// What can happen to hosts on networks. A number names a host or a network, and counts modulo.
#[derive(Clone, Debug)]
enum Fate {
    Wait(u64),
    Crash(usize),
    Start(usize),
    Plug(usize, usize, bool),
    Cut(usize, usize, usize),
    Heal,
    Priority(usize, usize, u8),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => (1u64..8000).prop_map(Fate::Wait),
        1 => (0usize..3).prop_map(Fate::Crash),
        2 => (0usize..3).prop_map(Fate::Start),
        3 => (0usize..3, 0usize..3, any::<bool>()).prop_map(|(n, net, up)| Fate::Plug(n, net, up)),
        2 => (0usize..3, 0usize..3, 0usize..3).prop_map(|(net, a, b)| Fate::Cut(net, a, b)),
        1 => Just(Fate::Heal),
        1 => (0usize..3, 0usize..3, 1u8..=254).prop_map(|(n, net, p)| Fate::Priority(n, net, p)),
    ];
    proptest::collection::vec(fate, 1..25)
}

fn suffer(nets: &mut Nets, fate: &Fate) {
    let host = |n: usize| n % nets.hosts.len();
    let of = |net: usize| net % nets.hosts[0].settings.len();
    match fate {
        Fate::Wait(time) => nets.run_for(ms(*time)),
        Fate::Crash(n) => nets.crash(host(*n)),
        Fate::Start(n) => {
            let n = host(*n);
            if !nets.hosts[n].alive {
                nets.start(n);
            }
        }
        Fate::Plug(n, net, up) => nets.plug(host(*n), of(*net), *up),
        Fate::Cut(net, a, b) => nets.cut(of(*net), host(*a), host(*b)),
        Fate::Heal => nets.cut.clear(),
        Fate::Priority(n, net, priority) => {
            let (n, net) = (host(*n), of(*net));
            nets.hosts[n].settings[net].priority = Priority::new(*priority);
            nets.reload(n, net);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever happens, no part of a group is Active without the rest ([`Nets`] looks at each step). And
    /// once the networks are whole, one host is Active on all of them, whoever wins on which, and nothing
    /// changes any more.
    #[test]
    fn groups_stay_whole_and_come_to_rest(
        priorities in proptest::collection::vec(proptest::collection::vec(1u8..=254, 3), 2..=3),
        alike in any::<bool>(),
        interval in prop_oneof![Just(100u64), Just(1000)],
        latency in 1u64..5_000,
        fates in fates(),
    ) {
        let members = priorities.iter().map(|priorities| {
            let of = |(net, priority): (usize, &u8)| {
                let mut own = member(net, if alike { priorities[0] } else { *priority });
                own.interval = every(ms(interval));
                own
            };
            priorities.iter().enumerate().map(of).collect::<Vec<_>>()
        });
        let mut nets = Nets::with(members);
        nets.latency = Duration::from_micros(latency);
        for fate in &fates {
            suffer(&mut nets, fate);
        }
        nets.cut.clear();
        for n in 0..nets.hosts.len() {
            for net in 0..3 {
                nets.plug(n, net, true);
            }
            if !nets.hosts[n].alive {
                nets.start(n);
            }
        }
        // Each contest takes 3 to 11 intervals, and is the last with a chance of a half and more.
        nets.run_for(400 * ms(interval));
        let before = nets.changes();
        let active = nets.active(0);
        prop_assert_eq!(active.len(), 1);
        prop_assert!(all_active(&nets, active[0]));
        nets.run_for(100 * ms(interval));
        prop_assert_eq!(nets.changes(), before, "they change for ever");
    }
}
