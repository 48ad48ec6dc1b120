//! What the protocol thread tells: to the log, to notify commands, to `status`.

use std::collections::BTreeSet;

use tracing::{error, info, warn};
use vrrp_common::{Instant, Reject, abi, wire};
use vrrp_proto::{Event, Slot, StateName, TrackerId, VirtualAddress, Why};

use super::budget::Budget;
use super::lost::Lack;
use super::protocol::{Notice, Order};
use super::repeats::{Say, Topic};
use super::running::{LastRefused, Running};
use super::service::{End, Service};
use super::{plan, refusals, words};
use crate::config::model::{Instance, Notify};
use crate::net::executor::Timing;
use crate::notify::{Kind, Word};
use crate::slowpath::SlowPath;
use crate::sys::clock;

impl Service {
    pub(super) async fn noticed(&mut self, notice: Notice) -> Option<End> {
        match notice {
            Notice::Event(now, event, count) => self.happened(now, &event, count),
            Notice::Record(record, count) => self.recorded(&record, count).await,
            Notice::SendFailed(slot, failing, len) => self.send_failed(slot, &failing, len),
            Notice::Deaf(ifindex, error) => {
                // One that is gone by now is closed like any other that goes.
                if !self.ports.fail_realm(ifindex, &error)
                    && let Some(interface) = self.host.interfaces.get(&ifindex)
                {
                    self.ports.fail(ifindex, &interface.name, &error, &mut self.fast);
                }
                self.reconcile();
            }
            Notice::Coarse(ifindex) => {
                let interface = self.host.interfaces.get(&ifindex);
                let name = interface.map_or_else(|| format!("#{ifindex}"), |i| i.name.clone());
                info!(
                    "{name}: the kernel takes no filter for so many destinations (net.core.optmem_max), so \
                     all VRRP that XDP passes is judged in the daemon"
                );
            }
            Notice::Close(sockets) => close(sockets),
            Notice::SendWorks(slot) => self.send_works(clock::now(), slot),
            Notice::Denied(what) => {
                warn!("{what}: adverts may be late on a busy host");
            }
            Notice::StoodStill(stall) => self.stood_still(stall),
            Notice::TookOver(slot, budget) => self.took_over(slot, budget),
            Notice::Broken(why) => return Some(End::Broken(why)),
        }
        None
    }

    /// `count`: how often it came, where it may with every packet.
    fn happened(&mut self, now: Instant, event: &Event, count: u64) {
        match event {
            Event::Transition { slot, to, from, priority, why } => {
                self.log(*slot, event);
                let Some(running) = self.running.get_mut(slot) else { return };
                running.enter(*to, why);
                let Instance { name, notify, .. } = &*running.instance;
                let word = word(*to, why, notify);
                self.notifier.push(Kind::Instance, name, word, *priority, notify);
                self.flapped(now, *slot, *to, why);
                if *why == (Why::Mute { alone: true }) {
                    self.cut(*slot);
                }
                if *from == StateName::Active {
                    self.look_for_strays([*slot], false);
                }
            }
            Event::GoesOn { slot, from, theirs } => {
                self.goes_on(now, *slot, (*from, *theirs), count);
                self.uncut(*slot);
            }
            Event::LowerAdvert { from, theirs, .. } | Event::Ignored { from, theirs, .. } => {
                self.chat(now, event, format!("{from} {theirs}"), count);
            }
            Event::SecondOwner { from, .. }
            | Event::PriorityZero { from, .. }
            | Event::PreemptDelayed { from, .. } => self.chat(now, event, from.to_string(), count),
            Event::Following { from, interval, .. } => {
                self.chat(now, event, format!("{from} {}", interval.get().as_millis()), count);
            }
            Event::AddressesRestored { slot, addresses } => {
                if !self.try_again(*slot, addresses) {
                    let ips: Vec<_> = addresses.iter().map(|address| address.ip).collect();
                    self.chat(now, event, format!("{} {ips:?}", self.lease_ended()), count);
                }
            }
            Event::Group { group, to, .. } => self.group_changed(now, *group, *to),
            Event::PathsRestored { slot, paths } => {
                self.restored(now, *slot, paths, count);
            }
            Event::PathsFailed { slot, failed } => {
                if let Some(running) = self.running.get_mut(slot) {
                    running.unset.extend(failed.iter().cloned());
                }
                self.paths.put_off(*slot, failed);
            }
            Event::PriorityChanged { slot, .. } => self.log(*slot, event),
            Event::AddressFailed { slot, address, error } => {
                for line in self.lines(&self.name(*slot), *slot, event) {
                    error!("{line}");
                }
                if let Some(running) = self.running.get_mut(slot) {
                    running.note_unheld(address.clone(), Lack::Refused(error.clone()));
                }
            }
            // Comes with more stamps as a notice of its own.
            Event::TookOver { .. } => {}
            Event::Ended { slot } => self.ended(*slot),
        }
    }

