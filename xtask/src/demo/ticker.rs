//! Says who answers, as it happens.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vrrp_tests::http::HttpAsker;
use vrrp_tests::lab::host_of;

/// A line of the demo, with the time since it began.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    begin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { begin: Instant::now() }
    }

    /// Says what is done now.
    pub(super) fn say(&self, line: &str) {
        println!("\n{:7.3} s  {line}", self.begin.elapsed().as_secs_f64());
    }

    /// Says what is seen, indented below what was done.
    fn note(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{:7.3} s      {line}", self.begin.elapsed().as_secs_f64());
        let _ = out.flush();
    }
}

/// Watches a client until dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    end: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Watches who answers the client at this address.
    pub(super) fn watch(clock: &Clock, address: &str, client: &Arc<Mutex<HttpAsker>>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (clock, address) = (clock.clone(), address.to_owned());
        let (client, until) = (Arc::clone(client), Arc::clone(&end));
        let watcher = std::thread::spawn(move || {
            // Nobody has answered yet, and that is not worth a line.
            let mut shown = None;
            let mut silent_since = Instant::now();
            while !until.load(Ordering::Relaxed) {
                let now = client.lock().unwrap_or_else(PoisonError::into_inner).served_by();
                if now != shown {
                    match now {
                        Some(who) => clock.note(&answers(&address, who, shown, silent_since)),
                        None => {
                            clock.note(&format!("{address} is silent"));
                            // It takes so long to be called that.
                            silent_since = Instant::now() - Duration::from_millis(100);
                        }
                    }
                    shown = now;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { end, watcher: Some(watcher) }
    }
}

fn answers(address: &str, who: u8, before: Option<u8>, since: Instant) -> String {
    let host = host_of(who);
    match before {
        Some(other) => format!("{address} is answered by {host}, no longer by {}", host_of(other)),
        None => {
            let silence = since.elapsed().as_secs_f64();
            format!("{address} is answered by {host} (silent for {silence:.1} s)")
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}
