//! The socket of one interface and family, or of a realm.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};
use vrrp_common::abi::Event;
use vrrp_common::{Family, Instant};

use super::filter::ethertype;
use super::sys::{self, Batch};
use super::{Filter, Realm, Table};
use crate::sys::link_address::link_address;

/// Which of the frames that arrive on an interface the kernel shows a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tap {
    /// Those of the family that no interface on top of it has taken. The filter runs for no others.
    #[default]
    Left,
    /// All, before an interface on top of it takes its own: a macvlan what comes from its MAC address,
    /// which is another router's as well, an ipvlan what comes to its address.
    All,
}

impl Tap {
    const fn protocol(self, family: Family) -> u16 {
        match self {
            Self::Left => ethertype(family),
            Self::All => libc::ETH_P_ALL as u16,
        }
    }
}

/// Room for adverts that come while the protocol thread is busy: a thousand where the driver spends a
/// page on each, five thousand where it doesn't. It costs nothing while they don't wait.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// The socket through which one interface's adverts of one family come up, or a realm's; readable when there
/// are any.
pub struct SlowPath {
    socket: Socket,
    ifindex: u32,
    family: Family,
    /// Packets come to it from all interfaces of the realm, and not frames from one.
    realm: Option<Realm>,
    batch: Batch,
    /// When the socket was last seen empty: nothing in it is older.
    empty_at: u64,
    lost: u64,
    /// The kernel has not taken the filter that was asked for.
    coarse: bool,
    /// Since when XDP runs on the interface: what arrives from then on it has passed.
    beside_xdp: Option<Instant>,
}

impl SlowPath {
    /// Opens the socket on an interface of the calling thread's network namespace. The filter is there
    /// before the first frame.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` or `ENXIO` where there is no such interface.
    pub fn open(ifindex: u32, family: Family, filter: &Filter, tap: Tap) -> io::Result<Self> {
        // Protocol 0: receives nothing before it is bound.
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))?;
        sys::attach_filter(socket.as_fd(), &filter.program(family))?;
        sys::stamp_arrivals(socket.as_fd())?;
        sys::ignore_outgoing(socket.as_fd())?;
        make_room(&socket)?;
        let empty_at = monotonic()?;
        socket.bind(&link_address(ifindex, tap.protocol(family)))?;
        let mut slow = Self {
            socket,
            ifindex,
            family,
            realm: None,
            batch: Batch::new(0),
            empty_at,
            lost: 0,
            coarse: false,
            beside_xdp: None,
        };
        slow.stand_beside(filter)?;
        Ok(slow)
    }

    /// Opens the socket of a realm in the calling thread's network namespace: it takes what is sent to this
    /// host alone, and stands under the realm's index. `vrf`: the name of the realm's VRF.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` where there is no such VRF, `EAFNOSUPPORT` where the kernel has
    /// no such family.
    pub fn open_realm(realm: Realm, vrf: Option<&str>) -> io::Result<Self> {
        let empty_at = monotonic()?;
        let socket = realm.open(vrf)?;
        sys::stamp_arrivals(socket.as_fd())?;
        make_room(&socket)?;
        Ok(Self {
            socket,
            ifindex: realm.index(),
            family: realm.family,
            realm: Some(realm),
            batch: Batch::new(realm.front()),
            empty_at,
            lost: 0,
            coarse: false,
            beside_xdp: None,
        })
    }

    /// Goes on where another one of the interface and family ends: what waits here came to that as well.
    ///
    /// # Errors
    /// The kernel's.
    pub fn follow(&mut self, before: &mut Self) -> io::Result<()> {
        self.batch.skip(self.socket.as_fd())?;
        self.lost = before.lost()?;
        self.coarse = before.coarse;
        Ok(())
    }

    /// Replaces the filter for frames that arrive from now on; those that wait stay. Where the kernel
    /// allows no filter of that size (`net.core.optmem_max`), all VRRP of the interface is taken: what is
    /// too much is judged again. `true`: that is so since this call.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_filter(&mut self, filter: &Filter) -> io::Result<bool> {
        self.stand_beside(filter)?;
        let attach =
            |filter: &Filter| sys::attach_filter(self.socket.as_fd(), &filter.program(self.family));
        let result = attach(filter);
        let refused = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
        if result.as_ref().is_err_and(refused) {
            attach(&Filter::All)?;
            return Ok(!std::mem::replace(&mut self.coarse, true));
        }
        self.coarse = false;
        result.map(|()| false)
    }

    /// Notes whether XDP runs on the interface from now on.
    fn stand_beside(&mut self, filter: &Filter) -> io::Result<()> {
        self.beside_xdp = match (filter, self.beside_xdp) {
            (Filter::All, _) => None,
            (Filter::Only(_), Some(since)) => Some(since),
            (Filter::Only(_), None) => Some(Instant::from_nanos(monotonic()?)),
        };
        Ok(())
    }

    /// The interface, or what stands for the realm.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many frames that passed the filter found no room in the socket, in its whole life. Of a realm's
    /// that is in `/proc/net/raw` alone.
    ///
    /// # Errors
    /// The kernel's, which a packet socket does not give.
    pub fn lost(&mut self) -> io::Result<u64> {
        if self.realm.is_some() {
            return Ok(0);
        }
        self.lost += u64::from(sys::take_lost(self.socket.as_fd())?);
        Ok(self.lost)
    }

    /// Learns of a time at which it was empty: nothing in it is older.
    pub fn was_empty_at(&mut self, at: Instant) {
        self.empty_at = self.empty_at.max(at.as_nanos());
    }

    /// Takes at most `budget` frames, has `table` judge and count them, and hands the records to
    /// `sink` in the order of their arrival. Returns how many frames there were; fewer than the budget:
    /// the socket is empty.
    ///
    /// # Errors
    /// The kernel's: `ENETDOWN` once when the interface goes down, after which the socket still works.
    pub fn drain(
        &mut self,
        budget: usize,
        table: &mut Table,
        mut sink: impl FnMut(Event),
    ) -> io::Result<usize> {
        let mut taken = 0;
        while taken < budget {
            let received = match self.batch.receive(self.socket.as_fd(), budget - taken) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let now = monotonic()?;
            if received == 0 {
                self.empty_at = now;
                return Ok(taken);
            }
            let behind = realtime()?.saturating_sub(now);
            for mut arrived in self.batch.frames(received) {
                let at = arrival(arrived.stamp(), behind, self.empty_at, now);
                let passed = self.beside_xdp.is_some_and(|since| at >= since);
                let event = if let Some(realm) = self.realm {
                    let by = realm.restore(&mut arrived);
                    by.and_then(|by| table.delivered(self.ifindex, by, at, arrived.frame))
                } else if passed {
                    table.passed(self.ifindex, at, arrived.frame)
                } else {
                    table.frame(self.ifindex, at, arrived.frame)
                };
                event.into_iter().for_each(&mut sink);
            }
            taken += received;
        }
        Ok(taken)
    }
}

