//! Routes and rules: on behind the addresses and before anybody is told, off before the addresses.

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use support::{SLOT, at, ms, settings, vip};
use vrrp_common::{Family, Instant};
use vrrp_proto::paths::{Action, Network, Paths, Route, Rule};
use vrrp_proto::{
    Effect, Engine, Event, Input, Link, Outcome, Settings, StateName, VirtualAddress,
};

fn network(last: u8) -> Network {
    Network { ip: [198, 51, 100, last].into(), length: 32 }
}

fn route(last: u8) -> Route {
    Route::to(network(last))
}

fn rule(preference: u32) -> Rule {
    Rule::new(Network::all(Family::V4), preference, Action::Table(100))
}

fn paths(routes: &[Route], rules: &[Rule]) -> Arc<Paths> {
    Arc::new(Paths { routes: routes.to_vec(), rules: rules.to_vec() })
}

/// The owner of the addresses, Active at once, with everything done that this takes.
fn active(paths: &Arc<Paths>) -> (Engine, Instant) {
    let (mut engine, now) = (Engine::new(), at(ms(1)));
    let settings = Box::new(Settings { paths: Arc::clone(paths), ..settings(255) });
    engine.handle(now, Input::Add { slot: SLOT, settings, hold: ms(0) });
    let link = Link::Up([192, 0, 2, 11].into());
    engine.handle(now, Input::Link { slot: SLOT, link });
    assert_eq!(engine.view(SLOT).map(|view| view.state), Some(StateName::Active));
    (engine, now)
}

/// The effects that wait, in a word each, and the paths of those that are about some.
fn effects(engine: &mut Engine) -> (Vec<&'static str>, Vec<Arc<Paths>>) {
    let (mut words, mut all) = (Vec::new(), Vec::new());
    while let Some(effect) = engine.poll_effect() {
        words.push(match effect {
            Effect::AddAddresses { .. } => "addresses on",
            Effect::RemoveAddresses { .. } => "addresses off",
            Effect::AddPaths { paths, .. } => {
                all.push(paths);
                "paths on"
            }
            Effect::RemovePaths { paths, .. } => {
                all.push(paths);
                "paths off"
            }
            Effect::Announce { .. } => "announced",
            Effect::Redirect { .. } => "redirected",
        });
    }
    (words, all)
}

#[test]
fn behind_the_addresses_and_before_anybody_is_told() {
    let both = paths(&[route(1), route(2)], &[rule(1000)]);
    let (mut engine, now) = active(&both);
    let (words, on) = effects(&mut engine);
    assert_eq!(words, ["addresses on", "paths on", "announced"]);
    assert_eq!(on, [Arc::clone(&both)]);
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Down(None) });
    let (words, off) = effects(&mut engine);
    assert_eq!(words, ["paths off", "addresses off"]);
    assert_eq!(off, [both]);
}

#[test]
fn a_router_without_any_has_no_work_with_them() {
    let (mut engine, now) = active(&Arc::default());
    assert_eq!(effects(&mut engine).0, ["addresses on", "announced"]);
    engine.handle(now, Input::PathsDoubted { slot: SLOT, gone: Arc::default() });
    assert_eq!(engine.poll_effect(), None);
    engine.handle(now, Input::Shutdown);
    assert_eq!(effects(&mut engine).0, ["addresses off"]);
}

#[test]
fn what_was_doubted_is_put_back_where_it_is_tracked() {
    let untracked = Route { tracked: false, ..route(1) };
    let (mut engine, now) = active(&paths(&[untracked.clone(), route(2)], &[rule(7)]));
    effects(&mut engine);
    engine.handle(now, Input::PathsDoubted { slot: SLOT, gone: Arc::default() });
    let (words, on) = effects(&mut engine);
    assert_eq!(words, ["paths on"]);
    assert_eq!(on, [paths(&[route(2)], &[rule(7)])]);
    // The routes that have a lost address as their source went with it.
    engine.handle(now, Input::AddressesLost { slot: SLOT, addresses: vec![vip(250)] });
    let (words, on) = effects(&mut engine);
    assert_eq!(words, ["addresses on", "paths on", "announced"]);
    assert_eq!(on, [paths(&[route(2)], &[rule(7)])]);
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Down(None) });
    effects(&mut engine);
    engine.handle(now, Input::PathsDoubted { slot: SLOT, gone: Arc::default() });
    assert_eq!(engine.poll_effect(), None, "it is not Active");
}

#[test]
fn nothing_is_put_back_where_nothing_is_tracked() {
    let (mut engine, now) = active(&paths(&[Route { tracked: false, ..route(1) }], &[]));
    effects(&mut engine);
    engine.handle(now, Input::PathsDoubted { slot: SLOT, gone: Arc::default() });
    assert_eq!(engine.poll_effect(), None);
}

