//! `interface_up_down_delays`: a change of a link counts once it has lasted.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use support::{Lan, SLOT, advert, at, every, ms, settings, tracker};
use vrrp_proto::settings::Delays;
use vrrp_proto::{Health, Input, Link, StateName, Why};

const DELAYS: Delays = Delays { down: ms(500), up: ms(2000) };

/// A router that became Active at 3.609375 s, at 4 s.
fn active(change: impl FnOnce(&mut vrrp_proto::Settings)) -> Lan {
    let mut own = settings(100);
    own.link_delays = DELAYS;
    change(&mut own);
    let mut lan = Lan::of([own]);
    lan.run_until(at(ms(4000)));
    assert!(lan.hosts[0].is_active());
    lan
}

fn tell(lan: &mut Lan, link: Link) {
    lan.tell(0, Input::Link { slot: SLOT, link });
}

fn up(lan: &Lan) -> Link {
    Link::Up(lan.hosts[0].address)
}

#[test]
fn a_flap_is_nothing() {
    let mut lan = active(|_| {});
    let before = lan.hosts[0].transitions().len();
    for _ in 0..20 {
        tell(&mut lan, Link::Down(None));
        lan.run_for(ms(499));
        let link = up(&lan);
        tell(&mut lan, link);
        lan.run_for(ms(10));
    }
    assert_eq!(lan.hosts[0].transitions().len(), before);
    assert!(!lan.hosts[0].held.is_empty());
}

#[test]
fn what_lasts_counts() {
    let mut lan = active(|_| {});
    tell(&mut lan, Link::Down(None));
    lan.run_for(ms(300));
    // Said again, it does not begin anew.
    tell(&mut lan, Link::Down(None));
    lan.run_for(ms(5000));
    assert_eq!(lan.hosts[0].last(), (at(ms(4500)), StateName::Fault, Why::LinkDown));
    assert!(lan.hosts[0].held.is_empty());

    let link = up(&lan);
    tell(&mut lan, link);
    lan.run_for(ms(1999));
    tell(&mut lan, Link::Down(None));
    lan.run_for(ms(10));
    let link = up(&lan);
    tell(&mut lan, link);
    let since = lan.now;
    lan.run_for(ms(1999));
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
    lan.run_for(ms(1));
    assert_eq!(lan.hosts[0].last(), (since + ms(2000), StateName::Backup, Why::Recovered));
}

/// Of an Active router, too, the longest delay ends one interval before peers would take over.
#[test]
fn as_long_as_peers_wait() {
    for (down_adverts, waits) in [(3, 2000), (2, 1000), (1, 0)] {
        let mut lan = active(|own| {
            own.link_delays.down = Delays::AS_LONG_AS_PEERS_WAIT;
            own.down_adverts = down_adverts;
        });
        let since = lan.now;
        tell(&mut lan, Link::Down(None));
        lan.run_for(ms(5000));
        let fault = (since + ms(waits), StateName::Fault, Why::LinkDown);
        assert_eq!(lan.hosts[0].last(), fault, "{down_adverts}");
    }
}

/// Only coming and going is waited for.
#[test]
fn other_changes_count_at_once() {
    let mut lan = active(|_| {});
    let other: IpAddr = "192.0.2.99".parse().unwrap();
    tell(&mut lan, Link::Up(other));
    assert_eq!(lan.hosts[0].engine.view(SLOT).unwrap().source, Some(other));
    tell(&mut lan, Link::NoSource);
    assert_eq!(lan.hosts[0].last().2, Why::NoSource);
    // The first word about a link counts too.
    let mut own = settings(255);
    own.link_delays = DELAYS;
    assert!(Lan::of([own]).hosts[0].is_active());
}

/// The address that the link comes back with is the last one that was told.
#[test]
fn what_comes_late_comes_as_it_is_by_then() {
    let mut lan = active(|_| {});
    tell(&mut lan, Link::Down(None));
    lan.run_for(ms(1000));
    let other: IpAddr = "192.0.2.99".parse().unwrap();
    let link = up(&lan);
    tell(&mut lan, link);
    lan.run_for(ms(1500));
    tell(&mut lan, Link::Up(other));
    lan.run_for(ms(500));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
    assert_eq!(lan.hosts[0].engine.view(SLOT).unwrap().source, Some(other));
}

