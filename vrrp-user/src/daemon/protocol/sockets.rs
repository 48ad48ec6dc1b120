//! The slow path's sockets, asked all at once which of them have something: a host may have hundreds of
//! interfaces, and a turn of the loop is shorter than to try the sockets of each.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;
use vrrp_common::{Family, Instant};

use crate::sys::readiness::watch;

/// Sockets by interface and family.
pub(super) struct Sockets<T> {
    all: BTreeMap<u64, T>,
    epoll: Epoll,
    ready: AsyncFd<OwnedFd>,
    /// Room for an answer about all; its beginning is the last answer.
    events: Vec<EpollEvent>,
    /// Those that had something when that was asked last, and when that was.
    had: Vec<u64>,
    asked: Instant,
}

impl<T: AsFd> Sockets<T> {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let ready = watch(epoll.0.as_fd())?;
        let (all, events, had) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { all, epoll, ready, events, had, asked: Instant::default() })
    }

    /// Takes one in, where there is none.
    ///
    /// # Errors
    /// The kernel's, where it can't be waited for.
    pub(super) fn insert(&mut self, ifindex: u32, family: Family, socket: T) -> io::Result<()> {
        let key = key(ifindex, family);
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
        self.all.insert(key, socket);
        self.events.resize(self.all.len(), EpollEvent::empty());
        self.had.reserve(self.all.len());
        Ok(())
    }

    /// Gives one away, if there is one.
    ///
    /// # Errors
    /// The kernel's, which it has no reason for.
    pub(super) fn take(&mut self, ifindex: u32, family: Family) -> io::Result<Option<T>> {
        self.forget(key(ifindex, family))
    }

    fn forget(&mut self, key: u64) -> io::Result<Option<T>> {
        let Some(socket) = self.all.remove(&key) else { return Ok(None) };
        self.epoll.delete(&socket)?;
        Ok(Some(socket))
    }

    /// Gives those of an interface away, none of which is waited for any longer.
    pub(super) fn remove(&mut self, ifindex: u32) -> Vec<T> {
        let its: Vec<u64> = self.all.range(keys(ifindex)).map(|(key, _)| *key).collect();
        its.into_iter().filter_map(|key| self.forget(key).ok().flatten()).collect()
    }

    /// Those of an interface.
    pub(super) fn on(&mut self, ifindex: u32) -> impl Iterator<Item = &mut T> {
        self.all.range_mut(keys(ifindex)).map(|(_, socket)| socket)
    }

    /// All, with the indexes of their interfaces.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.all.iter_mut().map(|(key, socket)| (of(*key), socket))
    }

    /// Waits until one of them has something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.ready.readable().await?.clear_ready();
        Ok(())
    }

    /// Goes through those that have something or failed, with a time at which each was empty where one is
    /// known. `now`: the time, not later than this is called.
    pub(super) fn each_ready(
        &mut self,
        now: Instant,
        mut each: impl FnMut(&mut T, Option<Instant>),
    ) {
        if self.all.is_empty() {
            return;
        }
        let Ok(count) = self.epoll.wait(&mut self.events, EpollTimeout::ZERO) else {
            // Then there is nothing but to try all.
            self.had.clear();
            self.had.extend(self.all.keys());
            self.all.values_mut().for_each(|socket| each(socket, None));
            return;
        };
        let ready = &self.events[..count];
        for event in ready {
            let key = event.data();
            let empty = (!self.had.contains(&key)).then_some(self.asked);
            if let Some(socket) = self.all.get_mut(&key) {
                each(socket, empty);
            }
        }
        self.had.clear();
        self.had.extend(ready.iter().map(EpollEvent::data));
        self.asked = now;
    }
}

const fn key(ifindex: u32, family: Family) -> u64 {
    (ifindex as u64) << 8 | family as u64
}

const fn keys(ifindex: u32) -> Range<u64> {
    (ifindex as u64) << 8..(ifindex as u64 + 1) << 8
}