#[test]
fn a_reload_touches_what_has_changed_alone() {
    let (mut engine, now) = active(&paths(&[route(1), route(2)], &[rule(7)]));
    effects(&mut engine);
    let change = |engine: &mut Engine, settings| {
        engine.handle(now, Input::Change { slot: SLOT, settings: Box::new(settings) });
        effects(engine)
    };
    let next = Settings { paths: paths(&[route(2), route(3)], &[rule(7)]), ..settings(255) };
    let (words, all) = change(&mut engine, next.clone());
    assert_eq!(words, ["paths off", "paths on"]);
    assert_eq!(all, [paths(&[route(1)], &[]), paths(&[route(3)], &[])]);
    // The kernel takes routes off with their source: those that are tracked are looked after.
    let untracked = Route { tracked: false, ..route(4) };
    let old = paths(&[route(2), route(3), untracked.clone()], &[]);
    let moved = Settings { addresses: vec![vip(251)], paths: Arc::clone(&old), ..settings(255) };
    let (words, all) = change(&mut engine, moved.clone());
    let order = ["paths off", "addresses off", "addresses on", "paths on", "announced"];
    assert_eq!(words, order);
    assert_eq!(all, [paths(&[], &[rule(7)]), old]);
    let back = Settings { addresses: vec![vip(250)], ..moved };
    let (words, all) = change(&mut engine, back);
    assert_eq!(words, ["addresses off", "addresses on", "paths on", "announced"]);
    assert_eq!(all, [paths(&[route(2), route(3)], &[])], "what is not tracked is not put back");
}

#[test]
fn a_refused_route_costs_no_mastership() {
    let (mut engine, now) = active(&paths(&[route(1)], &[]));
    while engine.poll_event().is_some() {}
    let (restored, failed) = (vec!["a".to_owned()], vec![("b".to_owned(), "no way".to_owned())]);
    let outcome = Outcome::Paths { restored, failed: failed.clone() };
    engine.handle(now, Input::Outcome { slot: SLOT, outcome });
    let told: Vec<Event> = std::iter::from_fn(|| engine.poll_event()).collect();
    let failed = Event::PathsFailed { slot: SLOT, failed };
    assert_eq!(told, [Event::PathsRestored { slot: SLOT, paths: vec!["a".into()] }, failed]);
    assert_eq!(engine.view(SLOT).map(|view| view.state), Some(StateName::Active));
}

#[test]
fn what_an_earlier_life_held_goes_in_the_same_order() {
    let (mut engine, now) = (Engine::new(), at(ms(5)));
    let own = Box::new(Settings { paths: paths(&[route(1)], &[]), ..settings(100) });
    engine.handle(now, Input::Add { slot: SLOT, settings: own, hold: ms(0) });
    let (priority, form) = (vrrp_common::Priority::new(100), settings(100).form);
    engine.handle(now, Input::Resume { slot: SLOT, until: now + ms(900), priority, form });
    engine.handle(now, Input::Link { slot: SLOT, link: Link::Down(None) });
    assert_eq!(effects(&mut engine).0, ["paths off", "addresses off"]);
}

/// What is on without its source is not what was asked for, and can't be told from it by asking for it again.
#[test]
fn an_ipv6_route_is_put_on_anew_with_its_source() {
    let ip = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
    let to = |last: u16| Route::to(Network { ip: ip(last), length: 128 });
    let from = |last: u16, source: u16| Route { source: Some(ip(source)), ..to(last) };
    let untracked = Route { tracked: false, ..from(4, 250) };
    let old = Route { source: Some(vip(250).ip), ..route(5) };
    let all = [from(1, 250), from(2, 7), to(3), untracked, old];
    let (mut engine, now) = active(&paths(&all, &[rule(7)]));
    effects(&mut engine);
    let lost = VirtualAddress::new(ip(250), 64, "eth0");
    let with = |address: &VirtualAddress| Settings {
        excluded: vec![address.clone()],
        paths: paths(&all, &[rule(7)]),
        ..settings(255)
    };
    engine.handle(now, Input::Change { slot: SLOT, settings: Box::new(with(&lost)) });
    effects(&mut engine);
    let addresses = vec![lost.clone(), vip(250)];
    engine.handle(now, Input::AddressesLost { slot: SLOT, addresses });
    let (words, moved) = effects(&mut engine);
    assert_eq!(words, ["paths off", "addresses on", "paths on", "announced"]);
    assert_eq!(moved[0], paths(&[from(1, 250)], &[]));
    assert!(moved[1].routes.contains(&from(1, 250)));
    // Of the host's own addresses, or another router's, nothing else is told; of its own it was.
    let gone = Arc::new(BTreeSet::from([ip(7), ip(8), ip(250), vip(250).ip]));
    engine.handle(now, Input::PathsDoubted { slot: SLOT, gone });
    let (words, moved) = effects(&mut engine);
    assert_eq!(words, ["paths off", "paths on"]);
    assert_eq!(moved[0], paths(&[from(2, 7)], &[]));
    assert!(moved[1].routes.contains(&from(2, 7)));
    // As a reload does with one that gets another prefix.
    let other = VirtualAddress { prefix: 48, ..lost };
    engine.handle(now, Input::Change { slot: SLOT, settings: Box::new(with(&other)) });
    let (words, moved) = effects(&mut engine);
    assert_eq!(words, ["paths off", "addresses off", "addresses on", "paths on", "announced"]);
    assert_eq!(moved[0], paths(&[from(1, 250)], &[]));
    assert!(moved[1].routes.contains(&from(1, 250)));
}
