//! A thread that does nothing although something is due is seen by its deadlines.

mod support;

use support::{Lan, at, ms, settings};

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
