//! A client that asks an address all the time: how long it gets no answer, and who answers.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use crate::netns::Netns;
use crate::pulse::Pulse;
use crate::wait::{RECENT, now, urgent};

const PORT: u16 = 7777;

/// A server on all addresses of a host that answers with the host's number.
#[derive(Debug)]
pub struct Echo {
    end: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(netns: &Netns, number: u8) -> Result<Self> {
        let socket = netns.enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            // The answer must come from the address that was asked.
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(socket)
        })?;
        let end = Arc::new(AtomicBool::new(false));
        let server = std::thread::spawn({
            let end = Arc::clone(&end);
            move || {
                // A client measures the daemons, and not how long this waits for its turn.
                urgent();
                while !end.load(Ordering::Relaxed) {
                    // A time-out, or an address that was taken away between question and answer.
                    let _ = answer_one(&socket, number);
                }
            }
        });
        Ok(Self { end, server: Some(server) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn answer_one(socket: &UdpSocket, number: u8) -> Result<()> {
    let mut buffer = [0; 64];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let (length, from, asked) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let fd = socket.as_raw_fd();
        let got = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let asked = got.cmsgs()?.find_map(|message| {
            let ControlMessageOwned::Ipv4PacketInfo(info) = message else { return None };
            Some(info)
        });
        (got.bytes, got.address, asked)
    };
    let Some((from, asked)) = from.zip(asked) else { return Ok(()) };
    buffer[0] = number;
    let source = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: asked.ipi_spec_dst,
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&source)];
    let parts = [IoSlice::new(&buffer[..length])];
    sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&from))?;
    Ok(())
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When it came, in the clock of [`crate::now`].
    pub at: Duration,
    /// The number of the host that gave it.
    pub who: u8,
}

/// What a client got.
#[derive(Clone, Debug)]
pub struct Answers {
    /// When the asking began.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
    /// All answers in order.
    pub answers: Vec<Answer>,
}

impl Answers {
    /// The longest time without an answer, from the first one to the end of the asking.
    pub fn longest_gap(&self) -> Duration {
        let next = self.answers.iter().skip(1).map(|answer| answer.at);
        self.answers
            .iter()
            .zip(next.chain([self.end]))
            .map(|(one, next)| next.saturating_sub(one.at))
            .max()
            .unwrap_or(self.end.saturating_sub(self.begin))
    }

    /// The longest time without an answer after a moment, that is from the last answer before it.
    pub fn longest_gap_after(&self, moment: Duration) -> Duration {
        let after = self.answers.partition_point(|answer| answer.at < moment);
        let answers = self.answers[after.saturating_sub(1)..].to_vec();
        Self { begin: moment, end: self.end, answers }.longest_gap()
    }

    /// The same without the time in which the machine stood still.
    pub fn longest_gap_awake(&self, moment: Duration, pulse: &Pulse) -> Duration {
        let after = self.answers.partition_point(|answer| answer.at < moment).saturating_sub(1);
        let answers = self.answers[after..].iter().map(|answer| answer.at);
        let all: Vec<Duration> = answers.chain([self.end]).collect();
        let awake = |from: Duration, to: Duration| {
            to.saturating_sub(from).saturating_sub(pulse.lost(from, to))
        };
        let gaps = all.windows(2).map(|pair| awake(pair[0], pair[1]));
        gaps.max().unwrap_or(awake(moment, self.end))
    }

    /// How often another host answered than the time before.
    pub fn switches(&self) -> usize {
        self.answers.windows(2).filter(|pair| pair[0].who != pair[1].who).count()
    }

    /// When this host answered for the first time after a moment.
    pub fn first_by(&self, who: u8, moment: Duration) -> Option<Duration> {
        let first = self.answers.iter().find(|answer| answer.who == who && answer.at >= moment);
        first.map(|answer| answer.at)
    }

    /// Who answered last.
    pub fn last(&self) -> Option<u8> {
        self.answers.last().map(|answer| answer.who)
    }
}

/// A client asking.
#[derive(Debug)]
pub struct Asker {
    begin: Duration,
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<AtomicU32>,
    asks: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Asker {
    pub(crate) fn start(netns: &Netns, address: Ipv4Addr, per_second: u32) -> Result<Self> {
        let socket = netns.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (answers, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let sender = socket.try_clone()?;
        let (asked, asks) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
        let ask = {
            let (asked, asks) = (Arc::clone(&asked), Arc::clone(&asks));
            let to = SocketAddrV4::new(address, PORT);
            move || {
                urgent();
                ask_all(&sender, to, Duration::from_secs(1) / per_second.max(1), &asked, &asks);
            }
        };
        let listen = {
            let (answers, end) = (Arc::clone(&answers), Arc::clone(&end));
            move || {
                urgent();
                listen_all(&socket, &answers, &end);
            }
        };
        let threads = vec![std::thread::spawn(ask), std::thread::spawn(listen)];
        Ok(Self { begin: now(), answers, asked, asks, end, threads })
    }

    /// What came so far.
    pub fn so_far(&self) -> Answers {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Answers { begin: self.begin, end: now(), answers }
    }

    /// Who answered last, if that is not longer ago than [`RECENT`].
    pub fn served_by(&self) -> Option<u8> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let last = answers.last()?;
        (now().saturating_sub(last.at) < RECENT).then_some(last.who)
    }

    /// Ends the asking.
    pub fn finish(mut self) -> Answers {
        let so_far = self.so_far();
        self.halt();
        so_far
    }

    /// Ends the asking, waits for late answers, and says as well how many questions there were.
    pub fn finish_and_count(mut self) -> (Answers, u32) {
        let end = now();
        self.asks.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        let answers = Answers { end, ..self.so_far() };
        self.halt();
        (answers, self.asked.load(Ordering::Relaxed))
    }

    fn halt(&mut self) {
        self.asks.store(false, Ordering::Relaxed);
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.halt();
    }
}

fn ask_all(
    socket: &UdpSocket,
    to: SocketAddrV4,
    every: Duration,
    asked: &AtomicU32,
    asks: &AtomicBool,
) {
    let begin = Instant::now();
    let mut number = 0;
    while asks.load(Ordering::Relaxed) {
        // Unreachable is what the client waits through.
        let _ = socket.send_to(&[0; 16], to);
        number += 1;
        asked.store(number, Ordering::Relaxed);
        std::thread::sleep((begin + every * number).saturating_duration_since(Instant::now()));
    }
}

fn listen_all(socket: &UdpSocket, answers: &Mutex<Vec<Answer>>, end: &AtomicBool) {
    let mut buffer = [0; 64];
    while !end.load(Ordering::Relaxed) {
        if socket.recv(&mut buffer).is_ok() {
            let answer = Answer { at: now(), who: buffer[0] };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        }
    }
}