    /// Says of addresses that they are asked for once more, where it is known why they are not there. `false`:
    /// not so of each, somebody removed one.
    fn try_again(&mut self, slot: Slot, addresses: &[VirtualAddress]) -> bool {
        let name = self.name(slot);
        let Some(running) = self.running.get_mut(&slot) else { return false };
        let all = std::mem::take(&mut running.unheld);
        // Until they are refused again.
        let (again, others): (Vec<_>, _) =
            all.into_iter().partition(|(one, _)| addresses.contains(one));
        running.unheld = others;
        if again.len() < addresses.len() {
            return false;
        }
        for (VirtualAddress { ip, prefix, device, .. }, lack) in again {
            let why = match lack {
                Lack::Refused(_) => "was refused",
                Lack::Went => "went with its link",
            };
            info!("({name}) address {ip}/{prefix} on {device} {why}; trying again");
        }
        true
    }

    /// Notes that routes or rules are set which were not.
    fn restored(&mut self, now: Instant, slot: Slot, paths: &[String], count: u64) {
        if let Some(running) = self.running.get_mut(&slot) {
            running.unset.retain(|path, _| !paths.contains(path));
        }
        let paths = self.paths.set_again(slot, paths);
        if !paths.is_empty() {
            let cause = format!("{paths:?}");
            self.chat(now, &Event::PathsRestored { slot, paths }, cause, count);
        }
    }

    fn took_over(&mut self, slot: Slot, budget: Budget) {
        if let Some(running) = self.running.get_mut(&slot) {
            running.takeover = Some(budget);
            self.tell_takeover(slot);
        }
    }

    /// The effects thread tells this by a way of its own, so it may be before [`Service::took_over`].
    pub(super) fn timed(&mut self, timing: Timing) {
        if let Some(running) = self.running.get_mut(&timing.slot) {
            running.timing = Some(timing);
            self.tell_takeover(timing.slot);
        }
    }

