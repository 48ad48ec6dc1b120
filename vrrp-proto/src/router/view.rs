//! A router as it is now, for `status`.

use std::net::IpAddr;

use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, Priority};

use super::owner::Rival;
use super::{Router, State};
use crate::input::{Advert, Slot};
use crate::output::{StateName, Why};

/// An Active router that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Its address.
    pub source: IpAddr,
    /// Its priority.
    pub priority: Priority,
    /// Its interval.
    pub interval: Interval,
    /// The checksum form of its adverts.
    pub form: ChecksumForm,
    /// Whether its addresses are ours.
    pub agreement: Agreement,
    /// The number of its list of addresses, by [`Agreement::list`].
    pub list: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// When its last advert arrived.
    pub heard: Instant,
}

impl Following {
    pub(crate) fn of(now: Instant, advert: &Advert) -> Self {
        Self {
            source: advert.source,
            priority: advert.priority,
            interval: advert.interval,
            form: advert.form,
            agreement: advert.agreement,
            list: advert.list,
            mac: advert.mac,
            heard: now,
        }
    }

    /// Its last advert.
    pub fn advert(&self) -> Advert {
        Advert {
            source: self.source,
            priority: self.priority,
            interval: self.interval,
            form: self.form,
            agreement: self.agreement,
            list: self.list,
            mac: self.mac,
        }
    }
}

/// Another Active router that goes on although it loses against this one: it does not hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its address.
    pub source: IpAddr,
    /// Its priority.
    pub priority: Priority,
    /// When the first of its adverts came.
    pub since: Instant,
    /// When the last one came.
    pub heard: Instant,
    /// From then on it is silent, or none any more.
    pub until: Instant,
}

/// What a router has done and heard since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Adverts that were sent and left, those with priority 0 among them.
    pub sent: u64,
    /// Adverts sent with priority 0.
    pub zero_sent: u64,
    /// Good adverts heard with priority 0.
    pub zero_received: u64,
    /// Changes to Active.
    pub became_active: u64,
}

/// A router as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number.
    pub slot: Slot,
    /// Its state.
    pub state: StateName,
    /// When it entered the state.
    pub since: Instant,
    /// Why.
    pub why: Why,
    /// The configured priority.
    pub base_priority: Priority,
    /// The priority after tracking.
    pub priority: Priority,
    /// The Active router it follows, in Backup.
    pub following: Option<Following>,
    /// Others that are Active too and don't hear this one, while it is.
    pub others: Vec<Other>,
    /// It would be Active, and waits for others of its sync group.
    pub waits: bool,
    /// The address its adverts leave with.
    pub source: Option<IpAddr>,
    /// What it has done so far.
    pub stats: Stats,
}

impl Router {
    /// Its state.
    pub(crate) fn state_name(&self) -> StateName {
        self.state.name()
    }

    pub(crate) fn view(&self) -> View {
        let following = match &self.state {
            State::Initialize | State::Fault { .. } | State::Active(_) => None,
            State::Backup(backup) => match (backup.following, backup.outranked) {
                (Some(a), Some(b)) => Some(if b.heard > a.heard { b } else { a }),
                (a, b) => a.or(b),
            },
        };
        let others = match &self.state {
            State::Initialize | State::Fault { .. } | State::Backup(_) => Vec::new(),
            State::Active(active) => active.rivals.iter().filter_map(Rival::other).collect(),
        };
        View {
            slot: self.slot,
            state: self.state.name(),
            since: self.since,
            why: self.why,
            base_priority: self.settings.priority,
            priority: self.priority,
            following,
            others,
            waits: self.wish.is_some(),
            source: self.source,
            stats: self.stats,
        }
    }
}
