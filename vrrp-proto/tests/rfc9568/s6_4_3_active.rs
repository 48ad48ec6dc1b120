//! §6.4.3: Active.

use std::time::Duration;

use rstest::rstest;
use vrrp_proto::{Effect, Engine, Event, Input, Link, StateName, VirtualAddress, Why};

use crate::support::{Lan, SLOT, advert, at, every, ms, settings, us, vip};

/// A router that became Active at 3.609375 s.
fn active(change: impl FnOnce(&mut vrrp_proto::Settings)) -> Lan {
    let mut own = settings(100);
    change(&mut own);
    let mut lan = Lan::of([own]);
    lan.run_until(at(ms(4000)));
    assert!(lan.hosts[0].is_active());
    lan.hosts[0].sent.clear();
    lan.hosts[0].announced.clear();
    lan
}

#[test]
fn adverts_keep_their_beat() {
    let mut lan = active(|own| own.interval = every(ms(10)));
    lan.run_for(ms(1000));
    let sent = &lan.hosts[0].sent;
    assert_eq!(sent.len(), 100);
    assert!(sent.windows(2).all(|pair| pair[1].0 == pair[0].0 + ms(10)));
}

/// Late by less than an interval: the next is on the old beat. Frozen: one advert, no burst.
#[test]
fn a_late_wake_up_sends_one() {
    let mut lan = active(|_| {});
    let due = lan.hosts[0].engine.poll_timeout().unwrap();
    lan.now = due + ms(300);
    lan.run_for(ms(701));
    let times: Vec<_> = lan.hosts[0].sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [due + ms(300), due + ms(1000)]);

    lan.hosts[0].sent.clear();
    lan.now = due + ms(9000);
    lan.run_for(us(1));
    assert_eq!(lan.hosts[0].sent.len(), 1);
}

#[rstest]
#[case::lower(12, 50)]
#[case::equal_from_a_lower_address(5, 100)]
fn a_losing_advert_is_answered_at_once_and_addresses_announced(
    #[case] from: u8,
    #[case] theirs: u8,
) {
    let mut lan = active(|_| {});
    lan.hear(0, advert(from, theirs, ms(1000)));
    assert_eq!(lan.hosts[0].sent, [(at(ms(4000)), 100)]);
    assert_eq!(lan.hosts[0].announced, [(at(ms(4000)), 5)]);
    assert!(lan.hosts[0].is_active());
    lan.run_for(ms(999));
    assert_eq!(lan.hosts[0].sent.len(), 1, "the beat starts anew");
}

#[test]
fn losing_adverts_may_go_unanswered() {
    let mut lan = active(|own| {
        own.answer_lower = false;
        own.announce.lower_repeat = 0;
    });
    lan.hear(0, advert(12, 50, ms(1000)));
    assert!(lan.hosts[0].sent.is_empty() && lan.hosts[0].announced.is_empty());
    assert!(lan.hosts[0].is_active());
}

/// Priority and address are ours: an echo, or a router that would answer in turn.
#[test]
fn what_says_the_same_as_we_is_not_answered() {
    let mut lan = active(|_| {});
    let ours = 11;
    lan.hear(0, advert(ours, 100, ms(1000)));
    assert!(lan.hosts[0].is_active() && lan.hosts[0].sent.is_empty());
    lan.hear(0, advert(ours, 99, ms(1000)));
    assert_eq!(lan.hosts[0].sent.len(), 1, "another router, with our address");
}

/// Many losing adverts read at once after a freeze get one answer.
#[test]
fn stale_losing_adverts_get_one_answer() {
    let mut lan = active(|_| {});
    lan.now = at(ms(9000));
    let engine = &mut lan.hosts[0].engine;
    for n in 4..9 {
        let advert = advert(12, 50, ms(1000));
        engine.handle(at(ms(1000 * n)), Input::Advert { slot: SLOT, advert });
    }
    engine.handle_timeout(at(ms(9000)));
    assert!(engine.poll_transmit().is_some());
    assert!(engine.poll_transmit().is_none());
}

#[rstest]
#[case::losing(50)]
#[case::released(0)]
fn a_flood_of_adverts_is_not_reflected(#[case] theirs: u8) {
    let mut lan = active(|_| {});
    for n in 0..10_000 {
        lan.run_until(at(ms(4000)) + us(100 * n));
        lan.hear(0, advert(12, theirs, ms(1000)));
    }
    assert!(lan.hosts[0].sent.len() <= 9, "{} answers in a second", lan.hosts[0].sent.len());
}

#[test]
fn priority_zero_is_answered_at_once_and_the_timer_set_anew() {
    let mut lan = active(|_| {});
    lan.hear(0, advert(12, 0, ms(1000)));
    assert_eq!(lan.hosts[0].sent, [(at(ms(4000)), 100)]);
    assert!(lan.hosts[0].is_active());
    // Not on the old beat, at 4.609375 s.
    lan.run_for(ms(1000));
    assert_eq!(lan.hosts[0].sent[1..], [(at(ms(5000)), 100)]);
}

/// The others wait for no longer than their skew: they need it whatever was answered before.
#[test]
fn priority_zero_is_answered_behind_another_answer() {
    let mut lan = active(|_| {});
    lan.hear(0, advert(12, 50, ms(1000)));
    lan.run_for(ms(50));
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(50));
    lan.hear(0, advert(12, 0, ms(1000)));
    lan.run_for(ms(50));
    assert_eq!(lan.hosts[0].sent, [(at(ms(4000)), 100), (at(ms(4050)), 100)]);
}

