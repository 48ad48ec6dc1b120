//! What the kernel program watches for the routers here, and what the engine is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use vrrp_common::abi::Meaning;
use vrrp_common::{Instant, Version, wire};
use vrrp_proto::{Advert, Engine, Input, Slot, Watch};

use super::line::Line;
use super::thread::EARLY;
use crate::fastpath::Watcher;
use crate::slowpath::Table;

/// The watched adverts.
pub(super) struct Watching {
    watcher: Option<Watcher>,
    watched: BTreeMap<Slot, Watched>,
    /// Whose deadline has come, while that is looked into; kept for its memory.
    due: Vec<Slot>,
}

struct Watched {
    advert: Advert,
    /// The same as the kernel program compares it.
    meaning: Meaning,
    /// Master_Down_Interval, as its timer counts it.
    down: Duration,
    /// The next one is to be reported: the kernel program does not watch for it until then.
    asked: bool,
    /// The last one that the engine knows of.
    known: Instant,
    /// What the kernel had seen last when this began: another one.
    other: Instant,
    /// How many the kernel had kept to itself when they were last counted.
    counted: u64,
}

impl Watching {
    /// Nothing is watched without a watcher, and the engine hears every advert.
    pub(super) fn new(watcher: Option<Watcher>) -> Self {
        Self { watcher, watched: BTreeMap::new(), due: Vec::new() }
    }

    /// A table for the slow path that knows who is watched.
    pub(super) fn table(&self) -> Table {
        self.watcher.as_ref().map_or_else(Table::new, |watcher| Table::beside(watcher.repeats()))
    }

    /// Tells the engine of a router's last watched advert; to be done before anything else is handed in
    /// for the router.
    pub(super) fn refresh(&mut self, slot: Slot, engine: &mut Engine) {
        if let (Some(watcher), Some(watched)) = (&self.watcher, self.watched.get_mut(&slot)) {
            watched.tell(watcher, slot, engine);
        }
    }

    /// The same before an advert that arrived at `at`, unless the watched one came again behind it: that is
    /// told in its turn, or handed in by [`Watching::obey`] where it is no longer watched then.
    pub(super) fn refresh_before(&mut self, slot: Slot, at: Instant, engine: &mut Engine) {
        if self.watcher.as_ref().is_some_and(|watcher| watcher.seen(slot.0).at <= at) {
            self.refresh(slot, engine);
        }
    }

    /// Notes that an advert for a router has come up, where that is the watched one and the kernel program
    /// was not there to keep it. Says whether it is the first one behind those that it kept.
    pub(super) fn note(&mut self, slot: Slot, at: Instant, advert: &Advert, last: Instant) -> bool {
        let watched = self.watched.get_mut(&slot).filter(|watched| watched.advert == *advert);
        let (Some(watcher), Some(watched)) = (&mut self.watcher, watched) else { return false };
        let kept = watcher.seen(slot.0).at;
        watcher.heard(slot.0, at);
        watched.known = watched.known.max(at);
        if std::mem::take(&mut watched.asked) {
            watched.begin(watcher, slot, at);
        }
        kept > last
    }

    /// Has a router's watched advert reported once more: it is to be looked at by another list of addresses,
    /// or other peers, than it was.
    pub(super) fn ask_again(&mut self, slot: Slot, table: &mut Table, engine: &mut Engine) {
        let (Some(watcher), Some(watched)) = (&mut self.watcher, self.watched.get_mut(&slot))
        else {
            return;
        };
        watcher.stop(slot.0);
        watched.asked = true;
        watched.tell(watcher, slot, engine);
        if let Some(at) = watched.repeated(watcher.seen(slot.0).at) {
            table.heard(slot.0, at, wire::octets(watched.advert.source));
        }
    }

    /// The same for all.
    pub(super) fn refresh_all(&mut self, engine: &mut Engine) {
        let Some(watcher) = &self.watcher else { return };
        for (slot, watched) in &mut self.watched {
            watched.tell(watcher, *slot, engine);
        }
    }

    /// The same for whom an input concerns.
    pub(super) fn refresh_for(&mut self, input: &Input, engine: &mut Engine) {
        match input {
            Input::Change { slot, .. }
            | Input::Remove { slot }
            | Input::Advert { slot, .. }
            | Input::Link { slot, .. }
            | Input::AddressesLost { slot, .. }
            | Input::PathsDoubted { slot, .. }
            | Input::Sent { slot, .. }
            | Input::Outcome { slot, .. } => self.refresh(*slot, engine),
            Input::Track { id, .. } => {
                for slot in engine.tracking(*id).collect::<Vec<_>>() {
                    self.refresh(slot, engine);
                }
            }
            Input::Shutdown => self.refresh_all(engine),
            // Groups move no timer of one that is watched.
            Input::Add { .. }
            | Input::Resume { .. }
            | Input::Groups { .. }
            | Input::Heard { .. } => {}
        }
    }

