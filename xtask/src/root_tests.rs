//! The root tests on the kernel that runs here: each test in a process of its own, several beside each other,
//! as most of them wait most of the time; those that measure, and those that load the machine, alone.
//!
//! What a test makes is named after its process, so that none sees another's. A test's bounds are those of a
//! machine that it has for itself: one that fails beside others is told of, and judged by a run alone.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::object::target_dir;
use crate::programs::{self, TestProgram};
use crate::run::{output, program, root};

/// Tests whose full names begin so have the machine for themselves.
const ALONE: [&str; 13] = [
    // They measure what something costs or how late it is.
    "bench::",
    "scheduling::",
    "steady::",
    "steady_thread::",
    "vrrp_tests::process::",
    "xdp::cost::",
    // They fill queues and rings, or have two CPUs meet in a moment.
    "ring::",
    "timer::",
    "xdp::watch::",
    // It keeps the machine busy.
    "scale::",
    // The kernel finishes an address behind all that is real-time.
    "net::serving::",
    // They have three seconds from an end to a start that is at work.
    "crash::a_start_",
    "crash::configuration::a_start_",
];

/// Tests at once for each CPU, and at most: they mostly wait, but all that start a daemon at the same time
/// want a CPU, and all that make or remove an interface one lock of the kernel's.
const PER_CPU: usize = 2;
const AT_MOST: usize = 8;

/// Builds the tests and runs those whose names contain the filter, or all.
///
/// # Errors
///
/// With the names of all that failed, after what each of them said was printed.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    let tests = Tests::new(filter)?;
    if filter.is_none() {
        each_is_there(&tests.all)?;
    }
    let (alone, beside): (Vec<_>, Vec<_>) = tests.all.iter().partition(|test| is_alone(&test.name));
    let cpus = available_parallelism().map_or(1, usize::from);
    let lanes = (PER_CPU * cpus).min(AT_MOST);
    println!("  {} tests, {lanes} at a time, and {} alone", beside.len(), alone.len());
    let doubtful = tests.run(beside, lanes);
    let mut failed = tests.run(alone, 1);
    if !doubtful.is_empty() {
        println!("  once more, alone: {}", list_of(&doubtful));
        failed.extend(tests.run(doubtful, 1));
    }
    println!("  {} tests, {} failed, {} ignored", tests.all.len(), failed.len(), tests.ignored);
    if !failed.is_empty() {
        bail!("failed: {}", list_of(&failed));
    }
    Ok(())
}

/// A test that got another name must not lose its place without a word.
fn each_is_there(tests: &[Test]) -> Result<()> {
    let is_there = |begin: &&&str| tests.iter().any(|test| test.name.starts_with(**begin));
    match ALONE.iter().find(|begin| !is_there(begin)) {
        Some(begin) => bail!("no test's name begins with {begin}: see {}", file!()),
        None => Ok(()),
    }
}

fn list_of(tests: &[&Test]) -> String {
    tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn is_alone(name: &str) -> bool {
    ALONE.iter().any(|begin| name.starts_with(begin))
}

/// A test of a program.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    file: PathBuf,
    /// As its program knows it.
    inner: String,
    /// The same behind the program's name.
    name: String,
}

struct Tests {
    all: Vec<Test>,
    ignored: usize,
    /// The daemon under test.
    daemon: PathBuf,
    /// Where what they say is kept.
    folder: PathBuf,
}

impl Tests {
    fn new(filter: Option<&str>) -> Result<Self> {
        let target = target_dir(&root());
        let (daemon, folder) = (target.join("release/xvrrp"), target.join("root-tests"));
        // What an earlier run said is not this one's.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let (mut all, mut ignored) = (Vec::new(), 0);
        for built in programs::build(&[])? {
            let (listed, left_out) = (list(&built.file, &[])?, list(&built.file, &["--ignored"])?);
            let chosen = |inner: &&str| filter.is_none_or(|filter| inner.contains(filter));
            let (left, to_run): (Vec<_>, Vec<_>) = names(&listed)
                .filter(chosen)
                .partition(|inner| names(&left_out).any(|other| other == *inner));
            ignored += left.len();
            all.extend(to_run.into_iter().map(|inner| Test::of(&built, inner)));
        }
        // Cargo tells of them in the order in which they were ready.
        all.sort_by(|one: &Test, other| one.name.cmp(&other.name));
        Ok(Self { all, ignored, daemon, folder })
    }

