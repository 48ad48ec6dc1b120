//! Routes and rules as they outlive the process that put them on.

use std::io;

use rtnetlink::packet_core::Parseable;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use vrrp_proto::Paths;

use super::holdings::key;
use super::{Known, in_order, is_not_there};
use crate::net::addr::Addresses;

/// One that was put on, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// As the kernel knows it.
    pub(crate) request: Vec<u8>,
    /// As people do.
    pub(crate) text: String,
}

impl Kept {
    pub(super) fn known(&self) -> Option<Known> {
        let (kind, message) = self.request.split_first()?;
        match kind {
            0 => RouteMessage::parse(message).ok().map(Known::Route),
            1 => RuleMessage::parse(message).ok().map(Known::Rule),
            _ => None,
        }
    }
}

/// Those that a router may put on as the host is now, in the order in which they go on: but for routes whose
/// interface is not there. `resolve` names an interface's index.
pub(crate) fn kept(paths: &Paths, mut resolve: impl FnMut(&str) -> Option<u32>) -> Vec<Kept> {
    let kept = in_order(paths).filter_map(|path| {
        let (known, _) = path.known(&mut resolve).ok()?;
        Some(Kept { request: key(&known), text: path.to_string() })
    });
    kept.collect()
}

/// What became of one that was to be taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Off {
    /// It was taken off.
    Gone,
    /// It was not there.
    NotThere,
    /// It is there, or may be.
    Stays(String),
}

/// Takes them off, in this order, in the calling thread's network namespace; of somebody else's none, which
/// have another protocol.
///
/// # Errors
/// The kernel's, where it can't be asked.
pub(crate) fn take_off(all: &[&Kept]) -> io::Result<Vec<Off>> {
    let known: Vec<Option<Known>> = all.iter().map(|kept| kept.known()).collect();
    let requests = known.iter().flatten().map(|known| (known.removal(), 0)).collect();
    let mut answers = Addresses::open()?.execute(requests)?.into_iter();
    let off = |known: Option<Known>| match known.and_then(|_| answers.next()) {
        Some(Ok(())) => Off::Gone,
        Some(Err(refusal)) if is_not_there(refusal.errno) => Off::NotThere,
        Some(Err(refusal)) => Off::Stays(refusal.to_string()),
        None => Off::Stays("it can't be read".to_owned()),
    };
    Ok(known.into_iter().map(off).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_common::Family;
    use vrrp_proto::paths::{Action, Hop, Measure, Network, Quantity, Route, Rule};

    #[test]
    fn what_is_kept_is_the_message_that_was_sent() {
        let hop = |device: &str, weight| {
            let gateway = Some([192, 0, 2, 1].into());
            Hop { gateway, device: Some(device.to_owned()), weight, ..Hop::default() }
        };
        let network = Network { ip: [198, 51, 100, 0].into(), length: 24 };
        let mtu = Measure { quantity: Quantity::Mtu, value: 1400, locked: true };
        let several = Route {
            hops: vec![hop("eth0", 1), hop("eth1", 7)],
            measures: vec![mtu],
            congestion: Some(("cubic".to_owned(), false)),
            metric: Some(9),
            ..Route::to(network)
        };
        let missing = Route { hops: vec![hop("eth9", 1)], ..Route::to(network) };
        let rule = Rule {
            input: Some("eth0".to_owned()),
            source_ports: Some((1, 2)),
            ..Rule::new(Network::all(Family::V6), 7, Action::Table(1000))
        };
        let paths = Paths { routes: vec![several, missing], rules: vec![rule] };
        let index = |name: &str| ["eth0", "eth1"].iter().position(|known| *known == name);
        let resolve = |name: &str| index(name).map(|at| at as u32 + 2);
        let all = kept(&paths, resolve);
        let [route, rule] = &all[..] else { panic!("two of them: {all:?}") };
        assert_eq!(rule.text, "rule preference 7: from all iif eth0 sport 1-2 table 1000");
        assert!(
            route.text.starts_with("route 198.51.100.0/24 metric 9 nexthop via 192.0.2.1 dev eth0")
        );
        let (known, _) = in_order(&paths).next().unwrap().known(resolve).unwrap();
        assert_eq!(route.known(), Some(known));
        let (known, _) = in_order(&paths).last().unwrap().known(resolve).unwrap();
        assert_eq!(rule.known(), Some(known));
        let broken = Kept { request: vec![7, 1, 2], text: String::new() };
        assert_eq!(broken.known(), None);
        assert_eq!(Kept { request: Vec::new(), ..broken }.known(), None);
    }
}
