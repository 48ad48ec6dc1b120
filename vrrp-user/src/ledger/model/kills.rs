//! Lives that are drawn, and some that are written.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::{Config, Life, OWN, ROUTES, Step, World};

fn configs() -> impl Strategy<Value = Config> {
    btree_map(1..4_u8, btree_set(OWN..ROUTES + 4, 0..5), 0..4)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => configs().prop_map(Step::Reload),
        3 => Just(Step::Hear),
        6 => Just(Step::Obey),
        4 => any::<usize>().prop_map(Step::Active),
        2 => any::<(usize, bool)>().prop_map(|(nth, fault)| Step::Yield(nth, fault)),
        8 => Just(Step::Effect),
        1 => Just(Step::Pass(10)),
        1 => Just(Step::Pass(2000)),
    ]
}

fn lives() -> impl Strategy<Value = Life> {
    // At once, within what the peers wait, and beyond it.
    let after = prop_oneof![Just(0_u64), Just(100), Just(2900), Just(3100), Just(60_000)];
    (after, configs(), vec(steps(), 0..60), 0..120_usize)
        .prop_map(|(after, config, steps, acts)| Life { after, config, steps, acts })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_next_start_leaves_the_right_addresses_and_routes(
        earlier in vec(lives(), 1..4),
        last in lives(),
        // Its peers wait shorter, or longer, than what was dropped lingers.
        interval in prop_oneof![Just(1_u64), Just(10)],
    ) {
        let mut world = World::new(Duration::from_secs(interval));
        for life in &earlier {
            // However it ended: nobody cleans up.
            let _ = world.live(life);
        }
        let right = world.right(&last);
        world.acts = usize::MAX;
        world.start(&last).unwrap();
        world.settle().unwrap();
        prop_assert_eq!(&world.host, &right);
    }
}

/// Killed when an address was dropped and not yet off, and again at any act of a start that comes when
/// what was dropped has lingered for long, while the peers still wait.
#[test]
fn what_was_dropped_goes_however_late_the_next_start_is_and_wherever_it_ends() {
    const ROUTE: u8 = ROUTES + 1;
    let all = Config::from([(1, BTreeSet::from([2, 3, ROUTES, ROUTE]))]);
    let some = Config::from([(1, BTreeSet::from([2, ROUTES]))]);
    let mut drop = vec![Step::Obey, Step::Active(0)];
    drop.extend([const { Step::Effect }; 4]);
    drop.push(Step::Reload(some.clone()));
    let life = |after, config: &Config, steps: &[Step], acts| Life {
        after,
        config: config.clone(),
        steps: steps.to_vec(),
        acts,
    };
    for acts in 0..30 {
        let mut world = World::new(Duration::from_secs(10));
        world.live(&life(0, &all, &drop, usize::MAX)).unwrap();
        assert_eq!(world.host, BTreeSet::from([OWN, 2, 3, ROUTES, ROUTE]));
        let _ = world.live(&life(700, &some, &[], acts));
        let _ = world.live(&life(700, &some, &[], acts / 2));
        world.live(&life(700, &some, &[], usize::MAX)).unwrap();
        world.settle().unwrap();
        assert_eq!(world.host, BTreeSet::from([OWN, 2, ROUTES]), "after {acts} acts");
    }
}
