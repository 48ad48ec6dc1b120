//! The emulated machine, and its verdict.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{program, run};

/// What stands before the status on the line that the tests' end is told on.
pub(super) const VERDICT: &str = "the tests ended with ";
/// Several times as long as it takes.
const SECONDS: &str = "900";
/// KVM is faster where it works, and hangs where it is only promised.
const ACCELERATOR: &str = "tcg,thread=multi";

/// Boots a kernel with what it has in memory and waits for its end; the console goes to this
/// task's own output, and what was recorded to a file.
///
/// # Errors
///
/// When the machine can't be started, hangs, panics, or says that tests failed.
pub(super) fn boot(kernel: &Path, initramfs: &Path, folder: &Path, recorded: &Path) -> Result<()> {
    let told = folder.join("verdict");
    // An old one must not be taken for this one's.
    fs::write(&told, "")?;
    fs::write(recorded, "")?;
    run(&mut command(kernel, initramfs, [&told, recorded]))?;
    judge(&fs::read_to_string(&told).context("no verdict")?)
}

fn command(kernel: &Path, initramfs: &Path, lines: [&Path; 2]) -> Command {
    // In the foreground: a Ctrl-C that ends this task is the machine's end too.
    let mut command = program("timeout");
    command.args(["--foreground", "--kill-after=10", SECONDS, "qemu-system-x86_64"]);
    command.args(["-accel", ACCELERATOR, "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio"]);
    for line in lines {
        command.arg("-serial").arg(format!("file:{}", line.display()));
    }
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // A panic reboots at once, and a reboot ends the machine.
    command.args(["-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off"]);
    command
}

fn judge(told: &str) -> Result<()> {
    match told.trim_end().strip_prefix(VERDICT) {
        Some("0") => Ok(()),
        Some(status) => bail!("tests failed: the last of them with status {status}"),
        None => bail!("the machine ended before the tests did: see above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_verdict_of_success_is_success() {
        assert!(judge(&format!("{VERDICT}0\r\n")).is_ok());
        let error = |told: &str| judge(told).unwrap_err().to_string();
        assert!(error(&format!("{VERDICT}101\n")).contains("101"));
        for told in ["", "0", VERDICT, "the tests ended", &format!("{VERDICT}00")] {
            assert!(judge(told).is_err(), "{told}");
        }
        assert!(error("").contains("before the tests did"));
    }
}
