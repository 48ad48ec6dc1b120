//! The kernel program comes into this kernel, with frames of several buffers and timers and without.

use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use vrrp_tests::netns::Netns;
use xvrrp::config::model::Datapath;
use xvrrp::fastpath::{Attached, FastPath};

#[test]
#[ignore = "for the second kernel"]
fn all_programs_load_and_attach() -> Result<()> {
    let netns = Netns::new(&format!("sk-load-{}", std::process::id()))?;
    netns.ip("link add near type veth peer name far")?;
    netns.ip("link add dummy0 type dummy")?;
    for device in ["near", "far", "dummy0"] {
        netns.ip(&format!("link set {device} up"))?;
    }
    let with = FastPath::load(8).context("with timers")?;
    // The kernel has had them since 5.15.
    ensure!(with.has_timers(), "{:?}", with.no_timers());
    let linear = FastPath::load_without_frags(8).context("without frames of several buffers")?;
    let without = FastPath::load_without_timers(8, "a test").context("without timers")?;
    for mut fast in [with, linear, without] {
        let info = fast.program()?.info()?;
        let (timers, verified) = (fast.has_timers(), info.verified_instruction_count());
        // Past the test's own output, which nobody sees where all is well.
        writeln!(io::stdout(), "timers: {timers}, {verified:?} instructions verified")?;
        netns.enter(|| {
            let attached = fast.attach("near", if_nametoindex("near")?, Datapath::Auto);
            ensure!(attached == Attached::Native, "near: {attached:?}");
            let attached = fast.attach("dummy0", if_nametoindex("dummy0")?, Datapath::Auto);
            ensure!(matches!(attached, Attached::Generic { .. }), "dummy0: {attached:?}");
            // A process that another test is just starting has a copy of each descriptor for a moment.
            for device in ["near", "dummy0"] {
                fast.detach(if_nametoindex(device)?);
            }
            Ok(())
        })?;
    }
    Ok(())
}
