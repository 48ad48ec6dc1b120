//! A netlink route socket: batches of requests, dumps, events.
//!
//! `rtnetlink`'s own connection ends when its socket overruns and sends one request per message, so
//! only its message types are used here.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_ROUTE};

/// The kernel's datagrams are 32 KiB at most; a longer one would be cut.
const DATAGRAM: usize = 64 * 1024;
/// A netlink message's header.
const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the kernel's words for an error.
const ATTRIBUTE_TEXT: u16 = 1;
/// `NLM_F_ACK_TLVS`: attributes follow in an answer.
const FLAG_ATTRIBUTES: u16 = 0x200;
/// Refusals that may wait in the socket at once, far below what its buffer holds: no more requests are in
/// one message.
pub(super) const BATCH: usize = 100;

/// How one request ended.
pub(super) type Answer = Result<(), Refusal>;

/// The kernel's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// What it says beyond the number.
    pub(super) text: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.errno.desc())?;
        match &self.text {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

/// A netlink route socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace, subscribed to a set of groups (bit n
    /// is group n + 1), with a receive buffer of that many bytes.
    pub(super) fn open(groups: u32, receive_buffer: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // The second is bound by the host's limit, which the first, with CAP_NET_ADMIN, is not.
        setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &receive_buffer))?;
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Has the kernel carry out requests in this order, many per system call, and returns its answers
    /// in the same order. `flags` are added to each.
    ///
    /// The kernel executes requests inside the call that sends them, so the answers are there when it
    /// returns and nothing here waits for anything but the kernel's own lock.
    pub(super) fn execute(
        &mut self,
        requests: Vec<RouteNetlinkMessage>,
        flags: u16,
    ) -> io::Result<Vec<Answer>> {
        self.execute_each(requests.into_iter().map(|request| (request, flags)).collect())
    }

    /// The same with flags for each request alone.
    pub(super) fn execute_each(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            let mut count = 0;
            while count < BATCH
                && let Some((request, flags)) = requests.next()
            {
                count += 1;
                // A refusal comes unasked. That there is none is known with the answer to the last one.
                let is_last = count == BATCH || requests.peek().is_none();
                let ask = if is_last { NLM_F_ACK } else { 0 };
                self.append(&mut bytes, request, flags | NLM_F_REQUEST | ask);
            }
            self.socket.send(&bytes, 0)?;
            answers.extend(self.answers(first, count)?);
        }
        Ok(answers)
    }

    /// Asks for one thing: what comes in answer, and whether it was refused.
    pub(super) fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, request, NLM_F_REQUEST | NLM_F_ACK);
        self.socket.send(&bytes, 0)?;
        let sequence = self.sequence;
        let mut end = None;
        while end.is_none() {
            self.read(|header, payload| {
                if header.sequence_number != sequence {
                    return;
                }
                if let NetlinkPayload::InnerMessage(message) = payload {
                    each(message);
                } else if let NetlinkPayload::Error(error) = payload {
                    end = Some(answer(&error, header.flags));
                }
            })?;
        }
        Ok(end.unwrap_or(Ok(())))
    }

    /// Reads everything of one kind, with whatever events come between, in the order in which they
    /// happened. `false`: the list changed while it was read, so that an entry may be missing.
    ///
    /// # Errors
    /// `ENOBUFS` where events were lost meanwhile.
    pub(super) fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<bool> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, request, NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&bytes, 0)?;
        let sequence = self.sequence;
        let (mut done, mut whole, mut refused) = (false, true, None);
        while !done {
            self.read(|header, payload| {
                let ours = header.sequence_number == sequence;
                whole &= !(ours && header.flags & NLM_F_DUMP_INTR != 0);
                if let NetlinkPayload::InnerMessage(message) = payload {
                    each(message);
                } else if let NetlinkPayload::Done(_) = payload {
                    done |= ours;
                } else if let NetlinkPayload::Error(error) = payload
                    && ours
                {
                    refused = Some(error.to_io());
                }
            })?;
            if let Some(error) = refused {
                return Err(error);
            }
        }
        Ok(whole)
    }

    /// Reads one datagram of events.
    ///
    /// # Errors
    /// `EAGAIN` where none waits, `ENOBUFS` where some were lost.
    pub(super) fn events(&mut self, mut each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        self.read(|_, payload| {
            if let NetlinkPayload::InnerMessage(message) = payload {
                each(message);
            }
        })
    }

    /// What became of a batch of requests, of which the last one is answered in any case.
    fn answers(&mut self, first: u32, count: usize) -> io::Result<Vec<Answer>> {
        let mut answers: Vec<Answer> = vec![Ok(()); count];
        let mut done = false;
        while !done {
            self.read(|header, payload| {
                let index = header.sequence_number.wrapping_sub(first) as usize;
                if let (Some(place), NetlinkPayload::Error(error)) =
                    (answers.get_mut(index), payload)
                {
                    *place = answer(&error, header.flags);
                    done |= index + 1 == count;
                }
            })?;
        }
        Ok(answers)
    }

    /// Adds a message to those in `bytes`.
    fn append(&mut self, bytes: &mut Vec<u8>, request: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    /// Reads one datagram and takes it apart. Never blocks: requests and dumps are answered in the
    /// system calls that ask and read.
    fn read(
        &mut self,
        mut each: impl FnMut(&NetlinkHeader, NetlinkPayload<RouteNetlinkMessage>),
    ) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.reserve(DATAGRAM);
        self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT)?;
        let mut rest = self.buffer.as_slice();
        while let Ok(raw) = NetlinkBuffer::new_checked(rest) {
            let len = raw.length() as usize;
            let kind = raw.message_type();
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len]) {
                Ok(message) => {
                    let (header, payload) = message.into_parts();
                    each(&header, payload);
                }
                // A newer kernel's attribute in a shape nobody knew. The rest can still be read.
                Err(error) => tracing::warn!("Netlink: message of type {kind} not read: {error}"),
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn answer(error: &ErrorMessage, flags: u16) -> Answer {
    let Some(code) = error.code else {
        return Ok(());
    };
    // The header of the request comes first, without its payload (`NETLINK_CAP_ACK`).
    let attributes = error.header.get(HEADER..).unwrap_or_default();
    let text = (flags & FLAG_ATTRIBUTES != 0)
        .then(|| NlasIterator::new(attributes))
        .into_iter()
        .flatten()
        .flatten()
        .find(|attribute| attribute.kind() == ATTRIBUTE_TEXT)
        .map(|attribute| {
            let bytes = attribute.value();
            String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
        });
    Err(Refusal { errno: Errno::from_raw(code.get().saturating_abs()), text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::link::LinkMessage;
    use std::num::NonZeroI32;

    fn error(code: i32, header: &[u8]) -> ErrorMessage {
        let mut error = ErrorMessage::default();
        error.code = NonZeroI32::new(code);
        error.header = header.to_vec();
        error
    }

    #[test]
    fn zero_is_yes() {
        assert_eq!(answer(&error(0, &[0; HEADER]), 0), Ok(()));
    }

    /// In several batches, at their edges and in between.
    #[test]
    fn each_refusal_is_the_one_of_its_request() {
        let mut netlink = Netlink::open(0, 1 << 20).unwrap();
        let refused = [0, 1, 50, BATCH - 1, BATCH, 2 * BATCH + 49];
        let requests = (0..2 * BATCH + 50).map(|number| {
            let mut link = LinkMessage::default();
            link.header.index = if refused.contains(&number) { i32::MAX as u32 } else { 1 };
            RouteNetlinkMessage::GetLink(link)
        });
        let requests: Vec<_> = requests.collect();
        for requests in [requests.clone(), requests[..60].to_vec(), requests[..51].to_vec()] {
            let count = requests.len();
            let answers = netlink.execute(requests, 0).unwrap();
            assert_eq!(answers.len(), count);
            let found: Vec<usize> = (0..count).filter(|number| answers[*number].is_err()).collect();
            let expected: Vec<usize> = refused.into_iter().filter(|one| *one < count).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_refusal_keeps_the_kernel_s_words() {
        let mut header = vec![0; HEADER];
        header.extend_from_slice(b"\x08\x00\x02\x00\x00\x00\x00\x00");
        header.extend_from_slice(b"\x08\x00\x01\x00no!\x00");
        let with_text = answer(&error(-22, &header), FLAG_ATTRIBUTES);
        let refusal = Refusal { errno: Errno::EINVAL, text: Some("no!".to_owned()) };
        assert_eq!(with_text, Err(refusal.clone()));
        let without = Refusal { text: None, ..refusal };
        assert_eq!(answer(&error(-22, &header), 0), Err(without));
    }
}
