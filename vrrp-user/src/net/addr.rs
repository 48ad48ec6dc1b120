//! Puts addresses on interfaces and takes them off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use vrrp_proto::paths;
use vrrp_proto::settings::{Broadcast, VirtualAddress};

use super::host_routes;
use super::netlink::{Answer, Netlink, Refusal};
use super::own_link;
use super::preferred::{Lifetimes, Place, Preferred};
use super::promotion;
use super::serving::Coming;
use super::table::{HostAddress, read_address};

/// The mark on addresses of ours (`IFA_PROTO`): `RTPROT_KEEPALIVED`, which `ip` shows by name.
/// keepalived gives it too; kernels before 5.18 ignore it.
pub const PROTOCOL: u8 = paths::PROTOCOL;
/// Room for the answers of a whole batch.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The longest prefix that leaves room for a broadcast address (RFC 3021 takes it from /31).
const LONGEST_WITH_BROADCAST: u8 = 30;
/// "For ever" as a lifetime.
const FOREVER: u32 = u32::MAX;
/// Attempts to read a list of addresses that changes while it is read.
const ATTEMPTS: usize = 3;

/// How an address got where it was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was put there.
    New,
    /// It was there already, perhaps with another label or broadcast address.
    AlreadyThere,
}

/// How an address ceased to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was taken off.
    Gone,
    /// It, or its interface, was not there.
    NotThere,
}

/// Why an address is not as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// The host lacks the interface.
    #[error("no interface {0}")]
    NoDevice(String),
    /// The kernel refused, perhaps with words.
    #[error("{}{}", .errno.desc(), .text.as_deref().map_or(String::new(), |t| format!(" ({t})")))]
    Refused {
        /// Its error number.
        errno: Errno,
        /// Its own explanation.
        text: Option<String>,
    },
    /// The kernel could not be asked.
    #[error("netlink: {}", .0.desc())]
    Netlink(Errno),
}

/// A netlink connection for address requests.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
    lease: Option<Duration>,
    preferred: Preferred,
    pub(super) coming: Coming,
}

impl Addresses {
    /// Connects, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's, where no socket can be had.
    pub fn open() -> io::Result<Self> {
        Netlink::open(0, RECEIVE_BUFFER).map(|netlink| Self {
            netlink,
            lease: None,
            preferred: Preferred::default(),
            coming: Coming::default(),
        })
    }

    /// How long addresses last from now on, in whole seconds, unless they are
    /// [renewed](Self::renew); `None`: until they are taken off.
    pub fn set_lease(&mut self, lease: Option<Duration>) {
        self.lease = lease;
    }

    /// Lets addresses last as long from now as if they were added now, each on the interface of the
    /// index beside it, and changes nothing else of them: they are preferred no longer than they would
    /// have been. One that is not there is added, since the kernel knows no request that would not.
    pub fn renew(&mut self, addresses: &[(&VirtualAddress, u32)]) -> Vec<Result<(), AddrError>> {
        let now = Instant::now();
        let place = |address: &VirtualAddress, index| (index, address.ip, address.prefix);
        let limited = addresses.iter().filter_map(|(a, i)| Some((place(a, *i), a.preferred?)));
        let unknown: Vec<_> =
            limited.filter(|(place, _)| self.preferred.left(place, now).is_none()).collect();
        if !unknown.is_empty() {
            // Put on in an earlier life. Where that can't be read, they begin anew.
            let there = self.lifetimes().unwrap_or_default();
            for (place, whole) in unknown {
                self.preferred.learn(place, whole, there.get(&place).copied(), now);
            }
        }
        let renewals: Vec<_> = addresses
            .iter()
            .map(|(address, index)| {
                let left = self.preferred.left(&place(address, *index), now);
                let preferred = address.preferred.map(|whole| left.unwrap_or(whole));
                (VirtualAddress { preferred, ..(*address).clone() }, Some(*index))
            })
            .collect();
        let lease = self.lease;
        let request = |address: &VirtualAddress, index| {
            RouteNetlinkMessage::NewAddress(addition(address, index, lease))
        };
        let renewals = renewals.iter().map(|(address, index)| (address, *index));
        self.batch(renewals, NLM_F_REPLACE, request)
    }

    /// All addresses of the host, by interface, address and prefix length.
    ///
    /// # Errors
    /// The kernel's, where the list can't be read.
    pub fn list(&mut self) -> io::Result<BTreeMap<(u32, IpAddr, u8), HostAddress>> {
        let mut there = BTreeMap::new();
        self.dump(|message, address| {
            there.insert((message.header.index, address.ip, address.prefix), address);
        })?;
        Ok(there)
    }

