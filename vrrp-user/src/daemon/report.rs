//! `status`: from what the threads know to what is shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::arrivals::Arrivals;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, Reject, Vrid, abi, time, wire};
use vrrp_proto::{Health, Paths, Slot, StateName, View, VirtualAddress};

use super::budget::Budget;
use super::host;
use super::protocol::{Differing, Heard, Inspection};
use super::refusals::Compared;
use super::running::Running;
use super::service::Service;
use super::unsent::other_masters;
use super::words;
use crate::config::model::{Instance, Sharing};
use crate::fastpath::{Attached, Counters, FastPath};
use crate::notify::{Kind, Word};
use crate::status::{self, Status};
use crate::sys::clock;

impl Service {
    /// Everything as it is now.
    pub(super) async fn status(&self) -> Status {
        let inspection = self.inspect().await;
        let now = inspection.as_ref().map_or_else(clock::now, |i| i.now);
        let Inspection { views, counters, arrivals, failing, senders, strangers, lost, .. } =
            inspection.unwrap_or_default();
        let strangers = self.strangers_of_both(strangers);
        let instances = views.iter().filter_map(|view| {
            let running = self.running.get(&view.slot)?;
            let counters = self.counters(view, counters.get(&view.slot));
            let arrivals = self.arrivals(view.slot, arrivals.get(&view.slot));
            let senders = senders.get(&view.slot).map_or(&[][..], Vec::as_slice);
            let senders = heard(now, view, running, senders);
            let failing = failing.get(&view.slot).map(|it| self.failing(now, view.slot, it));
            Some(status::Instance {
                senders,
                failing,
                ..self.instance(now, view, running, counters, arrivals)
            })
        });
        let refused = self.config.refused.iter().map(|refused| status::Refused {
            name: refused.name.clone(),
            reason: refused.reason.clone(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: self.life.main(),
            uptime_ms: millis(now, self.started),
            router_id: self.router_id(),
            config: self.options.config.display().to_string(),
            no_kernel_timers: self.fast.as_ref().and_then(FastPath::no_timers).map(str::to_owned),
            host_behind_ms: self.lapses.behind.map(|since| millis(now, since)),
            instances: instances.collect(),
            refused_instances: refused.collect(),
            sync_groups: self.groups.status(now),
            interfaces: self.interfaces(&lost),
            scripts: self.script_states(),
            strangers: self.strangers(now, strangers),
        }
    }

    fn router_id(&self) -> String {
        let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        self.config.global.router_id.clone().or_else(host).unwrap_or_default()
    }

    fn instance(
        &self,
        now: Instant,
        view: &View,
        running: &Running,
        counters: status::Counters,
        arrivals: Option<status::Arrivals>,
    ) -> status::Instance {
        let instance = &running.instance;
        let interval = view.following.map_or(instance.interval, |f| f.interval);
        let down = down_interval(view, instance, interval);
        let peer = view.following.map(|following| status::Peer {
            address: following.source.to_string(),
            priority: following.priority.get(),
            interval_ms: following.interval.get().as_secs_f64() * 1000.0,
            checksum: following.form.name().to_owned(),
            heard_ms_ago: now.since(following.heard).as_secs_f64() * 1000.0,
        });
        let last_refused = running.last_refused.as_ref().map(|last| status::LastRefused {
            reason: last.reason.name().to_owned(),
            source: last.source.to_string(),
            ago_ms: millis(now, last.at),
            detail: last.detail.clone(),
        });
        status::Instance {
            name: instance.name.clone(),
            state: words::state(view.state).to_owned(),
            since_ms_ago: millis(now, view.since),
            why: self.with_names(Some(running), |names| words::why(&view.why, names)),
            sync_group: self.groups.of(view.slot).map(str::to_owned),
            waits_for_group: view.waits,
            interface: instance.interface.clone(),
            by_socket: self.by_socket(instance),
            vrid: instance.vrid.get(),
            version: instance.version as u8,
            priority: view.base_priority.get(),
            effective_priority: view.priority.get(),
            advert_interval_ms: instance.interval.get().as_secs_f64() * 1000.0,
            master_down_ms: down.as_secs_f64() * 1000.0,
            source: view.source.map(|source| source.to_string()),
            peer,
            addresses: self.addresses(view.state, running),
            paths: paths(running),
            takeover: running.takeover.map(|budget| {
                let notified = self.notified(view.slot, instance, budget.due);
                Budget { notified, ..budget }.status(now)
            }),
            arrivals,
            senders: Vec::new(),
            failing: None,
            other_masters: other_masters(now, view),
            counters,
            last_refused,
        }
    }

    /// When the first command ran that was told of a takeover: the instance's own, or its sync group's.
    fn notified(&self, slot: Slot, instance: &Instance, due: Instant) -> Option<Instant> {
        let group = self.groups.of(slot).map(|name| (Kind::Group, name));
        let told = std::iter::once((Kind::Instance, instance.name.as_str())).chain(group);
        let began = told.filter_map(|(kind, name)| self.notifier.began(kind, name, Word::Master));
        began.filter(|at| *at >= due).min()
    }

    /// Why XDP leaves an instance's adverts to the socket, where it runs on its interface.
    fn by_socket(&self, instance: &Instance) -> Option<String> {
        let attached = self.ports.attached(&instance.interface)?;
        let runs = matches!(attached, Attached::Native | Attached::Generic { .. });
        let beside = runs && instance.sharing == Sharing::Beside;
        let why = |vrid: Vrid| format!("XDP knows one of those with VRID {vrid} here, another one");
        beside.then(|| why(instance.vrid))
    }

    fn addresses(&self, state: StateName, running: &Running) -> Vec<status::Address> {
        let one = |address: &VirtualAddress| {
            let held = host::has(&self.host, address);
            let lack = running.unheld.iter().find(|(one, _)| !held && one == address);
            status::Address {
                address: format!("{}/{}", address.ip, address.prefix),
                device: address.device.clone(),
                held,
                unexpected: state != StateName::Active && self.is_on_host(running, address),
                error: lack.map(|(_, lack)| lack.to_string()),
            }
        };
        running.settings.held().map(one).collect()
    }

    /// What the kernel noted, and what came to the daemon beside that.
    fn arrivals(&self, slot: Slot, beside: Option<&Arrivals>) -> Option<status::Arrivals> {
        let mut all = self.fast.as_ref().map(|fast| fast.arrivals(slot.0)).unwrap_or_default();
        if let Some(beside) = beside {
            all += *beside;
        }
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Some(status::Arrivals {
            gaps: all.count(),
            missed: all.missed,
            min_ms: millis(all.min()?),
            p50_ms: millis(all.per_mille(500)?),
            p99_ms: millis(all.per_mille(990)?),
            max_ms: millis(all.max()?),
        })
    }

    fn counters(&self, view: &View, slow: Option<&Counters>) -> status::Counters {
        let Slot(slot) = view.slot;
        let mut sum = self.fast.as_ref().map(|fast| fast.counters(slot)).unwrap_or_default();
        if let Some(slow) = slow {
            sum += *slow;
        }
        let refused = Reject::ALL
            .into_iter()
            .map(|reason| (reason.name().to_owned(), sum.refused(reason)))
            .filter(|(_, count)| *count > 0);
        status::Counters {
            accepted: sum.accepted(),
            sent: view.stats.sent,
            zero_sent: view.stats.zero_sent,
            zero_received: view.stats.zero_received,
            became_master: view.stats.became_active,
            ring_full: sum.ring_full(),
            complex: sum.complex(),
            refused: refused.collect(),
        }
    }

    fn interfaces(&self, lost: &BTreeMap<u32, u64>) -> Vec<status::Interface> {
        let mut names: Vec<&str> =
            self.running.values().map(|running| running.instance.interface.as_str()).collect();
        // Not known yet.
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        let one = |name: &str| {
            let interface = self.host.by_name(name);
            let (datapath, why) = match self.ports.attached(name) {
                Some(Attached::Native) => ("native", None),
                Some(Attached::Generic { why }) => ("generic", Some(why.clone())),
                Some(Attached::Socket { why }) => ("socket", Some(why.clone())),
                None if interface.is_some() => {
                    ("none", Some("adverts can't be received on it".to_owned()))
                }
                None => ("none", Some("the interface is not there".to_owned())),
            };
            let lost = interface.and_then(|interface| lost.get(&interface.ifindex));
            status::Interface {
                name: name.to_owned(),
                up: interface.is_some_and(host::is_up),
                lost: lost.copied().unwrap_or(0),
                datapath: datapath.to_owned(),
                why,
            }
        };
        names.into_iter().map(one).collect()
    }

    fn script_states(&self) -> Vec<status::Script> {
        let one = |(name, script): (String, crate::track::ScriptStatus)| status::Script {
            name,
            health: match script.health {
                Health::Unknown => "unknown",
                Health::Good => "good",
                Health::Bad => "bad",
            }
            .to_owned(),
            last: script.last.as_ref().map(|last| last.outcome.to_string()),
            last_ms_ago: script.last.as_ref().map(|last| last.at.elapsed().as_millis() as u64),
            runs: script.runs,
            failures: script.failures,
            timeouts: script.timeouts,
            skipped: script.skipped,
        };
        self.scripts.status().into_iter().map(one).collect()
    }

    /// The virtual routers of others that the kernel program and the sockets heard, each once: an interface
    /// may have gone from one to the other. Those that are ours by now are none; the kernel program has no
    /// room for some of ours, and takes them for others'.
    pub(super) fn strangers_of_both(&self, slow: Strangers) -> Strangers {
        let ours: BTreeSet<(u32, u8, u8)> = self
            .running
            .values()
            .flat_map(|running| running.routers(&self.host))
            .map(|key| (key.ifindex, key.family as u8, key.vrid))
            .collect();
        let fast = self.fast.iter().flat_map(FastPath::strangers);
        merged(slow.into_iter().chain(fast).filter(|(key, _)| {
            let router = (key.ifindex, key.family, key.vrid);
            !ours.contains(&router)
        }))
    }

    fn strangers(&self, now: Instant, heard: Strangers) -> Vec<status::Stranger> {
        let family = |key: &abi::StrangerKey| match key.family {
            6 => vrrp_common::Family::V6,
            _ => vrrp_common::Family::V4,
        };
        let mut all: Vec<status::Stranger> = heard
            .into_iter()
            .map(|(key, value)| status::Stranger {
                interface: self
                    .host
                    .interfaces
                    .get(&key.ifindex)
                    .map_or_else(|| format!("#{}", key.ifindex), |i| i.name.clone()),
                vrid: key.vrid,
                source: wire::address(family(&key), key.source).to_string(),
                heard_ms_ago: millis(now, Instant::from_nanos(value.last)),
                packets: value.count,
            })
            .collect();
        all.sort();
        all
    }
}

/// What was heard of the virtual routers of others.
pub(super) type Strangers = Vec<(abi::StrangerKey, abi::Stranger)>;

/// Each once, with what all say of it.
fn merged(all: impl Iterator<Item = (abi::StrangerKey, abi::Stranger)>) -> Strangers {
    let mut each: HashMap<abi::StrangerKey, abi::Stranger> = HashMap::new();
    for (key, heard) in all {
        let sum = each.entry(key).or_insert(abi::Stranger { last: 0, count: 0 });
        (sum.last, sum.count) = (sum.last.max(heard.last), sum.count + heard.count);
    }
    each.into_iter().collect()
}

/// The senders of accepted adverts in the order of their addresses. What the kernel keeps to itself of the
/// one that is followed, the view knows.
fn heard(now: Instant, view: &View, running: &Running, senders: &[Heard]) -> Vec<status::Sender> {
    let mut senders: Vec<&Heard> = senders.iter().collect();
    senders.sort_by_key(|sender| sender.source);
    let followed = |source| view.following.filter(|following| following.source == source);
    let one = |sender: &Heard| {
        let at = followed(sender.source).map_or(sender.at, |following| following.heard);
        let is_there =
            |it: &&Differing| now.since(at) <= down_interval(view, &running.instance, it.interval);
        let differing = sender.differing.as_deref().filter(is_there);
        status::Sender {
            address: sender.source.to_string(),
            checksum: sender.form.name().to_owned(),
            message: sender.adverts(ChecksumForm::Message),
            pseudo_header: sender.adverts(ChecksumForm::PseudoHeader),
            heard_ms_ago: millis(now, at),
            differs: differing.and_then(|it| differs(now, it, running.advertised())),
        }
    };
    senders.into_iter().map(one).collect()
}

/// How the addresses of a sender differ from what ours are by now.
fn differs(now: Instant, it: &Differing, ours: &[VirtualAddress]) -> Option<status::Differs> {
    let compared = Compared::of(&it.record, ours);
    let words = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect();
    (!compared.is_alike()).then(|| status::Differs {
        since_ms_ago: millis(now, it.since),
        addresses: compared.count,
        ours: compared.ours,
        missing: words(&compared.missing),
        extra: words(&compared.extra),
        beyond: compared.beyond(),
    })
}

/// Master_Down_Interval behind an advert that names this interval.
fn down_interval(view: &View, instance: &Instance, interval: Interval) -> Duration {
    time::master_down(instance.version, view.priority, interval, instance.down_timer_adverts)
}

fn millis(now: Instant, then: Instant) -> u64 {
    now.since(then).as_millis() as u64
}

/// The routes and rules of an instance, and which of them the kernel refuses.
fn paths(running: &Running) -> Vec<status::Path> {
    let Paths { routes, rules } = &*running.settings.paths;
    let routes = routes.iter().map(|route| format!("route {route}"));
    let all = routes.chain(rules.iter().map(|rule| format!("rule {rule}")));
    let one = |path: String| {
        let error = running.unset.get(&path).cloned();
        status::Path { path, error }
    };
    all.map(one).collect()
}

#[cfg(test)]
mod tests {
    use vrrp_common::Family;

    use super::*;

    #[test]
    fn a_stranger_that_two_heard_is_one() {
        let key = |vrid| {
            let (family, reserved) = (Family::V4 as u8, [0; 2]);
            abi::StrangerKey { ifindex: 2, family, vrid, reserved, source: [9; 16] }
        };
        let heard = |last, count| abi::Stranger { last, count };
        let all = [(key(1), heard(70, 3)), (key(2), heard(50, 1)), (key(1), heard(60, 4))];
        let mut all = merged(all.into_iter());
        all.sort_by_key(|(key, _)| key.vrid);
        assert_eq!(all, [(key(1), heard(70, 7)), (key(2), heard(50, 1))]);
    }
}
