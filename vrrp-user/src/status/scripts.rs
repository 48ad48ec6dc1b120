//! The scripts that are tracked.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::ago;

/// A tracked script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// `unknown`, `good` or `bad`.
    pub health: String,
    /// How its last run ended.
    pub last: Option<String>,
    /// When that was.
    pub last_ms_ago: Option<u64>,
    /// Runs so far.
    pub runs: u64,
    /// Those of them that failed, or could not begin.
    pub failures: u64,
    /// Those of them that were ended, since they took longer than `timeout`.
    pub timeouts: u64,
    /// Runs that were left out, since the one before was still at work.
    pub skipped: u64,
}

/// A line for each.
pub(super) fn render(out: &mut String, scripts: &[Script]) {
    if !scripts.is_empty() {
        out.push('\n');
    }
    // Writing to a string can't fail.
    for script in scripts {
        let _ = write!(out, "script {}: {}", script.name, script.health);
        if let (Some(last), Some(when)) = (&script.last, script.last_ms_ago) {
            let _ = write!(out, ", last run {last} {} ago", ago(when));
        }
        let _ = write!(out, ", {} runs", script.runs);
        for (count, what) in [
            (script.failures, "failed"),
            (script.timeouts, "timed out"),
            (script.skipped, "skipped"),
        ] {
            if count > 0 {
                let _ = write!(out, ", {count} {what}");
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_to_its_end_is_counted() {
        let good = Script {
            name: "chk".to_owned(),
            health: "good".to_owned(),
            last: Some("succeeded".to_owned()),
            last_ms_ago: Some(420),
            runs: 17,
            ..Script::default()
        };
        let slow = Script { failures: 3, timeouts: 2, skipped: 1, ..good.clone() };
        let mut out = String::new();
        render(&mut out, &[good, slow]);
        let line = "script chk: good, last run succeeded 420 ms ago, 17 runs";
        assert_eq!(out, format!("\n{line}\n{line}, 3 failed, 2 timed out, 1 skipped\n"));
        out.clear();
        render(&mut out, &[]);
        assert_eq!(out, "");
    }
}