    /// The addresses of the interface of that index, in the kernel's order.
    pub(super) fn on(&mut self, index: u32) -> io::Result<Vec<HostAddress>> {
        let mut there = Vec::new();
        self.dump(|message, address| {
            if message.header.index == index {
                there.push(address);
            }
        })?;
        Ok(there)
    }

    /// For how long each address of the host is valid and preferred.
    fn lifetimes(&mut self) -> io::Result<BTreeMap<Place, Lifetimes>> {
        let mut there = BTreeMap::new();
        self.dump(|message, address| {
            let lifetimes = message.attributes.iter().find_map(|attribute| {
                let AddressAttribute::CacheInfo(info) = attribute else { return None };
                Some(Lifetimes { valid: info.ifa_valid, preferred: info.ifa_preferred })
            });
            let place = (message.header.index, address.ip, address.prefix);
            there.extend(lifetimes.map(|lifetimes| (place, lifetimes)));
        })?;
        Ok(there)
    }

    fn dump(&mut self, mut each: impl FnMut(&AddressMessage, HostAddress)) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
            let whole = self.netlink.dump(request, |message| {
                if let RouteNetlinkMessage::NewAddress(message) = message
                    && let Some(address) = read_address(&message)
                {
                    each(&message, address);
                }
            })?;
            if whole {
                break;
            }
        }
        Ok(())
    }

    /// Adds addresses in this order, in as few system calls as possible, and says of each how it went. That
    /// the host answers for those of IPv6 comes later: [`Addresses::serve`].
    ///
    /// `resolve` names an interface's index. One failing does not keep the others from being added.
    pub fn add<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = &'a VirtualAddress>,
        mut resolve: impl FnMut(&str) -> Option<u32>,
    ) -> Vec<Result<Added, AddrError>> {
        let addresses: Vec<_> = addresses.into_iter().map(|a| (a, resolve(&a.device))).collect();
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let lease = self.lease;
        let request = |address: &VirtualAddress, index| {
            RouteNetlinkMessage::NewAddress(addition(address, index, lease))
        };
        let answers = self.batch(addresses.iter().copied(), flags, request);
        let now = Instant::now();
        for ((address, index), answer) in addresses.iter().zip(&answers) {
            if let (Some(whole), Some(index), Ok(())) = (address.preferred, index, answer) {
                self.preferred.begin((*index, address.ip, address.prefix), whole, now);
            }
        }
        for ((address, index), _) in addresses.iter().zip(&answers).filter(|(_, a)| a.is_ok()) {
            self.coming.note(address, *index);
        }
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok(()) => Ok(Added::New),
                Err(AddrError::Refused { errno: Errno::EEXIST, .. }) => Ok(Added::AlreadyThere),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Waits until the host answers for all IPv6 addresses that were put on since the last time; not for long,
    /// and not for those that are looked for at other hosts first.
    pub fn serve(&mut self) {
        self.coming.wait(&mut self.netlink);
    }

    /// Removes addresses in this order, as [`add`](Self::add) adds them. Only address, prefix length
    /// and interface must be those of the address on the host.
    pub fn remove<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = &'a VirtualAddress>,
        mut resolve: impl FnMut(&str) -> Option<u32>,
    ) -> Vec<Result<Removed, AddrError>> {
        self.remove_from(addresses.into_iter().map(|a| (a, resolve(&a.device))))
    }

    /// Removes each address from the interface of the index beside it; [`remove`](Self::remove) for
    /// those that may have another name by now. No other address goes with it, nor flaps.
    pub(super) fn remove_from<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = (&'a VirtualAddress, Option<u32>)>,
    ) -> Vec<Result<Removed, AddrError>> {
        let request = |address: &VirtualAddress, index| {
            RouteNetlinkMessage::DelAddress(identity(address, index))
        };
        let (preferred, coming) = (&mut self.preferred, &mut self.coming);
        let addresses: Vec<_> = addresses
            .into_iter()
            .inspect(|(address, index)| {
                preferred.forget(&(index.unwrap_or(0), address.ip, address.prefix));
                coming.forget(address.ip, *index);
            })
            .collect();
        self.routes_first(&addresses);
        let _turn = promotion::turn();
        let endangered = promotion::endangered(addresses.iter().copied());
        let mut answers = Vec::with_capacity(addresses.len());
        let part = if endangered.is_empty() { addresses.len().max(1) } else { promotion::PART };
        for part in addresses.chunks(part) {
            let indexes = part.iter().filter_map(|(_, index)| *index);
            let indexes: BTreeSet<u32> = indexes.filter(|i| endangered.contains(i)).collect();
            let set = |on| indexes.iter().map(move |index| promotion::set(*index, on)).collect();
            answers.extend(self.batch_between(
                set(true),
                part.iter().copied(),
                set(false),
                0,
                request,
            ));
        }
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok(()) => Ok(Removed::Gone),
                Err(AddrError::NoDevice(_)) => Ok(Removed::NotThere),
                Err(AddrError::Refused { errno: Errno::EADDRNOTAVAIL | Errno::ENODEV, .. }) => {
                    Ok(Removed::NotThere)
                }
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Takes away the routes that many addresses have for themselves. Only of those that are there exactly
    /// so: with another prefix length it is not ours.
    fn routes_first(&mut self, addresses: &[(&VirtualAddress, Option<u32>)]) {
        let v6 = addresses.iter().filter(|(address, _)| address.ip.is_ipv6());
        let v6: Vec<_> = v6.filter_map(|(address, index)| Some((*address, (*index)?))).collect();
        if v6.len() < host_routes::MANY {
            return;
        }
        let done = self.list().and_then(|there| {
            let is_there = |(address, index): &(&VirtualAddress, u32)| {
                there.contains_key(&(*index, address.ip, address.prefix))
            };
            let there = v6.into_iter().filter(is_there);
            let requests = there.flat_map(|(address, index)| host_routes::removals(address, index));
            // Whether one was there or not: it takes no time any more.
            self.netlink.execute(requests.collect(), 0).map(drop)
        });
        if let Err(error) = done {
            tracing::debug!("the kernel will take its time for so many addresses: {error}");
        }
    }

    /// Changes interfaces in this order; says in the log where the kernel refuses.
    pub(super) fn interfaces(&mut self, requests: Vec<RouteNetlinkMessage>) {
        if requests.is_empty() {
            return;
        }
        match self.netlink.execute(requests, 0) {
            Ok(answers) => {
                // One that is gone is made anew, and begins as it should be.
                let refused = answers.into_iter().filter_map(Result::err);
                for refusal in refused.filter(|refusal| refusal.errno != Errno::ENODEV) {
                    tracing::warn!("An interface of ours stays as it is: {}", refusal.errno.desc());
                }
            }
            Err(error) => tracing::warn!("Interfaces of ours stay as they are: {error}"),
        }
    }

    /// Has the kernel carry out requests that are about something else, in this order, each with its flags.
    pub(super) fn execute(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<Answer>> {
        self.netlink.execute_each(requests)
    }

    /// The interface of that name, as it is now.
    pub(super) fn interface(&mut self, name: &str) -> io::Result<Option<LinkMessage>> {
        own_link::ask(&mut self.netlink, name)
    }

    fn batch<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = (&'a VirtualAddress, Option<u32>)>,
        flags: u16,
        request: impl Fn(&VirtualAddress, u32) -> RouteNetlinkMessage,
    ) -> Vec<Result<(), AddrError>> {
        self.batch_between(Vec::new(), addresses, Vec::new(), flags, request)
    }

    /// The same with other requests `first` and `last`, whose refusals are told.
    fn batch_between<'a>(
        &mut self,
        first: Vec<RouteNetlinkMessage>,
        addresses: impl IntoIterator<Item = (&'a VirtualAddress, Option<u32>)>,
        last: Vec<RouteNetlinkMessage>,
        flags: u16,
        request: impl Fn(&VirtualAddress, u32) -> RouteNetlinkMessage,
    ) -> Vec<Result<(), AddrError>> {
        let (before, mut requests) = (first.len(), first);
        // An address whose interface is missing has its answer before any is sent.
        let mut results: Vec<Result<(), AddrError>> = addresses
            .into_iter()
            .map(|(address, index)| match index {
                Some(index) => {
                    requests.push(request(address, index));
                    Ok(())
                }
                None => Err(AddrError::NoDevice(address.device.clone())),
            })
            .collect();
        let sent = results.iter_mut().filter(|result| result.is_ok());
        let after = requests.len();
        requests.extend(last);
        match self.netlink.execute(requests, flags) {
            Ok(mut answers) => {
                promotion::tell(answers.drain(after..));
                promotion::tell(answers.drain(..before));
                for (result, answer) in sent.zip(answers) {
                    *result = answer
                        .map_err(|Refusal { errno, text }| AddrError::Refused { errno, text });
                }
            }
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                for result in sent {
                    *result = Err(AddrError::Netlink(errno));
                }
            }
        }
        results
    }
}

