//! `xvrrp release` where it can't do all, or is asked at the wrong place.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::{Daemon, Kind, Lab, wait_until};

use super::{LIMIT, VIP, brisk};

#[test]
fn nothing_is_left_is_said_only_where_it_is_so() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let conf = brisk(100).line("no_accept").alone(3);
    let killed = || -> Result<Daemon> {
        let mut r1 = lab.run("r1", &conf)?;
        wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
        r1.kill()?;
        Ok(r1)
    };
    let r1 = killed()?;
    let note = r1.run_dir().join("nftables");
    // In the network namespace of another host.
    let said = refused(&r1.release(&lab, "r2")?)?;
    ensure!(said.contains("is the ledger of another network namespace (net:["), "{said}");
    ensure!(note.exists(), "the table is forgotten");
    // Where the kernel refuses.
    let mut command = lab.ns("r1").command("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.arg(xvrrp_binary()).args(["release", "--run-dir"]).arg(r1.run_dir());
    let said = refused(&command.output()?)?;
    ensure!(said.contains("priority 0 sent; 192.0.2.250/24 on eth0 stays"), "{said}");
    ensure!(lab.holds("r1", VIP) && note.exists(), "something was given up: {said}");
    let done = r1.release(&lab, "r1")?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{}: {said}", done.status);
    ensure!(said.contains("(VI_1) 192.0.2.250/24 on eth0 taken off"), "{said}");
    ensure!(said.contains("nftables table removed"), "{said}");
    ensure!(!lab.holds("r1", VIP) && !note.exists(), "it is there: {said}");
    let again = r1.release(&lab, "r1")?;
    let said = String::from_utf8_lossy(&again.stdout);
    ensure!(again.status.success() && said.contains("nothing was left"), "{said}");

    // A start there has one of its own from then on, and says so.
    let r1 = killed()?;
    let mut command = lab.ns("r2").command("timeout");
    command.arg("60").arg(xvrrp_binary()).arg("run");
    let unusable = lab.write("unusable.conf", "vrrp_instance VI_1 {\n}\n")?;
    command.args(["-f"]).arg(unusable).arg("--run-dir").arg(r1.run_dir());
    let said = String::from_utf8_lossy(&command.output()?.stderr).into_owned();
    ensure!(said.contains("is replaced. It was the ledger of another network"), "{said}");
    Ok(())
}

fn refused(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    Ok(said)
}
