//! Waiting and the clock that captures use.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

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
        if holds() {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > limit {
            bail!("waited {limit:?} in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sleeps so many milliseconds.
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
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
