//! The VRRP daemons: ours and its peers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Lab;
use crate::status::Status;
use crate::wait::wait_until;

mod frr;

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Xvrrp,
    /// The distribution's keepalived, its VRRP part alone.
    Keepalived,
    /// The distribution's FRR, its vrrpd with zebra; VRRPv3 only.
    Frr,
}

impl Kind {
    /// The daemon that the scenarios are about: `xvrrp`, or what `LAB_DAEMON` says.
    ///
    /// # Panics
    /// `LAB_DAEMON` names something else than `xvrrp` or `keepalived`.
    pub fn under_test() -> Self {
        match std::env::var("LAB_DAEMON").as_deref() {
            Err(_) | Ok("xvrrp") => Self::Xvrrp,
            Ok("keepalived") => Self::Keepalived,
            Ok(other) => panic!("LAB_DAEMON={other}: xvrrp or keepalived"),
        }
    }

    /// Whether ours is under test: some outcomes are right only with it.
    pub fn ours_under_test() -> bool {
        Self::under_test() == Self::Xvrrp
    }
}

/// A daemon on a host. Ended, with all it started, when dropped.
#[derive(Debug)]
pub struct Daemon {
    kind: Kind,
    main: Child,
    // FRR's zebra.
    helper: Option<Child>,
    exit: Option<ExitStatus>,
    conf: PathBuf,
    run_dir: PathBuf,
    log: PathBuf,
    tells: bool,
}

impl Daemon {
    /// Starts a daemon with a configuration and further arguments.
    ///
    /// # Errors
    /// It can't be started; whether it then lives is for the caller to see.
    pub fn start(lab: &Lab, kind: Kind, host: &str, conf: &str, more: &[&str]) -> Result<Self> {
        Self::launch(lab, kind, (host, host), conf, &[], more)
    }

