//! The routers and what happened to their adverts on the slow path: the kernel program's maps again,
//! in user space.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::abi::{self, Event, PerCounter, Router, RouterKey, StrangerKey, TtlBounds};
use vrrp_common::bytes::Tail;
use vrrp_common::check::{self, Agreement, Envelope, Judgement, Rules};
use vrrp_common::frame::{self, Located};
use vrrp_common::{Family, Instant, Reject};

use super::numbers::Numbers;
use super::senders::Senders;
use super::strangers::Strangers;
use super::uses::Uses;
use crate::ah;
use crate::config::model::Peer;
use crate::fastpath::{Counters, Positions, Repeats, bounds, leading, positions};

/// The routers whose adverts the slow path judges, with their counters.
#[derive(Debug, Default)]
pub struct Table {
    routers: HashMap<RouterKey, Router>,
    /// Those with [`Router::BESIDE`], by their groups, and those that hear a realm, by their own address.
    beside: HashMap<(RouterKey, [u8; 16]), Router>,
    uses: Uses,
    addresses: HashMap<u32, Positions>,
    peers: HashMap<u32, BTreeMap<[u8; 16], TtlBounds>>,
    tallies: BTreeMap<u32, Tally>,
    memories: HashMap<u32, Memory>,
    strangers: Strangers,
    repeats: Option<Repeats>,
}

/// The counters of one slot, and when each reason was last reported.
#[derive(Debug, Default)]
struct Tally {
    counters: Counters,
    reports: PerCounter,
}

