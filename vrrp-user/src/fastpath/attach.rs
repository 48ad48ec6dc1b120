//! On which interfaces the program is.

use std::io;
use std::os::fd::AsFd;

use super::{Attached, FastPath, adopt, link, sys};
use crate::config::model::Datapath;
use crate::sys::clock;

/// What others did to the programs of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lately {
    /// They took ours off.
    TakenOff,
    /// What was in the way of ours is gone.
    Free,
    /// Something else is in its way by now.
    Replaced,
    /// The program sees the VLAN tags again that were hidden from it.
    TagsSeen,
    /// VLAN tags are hidden from it, and by now for another reason.
    TagsHidden,
    /// The kernel gives by now what it did not.
    Given,
}

impl FastPath {
    /// Attaches the program to an interface of the calling thread's network namespace, as near to the
    /// wire as `want` and the kernel allow.
    ///
    /// A program of somebody else that is there already stays, and the interface is left to the
    /// socket. Attaching twice changes nothing.
    pub fn attach(&mut self, name: &str, ifindex: u32, want: Datapath) -> Attached {
        if let Some((_, attached)) = self.attached.get(&ifindex) {
            return attached.clone();
        }
        if want == Datapath::Socket {
            return Attached::Socket { why: "as configured".to_owned() };
        }
        let sight = match self.sight(name, ifindex, modes(want)) {
            Ok(sight) => sight,
            Err(hidden) => return hidden,
        };
        if let Some(found) = self.take_found(ifindex, &sight.modes) {
            return found.clone();
        }
        let begin = clock::now();
        let attached = self.attach_anew(ifindex, sight);
        if self.attached.contains_key(&ifindex) {
            self.once += clock::now().since(begin);
        }
        attached
    }