/// An advert says nothing of addresses that are not in it, nor where the winner is on other links.
#[test]
fn only_what_is_on_the_link_goes_to_the_winner() {
    let mut lan = active(|own| {
        own.addresses = vec![vip(250), VirtualAddress { device: "eth1".to_owned(), ..vip(251) }];
        own.elsewhere = vec![vip(251).ip];
        own.excluded = vec![vip(252)];
    });
    let input = Input::Advert { slot: SLOT, advert: advert(12, 150, ms(1000)) };
    let now = lan.now;
    lan.hosts[0].engine.handle(now, input);
    let effects = std::iter::from_fn(|| lan.hosts[0].engine.poll_effect());
    let gone = effects.filter_map(|effect| {
        let Effect::Redirect { addresses, from, .. } = effect else { return None };
        Some((addresses.to_vec(), from))
    });
    let winner = advert(12, 150, ms(1000)).source;
    assert_eq!(gone.collect::<Vec<_>>(), [(vec![vip(250)], winner)]);
}

#[rstest]
#[case::higher(12, 101)]
#[case::owner(12, 255)]
#[case::equal_from_a_higher_address(101, 100)]
fn a_winning_advert_ends_it_without_a_word(#[case] from: u8, #[case] theirs: u8) {
    let mut lan = active(|_| {});
    lan.hear(0, advert(from, theirs, ms(1000)));
    let host = &lan.hosts[0];
    assert_eq!(host.last().1, StateName::Backup);
    assert!(host.held.is_empty());
    assert!(host.sent.is_empty(), "neither priority 0 nor ours");
    // The winner may never have heard us, so it is announced for it where the addresses are now.
    assert_eq!(host.redirected, [(at(ms(4000)), [2, 0, 0, 0, 0, from])]);
    lan.run_for(ms(3609));
    assert!(!lan.hosts[0].is_active());
    lan.run_for(ms(1));
    assert!(lan.hosts[0].is_active(), "a whole down interval later");
}

/// The winner's interval rules the wait; as Active it is its own again.
#[rstest]
#[case::shorter(300, us(1_082_812))]
#[case::longer(3000, us(10_828_125))]
fn a_winner_s_interval_is_learned(#[case] interval: u64, #[case] down: Duration) {
    let mut lan = active(|_| {});
    lan.hear(0, advert(12, 150, ms(interval)));
    lan.run_for(down - us(1));
    assert!(!lan.hosts[0].is_active());
    lan.run_for(us(2));
    assert!(lan.hosts[0].is_active());
    lan.run_for(ms(1000));
    let sent = &lan.hosts[0].sent;
    assert_eq!((sent.len(), sent[1].0 - ms(1000)), (2, sent[0].0));
}

/// Erratum 8298: two owners find one winner.
#[test]
fn an_owner_yields_only_to_an_owner_with_a_higher_address() {
    let mut lan = active(|own| own.priority = vrrp_common::Priority::OWNER);
    lan.hear(0, advert(5, 255, ms(1000)));
    assert!(lan.hosts[0].is_active());
    lan.hear(0, advert(101, 255, ms(1000)));
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
}

/// `higher_prio_send_advert`.
#[test]
fn one_advert_before_yielding_on_request() {
    let mut lan = active(|own| own.advert_on_yield = true);
    lan.hear(0, advert(12, 150, ms(1000)));
    assert_eq!(lan.hosts[0].sent, [(at(ms(4000)), 100)]);
    assert_eq!(lan.hosts[0].state(), StateName::Backup);
}

#[test]
fn shutdown_releases() {
    let mut lan = active(|_| {});
    lan.tell(0, Input::Shutdown);
    let host = &lan.hosts[0];
    assert_eq!(host.sent, [(at(ms(4000)), 0)]);
    assert!(host.held.is_empty());
    assert!(matches!(host.events.last(), Some((_, Event::Ended { .. }))));
}

/// Nobody hears priority 0 on a dead link; the addresses still go.
#[test]
fn link_loss_removes_the_addresses_in_silence() {
    let mut lan = active(|_| {});
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
    let host = &lan.hosts[0];
    assert_eq!(host.last().1, StateName::Fault);
    assert_eq!(host.last().2, Why::LinkDown);
    assert!(host.sent.is_empty() && host.held.is_empty());
}

#[test]
fn an_untracked_link_is_no_fault() {
    let mut lan = active(|own| own.track_link = false);
    lan.tell(0, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert!(lan.hosts[0].is_active());
    assert!(lan.hosts[0].held.contains(&vip(250).ip));
}

/// A pair on a crossed cable, of which the other host is off.
#[test]
fn an_untracked_link_that_was_never_up_is_no_fault() {
    let source = advert(11, 100, ms(1000)).source;
    let start = |link| {
        let mut own = settings(100);
        own.track_link = false;
        let mut engine = Engine::new();
        engine.handle(
            at(ms(0)),
            Input::Add { slot: SLOT, settings: Box::new(own), hold: Duration::ZERO },
        );
        engine.handle(at(ms(0)), Input::Link { slot: SLOT, link });
        engine.handle_timeout(at(ms(10_000)));
        engine.view(SLOT).map(|view| view.state)
    };
    assert_eq!(start(Link::Down(Some(source))), Some(StateName::Active));
    assert_eq!(start(Link::Down(None)), Some(StateName::Fault));
}

#[test]
fn announcements_follow_their_schedule() {
    let mut lan = active(|own| {
        own.announce.refresh = ms(60_000);
        own.announce.refresh_repeat = 2;
        own.announce.delay = ms(10_000);
        own.announce.repeat = 1;
    });
    lan.run_until(at(ms(130_000)));
    let times: Vec<_> =
        lan.hosts[0].announced.iter().map(|(at, n)| (at.as_nanos() / 1_000_000_000, *n)).collect();
    assert_eq!(times, [(13, 1), (63, 2), (123, 2)]);
}
