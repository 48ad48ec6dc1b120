//! Routes and rules of routers: on behind their addresses, off before them.
//!
//! `message` says them to the kernel, `holdings` knows who has which, `kept` is for when all that is gone,
//! `watch` tells when somebody else has taken some away. What is here carries it out, on the thread that has the addresses too.

mod holdings;
mod kept;
mod message;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use rtnetlink::packet_core::NLM_F_EXCL;
use rtnetlink::packet_route::RouteNetlinkMessage;
use vrrp_proto::Paths;
use vrrp_proto::input::{Outcome, Slot};
use vrrp_proto::paths::{Order, Route, Rule};

use super::executor::{LEFTOVERS, Timing};
use super::netlink::Answer;
use super::worker::{Worker, resolver};
use holdings::Holdings;
pub(crate) use kept::{Kept, Off, kept, take_off};

/// A route or a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    Route(Route),
    Rule(Rule),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route {route}"),
            Self::Rule(rule) => write!(f, "rule {rule}"),
        }
    }
}

/// A route or a rule as the kernel has it, with the interfaces' indexes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Route(rtnetlink::packet_route::route::RouteMessage),
    Rule(rtnetlink::packet_route::rule::RuleMessage),
}

impl Known {
    /// The requests that put it on, or back on, with their flags.
    fn additions(&self, flags: u16, was: bool) -> Vec<(RouteNetlinkMessage, u16)> {
        match self {
            Self::Route(route) if was => {
                // By itself, each hop may go beside the others.
                let hops = message::hops(route).into_iter();
                let each =
                    hops.map(|hop| (RouteNetlinkMessage::NewRoute(hop), flags & !NLM_F_EXCL));
                let each: Vec<_> = each.collect();
                if each.is_empty() { vec![(self.addition(), flags)] } else { each }
            }
            Self::Route(_) | Self::Rule(_) => vec![(self.addition(), flags)],
        }
    }

    fn addition(&self) -> RouteNetlinkMessage {
        match self {
            Self::Route(route) => RouteNetlinkMessage::NewRoute(route.clone()),
            Self::Rule(rule) => RouteNetlinkMessage::NewRule(rule.clone()),
        }
    }

    fn removal(&self) -> RouteNetlinkMessage {
        match self {
            Self::Route(route) => RouteNetlinkMessage::DelRoute(route.clone()),
            Self::Rule(rule) => RouteNetlinkMessage::DelRule(rule.clone()),
        }
    }
}

impl Path {
    /// Says whether it is a route that wants no other beside it.
    fn is_to_be_alone(&self) -> bool {
        matches!(self, Self::Route(Route { order: Order::Add, .. }))
    }

    /// As the kernel is told of it, with the flags of the request that puts it on.
    fn known(
        &self,
        resolve: impl FnMut(&str) -> Option<u32>,
    ) -> Result<(Known, u16), message::NoDevice> {
        Ok(match self {
            Self::Route(route) => {
                let flags = message::flags_of(route.order);
                (Known::Route(message::route(route, resolve)?), flags)
            }
            Self::Rule(rule) => (Known::Rule(message::rule(rule)), message::RULE_FLAGS),
        })
    }
}

/// All of them in the order in which they go on.
fn in_order(paths: &Paths) -> impl DoubleEndedIterator<Item = Path> {
    let routes = paths.routes.iter().cloned().map(Path::Route);
    routes.chain(paths.rules.iter().cloned().map(Path::Rule))
}

/// What is held, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Table {
    holdings: Holdings,
    /// What the kernel refused last, and why.
    refused: BTreeMap<(Slot, Path), String>,
}