/// A Backup that loses its link hears nothing. It must be in Fault before it would take over.
#[test]
fn a_backup_never_waits_so_long_that_it_takes_over() {
    for adverts in [1, 2, 3, 10] {
        for interval in [10, 1000] {
            let mut own = settings(254);
            own.link_delays = Delays { down: Duration::from_secs(255), up: ms(0) };
            own.down_adverts = adverts;
            let mut lan = Lan::of([own]);
            lan.hear(0, advert(12, 255, ms(interval)));
            // Just before the next one would have come.
            lan.run_for(ms(interval) - ms(1));
            tell(&mut lan, Link::Down(None));
            let cut = ms(interval) * u32::from(adverts - 1);
            lan.run_for(Duration::from_secs(300));
            let right = (at(ms(interval) - ms(1)) + cut, StateName::Fault, Why::LinkDown);
            assert_eq!(lan.hosts[0].last(), right, "{adverts} adverts, {interval} ms");
            assert!(lan.hosts[0].sent.is_empty());
        }
    }
}

#[test]
fn a_tracked_interface_is_waited_for_too() {
    let mut tracked = tracker(1, -20);
    tracked.delays = DELAYS;
    let mut lan = active(|own| own.trackers = vec![tracked]);
    lan.track(0, 1, Health::Good);
    let priority = |lan: &Lan| lan.hosts[0].engine.view(SLOT).unwrap().priority.get();
    let said = |lan: &mut Lan, health| {
        let id = tracked.id;
        let now = lan.now;
        lan.hosts[0].engine.handle(now, Input::Track { id, health });
    };
    said(&mut lan, Health::Bad);
    lan.hosts[0].engine.handle_timeout(at(ms(4499)));
    assert_eq!(priority(&lan), 100);
    lan.hosts[0].engine.handle_timeout(at(ms(4500)));
    assert_eq!(priority(&lan), 80);
    lan.now = at(ms(4600));
    said(&mut lan, Health::Good);
    lan.hosts[0].engine.handle_timeout(at(ms(6599)));
    assert_eq!(priority(&lan), 80);
    lan.hosts[0].engine.handle_timeout(at(ms(6600)));
    assert_eq!(priority(&lan), 100);
    // Back before it counted.
    lan.now = at(ms(7000));
    said(&mut lan, Health::Bad);
    said(&mut lan, Health::Good);
    lan.hosts[0].engine.handle_timeout(at(ms(9000)));
    assert_eq!(priority(&lan), 100);
}

/// A reload that leaves a tracker as it is does not cut the wait for it short.
#[test]
fn a_reload_goes_on_waiting() {
    let mut tracked = tracker(1, 0);
    tracked.delays = DELAYS;
    let mut lan = Lan::of([]);
    let mut own = settings(100);
    own.trackers = vec![tracked];
    lan.join(own);
    lan.track(0, 1, Health::Good);
    lan.run_until(at(ms(4000)));
    lan.track(0, 1, Health::Bad);
    lan.hosts[0].settings.interval = every(ms(500));
    lan.reload(0);
    assert!(lan.hosts[0].is_active());
    lan.run_for(ms(500));
    assert_eq!(lan.hosts[0].last().0, at(ms(4500)));
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
}

/// Neither the hold of a start nor the wait behind a refused address ends with a link that settles.
#[test]
fn other_waits_go_on() {
    let mut lan = active(|own| {
        own.trackers = vec![tracker(1, -5)];
        own.trackers[0].delays = Delays { down: ms(100), up: ms(100) };
    });
    lan.track(0, 1, Health::Good);
    lan.hosts[0].refuses = true;
    lan.hosts[0].held.clear();
    let address = support::vip(250);
    lan.tell(0, Input::AddressesLost { slot: SLOT, addresses: vec![address] });
    lan.run_for(ms(0));
    assert_eq!(lan.hosts[0].last().2, Why::AddressRefused);
    let until = lan.now + ms(5000);
    lan.hosts[0].refuses = false;
    lan.hosts[0]
        .engine
        .handle(lan.now, Input::Track { id: vrrp_proto::TrackerId(1), health: Health::Bad });
    lan.hosts[0].engine.handle_timeout(lan.now + ms(100));
    assert_eq!(lan.hosts[0].state(), StateName::Fault);
    lan.hosts[0].engine.handle_timeout(until);
    assert_eq!(lan.hosts[0].state(), StateName::Backup);

    let slot = vrrp_proto::Slot(7);
    let mut own = settings(100);
    own.trackers = vec![tracker(1, -5)];
    own.trackers[0].delays = DELAYS;
    let engine = &mut lan.hosts[0].engine;
    let track = |health| Input::Track { id: vrrp_proto::TrackerId(1), health };
    engine.handle(until, track(Health::Good));
    engine.handle(until, Input::Add { slot, settings: Box::new(own), hold: ms(20_000) });
    engine.handle(until, Input::Link { slot, link: Link::Up([192, 0, 2, 11].into()) });
    engine.handle(until, track(Health::Bad));
    for time in [500, 19_999, 20_000] {
        engine.handle_timeout(until + ms(time));
        let state = engine.view(slot).unwrap().state;
        let right = if time < 20_000 { StateName::Initialize } else { StateName::Backup };
        assert_eq!(state, right, "{time} ms");
    }
}