impl AsFd for SlowPath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for SlowPath {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for SlowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowPath")
            .field("ifindex", &self.ifindex)
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}

fn make_room(socket: &Socket) -> io::Result<()> {
    // The second is bound by the host's limit, which the first, with CAP_NET_ADMIN, is not.
    setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER))
        .map_err(io::Error::from)
}

/// The kernel's stamp, which is wall-clock time, on the monotonic clock.
///
/// `behind` is how far the monotonic clock is behind the wall clock. When somebody sets the wall clock
/// while a frame waits, the result is off by as much; it still stays between the last time the socket
/// was empty and now, which is all that is certain.
fn arrival(stamp: Option<u64>, behind: u64, empty_at: u64, now: u64) -> Instant {
    let at = stamp.map_or(now, |stamp| stamp.saturating_sub(behind));
    Instant::from_nanos(at.clamp(empty_at.min(now), now))
}

fn monotonic() -> io::Result<u64> {
    nanos(ClockId::CLOCK_MONOTONIC)
}

fn realtime() -> io::Result<u64> {
    nanos(ClockId::CLOCK_REALTIME)
}

fn nanos(clock: ClockId) -> io::Result<u64> {
    let span = Duration::from(clock_gettime(clock)?);
    Ok(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::ordinary(Some(1_000_500), 1_000_000, 100, 700, 500)]
    #[case::wall_clock_set_back(Some(1_000_900), 1_000_000, 100, 700, 700)]
    #[case::wall_clock_set_forward(Some(1_000_050), 1_000_000, 100, 700, 100)]
    #[case::wall_clock_before_boot(Some(50), 1_000_000, 100, 700, 100)]
    #[case::no_stamp(None, 1_000_000, 100, 700, 700)]
    fn stamps_stay_in_the_possible(
        #[case] stamp: Option<u64>,
        #[case] behind: u64,
        #[case] empty_at: u64,
        #[case] now: u64,
        #[case] at: u64,
    ) {
        assert_eq!(arrival(stamp, behind, empty_at, now), Instant::from_nanos(at));
    }
}
