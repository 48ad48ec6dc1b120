//! What a worker has learned of its peers, and the next one knows.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vrrp_common::checksum::Sum;
use vrrp_tests::capture::SeenAdvert;
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::signal;
use vrrp_tests::wait::pause;
use vrrp_tests::{Kind, Lab, cases, now, wait_until};

use super::{LIMIT, next_worker};

/// A BACKUP whose checksums are those of RFC 9568 takes no others, and says nothing more while it hears
/// the MASTER: the next worker speaks as the one before did, to its last word.
#[test]
fn a_peer_is_answered_in_its_form_by_the_next_worker_too() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "gen"])?;
    let wire = lab.capture("gen")?;
    let mut r1 = lab.run("r1", &Instance::new(200).alone(3))?;
    wait_until("r1 speaks", LIMIT, || !wire.adverts_of("r1").is_empty())
        .with_context(|| r1.log_end())?;
    lab.inject("gen", &cases::frame("P07-v3-header", "message-only-sum-rfc9568"))?;
    let is_taken = |seen: &SeenAdvert| Sum::new().slice(&seen.advert.message).is_whole();
    wait_until("the peer is answered", LIMIT, || {
        wire.adverts_of("r1").last().is_some_and(is_taken)
    })
    .with_context(|| r1.log_end())?;
    let (old, begin) = (r1.worker()?, now());
    signal(old, Signal::SIGKILL);
    next_worker(&r1, old)?;
    pause(2500);
    r1.stop()?;
    let after: Vec<_> = wire.adverts_of("r1").into_iter().filter(|seen| seen.at > begin).collect();
    let last = after.last().with_context(|| r1.log_end())?;
    ensure!(after.len() >= 3 && last.advert.priority == 0, "{after:?}: {}", r1.log_end());
    let lost = after.iter().filter(|seen| !is_taken(seen)).count();
    ensure!(lost == 0, "the peer drops {lost} of {} adverts: {}", after.len(), r1.log_end());
    Ok(())
}
