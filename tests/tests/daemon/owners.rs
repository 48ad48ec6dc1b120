//! Two hosts that both own the addresses (RFC 9568 §8.3.2), one of which hears nobody.

use anyhow::{Context, Result, ensure};
use vrrp_tests::{Kind, Lab, wait_until};

use super::{LIMIT, VIP, brisk, state, wait_state};

/// r2 has the higher address and wins each time. r1 does not hear that, so r2 gives way, and comes back
/// when r1 is gone: after five intervals, as configured.
#[test]
fn of_two_owners_one_gives_way() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let owner = || brisk(255).line("down_timer_adverts 5");
    let mut r2 = lab.run("r2", &owner().alone(3))?;
    wait_state(&r2, "VI_1", "MASTER")?;
    let mut r1 = lab.run("r1", &owner().line("owner_ignore_adverts").alone(3))?;
    wait_state(&r2, "VI_1", "BACKUP")?;
    ensure!(state(&r1, "VI_1")? == "MASTER");
    wait_until("one holds it", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r1"])?;
    for (daemon, line) in [
        (&r2, "192.0.2.11 has priority 255 too; only one router owns the addresses"),
        (&r2, "192.0.2.11 has priority 255 too and goes on although our address is higher"),
        (&r1, "Dropping advert from 192.0.2.12 with priority 255: owner_ignore_adverts"),
    ] {
        daemon.wait_log(line, LIMIT)?;
        ensure!(daemon.count_log(line) == 1, "`{line}`: {}", daemon.log_end());
    }
    // Five intervals of 400 ms, and 400 ms / 256.
    let shown = r2.status()?.instance("VI_1")?.json();
    ensure!(shown.contains("\"master_down_ms\":2001.5625"), "{shown}");
    r1.kill()?;
    wait_state(&r2, "VI_1", "MASTER").with_context(|| r2.log_end())?;
    r2.stop()?;
    Ok(())
}
