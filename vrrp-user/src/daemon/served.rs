//! Which virtual routers this daemon serves, for every other one in the network namespace to know.
//!
//! Two daemons that serve one virtual router on one interface take its adverts from each other, and the
//! one that hears nothing would be MASTER beside the real one. Whoever serves a virtual router holds an
//! abstract socket of its name, which goes with the last process that has it, however that ends: the
//! guardian keeps it over a crash of the worker. Nothing is ever said through it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use tracing::{info, warn};
use vrrp_common::{Family, Instant};

use super::rivals::Rivals;
use crate::guardian::channel::Kept;
use crate::ledger::{Body, Entry, Table, judge};
use crate::procfs;

/// What the names of these descriptors begin with.
pub(crate) const PREFIX: &str = "served";

/// The sockets that have a name.
const NAMES: &str = "/proc/thread-self/net/unix";

/// A virtual router on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) ifindex: u32,
    pub(crate) family: Family,
    pub(crate) vrid: u8,
}

impl Key {
    /// The name of its socket, and of the descriptor.
    fn name(self) -> String {
        format!("{PREFIX}.{}.{}.{}", self.ifindex, self.family as u8, self.vrid)
    }
}

/// Whose virtual router it is, for those who read the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whose<'a> {
    /// The instance's name.
    pub(super) instance: &'a str,
    /// Its interface's.
    pub(super) interface: &'a str,
}

impl Whose<'_> {
    /// The virtual router in words.
    fn router(self, key: Key) -> String {
        let family = if key.family == Family::V4 { "IPv4" } else { "IPv6" };
        format!("VRID {} ({family}) on {}", key.vrid, self.interface)
    }
}

/// Somebody who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Theirs {
    /// The xvrrp with this main process.
    Process(u32),
    /// No xvrrp at all: it has no name, and was found otherwise.
    Rival(String),
    /// Who could not be asked, since then: just about to serve, or too busy.
    Silent(Instant),
}

/// How long somebody who has a name and gives no answer is waited for. Not for ever: any user could keep
/// us from serving that way.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one that is dying is waited for.
const DYING: Duration = Duration::from_secs(1);
/// One of which no more is known.
const UNSEEN: &str = "another xvrrp";
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// The virtual routers that are served here, and those that another daemon serves.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By name, of an earlier worker.
    adopted: Kept,
    /// Without a descriptor where the kernel gave none: it is served all the same.
    ours: BTreeMap<Key, Option<OwnedFd>>,
    theirs: BTreeMap<Key, Theirs>,
    /// The daemons that are no xvrrp.
    pub(super) rivals: Rivals,
    /// It was said that there is no socket.
    failing: bool,
}

impl Served {
    /// Takes over what an earlier worker held.
    pub(super) fn over(kept: Kept) -> Self {
        Self { adopted: kept, ..Self::default() }
    }

    /// Serves exactly these, as far as nobody else does. `rival`: who serves one that is no xvrrp, where
    /// it was that one before, by its name.
    pub(super) fn apply(
        &mut self,
        wanted: &BTreeMap<Key, Whose<'_>>,
        now: Instant,
        mut rival: impl FnMut(Key, Option<&str>) -> Option<String>,
    ) {
        self.ours.retain(|key, _| wanted.contains_key(key));
        self.theirs.retain(|key, _| wanted.contains_key(key));
        for (key, whose) in wanted {
            if !self.ours.contains_key(key) && !self.is_rivals(*key, *whose, &mut rival) {
                self.take(*key, *whose, now);
            }
        }
        self.adopted.clear();
    }

    /// Whether another daemon serves it.
    pub(super) fn is_taken(&self, key: Key) -> bool {
        self.theirs.contains_key(&key)
    }

    /// Which daemon serves it instead of this one, where that is known.
    pub(super) fn by(&self, key: Key) -> Option<String> {
        match self.theirs.get(&key)? {
            Theirs::Process(main) => Some(another(*main)),
            Theirs::Rival(who) => Some(who.clone()),
            Theirs::Silent(_) => None,
        }
    }

    /// Whether any is to be asked for again.
    pub(super) fn waits(&self) -> bool {
        !self.theirs.is_empty()
    }

    /// Any other daemon that has its part of this network namespace, for a line that names it: an xvrrp that
    /// serves something, or one that is none.
    pub(super) fn others(&mut self) -> Option<String> {
        let ours: BTreeSet<String> = self.ours.keys().map(|key| key.name()).collect();
        let mut xvrrp = held_by_others().into_iter().filter(|(name, _)| !ours.contains(name));
        self.rivals.any().or_else(|| xvrrp.next().map(|(_, who)| who))
    }

