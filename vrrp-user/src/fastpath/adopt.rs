//! The kernel program outlives the process that loaded it: its descriptors, given to another process and
//! taken over by the next.
//!
//! Each has a name, which says what it is and for which version of the maps. What does not fit is not
//! taken over, and the program is loaded anew.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData};
use aya::programs::Xdp;
use vrrp_common::abi;

use super::{Attached, FastPath, LoadError, Program, link, sys};

/// The maps by name.
pub(super) const MAPS: [&str; 13] = [
    SHELVES,
    "ROUTERS",
    "ADDRESSES",
    "ADDRESSES6",
    "PEERS",
    "COUNTERS",
    "REPORTS",
    "ARRIVALS",
    RUNTIME,
    TIMERS,
    "STRANGERS",
    "EVENTS",
    JUDGE,
];
/// There only with timers.
pub(super) const TIMERS: &str = "TIMERS";
/// The kernel empties it with its last descriptor.
pub(super) const JUDGE: &str = "JUDGE";
/// The maps that the daemon has for the kernel program alone.
pub(super) const KEPT: [&str; 2] = [TIMERS, JUDGE];
pub(super) const SHELVES: &str = "SHELVES";
const RUNTIME: &str = "RUNTIME";
const PROGRAM: &str = "program";
/// The one for a veth's driver, where there is one.
const FOR_VETH: &str = "program.veth";
/// The names of attachments begin so; the index and the mode follow.
const LINK: &str = "link";

/// What the names of all descriptors of the fast path begin with.
pub(crate) const PREFIX: &str = "xdp";

/// The name of a descriptor for this version of the maps.
fn name(of: &str) -> String {
    format!("{PREFIX}{}.{of}", abi::VERSION)
}

fn link_name(ifindex: u32, mode: sys::Mode) -> String {
    name(&format!("{LINK}.{ifindex}.{}", mode.name()))
}

