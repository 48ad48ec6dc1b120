//! Adverts that can't be sent.

use std::collections::BTreeSet;
use std::io;

use vrrp_common::Instant;
use vrrp_proto::{Input, Slot, Transmit};

/// It is told again after so many seconds.
const AGAIN: u64 = 60;

/// What became of an advert.
#[derive(Debug)]
pub(super) struct Fate {
    /// It left, for somebody at least.
    pub(super) left: bool,
    /// Why it did not, or not for everybody.
    pub(super) error: Option<io::Error>,
}

impl Fate {
    pub(super) fn of(sent: io::Result<()>) -> Self {
        Self { left: sent.is_ok(), error: sent.err() }
    }

    /// What became of the same advert to one more peer. One that does not get it is told of, whoever else
    /// does.
    pub(super) fn and(&mut self, sent: io::Result<()>) {
        self.left |= sent.is_ok();
        self.error = sent.err().or(self.error.take());
    }
}

/// Whose last advert reached nobody, and what the engine is to know of that.
///
/// Beside the routers' lines and their [`Failing`]: a line goes with its interface, while the engine still
/// waits to hear that an advert leaves again.
#[derive(Debug, Default)]
pub(super) struct Mute {
    silent: BTreeSet<Slot>,
    /// Reused from turn to turn.
    news: Vec<Input>,
}

impl Mute {
    /// Notes whether an advert left.
    pub(super) fn note(&mut self, transmit: &Transmit, left: bool) {
        let Transmit { slot, priority, trial, .. } = *transmit;
        let was_silent = if left { self.silent.remove(&slot) } else { !self.silent.insert(slot) };
        if !left || was_silent || trial {
            self.news.push(Input::Sent { slot, priority, left });
        }
    }

    /// Whether a router's last advert reached nobody.
    pub(super) fn is_silent(&self, slot: Slot) -> bool {
        self.silent.contains(&slot)
    }

    pub(super) fn has_no_news(&self) -> bool {
        self.news.is_empty()
    }

    /// What was not told yet.
    pub(super) fn news(&mut self) -> impl Iterator<Item = Input> {
        self.news.drain(..)
    }
}

/// Adverts of one router that could not be sent, since all of one could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// When the first one was to be sent.
    pub(crate) since: Instant,
    /// When the last one was.
    pub(crate) at: Instant,
    /// How many there were.
    pub(crate) adverts: u64,
    /// The kernel's error.
    pub(crate) error: i32,
    /// When it was told last.
    told: Option<Instant>,
}

impl Failing {
    /// None yet.
    pub(super) const fn from(now: Instant) -> Self {
        Self { since: now, at: now, adverts: 0, error: 0, told: None }
    }

    /// Notes one more; says whether that is to be told.
    pub(super) fn note(&mut self, now: Instant, error: &io::Error) -> bool {
        // What was never handed to the kernel was no packet.
        self.error = error.raw_os_error().unwrap_or(libc::EINVAL);
        self.adverts += 1;
        self.at = now;
        let news = self.told.is_none_or(|told| now.since(told).as_secs() >= AGAIN);
        if news {
            self.told = Some(now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use vrrp_common::Priority;
    use vrrp_common::wire::ChecksumForm;

    use super::*;

    fn failed(error: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(error))
    }

    #[test]
    fn it_is_told_at_once_and_each_minute() {
        let at = |s: u64| Instant::from_nanos(s * 1_000_000_000);
        let mut failing = Failing::from(at(100));
        let error = io::Error::from_raw_os_error(libc::EMSGSIZE);
        let told: Vec<u64> = (100..300).filter(|s| failing.note(at(*s), &error)).collect();
        assert_eq!(told, [100, 160, 220, 280]);
        assert_eq!((failing.adverts, failing.error), (200, libc::EMSGSIZE));
        assert_eq!((failing.since, failing.at), (at(100), at(299)));
    }

    #[test]
    fn the_engine_hears_of_what_fails_of_the_end_of_that_and_of_trials() {
        let mut mute = Mute::default();
        let mut told = |slot, trial, left| {
            let (priority, form) = (Priority::new(100), ChecksumForm::PseudoHeader);
            mute.note(&Transmit { slot: Slot(slot), priority, form, trial }, left);
            let news: Vec<Input> = mute.news().collect();
            let expected = Input::Sent { slot: Slot(slot), priority, left };
            assert!(news.is_empty() || news == [expected], "{news:?}");
            !news.is_empty()
        };
        assert!(!told(1, false, true));
        assert!(told(1, false, false) && told(1, false, false) && told(2, false, false));
        assert!(told(1, false, true) && !told(1, false, true));
        assert!(told(1, true, true) && told(2, true, true) && !told(2, false, true));
    }

    #[test]
    fn an_advert_that_one_peer_gets_has_left() {
        let mut fate = Fate::of(failed(libc::EPERM));
        assert!(!fate.left);
        fate.and(Ok(()));
        assert!(fate.left && fate.error.is_some());
        let mut fate = Fate::of(Ok(()));
        fate.and(failed(libc::EPERM));
        assert!(fate.left && fate.error.is_some());
        fate.and(failed(libc::ENETUNREACH));
        assert_eq!(fate.error.unwrap().raw_os_error(), Some(libc::ENETUNREACH));
    }
}