/// What is remembered of a slot's accepted adverts.
#[derive(Debug, Default)]
struct Memory {
    /// Who sent those that the kernel program did not keep to itself.
    senders: Senders,
    /// The sequence numbers in authentication headers.
    numbers: Numbers,
}

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one beside a kernel program that keeps repeated adverts to itself.
    pub fn beside(repeats: Repeats) -> Self {
        Self { repeats: Some(repeats), ..Self::default() }
    }

    /// Judges adverts for `key` by `router`, `addresses` and, with [`Router::UNICAST`], `peers` from now
    /// on. How many addresses there are is counted here, whatever `router` says.
    pub fn set(&mut self, key: RouterKey, router: Router, addresses: &[IpAddr], peers: &[Peer]) {
        let slot = router.slot;
        let new = positions(&Positions::new(), key.family, addresses);
        let router = leading(router, &new);
        self.addresses.insert(slot, new);
        self.peers.insert(slot, bounds(peers));
        self.uses.add(slot);
        // It may have been the other kind, or on another group.
        self.remove(key, slot);
        let old = if router.flags & Router::BESIDE == 0 {
            self.routers.insert(key, router)
        } else {
            self.beside.insert((key, router.destination), router)
        };
        if let Some(old) = old {
            self.forget(old.slot);
        }
    }

    /// Leaves adverts for `key` alone from now on, unless they are another slot's by now.
    pub fn remove(&mut self, key: RouterKey, slot: u32) {
        if self.routers.get(&key).is_some_and(|router| router.slot == slot) {
            self.routers.remove(&key);
            self.forget(slot);
        }
        let its = |of: RouterKey, router: &Router| of == key && router.slot == slot;
        let gone = self.beside.extract_if(|(of, _), router| its(*of, router)).count();
        (0..gone).for_each(|_| self.forget(slot));
    }

    /// The counters of all slots that have any, in the order of their numbers.
    pub fn counters(&self) -> impl Iterator<Item = (u32, Counters)> + '_ {
        self.tallies.iter().map(|(slot, tally)| (*slot, tally.counters))
    }

    /// Sets a slot's counters to zero, for the next router that gets it.
    pub fn reset(&mut self, slot: u32) {
        self.tallies.remove(&slot);
    }

    /// The virtual routers of others that were heard, in no order.
    pub fn strangers(&self) -> Vec<(StrangerKey, abi::Stranger)> {
        self.strangers.all()
    }

    /// Notes who sent an accepted advert that the table did not judge, and when it came: one that the
    /// kernel program reported, or the last one of a watch that ends. For [`Router::SKIP_ADDRESSES`].
    pub fn heard(&mut self, slot: u32, at: Instant, source: [u8; 16]) {
        self.memories.entry(slot).or_default().senders.note(at, source);
    }

    /// Believes a sender of a slot whose sequence numbers are lower than before when they have grown for
    /// `down`, the router's Master_Down_Interval, and as many adverts as make that up. Before this is said,
    /// none is.
    pub fn wait(&mut self, slot: u32, down: Duration, adverts: u8) {
        self.memories.entry(slot).or_default().numbers.wait(down, adverts);
    }

    /// The greatest sequence number in an authentication header that was accepted for a slot; 0: none.
    pub fn greatest_sequence(&self, slot: u32) -> u32 {
        self.memories.get(&slot).map_or(0, |memory| memory.numbers.greatest())
    }

    /// The rules for a frame that arrived on an interface at that time, for [`check::judge`].
    pub fn rules<'a>(&'a self, ifindex: u32, at: Instant, frame: &'a [u8]) -> impl Rules {
        Interface { table: self, ifindex, at, frame }
    }

    /// Judges a frame that arrived on an interface at that time, counts it, and returns the record of
    /// it: of every good advert, and of a bad one unless the same was reported just before. A good one
    /// whose sender's sequence numbers begin anew has [`Reject::Replay`] as its reason.
    pub fn frame(&mut self, ifindex: u32, at: Instant, frame: &[u8]) -> Option<Event> {
        self.take(ifindex, at, frame, false)
    }

    /// The same for a frame that the kernel program has passed up: what that has counted is left to it.
    pub fn passed(&mut self, ifindex: u32, at: Instant, frame: &[u8]) -> Option<Event> {
        self.take(ifindex, at, frame, true)
    }

    /// The same for a packet that IP has delivered, and that came `by` an interface, where it is for one of
    /// those that hear a realm. `None` too for an advert that the interface is heard for: it came up there.
    pub fn delivered(&mut self, realm: u32, by: u32, at: Instant, frame: &[u8]) -> Option<Event> {
        let located = frame::locate::<_, true>(frame).ok()?;
        let Envelope { vrid, destination, .. } = Envelope::read(frame, &located)?;
        let slot = |on: u32| {
            let rules = self.rules(on, at, frame);
            rules.router(located.family, vrid, &destination).map(|router| router.slot)
        };
        let whose = slot(realm)?;
        if slot(by) == Some(whose) { None } else { self.frame(realm, at, frame) }
    }

    fn take(&mut self, ifindex: u32, at: Instant, frame: &[u8], passed: bool) -> Option<Event> {
        let located = frame::locate::<_, true>(frame).ok()?;
        let judgement = check::judge::<_, _, 8>(frame, &located, &self.rules(ifindex, at, frame));
        if passed && is_counted(frame, &judgement) {
            return None;
        }
        let envelope = Envelope::read(frame, &located)?;
        match judgement {
            Judgement::NotOurs => None,
            Judgement::Stranger => {
                let key = StrangerKey {
                    ifindex,
                    family: located.family as u8,
                    vrid: envelope.vrid,
                    reserved: [0; 2],
                    source: envelope.source,
                };
                self.strangers.note(key, at.as_nanos());
                None
            }
            // No message holds more addresses than the loop takes, and these rules can tell all.
            Judgement::Unfinished { .. } => None,
            Judgement::Ours { slot, verdict } => {
                let tally = self.tallies.entry(slot).or_default();
                let sequence = sequence(frame, &located);
                let mut anew = false;
                let (keep_head, list) = match verdict {
                    Ok(checked) => {
                        tally.counters.count(abi::COUNTER_ACCEPTED);
                        let memory = self.memories.entry(slot).or_default();
                        memory.senders.note(at, envelope.source);
                        if let Some(sequence) = sequence {
                            anew = memory.numbers.accept(envelope.source, sequence);
                        }
                        let list = checked.agreement.list(|| digest(frame, &located));
                        (matches!(checked.agreement, Agreement::Overlap), list)
                    }
                    Err(reason) => {
                        tally.counters.count(reason.index());
                        if let (Reject::Replay, Some(sequence)) = (reason, sequence) {
                            let memory = self.memories.entry(slot).or_default();
                            memory.numbers.refuse(envelope.source, sequence, at);
                        }
                        if !tally.report_due(reason.index(), at.as_nanos()) {
                            return None;
                        }
                        (true, 0)
                    }
                };
                let nanos = at.as_nanos();
                let mut event =
                    Event::new(nanos, ifindex, located.family, slot, &envelope, &verdict);
                event.list = list;
                if keep_head {
                    keep(&mut event, frame, &located);
                }
                if anew {
                    event.reason = Reject::Replay as u8;
                }
                Some(event)
            }
        }
    }

    /// One key less leads to a slot: forgets its addresses where it was the last.
    fn forget(&mut self, slot: u32) {
        if self.uses.drop(slot) {
            self.addresses.remove(&slot);
            self.peers.remove(&slot);
            self.memories.remove(&slot);
        }
    }
}