    /// The same for those whose deadline has come, and for all where any of those was heard since: then
    /// the deadlines of the others move too, and many routers wake the thread as seldom as one. Where
    /// none was, each takes over in its turn, and to go through all for each would take longer than that.
    pub(super) fn refresh_due(&mut self, now: Instant, engine: &mut Engine) {
        let Some(watcher) = &self.watcher else { return };
        self.due.extend(engine.due(now));
        let mut any_heard = false;
        for slot in self.due.drain(..) {
            if let Some(watched) = self.watched.get_mut(&slot) {
                let before = watched.known;
                watched.tell(watcher, slot, engine);
                any_heard |= watched.known > before;
            }
        }
        if any_heard {
            self.refresh_all(engine);
        }
    }

    /// Counts what the kernel kept to itself for whoever sent it.
    pub(super) fn count_all(&mut self, lines: &mut BTreeMap<Slot, Box<Line>>) {
        let Some(watcher) = &self.watcher else { return };
        for (slot, watched) in &mut self.watched {
            if let Some(line) = lines.get_mut(slot) {
                watched.count(watcher, *slot, line);
            }
        }
    }

    /// Watches what the engine says, or no longer.
    pub(super) fn obey(
        &mut self,
        watch: Watch,
        lines: &mut BTreeMap<Slot, Box<Line>>,
        table: &mut Table,
        engine: &mut Engine,
    ) {
        let Some(watcher) = &mut self.watcher else { return };
        let (Watch::Start { slot, .. } | Watch::Stop { slot }) = watch;
        watcher.stop(slot.0);
        let seen = watcher.seen(slot.0).at;
        let mut line = lines.get_mut(&slot);
        if let Some(mut before) = self.watched.remove(&slot)
            && let Some(at) = before.repeated(seen)
        {
            if let Some(line) = &mut line {
                before.count(watcher, slot, line);
            }
            table.heard(slot.0, at, wire::octets(before.advert.source));
            if at > before.known {
                // It came while the engine made up its mind, and the kernel kept it to itself.
                engine.handle(at, Input::Advert { slot, advert: before.advert });
            }
        }
        let version = line.map(|line| {
            line.forget_arrival();
            line.route.version
        });
        let Watch::Start { advert, down, heard, .. } = watch else { return };
        if let Some(meaning) = version.and_then(|version| meaning(version, &advert)) {
            // The kernel's timer wakes the thread for what is due then.
            let down = down.saturating_sub(EARLY);
            let counted = watcher.repeated(slot.0);
            let (known, other, asked) = (heard, seen, false);
            let watched = Watched { advert, meaning, down, asked, known, other, counted };
            watched.begin(watcher, slot, heard);
            self.watched.insert(slot, watched);
        }
    }
}

impl Watched {
    /// Has the kernel program keep to itself what comes behind the advert that came at `heard`.
    fn begin(&self, watcher: &mut Watcher, slot: Slot, heard: Instant) {
        watcher.start(slot.0, &self.meaning, self.down, self.advert.interval.get(), heard);
    }

    /// When it came last, where the kernel has seen it at all.
    fn repeated(&self, seen: Instant) -> Option<Instant> {
        Some(seen).filter(|at| *at > self.other)
    }

    /// Counts what the kernel kept to itself since the last time.
    fn count(&mut self, watcher: &Watcher, slot: Slot, line: &mut Line) {
        let repeated = watcher.repeated(slot.0);
        // Less where the slot's counters began anew.
        let more = repeated.saturating_sub(self.counted);
        line.senders.count(self.advert.source, self.advert.form, more);
        self.counted = repeated;
    }

    fn tell(&mut self, watcher: &Watcher, slot: Slot, engine: &mut Engine) {
        let seen = watcher.seen(slot.0);
        self.known = self.known.max(self.repeated(seen.at).unwrap_or_default());
        engine.handle(self.known, Input::Heard { slot, armed: seen.armed });
    }
}

/// An advert as the kernel program compares it; none where the interval does not fit the version, which
/// the validator lets through for none.
fn meaning(version: Version, advert: &Advert) -> Option<Meaning> {
    Some(Meaning {
        source: wire::octets(advert.source),
        mac: advert.mac,
        interval: advert.interval.field(version)?,
        priority: advert.priority.get(),
        form: advert.form as u8,
        agreement: advert.agreement as u8,
        reserved: 0,
        list: advert.list,
    })
}