    /// Logs a takeover once all of it is known. What the kernel refused has a line of its own.
    fn tell_takeover(&mut self, slot: Slot) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let Some(budget) = running.takeover.as_mut().filter(|budget| !budget.told) else {
            return;
        };
        let timing = running.timing.take_if(|timing| timing.address_up >= budget.due);
        if let Some(timing) = timing {
            budget.serve(&timing);
        } else if running.settings.held().next().is_some() {
            return;
        }
        budget.told = true;
        info!("({}) {}", running.instance.name, budget.line());
    }

    fn ended(&mut self, slot: Slot) {
        self.unmade.remove(&slot);
        if let Some(running) = self.running.remove(&slot) {
            self.index.remove(slot, &running);
            if let (Some(fast), Some(way)) = (&mut self.fast, &running.way) {
                let instance = &running.instance;
                let key = abi::RouterKey::new(way.ifindex, instance.family, instance.vrid.get());
                fast.remove_router(key, slot.0);
            }
            self.forget(slot);
            self.life.end(slot, clock::now());
            let _ = self.orders.send(Order::Unroute(slot));
            self.stale = !self.stopping;
            if !self.stopping {
                self.add_waiting();
            }
        }
    }

    fn log(&self, slot: Slot, event: &Event) {
        let name = self.name(slot);
        for line in self.lines(&name, slot, event) {
            tell(event, &line);
        }
    }

    fn lines(&self, name: &str, slot: Slot, event: &Event) -> Vec<String> {
        let running = self.running.get(&slot).map(Box::as_ref);
        self.with_names(running, |names| words::lines(name, event, names))
    }

    /// Says something of an instance with what the engine has no words for.
    pub(super) fn with_names<T>(
        &self,
        running: Option<&Running>,
        say: impl FnOnce(&words::Names<'_>) -> T,
    ) -> T {
        let tracker = |id| self.trackers.name(id);
        let failed = |id| self.failed(running, id);
        let member = |slot| self.member(slot);
        say(&words::Names {
            tracker: &tracker,
            failed: &failed,
            member: &member,
            no_source: running.and_then(|running| self.no_source(running)),
            no_device: running.and_then(|running| self.no_device(&running.instance)),
            served_by: running.and_then(|running| self.served_by(&running.instance)),
            lease_ended: self.lease_ended(),
        })
    }

    /// What is wrong with something that an instance watches.
    pub(super) fn failed(&self, running: Option<&Running>, id: TrackerId) -> String {
        let name = self.trackers.name(id);
        let interface = self.trackers.interface(id);
        let held = interface.zip(running).and_then(|(interface, running)| {
            plan::held_on(&running.instance, interface).map(|address| address.ip)
        });
        held.map_or_else(|| format!("{name} failed"), |ip| format!("{name} of {ip} is down"))
    }

    /// Why an instance has no address to send from, where more is known of it.
    pub(super) fn no_source(&self, running: &Running) -> Option<String> {
        let instance = &running.instance;
        let host = &self.host;
        self.seeking.why_not(instance, host).or_else(|| plan::lacks_source(instance, host))
    }

    pub(super) fn name(&self, slot: Slot) -> String {
        let running = self.running.get(&slot);
        running.map_or_else(|| format!("#{}", slot.0), |r| r.instance.name.clone())
    }

    /// An instance as a member of its sync group.
    pub(super) fn member(&self, slot: Slot) -> String {
        let name = self.name(slot);
        match self.groups.of(slot) {
            Some(group) => format!("{name} of sync group {group}"),
            None => name,
        }
    }

    /// A refused advert, or one with other addresses than ours.
    async fn recorded(&mut self, record: &abi::Event, count: u64) {
        let slot = Slot(record.slot);
        let now = Instant::from_nanos(record.at);
        let Some(running) = self.running.get_mut(&slot) else { return };
        let name = running.instance.name.clone();
        let reason = Reject::from_index(record.reason.into());
        let Some(reason) = reason.filter(|_| record.kind == abi::Event::REFUSED) else {
            let source = wire::address(running.instance.family, record.source);
            let missing = refusals::missing(record, running.instance.vrid, running.advertised());
            for (at, detail) in refusals::oddities(record, running.advertised()).iter().enumerate()
            {
                let line = format!("advert from {source} accepted, but {detail}");
                let said = self.refusals.note(now, slot.0, (Topic::Odd, line.clone()), 0);
                say(said, &name, &format!("({name}) {line}"), |text| warn!("{text}"));
                // The addresses are the first of what may be odd.
                say_too(said, &name, missing.as_deref().filter(|_| at == 0));
            }
            return;
        };
        if refusals::is_apart(record, reason, running.advertised()) {
            return;
        }
        let explained = refusals::explain(record, reason, &running.instance);
        let refusals::Explained { source, detail } = explained;
        let last = LastRefused { at: now, reason, source, detail: detail.clone() };
        running.last_refused = Some(last);
        let total = self.fast.as_ref().map_or(0, |fast| fast.counters(slot.0).refused(reason));
        let seen = self.seen.entry((slot.0, reason)).or_default();
        *seen += count;
        // The kernel sends a sample of what it counts; the socket sends all.
        let total = total.max(*seen);
        let cause = (Topic::Refused(Some(reason)), format!("{source} {detail}"));
        let said = self.refusals.note(now, slot.0, cause, total);
        if said == Say::Nothing {
            return;
        }
        let missing = refusals::missing(record, running.instance.vrid, running.advertised());
        let mut line = format!("({name}) refused advert from {source} ({reason}): {detail}");
        if reason == Reject::ForeignCluster {
            let (interface, vrid) = (running.instance.interface.clone(), running.instance.vrid);
            // By whichever interface it came.
            let on = running.way.as_ref().map_or(record.ifindex, |way| way.ifindex);
            let free = self.free_vrids(on).await;
            line.push_str(&format!(
                "; another cluster uses VRID {vrid} on {interface}; free there, by what was heard so far: {free}"
            ));
        }
        say(said, &name, &line, |text| warn!("{text}"));
        say_too(said, &name, missing.as_deref());
    }

    /// Logs an event that may come again and again.
    pub(super) fn chat(&mut self, now: Instant, event: &Event, cause: String, count: u64) {
        let Some((slot, topic)) = Topic::of(event) else { return };
        let said = self.chatter.count(now, slot.0, (topic, cause), count);
        if said == Say::Nothing {
            return;
        }
        let name = self.name(slot);
        for line in self.lines(&name, slot, event) {
            say(said, &name, &line, |text| tell(event, text));
        }
    }

    /// VRIDs nobody was heard using on an interface, ours and other clusters' left out.
    async fn free_vrids(&self, ifindex: u32) -> String {
        let inspection = self.inspect().await;
        let mut used: BTreeSet<u8> = self
            .running
            .values()
            .flat_map(|running| running.routers(&self.host))
            .filter(|key| key.ifindex == ifindex)
            .map(|key| key.vrid)
            .collect();
        let slow = inspection.map(|inspection| inspection.strangers).unwrap_or_default();
        let strangers = self.strangers_of_both(slow).into_iter().map(|(key, _)| key);
        used.extend(strangers.filter(|key| key.ifindex == ifindex).map(|key| key.vrid));
        refusals::free_vrids(&used)
    }
}

