//! The orderly end.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};
use vrrp_proto::StateName;

use super::RunError;
use super::protocol::Order;
use super::service::{Ears, End, Service};
use crate::log;
use crate::run_dir::RunDir;

/// How long the protocol thread and the address work get at the end.
const STOP: Duration = Duration::from_millis(300);

/// What the kernel takes to take one IPv6 address off that is one of six thousand, and more, where the
/// routes of all can't go first.
const ADDRESS: Duration = Duration::from_micros(400);
/// The most that the address work gets, so that the guardian does not have to end it.
const STOP_ALL_ADDRESSES: Duration = Duration::from_secs(2);

/// Within this a peer takes over while we are still taken down.
const SOON: Duration = Duration::from_millis(400);
/// Time from start to end that scripts and notify commands may use up: with up to some hundred addresses
/// the daemon is gone within a second.
const STOP_IN_ALL: Duration = Duration::from_millis(850);
/// What they get in any case, to be started and to end.
const STOP_LEAST: Duration = Duration::from_millis(100);

impl Service {
    /// Gives everything up, and says so.
    pub(super) async fn stop(
        mut self,
        end: End,
        thread: JoinHandle<()>,
        ears: &mut Ears,
        run_dir: &RunDir,
    ) -> Result<(), RunError> {
        let name = match end {
            End::Signal(name) => name,
            // Nothing is given up: the next worker goes on with it.
            End::Broken(why) => log::fail(&format!("The protocol thread ended: {why}")),
        };
        self.stopping = true;
        self.life.stopping();
        let began = std::time::Instant::now();
        info!("{name}: stopping");
        // While it is still known who there is.
        let (taken_over, taken_off) = (self.taken_over_within(), self.taken_off_within());
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).is_ok() {
            // Late or not, what follows is done.
            let _ = tokio::time::timeout(STOP, stopped).await;
        }
        while let Ok(notice) = ears.notices.try_recv() {
            self.noticed(notice).await;
        }
        self.stop_groups();
        let done = self.executor.flush(taken_off);
        if done {
            self.accept_traffic();
        } else {
            warn!("Not all addresses could be taken off in time");
        }
        let left = STOP_IN_ALL.saturating_sub(began.elapsed()).max(STOP_LEAST);
        tokio::join!(self.scripts.shutdown(left), self.notifier.finish(left));
        if thread.is_finished() {
            // It does not panic: that would have ended the process.
            let _ = thread.join();
        }
        // Taking the program off an interface, and removing one, holds a lock that all namespaces of a
        // kernel share: a peer in one of them would wait for it with our addresses.
        tokio::time::sleep(taken_over.saturating_sub(began.elapsed())).await;
        self.end_own_links();
        self.end_secondaries();
        if done {
            self.life.over(run_dir);
        }
        info!("Stopped");
        Ok(())
    }

    /// How long the address work may take: the more addresses there are, the longer the kernel takes for
    /// each. What is left behind then, the guardian takes off.
    fn taken_off_within(&self) -> Duration {
        let held: usize =
            self.running.values().map(|running| running.settings.held().count()).sum();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        ADDRESS.saturating_mul(held).saturating_add(STOP).min(STOP_ALL_ADDRESSES)
    }

    /// How long after a release peers put the addresses on: their Skew_Time, and as much again. Where that
    /// is longer than taking down is, it need not be known.
    fn taken_over_within(&self) -> Duration {
        let active = self.running.values().filter(|running| running.state == StateName::Active);
        let intervals = active.map(|running| 2 * running.settings.interval.get());
        intervals.filter(|skew| *skew <= SOON).max().unwrap_or_default()
    }
}