impl FastPath {
    /// Every descriptor that the program lives by, with its name.
    pub fn exports(&self) -> BTreeMap<String, BorrowedFd<'_>> {
        let maps = self.handles.iter().map(|(map, fd)| (name(map), fd.as_fd()));
        let links = self
            .attached
            .iter()
            .map(|(ifindex, (fd, attached))| (link_name(*ifindex, mode(attached)), fd.as_fd()));
        let program = self.program_fd().map(|fd| (name(PROGRAM), fd));
        let for_veth = self.for_veth.as_ref().map(|fd| (name(FOR_VETH), fd.as_fd()));
        maps.chain(links).chain(program).chain(for_veth).collect()
    }

    /// Takes over the program that another process has loaded and exported. Its attachments stay until
    /// [`FastPath::attach`] takes them up or [`FastPath::drop_unused`] is called; its routers stay until
    /// they are set, removed, or [`FastPath::drop_unused`] is called; nothing is watched.
    ///
    /// # Errors
    /// [`LoadError::Lacks`] where one is missing or of another version, [`LoadError::Kernel`] where it is
    /// not what its name says. The program is then off all interfaces, as by [`FastPath::discard`].
    pub fn adopt(mut kept: BTreeMap<String, OwnedFd>) -> Result<Self, LoadError> {
        let links = kept.extract_if(.., |name, _| is_link(name)).collect();
        match Self::adopt_maps(kept) {
            Ok(mut fast) => {
                fast.found = known(links);
                Ok(fast)
            }
            Err(error) => {
                Self::discard(links);
                Err(error)
            }
        }
    }

    /// Takes the program that another process has loaded and exported off all interfaces: it would eat
    /// adverts for as long as somebody has a copy of a descriptor.
    pub fn discard(kept: BTreeMap<String, OwnedFd>) {
        for (_, fd) in kept.into_iter().filter(|(name, _)| is_link(name)) {
            sys::detach(fd.as_fd());
        }
    }

    fn adopt_maps(mut kept: BTreeMap<String, OwnedFd>) -> Result<Self, LoadError> {
        let program = kept.remove(&name(PROGRAM)).ok_or(LoadError::Lacks(PROGRAM))?;
        let for_veth = kept.remove(&name(FOR_VETH));
        let mut handles = BTreeMap::new();
        for map in MAPS {
            match kept.remove(&name(map)) {
                Some(fd) => {
                    handles.insert(map, fd);
                }
                None if map == TIMERS => {}
                None => return Err(LoadError::Lacks(map)),
            }
        }
        let no_timers = (!handles.contains_key(TIMERS))
            .then(|| "loaded without by the process before".to_owned());
        let (mut maps, mut room) = (BTreeMap::new(), 0);
        for (map, fd) in &handles {
            if !KEPT.contains(map) {
                let copy = fd.try_clone().map_err(|error| LoadError::Kernel(error.to_string()))?;
                let data = MapData::from_fd(copy)?;
                if *map == RUNTIME {
                    room = data.info()?.max_entries();
                }
                maps.insert(*map, Map::from_map_data(data)?);
            }
        }
        let mut fast = Self::over(Program::Adopted(program), maps, handles, room, no_timers)?;
        fast.for_veth = for_veth;
        fast.routers.recall()?;
        fast.slots.stop_all();
        Ok(fast)
    }

    /// An attachment that was taken over, where it is in one of these modes and still there.
    pub(super) fn take_found(&mut self, ifindex: u32, modes: &[sys::Mode]) -> Option<&Attached> {
        let (fd, mode) = self.found.remove(&ifindex)?;
        if !modes.contains(&mode) || !sys::is_on(fd.as_fd()) {
            // Before another one can come, it must be gone: others may have its descriptor too.
            sys::detach(fd.as_fd());
            return None;
        }
        let attached = match mode {
            sys::Mode::Native => Attached::Native,
            sys::Mode::Generic => {
                Attached::Generic { why: "as before this process was started anew".to_owned() }
            }
        };
        Some(&self.attached.entry(ifindex).or_insert((fd, attached)).1)
    }

    /// The program for an attachment in this mode to this interface.
    pub(super) fn program_on(&self, ifindex: u32, mode: sys::Mode) -> io::Result<BorrowedFd<'_>> {
        if let (Some(fd), sys::Mode::Native) = (&self.for_veth, mode)
            && link::is_veth(ifindex)?
        {
            return Ok(fd.as_fd());
        }
        self.program_fd().ok_or_else(|| io::Error::other(LoadError::Lacks(super::PROGRAM)))
    }

    fn program_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.program {
            Program::Adopted(fd) => Some(fd.as_fd()),
            Program::Loaded(ebpf) => {
                let program: &Xdp = ebpf.program(super::PROGRAM)?.try_into().ok()?;
                program.fd().ok().map(AsFd::as_fd)
            }
        }
    }

    /// Takes what was taken over, and nobody has taken up or set since, off its interface and out of the
    /// maps.
    pub fn drop_unused(&mut self) {
        for (fd, _) in std::mem::take(&mut self.found).into_values() {
            sys::detach(fd.as_fd());
        }
        self.routers.drop_unused();
    }
}

/// In which mode a program is attached that is.
pub(super) const fn mode(attached: &Attached) -> sys::Mode {
    match attached {
        Attached::Generic { .. } => sys::Mode::Generic,
        Attached::Native | Attached::Socket { .. } => sys::Mode::Native,
    }
}

/// Whether a descriptor is an attachment, of whatever version.
pub(crate) fn is_link(name: &str) -> bool {
    let versioned = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
    versioned.is_some_and(|(_, of)| of.split('.').next() == Some(LINK))
}

/// Attachments by their interfaces.
fn known(links: BTreeMap<String, OwnedFd>) -> BTreeMap<u32, (OwnedFd, sys::Mode)> {
    let prefix = name(LINK);
    let links = links.into_iter().filter_map(|(name, fd)| {
        let (ifindex, mode) = name.strip_prefix(&prefix)?.strip_prefix('.')?.split_once('.')?;
        let mode = [sys::Mode::Native, sys::Mode::Generic].into_iter().find(|m| m.name() == mode);
        Some((ifindex.parse().ok()?, (fd, mode?)))
    });
    links.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_known_by_their_names() {
        assert!(is_link(&link_name(7, sys::Mode::Native)) && is_link("xdp1.link.7.generic"));
        assert!(!is_link(&name(PROGRAM)) && !is_link(&name("ROUTERS")) && !is_link("ledger"));
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let names = [link_name(7, sys::Mode::Native), link_name(8, sys::Mode::Generic)];
        let found = known(names.into_iter().map(|name| (name, fd())).collect());
        let modes: Vec<_> = found.iter().map(|(ifindex, (_, mode))| (*ifindex, *mode)).collect();
        assert_eq!(modes, [(7, sys::Mode::Native), (8, sys::Mode::Generic)]);
    }
}
