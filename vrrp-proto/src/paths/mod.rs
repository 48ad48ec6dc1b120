//! Routes and rules that follow the Active router, beside its addresses.
//!
//! What they mean is the host's business: the engine compares them and hands them on. They show themselves in
//! the words of `ip route` and `ip rule`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use vrrp_common::Family;

pub mod route;
pub mod rule;

pub use route::{Hop, Measure, Order, Quantity, Route, RouteKind};
pub use rule::{Action, Mark, Rule};

/// The mark on what is ours (`RTPROT_KEEPALIVED`), which `ip` shows by name.
pub const PROTOCOL: u8 = 18;
/// The table that is meant where none is written (`RT_TABLE_MAIN`).
pub const MAIN: u32 = 254;

/// What a router routes by while it is Active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// `virtual_routes`, in the order in which they are put on.
    pub routes: Vec<Route>,
    /// `virtual_rules`, likewise, behind the routes.
    pub rules: Vec<Rule>,
}

impl Paths {
    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.rules.is_empty()
    }

    /// Those that are put back when somebody else removes them.
    pub fn tracked(&self) -> Self {
        let routes = self.routes.iter().filter(|route| route.tracked);
        let rules = self.rules.iter().filter(|rule| rule.tracked);
        Self { routes: routes.cloned().collect(), rules: rules.cloned().collect() }
    }

    /// Those that are put back, and those that the others have, in this order.
    pub fn tracked_or(&self, others: &Self) -> Self {
        let routes = self.routes.iter().filter(|one| one.tracked || others.routes.contains(one));
        let rules = self.rules.iter().filter(|one| one.tracked || others.rules.contains(one));
        Self { routes: routes.cloned().collect(), rules: rules.cloned().collect() }
    }

    /// The routes that forget their source with one of these addresses, of those that are put back: the kernel
    /// takes an IPv4 route off with it, and keeps one of IPv6, from whatever address then.
    pub(crate) fn forgetting(&self, gone: impl Iterator<Item = IpAddr>) -> Self {
        let gone: BTreeSet<IpAddr> = gone.filter(IpAddr::is_ipv6).collect();
        let is_from = |route: &&Route| route.source.is_some_and(|source| gone.contains(&source));
        let routes = self.routes.iter().filter(|route| route.tracked).filter(is_from);
        Self { routes: routes.cloned().collect(), rules: Vec::new() }
    }

    /// Those that the others have not.
    pub fn without(&self, others: &Self) -> Self {
        let routes = self.routes.iter().filter(|route| !others.routes.contains(route));
        let rules = self.rules.iter().filter(|rule| !others.rules.contains(rule));
        Self { routes: routes.cloned().collect(), rules: rules.cloned().collect() }
    }
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// One of them.
    pub ip: IpAddr,
    /// How many bits: 0 to 32 or 128.
    pub length: u8,
}

impl Network {
    /// All addresses of a family.
    pub const fn all(family: Family) -> Self {
        let ip = match family {
            Family::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        Self { ip, length: 0 }
    }

    /// The bits of an address of its family.
    pub const fn bits(&self) -> u8 {
        match self.ip {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// The same by the first of its addresses.
    #[must_use]
    pub const fn masked(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.unbounded_shl(32 - self.length as u32);
                IpAddr::V4(std::net::Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.unbounded_shl(128 - self.length as u32);
                IpAddr::V6(std::net::Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        };
        Self { ip, ..self }
    }
}

impl fmt::Display for Network {
    /// As `ip` does: without the length where it is one address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == self.bits() {
            write!(f, "{}", self.ip)
        } else if self.length == 0 && self.ip.is_ipv4() {
            f.write_str("default")
        } else {
            write!(f, "{}/{}", self.ip, self.length)
        }
    }
}

/// Realms of a route or rule (IPv4): numbers for the kernel's accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realms {
    /// Where packets come from; 0: any.
    pub from: u16,
    /// Where they go.
    pub to: u16,
}

impl fmt::Display for Realms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            0 => write!(f, "realms {}", self.to),
            from => write!(f, "realms {from}/{}", self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ip: &str, length: u8) -> Network {
        Network { ip: ip.parse().unwrap(), length }
    }

    #[test]
    fn networks_by_their_first_address() {
        assert_eq!(network("192.0.2.77", 26).masked(), network("192.0.2.64", 26));
        assert_eq!(network("192.0.2.77", 0).masked(), Network::all(Family::V4));
        assert_eq!(network("192.0.2.77", 32).masked(), network("192.0.2.77", 32));
        assert_eq!(network("2001:db8::1:2", 112).masked(), network("2001:db8::1:0", 112));
        assert_eq!(network("2001:db8::1", 0).masked(), Network::all(Family::V6));
    }

    #[test]
    fn networks_as_ip_shows_them() {
        assert_eq!(network("192.0.2.0", 24).to_string(), "192.0.2.0/24");
        assert_eq!(network("192.0.2.1", 32).to_string(), "192.0.2.1");
        assert_eq!(Network::all(Family::V4).to_string(), "default");
        assert_eq!(Network::all(Family::V6).to_string(), "::/0");
    }

    #[test]
    fn what_is_missing_in_the_others() {
        let of = |metric| Route { metric, ..Route::to(network("192.0.2.0", 24)) };
        let both = Paths { routes: vec![of(None), of(Some(1))], ..Paths::default() };
        let one = Paths { routes: vec![of(Some(1))], ..Paths::default() };
        assert_eq!(both.without(&one).routes, [of(None)]);
        assert!(one.without(&both).is_empty());
        let rule = Rule::new(Network::all(Family::V4), 5, Action::Nop);
        let with_rule = Paths { rules: vec![rule.clone()], ..one.clone() };
        assert_eq!(with_rule.without(&one).rules, [rule]);
        assert!(!with_rule.is_empty());
    }

    #[test]
    fn what_is_not_tracked_is_left_out() {
        let route = |tracked| Route { tracked, ..Route::to(network("192.0.2.0", 24)) };
        let rule = |tracked| Rule {
            tracked,
            ..Rule::new(Network::all(Family::V6), 5, Action::Table(MAIN))
        };
        let all =
            Paths { routes: vec![route(true), route(false)], rules: vec![rule(false), rule(true)] };
        let tracked = Paths { routes: vec![route(true)], rules: vec![rule(true)] };
        assert_eq!(all.tracked(), tracked);
    }
}