    /// Starts another one of ours on a host, with a run directory of its own.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_beside(lab: &Lab, host: &str, conf: &str) -> Result<Self> {
        Self::launch(lab, Kind::Xvrrp, (host, &format!("{host}-beside")), conf, &[], &[])
    }

    /// Starts a daemon by a command that ends in executing it, such as `setpriv`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_through(
        lab: &Lab,
        kind: Kind,
        host: &str,
        conf: &str,
        through: &[&str],
    ) -> Result<Self> {
        Self::launch(lab, kind, (host, host), conf, through, &[])
    }

    fn launch(
        lab: &Lab,
        kind: Kind,
        (host, name): (&str, &str),
        conf: &str,
        through: &[&str],
        more: &[&str],
    ) -> Result<Self> {
        let run_dir = lab.dir().join(format!("{name}.run"));
        let conf = lab.write(&format!("{name}.conf"), conf)?;
        let log = fresh(lab.dir(), name, "log");
        let out = File::create(&log)?;
        let mut helper = None;
        let mut command = match kind {
            Kind::Xvrrp => xvrrp_in(lab, host, &conf, &run_dir, through),
            Kind::Keepalived => keepalived_in(lab, host, &conf),
            Kind::Frr => {
                let (zebra, vrrpd) = frr::prepare(lab, host, &conf, &out)?;
                helper = Some(zebra);
                vrrpd
            }
        };
        command.args(more).stdout(out.try_clone()?).stderr(out);
        let main = command.spawn().context("start a daemon")?;
        Ok(Self { kind, main, helper, exit: None, conf, run_dir, log, tells: lab.is_for_a_test() })
    }

    /// Runs `xvrrp release` on its host for one of ours that was killed.
    ///
    /// # Errors
    /// It can't be run; whether it did well is for the caller to see.
    pub fn release(&self, lab: &Lab, host: &str) -> Result<Output> {
        let mut command = lab.ns(host).command(&xvrrp_binary().display().to_string());
        Ok(command.arg("release").arg("--run-dir").arg(&self.run_dir).output()?)
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.main.id()
    }

    /// All its processes, the first one first.
    pub fn pids(&self) -> Vec<u32> {
        let mut all = tree(self.main.id());
        all.extend(self.helper.as_ref().map(|helper| tree(helper.id())).unwrap_or_default());
        all
    }

    /// The one of our processes that does the work; the first one is its guardian.
    ///
    /// # Errors
    /// There is none at the moment.
    pub fn worker(&self) -> Result<u32> {
        self.pids().get(1).copied().with_context(|| format!("no worker: {}", self.log_end()))
    }

    /// Its run directory.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The file with its configuration.
    pub fn conf(&self) -> &Path {
        &self.conf
    }

    /// The file with its log.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How many lines of its log contain this.
    pub fn count_log(&self, needle: &str) -> usize {
        self.log().lines().filter(|line| line.contains(needle)).count()
    }

    /// Waits until its log contains this.
    ///
    /// # Errors
    /// It does not within `limit`; the message has the end of the log.
    pub fn wait_log(&self, needle: &str, limit: Duration) -> Result<()> {
        wait_until(&format!("the log says {needle:?}"), limit, || self.log().contains(needle))
            .map(drop)
            .with_context(|| format!("the log ends:\n{}", self.log_end()))
    }

    /// Waits until it has said a state, or has ended. One that does neither is for the caller to see.
    pub(crate) fn settle(&mut self) {
        // As ours and keepalived say it, and as FRR does.
        const WORDS: [&str; 3] = [" Entering ", " -> Backup", " -> Master"];
        let _ = wait_until("it has a state", Duration::from_secs(15), || {
            let log = self.log();
            WORDS.iter().any(|word| log.contains(word)) || !matches!(self.exited(), Ok(None))
        });
    }

    /// The last lines of its log, without a line for each gratuitous ARP.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let telling = |line: &&str| !line.contains("Sending gratuitous ARP");
        let lines: Vec<&str> = log.lines().filter(telling).collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, signal_: Signal) {
        signal(self.main.id(), signal_);
    }

    /// Ends it as an operator does and waits for it.
    ///
    /// # Errors
    /// It is still there after half a minute.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(Duration::from_secs(30))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It is still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if begin.elapsed() > limit {
                bail!("still running after {limit:?}; the log ends:\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.main.try_wait()?;
        }
        Ok(self.exit)
    }

    /// Kills all its processes without a chance to clean up.
    ///
    /// # Errors
    /// A process does not die.
    pub fn kill(&mut self) -> Result<()> {
        // Stopped first, so that nobody sees a child die and starts another.
        self.freeze();
        // The first one last: its end is a signal to the others.
        for pid in self.pids().into_iter().rev() {
            signal(pid, Signal::SIGKILL);
        }
        if let Some(mut helper) = self.helper.take() {
            helper.wait()?;
        }
        self.wait(Duration::from_secs(30)).map(drop)
    }

    /// Stops all its processes where they are.
    pub fn freeze(&self) {
        for pid in self.pids() {
            signal(pid, Signal::SIGSTOP);
        }
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) {
        for pid in self.pids() {
            signal(pid, Signal::SIGCONT);
        }
    }

    /// Writes another configuration and has it read.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn reload(&self, conf: &str) -> Result<()> {
        // Renamed into place: never half a file.
        let new = self.conf.with_extension("new");
        std::fs::write(&new, conf)?;
        std::fs::rename(&new, &self.conf)?;
        self.signal(Signal::SIGHUP);
        Ok(())
    }

    /// Leaves it running.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// What `xvrrp status --json` says.
    ///
    /// # Errors
    /// It is another daemon, it does not run, or it says something that is not JSON.
    pub fn status(&self) -> Result<Status> {
        if self.kind != Kind::Xvrrp {
            bail!("only ours has a status");
        }
        Status::read(&self.run_dir).with_context(|| format!("the log ends:\n{}", self.log_end()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The test harness shows this where the test failed.
        if self.tells {
            eprintln!("--- {:?} {}\n{}", self.kind, self.log.display(), self.log_end());
        }
        if self.exit.is_none() {
            let _ = self.kill();
        }
        if let Some(mut helper) = self.helper.take() {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        if self.kind == Kind::Frr {
            frr::clean(&self.conf);
        }
    }
}

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Says which binary ours is, where the caller has built it. The first word counts.
pub fn use_binary(path: PathBuf) {
    BINARY.get_or_init(|| path);
}

/// Our binary: what [`use_binary`] said, else `XVRRP`, else the workspace's release build.
pub fn xvrrp_binary() -> PathBuf {
    if let Some(path) = BINARY.get() {
        return path.clone();
    }
    let built = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        target.unwrap_or_else(|| workspace.join("target")).join("release/xvrrp")
    };
    std::env::var_os("XVRRP").map_or_else(built, PathBuf::from)
}

/// Runs our binary to its end and gives what it said.
///
/// # Errors
/// It can't be started.
pub fn xvrrp(args: &[&str]) -> Result<Output> {
    let binary = xvrrp_binary();
    Command::new(&binary)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", binary.display()))
}

/// Sends a signal to a process that may be gone.
pub fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A process and what descends from it.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        all.extend(children(*pid));
        at += 1;
    }
    all
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let lists = tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(str::parse).collect::<Vec<_>>())
        .flatten()
        .collect()
}

fn xvrrp_in(lab: &Lab, host: &str, conf: &Path, run_dir: &Path, through: &[&str]) -> Command {
    let binary = xvrrp_binary().display().to_string();
    let mut words = through.iter().copied().chain([binary.as_str()]);
    let mut command = lab.ns(host).command(words.next().unwrap_or_default());
    command.args(words);
    command.arg("run").arg("-f").arg(conf).arg("--run-dir").arg(run_dir);
    command
}

fn keepalived_in(lab: &Lab, host: &str, conf: &Path) -> Command {
    let pid = |of: &str| {
        let path = lab.dir().join(format!("{host}.{of}.pid"));
        // One that was killed leaves it, and the next then believes that it runs already.
        let _ = std::fs::remove_file(&path);
        path.display().to_string()
    };
    let mut command = lab.ns(host).command("keepalived");
    command.args(["-n", "-l", "-D", "-P"]);
    command.arg(format!("--use-file={}", conf.display()));
    command.arg(format!("--pid={}", pid("main")));
    command.arg(format!("--vrrp_pid={}", pid("vrrp")));
    command
}

/// A name that no earlier life on this host has used.
fn fresh(dir: &Path, host: &str, kind: &str) -> PathBuf {
    let path = |number: u32| dir.join(format!("{host}.{number}.{kind}"));
    let free = (1..).map(path).find(|path| !path.exists());
    free.unwrap_or_else(|| path(0))
}
