//! How late may be done what is due; a thread that does nothing although something is, is seen by its deadlines.

mod support;

use std::time::Duration;

use support::{Lan, at, every, ms, settings};
use vrrp_proto::{Engine, Settings};

#[test]
fn a_takeover_is_never_late_and_an_advert_by_2_percent() {
    assert_eq!(Engine::new().leeway(), Duration::MAX);
    for (interval, late) in [(ms(10), Duration::from_micros(200)), (ms(1000), ms(20))] {
        let mut lan = Lan::of([Settings { interval: every(interval), ..settings(100) }]);
        lan.run_until(at(ms(1)));
        assert_eq!(lan.hosts[0].engine.leeway(), Duration::ZERO, "a Backup's at {interval:?}");
        lan.run_until(at(5 * interval));
        assert!(lan.hosts[0].is_active());
        assert_eq!(lan.hosts[0].engine.leeway(), late, "an Active router's at {interval:?}");
    }
}

#[test]
fn what_is_an_interval_late_stood_still() {
    let mut lan = Lan::of([settings(100)]);
    lan.run_until(at(ms(4000)));
    assert!(lan.hosts[0].is_active());
    let engine = &lan.hosts[0].engine;
    let due = engine.poll_timeout().unwrap();
    let stood = |late, since| engine.stood_still(due + ms(late), since);
    assert_eq!(stood(0, at(ms(4000))), None);
    assert_eq!(stood(1000, at(ms(4000))), None);
    assert_eq!(stood(1001, at(ms(4000))), Some(ms(1001)));
    // It was awake meanwhile, and had something else to do.
    assert_eq!(stood(5000, due + ms(4500)), None);
    assert_eq!(stood(5000, due + ms(2000)), Some(ms(3000)));
}
