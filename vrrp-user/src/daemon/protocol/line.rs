//! A router's route in use, and what was last heard of it.

use std::time::SystemTime;

use vrrp_common::abi::{self, Meaning};
use vrrp_common::arrivals::Arrivals;
use vrrp_common::{Instant, Interval, wire};

use super::Route;
use super::senders::Senders;
use crate::ah;

/// A route in use.
pub(super) struct Line {
    pub(super) route: Route,
    /// Its last advert could not be sent.
    pub(super) failing: bool,
    /// What the last advert that was reported said, and when.
    last: Option<(Meaning, Instant)>,
    /// The gaps between such adverts that only repeat themselves; once there was one.
    arrivals: Option<Box<Arrivals>>,
    /// Who sent accepted ones.
    pub(super) senders: Senders,
    /// The last advert whose addresses differ from ours: when, from whom, and how it began.
    differing: Option<(Instant, [u8; 16], [u8; abi::Event::HEAD])>,
    /// The last advert from a sender that is no unicast peer.
    unlisted: Option<(Instant, [u8; 16])>,
    /// The number of the last authentication header.
    signed: u32,
}

impl Line {
    /// `signed`: the greatest sequence number that has left so far.
    pub(super) fn new(route: Route, signed: u32) -> Self {
        Self {
            route,
            failing: false,
            last: None,
            arrivals: None,
            senders: Senders::default(),
            differing: None,
            unlisted: None,
            signed,
        }
    }

    /// Goes on where the router's line before this one led to the same place.
    pub(super) fn follow(&mut self, before: Self) {
        // Whoever heard the last one waits for a greater one, wherever it comes from.
        self.signed = before.signed;
        if before.route.key == self.route.key {
            self.arrivals = before.arrivals;
            self.senders = before.senders;
        }
    }

    /// The number for the next advert's authentication header, where it has one; `heard`: the greatest of
    /// the others', since keepalived compares with those of all.
    pub(super) fn next_sequence(&mut self, heard: u32, now: SystemTime) -> Option<u32> {
        self.route.frames.first().filter(|frame| frame.is_sealed())?;
        self.signed = ah::next(self.signed.max(heard), now);
        Some(self.signed)
    }

    /// Notes how long an advert that only repeats the one before it let us wait. Where the kernel program
    /// watches for those, it does this itself.
    pub(super) fn note_arrival(&mut self, now: Instant, record: &abi::Event, interval: Interval) {
        let meaning = Meaning::of(record);
        if let Some((_, before)) = self.last.filter(|(last, _)| *last == meaning) {
            let [gap, interval] = [now.since(before), interval.get()].map(|t| t.as_nanos() as u64);
            self.arrivals.get_or_insert_default().note(gap, interval);
        }
        self.last = Some((meaning, now));
    }

    /// What the kernel program watches begins or ends: the next gap would be between adverts that have
    /// others between them.
    pub(super) fn forget_arrival(&mut self) {
        self.last = None;
    }

    pub(super) fn arrivals(&self) -> Option<&Arrivals> {
        self.arrivals.as_deref()
    }

    /// Says whether a record with other addresses is news: another sender, another list, or a minute
    /// later.
    pub(super) fn newly_differs(&mut self, now: Instant, record: &abi::Event) -> bool {
        let news = self.differing.is_none_or(|(at, source, head)| {
            source != record.source
                || head[wire::HEADER..] != record.head[wire::HEADER..]
                || now.since(at).as_secs() >= 60
        });
        if news {
            self.differing = Some((now, record.source, record.head));
        }
        news
    }

    /// Says whether a record of a sender that is no unicast peer is news: another sender, or a minute
    /// later.
    pub(super) fn newly_unlisted(&mut self, now: Instant, record: &abi::Event) -> bool {
        let news = self
            .unlisted
            .is_none_or(|(at, source)| source != record.source || now.since(at).as_secs() >= 60);
        if news {
            self.unlisted = Some((now, record.source));
        }
        news
    }
}
