//! A client that opens a connection and asks for a page all the time.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::lab::{Lab, number_of};
use crate::probe::{Answer, Answers};
use crate::wait::{RECENT, now};

/// How long a request may take. Short: the next one is due in a millisecond, and a client that
/// retries sees the end of an outage sooner than TCP's own second.
const PATIENCE: Duration = Duration::from_millis(90);

/// So many at once that the rate is kept while every request runs into its time-out.
const THREADS: u32 = 128;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";

/// A client asking for a page by HTTP, one connection each time.
#[derive(Debug)]
pub struct HttpAsker {
    begin: Duration,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    every: Duration,
    start: Instant,
    next: AtomicU32,
    end: AtomicBool,
    answers: Mutex<Vec<Answer>>,
}

impl HttpAsker {
    /// Lets the laboratory's client ask an address so many times a second from now on.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn start(lab: &Lab, address: Ipv4Addr, per_second: u32) -> Result<Self> {
        let shared = Arc::new(Shared {
            to: SocketAddr::from((address, 80)),
            every: Duration::from_secs(1) / per_second.max(1),
            start: Instant::now(),
            next: AtomicU32::new(0),
            end: AtomicBool::new(false),
            answers: Mutex::new(Vec::new()),
        });
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().stack_size(128 << 10);
            thread.spawn(move || ask_all(&shared)).context("start a thread")
        };
        // A thread inherits the namespace of the one that makes it.
        let threads = lab.ns("client").enter(|| (0..THREADS).map(spawn).collect())?;
        Ok(Self { begin: now(), shared, threads })
    }

    /// What came so far.
    pub fn so_far(&self) -> Answers {
        let mut answers = self.answers().clone();
        answers.sort_by_key(|answer| answer.at);
        Answers { begin: self.begin, end: now(), answers }
    }

    /// Who answered last, if that is not longer ago than [`RECENT`].
    pub fn served_by(&self) -> Option<u8> {
        let last = *self.answers().last()?;
        (now().saturating_sub(last.at) < RECENT).then_some(last.who)
    }

    /// How many requests were due so far.
    pub fn asked(&self) -> u32 {
        self.shared.next.load(Ordering::Relaxed)
    }

    /// Ends the asking.
    pub fn finish(mut self) -> Answers {
        let so_far = self.so_far();
        self.halt();
        so_far
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Answer>> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halt(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for HttpAsker {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Takes the next request that is due, again and again.
fn ask_all(shared: &Shared) {
    while !shared.end.load(Ordering::Relaxed) {
        let turn = shared.next.fetch_add(1, Ordering::Relaxed);
        let due = shared.start + shared.every * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // A failure is a missing answer; that is what the gaps are made of.
        if let Ok(who) = ask(shared.to) {
            let answer = Answer { at: now(), who };
            shared.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        }
    }
}

fn ask(to: SocketAddr) -> Result<u8> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A reset at the end, so that a thousand connections a second leave no waiting ports.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.write_all(REQUEST)?;
    let mut buffer = [0; 1024];
    let mut length = 0;
    loop {
        let got = stream.read(&mut buffer[length..])?;
        length += got;
        let text = std::str::from_utf8(&buffer[..length])?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && (body.ends_with('\n') || got == 0)
        {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
            return number_of(body.trim()).context("an answer from nowhere");
        }
        anyhow::ensure!(got > 0, "ended early");
    }
}
