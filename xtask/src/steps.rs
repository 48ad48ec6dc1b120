//! A list of steps, run one after the other, each with its time, and a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps that were taken, or had to be left out.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Outcome)>,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    NotRun(String),
}

impl Steps {
    /// Runs the step and goes on whatever comes of it: one run shows all that is wrong.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<()>) {
        println!("=== {name}");
        let start = Instant::now();
        let outcome = match run() {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => Outcome::Failed(start.elapsed(), format!("{error:#}")),
        };
        println!("--- {name}: {}", outcome.told());
        self.done.push((name, outcome));
    }

    /// As [`Steps::step`], unless one of the steps that it needs did not pass.
    pub(crate) fn step_after(
        &mut self,
        needed: &[&str],
        name: &'static str,
        run: impl FnOnce() -> Result<()>,
    ) {
        let passed = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Passed(_));
        let stopped_by = self.done.iter().find(|done| needed.contains(&done.0) && !passed(done));
        match stopped_by {
            Some((by, _)) => self.leave_out(name, &format!("needs {by}")),
            None => self.step(name, run),
        }
    }

    /// Notes a step that is not taken. It does not count as failed.
    pub(crate) fn leave_out(&mut self, name: &'static str, why: &str) {
        let outcome = Outcome::NotRun(why.to_owned());
        println!("--- {name}: {}", outcome.told());
        self.done.push((name, outcome));
    }

    /// Prints the table.
    ///
    /// # Errors
    ///
    /// When a step failed: with the names of all that did.
    pub(crate) fn close(self) -> Result<()> {
        println!();
        for (name, outcome) in &self.done {
            println!("{name:<16} {}", outcome.told());
        }
        let failed = |(_, outcome): &&(_, Outcome)| matches!(outcome, Outcome::Failed(..));
        let failed: Vec<_> = self.done.iter().filter(failed).map(|(name, _)| *name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

impl Outcome {
    fn told(&self) -> String {
        match self {
            Self::Passed(took) => format!("ok      {:7.1} s", took.as_secs_f64()),
            Self::Failed(took, why) => format!("FAILED  {:7.1} s  {why}", took.as_secs_f64()),
            Self::NotRun(why) => format!("not run            {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_stops_what_needs_it_and_fails_the_whole() {
        let mut steps = Steps::default();
        let mut ran = Vec::new();
        steps.step("build", || bail!("broken"));
        steps.step("lint", || {
            ran.push("lint");
            Ok(())
        });
        steps.step_after(&["lint", "build"], "test", || {
            ran.push("test");
            Ok(())
        });
        steps.step_after(&["lint"], "docs", || {
            ran.push("docs");
            Ok(())
        });
        let error = steps.close().unwrap_err();
        assert_eq!(error.to_string(), "failed: build");
        assert_eq!(ran, ["lint", "docs"]);
    }

    #[test]
    fn a_step_that_was_left_out_fails_nothing() {
        let mut steps = Steps::default();
        steps.leave_out("deny", "not installed");
        steps.step("lint", || Ok(()));
        assert!(steps.close().is_ok());
    }
}
