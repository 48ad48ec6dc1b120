//! What was measured, beside what the protocol allows.

use std::time::Duration;

/// What the client, nginx and a busy machine may add: a request waits up to 90 ms for its answer.
pub(super) const ALLOWANCE: Duration = Duration::from_millis(200);

/// One act's outcome.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// What happened.
    pub(super) what: String,
    /// The address that was asked.
    pub(super) address: &'static str,
    /// The longest time without an answer, less what the machine stood still meanwhile.
    pub(super) gap: Duration,
    /// What the protocol, and the check where it must notice first, allow.
    pub(super) allowed: Duration,
    /// Where the allowed time comes from.
    pub(super) because: &'static str,
    /// Who answers in the end is who should.
    pub(super) right_host: bool,
}

impl Outcome {
    fn is_well(&self) -> bool {
        self.right_host && self.gap <= self.allowed + ALLOWANCE
    }
}

/// Prints the table; false if one outcome is not as it should be, or there is none.
pub(super) fn print(outcomes: &[Outcome]) -> bool {
    println!("\nThe longest time without an answer, in ms:\n");
    println!("  {:34} {:12} {:>9} {:>9}", "", "address", "measured", "allowed");
    for outcome in outcomes {
        let Outcome { what, address, gap, allowed, because, right_host } = outcome;
        let (gap, allowed) = (gap.as_secs_f64() * 1000.0, allowed.as_secs_f64() * 1000.0);
        let verdict = match (outcome.is_well(), right_host) {
            (true, _) => "ok",
            (false, true) => "TOO LONG",
            (false, false) => "WRONG HOST",
        };
        println!("  {what:34} {address:12} {gap:9.1} {allowed:9.1}  {verdict:10}  {because}");
    }
    println!(
        "\n  ok: at most {} ms more than allowed. One request waits up to 90 ms for its answer, and \
         the rest is\n  for nginx, TCP and a busy machine. \
         Time in which the whole machine stood still is not counted.",
        ALLOWANCE.as_millis()
    );
    !outcomes.is_empty() && outcomes.iter().all(Outcome::is_well)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(gap: u64, right_host: bool) -> Outcome {
        Outcome {
            what: "x".to_owned(),
            address: "192.0.2.250",
            gap: Duration::from_millis(gap),
            allowed: Duration::from_millis(600),
            because: "",
            right_host,
        }
    }

    #[test]
    fn a_gap_over_the_bound_or_the_wrong_host_fails() {
        assert!(print(&[outcome(0, true), outcome(800, true)]));
        assert!(!print(&[outcome(0, true), outcome(801, true)]));
        assert!(!print(&[outcome(0, false)]));
        assert!(!print(&[]));
    }
}
