//! What somebody else can watch for a Backup: an Active router that only repeats itself.

use std::time::Duration;

use vrrp_common::Instant;

use super::{Router, State};
use crate::engine::Lanes;
use crate::input::Advert;
use crate::output::Watch;

/// How far behind Master_Down_Timer a router's own deadline lies while the kernel's timer runs for it:
/// long enough that many such deadlines make few wake-ups, short enough to be of use when a timer fails.
pub(super) const BACKSTOP: Duration = Duration::from_millis(250);

/// What is being watched for a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    advert: Advert,
    down: Duration,
    /// A timer of the kernel's runs for it.
    pub(super) armed: bool,
}

impl Router {
    /// Asks for what can be watched now, where that is something else than before.
    pub(crate) fn watch(&mut self, lanes: &mut Lanes) {
        let before = self.watched.map(|watched| (watched.advert, watched.down));
        let wanted = self.watchable();
        if before == wanted.map(|(advert, down, _)| (advert, down)) {
            return;
        }
        let slot = self.slot;
        lanes.watches.push_back(match wanted {
            Some((advert, down, heard)) => Watch::Start { slot, advert, down, heard },
            None => Watch::Stop { slot },
        });
        self.watched = wanted.map(|(advert, down, _)| Watched { advert, down, armed: false });
    }

    /// The watched advert was repeated, the last time at `at`.
    pub(crate) fn on_heard(&mut self, at: Instant, armed: bool) {
        let (Some(watched), State::Backup(backup)) = (&mut self.watched, &mut self.state) else {
            return;
        };
        watched.armed = armed;
        if let Some(following) = backup.following.as_mut().filter(|f| f.heard < at) {
            following.heard = at;
            backup.down_at = at + watched.down;
        }
    }

    /// The advert whose repetition means nothing but that Master_Down_Timer starts anew, for how long, and
    /// since when.
    fn watchable(&self) -> Option<(Advert, Duration, Instant)> {
        let State::Backup(backup) = &self.state else {
            return None;
        };
        let following = backup.following?;
        // The next advert of a router that has come to outrank us ends the wait for `preempt_delay`.
        let unsettled = backup.outranked.is_some()
            || backup.released.is_some()
            || backup.preempt_at.is_some()
            // The next advert ends the wait for the group.
            || backup.forsaken.is_some()
            || self.wish.is_some()
            || self.preempts(following.priority)
            || self.is_deaf();
        let down = self.down_interval(following.interval);
        (!unsettled).then(|| (following.advert(), down, following.heard))
    }
}