/// What tells an address from the others of an interface.
fn identity(address: &VirtualAddress, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address.ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = address.prefix;
    message.header.index = index;
    let far = address.peer.unwrap_or(address.ip);
    message.attributes = vec![AddressAttribute::Local(address.ip), AddressAttribute::Address(far)];
    message
}

/// An address with everything that was written about it, and how long it lasts.
fn addition(address: &VirtualAddress, index: u32, lease: Option<Duration>) -> AddressMessage {
    let mut message = identity(address, index);
    message.header.scope = address.scope.into();
    let attributes = &mut message.attributes;
    let mut flags = AddressFlags::empty();
    match address.ip {
        IpAddr::V4(ip) => {
            if let Some(broadcast) = broadcast(ip, address.prefix, address.broadcast) {
                attributes.push(AddressAttribute::Broadcast(broadcast));
            }
            if let Some(label) = &address.label {
                attributes.push(AddressAttribute::Label(label.clone()));
            }
        }
        IpAddr::V6(_) => {
            // The address was in use a moment ago, on the router that let it go: asking for it would
            // only delay it (keepalived does the same).
            flags.set(AddressFlags::Nodad, !address.detect_duplicates);
            flags.set(AddressFlags::Homeaddress, address.home);
            flags.set(AddressFlags::Managetempaddr, address.manage_temporary);
        }
    }
    if address.no_prefix_route {
        flags |= AddressFlags::Noprefixroute;
    }
    if !flags.is_empty() {
        attributes.push(AddressAttribute::Flags(flags));
    }
    if lease.is_some() || address.preferred.is_some() {
        let valid = lease.and_then(|lease| u32::try_from(lease.as_secs()).ok()).unwrap_or(FOREVER);
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = valid;
        lifetimes.ifa_preferred = address.preferred.map_or(valid, |preferred| preferred.min(valid));
        attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}

/// The broadcast address that `brd` asks for. As with `ip`, `+` and `-` mean nothing from /31 on.
fn broadcast(ip: Ipv4Addr, prefix: u8, wanted: Broadcast) -> Option<Ipv4Addr> {
    let host_bits =
        (prefix <= LONGEST_WITH_BROADCAST).then(|| u32::MAX.unbounded_shr(prefix.into()));
    match wanted {
        Broadcast::None => None,
        Broadcast::Address(address) => Some(address),
        Broadcast::HostBitsSet => host_bits.map(|bits| Ipv4Addr::from_bits(ip.to_bits() | bits)),
        Broadcast::HostBitsClear => host_bits.map(|bits| Ipv4Addr::from_bits(ip.to_bits() & !bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);

    #[rstest]
    #[case::none(24, Broadcast::None, None)]
    #[case::plus(24, Broadcast::HostBitsSet, Some([192, 0, 2, 255]))]
    #[case::minus(24, Broadcast::HostBitsClear, Some([192, 0, 2, 0]))]
    #[case::odd_prefix(29, Broadcast::HostBitsSet, Some([192, 0, 2, 255]))]
    #[case::everything(0, Broadcast::HostBitsSet, Some([255, 255, 255, 255]))]
    #[case::point_to_point(31, Broadcast::HostBitsSet, None)]
    #[case::host(32, Broadcast::HostBitsClear, None)]
    #[case::named(32, Broadcast::Address(Ipv4Addr::new(192, 0, 2, 1)), Some([192, 0, 2, 1]))]
    fn broadcasts(#[case] prefix: u8, #[case] wanted: Broadcast, #[case] right: Option<[u8; 4]>) {
        assert_eq!(broadcast(IP, prefix, wanted), right.map(Ipv4Addr::from_octets));
    }

    #[test]
    fn errors_say_who_refused_and_why() {
        let refused = AddrError::Refused {
            errno: Errno::EINVAL,
            text: Some("IPv4: Invalid prefix length".to_owned()),
        };
        assert_eq!(refused.to_string(), "Invalid argument (IPv4: Invalid prefix length)");
        assert_eq!(AddrError::NoDevice("eth7".to_owned()).to_string(), "no interface eth7");
    }
}
