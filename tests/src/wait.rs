//! Waiting and the clock that captures use.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::netns;
use crate::pulse::Pulse;

/// The time on the wall, the clock of the kernel's packet stamps.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Waits until `holds`, and says how long that took.
///
/// # Errors
/// It does not hold within `limit`; the message says `what` was waited for.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        // Before the look: the machine may stand still between the two.
        let waited = begin.elapsed();
        if holds() {
            return Ok(begin.elapsed());
        }
        if waited > limit {
            bail!("waited {limit:?} in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sleeps so many milliseconds.
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What a busy machine may add to a time that the protocol fixes. Less than an interval of a second, so
/// that whoever waits for one advert too many is found out.
pub const BUSY: Duration = Duration::from_millis(800);

/// An answer that is older says nothing about who serves now.
pub const RECENT: Duration = Duration::from_millis(500);

/// Says whether so much time passed, seen from outside: not less, but for the way of a stamp, and not so
/// much more that it would be another time.
pub fn is_about(passed: Duration, time: Duration) -> bool {
    // Who measures hears of the beginning later than who waits, as the same frame gets to both in turn.
    passed + Duration::from_millis(100) > time && passed < time + BUSY
}

/// The same of the time between two moments, where what the machine stood still meanwhile may come on top.
pub fn is_about_awake(between: (Duration, Duration), time: Duration, pulse: &Pulse) -> bool {
    let passed = between.1.saturating_sub(between.0);
    is_about(passed, time) || is_about(passed, time + pulse.lost(between.0, between.1))
}

/// Makes the calling thread a real-time one, behind all of a daemon's; what it starts is not. On a busy
/// machine a test would measure how long it waits for its own turn. Without the right to it nothing
/// changes.
pub fn urgent() {
    scheduled("1");
}

/// The same before all of a daemon's threads: for stamps that nothing else makes.
pub(crate) fn scheduled(level: &str) {
    let thread = nix::unistd::gettid().to_string();
    let _ = netns::run("chrt", &["--reset-on-fork", "--fifo", "--pid", level, &thread]);
}

/// Plays a scenario that asks for more than a busy machine always gives: three times at most, and once well
/// is enough.
///
/// # Errors
/// The last one's, where all three fail.
pub fn one_of_three(play: impl Fn() -> Result<()>) -> Result<()> {
    let again = |error: anyhow::Error| {
        eprintln!("once more after: {error:?}");
        play()
    };
    play().or_else(again).or_else(again)
}

/// A scenario with its name.
pub type Scenario<'a> = (&'a str, fn() -> Result<()>);

/// Runs scenarios beside each other, since they mostly wait.
///
/// # Errors
/// The first one's that fails, with its name.
///
/// # Panics
/// A scenario panics.
pub fn together(scenarios: &[Scenario<'_>]) -> Result<()> {
    std::thread::scope(|scope| {
        let run = |&(name, play): &Scenario<'_>| {
            let name = name.to_owned();
            scope.spawn(move || play().context(name))
        };
        let all: Vec<_> = scenarios.iter().map(run).collect();
        all.into_iter().try_for_each(|one| match one.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
