//! Notices when somebody else removes or changes the table, and puts it back.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rtnetlink::sys::Socket;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::message::Request;
use super::{State, kernel, locked, rules};
use crate::sys::readiness;

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << 6;
/// Between two looks: a ruleset is loaded in many messages, and some hosts change theirs all the time.
const PAUSE: Duration = Duration::from_millis(20);
/// How soon it is tried again to put it back, and the longest pause.
const RETRY: Duration = Duration::from_secs(1);
const DATAGRAM: usize = 64 * 1024;

/// Watches over the table of this state; not outside a tokio runtime.
pub(super) fn start(state: &Arc<Mutex<State>>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    let socket = kernel::open(GROUP)
        .inspect_err(|error| tracing::warn!("nftables is not watched: {error}"))
        .ok()?;
    let state = Arc::downgrade(state);
    Some(runtime.spawn(async move {
        if let Err(error) = watch(&socket, &state).await {
            tracing::warn!("nftables is not watched any more: {error}");
        }
    }))
}

async fn watch(socket: &Socket, state: &Weak<Mutex<State>>) -> io::Result<()> {
    let ready = readiness::watch(socket.as_fd())?;
    let mut buffer = Vec::with_capacity(DATAGRAM);
    let mut due = None;
    let mut last: Option<Instant> = None;
    loop {
        // What could not be done is tried again, also where nothing happens.
        let wait = if due.is_some() { RETRY } else { Duration::MAX };
        let happened = tokio::time::timeout(wait, ready.readable()).await;
        if let Ok(happened) = happened {
            happened?.clear_ready();
        }
        let Some(state) = state.upgrade() else { return Ok(()) };
        due = due.max(read(socket, &mut buffer, &locked(&state))?);
        let mut rest = PAUSE;
        if due.is_some() {
            // Whoever changes it again and again shall not have this thread for himself.
            if last.replace(Instant::now()).is_some_and(|last| last.elapsed() < RETRY) {
                rest = RETRY;
            }
            due = due.filter(|what| !put_back(&state, *what));
        }
        drop(state);
        tokio::time::sleep(rest).await;
    }
}

/// What somebody else did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    /// Not known: it may be gone.
    Unknown,
    Changed,
    Removed,
}

/// Reads what waits, and says what of it was done to the table.
fn read(socket: &Socket, buffer: &mut Vec<u8>, state: &State) -> io::Result<Option<Done>> {
    let mut done = None;
    loop {
        buffer.clear();
        match socket.recv(buffer, libc::MSG_DONTWAIT) {
            Ok(_) => {
                let theirs = |message: &&[u8]| {
                    kernel::is_about(message, &state.name) && !state.requests.are_of(message)
                };
                for message in kernel::messages(buffer).filter(theirs) {
                    let removal = Some(Request::DeleteTable.kind());
                    let removed = kernel::kind(message) == removal;
                    done = done.max(Some(if removed { Done::Removed } else { Done::Changed }));
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(done),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                done = done.max(Some(Done::Unknown));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Puts the table back as it is to be. `false`: it could not be.
fn put_back(state: &Mutex<State>, what: Done) -> bool {
    let mut state = locked(state);
    let State { name, told: Some(told), requests } = &mut *state else { return true };
    let is_as_told = match what {
        Done::Changed | Done::Removed => Ok(false),
        Done::Unknown if told.is_empty() => Ok(true),
        // To make a large one is more than the socket has room for: that alone must not lead to another.
        Done::Unknown => requests.are_there(&rules::questions(name, told)),
    };
    let done = match is_as_told {
        Ok(true) => return true,
        Ok(false) => requests.carry_out(rules::table(name, told)),
        Err(error) => Err(error),
    };
    let word = match what {
        _ if told.is_empty() => "made",
        Done::Changed => "changed",
        Done::Removed | Done::Unknown => "removed",
    };
    match &done {
        Ok(()) => tracing::warn!("nftables table {name} was {word} by somebody else; put back"),
        Err(error) => {
            tracing::error!("nftables table {name} was {word} and can't be put back yet: {error}");
        }
    }
    done.is_ok()
}
