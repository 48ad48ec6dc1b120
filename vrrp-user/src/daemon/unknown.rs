//! `log_unknown_vrids`: a line for each virtual router of others that is heard.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::info;
use vrrp_common::abi::StrangerKey;
use vrrp_common::{Family, Instant, wire};

use super::hear::say;
use super::protocol::Order;
use super::repeats::{Repeats, Say, Topic};
use super::report::Strangers;
use super::service::Service;
use crate::sys::clock;

/// How often it is looked for new ones.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Those that the log has a line of.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    told: HashSet<StrangerKey>,
    lines: Repeats,
}

impl Unknown {
    /// Who is heard now and was not the last time, with what is to be told of each: where senders are
    /// invented, not all.
    fn news(&mut self, now: Instant, heard: HashSet<StrangerKey>) -> Vec<(StrangerKey, Say)> {
        let mut fresh: Vec<_> = heard.difference(&self.told).copied().collect();
        fresh.sort_by_key(|key| (key.ifindex, key.family, key.vrid, key.source));
        // What is no longer remembered of others is forgotten here too.
        self.told = heard;
        let mut note = |key: StrangerKey| {
            let cause = format!("{} {} {}", key.family, key.vrid, source(&key));
            (key, self.lines.note(now, key.ifindex, (Topic::Unknown, cause), 1))
        };
        fresh.into_iter().map(&mut note).filter(|(_, said)| *said != Say::Nothing).collect()
    }
}

impl Service {
    /// Tells of the virtual routers of others that are new.
    pub(super) async fn tell_unknown(&mut self) {
        let heard = self.strangers_of_both(self.heard_by_sockets().await);
        let heard = heard.into_iter().map(|(key, _)| key).collect();
        for (key, said) in self.unknown.news(clock::now(), heard) {
            let interface = self.host.interfaces.get(&key.ifindex);
            let name = interface.map_or_else(|| format!("#{}", key.ifindex), |i| i.name.clone());
            say(said, &name, &line(&key, &name), |text| info!("{text}"));
        }
    }

    async fn heard_by_sockets(&self) -> Strangers {
        let (answer, receive) = oneshot::channel();
        // Without the protocol thread there is a `Notice::Broken` on its way.
        let _ = self.orders.send(Order::Strangers(answer));
        receive.await.unwrap_or_default()
    }
}

/// keepalived's words, and who it was.
fn line(key: &StrangerKey, interface: &str) -> String {
    let (vrid, source) = (key.vrid, source(key));
    format!("Unknown VRID({vrid}) received on interface({interface}). ignoring... (from {source})")
}

fn source(key: &StrangerKey) -> IpAddr {
    let family = if key.family == Family::V6 as u8 { Family::V6 } else { Family::V4 };
    wire::address(family, key.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(vrid: u8, last: u8) -> StrangerKey {
        let mut source = [0; 16];
        source[..4].copy_from_slice(&[192, 0, 2, last]);
        StrangerKey { ifindex: 2, family: Family::V4 as u8, vrid, reserved: [0; 2], source }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn each_is_told_once() {
        let mut unknown = Unknown::default();
        let heard = HashSet::from([key(52, 11), key(52, 12)]);
        let both = [(key(52, 11), Say::First), (key(52, 12), Say::First)];
        assert_eq!(unknown.news(at(1), heard.clone()), both);
        for later in [2, 70, 4000] {
            assert_eq!(unknown.news(at(later), heard.clone()), []);
        }
        let more = heard.into_iter().chain([key(9, 12)]).collect();
        assert_eq!(unknown.news(at(4001), more), [(key(9, 12), Say::First)]);
        assert_eq!(
            line(&key(9, 12), "eth0"),
            "Unknown VRID(9) received on interface(eth0). ignoring... (from 192.0.2.12)"
        );
    }

    #[test]
    fn invented_senders_do_not_fill_the_log() {
        let mut unknown = Unknown::default();
        let lines: usize = (0..20)
            .map(|n| {
                let heard = (n * 10..n * 10 + 50).map(|last| key(52, last)).collect();
                unknown.news(at(u64::from(n)), heard).len()
            })
            .sum();
        assert!((2..20).contains(&lines), "{lines}");
    }
}
