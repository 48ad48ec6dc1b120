//! The router's own interface, and what else may keep it from taking part.

use vrrp_common::Instant;

use super::{Router, State};
use crate::election::Bearing;
use crate::engine::Lanes;
use crate::input::Link;
use crate::output::Why;

impl Router {
    pub(crate) fn on_link(&mut self, now: Instant, link: Link, lanes: &mut Lanes) {
        if self.see_link(now, link) {
            self.link_changed(now, lanes);
        }
    }

    pub(super) fn link_changed(&mut self, now: Instant, lanes: &mut Lanes) {
        match self.link.get() {
            Some(Link::Up(source) | Link::Down(Some(source))) => self.source = Some(source),
            Some(Link::NoSource) => self.source = None,
            Some(Link::NoDevice | Link::NoPeer | Link::Deaf | Link::Taken | Link::Down(None))
            | None => {}
        }
        self.forgive();
        self.unsent = None;
        self.review(now, lanes);
    }

    /// What keeps the router from taking part, if anything does: of its own, or another member of its group.
    pub(super) fn fault(&self) -> Option<Why> {
        self.own_fault().or_else(|| self.faulty_member().map(Why::Member))
    }

    /// What of its own keeps the router from taking part, if anything does.
    pub(super) fn own_fault(&self) -> Option<Why> {
        match self.link.get() {
            Some(Link::Down(_)) if self.settings.track_link || self.source.is_none() => {
                return Some(Why::LinkDown);
            }
            Some(Link::NoSource) => return Some(Why::NoSource),
            Some(Link::NoDevice) => return Some(Why::NoDevice),
            Some(Link::NoPeer) => return Some(Why::NoPeer),
            Some(Link::Deaf) => return Some(Why::Deaf),
            Some(Link::Taken) => return Some(Why::Taken),
            Some(Link::Up(_) | Link::Down(_)) | None => {}
        }
        let failed = self.settings.trackers.iter().zip(self.bearings());
        failed
            .filter(|(_, bearing)| *bearing == Bearing::Fault)
            .map(|(tracker, _)| Why::Tracker(tracker.id))
            .next()
    }

    /// Ends the wait after a refused address or advert: what the kernel refused may be right now.
    pub(super) fn forgive(&mut self) {
        (self.refusals, self.mutes) = (0, 0);
        if let State::Fault { retry } = &mut self.state {
            *retry = None;
        }
    }
}
