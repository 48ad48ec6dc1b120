//! One network namespace.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::wait::wait_until;

/// Held while a namespace is made, and for good by whoever removes them all.
pub(crate) static GATE: Mutex<()> = Mutex::new(());

/// A network namespace, removed with what runs in it when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace.
    ///
    /// # Errors
    /// `ip netns add` fails: no root, or the name is taken.
    pub fn new(name: &str) -> Result<Self> {
        let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner);
        // One of a process that was killed, and that had the number of this one.
        let ours = name.split(|c: char| !c.is_ascii_digit());
        if ours.into_iter().any(|number| number == std::process::id().to_string())
            && list(name).iter().any(|other| other == name)
        {
            remove(name);
        }
        run("ip", &["netns", "add", name])?;
        drop(gate);
        let made = Self { name: name.to_owned() };
        made.ip("link set lo up")?;
        Ok(made)
    }

    /// Its name as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// The namespace is gone, or there is no right to enter it.
    pub fn enter_for_good(&self) -> Result<()> {
        let handle = File::open(self.path()).context("open the namespace")?;
        setns(handle, CloneFlags::CLONE_NEWNET).context("enter the namespace")
    }

    /// Runs `work` inside. Sockets that it makes stay in the namespace wherever they are used.
    ///
    /// # Errors
    /// The namespace can't be entered, or what `work` says.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_for_good()?;
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run inside, in a process group of its own so that a Ctrl-C at the
    /// terminal does not reach it.
    pub fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs `ip -n NAME` with these words, split at blanks.
    ///
    /// # Errors
    /// What `ip` complains about.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut args = vec!["-n", &self.name];
        args.extend(words.split_whitespace());
        run("ip", &args)
    }

    /// Waits until a cable's end passes frames: what is sent before the kernel has seen to both ends is
    /// lost, and that takes it up to a second on a busy machine.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_up(&self, device: &str) -> Result<()> {
        wait_until(&format!("{device} is up"), Duration::from_secs(30), || {
            let shown = self.ip(&format!("-d -o link show dev {device}")).unwrap_or_default();
            let is_port = shown.contains(" bridge_slave ");
            shown.contains(" state UP ") && (!is_port || shown.contains(" state forwarding "))
        })
        .map(drop)
    }

    /// Runs a shell line inside and gives what it prints.
    ///
    /// # Errors
    /// It exits with something else than 0.
    pub fn sh(&self, line: &str) -> Result<String> {
        run("ip", &["netns", "exec", &self.name, "/bin/sh", "-c", line])
    }

    /// Sets a sysctl inside.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn sysctl(&self, name: &str, value: u32) -> Result<()> {
        self.sh(&format!("echo {value} > /proc/sys/{}", name.replace('.', "/")))?;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Runs a command and gives what it prints.
///
/// # Errors
/// It can't be started, or exits with something else than 0; the message has what it said.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", args.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends what runs in the namespace and removes it; quietly, since it may be gone already.
pub fn remove(name: &str) {
    for _ in 0..2 {
        let pids = run("ip", &["netns", "pids", name]).unwrap_or_default();
        let own = std::process::id();
        for pid in pids.split_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
            // A thread of ours that entered is listed as ourselves.
            if pid != own {
                crate::daemon::signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
    let _ = run("ip", &["netns", "del", name]);
}

/// All namespaces whose name begins so.
pub fn list(prefix: &str) -> Vec<String> {
    let all = run("ip", &["netns", "list"]).unwrap_or_default();
    all.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}