    /// Runs these, so many at a time, in their order. Gives those that failed.
    fn run<'a>(&self, tests: Vec<&'a Test>, lanes: usize) -> Vec<&'a Test> {
        let (waiting, failed) = (Mutex::new(VecDeque::from(tests)), Mutex::new(Vec::new()));
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| {
                    while let Some(test) = next() {
                        if !self.passes(test) {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(test);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a test, says how it went and how long it took, and shows what it said if it failed.
    fn passes(&self, test: &Test) -> bool {
        let begin = Instant::now();
        // In a file and not by a pipe: a process that outlives its test would keep that open.
        let log = self.folder.join(test.name.replace("::", "."));
        let ended = self.play(test, &log);
        let said = fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let took = begin.elapsed();
        let judged = judge(ended, &said);
        match &judged {
            Ok(()) => println!("{}", told(test, "ok", took)),
            // In one call, so that nobody else's lines are between these.
            Err(why) => println!("{}\n{why:#}\n{said}", told(test, "FAILED", took)),
        }
        judged.is_ok()
    }

    /// Runs a test to its end; whether that was a success.
    fn play(&self, test: &Test, log: &Path) -> Result<bool> {
        let said = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = in_package(&test.file);
        command.args(["--exact", &test.inner, "--test-threads=1"]).env("XVRRP", &self.daemon);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        Ok(command.status().context("can't be started")?.success())
    }
}

impl Test {
    fn of(program: &TestProgram, inner: &str) -> Self {
        let name = format!("{}::{inner}", program.name);
        Self { file: program.file.clone(), inner: inner.to_owned(), name }
    }
}

/// A test program, where cargo would run it.
fn in_package(file: &Path) -> Command {
    let mut command = program(file);
    command.current_dir(root().join("tests"));
    command
}

fn list(file: &Path, which: &[&str]) -> Result<String> {
    let mut command = in_package(file);
    command.args(["--list", "--format=terse"]).args(which);
    output(&mut command).with_context(|| format!("{} tells no tests", file.display()))
}

/// The tests in what a program lists.
fn names(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// That a program has ended well is not enough: it must have run the test.
fn judge(ended: Result<bool>, said: &str) -> Result<()> {
    if !ended? {
        bail!("it failed");
    }
    if !said.contains("test result: ok. 1 passed; 0 failed;") {
        bail!("the program ended well without a word of the test");
    }
    Ok(())
}

fn told(test: &Test, how: &str, took: Duration) -> String {
    format!("test {} ... {how} ({:.1} s)", test.name, took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_are_taken_from_a_list() {
        let listed = "a::b: test\nc: benchmark\nd: test\n\n2 tests, 1 benchmark\n";
        assert_eq!(names(listed).collect::<Vec<_>>(), ["a::b", "d"]);
    }

    #[test]
    fn a_test_passes_that_was_run_and_ended_well() {
        let ok = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out";
        assert!(judge(Ok(true), ok).is_ok());
        assert!(judge(Ok(false), ok).is_err());
        assert!(judge(Err(anyhow::anyhow!("no such file")), ok).is_err());
        assert!(judge(Ok(true), &ok.replace("1 passed", "0 passed")).is_err());
        assert!(judge(Ok(true), "").is_err());
    }

    #[test]
    fn a_name_says_whether_the_machine_is_shared() {
        assert!(is_alone("xdp::cost::frames_cost_little"));
        assert!(!is_alone("xdp::verdicts::authentication_headers"));
        assert!(!is_alone("daemon::ring::of_a_bell"));
    }
}