/// Why one is not there, where that is known.
fn refusal(answer: Answer) -> Result<bool, String> {
    match answer {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == Errno::EEXIST => Ok(false),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// What the answers for its hops come to: it is there where one of them is.
fn of_all(answers: impl Iterator<Item = Result<bool, String>>) -> Option<Result<bool, String>> {
    answers.reduce(|all, one| match (all, one) {
        (Ok(all), Ok(one)) => Ok(all || one),
        (Ok(new), Err(_)) | (Err(_), Ok(new)) => Ok(new),
        (Err(first), Err(_)) => Err(first),
    })
}

/// Says whether that is the kernel's word for one that it does not have.
fn is_not_there(errno: Errno) -> bool {
    matches!(errno, Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::EADDRNOTAVAIL)
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Puts a router's routes and rules on, in one batch, and says what there is to say: which are there now
    /// that were missing, and which the kernel refuses, unless it was told before.
    pub(super) fn add_paths(&mut self, slot: Slot, paths: &Paths) {
        let mut resolve = resolver(&self.interfaces);
        let (mut wanted, mut requests, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for path in in_order(paths) {
            match path.known(&mut resolve) {
                Ok((known, flags)) => {
                    // By another index than it was: with the interface went the route.
                    let was = self.paths.holdings.has(slot, &path).is_some_and(|was| *was == known);
                    let additions = known.additions(flags, was);
                    wanted.push((path, known, was, additions.len()));
                    requests.extend(additions);
                }
                Err(missing) => failed.push((path, missing.to_string())),
            }
        }
        drop(resolve);
        let answers = self.addresses.execute(requests);
        let unknown = answers.as_ref().err().map(io::Error::to_string);
        let mut answers = answers.unwrap_or_default().into_iter().map(refusal);
        let mut restored = Vec::new();
        for (path, known, was, count) in wanted {
            // Where the kernel's answer is not known, it may be there.
            match of_all(answers.by_ref().take(count)).unwrap_or(Ok(false)) {
                // Somebody else's, as it was not put on from here.
                Ok(false) if path.is_to_be_alone() && !was && unknown.is_none() => {
                    failed.push((path, "another one to this network is there already".to_owned()));
                }
                Ok(new) => {
                    let was_refused = self.paths.refused.remove(&(slot, path.clone())).is_some();
                    if new && was || was_refused {
                        restored.push(path.to_string());
                    }
                    self.paths.holdings.hold(slot, path, known);
                }
                // Where it was put on before it may be there, other than asked for: an IPv6 route whose source
                // went. So it stays the router's, to be taken off.
                Err(error) => failed.push((path, error)),
            }
        }
        if let Some(error) = unknown {
            tracing::warn!("Routes and rules may not be there: netlink: {error}");
        }
        let failed = self.news(slot, failed);
        if !restored.is_empty() || !failed.is_empty() {
            (self.report)(slot, Outcome::Paths { restored, failed });
        }
    }

    /// What is told of those that are refused: nothing again.
    fn news(&mut self, slot: Slot, failed: Vec<(Path, String)>) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for (path, error) in failed {
            let text = path.to_string();
            if self.paths.refused.insert((slot, path), error.clone()).as_ref() != Some(&error) {
                news.push((text, error));
            }
        }
        news
    }

    /// Takes routers' rules and routes off, in one batch, and each in the reverse order: exactly what was
    /// put on, unless another router has the same. Of what an earlier life left, what is written.
    pub(super) fn remove_paths(&mut self, all: &[(Slot, Arc<Paths>)]) {
        let mut resolve = resolver(&self.interfaces);
        let (mut texts, mut requests) = (Vec::new(), Vec::new());
        for (slot, paths) in all {
            for path in in_order(paths).rev() {
                let known = if *slot == LEFTOVERS {
                    let known = path.known(&mut resolve).ok().map(|(known, _)| known);
                    known.filter(|known| !self.paths.holdings.anybody(known))
                } else {
                    self.paths.holdings.release(*slot, &path)
                };
                if let Some(known) = known {
                    texts.push(path.to_string());
                    requests.push((known.removal(), 0));
                }
                self.paths.refused.remove(&(*slot, path));
            }
        }
        drop(resolve);
        match self.addresses.execute(requests) {
            Ok(answers) => {
                for (text, answer) in texts.iter().zip(answers) {
                    match answer {
                        Ok(()) => {}
                        Err(refusal) if is_not_there(refusal.errno) => {
                            tracing::debug!("{text} was not there any more");
                        }
                        Err(refusal) => tracing::warn!("Can't remove {text}: {refusal}"),
                    }
                }
            }
            Err(error) => tracing::warn!("Routes and rules may stay: netlink: {error}"),
        }
    }

    /// Takes off what an earlier life put on and nobody has now, in this order.
    pub(super) fn remove_kept(&mut self, all: &[Kept]) {
        let nobodys =
            |kept: &&Kept| kept.known().is_some_and(|known| !self.paths.holdings.anybody(&known));
        let all: Vec<&Kept> = all.iter().filter(nobodys).collect();
        match take_off(&all) {
            Ok(off) => {
                for (kept, off) in all.iter().zip(off) {
                    if let Off::Stays(error) = off {
                        tracing::warn!("Can't remove {}: {error}", kept.text);
                    }
                }
            }
            Err(error) => tracing::warn!("Routes and rules of an earlier life may stay: {error}"),
        }
    }

    /// Has a router hold what an earlier life put on for it: its removal takes it off.
    pub(super) fn claim_paths(&mut self, slot: Slot, paths: &Paths) {
        let mut resolve = resolver(&self.interfaces);
        for path in in_order(paths) {
            if let Ok((known, _)) = path.known(&mut resolve) {
                self.paths.holdings.hold(slot, path, known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::Refusal;
    use vrrp_common::Family;
    use vrrp_proto::paths::{Action, Network};

    #[test]
    fn routes_first_and_rules_behind_them() {
        let route = |metric| Route {
            metric: Some(metric),
            ..Route::to(Network { ip: [192, 0, 2, 0].into(), length: 24 })
        };
        let rule = |preference| Rule::new(Network::all(Family::V4), preference, Action::Nop);
        let paths = Paths { routes: vec![route(2), route(1)], rules: vec![rule(9), rule(8)] };
        let texts: Vec<String> = in_order(&paths).map(|path| path.to_string()).collect();
        assert_eq!(
            texts,
            [
                "route 192.0.2.0/24 metric 2",
                "route 192.0.2.0/24 metric 1",
                "rule preference 9: from all nop",
                "rule preference 8: from all nop",
            ]
        );
    }

    #[test]
    fn what_the_kernel_says() {
        let no = |errno, text: Option<&str>| Err(Refusal { errno, text: text.map(str::to_owned) });
        assert_eq!(refusal(Ok(())), Ok(true));
        assert_eq!(refusal(no(Errno::EEXIST, Some("RTNETLINK: exists"))), Ok(false));
        let why = Err("Network is unreachable (Nexthop has invalid gateway)".to_owned());
        assert_eq!(refusal(no(Errno::ENETUNREACH, Some("Nexthop has invalid gateway"))), why);
        let error = |text: &str| Err(text.to_owned());
        let all = |answers: &[Result<bool, String>]| of_all(answers.iter().cloned());
        assert_eq!(all(&[]), None);
        assert_eq!(all(&[Ok(false), Ok(true), error("a")]), Some(Ok(true)));
        assert_eq!(all(&[error("a"), Ok(false)]), Some(Ok(false)));
        assert_eq!(all(&[error("a"), error("b")]), Some(error("a")));
        assert!(is_not_there(Errno::ESRCH) && is_not_there(Errno::ENOENT));
        assert!(!is_not_there(Errno::EPERM) && !is_not_there(Errno::EINVAL));
    }
}
