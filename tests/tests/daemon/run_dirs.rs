//! A run directory with no room, or that nothing can be written to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vrrp_tests::{Kind, Lab, netns, wait_until};

use super::exits::{ends, run};
use super::{LIMIT, VIP, brisk};

/// A small file system on a directory, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf, options: &str) -> Result<Self> {
        std::fs::create_dir(&at)?;
        netns::run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &at.display().to_string()])?;
        Ok(Self(at))
    }

    fn fill(&self) -> Result<()> {
        let full = std::fs::write(self.0.join("fill"), vec![1; 1 << 20]);
        ensure!(full.is_err(), "there is room for a megabyte");
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A daemon that was killed may hold it for a moment more.
        let at = self.0.display().to_string();
        let _ = netns::run("umount", &["--lazy", &at]);
    }
}

/// The number in the file is for people: without room for it the daemon runs all the same, alone in the
/// directory, and so does a worker that takes over.
#[test]
fn no_room_is_no_hindrance() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let mount = Mount::new(lab.dir().join("r1.run"), "size=16k")?;
    mount.fill()?;
    let conf = brisk(100).alone(3);
    let r1 = lab.run("r1", &conf)?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    r1.wait_log("xvrrp.pid does not name this process: No space left on device", LIMIT)?;
    ensure!(r1.status()?.instance("VI_1")?.state() == "MASTER", "{}", r1.log_end());
    let written = lab.write("second.conf", &conf);
    let second = run(&lab, &[], &written?, r1.run_dir())?;
    // The file does not say who it is, and the kernel does.
    ends(&second, 1, &[&format!("another xvrrp (pid {}) uses", r1.pid())])
}

#[test]
fn where_nothing_can_be_written_another_is_asked_for() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let conf = lab.write("r1.conf", &brisk(100).alone(3))?;
    let mount = Mount::new(lab.dir().join("run"), "ro,size=16k")?;
    let words = ["xvrrp.pid: Read-only file system", "by --run-dir"];
    ends(&run(&lab, &[], &conf, Path::new(&mount.0))?, 1, &words)
}