    /// What the guardian is to keep.
    pub(super) fn exports(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.ours.iter().filter_map(|(key, fd)| Some((key.name(), fd.as_ref()?.as_fd())))
    }

    /// Whether a daemon serves it that is no xvrrp. What an earlier worker of ours served is ours.
    fn is_rivals(
        &mut self,
        key: Key,
        whose: Whose<'_>,
        rival: &mut impl FnMut(Key, Option<&str>) -> Option<String>,
    ) -> bool {
        if self.adopted.contains_key(&key.name()) {
            return false;
        }
        let before = match self.theirs.get(&key) {
            Some(Theirs::Rival(who)) => Some(who.clone()),
            Some(Theirs::Process(_) | Theirs::Silent(_)) | None => None,
        };
        let Some(who) = rival(key, before.as_deref()) else { return false };
        if before.as_ref() != Some(&who) {
            let (name, router) = (whose.instance, whose.router(key));
            info!("({name}) {who} serves {router}: in FAULT here until it ends");
        }
        self.theirs.insert(key, Theirs::Rival(who));
        true
    }

    fn take(&mut self, key: Key, whose: Whose<'_>, now: Instant) {
        let name = key.name();
        let held = match self.adopted.remove(&name) {
            // Once more, so that it says this process's number.
            Some(fd) => listen(&fd, Backlog::MAXCONN).map(|()| Some(fd)),
            None => hold(&name),
        };
        match held {
            Ok(Some(fd)) => {
                if self.theirs.remove(&key).is_some() {
                    info!("({}) {} is free by now", whose.instance, whose.router(key));
                }
                self.ours.insert(key, Some(fd));
            }
            Ok(None) => self.ask(key, whose, &name, now),
            Err(errno) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("another xvrrp for the same VRID would go unnoticed: {}", errno.desc());
                }
                self.ours.insert(key, None);
            }
        }
    }

    /// Learns who has a name.
    fn ask(&mut self, key: Key, whose: Whose<'_>, name: &str, now: Instant) {
        let since = match self.theirs.get(&key) {
            // Once known, only the socket is asked for again.
            Some(Theirs::Process(_)) => return,
            Some(Theirs::Silent(since)) => Some(*since),
            Some(Theirs::Rival(_)) | None => None,
        };
        let (instance, router) = (whose.instance, whose.router(key));
        match holder(name) {
            Ok(pid) => {
                // Its worker listens, and comes back when it is killed.
                let main = procfs::main_of(pid.unsigned_abs());
                let who = another(main);
                warn!("({instance}) {who} serves {router}: in FAULT here until it ends");
                self.theirs.insert(key, Theirs::Process(main));
            }
            Err(why) if is_silence(&why) && since.is_none_or(|at| now.since(at) < PATIENCE) => {
                if since.is_none() {
                    warn!(
                        "({instance}) somebody seems to serve {router} and does not say who it is: in \
                         FAULT here for now ({why})"
                    );
                    self.theirs.insert(key, Theirs::Silent(now));
                }
            }
            Err(why) => {
                warn!("({instance}) whether another xvrrp serves {router} is not known: {why}");
                self.theirs.remove(&key);
                self.ours.insert(key, None);
            }
        }
    }
}

/// Another xvrrp by its main process, in words.
fn another(main: u32) -> String {
    format!("another xvrrp (process {main})")
}

/// Whether an error says that somebody has a socket who does not answer by it at the moment.
fn is_silence(why: &io::Error) -> bool {
    matches!(why.raw_os_error(), Some(libc::ECONNREFUSED | libc::EAGAIN))
}

fn address(name: &str) -> nix::Result<UnixAddr> {
    UnixAddr::new_abstract(format!("xvrrp.{name}").as_bytes())
}

/// The names that somebody holds, of the calling thread's network namespace.
fn held_names() -> BTreeSet<String> {
    let table = std::fs::read_to_string(NAMES).unwrap_or_default();
    names_in(&table).map(str::to_owned).collect()
}

/// Those in the kernel's table of sockets, where they are the last word of a line.
fn names_in(table: &str) -> impl Iterator<Item = &str> {
    let names = table.lines().filter_map(|line| Some(line.rsplit_once(" @xvrrp.")?.1));
    names.filter(|name| name.starts_with(PREFIX))
}