/// Has sockets closed by a thread that has nothing else to do: for each the kernel waits, some 20 ms, until no
/// CPU is at work with it.
fn close(sockets: Vec<SlowPath>) {
    if !sockets.is_empty() {
        drop(tokio::task::spawn_blocking(move || drop(sockets)));
    }
}

/// What notify commands are told of a state.
fn word(to: StateName, why: &Why, notify: &Notify) -> Word {
    match to {
        StateName::Active => Word::Master,
        StateName::Backup => Word::Backup,
        StateName::Fault => Word::Fault,
        StateName::Initialize if *why == Why::Removed => Word::of_removed(notify),
        StateName::Initialize => Word::Stop,
    }
}

/// Tells one more line where one was told.
fn say_too(said: Say, name: &str, more: Option<&str>) {
    if let (Say::First | Say::Again(..), Some(more)) = (said, more) {
        info!("({name}) {more}");
    }
}

/// Logs a line of an event.
fn tell(event: &Event, line: &str) {
    if matches!(event, Event::PathsFailed { .. }) {
        error!("{line}");
        return;
    }
    if is_warning(event) {
        warn!("{line}");
    } else {
        info!("{line}");
    }
}

/// Whether the operator must look at it.
fn is_warning(event: &Event) -> bool {
    let fault = matches!(event, Event::Transition { to: StateName::Fault, .. });
    fault || matches!(event, Event::SecondOwner { .. })
}

/// Tells a line, or that lines are left out.
pub(super) fn say(said: Say, name: &str, line: &str, tell: impl Fn(&str)) {
    match said {
        Say::First | Say::Again(0, _) => tell(line),
        Say::Again(more, since) => {
            tell(&format!("{line} ({more} more of that kind in the last {} s)", since.as_secs()));
        }
        Say::TooMany => {
            tell(&format!("({name}) more lines of that kind are left out for a minute"));
        }
        Say::Nothing => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vrrp_common::Priority;

    use super::*;

    #[test]
    fn a_fault_and_a_second_owner_are_warnings_and_an_election_is_none() {
        let (slot, from) = (Slot(1), IpAddr::from([192, 0, 2, 12]));
        let to = |to| Event::Transition {
            slot,
            from: StateName::Backup,
            to,
            why: Why::LinkDown,
            priority: Priority::DEFAULT,
        };
        let theirs = Priority::DEFAULT;
        assert!(
            is_warning(&to(StateName::Fault)) && is_warning(&Event::SecondOwner { slot, from })
        );
        for event in [
            to(StateName::Active),
            to(StateName::Backup),
            Event::LowerAdvert { slot, from, theirs, ours: theirs },
            Event::Ignored { slot, from, theirs },
            Event::PriorityZero { slot, from },
        ] {
            assert!(!is_warning(&event), "{event:?}");
        }
    }
}
