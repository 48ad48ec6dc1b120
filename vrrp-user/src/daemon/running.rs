//! What the service thread knows of one instance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::debug;
use vrrp_common::{Instant, Reject};
use vrrp_proto::{Link, Settings, StateName, VirtualAddress, Why};

use super::budget::Budget;
use super::flaps::Flaps;
use super::lost::Lack;
use super::plan::Way;
use super::room;
use super::served::Key;
use super::words;
use crate::config::model::Instance;
use crate::net::Snapshot;
use crate::net::executor::Timing;
use crate::net::paths::{self, Kept};
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
    /// The addresses that it could not have since it came to where it is, and why.
    pub(super) unheld: Vec<(VirtualAddress, Lack)>,
    /// Its routes and rules that the kernel has refused since it came to where it is, and why.
    pub(super) unset: BTreeMap<String, String>,
    /// Its last takeover.
    pub(super) takeover: Option<Budget>,
    /// When its addresses came to serve, where the takeover that this is of is not known yet.
    pub(super) timing: Option<Timing>,
    /// What it took over from routers that were alive.
    pub(super) flaps: Flaps,
    /// The engine was told to end it.
    pub(super) ending: bool,
    /// What the protocol thread and the kernel were told.
    pub(super) way: Option<Way>,
    /// The instance changed, so the route must be told again.
    pub(super) reroute: bool,
    /// The configuration was read again, so the MTU as it is by now counts.
    pub(super) resize: bool,
    /// Its adverts were cut to an MTU that became smaller, since nobody else spoke.
    pub(super) cut: bool,
    pub(super) link: Option<Link>,
    /// When its addresses were last announced elsewhere, or when it was last not Active.
    pub(super) elsewhere: Instant,
    /// What is made for it, and changed for that.
    pub(super) traces: Traces,
    /// Its routes and rules as they were noted when an interface changed last.
    pub(super) noted_paths: Vec<Kept>,
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
            unset: BTreeMap::new(),
            takeover: None,
            timing: None,
            flaps: Flaps::new(),
            ending: false,
            way: None,
            reroute: false,
            resize: false,
            cut: false,
            link: None,
            elsewhere: Instant::from_nanos(0),
            traces: Traces { links: Vec::new(), settings: Vec::new() },
            noted_paths: Vec::new(),
        }
    }

    /// Its routes and rules as they would be put on now.
    pub(super) fn kept_paths(&self, host: &Snapshot) -> Vec<Kept> {
        let index = |name: &str| host.by_name(name).map(|interface| interface.ifindex);
        paths::kept(&self.settings.paths, index)
    }

    /// It has changed its state.
    pub(super) fn enter(&mut self, state: StateName, why: &Why) {
        self.state = state;
        self.mute = matches!(why, Why::Mute { .. });
        let is_why = |lack: &Lack| state == StateName::Fault && matches!(lack, Lack::Refused(_));
        self.unheld.retain(|(_, lack)| is_why(lack));
        self.unset.clear();
        if state == StateName::Active {
            let name = &self.instance.name;
            self.settings.held().for_each(|held| debug!("{}", words::announcing(name, held)));
        }
    }

    /// The addresses that its adverts carry.
    pub(super) fn advertised(&self) -> &[VirtualAddress] {
        let room = self.way.as_ref().map_or(usize::MAX, |way| way.room);
        room::split(&self.instance, room).0
    }

    /// Keeps to the room that adverts have on a way which goes on, whatever the MTU is by now.
    pub(super) fn keep_room(&mut self, way: &mut Option<Way>) {
        let resize = std::mem::take(&mut self.resize) || self.reroute;
        if let (Some(way), Some(old)) = (way, &self.way)
            && way.ifindex == old.ifindex
            && !resize
        {
            way.room = old.room;
        }
    }

    /// The virtual router that it is, on the interface that it was told and on the one of that name: where
    /// it has no way, in FAULT, others go on speaking for it.
    pub(super) fn routers(&self, host: &Snapshot) -> impl Iterator<Item = Key> {
        let told = self.way.as_ref().map(|way| way.ifindex);
        let named = host.by_name(&self.instance.interface).map(|interface| interface.ifindex);
        let (family, vrid) = (self.instance.family, self.instance.vrid.get());
        told.into_iter().chain(named).map(move |ifindex| Key { ifindex, family, vrid })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vrrp_common::Family;
    use vrrp_proto::TrackerId;

    use super::*;
    use crate::config;
    use crate::daemon::plan;
    use crate::net::fixtures;

    #[test]
    fn one_that_lacks_a_source_is_its_virtual_router_all_the_same() {
        let text = "vrrp_instance A {\n interface eth0\n virtual_router_id 61\n \
                    virtual_ipaddress {\n 192.0.2.1/24\n }\n}\n";
        let config = config::parse_str(Path::new("test.conf"), text).config;
        let instance = config.expect("a configuration").instances.remove(0);
        let settings = plan::settings(&instance, |_| TrackerId(0));
        let mut running = Running::new(instance, settings);
        let host = fixtures::host([fixtures::interface(2, "eth0", [])]);
        let on = |ifindex| Key { ifindex, family: Family::V4, vrid: 61 };
        let routers = |running: &Running| running.routers(&host).collect::<Vec<_>>();
        assert_eq!(routers(&running), [on(2)]);
        // The interface that it was told has another name by now.
        let source = IpAddr::from([192, 0, 2, 9]);
        running.way = Some(Way {
            ifindex: 7,
            mac: [2, 0, 0, 0, 0, 7],
            source,
            peers: Vec::new(),
            near: Vec::new(),
            is_own: true,
            room: 255,
            realm: None,
        });
        assert_eq!(routers(&running), [on(7), on(2)]);
    }
}
