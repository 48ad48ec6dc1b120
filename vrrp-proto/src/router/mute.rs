//! An Active router whose adverts can't be sent: nobody knows of it, and a peer takes over.

use std::time::Duration;

use vrrp_common::{Instant, Priority};

use super::{REFUSED_WAIT, Router, State, Takeover};
use crate::engine::Lanes;
use crate::input::Link;
use crate::output::{Waited, Why};

/// The wait before it is tried again never grows beyond this many quadruplings: 80 s.
const MUTE_STEPS: u32 = 2;

impl Router {
    /// Whether an advert left, where that is news.
    pub(crate) fn on_sent(
        &mut self,
        now: Instant,
        priority: Priority,
        left: bool,
        lanes: &mut Lanes,
    ) {
        // The priority 0 before it shows nothing of the advert that is to.
        let claim = self.claim.take_if(|_| priority != Priority::RELEASE);
        if left {
            self.unsent = None;
            if let Some(takeover) = claim {
                (self.mute, self.mutes) = (false, 0);
                self.rise(now, takeover, lanes);
            }
            return;
        }
        self.stats.sent = self.stats.sent.saturating_sub(1);
        if priority == Priority::RELEASE {
            self.stats.zero_sent = self.stats.zero_sent.saturating_sub(1);
            return;
        }
        match &mut self.state {
            State::Initialize => {}
            State::Fault { retry } => {
                if claim.is_some() {
                    *retry = Some(now + mute_wait(&mut self.mutes));
                }
            }
            State::Backup(_) => {
                if let Some(Takeover { waited, .. }) = claim {
                    let alone = waited == Waited::Silence { heard: None };
                    self.fall_mute(now, alone, lanes);
                }
            }
            State::Active(_) => {
                // Where it goes on without its link, none can leave.
                if matches!(self.link.latest(), Some(Link::Down(_)) | None) {
                    self.unsent = None;
                    return;
                }
                let before = (now - self.settings.interval.get()).max(self.since);
                let silent = now.since(*self.unsent.get_or_insert(before));
                if silent >= self.down_interval(self.settings.interval) {
                    self.fall_mute(now, false, lanes);
                }
            }
        }
    }

    /// Whoever would become Active has an advert show first that it can be heard: it holds nothing and
    /// announces nothing before, so that it does not come between others again and again.
    pub(super) fn claim(&mut self, now: Instant, claim: Takeover, lanes: &mut Lanes) {
        // If nobody says what became of the advert.
        let again = now + self.settings.interval.get();
        match &mut self.state {
            State::Initialize | State::Active(_) => {}
            State::Fault { retry } => *retry = Some(again),
            State::Backup(backup) => backup.down_at = again,
        }
        self.claim = Some(claim);
        self.transmit(self.priority, lanes);
    }

    fn fall_mute(&mut self, now: Instant, alone: bool, lanes: &mut Lanes) {
        self.unsent = None;
        self.mute = true;
        let wait = mute_wait(&mut self.mutes);
        self.enter_fault(now, Why::Mute { alone }, Some(now + wait), lanes);
    }
}

/// How long to wait after one more time.
fn mute_wait(mutes: &mut u32) -> Duration {
    let wait = REFUSED_WAIT * 4u32.pow((*mutes).min(MUTE_STEPS));
    *mutes += 1;
    wait
}
