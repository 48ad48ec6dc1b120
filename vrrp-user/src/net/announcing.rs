//! Announcements sent, and when a router's addresses came to serve by that.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use vrrp_proto::input::{Outcome, Slot};

use super::announce::Announcement;
use super::executor::Timing;
use super::link::Link;
use super::worker::Worker;
use crate::sys::clock;

/// A router's first address is up, and was not announced yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Up {
    at: vrrp_common::Instant,
    /// It was on its interface before.
    was_on: bool,
    /// Others of the router's are still to be put on, of which one may be announced.
    more: bool,
}

impl Up {
    /// The first of a router's addresses.
    pub(super) fn now(was_on: bool) -> Self {
        Self { at: clock::now(), was_on, more: true }
    }
}

impl<R: Fn(Slot, Outcome), T: Fn(Timing)> Worker<R, T> {
    /// Sends announcements that are due, that many at most.
    pub(super) fn announce(&mut self, most: usize) {
        self.addresses.serve();
        // Good for one burst only: a bond may change its MAC address, an interface be made anew.
        let mut links = BTreeMap::new();
        for _ in 0..most {
            let now = Instant::now();
            let Some(announcement) = self.announcer.pop(now) else {
                return;
            };
            let Announcement { slot, device, ip, mac } = &announcement;
            let index = self.claims.index(*slot, device, *ip);
            let link = links
                .entry((device.clone(), index))
                .or_insert_with(|| Link::read(&self.interfaces, device, index));
            // An interface that is gone or speaks no Ethernet has nobody to tell.
            let Some(link) = link else {
                self.announcer.give_up(now, &announcement);
                self.tell_unannounced(announcement.slot);
                continue;
            };
            self.turn.wait();
            match link.send(&self.sender, *ip, *mac) {
                Ok(()) => {
                    let what = if ip.is_ipv4() {
                        "gratuitous ARP"
                    } else {
                        "unsolicited Neighbour Advert"
                    };
                    tracing::debug!("Sending {what} on {device} for {ip}");
                    self.announcer.sent(&announcement);
                    self.tell_up(announcement.slot, Some(clock::now()));
                }
                Err(error) => self.not_sent(now, announcement, &error),
            }
        }
    }

    /// Notes that a router has all addresses that it asked for, and whether they are among those that wait to
    /// be announced.
    pub(super) fn all_are_up(&mut self, slot: Slot, announced: bool) {
        if let Some(up) = self.up.get_mut(&slot) {
            up.more = false;
        }
        if announced {
            self.tell_unannounced(slot);
        }
    }

    /// Tells when a router came to serve, where it is up and no link waits to be told of it.
    fn tell_unannounced(&mut self, slot: Slot) {
        if self.up.get(&slot).is_some_and(|up| !up.more) && !self.announcer.waits(slot) {
            self.tell_up(slot, None);
        }
    }

    /// Tells when a router came to serve, once.
    fn tell_up(&mut self, slot: Slot, announced: Option<vrrp_common::Instant>) {
        if let Some(Up { at, was_on, .. }) = self.up.remove(&slot) {
            (self.timed)(Timing { slot, address_up: at, was_on, announced });
        }
    }

    fn not_sent(&mut self, now: Instant, announcement: Announcement, error: &io::Error) {
        let device = announcement.device.clone();
        let full =
            matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM));
        // A link that is down or gone announces when it is back: the engine sees to that.
        if full && self.announcer.retry(now, announcement) {
            return;
        }
        tracing::debug!("({device}) announcement not sent: {error}");
    }
}