    fn attach_anew(&mut self, ifindex: u32, sight: Sight) -> Attached {
        self.occupied.remove(&ifindex);
        let (mut refusals, mut is_denied) = (Vec::new(), false);
        for mode in sight.modes.iter().copied() {
            if mode == sys::Mode::Native
                && let Some(why) = link::not_native(ifindex)
            {
                refusals.push(why.to_owned());
                continue;
            }
            let program = self.program_on(ifindex, mode);
            match program.and_then(|program| sys::attach(program, ifindex, mode)) {
                Ok(attachment) => {
                    let attached = match mode {
                        sys::Mode::Native => Attached::Native,
                        sys::Mode::Generic if refusals.is_empty() => {
                            Attached::Generic { why: "as configured".to_owned() }
                        }
                        sys::Mode::Generic => Attached::Generic { why: refusals.join("; ") },
                    };
                    self.attached.insert(ifindex, (attachment, attached.clone()));
                    return attached;
                }
                // Taken in this mode, or in the other one, which excludes this.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                    self.occupied.insert(ifindex, link::program_id(ifindex));
                    return Attached::Socket { why: link::occupant(ifindex) };
                }
                Err(error) => {
                    is_denied |= may_pass(&error);
                    refusals.push(format!("{} XDP: {error}", mode.name()));
                }
            }
        }
        if is_denied {
            self.denied.insert(ifindex);
        }
        if let Some(why) = &sight.hidden {
            refusals.push(why.clone());
            self.blind.insert(ifindex, sight);
        }
        Attached::Socket { why: refusals.join("; ") }
    }

    /// In which of these modes the program would see VLAN tags on an interface. Where that is none, or the
    /// kernel can't say, it is left to the socket, and why is noted.
    fn sight(&mut self, name: &str, ifindex: u32, modes: &[sys::Mode]) -> Result<Sight, Attached> {
        self.blind.remove(&ifindex);
        self.denied.remove(&ifindex);
        match self.look_through(name, ifindex, modes) {
            Ok(sight) if sight.modes.is_empty() => {
                let why = sight.hidden.clone().unwrap_or_default();
                self.blind.insert(ifindex, sight);
                Err(Attached::Socket { why })
            }
            Ok(sight) => Ok(sight),
            Err(error) => {
                self.denied.insert(ifindex);
                let why = format!("whether VLAN tags are hidden from it is not known: {error}");
                Err(Attached::Socket { why })
            }
        }
    }

    fn look_through(&self, name: &str, ifindex: u32, modes: &[sys::Mode]) -> io::Result<Sight> {
        let mut sight = Sight::default();
        for mode in modes {
            match link::hides_tags(name, ifindex, *mode, self.sees_tags_on_veth())? {
                None => sight.modes.push(*mode),
                why => sight.hidden = sight.hidden.or(why),
            }
        }
        Ok(sight)
    }

    /// Whether an interface is left to the socket for want of something that the kernel may give another
    /// time: [`FastPath::look`] asks for it again.
    pub fn is_denied_on(&self, ifindex: u32) -> bool {
        self.denied.contains(&ifindex)
    }

    /// Whether that is so on any.
    pub fn is_denied(&self) -> bool {
        !self.denied.is_empty()
    }

    /// Whether an interface is left to the socket because VLAN tags are hidden from the program there. When
    /// a link goes that may be otherwise: [`FastPath::look`].
    pub fn is_blind(&self, ifindex: u32) -> bool {
        self.blind.contains_key(&ifindex)
    }

    /// Looks again at an interface that a link has come to, or that has changed: takes the program off where
    /// a VLAN's tags are now hidden from it, and says so.
    pub fn recheck(&mut self, name: &str, ifindex: u32) -> Option<Attached> {
        let mode = adopt::mode(&self.attached.get(&ifindex)?.1);
        let hidden = self.sight(name, ifindex, &[mode]).err()?;
        self.let_go(ifindex);
        Some(hidden)
    }

    /// Takes the program off an interface; nothing happens where it is not on it.
    pub fn detach(&mut self, ifindex: u32) {
        self.occupied.remove(&ifindex);
        self.blind.remove(&ifindex);
        self.denied.remove(&ifindex);
        self.let_go(ifindex);
    }

    fn let_go(&mut self, ifindex: u32) {
        if let Some((attachment, _)) = self.attached.remove(&ifindex) {
            // Closed it would stay as long as somebody else has a copy of the descriptor.
            sys::detach(attachment.as_fd());
        }
    }

    /// Looks whether the program is where it was, and whether what was in its way still is, hid VLAN tags
    /// from it, or was not given. Where that is otherwise, it is attached as by [`FastPath::attach`], and what became of that
    /// is given.
    ///
    /// Costs a system call where all is as it was, two where another program is in the way, a list of all
    /// links where tags are hidden.
    pub fn look(&mut self, name: &str, ifindex: u32, want: Datapath) -> Option<(Lately, Attached)> {
        let lately = match (self.attached.get(&ifindex), self.occupied.get(&ifindex)) {
            // An interface that is gone takes it along.
            (Some((fd, _)), _) if sys::is_on(fd.as_fd()) || !link::is_there(ifindex) => {
                return None;
            }
            (Some(_), _) => Lately::TakenOff,
            (None, Some(was)) => match link::program_id(ifindex) {
                None if link::is_there(ifindex) => Lately::Free,
                is if is == *was || is.is_none() => return None,
                Some(_) | None => Lately::Replaced,
            },
            (None, None) if self.is_denied_on(ifindex) => {
                let attached = self.attach(name, ifindex, want);
                return (!self.is_denied_on(ifindex)).then_some((Lately::Given, attached));
            }
            (None, None) => self.look_for_tags(name, ifindex, modes(want))?,
        };
        self.attached.remove(&ifindex);
        Some((lately, self.attach(name, ifindex, want)))
    }

    /// What became of what hid VLAN tags on an interface, where that has changed.
    fn look_for_tags(&self, name: &str, ifindex: u32, modes: &[sys::Mode]) -> Option<Lately> {
        let before = self.blind.get(&ifindex)?;
        // As before, for all that is known, where it can't be known.
        let sight = self.look_through(name, ifindex, modes).ok()?;
        if sight.modes.len() > before.modes.len() {
            // From one that is gone nothing is hidden.
            return link::is_there(ifindex).then_some(Lately::TagsSeen);
        }
        (sight != *before).then_some(Lately::TagsHidden)
    }
}

/// In which modes the program sees the VLAN tags of an interface's frames, and why not in another one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    modes: Vec<sys::Mode>,
    hidden: Option<String>,
}

/// The modes to be tried, the best first.
fn modes(want: Datapath) -> &'static [sys::Mode] {
    match want {
        Datapath::Auto => &[sys::Mode::Native, sys::Mode::Generic],
        Datapath::Xdp => &[sys::Mode::Native],
        Datapath::Generic => &[sys::Mode::Generic],
        Datapath::Socket => &[],
    }
}

/// Whether an error is of the moment: what the kernel ran out of, it may have again.
fn may_pass(error: &io::Error) -> bool {
    const FULL: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN];
    error.raw_os_error().is_some_and(|errno| FULL.contains(&errno))
}