impl Tally {
    fn report_due(&mut self, reason: u32, now: u64) -> bool {
        let Some(last) = self.reports.get_mut(reason as usize) else { return false };
        if *last != 0 && now.saturating_sub(*last) < abi::REFUSED_EVERY_NANOS {
            return false;
        }
        *last = now;
        true
    }
}

/// Whether the kernel program has counted a frame that it passed: it could take it apart, and left it to
/// whomever it is for.
fn is_counted(frame: &[u8], judgement: &Judgement) -> bool {
    let passes = matches!(
        judgement,
        Judgement::Stranger
            | Judgement::Ours { verdict: Err(Reject::Destination | Reject::Group), .. }
    );
    passes && frame::locate::<_, false>(frame).is_ok()
}

/// The number of an advert's list of addresses.
fn digest(frame: &[u8], located: &Located) -> u32 {
    check::digest::<_, 8>(&Tail::new(frame, located.message), located.family)
}

fn keep(event: &mut Event, frame: &[u8], located: &Located) {
    event.keep_head(frame, located.message);
}

/// The sequence number of an authentication header, where there is one.
fn sequence(frame: &[u8], located: &Located) -> Option<u32> {
    let at = located.sealed.then_some(located.payload + ah::SEQUENCE)?;
    Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

struct Interface<'a> {
    table: &'a Table,
    ifindex: u32,
    at: Instant,
    frame: &'a [u8],
}