const fn of(key: u64) -> u32 {
    (key >> 8) as u32
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;

    fn pair() -> (UnixDatagram, UnixDatagram) {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        (here, there)
    }

    /// What one has, if it is asked; whether it was known to be empty, and since when.
    fn read(sockets: &mut Sockets<UnixDatagram>, now: u64) -> Vec<(u8, Option<u64>)> {
        let mut found = Vec::new();
        sockets.each_ready(Instant::from_nanos(now), |socket, empty| {
            let mut byte = [0];
            socket.recv(&mut byte).unwrap();
            found.push((byte[0], empty.map(Instant::as_nanos)));
        });
        found.sort_unstable();
        found
    }

    fn run(test: impl AsyncFnOnce()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    }

    #[test]
    fn only_those_that_have_something_are_asked() {
        run(async || {
            let mut sockets = Sockets::new().unwrap();
            let (one, to_one) = pair();
            let (two, to_two) = pair();
            assert!(read(&mut sockets, 1).is_empty());
            sockets.insert(7, Family::V4, one).unwrap();
            sockets.insert(7, Family::V6, two).unwrap();
            assert!(read(&mut sockets, 2).is_empty());
            to_two.send(&[2]).unwrap();
            to_two.send(&[3]).unwrap();
            assert_eq!(read(&mut sockets, 5), [(2, Some(2))]);
            to_one.send(&[1]).unwrap();
            // One still had something then.
            assert_eq!(read(&mut sockets, 9), [(1, Some(5)), (3, None)]);
            assert!(read(&mut sockets, 11).is_empty());
            assert_eq!((sockets.on(7).count(), sockets.on(6).count()), (2, 0));
            let given = sockets.remove(7);
            assert_eq!((given.len(), sockets.on(7).count()), (2, 0));
            to_one.send(&[4]).unwrap();
            assert!(read(&mut sockets, 12).is_empty());
            drop(given);
            to_one.send(&[4]).unwrap_err();
        });
    }

    #[test]
    fn one_that_is_given_away_is_not_waited_for() {
        run(async || {
            let mut sockets = Sockets::new().unwrap();
            let ((one, to_one), (two, to_two)) = (pair(), pair());
            assert!(sockets.take(7, Family::V4).unwrap().is_none());
            sockets.insert(7, Family::V4, one).unwrap();
            let before = sockets.take(7, Family::V4).unwrap().unwrap();
            sockets.insert(7, Family::V4, two).unwrap();
            to_one.send(&[1]).unwrap();
            to_two.send(&[2]).unwrap();
            assert_eq!(read(&mut sockets, 1), [(2, Some(0))]);
            drop(before);
        });
    }

    /// What comes after the readiness was taken back wakes again, also where not all was read before.
    #[test]
    fn each_arrival_wakes() {
        run(async || {
            let mut sockets = Sockets::new().unwrap();
            let ((one, to_one), (two, to_two)) = (pair(), pair());
            sockets.insert(7, Family::V4, one).unwrap();
            sockets.insert(8, Family::V4, two).unwrap();
            let second = Duration::from_secs(5);
            for (to, byte) in [(&to_one, 1), (&to_two, 2), (&to_two, 3), (&to_one, 4)] {
                to.send(&[byte]).unwrap();
                tokio::time::timeout(second, sockets.readable()).await.unwrap().unwrap();
                assert_eq!(read(&mut sockets, 1).len(), 1);
            }
            to_one.send(&[5]).unwrap();
            to_one.send(&[6]).unwrap();
            tokio::time::timeout(second, sockets.readable()).await.unwrap().unwrap();
            assert_eq!(read(&mut sockets, 1).len(), 1);
            to_one.send(&[7]).unwrap();
            tokio::time::timeout(second, sockets.readable()).await.unwrap().unwrap();
            assert_eq!(read(&mut sockets, 1), [(6, None)]);
            assert_eq!(read(&mut sockets, 1), [(7, None)]);
            let nothing = tokio::time::timeout(Duration::from_millis(20), sockets.readable()).await;
            assert!(nothing.is_err() || read(&mut sockets, 1).is_empty());
        });
    }
}