/// The names that other daemons hold, and lines' words for who that is. Those who are dying let go of theirs,
/// and are waited for. One that never gets that far serves nothing any more; nor does one whose guardian
/// does not start another at once, since it has given up all.
fn held_by_others() -> BTreeMap<String, String> {
    let until = std::time::Instant::now() + DYING;
    loop {
        let (mut held, mut dying) = (BTreeMap::new(), false);
        for name in held_names() {
            let who = match holder(&name) {
                Ok(pid) if pid.unsigned_abs() == std::process::id() => continue,
                // In another container: nobody here sees how it is.
                Ok(0) => UNSEEN.to_owned(),
                Ok(pid) if procfs::is_dying(pid.unsigned_abs()) => {
                    dying = true;
                    continue;
                }
                Ok(pid) => format!("xvrrp (process {})", procfs::main_of(pid.unsigned_abs())),
                Err(why) if is_silence(&why) => UNSEEN.to_owned(),
                Err(_) => continue,
            };
            held.insert(name, who);
        }
        if !dying || std::time::Instant::now() >= until {
            return held;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Who serves the routers of a ledger by now, whose process is gone.
#[derive(Debug, Default)]
pub(crate) struct Heirs {
    held: Option<BTreeMap<String, String>>,
    rivals: Rivals,
}

impl Heirs {
    /// The daemon that serves a router, for a line that names it; of one that is no xvrrp, where its file
    /// says so.
    pub(crate) fn of(&mut self, body: &Body) -> Option<String> {
        let family = [Family::V4, Family::V6].into_iter().find(|f| *f as u8 == body.family)?;
        let held = self.held.get_or_insert_with(|| {
            self.rivals.look();
            held_by_others()
        });
        let name = Key { ifindex: body.ifindex, family, vrid: body.vrid }.name();
        let xvrrp = held.get(&name).cloned();
        xvrrp.or_else(|| self.rivals.known(&(body.interface.clone(), family, body.vrid)))
    }

    /// Those of some routers that nobody else serves, and the lines that name the others.
    pub(crate) fn without(
        &mut self,
        table: &Table,
        entries: Vec<Entry>,
    ) -> (Vec<Entry>, Vec<String>) {
        let mut lines = Vec::new();
        let is_nobodys = |entry: &Entry| {
            let body = table.body(entry.slot).filter(|_| judge::may_hold(entry, table.alive()));
            let line = body.and_then(|body| {
                let heir = self.of(&body)?;
                Some(format!("({}) {heir} serves it by now, so it is left alone", body.name))
            });
            let is_nobodys = line.is_none();
            lines.extend(line);
            is_nobodys
        };
        (entries.into_iter().filter(is_nobodys).collect(), lines)
    }
}

fn unix() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// Holds a name; `None`: somebody else does.
fn hold(name: &str) -> nix::Result<Option<OwnedFd>> {
    let fd = unix()?;
    match bind(fd.as_raw_fd(), &address(name)?) {
        Ok(()) => {}
        Err(Errno::EADDRINUSE) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    listen(&fd, Backlog::MAXCONN)?;
    Ok(Some(fd))
}

/// The process that holds a name.
///
/// # Errors
/// It can't be asked, or has not the rights of such a daemon: any user could keep us from serving.
fn holder(name: &str) -> io::Result<i32> {
    let fd = unix()?;
    connect(fd.as_raw_fd(), &address(name)?)?;
    let them = getsockopt(&fd, sockopt::PeerCredentials)?;
    if them.uid() != 0 && them.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(format!(
            "process {} of user {} has its name",
            them.pid(),
            them.uid()
        )));
    }
    Ok(them.pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    fn nobody(_: Key, _: Option<&str>) -> Option<String> {
        None
    }

    /// No interface has such an index.
    fn key(vrid: u8) -> Key {
        Key { ifindex: u32::MAX - std::process::id(), family: Family::V6, vrid }
    }

    /// To be served, each on `eth0` for the instance `VI_1`.
    fn these<const N: usize>(keys: [Key; N]) -> BTreeMap<Key, Whose<'static>> {
        keys.map(|key| (key, Whose { instance: "VI_1", interface: "eth0" })).into()
    }

    #[test]
    fn one_serves_and_the_next_waits_until_it_goes() {
        let (mut first, mut second) = (Served::default(), Served::default());
        let both = these([key(1), key(2)]);
        first.apply(&these([key(1)]), NOW, nobody);
        second.apply(&both, NOW, nobody);
        assert!(second.is_taken(key(1)) && !second.is_taken(key(2)) && second.waits());
        let who = format!("another xvrrp (process {})", std::process::id());
        assert_eq!(second.by(key(1)), Some(who));
        // What it has does not keep it waiting, nor does it take it from itself.
        second.apply(&both, NOW, nobody);
        assert!(second.is_taken(key(1)) && second.ours.contains_key(&key(2)));
        second.apply(&these([Key { family: Family::V4, ..key(1) }]), NOW, nobody);
        assert!(second.ours.len() == 1 && !second.waits(), "the other family's is another one");
        first.apply(&BTreeMap::new(), NOW, nobody);
        second.apply(&both, NOW, nobody);
        assert!(!second.is_taken(key(1)) && !second.waits());
    }

    #[test]
    fn the_next_worker_has_what_the_guardian_kept() {
        let mut before = Served::default();
        before.apply(&these([key(3), key(4)]), NOW, nobody);
        let kept: Kept = before
            .exports()
            .map(|(name, fd)| (name, fd.try_clone_to_owned().expect("a descriptor")))
            .collect();
        assert!(kept.keys().all(|name| name.starts_with(PREFIX)), "{kept:?}");
        drop(before);
        let (mut after, mut other) = (Served::over(kept), Served::default());
        after.apply(&these([key(3)]), NOW, nobody);
        other.apply(&these([key(3), key(4)]), NOW, nobody);
        assert!(!after.is_taken(key(3)) && other.is_taken(key(3)));
        assert!(!other.is_taken(key(4)), "what is not wanted any more is let go");
    }

    /// Between taking the name and serving, or with more who ask than it has room for.
    #[test]
    fn one_that_does_not_answer_is_waited_for_and_not_for_ever() {
        let at = |seconds| NOW + Duration::from_secs(seconds);
        let busy = |backlog: i32| {
            let fd = unix().unwrap();
            bind(fd.as_raw_fd(), &address(&key(5).name()).unwrap()).unwrap();
            listen(&fd, Backlog::new(backlog).unwrap()).unwrap();
            fd
        };
        let wanted = these([key(5)]);
        let fd = unix().unwrap();
        bind(fd.as_raw_fd(), &address(&key(5).name()).unwrap()).unwrap();
        let mut ours = Served::default();
        ours.apply(&wanted, at(0), nobody);
        assert!(ours.is_taken(key(5)) && ours.waits(), "it does not listen yet");
        listen(&fd, Backlog::MAXCONN).unwrap();
        ours.apply(&wanted, at(1), nobody);
        assert_eq!(ours.theirs[&key(5)], Theirs::Process(std::process::id()));
        drop(fd);
        ours.apply(&wanted, at(2), nobody);
        assert!(!ours.is_taken(key(5)) && !ours.waits());
        ours.apply(&BTreeMap::new(), at(3), nobody);

        let fd = busy(0);
        let asked: Vec<_> = (0..3).map(|_| (unix().unwrap(), holder(&key(5).name()))).collect();
        assert!(
            asked.iter().any(|(_, answer)| answer.as_ref().is_err_and(is_silence)),
            "{asked:?}"
        );
        ours.apply(&wanted, at(4), nobody);
        ours.apply(&wanted, at(13), nobody);
        assert!(ours.is_taken(key(5)));
        ours.apply(&wanted, at(14), nobody);
        assert!(!ours.is_taken(key(5)) && ours.ours.contains_key(&key(5)));
        drop(fd);
    }

    #[test]
    fn names_are_read_from_the_kernel_s_table() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0005 01 4711 @xvrrp.served.2.4.51
0000000000000000: 00000002 00000000 00010000 0001 01 4712 /run/xvrrp.served.2.4.52
0000000000000000: 00000002 00000000 00010000 0001 01 4713 @xvrrp.other
0000000000000000: 00000002 00000000 00010000 0001 01 4714
";
        assert_eq!(names_in(table).collect::<Vec<_>>(), ["served.2.4.51"]);
    }

    /// keepalived, say: its name is held by nobody.
    #[test]
    fn a_rival_is_waited_for_and_what_is_ours_stays_so() {
        let mut asked = Vec::new();
        let mut served = Served::default();
        let wanted = these([key(6), key(7)]);
        served.apply(&these([key(6)]), NOW, nobody);
        let mut rival = |key: Key, before: Option<&str>| {
            asked.push((key.vrid, before.map(str::to_owned)));
            Some("keepalived".to_owned())
        };
        served.apply(&wanted, NOW, &mut rival);
        served.apply(&wanted, NOW, &mut rival);
        assert_eq!(asked, [(7, None), (7, Some("keepalived".to_owned()))]);
        assert!(!served.is_taken(key(6)) && served.is_taken(key(7)) && served.waits());
        assert_eq!((served.by(key(6)), served.by(key(7))), (None, Some("keepalived".to_owned())));
        served.apply(&wanted, NOW, nobody);
        assert!(!served.is_taken(key(7)) && !served.waits() && served.ours.contains_key(&key(7)));
        // An earlier worker had it.
        let kept = served.exports().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap()));
        let mut next = Served::over(kept.collect());
        next.apply(&wanted, NOW, |_, _| Some("keepalived".to_owned()));
        assert!(!next.is_taken(key(7)));
    }
}
