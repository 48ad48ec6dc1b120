//! On which interfaces the program is.

use std::io;
use std::os::fd::AsFd;

use super::{Attached, FastPath, LoadError, PROGRAM, link, sys};
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
        let native = (sys::Mode::Native, "native");
        let generic = (sys::Mode::Generic, "generic");
        let modes = match want {
            Datapath::Auto => vec![native, generic],
            Datapath::Xdp => vec![native],
            Datapath::Generic => vec![generic],
            Datapath::Socket => return Attached::Socket { why: "as configured".to_owned() },
        };
        if let Some(hidden) = self.hidden(name, ifindex) {
            return hidden;
        }
        if let Some(found) =
            self.take_found(ifindex, &modes.iter().map(|(m, _)| *m).collect::<Vec<_>>())
        {
            return found.clone();
        }
        let begin = clock::now();
        let attached = self.attach_anew(ifindex, &modes);
        if self.attached.contains_key(&ifindex) {
            self.once += clock::now().since(begin);
        }
        attached
    }

    fn attach_anew(&mut self, ifindex: u32, modes: &[(sys::Mode, &str)]) -> Attached {
        self.occupied.remove(&ifindex);
        let Some(program) = self.program_fd() else {
            return Attached::Socket { why: LoadError::Lacks(PROGRAM).to_string() };
        };
        let (mut refusals, mut is_denied) = (Vec::new(), false);
        for &(mode, called) in modes {
            if mode == sys::Mode::Native
                && let Some(why) = link::not_native(ifindex)
            {
                refusals.push(why.to_owned());
                continue;
            }
            match sys::attach(program, ifindex, mode) {
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
                    refusals.push(format!("{called} XDP: {error}"));
                }
            }
        }
        if is_denied {
            self.denied.insert(ifindex);
        }
        Attached::Socket { why: refusals.join("; ") }
    }

    /// Says that an interface is left to the socket, and notes why, where VLAN tags are hidden from the
    /// program on it, or the kernel can't say.
    fn hidden(&mut self, name: &str, ifindex: u32) -> Option<Attached> {
        self.blind.remove(&ifindex);
        self.denied.remove(&ifindex);
        match link::hides_tags(name, ifindex) {
            Ok(why) => {
                let why = why?;
                self.blind.insert(ifindex, why.clone());
                Some(Attached::Socket { why })
            }
            Err(error) => {
                self.denied.insert(ifindex);
                let why = format!("whether VLAN tags are hidden from it is not known: {error}");
                Some(Attached::Socket { why })
            }
        }
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
        if !self.attached.contains_key(&ifindex) {
            return None;
        }
        let hidden = self.hidden(name, ifindex)?;
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
            (None, None) => self.look_for_tags(name, ifindex)?,
        };
        self.attached.remove(&ifindex);
        Some((lately, self.attach(name, ifindex, want)))
    }

    /// What became of what hid VLAN tags on an interface, where that has changed.
    fn look_for_tags(&self, name: &str, ifindex: u32) -> Option<Lately> {
        let before = self.blind.get(&ifindex)?;
        match link::hides_tags(name, ifindex) {
            Ok(Some(why)) => (why != *before).then_some(Lately::TagsHidden),
            Ok(None) => link::is_there(ifindex).then_some(Lately::TagsSeen),
            // As before, for all that is known.
            Err(_) => None,
        }
    }
}

/// Whether an error is of the moment: what the kernel ran out of, it may have again.
fn may_pass(error: &io::Error) -> bool {
    const FULL: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN];
    error.raw_os_error().is_some_and(|errno| FULL.contains(&errno))
}
