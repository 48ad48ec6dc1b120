//! What the service thread knows of one instance.

use std::net::IpAddr;
use std::sync::Arc;

use vrrp_common::{Instant, Reject};
use vrrp_proto::{Link, Settings, StateName, VirtualAddress};

use super::budget::Budget;
use super::plan::Way;
use crate::config::model::Instance;
use crate::net::executor::Timing;
use crate::net::traces::Traces;

/// One instance at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) instance: Arc<Instance>,
    pub(super) settings: Settings,
    pub(super) state: StateName,
    /// It is in Fault since its adverts can't be sent.
    pub(super) mute: bool,
    pub(super) last_refused: Option<LastRefused>,
    /// The addresses that the kernel has refused since it came to where it is, and why.
    pub(super) unheld: Vec<(VirtualAddress, String)>,
    /// Its last takeover.
    pub(super) takeover: Option<Budget>,
    /// When its addresses came to serve, where the takeover that this is of is not known yet.
    pub(super) timing: Option<Timing>,
    /// The engine was told to end it.
    pub(super) ending: bool,
    /// What the protocol thread and the kernel were told.
    pub(super) way: Option<Way>,
    /// The instance changed, so the route must be told again.
    pub(super) reroute: bool,
    pub(super) link: Option<Link>,
    /// When its addresses were last announced elsewhere, or when it was last not Active.
    pub(super) elsewhere: Instant,
    /// What is made for it, and changed for that.
    pub(super) traces: Traces,
}

impl Running {
    /// One that nobody has been told of yet.
    pub(super) const fn new(instance: Arc<Instance>, settings: Settings) -> Self {
        Self {
            instance,
            settings,
            state: StateName::Initialize,
            mute: false,
            last_refused: None,
            unheld: Vec::new(),
            takeover: None,
            timing: None,
            ending: false,
            way: None,
            reroute: false,
            link: None,
            elsewhere: Instant::from_nanos(0),
            traces: Traces { links: Vec::new(), settings: Vec::new() },
        }
    }
}

/// The last refused advert of an instance.
#[derive(Clone, Debug)]
pub(super) struct LastRefused {
    pub(super) at: Instant,
    pub(super) reason: Reject,
    pub(super) source: IpAddr,
    pub(super) detail: String,
}