impl Rules for Interface<'_> {
    fn router(&self, family: Family, vrid: u8, destination: &[u8; 16]) -> Option<&Router> {
        let key = RouterKey::new(self.ifindex, family, vrid);
        let beside = self.table.beside.get(&(key, *destination));
        beside.or_else(|| self.table.routers.get(&key))
    }

    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32> {
        self.table.addresses.get(&slot)?.get(&IpAddr::from(address)).copied()
    }

    fn address_v6(&self, slot: u32, address: [u8; 16]) -> Option<u32> {
        self.table.addresses.get(&slot)?.get(&IpAddr::from(address)).copied()
    }

    fn peer(&self, slot: u32, source: [u8; 16]) -> Option<TtlBounds> {
        self.table.peers.get(&slot)?.get(&source).copied()
    }

    /// A number must be greater than all of its sender's: keepalived's, which counts from 1 after a
    /// restart, takes over the greatest that it hears. For whoever begins anew see [`Numbers`].
    fn unsealed(&self, router: &Router, located: &Located) -> Option<Result<(), Reject>> {
        let fits = || {
            let length = self.frame.get(located.ip + 2..)?.first_chunk()?;
            let end = located.ip + usize::from(u16::from_be_bytes(*length));
            let packet = self.frame.get(located.ip..end)?;
            let header = located.payload - located.ip;
            let hops = router.flags & Router::UNICAST != 0;
            Some(ah::fits(&router.password, packet, header, hops))
        };
        if fits() != Some(true) {
            return Some(Err(Reject::AuthData));
        }
        let from = Envelope::read(self.frame, located)?.source;
        let Some(memory) = self.table.memories.get(&router.slot) else { return Some(Ok(())) };
        let number = sequence(self.frame, located)?;
        let grown = memory.numbers.grows(from, number, self.at);
        Some(if grown { Ok(()) } else { Err(Reject::Replay) })
    }

    fn came_last(&self, slot: u32, located: &Located) -> Option<bool> {
        let source = Envelope::read(self.frame, located).map(|envelope| envelope.source);
        // What waited here for long is not judged by what came behind it; but whoever is watched came
        // before that, too.
        let told = self.table.memories.get(&slot).and_then(|memory| memory.senders.last(self.at));
        let kept = self.table.repeats.as_ref().and_then(|repeats| repeats.last(slot));
        let last = told.into_iter().chain(kept).max_by_key(|(at, _)| *at);
        Some(source.is_some() && last.map(|(_, source)| source) == source)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::{GOOD, OPTIONS};
    use super::*;
    use hex_literal::hex;
    use rstest::rstest;
    use vrrp_common::checksum::Sum;
    use vrrp_common::wire;

    /// To this host alone.
    const ALONE: [u8; 54] = hex!(
        "02000000000b 020000000065 0800"
        "45c0002800010000ff703634c0000265c000020b"
        "21339601000185cfc00002fa0000000000000000"
    );

    /// Of VRID 52, which is in this byte.
    fn of_another(frame: &[u8], vrid: usize) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame[vrid] = 52;
        frame
    }

    fn to_another_group() -> Vec<u8> {
        let mut frame = GOOD.to_vec();
        frame[33] += 1;
        frame
    }

    /// What the kernel program has judged and passed is its to count; it leaves options to the socket.
    #[rstest]
    #[case::stranger(of_another(&GOOD, 35), (1, 0), (0, 0))]
    #[case::stranger_with_options(of_another(&OPTIONS, 39), (1, 0), (1, 0))]
    #[case::to_this_host_alone(ALONE.to_vec(), (0, 1), (0, 0))]
    #[case::to_another_group(to_another_group(), (0, 1), (0, 0))]
    fn each_frame_is_counted_once(
        #[case] frame: Vec<u8>,
        #[case] alone: (usize, u64),
        #[case] beside: (usize, u64),
    ) {
        let counts = |passed: bool| {
            let mut table = Table::new();
            let destination = wire::octets(wire::group(Family::V4));
            let router = Router { destination, slot: 3, ..bytemuck::Zeroable::zeroed() };
            table.set(RouterKey::new(7, Family::V4, 51), router, &[], &[]);
            let at = Instant::from_nanos(1_000_000_000);
            let record = table.take(7, at, &frame, passed);
            let refused =
                table.counters().flat_map(|(_, counts)| Reject::ALL.map(|r| counts.refused(r)));
            let counts = (table.strangers().len(), refused.sum::<u64>());
            assert_eq!(record.is_some(), counts.1 > 0);
            counts
        };
        assert_eq!((counts(false), counts(true)), (alone, beside));
    }

    /// An advert that comes by an instance's own interface is heard there; by another one, wherever others of
    /// its VRID are, it is taken as IP delivers it.
    #[test]
    fn what_is_delivered_is_heard_once() {
        let mut table = Table::new();
        let to = |last: u8| wire::octets([192, 0, 2, last].into());
        let rule = |slot, destination, flags| Router {
            destination,
            slot,
            version: 2,
            interval: 1,
            flags,
            ..bytemuck::Zeroable::zeroed()
        };
        let key = |ifindex| RouterKey::new(ifindex, Family::V4, 51);
        let (ours, realm) = (IpAddr::from([192, 0, 2, 250]), 1 << 31);
        table.set(key(7), rule(3, to(11), Router::UNICAST), &[ours], &[]);
        table.set(key(realm), rule(3, to(11), Router::UNICAST | Router::BESIDE), &[ours], &[]);
        table.set(key(8), rule(4, to(12), Router::UNICAST), &[ours], &[]);
        let mut second = 10;
        let mut slots = |frame: &[u8]| {
            second += 1;
            let at = Instant::from_nanos(second * 1_000_000_000);
            [7, 8, 9].map(|by| table.delivered(realm, by, at, frame).map(|event| event.slot))
        };
        assert_eq!(slots(&ALONE), [None, Some(3), Some(3)]);
        assert_eq!(slots(&of_another(&ALONE, 35)), [None; 3]);
        assert_eq!(slots(&GOOD), [None; 3]);
        assert!(table.strangers().is_empty());
    }

    /// With `skip_check_adv_addr` an advert is judged by who came last when it arrived, and not by what has
    /// been told meanwhile.
    #[test]
    fn who_came_last_is_asked_of_its_time() {
        let mut table = Table::new();
        let destination = wire::octets(wire::group(Family::V4));
        let flags = Router::SKIP_ADDRESSES;
        let rule = Router {
            destination,
            slot: 3,
            version: 2,
            interval: 1,
            flags,
            ..bytemuck::Zeroable::zeroed()
        };
        let ours = IpAddr::from([192, 0, 2, 251]);
        table.set(RouterKey::new(7, Family::V4, 51), rule, &[ours], &[]);
        let at = |second: u64| Instant::from_nanos(second * 1_000_000_000);
        for (second, last) in [(10, 101), (20, 102)] {
            table.heard(3, at(second), wire::octets([192, 0, 2, last].into()));
        }
        let mut kind = |second| table.frame(7, at(second), &GOOD).map(|record| record.kind);
        assert_eq!(
            [5, 15, 25].map(&mut kind),
            [Event::REFUSED, Event::ADVERT, Event::REFUSED].map(Some)
        );
    }

    /// [`GOOD`] behind an authentication header.
    fn sealed(key: &[u8; 8], sequence: u32) -> Vec<u8> {
        let mut frame = GOOD.to_vec();
        frame[38] = wire::AUTH_AH;
        let mut header = [0; ah::LEN];
        ah::write(&mut header, [192, 0, 2, 101]);
        frame.splice(34..34, header);
        frame[17] += ah::LEN as u8;
        frame[23] = ah::PROTOCOL;
        for (range, at) in [(14..34, 24), (58..frame.len(), 64)] {
            frame[at..at + 2].fill(0);
            let sum = Sum::new().slice(&frame[range]).checksum();
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        ah::sign(key, &mut frame[14..], wire::IPV4_HEADER, false, sequence);
        frame
    }

    /// A reload that changes something else of the router gives nobody a way to repeat old adverts.
    #[test]
    fn heard_sequence_numbers_outlive_a_reload() {
        let password = *b"secret\0\0";
        let mut table = Table::new();
        let rule = Router {
            destination: wire::octets(wire::group(Family::V4)),
            slot: 3,
            version: 2,
            interval: 1,
            auth_type: wire::AUTH_AH,
            password,
            ..bytemuck::Zeroable::zeroed()
        };
        let key = RouterKey::new(7, Family::V4, 51);
        let ours = IpAddr::from([192, 0, 2, 250]);
        let reasons = |table: &mut Table, second: u64, numbers: &[u32]| -> Vec<u8> {
            let at = Instant::from_nanos(second * 1_000_000_000);
            let hear = |number: &u32| table.frame(7, at, &sealed(&password, *number));
            let records: Vec<_> = numbers.iter().map(hear).collect();
            records.into_iter().map(|record| record.map_or(u8::MAX, |one| one.reason)).collect()
        };
        table.set(key, rule, &[ours], &[]);
        assert_eq!(reasons(&mut table, 10, &[7]), [0]);
        let more = [ours, IpAddr::from([192, 0, 2, 251])];
        table.set(key, rule, &more, &[]);
        table.wait(3, Duration::from_secs(4), 3);
        assert_eq!(reasons(&mut table, 20, &[6, 8]), [Reject::Replay as u8, 0]);
        // On another interface, too.
        let moved = RouterKey::new(8, Family::V4, 51);
        table.set(moved, rule, &more, &[]);
        table.remove(key, 3);
        let record = table.frame(8, Instant::from_nanos(30_000_000_000), &sealed(&password, 8));
        assert_eq!(record.map(|one| one.reason), Some(Reject::Replay as u8));
    }
}
