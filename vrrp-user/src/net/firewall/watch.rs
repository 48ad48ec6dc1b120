//! Notices when somebody else removes the table, and puts it back.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

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
    loop {
        ready.readable().await?.clear_ready();
        let gone = read(socket, &mut buffer)?;
        let Some(state) = state.upgrade() else { return Ok(()) };
        if gone {
            put_back(&state);
        }
        drop(state);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads what waits. Says whether a table was removed, or may have been.
fn read(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut gone = false;
    loop {
        buffer.clear();
        match socket.recv(buffer, libc::MSG_DONTWAIT) {
            Ok(_) => {
                let removal = Some(Request::DeleteTable.kind());
                gone |= kernel::messages(buffer).any(|message| kernel::kind(message) == removal);
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(gone),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => gone = true,
            Err(error) => return Err(error),
        }
    }
}

fn put_back(state: &Mutex<State>) {
    let state = locked(state);
    let Some(told) = state.told.as_ref().filter(|told| !told.is_empty()) else { return };
    // Ours is also removed when it is made anew.
    let done = match kernel::are_there(&rules::questions(&state.name, told)) {
        Ok(true) => return,
        Ok(false) => kernel::carry_out(rules::table(&state.name, told)),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => {
            tracing::warn!("nftables table {} was removed by somebody else; put back", state.name);
        }
        Err(error) => tracing::error!("nftables table {} can't be put back: {error}", state.name),
    }
}
